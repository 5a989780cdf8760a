//! The links of a file, as far as they are known.
//!
//! A file of one link says its length with its last page. That the last page belongs to the first link shows in the
//! stream's number, which links may share where one program wrote them and they were put behind each other, and in
//! the pages' own numbers, which begin anew with each link.

use super::Ogg;
use super::link::Link;
use super::seek::LINEAR_BYTES;
use crate::container::demuxer::Demuxer;
use crate::error::Result;

/// Pages are looked at from here on, each half as far again from the beginning: with pages of about one size the first
/// link's end lies between two of which the second has the lower number.
const FIRST_LOOK_BYTES: u64 = 64 * 1024;

pub(super) struct Chain {
    links: Vec<Link>,
    /// The streams beside the first link's.
    others: Vec<u32>,
    /// Whether the file has one link; `None`: not looked yet.
    is_single: Option<bool>,
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

    /// Where the link behind `link` begins.
    pub(super) fn end_of(&self, link: &Link) -> Option<u64> {
        let index = self.links.partition_point(|other| other.at <= link.at);
        self.links.get(index).map(|next| next.at)
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
        if frame <= 0 || self.is_single()? {
            return Ok(self.chain.first());
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

    /// Whether the file has one link.
    pub(super) fn is_single(&mut self) -> Result<bool> {
        if let Some(known) = self.chain.is_single {
            return Ok(known);
        }
        let is_single = self.looks_single()?;
        self.chain.is_single = Some(is_single);
        Ok(is_single)
    }

    /// By pages along the file, and all of those at its end: none belongs to another link, and neither their numbers
    /// nor their positions fall.
    fn looks_single(&mut self) -> Result<bool> {
        let first = self.chain.first();
        let (start, end) = (first.first_page, self.pages.len());
        let last_looks = end.saturating_sub(LINEAR_BYTES);
        let (mut distance, mut at, mut before) = (FIRST_LOOK_BYTES, start, None);
        while at < end {
            let Some(page) = self.pages.find(at, end, |_| true)? else {
                break;
            };
            let is_own = page.serial == first.serial;
            if page.is_first() || !(is_own || self.chain.others.contains(&page.serial)) {
                return Ok(false);
            }
            if is_own {
                let here = (page.number, page.position());
                if before.is_some_and(|before| falls(before, here)) {
                    return Ok(false);
                }
                before = Some((here.0, here.1.or(before.and_then(|before| before.1))));
            }
            at = page.end;
            if at < last_looks {
                at = at.max(start.saturating_add(distance).min(last_looks));
                distance += distance / 2;
            }
        }
        Ok(true)
    }
}

/// Whether a page's number or position lies before that of an earlier page.
fn falls(before: (u32, Option<i64>), here: (u32, Option<i64>)) -> bool {
    let position = before.1.zip(here.1);
    here.0 <= before.0 || position.is_some_and(|(before, here)| here < before)
}
