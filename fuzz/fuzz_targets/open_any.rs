//! Any bytes: what they are is recognised, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ossicle_fuzz::check(bytes));
