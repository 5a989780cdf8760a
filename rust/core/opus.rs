//! Opus.
// The frames that are decoded by these are not yet taken apart here.
#![allow(dead_code)]

pub(crate) mod celt;
pub(crate) mod range;
pub(crate) mod silk;
pub(crate) mod stream;
