//! RIFF/WAVE and what grew out of it: RIFX, RF64, BW64 and Sony's Wave64.
//!
//! Format: Microsoft's RIFF and `WAVEFORMATEXTENSIBLE` documents, EBU Tech 3306 for RF64, ITU-R
//! BS.2088 for BW64, and Sony's "Wave64 file format" for the last.

use super::adpcm::{self, Adpcm};
use super::header::{Header, MAX_CHUNKS, Order};
use super::sample::Sample;
use crate::error::{Error, Result};
use crate::pcm::{Coding, Layout, Pcm};

/// The identifier that a Wave64 file begins with; the rest of the others is [`WAVE64_TAIL`].
pub(crate) const WAVE64: &[u8; 16] = b"riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB\x04\xC1\0\0";
const WAVE64_TAIL: &[u8; 12] = b"\xF3\xAC\xD3\x11\x8C\xD1\0\xC0\x4F\x8E\xDB\x8A";
/// What a writer that cannot seek back leaves as a size; sox rounds its down to whole blocks.
const UNKNOWN: u32 = u32::MAX;
const SOX_UNKNOWN: u64 = 0x7FFF_F000;
/// The end of a sub-format's GUID behind a format tag, and that of a tag for Ambisonics.
const SUB_FORMATS: [&[u8; 14]; 2] = [
    b"\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71",
    b"\0\0\x21\x07\xD3\x11\x86\x44\xC8\xC1\xCA\0\0\0",
];
const EXTENSIBLE: u16 = 0xFFFE;

/// Reads the header of anything but Wave64; `None` for an MPEG stream in a WAV, which is no PCM.
///
/// # Errors
/// When it is broken: no format before the samples, less of them than promised; or of another codec.
pub(crate) fn open(header: &mut Header<'_, '_>) -> Result<Option<Pcm>> {
    let magic = header.array(0)?;
    let order = if magic == Some(*b"RIFX") {
        Order::Big
    } else {
        Order::Little
    };
    let (mut at, mut layout, mut long) = (12u64, None, None);
    for _ in 0..MAX_CHUNKS {
        let Some(chunk) = header.chunk(at, order)? else {
            break;
        };
        match &chunk.id {
            b"fmt " if magic == Some(*b"RIFF") && is_mpeg(header, chunk.at)? => return Ok(None),
            b"fmt " => {
                let found = read_format(header, chunk.at, chunk.size, order, "wav");
                layout = Some(found.map_err(|error| error.at_byte(chunk.at))?);
            }
            b"ds64" => long = header.array(chunk.at + 8)?.map(u64::from_le_bytes),
            b"data" => {
                let layout = layout.ok_or_else(|| no_format(header, chunk.at))?;
                let size = data_size(header, chunk.at, chunk.size, long, &layout)?;
                return Pcm::new(header, layout, chunk.at, size).map(Some);
            }
            _ => {}
        }
        at = header.behind(chunk)?;
    }
    Err(header.broken(at, "the WAV file ends before its data chunk"))
}

/// Whether the format chunk at `at` tells of MPEG audio.
fn is_mpeg(header: &mut Header<'_, '_>, at: u64) -> Result<bool> {
    Ok(matches!(header.array(at)?, Some([0x50 | 0x55, 0])))
}

/// Reads the header of Wave64: names and sizes are longer, and sizes count the chunk's own head.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_wave64(header: &mut Header<'_, '_>) -> Result<Pcm> {
    const HEAD: u64 = 24;
    let (mut at, mut layout) = (HEAD + 16, None);
    for _ in 0..MAX_CHUNKS {
        let (Some([a, b, c, d, tail @ ..]), Some(size)) =
            (header.array::<16>(at)?, header.array(at + 16)?)
        else {
            break;
        };
        let size = u64::from_le_bytes(size);
        let body = at + HEAD;
        match (&[a, b, c, d], &tail == WAVE64_TAIL) {
            (b"fmt ", true) => {
                let size = size.saturating_sub(HEAD).min(u64::from(UNKNOWN)) as u32;
                let found = read_format(header, body, size, Order::Little, "w64");
                layout = Some(found.map_err(|error| error.at_byte(body))?);
            }
            (b"data", true) => {
                let layout = layout.ok_or_else(|| no_format(header, body))?;
                // FFmpeg's streams have the largest signed number.
                let size = (size < i64::MAX as u64).then(|| size.saturating_sub(HEAD));
                return Pcm::new(header, layout, body, size);
            }
            _ => {}
        }
        at = at
            .saturating_add(size.max(HEAD))
            .min(u64::MAX - HEAD)
            .next_multiple_of(8);
    }
    Err(header.broken(at, "the Wave64 file ends before its data chunk"))
}

fn no_format(header: &Header<'_, '_>, at: u64) -> Error {
    header.broken(at, "the WAV file has no format chunk before its data")
}

/// Bytes of samples; `None`: all that are there.
fn data_size(
    header: &mut Header<'_, '_>,
    at: u64,
    declared: u32,
    long: Option<u64>,
    layout: &Layout,
) -> Result<Option<u64>> {
    let size = u64::from(declared);
    let sox = SOX_UNKNOWN.checked_div(layout.block_bytes);
    let is_sox = size.checked_div(layout.block_bytes) == sox && at + size > header.source_len();
    Ok(match (declared, long) {
        (UNKNOWN, Some(long)) if !matches!(long, 0 | u64::MAX) => Some(long),
        (0, None) if riff_is_whole(header)? => Some(0),
        (0, None) | (UNKNOWN, _) => None,
        _ => Some(size).filter(|_| !is_sox),
    })
}

/// Whether the outermost size fits the file: then a data size of 0 means an empty recording.
fn riff_is_whole(header: &mut Header<'_, '_>) -> Result<bool> {
    let order = match header.bytes(0, 4)? {
        b"RIFX" => Order::Big,
        _ => Order::Little,
    };
    let size = header.array(4)?.map_or(0, |size| order.u32(size));
    Ok(u64::from(size) + 8 == header.source_len())
}

/// The fields of a format chunk.
struct Format {
    tag: u16,
    channels: u32,
    sample_rate: u32,
    block_bytes: u32,
    /// Bits of the container of a sample, and of the sample itself.
    bits: u32,
    valid_bits: u32,
}

fn read_format(
    header: &mut Header<'_, '_>,
    at: u64,
    size: u32,
    order: Order,
    container: &'static str,
) -> Result<Layout> {
    let body = header.bytes(at, size.min(40) as usize)?;
    let Some(&[t0, t1, c0, c1, r0, r1, r2, r3, _, _, _, _, a0, a1, b0, b1]) = body.first_chunk()
    else {
        return Err(header.broken(at, "the WAV format chunk is cut short"));
    };
    let bits = u32::from(order.u16([b0, b1]));
    let mut format = Format {
        tag: order.u16([t0, t1]),
        channels: u32::from(order.u16([c0, c1])),
        sample_rate: order.u32([r0, r1, r2, r3]),
        block_bytes: u32::from(order.u16([a0, a1])),
        bits,
        valid_bits: bits,
    };
    if let (EXTENSIBLE, Some(&[v0, v1, _, _, _, _, s0, s1, ref guid @ ..])) = (
        format.tag,
        body.get(18..).and_then(|rest| rest.first_chunk::<22>()),
    ) {
        if !SUB_FORMATS.contains(&guid) {
            let hex: String = [s0, s1]
                .iter()
                .chain(guid)
                .map(|b| format!("{b:02X}"))
                .collect();
            return Err(refused(&format!("of sub-format {hex}")));
        }
        format.tag = order.u16([s0, s1]);
        let valid = u32::from(order.u16([v0, v1]));
        format.valid_bits = if valid == 0 { bits } else { valid.min(bits) };
    }
    let layout = layout(&format, order, container)?;
    let contradicts = u64::from(format.block_bytes) != layout.block_bytes;
    // No channels, no block: that has an error of its own.
    if contradicts && format.channels > 0 {
        let reason = format!(
            "the WAV header's block size {} contradicts its format",
            format.block_bytes
        );
        return Err(header.broken(at, reason));
    }
    Ok(layout)
}

fn layout(format: &Format, order: Order, container: &'static str) -> Result<Layout> {
    let sample = match (format.tag, format.bits) {
        (1, 1..=8) => Some(Sample::Unsigned8),
        (1, bits) => Sample::signed(bits).filter(|_| bits > 0),
        (3, bits) => Sample::float(bits),
        (6, 8) => Some(Sample::ALaw),
        (7, 8) => Some(Sample::MuLaw),
        (2, 4) => return adpcm(format, Adpcm::Microsoft, container),
        (0x11, 4) => return adpcm(format, Adpcm::ImaWav, container),
        _ => None,
    };
    let Some(sample) = sample else {
        let (tag, bits) = (format.tag, format.bits);
        let name = format!("{} (format tag 0x{tag:04X}, {bits} bits)", codec_name(tag));
        return Err(refused(&name));
    };
    let layout = Layout::linear(container, sample, order);
    Ok(Layout {
        bits: Some(format.valid_bits),
        ..layout.of(format.channels, format.sample_rate)
    })
}

fn adpcm(format: &Format, kind: Adpcm, container: &'static str) -> Result<Layout> {
    if format.channels > adpcm::MAX_CHANNELS {
        let name = format!("{} of {} channels", kind.name(), format.channels);
        return Err(refused(&name));
    }
    Ok(Layout {
        container,
        coding: Coding::Adpcm(kind),
        channels: format.channels,
        sample_rate: format.sample_rate,
        bits: None,
        block_bytes: u64::from(format.block_bytes),
    })
}

fn refused(name: &str) -> Error {
    Error::unsupported(format!("the codec {name} in WAV is not decoded here"))
}

/// Names of the format tags that are met with, from Microsoft's `mmreg.h`.
fn codec_name(tag: u16) -> &'static str {
    match tag {
        0x0001 => "PCM",
        0x0002 => "Microsoft ADPCM",
        0x0003 => "IEEE float",
        0x0006 => "A-law",
        0x0007 => "mu-law",
        0x0011 => "IMA ADPCM",
        0x0022 => "TrueSpeech",
        0x0028 | 0x028F | 0x0065 => "G.722",
        0x0031 => "GSM 6.10",
        0x0040 | 0x0045 | 0x0064 => "G.726",
        0x0042 => "G.723.1",
        0x0050 => "MPEG layer 1 or 2",
        0x0055 => "MP3",
        0x0083 => "G.729",
        0x0092 | 0x2000 => "AC-3",
        0x00FF | 0x1600..=0x1610 | 0x706D | 0xA106 => "AAC",
        0x0160..=0x0163 => "Windows Media Audio",
        0x0270 => "ATRAC3",
        0x2001 => "DTS",
        0x566F | 0x674F..=0x6771 => "Vorbis",
        0x704F => "Opus",
        0xA109 => "Speex",
        0xF1AC => "FLAC",
        _ => "unknown",
    }
}
