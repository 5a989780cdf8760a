//! Decoders of symphonia's, for the codecs that have none of ours.

use symphonia::core::audio::{Channels, layouts};
use symphonia::core::codecs::audio::well_known as id;
use symphonia::core::codecs::audio::{
    AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions,
};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::decoder::{Block, PacketDecoder, damaged, not_here};
use crate::error::{Error, ErrorKind, Result};
use crate::params::{Codec, Params};

pub(super) struct Symphonia {
    decoder: Box<dyn AudioDecoder>,
    planes: Vec<Vec<f32>>,
}

impl Symphonia {
    pub(super) fn new(params: &Params) -> Result<Self> {
        let mut theirs = AudioCodecParameters::new();
        theirs
            .for_codec(codec(params.codec)?)
            .with_sample_rate(params.sample_rate)
            .with_max_frames_per_packet(4096);
        theirs.channels = params.channels.map(|count| match count {
            1 => layouts::CHANNEL_LAYOUT_MONO,
            2 => layouts::CHANNEL_LAYOUT_STEREO,
            more => Channels::Discrete(more as u16),
        });
        if let Some(bits) = params.lossless_bits() {
            theirs
                .with_bits_per_sample(bits)
                .with_bits_per_coded_sample(bits);
        }
        if !params.header.is_empty() {
            theirs.with_extra_data(params.header.clone().into());
        }
        let options = AudioDecoderOptions::default().gapless(false);
        let decoder = symphonia::default::get_codecs().make_audio_decoder(&theirs, &options);
        let decoder = decoder.map_err(|error| {
            let refused = format!("the codec {} is not decoded here", params.codec.name());
            Error::unsupported(match error {
                SymphoniaError::Unsupported(what) if !what.starts_with("core") => {
                    format!("{refused} ({what})")
                }
                _ => refused,
            })
        })?;
        Ok(Self {
            decoder,
            planes: Vec::new(),
        })
    }
}

impl PacketDecoder for Symphonia {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        let packet = PacketRef::new(0, Timestamp::from(0), Duration::from(0u64), packet);
        let block = self.decoder.decode_ref(&packet).map_err(convert)?;
        let sample_rate = block.spec().rate();
        block.copy_to_vecs_planar(&mut self.planes);
        Ok(Block {
            sample_rate,
            channels: self.planes.len(),
            planes: &self.planes,
        })
    }

    fn reset(&mut self) {
        self.decoder.reset();
    }

    fn channels(&self) -> Option<usize> {
        let channels = self.decoder.codec_params().channels.as_ref();
        channels.map(Channels::count)
    }
}

fn codec(codec: Codec) -> Result<AudioCodecId> {
    Ok(match codec {
        Codec::Mp1 => id::CODEC_ID_MP1,
        Codec::Mp2 => id::CODEC_ID_MP2,
        Codec::Mp3 => id::CODEC_ID_MP3,
        other => {
            let reason = format!("the codec {} is not decoded here", other.name());
            return Err(Error::unsupported(reason));
        }
    })
}

fn convert(error: SymphoniaError) -> Error {
    match error {
        SymphoniaError::DecodeError(what) => damaged(what),
        SymphoniaError::IoError(_) => damaged("it ends too early"),
        SymphoniaError::Unsupported(what) => not_here(what),
        SymphoniaError::LimitError(what) => Error::new(ErrorKind::Limit, what),
        other => Error::corrupt(other.to_string()),
    }
}
