//! What codecs' own headers tell a demuxer, where containers may tell something else.

use symphonia::core::audio::Channels;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known as id;

use crate::error::{Error, Result};

/// Bytes of STREAMINFO: RFC 9639, section 8.2.
pub(crate) const STREAM_INFO_BYTES: usize = 34;
/// Bytes of Vorbis' first header: section 4.2.2 of its specification.
const IDENT_BYTES: usize = 30;

/// A track of FLAC with this STREAMINFO.
pub(crate) fn set_flac(params: &mut AudioCodecParameters, stream_info: &[u8]) -> Result<()> {
    let fields = stream_info
        .first_chunk::<STREAM_INFO_BYTES>()
        .and_then(|info| info[10..].first_chunk());
    let fields = fields.ok_or_else(|| Error::corrupt("a broken FLAC header"))?;
    let packed = u64::from_be_bytes(*fields);
    params
        .for_codec(id::CODEC_ID_FLAC)
        .with_sample_rate((packed >> 44) as u32)
        .with_channels(Channels::Discrete((packed >> 41 & 7) as u16 + 1))
        .with_bits_per_sample((packed >> 36 & 31) as u32 + 1)
        .with_extra_data(stream_info.into());
    Ok(())
}

/// A track of Vorbis with these headers, the first and the third of three.
pub(crate) fn set_vorbis(
    params: &mut AudioCodecParameters,
    ident: &[u8],
    setup: &[u8],
) -> Result<()> {
    let broken = || Error::corrupt("broken Vorbis headers");
    let is_setup = setup.starts_with(b"\x05vorbis");
    let ident: &[u8; IDENT_BYTES] = ident
        .first_chunk()
        .filter(|_| is_setup)
        .ok_or_else(broken)?;
    let [
        1,
        b'v',
        b'o',
        b'r',
        b'b',
        b'i',
        b's',
        0,
        0,
        0,
        0,
        channels,
        a,
        b,
        c,
        d,
        ..,
    ] = *ident
    else {
        return Err(broken());
    };
    params
        .for_codec(id::CODEC_ID_VORBIS)
        .with_sample_rate(u32::from_le_bytes([a, b, c, d]))
        .with_channels(Channels::Discrete(u16::from(channels)))
        .with_extra_data([ident, setup].concat().into());
    Ok(())
}
