//! How many frames a packet holds, read from the packet itself, for containers that do not tell.

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known as id;

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
    // Apple's ALACSpecificConfig, behind the atoms that QuickTime wraps it in.
    let mut config = params.extra_data.as_deref()?;
    for atom in [b"frma", b"alac"] {
        if config.get(4..8)? == atom {
            config = config.get(12..)?;
        }
    }
    config.get(5).map(|bits| u32::from(*bits))
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
        // Found out by decoding, and decoded before: no packet is passed over.
        id::CODEC_ID_OPUS => 1 << 48,
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
        id::CODEC_ID_FLAC => flac_frames(data),
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

/// RFC 9639, section 9.1: the block size code, and the bits behind the coded number where it says so.
fn flac_frames(data: &[u8]) -> Option<u64> {
    let code = data.get(2)? >> 4;
    let behind_number = 4 + utf8_length(*data.get(4)?)?;
    let byte = |at: usize| data.get(behind_number + at).map(|byte| u64::from(*byte));
    match code {
        0b0001 => Some(192),
        0b0010..=0b0101 => Some(144 << code),
        0b0110 => Some(byte(0)? + 1),
        0b0111 => Some((byte(0)? << 8 | byte(1)?) + 1),
        0b1000..=0b1111 => Some(1 << code),
        _ => None,
    }
}

/// Bytes of the coded number that begins with `first`, in the extended UTF-8 of FLAC.
fn utf8_length(first: u8) -> Option<usize> {
    match first.leading_ones() {
        0 => Some(1),
        ones @ 2..=7 => Some(ones as usize),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flac_block_sizes_follow_the_table_of_the_rfc() {
        let header = |code: u8, rest: [u8; 2]| [0xFF, 0xF8, code << 4, 0, 5, rest[0], rest[1]];
        let table = [
            (1, 192),
            (2, 576),
            (3, 1152),
            (4, 2304),
            (5, 4608),
            (8, 256),
            (12, 4096),
            (15, 32768),
        ];
        for (code, frames) in table {
            assert_eq!(flac_frames(&header(code, [0, 0])), Some(frames));
        }
        assert_eq!(flac_frames(&header(6, [191, 0])), Some(192));
        assert_eq!(flac_frames(&header(7, [0x12, 0x33])), Some(0x1234));
        assert_eq!(flac_frames(&header(0, [0, 0])), None);
    }

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
