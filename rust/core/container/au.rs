//! Sun's and NeXT's AU (`.snd`): 24 bytes of header, everything big-endian.
//!
//! Format: the manual page `audio_file_header(5)` of Solaris.

use super::chunk::HeaderReader;
use super::extent::Declared;
use super::pcm::{Layout, Pcm};
use crate::codec::sample::{Order, SampleFormat};
use crate::error::{Error, Result};

/// The size of what a writer cannot know, by the format's own text.
const UNKNOWN: u32 = u32::MAX;

/// Reads the header, which begins at `base`.
///
/// # Errors
/// When it is cut short or contradicts itself or the file, or names another codec.
pub(crate) fn open(header: &mut HeaderReader<'_, '_>, base: u64) -> Result<Pcm> {
    let Some(head) = header.array::<24>(base)? else {
        return Err(header.broken(header.source_len(), "the AU header is cut short"));
    };
    let field = |at: usize| {
        let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    };
    let (at, size) = (u64::from(field(4)), field(8));
    if at < 24 || base + at > header.source_len() {
        let reason = format!("the AU header gives byte {at} as the start of the samples");
        return Err(header.broken(base + 4, reason));
    }
    let sample = sample(field(12)).map_err(|error| error.at_byte(base + 12))?;
    let layout = Layout::linear("au", sample, Order::Big).of(field(20), field(16));
    let at = base + at;
    let declared = Declared {
        container: "AU",
        at,
        size: u64::from(size),
        outer_end: None,
        block_bytes: layout.block_bytes,
    };
    let size = match size {
        UNKNOWN => None,
        _ => declared.bytes(header, None)?,
    };
    Pcm::new(header, layout, at, size)
}

fn sample(encoding: u32) -> Result<SampleFormat> {
    let name = match encoding {
        1 => return Ok(SampleFormat::MuLaw),
        2 => return Ok(SampleFormat::Signed8),
        3 => return Ok(SampleFormat::Signed16),
        4 => return Ok(SampleFormat::Signed24),
        5 => return Ok(SampleFormat::Signed32),
        6 => return Ok(SampleFormat::Float32),
        7 => return Ok(SampleFormat::Float64),
        27 => return Ok(SampleFormat::ALaw),
        23 => "G.721 ADPCM",
        24 => "G.722 ADPCM",
        25 => "G.723 ADPCM of 3 bits",
        26 => "G.723 ADPCM of 5 bits",
        _ => "unknown",
    };
    let reason = format!("the codec {name} (AU encoding {encoding}) is not decoded here");
    Err(Error::unsupported(reason))
}
