//! RIFF and RF64 WAVE.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, stamped};

fuzz_target!(|bytes: &[u8]| check(&stamped(
    bytes,
    &[&[(0, b"RIFF"), (8, b"WAVE")], &[(0, b"RF64"), (8, b"WAVE")]]
)));
