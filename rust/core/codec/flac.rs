//! FLAC (RFC 9639), decoded here: every depth and block size, and every checksum compared.
//!
//! Symphonia's decoder takes twice the time and refuses 32 bits.

pub(crate) mod bits;
mod crc;
mod decoder;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod output;
pub(crate) mod predict;
pub(crate) mod stream_info;
mod subframe;

pub(crate) use decoder::Decoder;

/// What is wrong with a frame's bytes; where they lie is known further up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They end too early.
    Short,
    Damaged(&'static str),
    /// They are of another kind than the stream: `from` and `to` in units of `what`.
    Changed {
        what: &'static str,
        from: u32,
        to: u32,
    },
}
