//! The links of a file, as far as they are known.
//!
//! A file of one link says its length with its last page. That the last page belongs to the first link shows in the
//! stream's number, which links may share where one program wrote them and they were put after each other, and in
//! the pages' own numbers, which begin anew with each link.

use super::Ogg;
use super::link::Link;
use super::page::{MAX_PAGE_BYTES, Page};
use crate::container::demuxer::Demuxer;
use crate::error::Result;

/// Pages are looked at from here on, each three quarters as far again from the beginning: with pages of about one size
/// the first link's end lies between two of which the second has the lower number.
const FIRST_LOOK_BYTES: u64 = 64 * 1024;

pub(super) struct Chain {
    links: Vec<Link>,
    /// The streams beside the first link's.
    others: Vec<u32>,
    /// Whether the file has one link; `None`: not looked yet.
    is_single: Option<bool>,
    /// Pages of the first link that were looked at, by place and by position.
    looked: Vec<Page>,
    /// Whether all links are known.
    is_whole: bool,
    rate_change: Option<i64>,
}

impl Chain {
    /// Of a file whose first link has streams `others` beside its own.
    pub(super) fn new(others: Vec<u32>) -> Self {
        Self {
            links: Vec::new(),
            others,
            is_single: None,
            looked: Vec::new(),
            is_whole: false,
            rate_change: None,
        }
    }

    /// Takes a link that follows the known ones.
    pub(super) fn add(&mut self, link: &Link) {
        if self.links.last().is_none_or(|last| last.at < link.at) {
            self.links.push(link.clone());
        }
    }

    pub(super) fn first(&self) -> Link {
        self.links[0].clone()
    }

    /// The link whose first page is at byte `at`.
    pub(super) fn link_at(&self, at: u64) -> Option<Link> {
        let index = self.links.binary_search_by_key(&at, |link| link.at).ok()?;
        self.links.get(index).cloned()
    }

    /// Where the link after `link` begins.
    pub(super) fn end_of(&self, link: &Link) -> Option<u64> {
        let index = self.links.partition_point(|other| other.at <= link.at);
        self.links.get(index).map(|next| next.at)
    }

    /// Where the next page is looked at in a link whose first page of audio is at byte `start`.
    fn next_look(&self, start: u64) -> u64 {
        let further = self
            .looked
            .last()
            .map_or(0, |page| page.end.max(start + (page.at - start) / 4 * 7));
        further.max(start + FIRST_LOOK_BYTES)
    }

    /// Whether `page` may belong to the `first` link or to a stream beside it and follow the page `before`.
    fn goes_on(&self, first: &Link, page: &Page, before: Option<&Page>) -> bool {
        if page.is_first() || page.serial != first.serial {
            return !page.is_first() && self.others.contains(&page.serial);
        }
        let Some(before) = before else {
            return true;
        };
        // Pages of other streams lie between those of this one: then its own may be few.
        let least = match self.others.as_slice() {
            [] => page.at.saturating_sub(before.at) / MAX_PAGE_BYTES,
            _ => 1,
        };
        let position = before.position().zip(page.position());
        let falls = position.is_some_and(|(before, here)| here < before);
        !falls && u64::from(page.number) >= u64::from(before.number) + least.max(1)
    }

    /// The recording has another rate from frame `base` on.
    pub(super) fn note_rate_change(&mut self, base: i64) {
        self.rate_change = Some(self.rate_change.map_or(base, |known| known.min(base)));
    }

    pub(super) fn rate_change(&self) -> Option<i64> {
        self.rate_change
    }
}

impl Ogg<'_> {
    /// The link with `frame` in it.
    pub(super) fn link_with(&mut self, frame: i64) -> Result<Link> {
        let first = self.chain.first();
        if frame <= 0 || self.begins_with(&first, frame)? {
            return Ok(first);
        }
        self.find_links()?;
        let links = &self.chain.links;
        let behind = links.partition_point(|link| link.base <= frame);
        Ok(links[behind.saturating_sub(1)].clone())
    }

    /// Reads all pages for the links, whatever is damaged.
    fn find_links(&mut self) -> Result<()> {
        if self.chain.is_whole {
            return Ok(());
        }
        let first = self.chain.first();
        self.enter(first);
        loop {
            match self.next_packet() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        self.chain.is_whole = true;
        Ok(())
    }

    /// Whether `frame` lies in the `first` link, as far as a few pages tell; if not, all have to be read.
    fn begins_with(&mut self, first: &Link, frame: i64) -> Result<bool> {
        if let Some(is_single) = self.chain.is_single {
            return Ok(is_single);
        }
        let target = first.granule(frame).saturating_add(self.tolerance());
        let is_after = |page: &Page| page.position().is_some_and(|position| position > target);
        if self.chain.looked.last().is_some_and(is_after) {
            return Ok(true);
        }
        match self.look_along(is_after)? {
            Some(is_in_it) => Ok(is_in_it),
            None => self.is_single(),
        }
    }

    /// Whether the file has one link.
    pub(super) fn is_single(&mut self) -> Result<bool> {
        if let Some(known) = self.chain.is_single {
            return Ok(known);
        }
        let is_single = self.look_along(|_| false)?.is_none() && self.ends_single()?;
        self.chain.is_single = Some(is_single);
        Ok(is_single)
    }

    /// Looks at pages here and there up to one that `is_enough`; `Some(false)`: another link was met, `None`: neither.
    ///
    /// Heads alone are read. One that would be of another link counts if its page is whole.
    fn look_along(&mut self, is_enough: impl Fn(&Page) -> bool) -> Result<Option<bool>> {
        let first = self.chain.first();
        let end = self.pages.len().saturating_sub(MAX_PAGE_BYTES);
        let mut at = self.chain.next_look(first.first_page);
        while at < end {
            let Some(page) = self.pages.find_head(at, end)? else {
                break;
            };
            if !self.chain.goes_on(&first, &page, self.chain.looked.last()) {
                match self.pages.at(page.at) {
                    Ok(_) => return Ok(Some(false)),
                    Err(error) if error.is_damage() => at = page.at + 1,
                    Err(error) => return Err(error),
                }
                continue;
            }
            at = page.end;
            if page.serial == first.serial && page.position().is_some() {
                let found = is_enough(&page);
                self.chain.looked.push(page);
                if found {
                    return Ok(Some(true));
                }
                at = self.chain.next_look(first.first_page);
            }
        }
        Ok(None)
    }

    /// Whether none of the last pages belongs to another link.
    fn ends_single(&mut self) -> Result<bool> {
        let first = self.chain.first();
        let mut at = self.pages.fetch_tail(MAX_PAGE_BYTES)?.max(first.first_page);
        let mut before = self.chain.looked.last().cloned();
        while let Some(page) = self.pages.find(at, self.pages.len(), |_| true)? {
            if !self.chain.goes_on(&first, &page, before.as_ref()) {
                return Ok(false);
            }
            at = page.end;
            if page.serial == first.serial && page.position().is_some() {
                before = Some(page);
            }
        }
        Ok(true)
    }

    /// Pages of the first link between which `position` lies, as far as they were looked at.
    pub(super) fn looked_around(&self, position: i64) -> (Option<&Page>, Option<&Page>) {
        let looked = &self.chain.looked;
        let is_before = |page: &Page| page.position().is_some_and(|there| there <= position);
        let count = looked.partition_point(is_before);
        (
            count.checked_sub(1).and_then(|index| looked.get(index)),
            looked.get(count),
        )
    }
}
