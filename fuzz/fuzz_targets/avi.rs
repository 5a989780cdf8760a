//! AVI, the first list of its header in place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, stamped};

fuzz_target!(|bytes: &[u8]| check(&stamped(
    bytes,
    &[
        &[(0, b"RIFF"), (8, b"AVI LIST"), (20, b"hdrl")],
        &[(0, b"RIFF"), (8, b"AVI ")],
    ]
)));
