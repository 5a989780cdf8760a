//! The pages of a file, and what may stand between them.

use super::page::{NoPage, Page, Piece, read_head, read_page, resembles_page};
use crate::bytes::window::Window;
use crate::error::{Error, ErrorKind, Result};

/// Bytes that are read at once where pages are searched.
const GLANCE_BYTES: u64 = 16 * 1024;
/// Bytes of checksums that may be taken in vain, and how often those of the file besides: what only looks like
/// pages could be searched for them without end.
const SPARE_CHECKED_BYTES: u64 = 64 << 20;
const MAX_CHECKS: u64 = 16;

/// Remark on bytes between pages.
pub(super) const NO_PAGE: &str = "bytes between Ogg pages belong to no page";

pub(super) struct Pages<'a> {
    window: Window<'a>,
    /// Bytes of which a checksum was taken in vain.
    checked: u64,
}

impl<'a> Pages<'a> {
    pub(super) fn new(window: Window<'a>) -> Self {
        Self { window, checked: 0 }
    }

    /// Length of the file.
    pub(super) fn len(&self) -> u64 {
        self.window.len()
    }

    /// Notes what is careless at byte `at` and is read all the same.
    pub(super) fn remark(&self, reason: &str, at: u64) -> Result<()> {
        self.note(Error::corrupt(reason).at_byte(at))
    }

    /// The same for what has a reason of its own.
    pub(super) fn note(&self, carelessness: Error) -> Result<()> {
        self.window.remark(carelessness)
    }

    /// The bytes of a piece of a page.
    pub(super) fn bytes(&mut self, piece: &Piece) -> Result<&[u8]> {
        let bytes = self.window.at(piece.at, piece.size, piece.size as u64)?;
        Ok(bytes.get(..piece.size).unwrap_or(bytes))
    }

    /// The page at `at`, which has to be there.
    pub(super) fn at(&mut self, at: u64) -> Result<Page> {
        let ahead = self.len().saturating_sub(at);
        self.read(at, ahead).map_err(|reason| error_of(reason, at))
    }

    /// The page at `at`, or the one after bytes that are none, where it is the next of stream `serial` by its
    /// number: then nothing is missing.
    pub(super) fn next(&mut self, at: u64, serial: u32, number: Option<u32>) -> Result<Page> {
        let error = match self.at(at) {
            Err(error) if error.is_damage() => error,
            page => return page,
        };
        let found = self.find(at + 1, self.len(), |page| {
            page.serial == serial || page.is_first()
        })?;
        let wanted = number.map(|number| (serial, number.wrapping_add(1)));
        match found.filter(|page| Some((page.serial, page.number)) == wanted) {
            Some(page) => {
                self.remark(NO_PAGE, at)?;
                Ok(page)
            }
            None => Err(error),
        }
    }

    /// Whether what stands at `at`, which is no whole page, was one.
    pub(super) fn resembles_page(&mut self, at: u64, serial: u32) -> Result<bool> {
        let head = self.window.at(at, 18, GLANCE_BYTES)?;
        Ok(resembles_page(head, serial))
    }

    /// The first whole page that begins in `from..to` and is `wanted`.
    pub(super) fn find(
        &mut self,
        from: u64,
        to: u64,
        wanted: impl Fn(&Page) -> bool,
    ) -> Result<Option<Page>> {
        let mut at = from;
        while at < to {
            match self.read(at, GLANCE_BYTES) {
                Ok(page) if wanted(&page) => return Ok(Some(page)),
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

    /// The first head of a page that begins in `from..to`, whose body and checksum are not looked at.
    pub(super) fn find_head(&mut self, from: u64, to: u64) -> Result<Option<Page>> {
        let mut at = from;
        while let Some(found) = self.find_mark(at, to)? {
            match read_head(&mut self.window, found, GLANCE_BYTES) {
                Ok(page) => return Ok(Some(page)),
                Err(NoPage::Io(error)) => return Err(error),
                Err(_) => at = found + 1,
            }
        }
        Ok(None)
    }

    /// Reads the last `length` bytes at once; gives where they begin.
    pub(super) fn fetch_tail(&mut self, length: u64) -> Result<u64> {
        let from = self.len().saturating_sub(length);
        self.window.at(from, length as usize, length)?;
        Ok(from)
    }

    fn read(&mut self, at: u64, ahead: u64) -> std::result::Result<Page, NoPage> {
        let page = read_page(&mut self.window, at, ahead);
        if let Err(NoPage::Damaged(bytes)) = page {
            self.checked += bytes as u64;
            if self.checked > SPARE_CHECKED_BYTES + MAX_CHECKS * self.len() {
                let reason = "too many bytes of the file look like Ogg pages and are not";
                let error = Error::new(ErrorKind::Limit, reason).at_byte(at);
                return Err(NoPage::Io(error));
            }
        }
        page
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

fn error_of(reason: NoPage, at: u64) -> Error {
    match reason {
        NoPage::Io(error) => error,
        NoPage::Damaged(_) => Error::corrupt("the Ogg page is broken").at_byte(at),
        NoPage::End => {
            let reason = "the file ends in the middle of its data: it was cut short";
            Error::corrupt(reason).at_byte(at)
        }
    }
}
