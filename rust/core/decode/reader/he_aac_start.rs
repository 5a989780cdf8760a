//! Where to begin to decode HE-AAC, so that a range is what a decode of the whole gives there.
//!
//! Levels may build upon those of the packet before, and headers come as seldom as the stream likes: how far back decoding
//! has to begin, only the packets tell. So packets ahead of a range are read, not decoded, from ever farther back, until
//! they tell all that the range builds upon; filters and what else fades are given [`FADING`] packets. Noise and sines
//! depend on the number of a packet in its link alone: it is counted by the frames.

use std::ops::Range;

use super::CodecReader;
use super::pass::Pass;
use crate::container::demuxer::Packet;
use crate::error::Result;

/// Packets to decode ahead of a range, for filters to forget what was before.
const FADING: u64 = 16;
/// Packets to read ahead of those, at first; four times as many whenever they do not tell all.
const READ: u64 = 16;

impl CodecReader<'_> {
    /// Reads what comes before the range `wanted`, as far back as it takes.
    pub(super) fn start_he_aac(&mut self, wanted: Range<u64>) -> Result<Pass> {
        let packet = self.packet_frames.max(1);
        let start = wanted.start.min(i64::MAX as u64);
        let mut read = READ;
        while let Some(back) = (FADING + read).checked_mul(packet) {
            if back >= start {
                break;
            }
            let decode_from = (start - FADING * packet) as i64;
            match self.skim((start - back) as i64, decode_from) {
                Ok(true) => {
                    let mut pass = Pass::new(wanted);
                    pass.needed_from = decode_from;
                    return Ok(pass);
                }
                Ok(false) => read *= 4,
                // Whatever is damaged there is met again from the start on.
                Err(_) => break,
            }
        }
        self.restart_at(i64::MIN)?;
        Ok(Pass::new(wanted))
    }

    /// Reads the packets from frame `from` to the one that `decode_from` is in, which is next then; whether they tell all.
    fn skim(&mut self, from: i64, decode_from: i64) -> Result<bool> {
        self.ahead.clear();
        self.demuxer.seek(from)?;
        let mut has_begun = false;
        let mut tells_all = false;
        let mut position = 0;
        while let Some(packet) = self.demuxer.next_packet()? {
            let begin = packet.begin.unwrap_or(position);
            position = begin.saturating_add(packet.frames.unwrap_or(0) as i64);
            if position > decode_from {
                self.ahead.push(packet);
                break;
            }
            self.follow(&packet)?;
            if !std::mem::replace(&mut has_begun, true) {
                self.decoder.begin_inside();
            }
            self.number_packet(begin);
            tells_all = self.decoder.skim(&packet.data)?;
        }
        Ok(tells_all)
    }

    /// Tells the decoder the place of the packet that begins at frame `begin` among all.
    pub(super) fn number_packet(&mut self, begin: i64) {
        if self.decoder.remembers_far() {
            let frames = begin.saturating_sub(self.first_begin);
            let number = frames.div_euclid(self.packet_frames.max(1) as i64);
            self.decoder.set_packet_number(number as u32);
        }
    }

    /// Learns where packets lie, from the first one.
    pub(super) fn measure(&mut self) -> Result<()> {
        if !self.decoder.remembers_far() {
            return Ok(());
        }
        // What is damaged is met again.
        if let Ok(Some(Packet { begin, frames, .. })) = self.demuxer.next_packet() {
            self.first_begin = begin.unwrap_or(0);
            self.packet_frames = frames.unwrap_or(0);
        }
        self.demuxer.seek(i64::MIN)
    }
}
