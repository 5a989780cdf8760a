//! CAF, AIFF, AIFF-C and AU.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, stamped};

fuzz_target!(|bytes: &[u8]| check(&stamped(
    bytes,
    &[
        &[(0, b"caff")],
        &[(0, b"FORM"), (8, b"AIFF")],
        &[(0, b"FORM"), (8, b"AIFC")],
        &[(0, b".snd")],
    ]
)));
