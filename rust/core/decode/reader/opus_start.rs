//! Where to begin to decode Opus, so that a range is what a decode of the whole gives there.
//!
//! CELT forgets within 0.4 s. SILK forgets at a moment that nothing foretells: rounding keeps two decoders that have
//! heard different things apart until they meet by chance, after 0.5 s in speech, after many seconds in a tone, and that
//! two have met says little about a third. RFC 7845 asks for 80 ms of either.
//!
//! So others try again and again on the way to a range: every half second two decoders get noise at full scale in the
//! place of all that they remember, and have to meet the one that goes on by the end of that time. A decoder of the whole
//! is one more that tries, each time. Had each a chance of p to meet, that both of them do half of the time, and that one
//! never, would come once in 100,000 times for the worst p. Where they do not meet one decodes from the beginning of the
//! link; so one does where something was made up, for frames that were left out or where SILK and CELT take turns: that
//! may depend on all that was ever heard.

use std::ops::Range;
use std::sync::Arc;

use super::CodecReader;
use super::pass::Pass;
use crate::codec::opus;
use crate::codec::packet::{Block, PacketDecoder};
use crate::codec::params::Codec;
use crate::container::demuxer::Packet;
use crate::error::Result;

/// Frames to decode ahead of a range: what CELT may remember.
const CELT_PREROLL: i64 = 48_000;
/// The same for SILK: time for others to meet.
const SILK_PREROLL: i64 = TRIES * TRY;
/// Frames within which others have to meet, and the last of them in which they have to agree.
const TRY: i64 = 24_000;
const AGREEMENT: i64 = 5_760;
/// How often they try, and how often they have to succeed.
const TRIES: i64 = 12;
const SUCCESSES: u32 = 6;
/// Two decoders that differ by less have forgotten what they heard before.
const TOLERANCE: f32 = 1e-6;

impl CodecReader<'_> {
    /// Decodes what comes before the range `wanted`, as far back as it takes.
    pub(super) fn start_opus(&mut self, wanted: Range<u64>) -> Result<Pass> {
        let start = wanted.start.min(i64::MAX as u64) as i64;
        for preroll in [CELT_PREROLL, SILK_PREROLL] {
            if start <= preroll {
                break;
            }
            self.ahead.clear();
            let sought = self.demuxer.seek(start - preroll);
            self.begun_at = Some(self.demuxer.link_start());
            let Ok((packets, end)) = sought.and_then(|()| self.packets_before(start)) else {
                // Whatever is damaged there is met again from the start on.
                break;
            };
            let mut pass = Pass::new(wanted.clone());
            let has_begun = self.has_link_between(&packets);
            if has_begun {
                self.begun_at = None;
            }
            if has_begun || self.is_clear(&packets) {
                pass.needed_from = start - preroll;
                self.ahead.extend(packets.into_iter().rev());
                return Ok(pass);
            }
            if preroll == SILK_PREROLL && self.forgets(&packets)? {
                pass.needed_from = start - preroll;
                pass.stand_behind(packets.last(), end);
                return Ok(pass);
            }
        }
        self.start_over(wanted)
    }

    /// Moves to the first packet of the link in which the range `wanted` was to begin.
    pub(super) fn start_over(&mut self, wanted: Range<u64>) -> Result<Pass> {
        let begin = self.begun_at.take().unwrap_or(i64::MIN);
        self.restart_at(begin)?;
        Ok(Pass::new(wanted))
    }

    /// Whether something was made up since decoding began in the middle of a link.
    pub(super) fn has_guessed(&self) -> bool {
        self.begun_at.is_some() && self.decoder.has_made_up()
    }

    /// The packets that end before frame `start`, and where; the one after them is read ahead.
    fn packets_before(&mut self, start: i64) -> Result<(Vec<Packet>, i64)> {
        let (mut packets, mut position) = (Vec::new(), 0);
        while let Some(packet) = self.demuxer.next_packet()? {
            let begin = packet.begin.unwrap_or(position);
            let end = begin.saturating_add(packet.frames.unwrap_or(0) as i64);
            if end > start {
                self.ahead.push(packet);
                break;
            }
            position = end;
            packets.push(packet);
        }
        Ok((packets, position))
    }

    /// Whether a link begins among `packets` or after them: with it all is forgotten.
    fn has_link_between(&self, packets: &[Packet]) -> bool {
        let packets = packets.iter().chain(self.ahead.last());
        let mut links = packets.map(|packet| packet.params.as_ref().map(Arc::as_ptr));
        let first = links.next();
        links.any(|link| Some(link) != first)
    }

    /// Whether a decoder that hears `packets` has forgotten all else by their end: they have CELT alone, or are of a
    /// codec that forgets sooner.
    fn is_clear(&self, packets: &[Packet]) -> bool {
        let params = packets.last().and_then(|packet| packet.params.as_deref());
        params.unwrap_or(&self.demuxer.track().params).codec != Codec::Opus
            || packets.iter().all(|packet| opus::is_celt(&packet.data))
    }

    /// Decodes `packets`, of one link, and whether what a decoder has heard before is forgotten by their end.
    fn forgets(&mut self, packets: &[Packet]) -> Result<bool> {
        let Some(first) = packets.first() else {
            return Ok(false);
        };
        self.follow(first)?;
        self.decoder.reset();
        let params = first.params.as_ref();
        let params = params.map_or(&self.demuxer.track().params, |params| params);
        let mut others = [opus::Decoder::new(params)?, opus::Decoder::new(params)?];
        let (mut tried, mut met, mut successes) = (0, true, 0);
        let start = first.begin.unwrap_or(0);
        for (index, packet) in packets.iter().enumerate() {
            let place = packet.begin.unwrap_or(0).saturating_sub(start);
            // A decoder knows the rate that it remembers noise of from its first packet.
            if index == 1 || place / TRY > tried {
                successes += u32::from(met && index > 1);
                (tried, met) = (place / TRY, true);
                for (seed, other) in (2 * index as i32..).zip(&mut others) {
                    other.disturb(seed);
                }
            }
            let Ok(block) = self.decoder.decode(&packet.data) else {
                return Ok(false);
            };
            let mut agree = true;
            for other in &mut others {
                let other = other.decode(&packet.data);
                agree &= other.is_ok_and(|other| alike(&block, &other));
            }
            met &= agree || place % TRY < TRY - AGREEMENT;
        }
        successes += u32::from(met);
        Ok(successes >= SUCCESSES && !self.decoder.has_made_up())
    }
}

/// Whether two decoders gave the same: SILK in full, CELT but for what its memory fades to.
fn alike(one: &Block<'_>, other: &Block<'_>) -> bool {
    let mut planes = one.planes.iter().zip(other.planes);
    one.frames() == other.frames()
        && planes.all(|(one, other)| {
            let pairs = one.iter().zip(other);
            pairs.fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) <= TOLERANCE
        })
}
