//! Pages by their granule positions, found by bisection.

use super::Ogg;
use super::page::{MAX_PAGE_BYTES, NoPage, Page, read_page};
use crate::error::Result;

/// Below this distance pages are read one by one.
const LINEAR_BYTES: u64 = 2 * MAX_PAGE_BYTES;
/// So many steps go by proportion; from then on the middle is taken, which always ends.
const GUESSES: u32 = 8;
/// Bytes that are read at once where pages are searched.
const GLANCE_BYTES: u64 = 16 * 1024;

impl Ogg<'_> {
    /// The last page that ends at granule position `target` or before it, and from which positions
    /// can be counted.
    pub(super) fn page_before(&mut self, target: i64) -> Result<Option<Page>> {
        let (mut low, mut high, mut best) = (self.first_page, self.window.len(), None);
        let mut guesses = 0;
        while high.saturating_sub(low) > LINEAR_BYTES {
            let guess = self.guess(target, best.as_ref(), guesses);
            guesses += 1;
            let middle = guess.filter(|guess| (low + 1..high).contains(guess));
            let middle = middle.unwrap_or(low + (high - low) / 2);
            match self.positioned_page(middle, high)? {
                Some((page, position)) if position <= target && !page.is_last() => {
                    low = page.end;
                    best = Some(page);
                }
                _ => high = middle,
            }
        }
        while let Some((page, position)) = self.positioned_page(low, high)? {
            // The last one's position is that behind the cut.
            if position > target || page.is_last() {
                break;
            }
            low = page.end;
            best = Some(page);
        }
        Ok(best.filter(|page| page.at > self.first_page))
    }

    /// A byte a little before `target` or a little behind it, in turn, if the stream goes on as it has up
    /// to the `known` page; `None`: not known, or guessed too often.
    fn guess(&self, target: i64, known: Option<&Page>, guesses: u32) -> Option<u64> {
        let known = known.filter(|_| guesses < GUESSES)?;
        let bytes = i128::from(known.at - self.first_page);
        let positions = i128::from(known.position()? - self.start).max(1);
        let there = i128::from(target - self.start).max(0) * bytes / positions;
        let there = self.first_page.saturating_add(u64::try_from(there).ok()?);
        Some(match guesses % 2 {
            1 => there.saturating_sub(MAX_PAGE_BYTES),
            _ => there.saturating_add(MAX_PAGE_BYTES / 2),
        })
    }

    /// The first page that begins in `from..to` and on which a packet begins and ends, and its position.
    fn positioned_page(&mut self, from: u64, to: u64) -> Result<Option<(Page, i64)>> {
        let mut at = from;
        while let Some(page) = self.find_page(at, to)? {
            if let Some(position) = page.position().filter(|_| page.has_packet()) {
                return Ok(Some((page, position)));
            }
            at = page.end;
        }
        Ok(None)
    }

    /// The granule position with which the stream ends: of its last page, where that is in place.
    pub(super) fn last_position(&mut self) -> Result<Option<i64>> {
        let end = self.window.len();
        let from = end.saturating_sub(LINEAR_BYTES).max(self.first_page);
        let mut at = from;
        while let Some(page) = self.find_page(at, end)? {
            if page.is_last() {
                return Ok(page.position());
            }
            at = page.end;
        }
        Ok(None)
    }

    /// The first whole page of the stream that begins in `from..to`.
    pub(super) fn find_page(&mut self, from: u64, to: u64) -> Result<Option<Page>> {
        let mut at = from;
        while at < to {
            match read_page(&mut self.window, at, GLANCE_BYTES) {
                Ok(page) if page.serial == self.serial => return Ok(Some(page)),
                Ok(page) => at = page.end,
                Err(NoPage::Io(error)) => return Err(error),
                Err(_) => match self.find_mark(at + 1, to)? {
                    Some(found) => at = found,
                    None => break,
                },
            }
        }
        Ok(None)
    }

    /// Where the next page may begin.
    fn find_mark(&mut self, from: u64, to: u64) -> Result<Option<u64>> {
        let mut at = from;
        while at < to {
            let bytes = self.window.at(at, 4, GLANCE_BYTES)?;
            let most = bytes.len().min(GLANCE_BYTES as usize);
            let bytes = bytes.get(..most).unwrap_or_default();
            if let Some(found) = bytes.windows(4).position(|four| four == b"OggS") {
                let found = at + found as u64;
                return Ok((found < to).then_some(found));
            }
            at += most.saturating_sub(3).max(1) as u64;
        }
        Ok(None)
    }
}
