//! The one place where a file is mapped: the only unsafe code that reading needs.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a whole file for reading. Not populated: faulting pages in as they are summed is a tenth faster.
pub(crate) fn read_only(file: &File) -> io::Result<Mmap> {
    // SAFETY: a map is unsound when the file changes under it. Entries of a cache are complete before
    // they get their name, are never written to again and only ever replaced by rename or unlinked,
    // which both leave the mapped inode alone. Who truncates one by hand gets a SIGBUS, as with
    // `numpy.memmap`; readers who cannot rule that out ask for a copy.
    unsafe { Mmap::map(file) }
}
