//! Codecs: packets to samples.
//!
//! A new codec is a file or folder here, a variant of [`Codec`] and its row in [`row`]; the containers that hold it
//! map their own name of it to the variant.

pub(crate) mod aac;
pub(crate) mod adpcm;
pub(crate) mod alac;
pub(crate) mod amr;
pub(crate) mod bits;
pub(crate) mod flac;
pub(crate) mod gsm;
pub(crate) mod mpeg_audio;
pub(crate) mod opus;
pub(crate) mod packet;
pub(crate) mod params;
pub(crate) mod pcm;
#[cfg(test)]
pub(crate) mod planted;
pub(crate) mod sample;
#[cfg(feature = "symphonia")]
mod second;
pub(crate) mod shorten;
pub(crate) mod vorbis;

use self::alac::alac_config;
use self::amr::frame::Band;
use self::flac::header::FrameHeader;
use self::packet::PacketDecoder;
use self::params::{Codec, Params};
use crate::error::{Error, Result};

/// Whose codecs decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Library {
    /// Those of this crate.
    #[default]
    Native,
    /// Those of the crate symphonia; the cargo feature of that name has them.
    Symphonia,
}

/// What is to be known of a codec.
struct Row {
    /// FFmpeg's name.
    name: &'static str,
    /// Channels that it has at most.
    most_channels: usize,
    /// A decoder as new.
    decoder: fn(&Params) -> Result<Box<dyn PacketDecoder>>,
    /// Frames to decode ahead of a range.
    preroll_frames: fn(&Params) -> u64,
    /// Frames in a packet; `None` where only decoding tells.
    packet_frames: fn(&Params, &[u8]) -> Option<u64>,
    /// Bits of one sample that went in, where the codec's own header tells; `None` for all codecs that lose
    /// something.
    lossless_bits: Option<fn(&Params) -> Option<u32>>,
    /// By how much the samples of two right decoders may differ, full scale being 1.
    tolerance: f32,
}

impl Row {
    /// Of a codec without preroll, whose packets tell no length.
    fn new(name: &'static str, decoder: fn(&Params) -> Result<Box<dyn PacketDecoder>>) -> Self {
        Self {
            name,
            most_channels: usize::MAX,
            decoder,
            preroll_frames: |_| 0,
            packet_frames: |_, _| None,
            lossless_bits: None,
            tolerance: 0.0,
        }
    }
}

/// The table of codecs.
fn row(codec: Codec) -> Row {
    match codec {
        Codec::Aac => Row {
            most_channels: 8,
            // Overlap of one block; two more cost nothing. HE-AAC finds out by reading where to begin: see
            // `decode::reader::he_aac_start`.
            preroll_frames: |_| 3 * 1024,
            tolerance: LOSSY_TOLERANCE,
            ..Row::new("aac", |params| Ok(Box::new(aac::Decoder::new(params)?)))
        },
        Codec::Alac => Row {
            most_channels: 8,
            lossless_bits: Some(|params| {
                let bits = alac_config(&params.header)?.get(5)?;
                Some(u32::from(*bits))
            }),
            ..Row::new("alac", |params| Ok(Box::new(alac::Decoder::new(params)?)))
        },
        Codec::AmrNb => amr(Band::Narrow),
        Codec::AmrWb => amr(Band::Wide),
        Codec::Flac => Row {
            most_channels: 8,
            packet_frames: |_, data| {
                let header = FrameHeader::parse(data).ok()?;
                Some(u64::from(header.block_size))
            },
            lossless_bits: Some(|_| None),
            ..Row::new("flac", |params| Ok(Box::new(flac::Decoder::new(params)?)))
        },
        Codec::Mp1 => mpeg("mp1", |_| MPEG_PREROLL_FRAMES),
        Codec::Mp2 => mpeg("mp2", |_| MPEG_PREROLL_FRAMES),
        Codec::Mp3 => mpeg("mp3", mpeg_audio::layer3_preroll_frames),
        // Opus finds out by decoding where to begin: see `decode::reader::opus_start`.
        Codec::Opus => Row {
            packet_frames: |_, data| opus::packet_frames(data),
            tolerance: LOSSY_TOLERANCE,
            ..Row::new("opus", |params| Ok(Box::new(opus::Decoder::new(params)?)))
        },
        Codec::Vorbis => Row {
            preroll_frames: |_| 3 * 8192,
            tolerance: LOSSY_TOLERANCE,
            ..Row::new("vorbis", |params| {
                Ok(Box::new(vorbis::Decoder::new(&params.header)?))
            })
        },
        Codec::Pcm(sample, order) => Row {
            packet_frames: |params, data| {
                let frames = data.len().checked_div(params.pcm_frame_bytes()?);
                frames.map(|frames| frames as u64)
            },
            lossless_bits: Some(|params| match params.codec {
                Codec::Pcm(sample, _) => Some(8 * sample.bytes()),
                _ => None,
            }),
            ..Row::new(sample.name(order), |params| {
                Ok(Box::new(pcm::Decoder::new(params)?))
            })
        },
        Codec::Adpcm(kind, _) => Row {
            most_channels: adpcm::MAX_CHANNELS as usize,
            packet_frames: |params, data| match (params.codec, params.channels) {
                (Codec::Adpcm(kind, _), Some(channels)) => {
                    Some(kind.frames(data.len() as u64, channels as u64))
                }
                _ => None,
            },
            ..Row::new(kind.name(), |params| {
                Ok(Box::new(pcm::blocks::Decoder::new(params)?))
            })
        },
        Codec::Other(name) => Row::new(name, |params| {
            let name = params.codec.name();
            let reason = format!("the codec {name} is not decoded here");
            Err(Error::unsupported(reason))
        }),
    }
}

/// The filter bank's past of 480 samples, and a packet to spare.
const MPEG_PREROLL_FRAMES: u64 = 2 * 1152;

/// Ten times the largest difference between two decoders of a lossy codec that was found (docs/decoders.md).
const LOSSY_TOLERANCE: f32 = 2e-5;

/// AMR, whose frames each depend on all before them.
fn amr(band: Band) -> Row {
    Row {
        most_channels: 1,
        preroll_frames: |_| i64::MAX as u64,
        packet_frames: amr::packet_frames,
        ..Row::new(band.name(), |params| {
            Ok(Box::new(amr::Decoder::new(params)?))
        })
    }
}

/// A layer of MPEG audio.
fn mpeg(name: &'static str, preroll_frames: fn(&Params) -> u64) -> Row {
    Row {
        most_channels: 2,
        preroll_frames,
        packet_frames: |_, data| mpeg_audio::packet_frames(data),
        tolerance: LOSSY_TOLERANCE,
        ..Row::new(name, |_| Ok(Box::new(mpeg_audio::Decoder::default())))
    }
}

/// A decoder as new, of `library`, for the track that `params` describe.
///
/// # Errors
/// A codec that is not decoded here, by name, or a broken header of one that is.
pub(crate) fn decoder(params: &Params, library: Library) -> Result<Box<dyn PacketDecoder>> {
    // Before the second one, too: a header that would make it reserve gigabytes is an error here.
    let native = (row(params.codec).decoder)(params)?;
    match library {
        Library::Native => Ok(native),
        Library::Symphonia => second_decoder(params),
    }
}

#[cfg(feature = "symphonia")]
fn second_decoder(params: &Params) -> Result<Box<dyn PacketDecoder>> {
    Ok(Box::new(second::Decoder::new(params)?))
}

#[cfg(not(feature = "symphonia"))]
fn second_decoder(_params: &Params) -> Result<Box<dyn PacketDecoder>> {
    let reason = "this build has no second decoder: build it with the cargo feature symphonia";
    Err(Error::unsupported(reason))
}

impl Codec {
    /// FFmpeg's name.
    pub(crate) fn name(self) -> &'static str {
        row(self).name
    }
}

impl Params {
    /// Of a codec without a header of its own. A container that declares more channels than the codec has leaves
    /// them to the stream.
    pub(crate) fn new(codec: Codec, sample_rate: u32, channels: Option<usize>) -> Self {
        let most = row(codec).most_channels;
        Self {
            codec,
            sample_rate,
            channels: channels.filter(|count| *count <= most),
            bits_per_sample: None,
            header: Vec::new(),
            is_replicated: false,
        }
    }

    /// Frames to decode ahead of a range, so that its first sample is that of a whole decode.
    pub(crate) fn preroll_frames(&self) -> u64 {
        (row(self.codec).preroll_frames)(self)
    }

    /// Bits of one sample of what was encoded, where nothing was lost.
    pub(crate) fn lossless_bits(&self) -> Option<u32> {
        let bits = row(self.codec).lossless_bits?;
        let told = self.bits_per_sample.filter(|bits| *bits > 0);
        told.or_else(|| bits(self))
    }

    /// By how much the samples of two right decoders may differ.
    pub(crate) fn tolerance(&self) -> f32 {
        row(self.codec).tolerance
    }

    /// Frames in the packet `data`; `None` where only decoding tells.
    pub(crate) fn packet_frames(&self, data: &[u8]) -> Option<u64> {
        (row(self.codec).packet_frames)(self, data)
    }
}
