//! Shorten, as a file of its own and in NIST SPHERE.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, stamped};

fuzz_target!(|bytes: &[u8]| check(&stamped(
    bytes,
    &[&[(0, b"ajkg")], &[(0, b"NIST_1A\n")]]
)));
