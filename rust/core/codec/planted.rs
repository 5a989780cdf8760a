//! Bugs that tests plant in decoders of ours, for the second decoder to find.

use std::cell::Cell;

/// Where a bug is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bug {
    /// One line of the difference channel of MPEG audio has the wrong sign.
    MidSide,
    /// The last sample of a FLAC block is off by one step.
    FlacOutput,
    /// A-law's loudest segment is one step too loud.
    ALaw,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Whether `bug` is planted in this thread's decoders.
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// What `work` gives with `bug` planted.
pub(crate) fn with<T>(bug: Bug, work: impl FnOnce() -> T) -> T {
    PLANTED.set(Some(bug));
    let result = work();
    PLANTED.set(None);
    result
}
