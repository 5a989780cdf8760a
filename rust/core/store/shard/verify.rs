//! Everything in a shard read again: what of it is whole, and all that is wrong with the rest.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::access::{Access, Handle};
use super::agreement::{self, Walked};
use super::group::{identity, reserved};
use super::progress::{Progress, digest, size};
use super::row::{Row, is_audio};
use super::stamp::Stamp;
use super::walk::walk;
use super::{Member, extent, index};
use crate::bytes::source::Source;
use crate::decode::Choice;
use crate::error::{Error, Name, Result};
use crate::pipeline::{Request, load};
use crate::pool;

/// Reads `shards` to their ends, `threads` at a time, with the digests of their indexes; with `decode` as
/// [`Checks`] say.
///
/// Gives all that is wrong with each: nothing for a whole one.
///
/// # Errors
/// Of a shard, as for [`examine`].
pub fn verify(
    shards: &[PathBuf],
    threads: usize,
    decode: Option<Choice>,
    progress: Progress<'_>,
) -> Vec<Result<Vec<Error>>> {
    let paths: Vec<&Path> = shards.iter().map(PathBuf::as_path).collect();
    let total = paths.iter().copied().map(size).sum();
    let done = AtomicU64::new(0);
    let on_bytes = |bytes| progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
    let one = |path: &Path| Ok(with_index(path, decode, &on_bytes)?.errors);
    pool::each_heaviest_first(paths, threads, |path| size(path), one)
}

/// [`examine`] with the digests of the shard's index, where it is this shard's; `on_bytes` is told of each
/// byte of the file once.
pub(super) fn with_index(
    path: &Path,
    decode: Option<Choice>,
    on_bytes: &dyn Fn(u64) -> Result<()>,
) -> Result<Found> {
    let read = Cell::new(0);
    let count = |bytes| {
        read.set(read.get() + bytes);
        on_bytes(bytes)
    };
    let checks = Checks {
        rows: None,
        decode,
        on_bytes: Some(&count),
    };
    let found = match index::recorded(path) {
        Ok(None) => examine(path, checks)?,
        Ok(Some((stamp, rows))) => by_rows(path, stamp, &rows, checks)?,
        Err(error) => with_fault(error, examine(path, checks)?),
    };
    // Headers, what fills blocks up, and what was lost.
    on_bytes(size(path).saturating_sub(read.get()))?;
    Ok(found)
}

/// By an index that may be that of another shard, which this one's headers and digests tell: then nothing
/// is held against the shard, and that is all that is wrong.
fn by_rows(path: &Path, stamp: Stamp, rows: &[Row], checks: Checks<'_>) -> Result<Found> {
    let handle = Handle::open(path, Access::Pread)?;
    let is_fresh = handle.stamp() == stamp;
    let walked = Walked::through(walk(handle.source()?), handle.size());
    if !agreement::may_be_of(&walked, rows, is_fresh) {
        return Ok(with_fault(foreign(path), examine(path, checks)?));
    }
    let with_rows = Checks {
        rows: Some(rows),
        ..checks
    };
    let found = examine(path, with_rows)?;
    // Of a copy a few payloads may be damaged. Most of them are another recording's.
    if !is_fresh && found.differing > found.compared / 2 {
        let told = |_| checks.on_bytes.map_or(Ok(()), |told| told(0));
        let again = Checks {
            on_bytes: Some(&told),
            ..checks
        };
        return Ok(with_fault(foreign(path), examine(path, again)?));
    }
    let (now, then) = (handle.size(), stamp.size);
    let reason = || format!("the shard has {now} bytes, and had {then} when its index was made");
    Ok(match now == then {
        true => found,
        false => with_fault(Error::corrupt(reason()).with_source(handle.name()), found),
    })
}

fn foreign(path: &Path) -> Error {
    let index = index::path_of(path).display().to_string();
    Error::corrupt("the index belongs to another shard").with_source(index)
}

/// In front of what was found.
fn with_fault(fault: Error, mut found: Found) -> Found {
    found.errors.insert(0, fault);
    found
}

/// How closely a shard is looked at.
#[derive(Clone, Copy, Default)]
pub struct Checks<'a> {
    /// The rows of its index: members must lie where these say, with payloads of these digests.
    pub rows: Option<&'a [Row]>,
    /// Which decoder must decode what is audio by its extension to its end, with the checksums that it has;
    /// `None`: none.
    pub decode: Option<Choice>,
    /// Told of the bytes of each piece that was read; its error ends the examination.
    pub on_bytes: Option<&'a dyn Fn(u64) -> Result<()>>,
}

/// What a shard was found to hold.
#[derive(Debug, Default)]
pub struct Found {
    /// The members whose bytes can be relied on, in the order of the archive. Those that only the index
    /// knows, because their headers are damaged, are among them.
    pub whole: Vec<Member>,
    /// All that is wrong, in the order in which it was met; nothing for a whole shard.
    pub errors: Vec<Error>,
    /// Names of members that are known to be gone.
    pub(super) lost: HashSet<String>,
    /// Payloads whose digests were known, and those that have another.
    compared: usize,
    differing: usize,
}

/// Walks through the shard at `path`, continues after damage, and reads each payload.
///
/// # Errors
/// [`Io`](crate::ErrorKind::Io) when the shard cannot be opened, and what `on_bytes` returns.
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
        crate::interrupt::check()?;
        match step {
            Ok(member) => examiner.met(member)?,
            Err(lost) => examiner.not_led_to(lost.error),
        }
    }
    examiner.look_for_unseen()?;
    let mut found = examiner.found;
    found.whole.sort_by_key(|member| member.offset);
    found.refuse_twins(&handle);
    found.refuse_reserved(&handle);
    if found.whole.is_empty() && found.errors.is_empty() {
        found.errors.push(super::nothing_in(&handle));
    }
    found.errors.extend(handle.check_unchanged().err());
    Ok(found)
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
    /// What is lost between headers. Of which members it was, an index knows for certain.
    fn not_led_to(&mut self, error: Error) {
        if let (None, Some(name)) = (self.checks.rows, error.member()) {
            self.found.lost.insert(name.to_owned());
        }
        self.found.errors.push(error);
    }

    /// A member that its header has led to.
    fn met(&mut self, member: Member) -> Result<()> {
        let place = |row: &Row| (row.member.name == member.name) && row.member.size == member.size;
        let row = self.unseen.get(&member.offset).copied();
        match (self.checks.rows, row.filter(|row| place(row))) {
            (Some(_), None) => {
                let reason = "the index has no member here";
                self.blame(&member, Error::corrupt(reason).at_byte(0));
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
            self.blame(&row.member, error);
            match extent(self.handle, &row.member) {
                Ok(_) => self.read(row.member.clone(), Some(row))?,
                Err(_) => {
                    self.found.lost.insert(row.member.name.clone());
                }
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
        self.found.compared += usize::from(row.is_some());
        let checked = digest.and_then(|digest| match row.is_none_or(|row| row.sha256 == digest) {
            true => self.decode(&member),
            false => {
                self.found.differing += 1;
                let reason = "the SHA-256 of the payload differs from the one in the index";
                Err(Error::corrupt(reason).at_byte(0))
            }
        });
        match checked {
            Ok(()) => self.found.whole.push(member),
            Err(error) => {
                self.found.lost.insert(member.name.clone());
                self.blame(&member, error);
            }
        }
        Ok(())
    }

    fn digest(&self, payload: Source<'_>) -> Result<[u8; 32]> {
        digest(payload, |bytes| {
            let told = self.checks.on_bytes.map_or(Ok(()), |told| told(bytes));
            self.is_stopped.set(told.is_err());
            told
        })
    }

    fn decode(&self, member: &Member) -> Result<()> {
        let Some(decoder) = self.checks.decode.filter(|_| is_audio(&member.name)) else {
            return Ok(());
        };
        let request = Request {
            duration: Some(0.0),
            verify: true,
            decoder,
            ..Request::default()
        };
        load(self.section(member)?, &request).map(drop)
    }

    fn section(&self, member: &Member) -> Result<Source<'_>> {
        let (offset, size) = (member.offset, member.size);
        self.handle.section(&member.name, offset, size)
    }

    fn blame(&mut self, member: &Member, error: Error) {
        let error = self.named(member, error);
        self.found.errors.push(error);
    }

    fn named(&self, member: &Member, error: Error) -> Error {
        let shard = self.handle.name();
        let name = Name::of_member(shard, member.name.as_str(), member.offset);
        error.with_source(name)
    }
}

impl Found {
    /// Of two members that would hide each other the first stays.
    fn refuse_twins(&mut self, handle: &Handle) {
        let mut seen = HashSet::with_capacity(self.whole.len());
        let names = self.whole.iter().map(|member| identity(&member.name));
        let firsts: Vec<bool> = names.map(|name| seen.insert(name)).collect();
        let mut firsts = firsts.into_iter();
        let (errors, lost) = (&mut self.errors, &mut self.lost);
        self.whole.retain(|member| {
            let stays = firsts.next().unwrap_or(true);
            if !stays {
                let reason = "another member has the same key and extension";
                let error = Error::corrupt(reason).with_member(member.name.as_str());
                let error = error.at_byte(member.header_offset);
                errors.push(error.with_source(handle.name()));
                lost.insert(member.name.clone());
            }
            stays
        });
    }

    /// Members that no reader can give out, beside the key of their sample. The rest of it is whole.
    fn refuse_reserved(&mut self, handle: &Handle) {
        let errors = &mut self.errors;
        self.whole.retain(|member| match reserved(member) {
            None => true,
            Some(error) => {
                errors.push(error.with_source(handle.name()));
                false
            }
        });
    }
}
