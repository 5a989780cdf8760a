//! Decoders by codec, and FFmpeg's names of the codecs.

use std::borrow::Cow;

use symphonia::core::codecs::audio::well_known as id;
use symphonia::core::codecs::audio::{
    AudioCodecParameters, AudioDecoder, AudioDecoderOptions, CODEC_ID_NULL_AUDIO,
};
use symphonia::core::errors::Error as SymphoniaError;

use crate::error::{Error, Result};
use crate::idle::Idle;
use crate::{aac, flac, opus, vorbis};

/// Vorbis decoders between clips, by their headers: files of one encoder share their code books,
/// and building these takes longer than decoding seconds of audio.
static VORBIS: Idle<Box<[u8]>, Box<dyn AudioDecoder>> = Idle::new(16);

/// A decoder as new for the track that `params` describe.
///
/// # Errors
/// A codec that is not decoded here, by name, or a broken header of one that is.
pub(crate) fn decoder(params: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>> {
    match params.codec {
        id::CODEC_ID_AAC => Ok(Box::new(aac::Decoder::new(params)?)),
        id::CODEC_ID_OPUS => Ok(Box::new(opus::Decoder::new(params)?)),
        id::CODEC_ID_FLAC => Ok(Box::new(flac::PacketDecoder::new(params)?)),
        id::CODEC_ID_VORBIS => vorbis_decoder(params),
        _ => symphonia_decoder(params),
    }
}

fn vorbis_decoder(params: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>> {
    if let Some(decoder) = vorbis_headers(params).and_then(|headers| VORBIS.take(headers)) {
        return Ok(decoder);
    }
    let mut params = params.clone();
    if let Some(headers) = params.extra_data.as_mut() {
        vorbis::repair(headers)?;
    }
    symphonia_decoder(&params)
}

fn symphonia_decoder(params: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>> {
    let options = AudioDecoderOptions::default().gapless(false);
    let codecs = symphonia::default::get_codecs();
    codecs
        .make_audio_decoder(params, &options)
        .map_err(|error| {
            let name = codec_name(params);
            let refused = format!("the codec {name} is not decoded here");
            Error::unsupported(match error {
                SymphoniaError::Unsupported(what) if !what.starts_with("core") => {
                    format!("{refused} ({what})")
                }
                _ => refused,
            })
        })
}

/// What a Vorbis decoder is made from.
fn vorbis_headers(params: &AudioCodecParameters) -> Option<&[u8]> {
    let is_vorbis = params.codec == id::CODEC_ID_VORBIS;
    params.extra_data.as_deref().filter(|_| is_vorbis)
}

/// Keeps a decoder that met no error; a reset leaves it as new.
pub(crate) fn keep(params: &AudioCodecParameters, mut decoder: Box<dyn AudioDecoder>) {
    if let Some(headers) = vorbis_headers(params) {
        decoder.reset();
        VORBIS.keep(headers.into(), decoder);
    }
}

/// FFmpeg's name of the codec, or its number.
pub(crate) fn codec_name(params: &AudioCodecParameters) -> Cow<'static, str> {
    if let Some(known) = symphonia::default::get_codecs().get_audio_decoder(params.codec) {
        return Cow::Borrowed(known.codec.info.short_name);
    }
    let name = match params.codec {
        id::CODEC_ID_FLAC => "flac",
        id::CODEC_ID_AAC => "aac",
        id::CODEC_ID_OPUS => "opus",
        id::CODEC_ID_SPEEX => "speex",
        id::CODEC_ID_AC3 => "ac3",
        id::CODEC_ID_EAC3 => "eac3",
        id::CODEC_ID_AC4 => "ac4",
        id::CODEC_ID_DCA => "dts",
        id::CODEC_ID_TRUEHD => "truehd",
        id::CODEC_ID_WMA => "wma",
        id::CODEC_ID_WAVPACK => "wavpack",
        id::CODEC_ID_MUSEPACK => "musepack",
        id::CODEC_ID_TTA => "tta",
        CODEC_ID_NULL_AUDIO => "unknown",
        other => return Cow::Owned(other.to_string()),
    };
    Cow::Borrowed(name)
}
