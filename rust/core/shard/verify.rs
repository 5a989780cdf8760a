//! Everything in a shard read again: what of it is whole, and all that is wrong with the rest.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::access::{Access, Handle};
use super::group::{identity, split_name};
use super::row::{Row, is_audio};
use super::walk::walk;
use super::{Member, extent};
use crate::error::{Error, Name, Result};
use crate::pipeline::{Request, load};
use crate::source::Source;

/// Read at a time.
const PIECE: usize = 1 << 20;

/// How closely a shard is looked at.
#[derive(Clone, Copy, Default)]
pub struct Checks<'a> {
    /// The rows of its index: members must lie where these say, with payloads of these digests.
    pub rows: Option<&'a [Row]>,
    /// Whether what is audio by its extension must decode to its end, with the checksums that it has.
    pub decode: bool,
    /// Told of the bytes of each piece that was read; answers whether to go on.
    pub on_bytes: Option<&'a dyn Fn(u64) -> bool>,
}

/// What a shard was found to hold.
#[derive(Debug, Default)]
pub struct Found {
    /// The members whose bytes can be relied on, in the order of the archive. Those that only the index
    /// knows, because their headers are damaged, are among them.
    pub whole: Vec<Member>,
    /// All that is wrong, in the order in which it was met; nothing for a whole shard.
    pub errors: Vec<Error>,
}

/// Walks through the shard at `path`, goes on behind damage, and reads each payload.
///
/// # Errors
/// [`Io`](crate::ErrorKind::Io) when the shard cannot be opened, and where `on_bytes` says to stop.
pub fn examine(path: &Path, checks: Checks<'_>) -> Result<Found> {
    let handle = Handle::open(path, Access::Pread)?;
    let mut examiner = Examiner {
        handle: &handle,
        unseen: by_offset(checks.rows),
        checks,
        found: Found::default(),
        is_stopped: Cell::new(false),
    };
    for step in walk(handle.source()?) {
        match step {
            Ok(member) => examiner.met(member)?,
            Err(lost) => examiner.found.errors.push(lost.error),
        }
    }
    examiner.look_for_unseen()?;
    let mut found = examiner.found;
    found.whole.sort_by_key(|member| member.offset);
    found.refuse_twins(&handle);
    if found.whole.is_empty() && found.errors.is_empty() {
        found.errors.push(super::nothing_in(&handle));
    }
    found.errors.extend(handle.check_unchanged().err());
    Ok(found)
}

/// The SHA-256 of a payload, read piece by piece; `on_bytes` is told how much each was.
///
/// # Errors
/// What reading meets, and what `on_bytes` returns.
pub fn digest(
    mut payload: Source<'_>,
    mut on_bytes: impl FnMut(u64) -> Result<()>,
) -> Result<[u8; 32]> {
    let (mut sha, mut scratch, mut at) = (Sha256::new(), Vec::new(), 0);
    while at < payload.len() {
        let piece = payload.bytes_at(at, PIECE, &mut scratch)?;
        sha.update(piece);
        let bytes = piece.len() as u64;
        at += bytes;
        on_bytes(bytes)?;
    }
    Ok(sha.finalize().into())
}

struct Examiner<'a> {
    handle: &'a Handle,
    checks: Checks<'a>,
    /// Rows of the index that no header has led to yet.
    unseen: BTreeMap<u64, &'a Row>,
    found: Found,
    is_stopped: Cell<bool>,
}

fn by_offset(rows: Option<&[Row]>) -> BTreeMap<u64, &Row> {
    let rows = rows.unwrap_or_default().iter();
    rows.map(|row| (row.member.offset, row)).collect()
}

impl Examiner<'_> {
    /// A member that its header has led to.
    fn met(&mut self, member: Member) -> Result<()> {
        let place = |row: &Row| (row.member.name == member.name) && row.member.size == member.size;
        let row = self.unseen.get(&member.offset).copied();
        match (self.checks.rows, row.filter(|row| place(row))) {
            (Some(_), None) => {
                let reason = "the index has no such member here";
                self.lose(&member, Error::corrupt(reason).at_byte(0));
                Ok(())
            }
            (_, row) => {
                self.unseen.remove(&member.offset);
                self.read(member, row)
            }
        }
    }

    /// What only the index knows of: its payload may be whole all the same.
    fn look_for_unseen(&mut self) -> Result<()> {
        for row in std::mem::take(&mut self.unseen).into_values() {
            let error = Error::corrupt("the index has this member, but no header leads to it");
            let error = error.at_byte(0);
            let is_there = extent(self.handle, &row.member).is_ok();
            self.lose(&row.member, error);
            if is_there {
                self.read(row.member.clone(), Some(row))?;
            }
        }
        Ok(())
    }

    fn read(&mut self, member: Member, row: Option<&Row>) -> Result<()> {
        let digest = self
            .section(&member)
            .and_then(|payload| self.digest(payload));
        if self.is_stopped.get() {
            return digest.map(drop);
        }
        let checked = digest.and_then(|digest| match row.is_none_or(|row| row.sha256 == digest) {
            true => self.decode(&member),
            false => {
                let reason = "the payload has another SHA-256 than in the index";
                Err(Error::corrupt(reason).at_byte(0))
            }
        });
        match checked {
            Ok(()) => self.found.whole.push(member),
            Err(error) => self.lose(&member, error),
        }
        Ok(())
    }

    fn digest(&self, payload: Source<'_>) -> Result<[u8; 32]> {
        digest(payload, |bytes| {
            let goes_on = self.checks.on_bytes.is_none_or(|told| told(bytes));
            self.is_stopped.set(!goes_on);
            match goes_on {
                true => Ok(()),
                false => Err(Error::io("go on", io::ErrorKind::Interrupted.into())),
            }
        })
    }

    fn decode(&self, member: &Member) -> Result<()> {
        if !self.checks.decode || !is_audio(&split_name(&member.name).1) {
            return Ok(());
        }
        let request = Request {
            duration: Some(0.0),
            verify: true,
            ..Request::default()
        };
        load(self.section(member)?, &request).map(drop)
    }

    fn section(&self, member: &Member) -> Result<Source<'_>> {
        let (offset, size) = (member.offset, member.size);
        self.handle.section(&member.name, offset, size)
    }

    fn lose(&mut self, member: &Member, error: Error) {
        let shard = self.handle.name();
        let name = Name::of_member(shard, member.name.as_str(), member.offset);
        self.found.errors.push(error.with_source(name));
    }
}

impl Found {
    /// Of two members that would hide each other the first stays.
    fn refuse_twins(&mut self, handle: &Handle) {
        let mut seen = HashSet::with_capacity(self.whole.len());
        let mut twins = Vec::new();
        self.whole.retain(|member| {
            let is_first = seen.insert(identity(&member.name));
            if !is_first {
                twins.push(member.clone());
            }
            is_first
        });
        self.errors.extend(twins.into_iter().map(|twin| {
            let reason = "another member has the same key and extension";
            let error = Error::corrupt(reason).with_member(twin.name);
            error.at_byte(twin.header_offset).with_source(handle.name())
        }));
    }
}
