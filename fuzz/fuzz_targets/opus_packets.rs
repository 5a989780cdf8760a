//! Opus packets, each with its length before it, in a sound Ogg stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle_fuzz::{check, opus_stream};

fuzz_target!(|bytes: &[u8]| check(&opus_stream(bytes)));
