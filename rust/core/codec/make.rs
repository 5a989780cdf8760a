//! Decoders by codec.

use super::decoder::PacketDecoder;
use super::symphonia::Symphonia;
use crate::error::Result;
use crate::idle::Idle;
use crate::params::{Codec, Params};
use crate::{aac, flac, mpeg_audio, opus, vorbis};

/// Vorbis decoders between clips, by their headers: files of one encoder share their code books,
/// and building these takes longer than decoding seconds of audio.
static VORBIS: Idle<Vec<u8>, Box<dyn PacketDecoder>> = Idle::new(16);

/// A decoder as new for the track that `params` describe.
///
/// # Errors
/// A codec that is not decoded here, by name, or a broken header of one that is.
pub(crate) fn decoder(params: &Params) -> Result<Box<dyn PacketDecoder>> {
    match params.codec {
        Codec::Aac => Ok(Box::new(aac::Decoder::new(params)?)),
        Codec::Opus => Ok(Box::new(opus::Decoder::new(params)?)),
        Codec::Flac => Ok(Box::new(flac::Packets::new(params)?)),
        Codec::Mp1 | Codec::Mp2 | Codec::Mp3 => Ok(Box::new(mpeg_audio::Decoder::default())),
        Codec::Vorbis => vorbis_decoder(params),
        _ => Ok(Box::new(Symphonia::new(params)?)),
    }
}

fn vorbis_decoder(params: &Params) -> Result<Box<dyn PacketDecoder>> {
    if let Some(decoder) = VORBIS.take(params.header.as_slice()) {
        return Ok(decoder);
    }
    let mut params = params.clone();
    vorbis::repair(&mut params.header)?;
    Ok(Box::new(Symphonia::new(&params)?))
}

/// Keeps a decoder that met no error; a reset leaves it as new.
pub(crate) fn keep(params: &Params, mut decoder: Box<dyn PacketDecoder>) {
    if params.codec == Codec::Vorbis {
        decoder.reset();
        VORBIS.keep(params.header.clone(), decoder);
    }
}
