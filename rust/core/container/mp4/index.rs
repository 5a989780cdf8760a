//! Where fragments lie, for seeks: `tfra` at the end of a file, or a `sidx` over all of it.
//!
//! ISO/IEC 14496-12, sections 8.8.10 and 8.16.3. Either is a hint: the fragment tells its time itself.

use super::boxes::{Span, be16, be32, be64, body, children, header};
use super::table::Table;
use crate::bytes::window::Window;
use crate::error::Result;

#[derive(Debug)]
pub(super) enum Index {
    /// `tfra`: entries of time and byte, of 32 or 64 bits.
    Random { table: Table, long: bool },
    /// `sidx`: entries of length in bytes and in ticks, from a byte and a time on.
    Segments { table: Table, at: u64, time: u64 },
}

impl Index {
    /// That of a track, where the file has one that is whole.
    pub(super) fn read(
        window: &mut Window<'_>,
        track: u32,
        sidx: Option<Span>,
    ) -> Result<Option<Self>> {
        if let Some(sidx) = sidx
            && let Some(index) = Self::segments(window, sidx)?
        {
            return Ok(Some(index));
        }
        // The last box tells how long the box that it is in is.
        let len = window.len();
        let mut scratch = Vec::new();
        let tail = window.aside(len.saturating_sub(16), 16, &mut scratch)?;
        let size = be32(tail, 12).filter(|_| tail.get(4..8) == Some(b"mfro"));
        let Some(at) = size.and_then(|size| len.checked_sub(u64::from(size))) else {
            return Ok(None);
        };
        let mfra = header(window, at, len)?.filter(|found| &found.kind == b"mfra");
        let Some(mfra) = mfra.filter(|mfra| mfra.end == len) else {
            return Ok(None);
        };
        for found in children(window, mfra)? {
            if &found.kind == b"tfra"
                && let Some(index) = Self::random(window, found, track)?
            {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    fn random(window: &mut Window<'_>, tfra: Span, track: u32) -> Result<Option<Self>> {
        let head = body(window, tfra, 16)?;
        let (Some(lengths), Some(count)) = (be32(&head, 8), be32(&head, 12)) else {
            return Ok(None);
        };
        let long = head.first() == Some(&1);
        let numbers: u32 = [0, 2, 4]
            .iter()
            .map(|shift| (lengths >> shift & 3) + 1)
            .sum();
        let width = u64::from(numbers) + if long { 16 } else { 8 };
        let table = Table::new(tfra, 16, u64::from(count), width).ok();
        let table = table.filter(|_| be32(&head, 4) == Some(track));
        Ok(table.map(|table| Self::Random { table, long }))
    }

    /// A `sidx` of fragments that reaches to the end of the file.
    fn segments(window: &mut Window<'_>, sidx: Span) -> Result<Option<Self>> {
        let head = body(window, sidx, 32)?;
        let long = head.first() == Some(&1);
        let (times, count_at) = if long {
            ((be64(&head, 12), be64(&head, 20)), 30)
        } else {
            let word = |at| be32(&head, at).map(u64::from);
            ((word(12), word(16)), 22)
        };
        let ((Some(time), Some(offset)), Some(count)) = (times, be16(&head, count_at)) else {
            return Ok(None);
        };
        let at = sidx.end.saturating_add(offset);
        let Ok(mut table) = Table::new(sidx, count_at as u64 + 2, u64::from(count), 12) else {
            return Ok(None);
        };
        let mut end = at;
        for index in 0..table.len() {
            let size = be32(table.entry(window, index)?.unwrap_or_default(), 0).unwrap_or(0);
            if size >> 31 != 0 {
                // It leads to other indices.
                return Ok(None);
            }
            end = end.saturating_add(u64::from(size));
        }
        let rest = header(window, end, window.len()).ok().flatten();
        let whole = end == window.len() || rest.is_some_and(|rest| &rest.kind == b"mfra");
        Ok(whole.then_some(Self::Segments { table, at, time }))
    }

    /// The byte of the last fragment that begins at `tick` or before it, and when by the index.
    pub(super) fn find(&mut self, window: &mut Window<'_>, tick: u64) -> Result<Option<u64>> {
        match self {
            Self::Random { table, long } => {
                let long = *long;
                let (mut low, mut high) = (0, table.len());
                let mut found = None;
                while low < high {
                    let middle = low + (high - low) / 2;
                    let entry = table.entry(window, middle)?.unwrap_or_default();
                    let (time, at) = if long {
                        (be64(entry, 0), be64(entry, 8))
                    } else {
                        let word = |at| be32(entry, at).map(u64::from);
                        (word(0), word(4))
                    };
                    if time.is_some_and(|time| time <= tick) {
                        (low, found) = (middle + 1, at);
                    } else {
                        high = middle;
                    }
                }
                Ok(found)
            }
            Self::Segments { table, at, time } => {
                let (mut at, mut time, mut found) = (*at, *time, None);
                for index in 0..table.len() {
                    if time > tick {
                        break;
                    }
                    found = Some(at);
                    let entry = table.entry(window, index)?.unwrap_or_default();
                    let word = |at| be32(entry, at).map_or(0, u64::from);
                    at = at.saturating_add(word(0));
                    time = time.saturating_add(word(4));
                }
                Ok(found)
            }
        }
    }
}
