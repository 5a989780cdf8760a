//! MPEG audio with and without an ID3 tag, and AAC in ADTS.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, stamped};

fuzz_target!(|bytes: &[u8]| check(&stamped(
    bytes,
    &[
        &[(0, b"\xFF\xF3")],
        &[(0, b"\xFF\xFB")],
        &[(0, b"\xFF\xF1")],
        &[(0, b"ID3")],
    ]
)));
