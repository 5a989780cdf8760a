//! What tells a shard from another one at its path.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// What tells whether an index is about the shard beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Bytes.
    pub(super) size: u64,
    /// Time of modification, in nanoseconds of Unix's time.
    pub(super) modified: i128,
}

impl Stamp {
    pub(super) fn new(size: u64, seconds: i64, nanoseconds: i64) -> Self {
        let modified = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        Self { size, modified }
    }

    pub(super) fn of(facts: &Metadata) -> Self {
        Self::new(facts.size(), facts.mtime(), facts.mtime_nsec())
    }
}
