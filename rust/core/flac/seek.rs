//! To the frame that holds a sample: by guesses from what lies between the two that are known.
//!
//! Seek tables are not read. They may lie, so what they lead to had to be checked like a guess, and a
//! guess costs one short read.

use super::header::{FrameHeader, MAX_HEADER_BYTES};
use super::{Fault, Flac, MAX_FRAME_BYTES};
use crate::error::{Error, Result};

/// So many guesses go by proportion; from then on the middle is taken, which always ends.
const GUESSES: u32 = 6;
/// Frames that are decoded on the way rather than sought over.
const NEAR_BLOCKS: u64 = 2;
/// Candidates for the last frame that are tried.
const MAX_CANDIDATES: usize = 64;

/// A frame, or the end.
#[derive(Clone, Copy)]
struct Point {
    byte: u64,
    sample: u64,
}

impl Flac<'_> {
    /// Moves to the frame that holds sample `start`, or to one in front of it.
    pub(super) fn seek(&mut self, start: u64) -> Result<()> {
        let Some(first) = self.first_header()? else {
            return Ok(());
        };
        if start < NEAR_BLOCKS * u64::from(first.block_size) {
            return Ok(());
        }
        let found = self.search(start, &first)?;
        if self.is_frame(found, &first)? {
            (self.at, self.position) = (found.byte, found.sample);
        }
        // Else something only looked like a frame: from the first one on, which is slow and sure.
        Ok(())
    }

    /// The first frame's header; `None` where decoding will tell what is wrong with it.
    fn first_header(&mut self) -> Result<Option<FrameHeader>> {
        let bytes = self
            .window
            .at(self.first_byte, MAX_HEADER_BYTES, MAX_HEADER_BYTES as u64)?;
        let header = FrameHeader::parse(bytes).ok();
        self.first = header.filter(|header| header.check(&self.info).is_ok() && header.number == 0);
        Ok(self.first)
    }

    /// The last frame at or before `start` that can be found.
    fn search(&mut self, start: u64, first: &FrameHeader) -> Result<Point> {
        let block = u64::from(first.block_size);
        let mut low = Point {
            byte: self.first_byte,
            sample: 0,
        };
        let mut high = Point {
            byte: self.window.len(),
            sample: self.info.frames,
        };
        let mut guesses = 0;
        while start - low.sample >= NEAR_BLOCKS * block && low.byte + 1 < high.byte {
            let guess = guess(low, high, start, block, guesses);
            guesses += 1;
            match self.find_frame(guess, high.byte, Some(first))? {
                Some(point) if point.sample <= start && point.sample >= low.sample => low = point,
                Some(point) if point.sample > start => high = point,
                _ => high.byte = guess,
            }
        }
        Ok(low)
    }

    /// The first frame that seems to begin in `from..to`, of the kind of the `first` of all if that is known.
    fn find_frame(
        &mut self,
        from: u64,
        to: u64,
        first: Option<&FrameHeader>,
    ) -> Result<Option<Point>> {
        let is_sync = |bytes: &[u8]| match (bytes, first) {
            ([0xFF, second, ..], Some(first)) => *second == 0xF8 | u8::from(first.variable),
            ([0xFF, second, ..], None) => second & 0xFE == 0xF8,
            _ => false,
        };
        let mut at = from;
        while at < to {
            let need = self.frame_bytes.min((to - at) as usize) + MAX_HEADER_BYTES;
            let bytes = self.window.at(at, need, need as u64)?;
            let seen = bytes.len().min(need);
            let places = seen
                .saturating_sub(MAX_HEADER_BYTES)
                .max(1)
                .min((to - at) as usize);
            for place in 0..places {
                let here = bytes.get(place..).unwrap_or_default();
                if !is_sync(here) {
                    continue;
                }
                if let Ok(header) = FrameHeader::parse(here)
                    && header.check(&self.info).is_ok()
                {
                    // The first one found may be the last and short one.
                    let longest = self.info.max_block.max(header.block_size);
                    let block = first.map_or(longest, |first| first.block_size);
                    let sample = header.start(block);
                    return Ok(Some(Point {
                        byte: at + place as u64,
                        sample,
                    }));
                }
            }
            at += places as u64;
        }
        Ok(None)
    }

    /// Whether a whole frame lies there and the next one goes on where it ends.
    fn is_frame(&mut self, point: Point, first: &FrameHeader) -> Result<bool> {
        let Some(end) = self.frame_end(point)? else {
            return Ok(false);
        };
        if end.sample == self.info.frames || end.byte >= self.window.len() {
            return Ok(true);
        }
        let bytes = self
            .window
            .at(end.byte, MAX_HEADER_BYTES, MAX_HEADER_BYTES as u64)?;
        let next = FrameHeader::parse(bytes);
        // Where the next one is damaged decoding says so, if it comes so far.
        Ok(next.map_or(true, |next| next.start(first.block_size) == end.sample))
    }

    /// Moves over damage to the next whole frame that goes on in the recording; whether there is one.
    pub(super) fn resync(&mut self) -> Result<bool> {
        let (first, mut from) = (self.first, self.at);
        let last = self.declared().unwrap_or(u64::MAX);
        while let Some(point) = self.find_frame(from, self.window.len(), first.as_ref())? {
            from = point.byte + 1;
            let goes_on = (self.position..last).contains(&point.sample);
            if goes_on && self.frame_end(point)?.is_some() {
                (self.at, self.position) = (point.byte, point.sample);
                self.take_for_first()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the first frame is lost, the one here stands for it, with the length that blocks have.
    fn take_for_first(&mut self) -> Result<()> {
        if self.first.is_some() {
            return Ok(());
        }
        let need = MAX_HEADER_BYTES;
        let bytes = self.window.at(self.at, need, need as u64)?;
        self.first = FrameHeader::parse(bytes).ok().map(|header| FrameHeader {
            block_size: header.block_size.max(self.info.max_block),
            ..header
        });
        Ok(())
    }

    /// Where the frame at `point` ends; `None` when none is there.
    fn frame_end(&mut self, point: Point) -> Result<Option<Point>> {
        let mut need = self.frame_bytes;
        loop {
            let bytes = self.window.at(point.byte, need, need as u64)?;
            let seen = bytes.len().min(MAX_FRAME_BYTES);
            match self.decoder.decode(bytes.get(..seen).unwrap_or_default()) {
                Ok(frame) => {
                    let byte = point.byte + frame.bytes as u64;
                    let sample = point.sample + u64::from(frame.header.block_size);
                    return Ok(Some(Point { byte, sample }));
                }
                Err(Fault::Short)
                    if seen < MAX_FRAME_BYTES && point.byte + (seen as u64) < self.window.len() =>
                {
                    need = (2 * seen.max(need)).min(MAX_FRAME_BYTES);
                }
                Err(_) => return Ok(None),
            }
        }
    }

    /// The length of a stream whose header does not tell it: where its last frame ends.
    pub(super) fn frames_by_the_last(&mut self) -> Result<u64> {
        let Some(first) = self.first_header()? else {
            // Either there is no frame at all, or the error of the first one.
            return self.next_frame(1).map(|_| 0);
        };
        let len = self.window.len();
        for reach in [1 << 16, 1 << 19, MAX_FRAME_BYTES as u64] {
            let from = len.saturating_sub(reach).max(self.first_byte);
            if let Some(end) = self.last_end(from, &first)? {
                (self.at, self.position) = (end.byte, end.sample);
                return if self.only_tags_follow()? {
                    Ok(end.sample)
                } else {
                    Err(self.at_frame(Fault::Short))
                };
            }
        }
        let reason =
            "no whole FLAC frame is found at the end: the stream was cut short or is damaged";
        Err(Error::corrupt(reason)
            .with_source(self.name.clone())
            .at_byte(len))
    }

    /// Where the last whole frame behind `from` ends.
    fn last_end(&mut self, from: u64, first: &FrameHeader) -> Result<Option<Point>> {
        let mut candidates = std::collections::VecDeque::new();
        let mut at = from;
        while let Some(point) = self.find_frame(at, self.window.len(), Some(first))? {
            at = point.byte + 1;
            candidates.push_back(point);
            if candidates.len() > MAX_CANDIDATES {
                candidates.pop_front();
            }
        }
        for point in candidates.into_iter().rev() {
            if let Some(end) = self.frame_end(point)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }
}

/// A byte behind `low` and before `high`, a little in front of where `start` should be.
fn guess(low: Point, high: Point, start: u64, block: u64, guesses: u32) -> u64 {
    let bytes = high.byte - low.byte;
    let known = high.sample > start;
    let step = if known && guesses < GUESSES {
        let samples = u128::from(high.sample - low.sample);
        let aim = (start - low.sample).saturating_sub(block + block / 2);
        (u128::from(bytes) * u128::from(aim) / samples) as u64
    } else {
        bytes / 2
    };
    low.byte + step.clamp(1, bytes - 1)
}
