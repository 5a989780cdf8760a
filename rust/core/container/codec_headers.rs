//! What codecs' own headers tell a demuxer, where containers may tell something else.

use crate::codec::params::{Codec, Params};
use crate::error::{Error, Result};

/// Bytes of STREAMINFO: RFC 9639, section 8.2.
pub(crate) const STREAM_INFO_BYTES: usize = 34;
/// Bytes of Vorbis' first header: section 4.2.2 of its specification.
const IDENT_BYTES: usize = 30;

/// A track of FLAC with this STREAMINFO.
pub(crate) fn flac(stream_info: &[u8]) -> Result<Params> {
    let fields = stream_info
        .first_chunk::<STREAM_INFO_BYTES>()
        .and_then(|info| info[10..].first_chunk());
    let fields = fields.ok_or_else(|| Error::corrupt("the FLAC header is broken"))?;
    let packed = u64::from_be_bytes(*fields);
    if packed >> 44 == 0 {
        return Err(Error::corrupt("the FLAC header declares a rate of 0 Hz"));
    }
    Ok(Params {
        codec: Codec::Flac,
        sample_rate: (packed >> 44) as u32,
        channels: Some((packed >> 41 & 7) as usize + 1),
        bits_per_sample: Some((packed >> 36 & 31) as u32 + 1),
        header: stream_info.to_vec(),
        is_replicated: false,
    })
}

/// A track of Vorbis with these headers, the first and the third of three.
pub(crate) fn vorbis(ident: &[u8], setup: &[u8]) -> Result<Params> {
    let broken = || Error::corrupt("the Vorbis headers are broken");
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
    let rate = u32::from_le_bytes([a, b, c, d]);
    Ok(Params {
        header: [ident, setup].concat(),
        ..Params::new(Codec::Vorbis, rate, Some(usize::from(channels)))
    })
}
