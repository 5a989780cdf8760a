//! The second decoders, symphonia's, as decoders of our packets.
//!
//! Containers, trimming and seeking stay ours: what is compared is what two codecs make of the same packets.
//! Opus, what symphonia's AAC does not have (more than two channels, frames of 960 samples, HE-AAC), Vorbis of more than
//! two channels, IMA's ADPCM, and codecs that it does not know are refused by name.

use std::borrow::Cow;

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::well_known::*;
use symphonia::core::codecs::audio::{
    AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions,
};
use symphonia::core::errors::Error as Fault;
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::aac::{AacConfig, Replicated};
use super::adpcm::Adpcm;
use super::alac::alac_config;
use super::packet::{Block, PacketDecoder, damaged, not_here};
use super::params::{Codec, Params};
use super::sample::{Order, SampleFormat};
use crate::error::{Error, Result};

/// One of symphonia's decoders.
pub(crate) struct Decoder {
    inner: Box<dyn AudioDecoder>,
    sample_rate: u32,
    channels: Option<usize>,
    block: Option<AdpcmBlock>,
    planes: Vec<Vec<f32>>,
}

impl Decoder {
    /// A decoder for the track that `params` describe.
    ///
    /// # Errors
    /// A codec, or a kind of one, that symphonia does not decode.
    pub(crate) fn new(params: &Params) -> Result<Self> {
        let made = symphonia::default::get_codecs().make_audio_decoder(
            &theirs(params)?,
            &AudioDecoderOptions::default().gapless(false),
        );
        Ok(Self {
            inner: made.map_err(|fault| refused(params, &fault))?,
            sample_rate: params.sample_rate,
            channels: params.channels,
            block: AdpcmBlock::of(params),
            planes: Vec::new(),
        })
    }
}

impl PacketDecoder for Decoder {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        // ADPCM alone asks how long a packet is, and for whole blocks.
        let (whole, frames) = match self.block {
            Some(block) => (padded(packet, block.bytes), block.frames),
            None => (Cow::Borrowed(packet), 0),
        };
        let told = self.block.map(|block| block.frames_in(packet));
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::new(frames), &whole);
        let decoded = match self.inner.decode_ref(&packet) {
            Ok(decoded) => decoded,
            Err(fault) => {
                // What follows must not depend on what came before.
                self.inner.reset();
                return Err(match fault {
                    Fault::Unsupported(what) => not_here(format_args!("{what} (by symphonia)")),
                    fault => damaged(format_args!("{fault} (by symphonia)")),
                });
            }
        };
        let rate = decoded.spec().rate();
        decoded.copy_to_vecs_planar::<f32>(&mut self.planes);
        if let Some(frames) = told {
            self.planes
                .iter_mut()
                .for_each(|plane| plane.truncate(frames as usize));
        }
        Ok(Block {
            sample_rate: if rate > 0 { rate } else { self.sample_rate },
            channels: self.planes.len(),
            planes: &self.planes,
        })
    }

    fn reset(&mut self) {
        self.inner.reset();
    }

    fn channels(&self) -> Option<usize> {
        self.channels
    }
}

/// What a block of ADPCM holds.
#[derive(Clone, Copy)]
struct AdpcmBlock {
    kind: Adpcm,
    channels: u64,
    bytes: usize,
    frames: u64,
}

impl AdpcmBlock {
    fn of(params: &Params) -> Option<Self> {
        let (Codec::Adpcm(kind, bytes), Some(channels)) = (params.codec, params.channels) else {
            return None;
        };
        let channels = channels as u64;
        Some(Self {
            kind,
            channels,
            bytes: bytes as usize,
            frames: kind.frames(u64::from(bytes), channels),
        })
    }

    /// Frames in a packet, which may be the short last one.
    fn frames_in(self, packet: &[u8]) -> u64 {
        self.kind.frames(packet.len() as u64, self.channels)
    }
}

/// A packet with zeros up to the size of a block.
fn padded(packet: &[u8], size: usize) -> Cow<'_, [u8]> {
    let mut whole = Cow::Borrowed(packet);
    if packet.len() < size {
        whole.to_mut().resize(size, 0);
    }
    whole
}

/// A track in symphonia's words.
fn theirs(params: &Params) -> Result<AudioCodecParameters> {
    let id = id(params.codec).ok_or_else(|| unknown(params))?;
    if params.codec == Codec::Vorbis && params.channels.is_some_and(|count| count > 2) {
        // Not one of 33 files of 3 to 8 channels came out as FFmpeg, libvorbis and we decode it.
        let reason = "symphonia decodes Vorbis with more than two channels to wrong samples";
        return Err(Error::unsupported(reason));
    }
    let is_replicated = |params| {
        let config = AacConfig::of_params(params);
        config.is_ok_and(|config| config.replicated == Replicated::Yes)
    };
    if params.codec == Codec::Aac && is_replicated(params) {
        // Half of the rate, and of the sound.
        return Err(Error::unsupported("symphonia does not decode HE-AAC"));
    }
    let mut theirs = AudioCodecParameters::new();
    theirs.for_codec(id).with_sample_rate(params.sample_rate);
    if let Some(channels) = params.channels.and_then(|count| u16::try_from(count).ok()) {
        theirs.with_channels(Channels::Discrete(channels));
    }
    if let Some(block) = AdpcmBlock::of(params) {
        theirs
            .with_frames_per_block(block.frames)
            .with_max_frames_per_packet(block.frames);
    }
    let header = match params.codec {
        Codec::Alac => alac_config(&params.header).map(<[u8]>::to_vec),
        _ => Some(params.header.clone()).filter(|header| !header.is_empty()),
    };
    if let Some(header) = header {
        theirs.with_extra_data(header.into_boxed_slice());
    }
    Ok(theirs)
}

fn id(codec: Codec) -> Option<AudioCodecId> {
    Some(match codec {
        Codec::Mp1 => CODEC_ID_MP1,
        Codec::Mp2 => CODEC_ID_MP2,
        Codec::Mp3 => CODEC_ID_MP3,
        Codec::Aac => CODEC_ID_AAC,
        Codec::Alac => CODEC_ID_ALAC,
        Codec::Flac => CODEC_ID_FLAC,
        Codec::Vorbis => CODEC_ID_VORBIS,
        Codec::Pcm(sample, order) => pcm_id(sample, order),
        Codec::Adpcm(Adpcm::Microsoft, _) => CODEC_ID_ADPCM_MS,
        _ => return None,
    })
}

fn pcm_id(sample: SampleFormat, order: Order) -> AudioCodecId {
    let (little, big) = match sample {
        SampleFormat::Unsigned8 => (CODEC_ID_PCM_U8, CODEC_ID_PCM_U8),
        SampleFormat::Signed8 => (CODEC_ID_PCM_S8, CODEC_ID_PCM_S8),
        SampleFormat::Signed16 => (CODEC_ID_PCM_S16LE, CODEC_ID_PCM_S16BE),
        SampleFormat::Signed24 => (CODEC_ID_PCM_S24LE, CODEC_ID_PCM_S24BE),
        SampleFormat::Signed32 => (CODEC_ID_PCM_S32LE, CODEC_ID_PCM_S32BE),
        SampleFormat::Float32 => (CODEC_ID_PCM_F32LE, CODEC_ID_PCM_F32BE),
        SampleFormat::Float64 => (CODEC_ID_PCM_F64LE, CODEC_ID_PCM_F64BE),
        SampleFormat::ALaw => (CODEC_ID_PCM_ALAW, CODEC_ID_PCM_ALAW),
        SampleFormat::MuLaw => (CODEC_ID_PCM_MULAW, CODEC_ID_PCM_MULAW),
    };
    match order {
        Order::Little => little,
        Order::Big => big,
    }
}

fn unknown(params: &Params) -> Error {
    let name = params.codec.name();
    if let Codec::Adpcm(..) = params.codec {
        // By up to 1e-2 from FFmpeg and libsndfile, which agree with us and with IMA's recommendation.
        let reason =
            format!("symphonia does not decode the codec {name} to the samples of its standard");
        return Error::unsupported(reason);
    }
    Error::unsupported(format!("symphonia does not decode the codec {name}"))
}

fn refused(params: &Params, fault: &Fault) -> Error {
    let name = params.codec.name();
    Error::unsupported(format!("symphonia does not decode this {name}: {fault}"))
}
