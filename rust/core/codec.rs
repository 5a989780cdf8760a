//! Codecs: packets to samples.
//!
//! A new codec is a file of this folder, a variant of [`Codec`] with its name, and an arm in each function here.

pub(crate) mod aac;
pub(crate) mod alac;
pub(crate) mod flac;
pub(crate) mod mpeg_audio;
pub(crate) mod opus;
pub(crate) mod packet;
pub(crate) mod params;
pub(crate) mod pcm;
pub(crate) mod sample;
pub(crate) mod vorbis;

use self::alac::alac_config;
use self::flac::header::FrameHeader;
use self::packet::PacketDecoder;
use self::params::{Codec, Params};
use crate::error::{Error, Result};

/// A decoder as new for the track that `params` describe.
///
/// # Errors
/// A codec that is not decoded here, by name, or a broken header of one that is.
pub(crate) fn decoder(params: &Params) -> Result<Box<dyn PacketDecoder>> {
    match params.codec {
        Codec::Aac => Ok(Box::new(aac::Decoder::new(params)?)),
        Codec::Alac => Ok(Box::new(alac::Decoder::new(params)?)),
        Codec::Opus => Ok(Box::new(opus::Decoder::new(params)?)),
        Codec::Flac => Ok(Box::new(flac::Packets::new(params)?)),
        Codec::Mp1 | Codec::Mp2 | Codec::Mp3 => Ok(Box::new(mpeg_audio::Decoder::default())),
        Codec::Pcm(..) => Ok(Box::new(pcm::Packets::new(params)?)),
        Codec::Vorbis => Ok(Box::new(vorbis::Decoder::new(&params.header)?)),
        Codec::Other(name) => {
            let reason = format!("the codec {name} is not decoded here");
            Err(Error::unsupported(reason))
        }
    }
}

impl Params {
    /// Frames to decode ahead of a range, so that its first sample is that of a whole decode.
    pub(crate) fn preroll_frames(&self) -> u64 {
        match self.codec {
            Codec::Mp3 => self.layer3_preroll_frames(),
            // The filter bank's past of 480 samples, and a packet to spare.
            Codec::Mp1 | Codec::Mp2 => 2 * 1152,
            // Overlap of one block; two more cost nothing.
            Codec::Aac => 3 * 1024,
            Codec::Vorbis => 3 * 8192,
            // Opus finds out by decoding: see `decode::reader::opus_start`.
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
