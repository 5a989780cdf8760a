//! To the frame that holds a sample: by guesses from what lies between the two that are known.
//!
//! Seek tables are not read. They may lie, so what they lead to had to be checked like a guess, and a
//! guess costs one short read.
//!
//! Guesses need numbers that rise through the whole file. The last frame and a few in between show whether
//! they do; where streams follow one another or blocks vary silently, all is decoded from the start.

use super::numbers::{Numbers, Unit};
use super::{Flac, MAX_FRAME_BYTES};
use crate::codec::flac::Fault;
use crate::codec::flac::header::{FrameHeader, MAX_HEADER_BYTES};
use crate::error::Result;

/// So many guesses go by proportion; from then on the middle is taken, which always ends.
const GUESSES: u32 = 6;
/// Frames that are decoded on the way rather than sought over.
const NEAR_BLOCKS: u64 = 2;
/// Candidates for the last frame that are tried.
const MAX_CANDIDATES: usize = 64;
/// How far from the end the last frame is looked for, if it is not in the last that most frames have.
const REACHES: [u64; 3] = [1 << 16, 1 << 19, MAX_FRAME_BYTES as u64];
/// Where between the first and the last frame others are looked at. Of several equal streams in a row no
/// number up to 100 has its frames at all of these places in the order of their numbers.
const PROBES: [f64; 3] = [0.3098, 0.5413, 0.8089];

/// A frame, or the end.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) byte: u64,
    pub(super) sample: u64,
    pub(super) header: FrameHeader,
}

impl Flac<'_> {
    /// Moves to the frame that holds sample `start`, or to one in front of it.
    pub(crate) fn seek(&mut self, start: u64) -> Result<()> {
        let Some(first) = self.first_header()? else {
            return Ok(());
        };
        let near = NEAR_BLOCKS * u64::from(first.block_size);
        let end = if start < near {
            None
        } else {
            self.trusted_end()?
        };
        let found = match end {
            Some(end) if start >= end.sample => end,
            Some(end) => {
                let found = self.search(start, first, end)?;
                if !self.is_frame(found, end)? {
                    // Something only looked like a frame: from the first one on, which is slow and sure.
                    self.rewind();
                    return Ok(());
                }
                found
            }
            None => {
                self.rewind();
                return Ok(());
            }
        };
        (self.at, self.position) = (found.byte, found.sample);
        if let Some(numbers) = &mut self.numbers {
            numbers.moved();
        }
        Ok(())
    }

    /// The first frame's header, from which numbers are counted; `None` where decoding will tell what is
    /// wrong with it.
    fn first_header(&mut self) -> Result<Option<FrameHeader>> {
        let need = MAX_HEADER_BYTES;
        let bytes = self.window.at(self.first_byte, need, need as u64)?;
        let header = FrameHeader::parse(bytes).ok();
        let header = header.filter(|header| header.check(&self.info).is_ok() && header.number == 0);
        self.numbers = header.map(|header| self.numbers_from(header, 0));
        Ok(header)
    }

    /// Where the last whole frame ends, if the numbers of frames tell where each of them lies.
    pub(super) fn trusted_end(&mut self) -> Result<Option<Point>> {
        let Some(first) = self.first_header()? else {
            return Ok(None);
        };
        let low = Point {
            byte: self.first_byte,
            sample: 0,
            header: first,
        };
        if !self.learn_unit(low)? {
            return Ok(None);
        }
        let Some((last, end)) = self.last_frame()? else {
            return Ok(None);
        };
        let is_told = self.declared().is_none_or(|frames| frames == end.sample);
        let is_trusted = is_told
            && self.is_plausible(low, end)
            && !self.does_stream_follow(last.byte)?
            && self.do_numbers_rise(low, last)?;
        Ok(is_trusted.then_some(end))
    }

    /// Whether another stream, perhaps of another kind, begins at byte `at` or after it.
    fn does_stream_follow(&mut self, at: u64) -> Result<bool> {
        let here = std::mem::replace(&mut self.at, at);
        let next = self.find_stream()?;
        (self.at, self.next_stream) = (here, None);
        Ok(next.is_some())
    }

    /// Whether the file ends inside of a frame.
    pub(super) fn is_cut(&mut self) -> Result<bool> {
        let Some((_, end)) = self.last_frame()? else {
            return Ok(false);
        };
        let need = MAX_HEADER_BYTES;
        let bytes = self.window.at(end.byte, need, need as u64)?;
        Ok(FrameHeader::parse(bytes).is_ok())
    }

    /// Finds out by the second frame what numbers count, where headers do not tell for sure; whether they can
    /// be relied upon.
    fn learn_unit(&mut self, low: Point) -> Result<bool> {
        let may_vary = low.header.variable || self.info.min_block != self.info.max_block;
        if !may_vary {
            return Ok(true);
        }
        let Some(end) = self.frame_end(low)? else {
            return Ok(false);
        };
        let need = MAX_HEADER_BYTES;
        let bytes = self.window.at(end.byte, need, need as u64)?;
        let (Ok(second), Some(numbers)) = (FrameHeader::parse(bytes), &mut self.numbers) else {
            return Ok(true);
        };
        numbers.pass(&low.header);
        if !numbers.is_next(&second, end.sample) {
            return Ok(false);
        }
        numbers.pass(&second);
        numbers.moved();
        // Frames of several sizes that are numbered as frames lie anywhere.
        Ok(numbers.unit() == Unit::Samples || (!low.header.variable && self.declared().is_some()))
    }

    /// Whether the bytes between two points can hold the samples between them, and no more.
    fn is_plausible(&self, from: Point, to: Point) -> bool {
        if to.sample < from.sample {
            return false;
        }
        let samples = to.sample - from.sample;
        let bits = u64::from(self.info.bits + 1) * u64::from(self.info.channels);
        let block = match from.header.variable {
            false => from.header.block_size,
            true => self.info.min_block.max(16),
        };
        let blocks = samples / u64::from(block.max(1)) + 2;
        let heads = blocks.saturating_mul(32 + 8 * u64::from(self.info.channels));
        to.byte - from.byte <= samples.saturating_mul(bits) / 8 + heads
    }

    /// Whether frames in between have numbers in between.
    fn do_numbers_rise(&mut self, first: Point, last: Point) -> Result<bool> {
        let (span, mut before) = ((last.byte - first.byte) as f64, first);
        for part in PROBES {
            let from = first.byte + (span * part) as u64;
            let found = self.find_frame(from, last.byte, Some(&first.header))?;
            let Some(point) = found.filter(|point| point.byte > before.byte) else {
                continue;
            };
            if !self.does_rise(before, point) {
                return Ok(false);
            }
            before = point;
        }
        Ok(last.byte == before.byte || self.does_rise(before, last))
    }

    fn does_rise(&self, before: Point, point: Point) -> bool {
        let counts_frames = self.numbers.is_some_and(|n| n.unit() == Unit::Frames);
        let is_whole = !counts_frames || before.header.block_size == self.block();
        point.sample > before.sample && is_whole && self.is_plausible(before, point)
    }

    fn block(&self) -> u32 {
        self.numbers.map_or(0, |numbers| numbers.first().block_size)
    }

    /// The last frame at or before `start` that can be found.
    fn search(&mut self, start: u64, first: FrameHeader, end: Point) -> Result<Point> {
        let block = u64::from(first.block_size);
        let mut low = Point {
            byte: self.first_byte,
            sample: 0,
            header: first,
        };
        let mut high = end;
        let mut guesses = 0;
        while start - low.sample >= NEAR_BLOCKS * block && low.byte + 1 < high.byte {
            let guess = guess(low, high, start, block, guesses);
            guesses += 1;
            match self.find_frame(guess, high.byte, Some(&first))? {
                Some(point) if point.sample <= start && point.sample >= low.sample => low = point,
                Some(point) if point.sample > start => high = point,
                _ => high.byte = guess,
            }
        }
        Ok(low)
    }

    /// The first frame that seems to begin in `from..to`, of the kind of the `first` of all if that is known.
    pub(super) fn find_frame(
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
        let info = self.stream.info;
        let mut at = from;
        while at < to {
            let need = self.frame_bytes.min((to - at) as usize) + MAX_HEADER_BYTES;
            let bytes = self.window.at(at, need, need as u64)?;
            let seen = bytes.len().min(need);
            let places = seen
                .saturating_sub(MAX_HEADER_BYTES)
                .max(1)
                .min((to - at) as usize);
            let next = |from: usize| {
                let rest = bytes.get(from..places)?;
                rest.iter()
                    .position(|byte| *byte == 0xFF)
                    .map(|place| from + place)
            };
            let mut found = next(0);
            while let Some(place) = found {
                let here = bytes.get(place..).unwrap_or_default();
                if is_sync(here)
                    && let Ok(header) = FrameHeader::parse(here)
                    && header.check(&info).is_ok()
                {
                    return Ok(Some(Point {
                        byte: at + place as u64,
                        sample: self.start_of(&header),
                        header,
                    }));
                }
                found = next(place + 1);
            }
            at += places as u64;
        }
        Ok(None)
    }

    /// Where a frame begins by its number.
    fn start_of(&self, header: &FrameHeader) -> u64 {
        match &self.numbers {
            Some(numbers) => numbers.start(header),
            None => self.counted_from_zero(header).start(header),
        }
    }

    /// Numbers from 0, where the first frame is lost. `header` may be that of the last frame, which is shorter.
    fn counted_from_zero(&self, header: &FrameHeader) -> Numbers {
        let first = FrameHeader {
            number: 0,
            block_size: header.block_size.max(self.stream.info.max_block),
            ..*header
        };
        self.numbers_from(first, self.stream.begin)
    }

    /// Whether a whole frame lies there and the next one goes on where it ends.
    fn is_frame(&mut self, point: Point, last: Point) -> Result<bool> {
        let Some(end) = self.frame_end(point)? else {
            return Ok(false);
        };
        if end.byte >= last.byte {
            return Ok(true);
        }
        let need = MAX_HEADER_BYTES;
        let bytes = self.window.at(end.byte, need, need as u64)?;
        let next = FrameHeader::parse(bytes);
        // Where the next one is damaged decoding says so, if it comes so far.
        Ok(next.map_or(true, |next| self.start_of(&next) == end.sample))
    }

    /// Moves over damage to the next whole frame that goes on in the recording, or to the next stream; whether
    /// there is one.
    pub(crate) fn resync(&mut self) -> Result<bool> {
        let (first, mut from) = (self.numbers.map(|numbers| *numbers.first()), self.at);
        let stream = self.find_stream()?;
        let (stop, last) = (stream.unwrap_or(self.window.len()), self.declared());
        while let Some(point) = self.find_frame(from, stop, first.as_ref())? {
            from = point.byte + 1;
            let goes_on = (self.position..last.unwrap_or(u64::MAX)).contains(&point.sample);
            if goes_on && self.frame_end(point)?.is_some() {
                (self.at, self.position) = (point.byte, point.sample);
                let lost = self.counted_from_zero(&point.header);
                self.numbers.get_or_insert(lost).moved();
                return Ok(true);
            }
        }
        let Some(at) = stream else {
            return Ok(false);
        };
        self.position = last.unwrap_or(0).max(self.position);
        self.join(at).map(|()| true)
    }

    /// Where the frame at `point` ends; `None` when none is there.
    pub(super) fn frame_end(&mut self, point: Point) -> Result<Option<Point>> {
        let mut need = self.frame_bytes;
        loop {
            let bytes = self.window.at(point.byte, need, need as u64)?;
            let seen = bytes.len().min(MAX_FRAME_BYTES);
            match self.decoder.decode(bytes.get(..seen).unwrap_or_default()) {
                Ok(frame) => {
                    let byte = point.byte + frame.bytes as u64;
                    let sample = point.sample + u64::from(frame.header.block_size);
                    let header = frame.header;
                    return Ok(Some(Point {
                        byte,
                        sample,
                        header,
                    }));
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

    /// The last whole frame, and where it ends.
    fn last_frame(&mut self) -> Result<Option<(Point, Point)>> {
        let len = self.window.len();
        let near = (self.frame_bytes + MAX_HEADER_BYTES) as u64;
        for reach in std::iter::once(near).chain(REACHES) {
            let from = len.saturating_sub(reach).max(self.first_byte);
            let found = self.last_whole(from)?;
            if found.is_some() || from == self.first_byte {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The last whole frame after `from`, and where it ends.
    fn last_whole(&mut self, from: u64) -> Result<Option<(Point, Point)>> {
        let first = self.numbers.map(|numbers| *numbers.first());
        let mut candidates = std::collections::VecDeque::new();
        let mut at = from;
        while let Some(point) = self.find_frame(at, self.window.len(), first.as_ref())? {
            at = point.byte + 1;
            candidates.push_back(point);
            if candidates.len() > MAX_CANDIDATES {
                candidates.pop_front();
            }
        }
        for point in candidates.into_iter().rev() {
            let sample = point.sample + u64::from(point.header.block_size);
            if Some(sample) == self.declared() {
                // By chance no header says so: whether the frame is whole, decoding tells.
                let byte = self.window.len();
                return Ok(Some((
                    point,
                    Point {
                        byte,
                        sample,
                        ..point
                    },
                )));
            }
            if let Some(end) = self.frame_end(point)? {
                return Ok(Some((point, end)));
            }
        }
        Ok(None)
    }
}

/// A byte after `low` and before `high`, a little in front of where `start` should be.
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
