//! A source read piece by piece, or a stream that lies in pieces in one.

use std::ops::Range;

use crate::bytes::source::Source;
use crate::error::{Error, Result};
use crate::guard::room;

/// Bytes per read when a stream is read through: each may be a request over a network.
const PIECE: usize = 256 * 1024;
/// The same of a file, where a read is cheap and fresh memory to read into is not.
const FILE_PIECE: usize = 64 * 1024;
/// The first piece: a range over a network is often shorter than [`PIECE`].
const FIRST_PIECE: usize = 32 * 1024;

/// Bytes that lie in pieces all over a file, as one stream: the track of a container whose packets say little.
pub(crate) trait Joined<'a>: Send {
    /// As [`Window::at`]; positions are those of the stream.
    ///
    /// # Errors
    /// What reading the file fails with.
    fn at(&mut self, at: u64, need: usize) -> Result<&[u8]>;

    /// Bytes of the stream once its end was met; before, more than there can be.
    fn len(&self) -> u64;

    /// The byte of the file that is byte `at` of the stream, as far as that was read; at a seam the byte that shows
    /// it.
    fn file_byte(&self, at: u64) -> u64;

    /// The first seam in `range`, as far as that was read.
    fn seam(&self, range: Range<u64>) -> Option<Seam>;

    /// The last timestamp that is given in `range`, of 90,000 Hz and 33 bits.
    fn stamp(&self, range: Range<u64>) -> Option<u64>;

    /// The file.
    fn file(&mut self) -> &mut Window<'a>;

    /// The remarks on the file.
    fn remark(&self, carelessness: Error) -> Result<()>;

    /// The file, what was read of it forgotten.
    fn into_file(self: Box<Self>) -> Window<'a>;
}

/// A place between two bytes of a stream at which bytes of it seem to be lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seam {
    /// The byte after it.
    pub(crate) at: u64,
    /// Bytes that are lost, as far as is known.
    pub(crate) lost: u64,
    /// What shows it.
    pub(crate) reason: &'static str,
    /// Whether the bytes were seen, and are damaged.
    pub(crate) is_sure: bool,
}

/// A source, or a stream that lies in one, read piece by piece.
pub(crate) struct Window<'a>(View<'a>);

enum View<'a> {
    Plain(Plain<'a>),
    Joined(Box<dyn Joined<'a> + 'a>),
}

impl<'a> Window<'a> {
    pub(crate) fn new(source: Source<'a>) -> Self {
        Self(View::Plain(Plain {
            source,
            buffer: Vec::new(),
            start: 0,
            piece: FIRST_PIECE,
        }))
    }

    /// A window on a stream that lies in pieces.
    pub(crate) fn joined(stream: Box<dyn Joined<'a> + 'a>) -> Self {
        Self(View::Joined(stream))
    }

    /// The source, what was read of it forgotten.
    pub(crate) fn into_source(self) -> Source<'a> {
        match self.0 {
            View::Plain(plain) => plain.source,
            View::Joined(stream) => stream.into_file().into_source(),
        }
    }

    /// Notes what is careless and is read all the same: [`Source::remark`].
    pub(crate) fn remark(&self, carelessness: Error) -> Result<()> {
        match &self.0 {
            View::Plain(plain) => plain.source.remark(carelessness),
            View::Joined(stream) => stream.remark(self.in_file(carelessness)),
        }
    }

    /// The source, to be read beside the window, which stays where it is.
    pub(crate) fn source(&mut self) -> &mut Source<'a> {
        match &mut self.0 {
            View::Plain(plain) => &mut plain.source,
            View::Joined(stream) => stream.file().source(),
        }
    }

    /// Bytes that are looked at: those of the source, or of the stream as [`Joined::len`] says.
    pub(crate) fn len(&self) -> u64 {
        match &self.0 {
            View::Plain(plain) => plain.source.len(),
            View::Joined(stream) => stream.len(),
        }
    }

    /// The bytes from `at` on: `need` of them or more, fewer only at the end.
    ///
    /// What has to be read is `expected` long at most, where `need` is not longer.
    pub(crate) fn at(&mut self, at: u64, need: usize, expected: u64) -> Result<&[u8]> {
        match &mut self.0 {
            View::Plain(plain) => plain.at(at, need, expected),
            View::Joined(stream) => stream.at(at, need),
        }
    }

    /// At most `length` bytes from `at` of the source, read beside the window, which stays where it is.
    pub(crate) fn aside<'s>(
        &'s mut self,
        at: u64,
        length: usize,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        self.source().bytes_at(at, length, scratch)
    }

    /// Whether it is on a stream that lies in pieces.
    pub(crate) fn is_joined(&self) -> bool {
        matches!(self.0, View::Joined(_))
    }

    /// How many of the `length` bytes from `at` on are there, which tells where a stream ends that had not met
    /// its end.
    pub(crate) fn reach(&mut self, at: u64, length: usize) -> Result<u64> {
        if let View::Joined(stream) = &mut self.0 {
            stream.at(at, length)?;
        }
        Ok(self.len().saturating_sub(at))
    }

    /// [`Joined::seam`]; a source has none.
    pub(crate) fn seam(&self, range: Range<u64>) -> Option<Seam> {
        match &self.0 {
            View::Plain(_) => None,
            View::Joined(stream) => stream.seam(range),
        }
    }

    /// [`Joined::stamp`]; a source has none.
    pub(crate) fn stamp(&self, range: Range<u64>) -> Option<u64> {
        match &self.0 {
            View::Plain(_) => None,
            View::Joined(stream) => stream.stamp(range),
        }
    }

    /// The byte of the file that is byte `at` here, as far as that was read.
    pub(crate) fn file_byte(&self, at: u64) -> u64 {
        match &self.0 {
            View::Plain(_) => at,
            View::Joined(stream) => stream.file_byte(at),
        }
    }

    /// `error`, which names a byte here, with the file's byte in its place. What names the file already is told by
    /// its reader.
    pub(crate) fn in_file(&self, error: Error) -> Error {
        match &self.0 {
            View::Joined(_) if error.source_name().is_none() => {
                error.move_byte(|at| self.file_byte(at))
            }
            _ => error,
        }
    }
}

/// The part of the source that is looked at: all of it in memory, else pieces that are read once.
struct Plain<'a> {
    source: Source<'a>,
    buffer: Vec<u8>,
    start: u64,
    piece: usize,
}

impl Plain<'_> {
    /// [`Window::at`].
    fn at(&mut self, at: u64, need: usize, expected: u64) -> Result<&[u8]> {
        crate::interrupt::check()?;
        let at = at.min(self.source.len());
        self.source.spend(at, 1)?;
        if let Some(bytes) = self.source.in_memory() {
            return Ok(bytes.get(at as usize..).unwrap_or_default());
        }
        let inside = at.checked_sub(self.start).map(|skip| skip as usize);
        let skip = inside.filter(|skip| *skip <= self.buffer.len());
        let have = skip.map_or(0, |skip| self.buffer.len() - skip);
        let rest = self.source.len() - at;
        if (have as u64) < rest.min(need as u64) {
            let piece = (self.piece as u64).min(expected).max(need as u64).min(rest) as usize;
            let most = if self.source.is_file() {
                FILE_PIECE
            } else {
                PIECE
            };
            // A glance at a header does not show that the source is read through.
            if piece >= self.piece {
                self.piece = (4 * self.piece).min(most);
            }
            self.move_to(at, skip, piece)?;
            return Ok(&self.buffer);
        }
        // At the end there is nothing, whatever the buffer still holds of another place.
        Ok(skip.map_or(&[][..], |skip| &self.buffer[skip..]))
    }

    /// Keeps what is there of `at..at + length` and reads the rest.
    fn move_to(&mut self, at: u64, skip: Option<usize>, length: usize) -> Result<()> {
        let kept = match skip {
            Some(skip) => {
                self.buffer.copy_within(skip.., 0);
                self.buffer.len() - skip
            }
            None => 0,
        };
        self.start = at;
        // What is there is written over: zeros for it would be a pass over the memory for nothing.
        room::resize(&mut self.buffer, length.max(kept), 0)?;
        let fresh = self.buffer.get_mut(kept..).unwrap_or_default();
        let read = self.source.fill(at + kept as u64, fresh);
        if read.is_err() {
            self.buffer.truncate(kept);
        }
        read
    }
}
