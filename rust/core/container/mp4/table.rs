//! Tables of a box: entries of one width, of which only the needed pages are read.

use super::boxes::{Span, be32};
use crate::bytes::window::Window;
use crate::error::{Error, Result};

/// Entries of the first page: a short range needs few.
const FIRST_PAGE: u64 = 128;
/// Entries of a page at most, 128 KiB of the widest that are common.
const MAX_PAGE: u64 = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Table {
    at: u64,
    count: u64,
    width: u64,
    /// The page: its first entry, and its bytes.
    first: u64,
    bytes: Vec<u8>,
    page: u64,
}

impl Table {
    /// `count` entries of `width` bytes, which lie `skip` bytes into the body of `span`.
    ///
    /// # Errors
    /// More entries than the box has room for.
    pub(super) fn new(span: Span, skip: u64, count: u64, width: u64) -> Result<Self> {
        let at = span.at.saturating_add(skip);
        if span.end.saturating_sub(at) < count.saturating_mul(width) {
            let name = String::from_utf8_lossy(&span.kind).into_owned();
            let reason = format!("the MP4 table {name} has no room for its {count} entries");
            return Err(Error::corrupt(reason).at_byte(span.start));
        }
        Ok(Self {
            at,
            count,
            width,
            page: FIRST_PAGE,
            ..Self::default()
        })
    }

    /// That of a box whose version and flags are followed by the number of entries.
    pub(super) fn counted(window: &mut Window<'_>, span: Span, width: u64) -> Result<Self> {
        let head = super::boxes::body(window, span, 8)?;
        let count = be32(&head, 4).unwrap_or(0);
        Self::new(span, 8, u64::from(count), width)
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// One entry; `None` after the last.
    pub(super) fn entry(&mut self, window: &mut Window<'_>, index: u64) -> Result<Option<&[u8]>> {
        if index >= self.count {
            return Ok(None);
        }
        let have = self.bytes.len() as u64 / self.width.max(1);
        if index < self.first || index - self.first >= have {
            self.turn_to(window, index)?;
        }
        let skip = ((index - self.first) * self.width) as usize;
        Ok(self.bytes.get(skip..skip + self.width as usize))
    }

    fn turn_to(&mut self, window: &mut Window<'_>, index: u64) -> Result<()> {
        let entries = self.page.min(self.count - index);
        self.page = (4 * self.page).min(MAX_PAGE);
        let at = self.at + index * self.width;
        let length = (entries * self.width) as usize;
        let mut scratch = std::mem::take(&mut self.bytes);
        let bytes = window.aside(at, length, &mut scratch)?;
        if bytes.len() < length {
            return Err(cut(window.len()));
        }
        // In memory they stay where they are: a copy is short.
        self.bytes = bytes.to_vec();
        self.first = index;
        Ok(())
    }
}

/// The error of a file that ends where more of it is needed.
pub(super) fn cut(len: u64) -> Error {
    Error::corrupt("the file ends in the middle of its data: it was cut short").at_byte(len)
}

/// How long each sample lasts, in ticks: `stts`, run by run.
#[derive(Debug)]
pub(super) struct Durations {
    table: Table,
    entry: u64,
    /// What the runs in front of `entry` hold.
    sample: u64,
    tick: u64,
}

/// One run of alike samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Run {
    /// Its first sample, and where that begins.
    pub(super) sample: u64,
    pub(super) tick: u64,
    pub(super) count: u64,
    pub(super) delta: u64,
}

impl Durations {
    pub(super) fn new(table: Table) -> Self {
        Self {
            table,
            entry: 0,
            sample: 0,
            tick: 0,
        }
    }

    fn run(&mut self, window: &mut Window<'_>) -> Result<Option<Run>> {
        let Some(bytes) = self.table.entry(window, self.entry)? else {
            return Ok(None);
        };
        Ok(Some(Run {
            sample: self.sample,
            tick: self.tick,
            count: u64::from(be32(bytes, 0).unwrap_or(0)),
            delta: u64::from(be32(bytes, 4).unwrap_or(0)),
        }))
    }

    /// The first run from here on that `is_it`, or the last one.
    fn find(
        &mut self,
        window: &mut Window<'_>,
        is_it: impl Fn(&Run) -> bool,
    ) -> Result<Option<Run>> {
        let mut last = None;
        while let Some(run) = self.run(window)? {
            last = Some(run);
            if is_it(&run) {
                break;
            }
            self.entry += 1;
            self.sample += run.count;
            self.tick = self.tick.saturating_add(run.count * run.delta);
        }
        Ok(last)
    }

    fn rewind(&mut self) {
        (self.entry, self.sample, self.tick) = (0, 0, 0);
    }

    /// The run that `sample` is in, or the last one.
    pub(super) fn of_sample(&mut self, window: &mut Window<'_>, sample: u64) -> Result<Run> {
        if sample < self.sample {
            self.rewind();
        }
        let found = self.find(window, |run| sample < run.sample + run.count)?;
        Ok(found.unwrap_or_default())
    }

    /// The run that is heard at `tick`, or the last one.
    pub(super) fn of_tick(&mut self, window: &mut Window<'_>, tick: u64) -> Result<Run> {
        if tick < self.tick {
            self.rewind();
        }
        let found = self.find(window, |run| {
            tick < run.tick.saturating_add(run.count * run.delta)
        })?;
        Ok(found.unwrap_or_default())
    }

    /// What all samples last but the last one, and what that lasts; `None` where more than it differs.
    pub(super) fn regular(&mut self, window: &mut Window<'_>) -> Result<Option<(u64, u64)>> {
        self.rewind();
        let first = self.find(window, |run| run.count > 0)?.unwrap_or_default();
        let last = self.last(window)?;
        let ends = last.sample + last.count;
        let is_regular = first.count == ends || (first.count + 1 == ends && last.count == 1);
        Ok((first.count > 0 && is_regular).then_some((first.delta, last.delta)))
    }

    /// The last run that holds a sample; the table is read through.
    pub(super) fn last(&mut self, window: &mut Window<'_>) -> Result<Run> {
        self.rewind();
        let mut last = Run::default();
        while let Some(run) = self.run(window)? {
            if run.count > 0 {
                last = run;
            }
            self.entry += 1;
            self.sample += run.count;
            self.tick = self.tick.saturating_add(run.count * run.delta);
        }
        self.rewind();
        Ok(last)
    }
}

/// Bytes of each sample: `stsz` or `stz2`.
#[derive(Debug)]
pub(super) enum Sizes {
    Alike { count: u64, size: u64 },
    Each { table: Table, count: u64, bits: u8 },
}

impl Sizes {
    pub(super) fn new(window: &mut Window<'_>, span: Span) -> Result<Self> {
        let head = super::boxes::body(window, span, 12)?;
        let (Some(size), Some(count)) = (be32(&head, 4), be32(&head, 8)) else {
            return Err(Error::corrupt("the MP4 table of sizes is cut short").at_byte(span.start));
        };
        let (size, count) = (u64::from(size), u64::from(count));
        if &span.kind == b"stsz" && size > 0 {
            return Ok(Self::Alike { count, size });
        }
        let bits = if &span.kind == b"stsz" {
            32
        } else {
            size & 255
        };
        let (entries, width) = match bits {
            4 => (count.div_ceil(2), 1),
            8 | 16 | 32 => (count, bits / 8),
            _ => {
                let reason = format!("the MP4 table of sizes has entries of {bits} bits");
                return Err(Error::corrupt(reason).at_byte(span.start));
            }
        };
        Ok(Self::Each {
            table: Table::new(span, 12, entries, width)?,
            count,
            bits: bits as u8,
        })
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Alike { count, .. } | Self::Each { count, .. } => *count,
        }
    }

    /// The size of all, where they are alike.
    pub(super) fn alike(&self) -> Option<u64> {
        match self {
            Self::Alike { size, .. } => Some(*size),
            Self::Each { .. } => None,
        }
    }

    pub(super) fn get(&mut self, window: &mut Window<'_>, index: u64) -> Result<u64> {
        match self {
            Self::Alike { size, .. } => Ok(*size),
            Self::Each { table, bits: 4, .. } => {
                let pair = table.entry(window, index / 2)?.unwrap_or_default();
                let pair = pair.first().copied().unwrap_or(0);
                Ok(u64::from(if index.is_multiple_of(2) {
                    pair >> 4
                } else {
                    pair & 15
                }))
            }
            Self::Each { table, .. } => {
                let bytes = table.entry(window, index)?.unwrap_or_default();
                Ok(bytes
                    .iter()
                    .fold(0, |size, byte| size << 8 | u64::from(*byte)))
            }
        }
    }

    /// Bytes of the samples `from..to`.
    pub(super) fn sum(&mut self, window: &mut Window<'_>, from: u64, to: u64) -> Result<u64> {
        if let Some(size) = self.alike() {
            return Ok(size.saturating_mul(to.saturating_sub(from)));
        }
        let mut sum = 0;
        for index in from..to {
            sum += self.get(window, index)?;
        }
        Ok(sum)
    }
}
