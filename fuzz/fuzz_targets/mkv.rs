//! Matroska and WebM.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, stamped};

fuzz_target!(|bytes: &[u8]| check(&stamped(bytes, &[&[(0, b"\x1A\x45\xDF\xA3")]])));
