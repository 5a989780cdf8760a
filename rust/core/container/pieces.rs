//! Streams that lie in pieces all over a file: the elementary stream of a transport stream, the chunks of AVI.
//!
//! A walk over the file tells where the pieces lie, one after the other. It is repeated from the last mark
//! before a place that is looked at again.

use std::ops::Range;

use super::demuxer::{Demuxer, Packet, Track};
use crate::bytes::window::{Joined, Seam, Window};
use crate::error::{Error, Result};

/// Bytes of the stream between two places from which the walk can be repeated.
const MARK: u64 = 64 * 1024;
/// Bytes that are kept in front of what is looked at, at most.
const KEPT: u64 = 64 * 1024;
/// Longer than any stream: its length before its end was met.
const UNKNOWN: u64 = 1 << 62;

/// Bytes of a stream that lie in one place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Piece {
    /// The byte of the file at which they begin.
    pub(super) at: u64,
    /// How many there are: some ten thousand at most, so that one fits into memory.
    pub(super) length: usize,
    /// What seems to be lost in front of them.
    pub(super) lost: Option<Lost>,
    /// The timestamp of what begins here: see [`Joined::stamp`].
    pub(super) stamp: Option<u64>,
}

/// What seems to be lost: see [`Seam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lost {
    /// The byte of the file that shows it.
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) reason: &'static str,
    pub(super) is_sure: bool,
}

impl Lost {
    /// This, and what else is lost at the same place.
    pub(super) fn and(self, more: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(more.bytes),
            is_sure: self.is_sure || more.is_sure,
            ..self
        }
    }
}

/// Finds the pieces of a stream.
pub(super) trait Walk: Clone + Send {
    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// What reading the file fails with.
    fn next(&mut self, file: &mut Window<'_>) -> Result<Option<Piece>>;
}

/// The stream that a walk finds.
pub(super) struct Pieces<'a, W> {
    file: Window<'a>,
    walk: W,
    buffer: Vec<u8>,
    /// Where the buffer begins and ends in the stream.
    held: Range<u64>,
    /// Where the walk stood at some places.
    marks: Vec<(u64, W)>,
    /// Where runs of pieces lie: in the stream and in the file.
    places: Vec<(u64, u64)>,
    /// The farthest piece that was met.
    farthest: Option<u64>,
    seams: Vec<(u64, Lost)>,
    stamps: Vec<(u64, u64)>,
    total: Option<u64>,
}

impl<'a, W: Walk> Pieces<'a, W> {
    pub(super) fn new(file: Window<'a>, walk: W) -> Self {
        Self {
            file,
            marks: vec![(0, walk.clone())],
            walk,
            buffer: Vec::new(),
            held: 0..0,
            places: Vec::new(),
            farthest: None,
            seams: Vec::new(),
            stamps: Vec::new(),
            total: None,
        }
    }

    /// The next piece, which begins where the buffer ends.
    fn next(&mut self) -> Result<Option<Piece>> {
        let at = self.held.end;
        if self.marks.last().is_none_or(|(last, _)| at >= last + MARK) {
            self.marks.push((at, self.walk.clone()));
        }
        let piece = self.walk.next(&mut self.file)?;
        match piece {
            Some(piece) if self.farthest.is_none_or(|farthest| piece.at > farthest) => {
                self.learn(at, piece);
            }
            Some(_) => {}
            None => self.total = Some(at),
        }
        Ok(piece)
    }

    /// Notes what a piece tells that was never met before.
    fn learn(&mut self, at: u64, piece: Piece) {
        self.farthest = Some(piece.at);
        let is_run = |(place, byte): &(u64, u64)| at - place == piece.at - byte;
        if !self.places.last().is_some_and(is_run) {
            self.places.push((at, piece.at));
        }
        if let Some(stamp) = piece.stamp {
            self.stamps.push((at, stamp));
        }
        let Some(lost) = piece.lost else { return };
        match self.seams.last_mut().filter(|(place, _)| *place == at) {
            Some((_, before)) => *before = before.and(lost),
            None => self.seams.push((at, lost)),
        }
    }

    /// Reads the next piece, if there is one.
    fn grow(&mut self) -> Result<()> {
        if let Some(piece) = self.next()? {
            let bytes = self.file.at(piece.at, piece.length, u64::MAX)?;
            let bytes = bytes.get(..piece.length).unwrap_or(bytes);
            self.buffer.extend_from_slice(bytes);
            self.held.end += bytes.len() as u64;
            if bytes.len() < piece.length {
                self.total = Some(self.held.end);
            }
        }
        Ok(())
    }

    /// Lets the buffer begin with the piece that has byte `at`, or be empty at the end.
    fn go_to(&mut self, at: u64) -> Result<()> {
        let after = self.marks.partition_point(|(mark, _)| *mark <= at);
        if let Some((mark, walk)) = self.marks.get(after.saturating_sub(1))
            && (at < self.held.start || *mark > self.held.end)
        {
            self.walk = walk.clone();
            self.held.end = *mark;
        }
        self.buffer.clear();
        self.held.start = self.held.end;
        while self.total.is_none_or(|total| self.held.end < total) {
            let before = self.walk.clone();
            let Some(piece) = self.next()? else { break };
            if self.held.end + piece.length as u64 > at {
                self.walk = before;
                return self.grow();
            }
            self.held.end += piece.length as u64;
            self.held.start = self.held.end;
        }
        Ok(())
    }
}

impl<'a, W: Walk> Joined<'a> for Pieces<'a, W> {
    fn at(&mut self, at: u64, need: usize) -> Result<&[u8]> {
        self.file.source().spend(0, 1)?;
        if !(self.held.start..=self.held.end).contains(&at) {
            self.go_to(at)?;
        }
        let end = at.saturating_add(need as u64);
        let is_short = |held: &Range<u64>, total: Option<u64>| {
            held.end < end && total.is_none_or(|total| held.end < total)
        };
        if is_short(&self.held, self.total) {
            crate::interrupt::check()?;
            let passed = at.saturating_sub(self.held.start);
            if passed > KEPT {
                let passed = passed.min(self.buffer.len() as u64);
                self.buffer.drain(..passed as usize);
                self.held.start += passed;
            }
        }
        while is_short(&self.held, self.total) {
            self.grow()?;
        }
        let skip = at.saturating_sub(self.held.start) as usize;
        Ok(self.buffer.get(skip..).unwrap_or_default())
    }

    fn len(&self) -> u64 {
        self.total.unwrap_or(UNKNOWN)
    }

    fn file_byte(&self, at: u64) -> u64 {
        if let Ok(seam) = self.seams.binary_search_by_key(&at, |(at, _)| *at)
            && let Some((_, lost)) = self.seams.get(seam)
        {
            return lost.at;
        }
        let after = self.places.partition_point(|(place, _)| *place <= at);
        let (place, byte) = after
            .checked_sub(1)
            .and_then(|last| self.places.get(last))
            .copied()
            .unwrap_or_default();
        (byte.saturating_add(at - place)).min(self.file.len())
    }

    fn seam(&self, range: Range<u64>) -> Option<Seam> {
        let first = self.seams.partition_point(|(at, _)| *at < range.start);
        let (at, lost) = *self.seams.get(first)?;
        (at < range.end).then_some(Seam {
            at,
            lost: lost.bytes,
            reason: lost.reason,
            is_sure: lost.is_sure,
        })
    }

    fn stamp(&self, range: Range<u64>) -> Option<u64> {
        let after = self.stamps.partition_point(|(at, _)| *at < range.end);
        let (at, stamp) = self.stamps.get(after.checked_sub(1)?)?;
        (*at >= range.start).then_some(*stamp)
    }

    fn file(&mut self) -> &mut Window<'a> {
        &mut self.file
    }

    fn remark(&self, carelessness: Error) -> Result<()> {
        self.file.remark(carelessness)
    }

    fn into_file(self: Box<Self>) -> Window<'a> {
        self.file
    }
}

/// A demuxer of a stream in pieces: its packets and errors name bytes of the file.
pub(super) struct Carried<D>(pub(super) D);

/// A demuxer of a stream, which it looks at through a window.
pub(super) trait Bare: Demuxer {
    /// [`Window::in_file`].
    fn in_file(&self, error: Error) -> Error;

    /// [`Window::file_byte`].
    fn file_byte(&self, at: u64) -> u64;
}

impl<D: Bare> Demuxer for Carried<D> {
    fn track(&self) -> &Track {
        self.0.track()
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let packet = self.0.next_packet();
        let packet = packet.map_err(|error| self.0.in_file(error))?;
        Ok(packet.map(|packet| Packet {
            at: self.0.file_byte(packet.at),
            ..packet
        }))
    }

    fn rate_change(&self) -> Option<i64> {
        self.0.rate_change()
    }

    fn link_start(&self) -> i64 {
        self.0.link_start()
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        let done = self.0.seek(frame);
        done.map_err(|error| self.0.in_file(error))
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        let frames = self.0.frames();
        frames.map_err(|error| self.0.in_file(error))
    }
}
