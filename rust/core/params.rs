//! What is known of a stream before a packet of it is decoded: its codec, and what the decoder is made
//! from.

use crate::flac::FrameHeader;
use crate::opus;
use crate::pcm::{Order, Sample};

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

    /// Frames to decode ahead of a range, so that its first sample is that of a whole decode.
    pub(crate) fn preroll_frames(&self) -> u64 {
        match self.codec {
            Codec::Mp3 => self.layer3_preroll_frames(),
            // The filter bank's past of 480 samples, and a packet to spare.
            Codec::Mp1 | Codec::Mp2 => 2 * 1152,
            // Overlap of one block; two more cost nothing.
            Codec::Aac => 3 * 1024,
            Codec::Vorbis => 3 * 8192,
            // Opus finds out by decoding: see `codec::opus_start`.
            _ => 0,
        }
    }

    /// The bit reservoir reaches back 511 bytes in MPEG 1 and 255 in MPEG 2, which is many packets where
    /// they are short: at the lowest bit rate, and behind header, checksum and side information. The
    /// overlap of the filter banks, two granules, lies behind that; a packet more is to spare.
    fn layer3_preroll_frames(&self) -> u64 {
        let hz = u64::from(self.sample_rate.max(1));
        let is_stereo = self.channels != Some(1);
        let (frames, reach, bits, side_info) = match (hz >= 32_000, is_stereo) {
            (true, true) => (1152, 511, 32_000, 32),
            (true, false) => (1152, 511, 32_000, 17),
            (false, true) => (576, 255, 8_000, 17),
            (false, false) => (576, 255, 8_000, 9),
        };
        let main_data = (frames / 8 * bits / hz).saturating_sub(4 + 2 + side_info);
        (reach / main_data.max(1) + 4) * frames
    }

    /// Bits of one sample of what was encoded, where nothing was lost.
    pub(crate) fn lossless_bits(&self) -> Option<u32> {
        if self.codec.is_lossy() {
            return None;
        }
        let told = self.bits_per_sample.filter(|bits| *bits > 0);
        told.or_else(|| match self.codec {
            Codec::Pcm(sample, _) => Some(8 * sample.bytes()),
            Codec::Alac => alac_config(&self.header)?
                .get(5)
                .map(|bits| u32::from(*bits)),
            _ => None,
        })
    }

    /// Bytes of one frame of PCM.
    pub(crate) fn pcm_frame_bytes(&self) -> Option<usize> {
        match (self.codec, self.channels) {
            (Codec::Pcm(sample, _), Some(channels)) => Some(sample.bytes() as usize * channels),
            _ => None,
        }
    }

    /// Frames in the packet `data`; `None` where only decoding tells.
    pub(crate) fn packet_frames(&self, data: &[u8]) -> Option<u64> {
        match self.codec {
            Codec::Pcm(..) => {
                let frames = data.len().checked_div(self.pcm_frame_bytes()?);
                frames.map(|frames| frames as u64)
            }
            Codec::Mp1 | Codec::Mp2 | Codec::Mp3 => mpeg_frames(data),
            Codec::Flac => {
                let header = FrameHeader::parse(data).ok()?;
                Some(u64::from(header.block_size))
            }
            Codec::Opus => opus::packet_frames(data),
            _ => None,
        }
    }
}

/// Apple's `ALACSpecificConfig`, behind the atoms that QuickTime wraps it in.
pub(crate) fn alac_config(mut config: &[u8]) -> Option<&[u8]> {
    for atom in [b"frma", b"alac"] {
        if config.get(4..8)? == atom {
            config = config.get(12..)?;
        }
    }
    Some(config)
}

/// ISO/IEC 11172-3 and 13818-3: version and layer in the second byte of the header.
fn mpeg_frames(data: &[u8]) -> Option<u64> {
    let second = *data.get(1)?;
    let is_mpeg1 = second & 0b0001_1000 == 0b0001_1000;
    match (second >> 1) & 0b11 {
        0b11 => Some(384),
        0b10 => Some(1152),
        0b01 if is_mpeg1 => Some(1152),
        0b01 => Some(576),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mpeg_frames_follow_version_and_layer() {
        for (second, frames) in [
            (0xFB, 1152),
            (0xF3, 576),
            (0xE3, 576),
            (0xFD, 1152),
            (0xFF, 384),
        ] {
            assert_eq!(mpeg_frames(&[0xFF, second]), Some(frames));
        }
        assert_eq!(mpeg_frames(&[0xFF, 0xE9]), None);
    }
}
