//! The second decoders, symphonia's, as decoders of our packets.
//!
//! Containers, trimming and seeking stay ours: what is compared is what two codecs make of the same packets.
//! Opus, what symphonia's AAC does not have (more than two channels, frames of 960 samples, HE-AAC), Vorbis of more than
//! two channels, and codecs that it does not know are refused by name.

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::well_known::*;
use symphonia::core::codecs::audio::{
    AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions,
};
use symphonia::core::errors::Error as Fault;
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

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
            planes: Vec::new(),
        })
    }
}

impl PacketDecoder for Decoder {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::ZERO, packet);
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

/// A track in symphonia's words.
fn theirs(params: &Params) -> Result<AudioCodecParameters> {
    let id = id(params.codec).ok_or_else(|| unknown(params))?;
    if params.codec == Codec::Vorbis && params.channels.is_some_and(|count| count > 2) {
        // Not one of 33 files of 3 to 8 channels came out as FFmpeg, libvorbis and we decode it.
        let reason = "symphonia decodes Vorbis with more than two channels to wrong samples";
        return Err(Error::unsupported(reason));
    }
    let mut theirs = AudioCodecParameters::new();
    theirs.for_codec(id).with_sample_rate(params.sample_rate);
    if let Some(channels) = params.channels.and_then(|count| u16::try_from(count).ok()) {
        theirs.with_channels(Channels::Discrete(channels));
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
    Error::unsupported(format!("symphonia does not decode the codec {name}"))
}

fn refused(params: &Params, fault: &Fault) -> Error {
    let name = params.codec.name();
    Error::unsupported(format!("symphonia does not decode this {name}: {fault}"))
}
