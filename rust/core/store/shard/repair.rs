//! A new shard from what is whole in a damaged one; the damaged one stays as it is.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::access::{Access, Handle};
use super::group::split_name;
use super::progress::{Progress, size};
use super::verify::{Found, with_index};
use super::write::{Options, Series, Split, Written};
use super::{Member, extent};
use crate::decode::Choice;
use crate::error::{Error, ErrorKind, Name, Result};

/// What became of a damaged shard.
#[derive(Debug)]
pub struct Repaired {
    /// The new shard; `None` where nothing is left to make one of.
    pub written: Option<Written>,
    /// Members in the new shard.
    pub members: u64,
    /// What is wrong with the old one, and each member that was left out though it is whole itself.
    pub errors: Vec<Error>,
}

/// Writes to `target` the samples of the shard at `path` that are whole, by the digests of its index where
/// it has one; with `decode` as [`Checks`](super::Checks) say.
///
/// A sample of which a member is known to be lost is left out with all of its members, each of which is
/// named. Members of a sample lie together in the new shard, and extensions are in small letters.
///
/// # Errors
/// [`Io`](ErrorKind::Io) where the shard cannot be opened, changes meanwhile, or the new one cannot be
/// written; a target that exists, unless `options` allow to replace it; what `progress` returns.
pub fn repair(
    path: &Path,
    target: &Path,
    decode: Option<Choice>,
    options: Options,
    progress: Progress<'_>,
) -> Result<Repaired> {
    let handle = Handle::open(path, Access::Pread)?;
    let mut series = Series::new(target, Split::default(), options)?;
    let (total, done) = (size(path), Cell::new(0));
    let on_bytes = |bytes| {
        done.set(done.get() + bytes);
        progress(done.get(), total)
    };
    let Found {
        whole,
        mut errors,
        lost,
        ..
    } = with_index(path, decode, &on_bytes)?;
    let lost = lost_keys(&whole, &lost);
    let mut members = 0;
    for (key, sample) in samples(&whole) {
        if lost.contains(key) {
            errors.extend(sample.iter().map(|member| left_out(&handle, member)));
            continue;
        }
        match copy(&handle, &mut series, key, &sample) {
            Ok(()) => members += sample.len() as u64,
            // What only other readers take, such as remarks.
            Err(error) if error.kind() == ErrorKind::InvalidArgument => errors.push(error),
            Err(error) => return Err(error),
        }
    }
    series.finish()?;
    Ok(Repaired {
        written: series.written().first().cloned(),
        members,
        errors,
    })
}

/// Samples of which something is gone. Of a member that is whole in another place nothing is.
fn lost_keys<'a>(whole: &[Member], lost: &'a HashSet<String>) -> HashSet<&'a str> {
    let kept: HashSet<&str> = whole.iter().map(|member| &*member.name).collect();
    let gone = lost.iter().filter(|name| !kept.contains(name.as_str()));
    gone.map(|name| split_name(name).0).collect()
}

/// Members by key, in the order of each key's first.
fn samples(members: &[Member]) -> Vec<(&str, Vec<&Member>)> {
    let mut places = HashMap::new();
    let mut samples: Vec<(&str, Vec<&Member>)> = Vec::new();
    for member in members {
        let key = split_name(&member.name).0;
        let place = *places.entry(key).or_insert(samples.len());
        match samples.get_mut(place) {
            Some((_, sample)) => sample.push(member),
            None => samples.push((key, vec![member])),
        }
    }
    samples
}

fn copy(handle: &Handle, series: &mut Series, key: &str, sample: &[&Member]) -> Result<()> {
    let read = |member: &&Member| {
        extent(handle, member)?;
        let payload = handle.read(member.offset, member.size)?;
        Ok((split_name(&member.name).1, payload))
    };
    let payloads = sample.iter().map(read).collect::<Result<Vec<_>>>()?;
    let parts = payloads
        .iter()
        .map(|(extension, payload)| (&**extension, &**payload));
    series.write_as_read(key, &parts.collect::<Vec<_>>())
}

fn left_out(handle: &Handle, member: &Member) -> Error {
    let name = Name::of_member(handle.name(), member.name.as_str(), member.offset);
    Error::corrupt("the member was left out: another member of its sample is lost")
        .with_source(name)
}
