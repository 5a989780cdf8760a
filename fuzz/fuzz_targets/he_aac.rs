//! Payloads of HE-AAC, each with its length before it, in sound packets of ADTS.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, he_aac_stream};

fuzz_target!(|bytes: &[u8]| check(&he_aac_stream(bytes)));
