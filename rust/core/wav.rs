//! Linear PCM, float, A-law and mu-law in RIFF/WAVE and RF64, read without a demuxer between file and array.
//!
//! Format: Microsoft's RIFF and `WAVEFORMATEXTENSIBLE` documents, and EBU Tech 3306 for RF64.
//! ADPCM goes through the codec registry instead. G.711 does not: symphonia refuses it in
//! `WAVEFORMATEXTENSIBLE`, which FFmpeg writes above two channels and above 48 kHz.

use std::ops::Range;

use crate::decode::AudioInfo;
use crate::error::{Error, Result};
use crate::mix::Mixer;
use crate::source::Source;

/// Bytes per read: small enough for the cache, large enough to hide the system call.
const PIECE: usize = 256 * 1024;
/// What a writer that cannot seek back leaves as a size.
const UNKNOWN: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Encoding {
    Unsigned8,
    Signed16,
    Signed24,
    Signed32,
    Float32,
    Float64,
    ALaw,
    MuLaw,
}

impl Encoding {
    fn new(tag: u16, bits: u16) -> Option<Self> {
        Some(match (tag, bits) {
            (1, 8) => Self::Unsigned8,
            (1, 16) => Self::Signed16,
            (1, 24) => Self::Signed24,
            (1, 32) => Self::Signed32,
            (3, 32) => Self::Float32,
            (3, 64) => Self::Float64,
            (6, 8) => Self::ALaw,
            (7, 8) => Self::MuLaw,
            _ => return None,
        })
    }

    fn facts(self) -> (&'static str, u32) {
        match self {
            Self::Unsigned8 => ("pcm_u8", 8),
            Self::Signed16 => ("pcm_s16le", 16),
            Self::Signed24 => ("pcm_s24le", 24),
            Self::Signed32 => ("pcm_s32le", 32),
            Self::Float32 => ("pcm_f32le", 32),
            Self::Float64 => ("pcm_f64le", 64),
            Self::ALaw => ("pcm_alaw", 8),
            Self::MuLaw => ("pcm_mulaw", 8),
        }
    }
}

/// Where the samples lie and how to read them.
#[derive(Clone, Debug)]
pub(crate) struct Wav {
    encoding: Encoding,
    channels: u16,
    sample_rate: u32,
    frame_bytes: u64,
    data: Range<u64>,
}

#[derive(Clone, Copy)]
struct Format {
    tag: u16,
    channels: u16,
    sample_rate: u32,
    frame_bytes: u16,
    bits: u16,
}

impl Wav {
    /// Reads the header; `None` when this is no WAVE, or one of a codec that is not read here.
    ///
    /// # Errors
    /// When it is WAVE but broken: no format before the data, less data than the header promises.
    pub(crate) fn open(source: &mut Source<'_>) -> Result<Option<Self>> {
        let mut scratch = Vec::new();
        let head = source.bytes_at(0, 12, &mut scratch)?;
        let rf64 = head.starts_with(b"RF64") || head.starts_with(b"BW64");
        if head.len() < 12 || !(rf64 || head.starts_with(b"RIFF")) || &head[8..] != b"WAVE" {
            return Ok(None);
        }
        walk_chunks(source)
    }

    pub(crate) fn info(&self) -> AudioInfo {
        let (codec, bits) = self.encoding.facts();
        AudioInfo {
            sample_rate: self.sample_rate,
            channels: u32::from(self.channels),
            frames: self.frames(),
            container: "wav".into(),
            codec: codec.into(),
            bits_per_sample: Some(bits),
        }
    }

    /// Whether its numbers cannot say NaN or infinity.
    pub(crate) fn is_finite(&self) -> bool {
        !matches!(self.encoding, Encoding::Float32 | Encoding::Float64)
    }

    fn frames(&self) -> u64 {
        (self.data.end - self.data.start) / self.frame_bytes
    }

    /// Decodes frames `range`, cut at the end of the file.
    pub(crate) fn decode(
        &self,
        source: &mut Source<'_>,
        range: Range<u64>,
        mono: bool,
    ) -> Result<Vec<Vec<f32>>> {
        let end = range.end.min(self.frames());
        let start = range.start.min(end);
        let mut mixer = Mixer::new(usize::from(self.channels), mono, (end - start) as usize);
        let last = self.data.start + end * self.frame_bytes;
        let piece = (PIECE as u64).next_multiple_of(self.frame_bytes) as usize;
        let mut at = self.data.start + start * self.frame_bytes;
        let mut scratch = Vec::new();
        while at < last {
            let bytes = source.bytes_at(at, piece.min((last - at) as usize), &mut scratch)?;
            at += bytes.len() as u64;
            self.convert(bytes, &mut mixer);
        }
        Ok(mixer.into_planes())
    }

    fn convert(&self, bytes: &[u8], mixer: &mut Mixer) {
        // Powers of two: every integer up to 24 bits lands exactly on its float.
        const S16: f32 = 1.0 / 32_768.0;
        const S32: f32 = 1.0 / 2_147_483_648.0;
        match self.encoding {
            Encoding::Unsigned8 => {
                mixer.push_interleaved(bytes, |[b]: [u8; 1]| (f32::from(b) - 128.0) / 128.0);
            }
            Encoding::Signed16 => {
                mixer.push_interleaved(bytes, |b| f32::from(i16::from_le_bytes(b)) * S16);
            }
            Encoding::Signed24 => mixer.push_interleaved(bytes, |[a, b, c]: [u8; 3]| {
                i32::from_le_bytes([0, a, b, c]) as f32 * S32
            }),
            Encoding::Signed32 => {
                mixer.push_interleaved(bytes, |b| i32::from_le_bytes(b) as f32 * S32);
            }
            Encoding::Float32 => mixer.push_interleaved(bytes, f32::from_le_bytes),
            Encoding::Float64 => mixer.push_interleaved(bytes, |b| f64::from_le_bytes(b) as f32),
            Encoding::ALaw => {
                mixer.push_interleaved(bytes, |[b]: [u8; 1]| f32::from(a_law(b)) * S16)
            }
            Encoding::MuLaw => {
                mixer.push_interleaved(bytes, |[b]: [u8; 1]| f32::from(mu_law(b)) * S16)
            }
        }
    }
}

/// ITU-T G.711, scaled from 13 to 16 bits.
fn a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let (segment, step) = (byte >> 4 & 7, i16::from(byte & 15) * 2 + 1);
    let size = match segment {
        0 => step << 3,
        _ => (step + 32) << (segment + 2),
    };
    if byte & 0x80 != 0 { size } else { -size }
}

/// ITU-T G.711, scaled from 14 to 16 bits.
fn mu_law(byte: u8) -> i16 {
    let byte = !byte;
    let size = (((i16::from(byte & 15) << 3) + 0x84) << (byte >> 4 & 7)) - 0x84;
    if byte & 0x80 != 0 { -size } else { size }
}

fn walk_chunks(source: &mut Source<'_>) -> Result<Option<Wav>> {
    let mut scratch = Vec::new();
    let (mut at, mut format, mut long_data) = (12u64, None, None);
    loop {
        let head = source.bytes_at(at, 8, &mut scratch)?;
        if head.len() < 8 {
            return Err(broken(
                source,
                at,
                "the WAV file ends before its data chunk",
            ));
        }
        let id: [u8; 4] = [head[0], head[1], head[2], head[3]];
        let declared = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        at += 8;
        match &id {
            b"fmt " => format = Some(read_format(source, at, declared)?),
            b"ds64" => long_data = read_long_size(source, at)?,
            b"data" => return finish(source, at, declared, format, long_data),
            _ => {}
        }
        // Chunks start on even bytes (RIFF pads odd ones).
        at += u64::from(declared) + u64::from(declared % 2);
    }
}

fn read_format(source: &mut Source<'_>, at: u64, declared: u32) -> Result<Format> {
    let mut scratch = Vec::new();
    let body = source.bytes_at(at, declared.min(40) as usize, &mut scratch)?;
    if body.len() < 16 {
        return Err(broken(source, at, "the WAV format chunk is cut short"));
    }
    let word = |i: usize| u16::from_le_bytes([body[i], body[i + 1]]);
    let mut format = Format {
        tag: word(0),
        channels: word(2),
        sample_rate: u32::from_le_bytes([body[4], body[5], body[6], body[7]]),
        frame_bytes: word(12),
        bits: word(14),
    };
    // WAVE_FORMAT_EXTENSIBLE: the first word of the sub-format's GUID is the real tag.
    if format.tag == 0xFFFE && body.len() >= 26 {
        format.tag = word(24);
    }
    Ok(format)
}

fn read_long_size(source: &mut Source<'_>, at: u64) -> Result<Option<u64>> {
    let mut scratch = Vec::new();
    let body = source.bytes_at(at + 8, 8, &mut scratch)?;
    Ok(body.try_into().ok().map(u64::from_le_bytes))
}

fn finish(
    source: &mut Source<'_>,
    at: u64,
    declared: u32,
    format: Option<Format>,
    long_data: Option<u64>,
) -> Result<Option<Wav>> {
    let Some(format) = format else {
        return Err(broken(
            source,
            at,
            "the WAV file has no format chunk before its data",
        ));
    };
    let Some(encoding) = Encoding::new(format.tag, format.bits) else {
        return Ok(None);
    };
    let frame_bytes = encoding.facts().1 / 8 * u32::from(format.channels);
    if format.channels == 0 || format.sample_rate == 0 {
        return Err(broken(
            source,
            at,
            "the WAV header declares no channels or a rate of 0 Hz",
        ));
    }
    if frame_bytes != u32::from(format.frame_bytes) {
        let reason = format!(
            "the WAV header's block size {} contradicts its format",
            format.frame_bytes
        );
        return Err(broken(source, at, &reason));
    }
    let there = source.len() - at;
    let size = match (declared, long_data) {
        (UNKNOWN, Some(long)) => long,
        (0, None) if riff_is_whole(source)? => 0,
        // Streaming writers leave 0 or all ones: what is there is the data.
        (0 | UNKNOWN, None) => there,
        _ => u64::from(declared),
    };
    if size > there {
        let reason =
            format!("the WAV header promises {size} bytes of samples and {there} are there");
        return Err(broken(source, source.len(), &reason));
    }
    let (channels, sample_rate) = (format.channels, format.sample_rate);
    let data = at..at + size;
    Ok(Some(Wav {
        encoding,
        channels,
        sample_rate,
        frame_bytes: u64::from(frame_bytes),
        data,
    }))
}

/// Whether the outermost size fits the file: then a data size of 0 means an empty recording.
fn riff_is_whole(source: &mut Source<'_>) -> Result<bool> {
    let mut scratch = Vec::new();
    let size: Option<[u8; 4]> = source.bytes_at(4, 4, &mut scratch)?.try_into().ok();
    let size = size.map_or(0, u32::from_le_bytes);
    Ok(u64::from(size) + 8 == source.len())
}

fn broken(source: &Source<'_>, at: u64, reason: &str) -> Error {
    Error::corrupt(reason)
        .with_source(source.name())
        // A chunk's size may point behind the end.
        .at_byte(at.min(source.len()))
}
