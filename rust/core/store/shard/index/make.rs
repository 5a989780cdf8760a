//! Indexes of many shards, made in one pass over each.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::access::{Access, Handle};
use super::super::group::Samples;
use super::super::progress::{Progress, digest, size};
use super::super::row::Row;
use super::super::walk::{Walk, walk};
use super::super::{Member, nothing_in};
use super::{fresh, offsets, write_for};
use crate::bytes::source::Source;
use crate::error::{Error, Result};
use crate::pool;

/// Members are read together, up to so many bytes or so many of them.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_MEMBERS: usize = 1024;
/// What is read as a whole; longer members are read twice, in pieces.
const WHOLE: u64 = 64 << 20;

/// What became of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was not there, or stale, or not wanted any more.
    New,
    /// It was fresh and whole.
    Kept,
}

/// Makes the indexes of `shards` that are not there or stale, all of them with `force`, on `threads`
/// threads; each is there as soon as its shard is done. `progress` is told of bytes done, of how many;
/// its first error ends the work.
///
/// Holds the payloads that are at work: 64 MiB a thread at most, and mostly one.
///
/// # Errors
/// Of a shard: what opening it meets; [`Corrupt`](crate::ErrorKind::Corrupt) for a file in the index's
/// place that is none, or a damaged one, unless `force` says to replace it, and for an index of lhotse
/// or Energon beside the shard that says something else. A member that is audio by its extension, but
/// cannot be read as such, is no error: its row tells.
pub fn make(
    shards: &[PathBuf],
    threads: usize,
    force: bool,
    progress: Progress<'_>,
) -> Vec<Result<Made>> {
    let paths: Vec<&Path> = shards.iter().map(PathBuf::as_path).collect();
    let total = paths.iter().copied().map(size).sum();
    let done = AtomicU64::new(0);
    let at_once = threads.clamp(1, paths.len().max(1));
    let one = |path: &Path| {
        let own = AtomicU64::new(0);
        let advance = |bytes: u64| {
            own.fetch_add(bytes, Ordering::Relaxed);
            progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total)
        };
        let made = make_one(path, threads.div_ceil(at_once), force, &advance);
        // The end of the archive, or all after an error.
        advance(size(path).saturating_sub(own.load(Ordering::Relaxed)))?;
        made
    };
    pool::each_heaviest_first(paths, at_once, |path| size(path), one)
}

fn make_one(
    path: &Path,
    threads: usize,
    force: bool,
    advance: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Made> {
    let handle = Handle::open(path, Access::Pread)?;
    if !force && let Some(rows) = fresh(path, handle.stamp())? {
        offsets::check(path, handle.size(), rows.iter().map(|row| &row.member))?;
        return Ok(Made::Kept);
    }
    let rows = rows(&handle, threads, advance);
    // A file that is cut short is told as changed.
    handle.check_unchanged()?;
    let rows = rows?;
    let members: Vec<Member> = rows.iter().map(|row| row.member.clone()).collect();
    if members.is_empty() {
        return Err(nothing_in(&handle));
    }
    Samples::group(members).map_err(|error| error.with_source(handle.name()))?;
    write_for(path, handle.stamp(), &rows)?;
    offsets::check(path, handle.size(), rows.iter().map(|row| &row.member))?;
    Ok(Made::New)
}

/// Where the threads take their work from: batches of members in the order of the archive.
struct Turns<'a> {
    walk: Walk<'a>,
    next: usize,
}

impl Turns<'_> {
    fn take(&mut self) -> Result<(usize, Vec<Member>)> {
        let (mut members, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES && members.len() < BATCH_MEMBERS {
            let Some(member) = self.walk.step()? else {
                break;
            };
            bytes = bytes.saturating_add(member.size);
            members.push(member);
        }
        self.next += 1;
        Ok((self.next, members))
    }
}

type Numbered = (usize, Vec<Row>);

/// The rows of all members. One thread at a time reads headers, all read payloads.
fn rows(
    handle: &Handle,
    threads: usize,
    advance: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Vec<Row>> {
    let walk = walk(handle.source()?);
    let turns = Mutex::new(Turns { walk, next: 0 });
    let has_failed = AtomicBool::new(false);
    let work = |(): ()| {
        let done = batches(handle, &turns, &has_failed, advance);
        if done.is_err() {
            has_failed.store(true, Ordering::Relaxed);
        }
        done
    };
    let done = pool::each(vec![(); threads.max(1)], threads, work);
    let mut batches: Vec<Numbered> = Vec::new();
    let mut failed: Vec<Error> = Vec::new();
    for part in done {
        match part {
            Ok(part) => batches.extend(part),
            Err(error) => failed.push(error),
        }
    }
    // The first in the archive, whichever thread met it first.
    if let Some(error) = failed.into_iter().min_by_key(Error::byte_offset) {
        return Err(error);
    }
    batches.sort_by_key(|(number, _)| *number);
    Ok(batches.into_iter().flat_map(|(_, rows)| rows).collect())
}

/// What one thread makes.
fn batches(
    handle: &Handle,
    turns: &Mutex<Turns<'_>>,
    has_failed: &AtomicBool,
    advance: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Vec<Numbered>> {
    let (mut file, mut scratch, mut made) = (handle.source()?, Vec::new(), Vec::new());
    while !has_failed.load(Ordering::Relaxed) {
        let Ok(mut turns) = turns.lock() else { break };
        let (number, members) = turns.take()?;
        drop(turns);
        let (Some(first), Some(last)) = (members.first(), members.last()) else {
            break;
        };
        let start = first.header_offset;
        let bytes = (last.offset + last.size).saturating_sub(start);
        let rows = match bytes <= WHOLE {
            true => together(&mut file, members, start, bytes, &mut scratch)?,
            false => one_by_one(handle, &mut file, members, &mut scratch)?,
        };
        advance(bytes)?;
        made.push((number, rows));
    }
    Ok(made)
}

fn together(
    file: &mut Source<'_>,
    members: Vec<Member>,
    start: u64,
    bytes: u64,
    scratch: &mut Vec<u8>,
) -> Result<Vec<Row>> {
    let read = file.piece_at(start, bytes as usize, scratch)?;
    let one = |member: Member| {
        let from = (member.offset - start) as usize;
        let payload = read.get(from..from + member.size as usize);
        Row::new(member, payload.unwrap_or_default())
    };
    members.into_iter().map(one).collect()
}

fn one_by_one(
    handle: &Handle,
    file: &mut Source<'_>,
    members: Vec<Member>,
    scratch: &mut Vec<u8>,
) -> Result<Vec<Row>> {
    let one = |member: Member| {
        if member.size <= WHOLE {
            let payload = file.piece_at(member.offset, member.size as usize, scratch)?;
            return Row::new(member, payload);
        }
        let payload = || handle.section(&member.name, member.offset, member.size);
        let digest = digest(payload()?, |_| Ok(()))?;
        let payload = payload()?;
        Row::of(member, digest, payload)
    };
    members.into_iter().map(one).collect()
}
