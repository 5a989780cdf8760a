//! MPEG transport streams of each length of packets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, stamped};

const SYNC: &[u8] = b"\x47";

fuzz_target!(|bytes: &[u8]| check(&stamped(
    bytes,
    &[
        &[(0, SYNC), (188, SYNC), (2 * 188, SYNC), (3 * 188, SYNC), (4 * 188, SYNC)],
        &[(4, SYNC), (196, SYNC), (388, SYNC), (580, SYNC), (772, SYNC)],
        &[(0, SYNC), (204, SYNC), (408, SYNC), (612, SYNC), (816, SYNC)],
    ]
)));
