//! Indexes that others write beside a shard, compared with what the shard holds.
//!
//! lhotse (`lhotse.indexing.create_tar_index`, `NAME.tar.idx`) and Megatron-Energon (`energon prepare`,
//! `STEM.tar.idx`) both write numbers of eight bytes, the least significant first: where each sample
//! begins, and at last where the samples end. A sample of lhotse is two members, whatever their names,
//! and its last number how far the archive was read: somewhere from the last payload's end to the end of
//! the file. A sample of Energon is members of one key in a row, and its last number the end of the last
//! payload; members without an extension and those under a part like `__this__` are passed over.
//!
//! They tell nothing of members, so that no shard is opened by them.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::Member;
use super::super::group::{is_remark, split_name};
use crate::error::{Error, Result};

const BLOCK: u64 = 512;

/// Errors where an index of lhotse or Energon lies beside the shard and begins a sample elsewhere.
pub(super) fn check<'a>(
    shard: &Path,
    size: u64,
    members: impl Iterator<Item = &'a Member>,
) -> Result<()> {
    let mut beside = shard.as_os_str().to_owned();
    beside.push(".idx");
    let mut places = vec![PathBuf::from(beside), shard.with_extension("tar.idx")];
    places.dedup();
    let there: Vec<PathBuf> = places.into_iter().filter(|path| path.is_file()).collect();
    if there.is_empty() {
        return Ok(());
    }
    let members: Vec<&Member> = members.collect();
    there.iter().try_for_each(|path| {
        let named = |error: Error| error.with_source(path.display().to_string());
        check_one(path, size, &members).map_err(named)
    })
}

fn check_one(path: &Path, size: u64, members: &[&Member]) -> Result<()> {
    // Not more than a number a block, and one.
    let length = path.metadata().map_or(0, |facts| facts.len());
    if length > 8 * (size / BLOCK + 1) {
        return Err(Error::corrupt("the index has more samples than the shard").at_byte(length));
    }
    let bytes = fs::read(path).map_err(|error| Error::io("read the index", error))?;
    let (numbers, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() || numbers.is_empty() {
        let reason = "the index does not consist of 8-byte numbers";
        return Err(Error::corrupt(reason).at_byte(bytes.len() as u64));
    }
    let found: Vec<u64> = numbers
        .iter()
        .map(|number| u64::from_le_bytes(*number))
        .collect();
    let end = members.last().map_or(0, |last| last.offset + last.size);
    let end = end.next_multiple_of(BLOCK);
    let energon = first_difference(&found, &of_energon(members), end..=end);
    let lhotse = first_difference(&found, &of_lhotse(members), end..=size);
    // Where neither is right, the one that is right for longer was meant.
    match (energon, lhotse) {
        (Some(one), Some(other)) => Err(if one.0 >= other.0 { one.1 } else { other.1 }),
        _ => Ok(()),
    }
}

fn of_lhotse(members: &[&Member]) -> Vec<u64> {
    let pairs = members.chunks(2);
    pairs
        .filter_map(|pair| Some(pair.first()?.header_offset))
        .collect()
}

fn of_energon(members: &[&Member]) -> Vec<u64> {
    let (mut starts, mut last) = (Vec::new(), None);
    let has_extension = |name: &str| {
        name.rsplit('/')
            .next()
            .is_some_and(|base| base.contains('.'))
    };
    for member in members {
        if is_remark(&member.name) || !has_extension(&member.name) {
            continue;
        }
        let key = split_name(&member.name).0;
        if last != Some(key) {
            starts.push(member.header_offset);
        }
        last = Some(key);
    }
    starts
}

/// Which number is the first that is off, and what should be there.
fn first_difference(
    found: &[u64],
    starts: &[u64],
    end: std::ops::RangeInclusive<u64>,
) -> Option<(usize, Error)> {
    let wanted = starts.iter().map(|start| *start..=*start).chain([end]);
    let differs =
        |at: usize, reason: String| Some((at, Error::corrupt(reason).at_byte(8 * at as u64)));
    for (at, range) in wanted.enumerate() {
        let what = match at < starts.len() {
            true => format!("sample {at} begins at byte {} of the shard", range.start()),
            false => format!("the samples end at byte {} of the shard", range.start()),
        };
        match found.get(at) {
            None => return differs(at, format!("the index ends early: {what}")),
            Some(number) if range.contains(number) => {}
            Some(number) => return differs(at, format!("{what}, not at byte {number}")),
        }
    }
    let count = starts.len() + 1;
    match found.len() > count {
        true => differs(
            count,
            "the index continues after the end of the samples".to_owned(),
        ),
        false => None,
    }
}
