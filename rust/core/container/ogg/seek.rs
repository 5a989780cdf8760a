//! Pages by their granule positions, found by bisection, and the length by the last ones.

use super::Ogg;
use super::page::{MAX_PAGE_BYTES, Page};
use crate::container::demuxer::Demuxer;
use crate::error::Result;

/// Below this distance pages are read one by one.
const LINEAR_BYTES: u64 = 2 * MAX_PAGE_BYTES;
/// So many steps go by proportion; from then on the middle is taken, which always ends.
const GUESSES: u32 = 8;

impl Ogg<'_> {
    /// The last page of the link that ends at `frame` of the recording or before it, and from which positions can be
    /// counted.
    pub(super) fn page_before(&mut self, frame: i64) -> Result<Option<Page>> {
        let target = self.link.granule(frame).saturating_sub(self.tolerance());
        let (mut best, mut high) = self.bounds(target)?;
        let mut low = best
            .as_ref()
            .map_or(self.link.first_page, |page: &Page| page.end);
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
            // The last one's position is that after the cut.
            if position > target || page.is_last() {
                break;
            }
            low = page.end;
            best = Some(page);
        }
        Ok(best.filter(|page| page.at > self.link.first_page))
    }

    /// A page of the link that ends at position `target` or before it, and the byte from which on pages end after it.
    fn bounds(&mut self, target: i64) -> Result<(Option<Page>, u64)> {
        let end = self.chain.end_of(&self.link).unwrap_or(self.pages.len());
        if self.link.base > 0 {
            return Ok((None, end));
        }
        let (before, after) = self.looked_around(target);
        let end = after.map_or(end, |page| page.at.min(end));
        let Some(at) = before.map(|page| page.at).filter(|at| *at < end) else {
            return Ok((None, end));
        };
        // Its head alone was read: whether it is whole shows here.
        let page = self.pages.find(at, at + 1, |_| true)?;
        Ok((
            page.filter(|page| page.has_packet() && !page.is_last()),
            end,
        ))
    }

    /// A byte a little before `target` or a little after it, in turn, if the stream goes on as it has up
    /// to the `known` page; `None`: not known, or guessed too often.
    fn guess(&self, target: i64, known: Option<&Page>, guesses: u32) -> Option<u64> {
        let known = known.filter(|_| guesses < GUESSES)?;
        let (first_page, start) = (self.link.first_page, self.link.granule(self.link.base));
        let bytes = i128::from(known.at - first_page);
        let positions = i128::from(known.position()?.saturating_sub(start)).max(1);
        let there = i128::from(target.saturating_sub(start)).max(0) * bytes / positions;
        let there = first_page.saturating_add(u64::try_from(there).ok()?);
        Some(match guesses % 2 {
            1 => there.saturating_sub(MAX_PAGE_BYTES),
            _ => there.saturating_add(MAX_PAGE_BYTES / 2),
        })
    }

    /// The link's first page that begins in `from..to` and on which a packet begins and ends, and its position.
    fn positioned_page(&mut self, from: u64, to: u64) -> Result<Option<(Page, i64)>> {
        let serial = self.link.serial;
        let wanted =
            |page: &Page| page.serial == serial && page.has_packet() && page.position().is_some();
        let page = self.pages.find(from, to, wanted)?;
        Ok(page.and_then(|page| page.position().map(|position| (page, position))))
    }

    /// The first whole page that begins in `from..to` and belongs to the link or begins another.
    pub(super) fn find_page(&mut self, from: u64, to: u64) -> Result<Option<Page>> {
        let serial = self.link.serial;
        let wanted = |page: &Page| page.serial == serial || page.is_first();
        self.pages.find(from, to, wanted)
    }

    /// Reads on to the packet with `frame` in it.
    pub(super) fn pass_to(&mut self, frame: i64) -> Result<()> {
        let mut before = None;
        while let Some(packet) = self.next_packet()? {
            let end = packet.begin.zip(packet.frames);
            let end = end.map(|(begin, frames)| begin.saturating_add(frames as i64));
            if end.is_none_or(|end| end > frame) {
                self.packets.push_front(packet);
                break;
            }
            before = Some(packet);
        }
        // Vorbis has to be primed, and after the last packet there is none.
        let is_wanted = self.packets.is_empty() || self.lengths.is_vorbis();
        if let Some(mut prime) = before.filter(|_| is_wanted) {
            if let Some(next) = self.packets.front() {
                prime.begin = next.begin;
                prime.frames = Some(0);
            }
            self.packets.push_front(prime);
        }
        Ok(())
    }

    /// The length of a recording of one link, counted from a page near its end; `None`: it has to be counted from the
    /// first page on.
    pub(super) fn frames_by_the_last_pages(&mut self) -> Result<Option<u64>> {
        let link = self.chain.first();
        let from = self.pages.len().saturating_sub(LINEAR_BYTES);
        if from <= link.first_page || !self.is_single()? {
            return Ok(None);
        }
        self.enter(link);
        let Some((page, _)) = self.positioned_page(from, self.pages.len())? else {
            return Ok(None);
        };
        self.continue_at(page.at);
        self.is_unsure = page.is_last();
        let frames = self.frames_from_here();
        // What is damaged is met again, after what may be damaged before it.
        Ok(frames.ok().flatten().filter(|_| !self.is_unsure))
    }

    /// Where the recording ends, by the packets that follow.
    pub(super) fn frames_from_here(&mut self) -> Result<Option<u64>> {
        let mut end = Some(0i64);
        while let Some(packet) = self.next_packet()? {
            let frames = packet.frames.map(|frames| (frames - packet.padding) as i64);
            let behind = packet.begin.or(end).zip(frames);
            let behind = behind.map(|(begin, frames)| begin.saturating_add(frames));
            // What a link has in front of its beginning is not after the link before.
            end = behind.map(|behind| behind.max(end.unwrap_or(0)));
        }
        Ok(end.map(|end| end.max(0) as u64))
    }
}
