//! The one place where a file is mapped, and where a map's pages are let go.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, UncheckedAdvice};

/// Maps a whole file for reading. Not populated: faulting pages in as they are summed is a tenth faster.
pub(crate) fn read_only(file: &File) -> io::Result<Mmap> {
    // SAFETY: a map is unsound when the file changes under it. Entries of a cache are complete before
    // they get their name, are never written to again and only ever replaced by rename or unlinked,
    // which both leave the mapped inode alone. Shards are not ours: size, time and inode are compared
    // before a view of one is handed out, and nothing in this crate reads through the map, neither
    // headers nor what is decoded; only the caller's own reading of a view does, on file systems where
    // no other machine writes. Who truncates either by hand under a view that is in use gets a SIGBUS,
    // as with `numpy.memmap`; readers who cannot rule that out ask for a copy.
    unsafe { Mmap::map(file) }
}

/// Takes the pages that were touched out of this process's memory; they stay in the page cache, and whoever
/// touches one again gets it from there. What cannot be let go of stays.
pub(crate) fn release(map: &Mmap) {
    // SAFETY: this advice throws the content of memory away that is nothing but memory. These maps are
    // shared and read-only: their content is the file's, before and after.
    let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
}
