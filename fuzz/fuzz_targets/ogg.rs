//! Ogg whose pages get right checksums, so that damage reaches the codec; one input in two.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, sealed_ogg, stamped};

fuzz_target!(|bytes: &[u8]| {
    let stream = stamped(bytes, &[&[(0, b"OggS")]]);
    match bytes.last() {
        Some(last) if last % 2 == 1 => check(&stream),
        _ => check(&sealed_ogg(&stream)),
    }
});
