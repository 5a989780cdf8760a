//! What is known of a stream before a packet of it is decoded: its codec, and what the decoder is made
//! from.

use super::adpcm::Adpcm;
use super::sample::{Order, SampleFormat};

/// Who made the packets; what is known of each stands in the table of [`codec`](super).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Codec {
    Mp1,
    Mp2,
    Mp3,
    Aac,
    Alac,
    AmrNb,
    AmrWb,
    Flac,
    Opus,
    Vorbis,
    Pcm(SampleFormat, Order),
    /// In blocks of so many bytes, the last of which may be shorter.
    Adpcm(Adpcm, u32),
    /// One that is not decoded here, by FFmpeg's name.
    Other(&'static str),
}

/// What containers and codecs' headers tell of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Params {
    pub(crate) codec: Codec,
    /// In Hz; 0 where a header says so.
    pub(crate) sample_rate: u32,
    /// `None` where only the packets tell.
    pub(crate) channels: Option<usize>,
    pub(crate) bits_per_sample: Option<u32>,
    /// The codec's own header; empty where it has none.
    pub(crate) header: Vec<u8>,
    /// Of AAC, whether the packets show that it is HE-AAC, of which the header need not tell.
    pub(crate) is_replicated: bool,
}

impl Params {
    /// Bytes of one frame of PCM.
    pub(crate) fn pcm_frame_bytes(&self) -> Option<usize> {
        match (self.codec, self.channels) {
            (Codec::Pcm(sample, _), Some(channels)) => Some(sample.bytes() as usize * channels),
            _ => None,
        }
    }
}
