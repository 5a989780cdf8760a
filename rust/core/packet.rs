//! How many frames a packet holds, read from the packet itself, for containers that do not tell.

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known as id;

use crate::flac::FrameHeader;
use crate::opus;

/// Whether one sample is one number: any frame can be reached by arithmetic.
pub(crate) fn is_pcm(params: &AudioCodecParameters) -> bool {
    bytes_per_sample(params).is_some()
}

/// Bits of one sample, where the container's demuxer leaves them to the codec.
pub(crate) fn bits_per_sample(params: &AudioCodecParameters) -> Option<u32> {
    if params.codec != id::CODEC_ID_ALAC {
        return bytes_per_sample(params).map(|bytes| 8 * bytes as u32);
    }
    let config = alac_config(params.extra_data.as_deref()?)?;
    config.get(5).map(|bits| u32::from(*bits))
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

/// Whether decoding gives other samples than went in.
pub(crate) fn is_lossy(params: &AudioCodecParameters) -> bool {
    !is_pcm(params) && !matches!(params.codec, id::CODEC_ID_FLAC | id::CODEC_ID_ALAC)
}

/// Frames to decode ahead of a range, so that its first sample is that of a whole decode.
pub(crate) fn preroll_frames(params: &AudioCodecParameters) -> u64 {
    match params.codec {
        // The bit reservoir reaches back 511 bytes: 24 frames at the lowest bit rates, and the
        // overlap of the filter bank behind that.
        id::CODEC_ID_MP1 | id::CODEC_ID_MP2 | id::CODEC_ID_MP3 => 32 * 1152,
        // Overlap of one block; two more cost nothing.
        id::CODEC_ID_AAC => 3 * 1024,
        id::CODEC_ID_VORBIS => 3 * 8192,
        // Opus finds out by decoding: see `codec::opus_start`.
        _ => 0,
    }
}

/// Frames in `data`; `None` where only decoding tells.
pub(crate) fn packet_frames(params: &AudioCodecParameters, data: &[u8]) -> Option<u64> {
    if let Some(bytes) = bytes_per_sample(params) {
        let channels = params.channels.as_ref()?.count();
        return (data.len() / bytes)
            .checked_div(channels)
            .map(|frames| frames as u64);
    }
    match params.codec {
        id::CODEC_ID_MP1 | id::CODEC_ID_MP2 | id::CODEC_ID_MP3 => mpeg_frames(data),
        id::CODEC_ID_FLAC => {
            let header = FrameHeader::parse(data).ok()?;
            Some(u64::from(header.block_size))
        }
        id::CODEC_ID_OPUS => opus::packet_frames(data),
        _ => None,
    }
}

fn bytes_per_sample(params: &AudioCodecParameters) -> Option<usize> {
    Some(match params.codec {
        id::CODEC_ID_PCM_S8
        | id::CODEC_ID_PCM_U8
        | id::CODEC_ID_PCM_ALAW
        | id::CODEC_ID_PCM_MULAW => 1,
        id::CODEC_ID_PCM_S16LE
        | id::CODEC_ID_PCM_S16BE
        | id::CODEC_ID_PCM_U16LE
        | id::CODEC_ID_PCM_U16BE => 2,
        id::CODEC_ID_PCM_S24LE
        | id::CODEC_ID_PCM_S24BE
        | id::CODEC_ID_PCM_U24LE
        | id::CODEC_ID_PCM_U24BE => 3,
        id::CODEC_ID_PCM_S32LE
        | id::CODEC_ID_PCM_S32BE
        | id::CODEC_ID_PCM_U32LE
        | id::CODEC_ID_PCM_U32BE => 4,
        id::CODEC_ID_PCM_F32LE | id::CODEC_ID_PCM_F32BE => 4,
        id::CODEC_ID_PCM_F64LE | id::CODEC_ID_PCM_F64BE => 8,
        _ => return None,
    })
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
