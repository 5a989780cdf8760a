//! MP4, M4A and fragmented MP4.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, stamped};

fuzz_target!(|bytes: &[u8]| check(&stamped(bytes, &[&[(4, b"ftyp")]])));
