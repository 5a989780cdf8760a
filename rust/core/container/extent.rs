//! Where the samples end, when not every size in a header can be believed.
//!
//! A writer to a pipe cannot go back to fill the sizes in: it leaves placeholders. A file that was cut
//! short has sizes too that point beyond its end. What tells them apart is the size of the outermost
//! chunk (RIFF, FORM):
//!
//! - A data size that is one of the placeholders that are known: the samples go to the end of the file.
//! - Any other data size beyond the end of the file, where the outermost size ends inside the file, is a
//!   placeholder or could not hold so much data: nothing says that there was more. To the end of the file.
//! - Both sizes agree and point beyond the end: the file was cut short, which is an error.
//!
//! The first two are remarks. What follows the samples of such a file cannot be known: all of the rest
//! counts as samples, as for FFmpeg and libsndfile, and a part of a frame at its end as none.

use std::ops::RangeInclusive;

use super::chunk::HeaderReader;
use crate::codec::sample::Order;
use crate::error::Result;

/// What a size may be above a placeholder: some writers add the header's own length.
const HEADER_BYTES: u64 = 0x100;
/// Placeholders: `(from, to)`, from which a writer may have rounded down to whole blocks.
const PLACEHOLDERS: [(u64, u64); 5] = [
    // sox in AIFF.
    (0x7F00_0000, 0x7F00_0000),
    (2_000_000_000, 2_000_000_000),
    // sox and espeak-ng 0x7FFF_F000, arecord 0x7FFF_FF00 and 0x8000_0000, others 0x7FFF_FFFF.
    (0x7FFF_F000, 0x8000_0000),
    // FFmpeg and many others; some take a header off.
    (0xFFFF_FF00, 0xFFFF_FFFF),
    // Of 64 bits: FFmpeg's Wave64; -1.
    (i64::MAX as u64 - HEADER_BYTES, u64::MAX),
];

/// What a header says of where the samples lie.
#[derive(Clone, Copy)]
pub(crate) struct Declared {
    /// What to call the size, in a remark.
    pub(crate) container: &'static str,
    /// Where the samples begin.
    pub(crate) at: u64,
    /// Bytes of samples.
    pub(crate) size: u64,
    /// Bytes up to the end of the outermost chunk, by its own size; `None` where the container has none.
    pub(crate) outer_end: Option<u64>,
    /// Bytes of a frame or block.
    pub(crate) block_bytes: u64,
}

impl Declared {
    /// Bytes of samples; `None`: all that are there. More than there are: the file was cut short.
    ///
    /// # Errors
    /// A remark, where the reading is strict.
    pub(super) fn bytes(
        mut self,
        header: &mut HeaderReader<'_, '_>,
        order: Option<Order>,
    ) -> Result<Option<u64>> {
        if self.size == 0 && !self.does_chunk_follow(header, order)? {
            // What follows are samples, though the outermost size was filled in.
            self.outer_end = None;
        }
        match self.carelessness(header.source_len()) {
            Some(reason) => header.remark(self.at, reason).map(|()| None),
            None => Ok(Some(self.size)),
        }
    }

    /// Whether what follows an empty recording may be a chunk, of the kind that has sizes of 32 bits in `order`.
    fn does_chunk_follow(
        self,
        header: &mut HeaderReader<'_, '_>,
        order: Option<Order>,
    ) -> Result<bool> {
        let Some(order) = order else {
            return Ok(true);
        };
        let (chunk, len) = (header.chunk(self.at, order)?, header.source_len());
        Ok(chunk.is_none_or(|chunk| {
            let is_name = chunk.id.iter().all(|byte| (b' '..=b'~').contains(byte));
            is_name && chunk.at + u64::from(chunk.size) <= len
        }))
    }

    /// Why the samples go to the end of the file, which has `len` bytes, whatever the size says.
    pub(crate) fn carelessness(self, len: u64) -> Option<String> {
        let fits = self.at.saturating_add(self.size) <= len;
        // Where the outermost size is right and holds the data, theirs is no placeholder.
        let is_told = fits && self.outer_end == Some(len);
        let is_empty = self.size == 0 && self.at >= len;
        let is_no_witness = || {
            self.outer_end
                .is_some_and(|end| self.is_no_witness(end, len))
        };
        let reason = match is_told || is_empty {
            true => return None,
            _ if self.is_placeholder(self.size) => {
                "data size is a placeholder, as left by programs that write to a pipe"
            }
            _ if !fits && is_no_witness() => {
                "data size points past the end of the file, and contradicts the file's outermost size"
            }
            _ => return None,
        };
        let container = self.container;
        Some(format!(
            "the {container} {reason}: the samples are read to the end of the file"
        ))
    }

    /// Whether the outermost size is none that says that the file was longer once.
    fn is_no_witness(self, end: u64, len: u64) -> bool {
        end <= len || end < self.size || self.is_placeholder(end)
    }

    fn is_placeholder(self, size: u64) -> bool {
        let rounded = |(from, to): (u64, u64)| -> RangeInclusive<u64> {
            from.saturating_sub(self.block_bytes)..=to.saturating_add(HEADER_BYTES)
        };
        size == 0
            || PLACEHOLDERS
                .into_iter()
                .any(|span| rounded(span).contains(&size))
    }
}
