//! Native FLAC as it comes; checksums stop most of it, which `flac_frames` repairs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, stamped};

fuzz_target!(|bytes: &[u8]| check(&stamped(bytes, &[&[(0, b"fLaC")]])));
