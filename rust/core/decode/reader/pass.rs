//! A pass over a track's packets: what of a range was decoded, and what is missing.

use std::ops::Range;

use crate::codec::packet::Block;
use crate::container::demuxer::Packet;
use crate::decode::damage::Damage;
use crate::error::{Error, ErrorKind, Result};
use crate::signal::mix::Mixer;

/// Packets in a row that give no sample before a stream counts as stuck.
const MAX_BARREN_PACKETS: u32 = 65_536;

/// Where a pass over the packets stands, in frames of the recording.
pub(super) struct Pass {
    pub(super) wanted: Range<u64>,
    /// Packets that end before it need not be decoded; after a seek it is 0 or more.
    pub(super) needed_from: i64,
    /// What lies before it was decoded, passed over or missing.
    pub(super) position: i64,
    /// Where a packet begins that does not tell.
    pub(super) next: i64,
    has_begun: bool,
    barren: u32,
    /// Where the last packet ends in the file.
    pub(super) end_byte: u64,
}

impl Pass {
    pub(super) fn new(wanted: Range<u64>) -> Self {
        let limit = |frame: u64| frame.min(i64::MAX as u64);
        Self {
            wanted: limit(wanted.start)..limit(wanted.end),
            needed_from: i64::MIN,
            position: 0,
            next: 0,
            has_begun: false,
            barren: 0,
            end_byte: 0,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.has_begun && self.position >= self.wanted.end as i64
    }

    /// All was decoded up to frame `end`, where the packet `last` ends.
    pub(super) fn stand_behind(&mut self, last: Option<&Packet>, end: i64) {
        let Some(last) = last else { return };
        (self.has_begun, self.position, self.next) = (true, end, end);
        self.end_byte = last.at + last.data.len() as u64;
    }

    /// Where `packet` begins; what is wanted in front of it and was not decoded is missing.
    pub(super) fn reach(
        &mut self,
        packet: &Packet,
        mixer: &mut Mixer,
        damage: &mut Damage,
    ) -> Result<i64> {
        let begin = packet.begin.unwrap_or(self.next);
        if !std::mem::replace(&mut self.has_begun, true) {
            self.position = begin.min(self.wanted.start as i64);
        }
        let missing = self.inside(self.position)..self.inside(begin.max(self.position));
        if missing.is_empty() && begin <= self.wanted.start as i64 && self.wanted.start > 0 {
            damage.forget();
        }
        damage.fill(missing, packet.at, |frames| mixer.push_silence(frames))?;
        self.end_byte = packet.at + packet.data.len() as u64;
        self.position = self.position.max(begin);
        Ok(begin)
    }

    /// Whether a packet was only to prepare the decoder for what is wanted: none of that is in it.
    pub(super) fn is_ahead(&self, begin: i64, packet: &Packet) -> bool {
        let start = self.wanted.start as i64;
        let end = packet
            .frames
            .map(|frames| begin.saturating_add(frames as i64));
        self.needed_from > 0 && begin < start && end.is_none_or(|end| end <= start)
    }

    fn inside(&self, frame: i64) -> u64 {
        (frame.max(0) as u64).clamp(self.wanted.start, self.wanted.end)
    }

    /// Moves over `frames` frames from `begin` on.
    pub(super) fn advance(&mut self, begin: i64, frames: i64) -> Result<()> {
        self.next = begin.saturating_add(frames);
        if self.next <= self.position {
            return self.count_barren();
        }
        self.barren = 0;
        self.position = self.next;
        Ok(())
    }

    pub(super) fn count_barren(&mut self) -> Result<()> {
        self.barren += 1;
        if self.barren <= MAX_BARREN_PACKETS {
            return Ok(());
        }
        let reason = "too many packets in a row decode to no samples";
        Err(Error::new(ErrorKind::Limit, reason))
    }

    /// Appends what is wanted of a block that begins at frame `begin`.
    pub(super) fn push(
        &mut self,
        block: &Block<'_>,
        begin: i64,
        packet: &Packet,
        mixer: &mut Mixer,
    ) -> Result<()> {
        let decoded = block.frames() as u64;
        let told = packet.frames.unwrap_or(decoded);
        let shown = |frames: u64| frames.saturating_sub(packet.padding) as i64;
        let frames = shown(told.min(decoded));
        // The block may begin in front of the recording, or before what is there already.
        let start = self.position.max(self.wanted.start as i64);
        let end = begin.saturating_add(frames).min(self.wanted.end as i64);
        if start < end {
            mixer.push_block(
                block.channels,
                block.planes,
                (start - begin) as usize..(end - begin) as usize,
            )?;
        } else {
            mixer.learn(block.channels)?;
        }
        self.advance(begin, frames)?;
        // What a packet lacks of what it tells is missing, after the last one too.
        self.next = begin.saturating_add(shown(told));
        Ok(())
    }
}
