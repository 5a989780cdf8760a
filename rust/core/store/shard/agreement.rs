//! Whether an index is that of the shard beside it: what headers say of its members.
//!
//! Size and time of a shard are those of another one where both are made alike and stamped alike, as by
//! tools that set all times to one. Reading every header would cost what an index saves, so that some are
//! read at opening, and each member's own when that is asked for.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Member;
use super::access::Handle;
use super::header::{BLOCK, Block, Header, Kind, is_zero};
use super::row::Row;
use super::walk::{Walk, walk_from};
use crate::error::{Error, Result};

/// Members that are looked at when a shard is opened: the first, the last, and some between.
const PROBES: usize = 8;

/// Whether a header says what the index does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Same,
    Another,
    /// None that can be read, as where it is damaged.
    Nothing,
}

/// Whether the index can be that of the shard: no header speaks of another member, and most can be read.
pub(super) fn is_of(handle: &Handle, members: &[Member]) -> bool {
    let last = members.len().saturating_sub(1);
    let probes = PROBES.min(members.len());
    let mut places: Vec<usize> = (0..probes)
        .map(|at| at * last / (probes.max(2) - 1))
        .collect();
    places.dedup();
    let found: Vec<Found> = places
        .iter()
        .filter_map(|at| members.get(*at))
        .map(|member| look(handle, member))
        .collect();
    let count = |wanted| found.iter().filter(|one| **one == wanted).count();
    count(Found::Another) == 0 && count(Found::Same) > 0 && count(Found::Nothing) <= found.len() / 2
}

/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) where no header leads to the member.
pub(super) fn check(handle: &Handle, member: &Member) -> Result<()> {
    let reason = match look(handle, member) {
        Found::Same => return Ok(()),
        Found::Another => "the index belongs to another shard: this member is not at its place",
        Found::Nothing => "the index has this member, and no header leads to it",
    };
    // A file that was cut short meanwhile is told as such.
    handle.check_unchanged()?;
    let error = Error::corrupt(reason).at_byte(member.header_offset);
    Err(error.with_source(handle.name()))
}

fn look(handle: &Handle, member: &Member) -> Found {
    if member.offset.checked_sub(member.header_offset) != Some(BLOCK) {
        return look_behind(handle, member);
    }
    let Ok(bytes) = handle.read(member.header_offset, BLOCK) else {
        return Found::Nothing;
    };
    match bytes.first_chunk() {
        Some(block) => plain(block, member),
        None => Found::Nothing,
    }
}

/// Of the one header that most members have.
fn plain(block: &Block, member: &Member) -> Found {
    match Header::new(block) {
        Ok(header) if !is_zero(block) => {
            let is_same = header.kind() == Kind::File
                && header.size().is_ok_and(|size| size == member.size)
                && *header.name() == *member.name.as_bytes();
            if is_same { Found::Same } else { Found::Another }
        }
        _ => Found::Nothing,
    }
}

/// Of a member with headers about it in front.
fn look_behind(handle: &Handle, member: &Member) -> Found {
    let source = handle.source();
    let step = source.and_then(|source| walk_from(source, member.header_offset).step());
    match step {
        Ok(Some(found)) if found == *member => Found::Same,
        Ok(Some(_)) => Found::Another,
        _ => Found::Nothing,
    }
}

/// What a walk through all of a shard has met.
pub(super) struct Walked {
    members: Vec<Member>,
    /// Stretches that hold no member which could be read.
    lost: Vec<Range<u64>>,
    size: u64,
}

impl Walked {
    pub(super) fn through(walk: Walk<'_>, size: u64) -> Self {
        let (mut members, mut lost) = (Vec::new(), Vec::new());
        for step in walk {
            match step {
                Ok(member) => members.push(member),
                Err(gap) => lost.push(gap.bytes),
            }
        }
        Self {
            members,
            lost,
            size,
        }
    }

    /// Whether damage is why no header was met at this byte.
    fn is_lost(&self, at: u64) -> bool {
        let is_behind = at >= self.size && !self.lost.is_empty();
        is_behind || self.lost.iter().any(|gap| gap.contains(&at))
    }
}

/// Whether the rows can be those of a shard with these headers, damaged or not.
///
/// A header has a checksum: one that is right and says otherwise is another shard's. Names in front of it
/// have none. Where they alone differ, the index is this shard's if it is fresh, or right of most.
pub(super) fn may_be_of(walked: &Walked, rows: &[Row], is_fresh: bool) -> bool {
    let mut unmet: BTreeMap<u64, &Member> = rows
        .iter()
        .map(|row| (row.member.offset, &row.member))
        .collect();
    let places = unmet.clone();
    let (mut same, mut renamed) = (0, 0);
    for member in &walked.members {
        match unmet.remove(&member.offset) {
            Some(row) if row.name == member.name && row.size == member.size => same += 1,
            Some(row) if row.size == member.size && (is_led(row) || is_led(member)) => renamed += 1,
            Some(_) => return false,
            None if is_within(member, &places) && !walked.lost.is_empty() => {}
            None => return false,
        }
    }
    let explained = unmet.values().all(|row| walked.is_lost(row.header_offset));
    explained && (is_fresh || renamed <= same)
}

/// Whether headers about it stand in front of its own.
fn is_led(member: &Member) -> bool {
    member.offset.saturating_sub(member.header_offset) > BLOCK
}

/// Whether the member is part of another one's payload, as of an archive in the archive: after damage
/// such a header is met.
fn is_within(member: &Member, rows: &BTreeMap<u64, &Member>) -> bool {
    let end = member.offset.saturating_add(member.size);
    let row = rows.range(..=member.header_offset).next_back();
    row.is_some_and(|(_, row)| end <= row.offset.saturating_add(row.size))
}
