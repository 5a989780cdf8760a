//! Everything in a shard read again, and everything that is wrong with it.

use std::path::Path;

use super::Member;
use super::access::{Access, Handle};
use super::group::Samples;
use super::walk::walk;
use crate::error::{Error, Result};
use crate::source::Source;

/// Read at a time.
const PIECE: u64 = 1 << 20;

/// Walks through the shard at `path`, goes on behind damage, and hands each member to `check`, which
/// reads its payload: [`read_through`] at least.
///
/// Gives all that is wrong, in the order of the archive: nothing for a whole shard.
///
/// # Errors
/// [`Io`](crate::ErrorKind::Io) when the shard cannot be opened.
pub fn verify(
    path: &Path,
    mut check: impl FnMut(&Member, Source<'_>) -> Result<()>,
) -> Result<Vec<Error>> {
    let handle = Handle::open(path, Access::Pread)?;
    let (mut members, mut errors) = (Vec::new(), Vec::new());
    for found in walk(handle.source()?) {
        let member = match found {
            Ok(member) => member,
            Err(lost) => {
                errors.push(lost.error);
                continue;
            }
        };
        let section = handle.section(&member.name, member.offset, member.size);
        let checked = section.and_then(|payload| check(&member, payload));
        errors.extend(checked.err().map(|error| named(error, &handle, &member)));
        members.push(member);
    }
    let is_empty = members.is_empty();
    let grouped = Samples::group(members).err();
    errors.extend(grouped.map(|error| error.with_source(handle.name())));
    if is_empty && errors.is_empty() {
        errors.push(super::nothing_in(&handle));
    }
    errors.extend(handle.check_unchanged().err());
    Ok(errors)
}

fn named(error: Error, handle: &Handle, member: &Member) -> Error {
    error.with_source(crate::Name::of_member(
        handle.name(),
        member.name.as_str(),
        member.offset,
    ))
}

/// Reads a payload to its end, to see that it can be read.
///
/// # Errors
/// What reading meets.
pub fn read_through(_: &Member, mut payload: Source<'_>) -> Result<()> {
    let mut scratch = Vec::new();
    let mut at = 0;
    while at < payload.len() {
        at += payload.bytes_at(at, PIECE as usize, &mut scratch)?.len() as u64;
    }
    Ok(())
}
