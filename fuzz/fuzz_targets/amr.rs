//! AMR as phones store it, of both bands.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, stamped};

fuzz_target!(|bytes: &[u8]| check(&stamped(
    bytes,
    &[&[(0, b"#!AMR\n")], &[(0, b"#!AMR-WB\n")]]
)));
