//! Where to begin to decode Opus, so that a range is what a decode of the whole gives there.
//!
//! CELT forgets within 0.4 s. SILK forgets at a moment that nothing foretells: within 0.5 s in speech,
//! after seconds in a steady tone, which is decoded from the start. RFC 7845 asks for 80 ms of either.

use std::ops::Range;

use super::{Block, CodecReader, Pass, make};
use crate::demux::Packet;
use crate::error::Result;
use crate::opus;

/// Frames to decode ahead of a range: what CELT may remember.
const CELT_PREROLL: i64 = 48_000;
/// The same for SILK, the time included in which decoders must come to agree.
const SILK_PREROLL: i64 = 288_000;
/// Two decoders that differ by less have forgotten what they heard before.
const TOLERANCE: f32 = 1e-6;

impl CodecReader<'_> {
    /// Decodes what comes before the range `wanted`, as far back as it takes.
    pub(super) fn start_opus(&mut self, wanted: Range<u64>) -> Result<Pass> {
        let start = wanted.start.min(i64::MAX as u64) as i64;
        let mut pass = Pass::new(wanted);
        for preroll in [CELT_PREROLL, SILK_PREROLL] {
            if start <= preroll {
                break;
            }
            let sought = self.demuxer.seek(start - preroll);
            let Ok((packets, end)) = sought.and_then(|()| self.packets_before(start)) else {
                // Whatever is damaged there is met again from the start on.
                break;
            };
            pass.needed_from = start - preroll;
            if packets.iter().all(|packet| opus::is_celt(&packet.data)) {
                self.ahead.extend(packets.into_iter().rev());
                return Ok(pass);
            }
            if preroll == SILK_PREROLL && self.converges(&packets)? {
                pass.stand_behind(packets.last(), end);
                return Ok(pass);
            }
            self.ahead.clear();
        }
        pass.needed_from = i64::MIN;
        self.decoder.reset();
        self.ahead.clear();
        self.demuxer.seek(i64::MIN)?;
        Ok(pass)
    }

    /// The packets that end before frame `start`, and where; the one behind them is read ahead.
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

    /// Decodes `packets`, and whether it agrees early with decoders that have heard the first quarter in
    /// other orders: what all have forgotten so soon, a decoder of the whole has forgotten by the end.
    fn converges(&mut self, packets: &[Packet]) -> Result<bool> {
        let (heard, rest) = packets.split_at(packets.len() / 4);
        let new = || make::decoder(&self.demuxer.track().params);
        let mut others = [new()?, new()?];
        for packet in heard {
            let _ = self.decoder.decode(&packet.data);
        }
        // In such orders some may be refused.
        for packet in heard.iter().rev() {
            let _ = others[0].decode(&packet.data);
        }
        for packet in heard.iter().step_by(2) {
            let _ = others[1].decode(&packet.data);
        }
        let late = rest.len() / 8;
        for (index, packet) in rest.iter().enumerate() {
            let Ok(block) = self.decoder.decode(&packet.data) else {
                return Ok(false);
            };
            for other in &mut others {
                let agrees = other
                    .decode(&packet.data)
                    .is_ok_and(|other| alike(&block, &other));
                if !agrees && index > late {
                    return Ok(false);
                }
            }
        }
        Ok(true)
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
