//! Decoders by codec.

use super::decoder::PacketDecoder;
use crate::error::{Error, Result};
use crate::params::{Codec, Params};
use crate::{aac, alac, flac, mpeg_audio, opus, pcm, vorbis};

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
