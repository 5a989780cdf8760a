//! Streams that are nothing but frames with headers: where each lies, and what lies between them.
//!
//! A frame tells its own length alone, so the way to a frame leads over all headers before it; where
//! they begin is kept for every [`MARK`]th.

use std::ops::Range;

use super::{foreign, tags};
use crate::error::{Error, Result};
use crate::window::Window;

/// Frames between two places that are kept.
const MARK: u64 = 1024;
/// Rubbish that may lie in front of the first frame, behind the tags.
const MAX_RUBBISH: u64 = 64 * 1024;
/// Bytes that are searched for a header at once.
const SEARCHED: usize = 64 * 1024;

/// The header of a frame.
pub(super) trait Header: Copy + Send {
    /// For messages.
    const NAME: &'static str;
    /// Bytes of it that are looked at.
    const BYTES: usize;
    /// Bytes of the longest frame.
    const LONGEST: usize;

    fn parse(bytes: &[u8]) -> Option<Self>;

    /// Bytes of the whole frame.
    fn length(&self) -> usize;

    /// Whether both can be of one stream.
    fn is_like(&self, other: &Self) -> bool;

    /// Whether one that fills a file is no chance.
    fn counts_alone(&self) -> bool;

    /// What the frames of a stream have in common, for messages.
    fn describe(&self) -> String;
}

/// One frame of a stream.
#[derive(Clone, Copy)]
pub(super) struct Frame<H> {
    pub(super) at: u64,
    pub(super) header: H,
    /// How many there are before it.
    pub(super) index: u64,
}

/// How sure it must be that frames begin at some place.
#[derive(Clone, Copy)]
struct Proof {
    /// Frames that follow each other.
    frames: usize,
    /// Frames that are enough where the file ends behind them, or a tag follows.
    at_end: usize,
}

/// The frames of one stream.
pub(super) struct Frames<'a, H> {
    window: Window<'a>,
    first: H,
    begin: u64,
    end: u64,
    at: u64,
    index: u64,
    /// The bytes of the frame that was met last.
    last: Range<u64>,
    /// Where the last of all frames that were met ends.
    last_end: u64,
    /// Where every [`MARK`]th frame begins.
    marks: Vec<u64>,
    /// How many frames there are, once all were passed.
    total: Option<u64>,
    /// Where the tags at the end begin, once they were looked for.
    tail: Option<u64>,
}

/// Whether a file begins as one of a container or an archive does: the frames that may be found in
/// there are none of a bare stream.
pub(super) fn is_container(window: &mut Window<'_>) -> Result<bool> {
    const NAMES: [&[u8]; 9] = [
        b"RIFF",
        b"RIFX",
        b"RF64",
        b"BW64",
        b"FORM",
        b"OggS",
        b"fLaC",
        b"caff",
        // Matroska.
        &[0x1A, 0x45, 0xDF, 0xA3],
    ];
    const BOXES: [&[u8; 4]; 8] = [
        b"ftyp", b"moov", b"moof", b"mdat", b"styp", b"wide", b"free", b"skip",
    ];
    let head = window.at(0, foreign::HEAD_BYTES, u64::MAX)?;
    let is_box = |kind: &[u8]| BOXES.iter().any(|name| kind == *name);
    Ok(NAMES.iter().any(|name| head.starts_with(name))
        || head.get(4..8).is_some_and(is_box)
        || foreign::is_sure(head))
}

/// Where the first frame of a stream lies in `from..end`, rubbish in front of it passed over.
pub(super) fn find_first<H: Header>(
    window: &mut Window<'_>,
    from: u64,
    end: u64,
) -> Result<Option<(u64, H)>> {
    let from = from.min(end);
    let ahead = 3 * H::LONGEST + H::BYTES;
    let bytes = window.at(from, ahead, u64::MAX)?;
    let bytes = until(bytes, end - from);
    let is_rest = bytes.len() as u64 == end - from;
    let proof = Proof {
        frames: 3,
        at_end: 1,
    };
    if let Some(header) = run::<H>(bytes, None, proof, is_rest) {
        let pair = Proof { at_end: 2, ..proof };
        if header.counts_alone() || run::<H>(bytes, None, pair, is_rest).is_some() {
            return Ok(Some((from, header)));
        }
    }
    let proof = Proof {
        frames: 4,
        at_end: 2,
    };
    let to = end.min(from.saturating_add(MAX_RUBBISH));
    find(window, from..to, end, None, proof)
}

/// The first place in `range` at which frames begin, of the stream that `like` is of if it is known.
fn find<H: Header>(
    window: &mut Window<'_>,
    range: Range<u64>,
    end: u64,
    like: Option<&H>,
    proof: Proof,
) -> Result<Option<(u64, H)>> {
    let ahead = proof.frames * H::LONGEST + H::BYTES;
    let mut at = range.start;
    while at < range.end {
        let bytes = until(window.at(at, SEARCHED + ahead, u64::MAX)?, end - at);
        let is_rest = bytes.len() as u64 == end - at;
        let searched = SEARCHED.min(bytes.len()).min((range.end - at) as usize);
        for place in 0..searched {
            let rest = bytes.get(place..).unwrap_or_default();
            if rest.first() == Some(&0xFF)
                && let Some(header) = run(rest, like, proof, is_rest)
            {
                return Ok(Some((at + place as u64, header)));
            }
        }
        at += SEARCHED as u64;
    }
    Ok(None)
}

/// The header that `bytes` begin with, if enough others follow it; `is_rest`: the file ends behind.
fn run<H: Header>(bytes: &[u8], like: Option<&H>, proof: Proof, is_rest: bool) -> Option<H> {
    let first = H::parse(bytes)?;
    if like.is_some_and(|like| !like.is_like(&first)) {
        return None;
    }
    let (mut at, mut frames) = (0, 0);
    while frames < proof.frames {
        let Some(rest) = bytes.get(at..) else {
            // The last one was cut: its header counts, and those before it.
            return (is_rest && frames > proof.at_end.max(1)).then_some(first);
        };
        match H::parse(rest).filter(|header| header.is_like(&first)) {
            Some(header) => at += header.length(),
            None => {
                let is_end = is_rest && rest.is_empty() || is_tag(rest);
                return (is_end && frames >= proof.at_end).then_some(first);
            }
        }
        frames += 1;
    }
    Some(first)
}

fn is_tag(bytes: &[u8]) -> bool {
    [&b"TAG"[..], b"ID3", b"APETAGEX", b"LYRICSBEGIN"]
        .iter()
        .any(|name| bytes.starts_with(name))
}

fn until(bytes: &[u8], length: u64) -> &[u8] {
    let length = bytes.len().min(length.min(usize::MAX as u64) as usize);
    bytes.get(..length).unwrap_or_default()
}

impl<'a, H: Header> Frames<'a, H> {
    /// The stream whose first frame was found at `begin`, and that ends at `end` or before.
    pub(super) fn new(window: Window<'a>, begin: u64, end: u64, first: H) -> Self {
        Self {
            window,
            first,
            begin,
            end,
            at: begin,
            index: 0,
            last: begin..begin,
            last_end: begin,
            marks: Vec::new(),
            total: None,
            tail: None,
        }
    }

    /// The next frame; `None` behind the last.
    ///
    /// # Errors
    /// Bytes between frames that are no tag, a frame that is cut, and another stream behind this one.
    /// The next call goes on behind what was met.
    pub(super) fn next(&mut self) -> Result<Option<Frame<H>>> {
        while self.at < self.end {
            let bytes = self.window.at(self.at, H::BYTES, u64::MAX)?;
            let header = H::parse(until(bytes, self.end - self.at));
            match header {
                Some(header) if header.is_like(&self.first) => return self.take(header).map(Some),
                _ => self.pass(header)?,
            }
        }
        self.total = Some(self.index);
        Ok(None)
    }

    fn take(&mut self, header: H) -> Result<Frame<H>> {
        let (at, length) = (self.at, header.length() as u64);
        let left = self.end - at;
        if length > left {
            self.at = self.end;
            let reason = format!(
                "the last {} frame has {left} of {length} bytes: the file was cut short",
                H::NAME
            );
            return Err(Error::corrupt(reason).at_byte(at));
        }
        let index = self.index;
        if index.is_multiple_of(MARK) && index / MARK == self.marks.len() as u64 {
            self.marks.push(at);
        }
        self.at += length;
        self.index += 1;
        self.last = at..self.at;
        self.last_end = self.last_end.max(self.at);
        Ok(Frame { at, header, index })
    }

    /// Passes over what is no frame of this stream.
    fn pass(&mut self, header: Option<H>) -> Result<()> {
        let at = self.at;
        if let Some(behind) = tags::behind(&mut self.window, at)? {
            self.at = behind.min(self.end);
            return Ok(());
        }
        let tail = self.tail()?;
        if at >= tail || self.is_zero(at..tail)? {
            self.at = self.end;
            return Ok(());
        }
        if let Some(header) = header
            && self.is_stream(at)?
        {
            self.at = self.end;
            let (from, to) = (self.first.describe(), header.describe());
            let reason = format!("the {} stream changes from {from} to {to}", H::NAME);
            return Err(Error::unsupported(reason).at_byte(at));
        }
        self.resume(at..tail)
    }

    /// Goes on at the next frame behind damage.
    fn resume(&mut self, damaged: Range<u64>) -> Result<()> {
        let at = damaged.start;
        let proof = Proof {
            frames: 2,
            at_end: 1,
        };
        let like = Some(&self.first);
        let found = find(
            &mut self.window,
            at + 1..damaged.end,
            damaged.end,
            like,
            proof,
        )?;
        let mean = (at - self.begin) / self.index.max(1);
        let Some((next, _)) = found else {
            self.at = self.end;
            let rest = damaged.end - at;
            // Some writers leave rubbish there; what is lost would be as long as a frame.
            if rest < mean.max(H::BYTES as u64) {
                return Ok(());
            }
            let reason = format!("{rest} bytes behind the last {} frame are none", H::NAME);
            return Err(Error::corrupt(reason).at_byte(at));
        };
        let bytes = next - at;
        self.index += self.lost(at..next, mean.max(1));
        self.at = next;
        let reason = format!("{bytes} bytes between {} frames are none", H::NAME);
        Err(Error::corrupt(reason).at_byte(at))
    }

    /// How many frames lay in the damage, by their usual length: so those behind it stay in place.
    fn lost(&self, damaged: Range<u64>, mean: u64) -> u64 {
        let round = |bytes: u64| (bytes + mean / 2) / mean;
        let length = self.last.end - self.last.start;
        // A frame of another length may be damaged itself: the next one does not begin behind it.
        if self.last.end == damaged.start && 4 * length.abs_diff(mean) > mean {
            return round(damaged.end - self.last.start).saturating_sub(1);
        }
        round(damaged.end - damaged.start)
    }

    /// Whether another stream begins at `at`.
    fn is_stream(&mut self, at: u64) -> Result<bool> {
        let proof = Proof {
            frames: 3,
            at_end: 2,
        };
        Ok(find::<H>(&mut self.window, at..at + 1, self.end, None, proof)?.is_some())
    }

    /// Whether there are only zeros in `range`.
    pub(super) fn is_zero(&mut self, range: Range<u64>) -> Result<bool> {
        let mut at = range.start;
        while at < range.end {
            let bytes = until(self.window.at(at, SEARCHED, u64::MAX)?, range.end - at);
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += bytes.len().max(1) as u64;
        }
        Ok(true)
    }

    /// Where the tags at the end of the stream begin.
    pub(super) fn tail(&mut self) -> Result<u64> {
        let tail = match self.tail {
            Some(tail) => tail,
            None if self.end < self.window.len() => self.end,
            None => tags::tail(&mut self.window)?,
        };
        self.tail = Some(tail);
        Ok(tail)
    }

    /// The bytes of `frame`.
    pub(super) fn bytes(&mut self, frame: &Frame<H>) -> Result<&[u8]> {
        let length = frame.header.length();
        let bytes = self.window.at(frame.at, length, u64::MAX)?;
        Ok(until(bytes, length as u64))
    }

    /// Lets the stream begin behind `frame`.
    pub(super) fn begin_behind(&mut self, frame: &Frame<H>) {
        self.begin = (frame.at + frame.header.length() as u64).min(self.end);
        self.at = self.begin;
        self.last_end = self.begin;
        self.last = self.begin..self.begin;
    }

    /// Where the stream ends at the latest.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Where the last frame that was met ends.
    pub(super) fn last_end(&self) -> u64 {
        self.last_end
    }

    /// Moves in front of frame `index`, or of the last one.
    pub(super) fn seek(&mut self, index: u64) -> Result<()> {
        let index = index.min(self.total.map_or(u64::MAX, |total| total.saturating_sub(1)));
        self.rewind(index);
        while self.index < index {
            if self.next()?.is_none() {
                // Behind the end: the total is known now.
                return match self.index {
                    0 => Ok(()),
                    total => self.seek(total - 1),
                };
            }
        }
        Ok(())
    }

    /// Moves to the last mark at `index` or before it, if the way from there is shorter.
    fn rewind(&mut self, index: u64) {
        let mark = (index / MARK).min((self.marks.len() as u64).saturating_sub(1));
        if self.index <= index && mark * MARK <= self.index {
            return;
        }
        let at = self.marks.get(mark as usize).copied();
        self.at = at.unwrap_or(self.begin);
        self.index = mark * MARK;
    }

    /// How many frames there are.
    pub(super) fn count(&mut self) -> Result<u64> {
        if let Some(total) = self.total {
            return Ok(total);
        }
        self.rewind(u64::MAX);
        while self.next()?.is_some() {}
        Ok(self.index)
    }
}
