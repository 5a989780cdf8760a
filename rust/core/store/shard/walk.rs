//! From header to header through a tar archive, and on after damage.

use std::ops::Range;

use super::Member;
use super::extended::{Extended, MAX_BYTES, check_global};
use super::header::{BLOCK, Block, Header, Kind, is_zero};
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::error::{Error, ErrorKind, Name, Result};

/// Two zero blocks end an archive; writers fill their last record up with more, of up to 1 MiB.
const END: u64 = 2 * BLOCK;
const MAX_FILL: u64 = 1 << 20;
/// Of members below, many headers come with one read: it costs as much as copying this.
const SMALL: u64 = 4 * 1024;
const READ_AHEAD: u64 = 64 * 1024;
/// Looked through at a time for the next header: whole blocks.
const PIECE: usize = 256 * BLOCK as usize;

/// A stretch of an archive that holds no member which could be read.
#[derive(Debug)]
pub struct Lost {
    /// From the first header that is off up to the next good one, or the end of the file.
    pub bytes: Range<u64>,
    /// What was wrong.
    pub error: Error,
}

/// The members of the archive `source`, in its order, and what is lost between them.
///
/// After damage it goes on at the next block that is a header by its checksum. Where the damaged member
/// is an archive itself, that may be a header inside of it.
pub fn walk(source: Source<'_>) -> Walk<'_> {
    walk_from(source, 0)
}

/// [`walk`] from the header at byte `at` on.
pub(super) fn walk_from(source: Source<'_>, at: u64) -> Walk<'_> {
    Walk {
        name: source.name().clone(),
        window: Window::new(source),
        at,
        resume: at,
        read_ahead: BLOCK,
        is_done: false,
    }
}

/// See [`walk`].
pub struct Walk<'a> {
    name: Name,
    window: Window<'a>,
    /// The next header.
    at: u64,
    /// Where to look for one again, should this one be off.
    resume: u64,
    read_ahead: u64,
    is_done: bool,
}

impl Iterator for Walk<'_> {
    type Item = std::result::Result<Member, Lost>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        match self.step() {
            Ok(member) => member.map(Ok),
            Err(error) => {
                self.is_done = false;
                let next = self.search(self.resume, u64::MAX, |block| Header::new(block).is_ok());
                self.at = next.unwrap_or(self.window.len());
                self.is_done = next.is_none();
                let bytes = start..self.at;
                Some(Err(Lost { bytes, error }))
            }
        }
    }
}

impl Walk<'_> {
    /// The next member, or `None` at the end of a whole archive. No more than an error is found out
    /// before it is returned; afterwards there are no more members.
    pub(super) fn step(&mut self) -> Result<Option<Member>> {
        if self.is_done {
            return Ok(None);
        }
        let mut at = self.at;
        let found = self.member(&mut at);
        self.is_done = !matches!(found, Ok(Some(_)));
        found.map_err(|error| error.at_byte(at).with_source(&self.name))
    }

    /// The next file; `header_at` follows the headers in front of it.
    fn member(&mut self, header_at: &mut u64) -> Result<Option<Member>> {
        let mut extended = Extended::default();
        let mut first = self.at;
        loop {
            *header_at = self.at;
            self.resume = self.at.saturating_add(BLOCK);
            let block = self.block()?;
            if is_zero(&block) {
                return self.end(&extended);
            }
            let header = Header::new(&block)?;
            match header.kind() {
                // Before POSIX a directory was a file whose name ends in a slash; GNU tar still looks.
                Kind::File if !extended.name_or(&header).ends_with(b"/") => {
                    return self.file(first, &extended, &header).map(Some);
                }
                Kind::File | Kind::Directory => {
                    if extended.size(&header)? != 0 {
                        return Err(Error::corrupt("a directory has content"));
                    }
                    extended = Extended::default();
                    self.at += BLOCK;
                    first = self.at;
                }
                Kind::Global => {
                    check_global(&self.payload(&header)?)?;
                    if extended.is_empty() {
                        first = self.at;
                    }
                }
                Kind::Extended => extended.add_records(&self.payload(&header)?)?,
                Kind::LongName => extended.add_long_name(&self.payload(&header)?)?,
                Kind::LongLink => {
                    self.payload(&header)?;
                    extended.add_long_link()?;
                }
                Kind::Refused(what) => return Err(refused(what, &extended, &header)),
            }
        }
    }

    fn file(&mut self, first: u64, extended: &Extended, header: &Header<'_>) -> Result<Member> {
        let size = extended.size(header)?;
        let offset = self.at + BLOCK;
        let end = self.behind(offset, size);
        // What its header tells is known, whatever is the matter with its name or its end.
        self.resume = end.unwrap_or(self.window.len());
        let name = extended.name(header)?;
        let Some(end) = end else {
            let there = self.window.len().saturating_sub(offset);
            let reason =
                format!("the archive was cut short: {there} bytes are left of the member's {size}");
            return Err(Error::corrupt(reason).with_member(name));
        };
        self.at = end;
        self.read_ahead = if size < SMALL { READ_AHEAD } else { BLOCK };
        Ok(Member {
            name,
            offset,
            size,
            header_offset: first,
        })
    }

    /// The payload of a header that is about another, and goes after it.
    fn payload(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = header.size()?;
        if size > MAX_BYTES {
            let reason = format!("an extended header has {size} bytes");
            return Err(Error::new(ErrorKind::Limit, reason));
        }
        let offset = self.at + BLOCK;
        let Some(end) = self.behind(offset, size) else {
            return Err(Error::corrupt(
                "the archive was cut short in an extended header",
            ));
        };
        let bytes = self.window.at(offset, size as usize, size)?;
        let payload = bytes.get(..size as usize).unwrap_or_default().to_vec();
        self.at = end;
        self.resume = end;
        Ok(payload)
    }

    /// Where the block after a payload begins; `None` where the file ends before.
    fn behind(&self, offset: u64, size: u64) -> Option<u64> {
        let end = offset.checked_add(size)?.checked_next_multiple_of(BLOCK)?;
        (end <= self.window.len()).then_some(end)
    }

    /// The next block.
    fn block(&mut self) -> Result<Block> {
        let left = self.window.len().saturating_sub(self.at);
        let block = self.window.at(self.at, BLOCK as usize, self.read_ahead)?;
        if let Some(block) = block.first_chunk() {
            return Ok(*block);
        }
        self.resume = self.window.len();
        Err(Error::corrupt(match left {
            0 => "the archive was cut short: the two zero blocks at its end are missing",
            _ => "the archive was cut short in a header",
        }))
    }

    /// Checks that nothing but zeros follows from a first block of zeros on.
    fn end(&mut self, extended: &Extended) -> Result<Option<Member>> {
        if !extended.is_empty() {
            return Err(Error::corrupt(
                "an extended header is not followed by its member",
            ));
        }
        let left = self.window.len() - self.at;
        if left < END || !left.is_multiple_of(BLOCK) {
            return Err(Error::corrupt(
                "the archive was cut short in the zero blocks at its end",
            ));
        }
        let limit = self.at.saturating_add(END + MAX_FILL);
        if let Some(at) = self.search(self.at, limit, |block| !is_zero(block)) {
            self.resume = at;
            return Err(Error::corrupt(format!(
                "zero blocks as at the end of an archive are followed by more data at byte {at}"
            )));
        }
        match left > END + MAX_FILL {
            true => Err(Error::corrupt(format!(
                "{left} bytes follow the end of the archive"
            ))),
            false => Ok(None),
        }
    }

    /// The first whole block from `start`, and below `limit`, that `is_wanted`.
    fn search(
        &mut self,
        start: u64,
        limit: u64,
        is_wanted: impl Fn(&Block) -> bool,
    ) -> Option<u64> {
        let limit = limit.min(self.window.len());
        let mut scratch = Vec::new();
        let mut at = start;
        while at < limit {
            let length = PIECE.min(usize::try_from(limit - at).unwrap_or(PIECE));
            // A piece that cannot be read holds nothing.
            let piece = self
                .window
                .aside(at, length, &mut scratch)
                .unwrap_or_default();
            let (blocks, _) = piece.as_chunks();
            if let Some(found) = blocks.iter().position(&is_wanted) {
                return Some(at + found as u64 * BLOCK);
            }
            at += PIECE as u64;
        }
        None
    }
}

fn refused(what: &str, extended: &Extended, header: &Header<'_>) -> Error {
    let error = Error::unsupported(format!(
        "the member is {what}, which a shard must not contain"
    ));
    match extended.name(header) {
        Ok(name) => error.with_member(name),
        Err(_) => error,
    }
}
