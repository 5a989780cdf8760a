//! The part of the source that is looked at: all of it in memory, else pieces that are read once.

use crate::bytes::source::Source;
use crate::error::{Error, Result};
use crate::guard::room;

/// Bytes per read when a stream is read through: each may be a request over a network.
const PIECE: usize = 256 * 1024;
/// The same of a file, where a read is cheap and fresh memory to read into is not.
const FILE_PIECE: usize = 64 * 1024;
/// The first piece: a range over a network is often shorter than [`PIECE`].
const FIRST_PIECE: usize = 32 * 1024;

pub(crate) struct Window<'a> {
    source: Source<'a>,
    buffer: Vec<u8>,
    start: u64,
    piece: usize,
}

impl<'a> Window<'a> {
    pub(crate) fn new(source: Source<'a>) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            start: 0,
            piece: FIRST_PIECE,
        }
    }

    /// The source, what was read of it forgotten.
    pub(crate) fn into_source(self) -> Source<'a> {
        self.source
    }

    /// Notes what is careless and is read all the same: [`Source::remark`].
    pub(crate) fn remark(&self, carelessness: Error) -> Result<()> {
        self.source.remark(carelessness)
    }

    /// The source, to be read beside the window, which stays where it is.
    pub(crate) fn source(&mut self) -> &mut Source<'a> {
        &mut self.source
    }

    /// Length of the source.
    pub(crate) fn len(&self) -> u64 {
        self.source.len()
    }

    /// The bytes from `at` on: `need` of them or more, fewer only at the end.
    ///
    /// What has to be read is `expected` long at most, where `need` is not longer.
    pub(crate) fn at(&mut self, at: u64, need: usize, expected: u64) -> Result<&[u8]> {
        crate::interrupt::check()?;
        let at = at.min(self.len());
        self.source.spend(at, 1)?;
        if let Some(bytes) = self.source.in_memory() {
            return Ok(bytes.get(at as usize..).unwrap_or_default());
        }
        let inside = at.checked_sub(self.start).map(|skip| skip as usize);
        let skip = inside.filter(|skip| *skip <= self.buffer.len());
        let have = skip.map_or(0, |skip| self.buffer.len() - skip);
        let rest = self.len() - at;
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

    /// At most `length` bytes from `at`, read beside the window, which stays where it is.
    pub(crate) fn aside<'s>(
        &'s mut self,
        at: u64,
        length: usize,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        self.source.bytes_at(at, length, scratch)
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
