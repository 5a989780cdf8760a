//! Native FLAC whose checksums are made right, so that damage reaches the decoder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, sealed_flac, stamped};

fuzz_target!(|bytes: &[u8]| check(&sealed_flac(&stamped(bytes, &[&[(0, b"fLaC")]]))));
