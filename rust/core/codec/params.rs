//! What is known of a stream before a packet of it is decoded: its codec, and what the decoder is made
//! from.

use super::sample::{Order, Sample};

/// Who made the packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Codec {
    Mp1,
    Mp2,
    Mp3,
    Aac,
    Alac,
    Flac,
    Opus,
    Vorbis,
    Pcm(Sample, Order),
    /// One that is not decoded here, by FFmpeg's name.
    Other(&'static str),
}

impl Codec {
    /// FFmpeg's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mp1 => "mp1",
            Self::Mp2 => "mp2",
            Self::Mp3 => "mp3",
            Self::Aac => "aac",
            Self::Alac => "alac",
            Self::Flac => "flac",
            Self::Opus => "opus",
            Self::Vorbis => "vorbis",
            Self::Pcm(sample, order) => sample.name(order),
            Self::Other(name) => name,
        }
    }

    /// Whether decoding gives other samples than went in.
    pub(crate) fn is_lossy(self) -> bool {
        !matches!(self, Self::Pcm(..) | Self::Flac | Self::Alac)
    }
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
}

impl Params {
    /// Of a codec without a header of its own. A container that declares more channels than the codec has leaves
    /// them to the stream.
    pub(crate) fn new(codec: Codec, sample_rate: u32, channels: Option<usize>) -> Self {
        let most = match codec {
            Codec::Mp1 | Codec::Mp2 | Codec::Mp3 => 2,
            Codec::Aac | Codec::Alac | Codec::Flac => 8,
            _ => usize::MAX,
        };
        Self {
            codec,
            sample_rate,
            channels: channels.filter(|count| *count <= most),
            bits_per_sample: None,
            header: Vec::new(),
        }
    }

    /// Bytes of one frame of PCM.
    pub(crate) fn pcm_frame_bytes(&self) -> Option<usize> {
        match (self.codec, self.channels) {
            (Codec::Pcm(sample, _), Some(channels)) => Some(sample.bytes() as usize * channels),
            _ => None,
        }
    }
}
