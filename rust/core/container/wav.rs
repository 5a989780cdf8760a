//! RIFF/WAVE and what grew out of it: RIFX, RF64, BW64 and Sony's Wave64.
//!
//! Format: Microsoft's RIFF and `WAVEFORMATEXTENSIBLE` documents, EBU Tech 3306 for RF64, ITU-R
//! BS.2088 for BW64, and Sony's "Wave64 file format" for the last.

use super::chunk::{HeaderReader, MAX_CHUNKS};
use super::extent::Declared;
use super::pcm::{Coding, Layout, Pcm};
use crate::codec::adpcm::{self, Adpcm};
use crate::codec::gsm::Packing;
use crate::codec::sample::{Order, SampleFormat};
use crate::error::{Error, Result};

/// The identifier that a Wave64 file begins with; the rest of the others is [`WAVE64_TAIL`].
pub(crate) const WAVE64: &[u8; 16] = b"riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB\x04\xC1\0\0";
const WAVE64_TAIL: &[u8; 12] = b"\xF3\xAC\xD3\x11\x8C\xD1\0\xC0\x4F\x8E\xDB\x8A";
/// RF64's sign that a size stands in `ds64`.
const IN_DS64: u32 = u32::MAX;
/// The format chunk up to its bits a sample; the oldest writers end it before those.
const FORMAT_BYTES: usize = 16;
const OLDEST_FORMAT_BYTES: usize = 14;
/// What `WAVEFORMATEXTENSIBLE` adds to that, its own size not counted.
const EXTENSION_BYTES: u16 = 22;
/// The end of a sub-format's GUID after a format tag, and that of a tag for Ambisonics.
const SUB_FORMATS: [&[u8; 14]; 2] = [
    b"\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71",
    b"\0\0\x21\x07\xD3\x11\x86\x44\xC8\xC1\xCA\0\0\0",
];
const EXTENSIBLE: u16 = 0xFFFE;

/// Reads the header, which begins at `base`, of anything but Wave64; `None` for an MPEG stream in a WAV,
/// which is no PCM.
///
/// Sizes that writers to a pipe leave, and others that cannot be right, are judged as [`extent`](super::extent)
/// says. Bits, block size and G.711's depth that contradict each other are read as FFmpeg and libsndfile do.
///
/// # Errors
/// When it is broken: no format before the samples, less of them than promised; or of another codec.
pub(crate) fn open(header: &mut HeaderReader<'_, '_>, base: u64) -> Result<Option<Pcm>> {
    let magic = header.array(base)?;
    let order = if magic == Some(*b"RIFX") {
        Order::Big
    } else {
        Order::Little
    };
    let riff = header.array(base + 4)?.map_or(0, |size| order.u32(size));
    let mut sizes = Sizes {
        riff: u64::from(riff),
        data: None,
    };
    let (mut at, mut layout) = (base + 12, None);
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
            b"ds64" => sizes = Sizes::long(header, chunk.at, sizes)?,
            b"data" => {
                let layout: Layout = layout.ok_or_else(|| no_format(header, chunk.at))?;
                let size = sizes.of_data(chunk.size);
                let riff_end = sizes.riff.saturating_add(base + 8);
                let declared = Declared {
                    container: "WAV",
                    at: chunk.at,
                    size,
                    // Nobody needs RF64 for no samples.
                    outer_end: Some(riff_end).filter(|_| size > 0 || sizes.data.is_none()),
                    block_bytes: layout.block_bytes,
                };
                let size = declared.bytes(header, Some(order))?;
                return Pcm::new(header, layout, chunk.at, size).map(Some);
            }
            _ => {}
        }
        at = header.behind(chunk)?;
    }
    Err(header.broken(at, "the WAV file ends before its data chunk"))
}

/// The outermost size, and that of the samples where `ds64` tells it.
#[derive(Clone, Copy)]
struct Sizes {
    riff: u64,
    data: Option<u64>,
}

impl Sizes {
    /// What `ds64` says, where the sizes of 32 bits leave it to that.
    fn long(header: &mut HeaderReader<'_, '_>, at: u64, short: Self) -> Result<Self> {
        let riff = header.array(at)?.map(u64::from_le_bytes);
        let data = header.array(at + 8)?.map(u64::from_le_bytes);
        let is_short = short.riff != u64::from(IN_DS64);
        Ok(Self {
            riff: riff.filter(|_| !is_short).unwrap_or(short.riff),
            data,
        })
    }

    fn of_data(self, short: u32) -> u64 {
        match (short, self.data) {
            (0 | IN_DS64, Some(long)) => long,
            _ => u64::from(short),
        }
    }
}

/// Whether the format chunk at `at` tells of MPEG audio.
fn is_mpeg(header: &mut HeaderReader<'_, '_>, at: u64) -> Result<bool> {
    Ok(matches!(header.array(at)?, Some([0x50 | 0x55, 0])))
}

/// Reads the header of Wave64 at `base`: names and sizes are longer, and sizes count the chunk's own head.
///
/// # Errors
/// As for [`open`].
pub(crate) fn open_wave64(header: &mut HeaderReader<'_, '_>, base: u64) -> Result<Pcm> {
    const HEAD: u64 = 24;
    let riff = header.array(base + 16)?.map_or(0, u64::from_le_bytes);
    let (mut at, mut layout) = (base + HEAD + 16, None);
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
                let size = u32::try_from(size.saturating_sub(HEAD)).unwrap_or(u32::MAX);
                let found = read_format(header, body, size, Order::Little, "w64");
                layout = Some(found.map_err(|error| error.at_byte(body))?);
            }
            (b"data", true) => {
                let layout: Layout = layout.ok_or_else(|| no_format(header, body))?;
                let declared = Declared {
                    container: "Wave64",
                    at: body,
                    size: size.saturating_sub(HEAD),
                    outer_end: Some(riff.saturating_add(base)),
                    block_bytes: layout.block_bytes,
                };
                let size = declared.bytes(header, None)?;
                return Pcm::new(header, layout, body, size);
            }
            _ => {}
        }
        // Aligned to the file's own beginning.
        let inside = (at - base).saturating_add(size.max(HEAD));
        at = base + inside.min(i64::MAX as u64).next_multiple_of(8);
    }
    Err(header.broken(at, "the Wave64 file ends before its data chunk"))
}

fn no_format(header: &HeaderReader<'_, '_>, at: u64) -> Error {
    header.broken(at, "the WAV file has no format chunk before its data")
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

/// Reads a format chunk of `size` bytes at `at`, which AVI has too.
///
/// # Errors
/// When it is cut short, or of a codec that is not decoded here.
pub(super) fn read_format(
    header: &mut HeaderReader<'_, '_>,
    at: u64,
    size: u32,
    order: Order,
    container: &'static str,
) -> Result<Layout> {
    let mut body = header.bytes(at, size.min(40) as usize)?.to_vec();
    if body.len() == OLDEST_FORMAT_BYTES {
        // No bits: the block size tells.
        body.resize(FORMAT_BYTES, 0);
    }
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
    if format.tag == EXTENSIBLE
        && let Some(extension) = body.get(FORMAT_BYTES..).and_then(<[u8]>::first_chunk)
    {
        read_extension(header, at, extension, (order, container), &mut format)?;
    }
    settle(header, at, &mut format)?;
    let layout = layout(&format, order, container)?;
    // No channels, no block: that has an error of its own.
    if u64::from(format.block_bytes) != layout.block_bytes && format.channels > 0 {
        let reason = "the WAV block size contradicts bits and channels: bits and channels are used";
        header.remark(at, reason)?;
    }
    Ok(layout)
}

/// What `WAVEFORMATEXTENSIBLE` adds: the bits that count, and the format tag in a sub-format's GUID.
fn read_extension(
    header: &HeaderReader<'_, '_>,
    at: u64,
    extension: &[u8; 24],
    (order, container): (Order, &str),
    format: &mut Format,
) -> Result<()> {
    let &[n0, n1, v0, v1, _, _, _, _, s0, s1, ref guid @ ..] = extension;
    if !SUB_FORMATS.contains(&guid) {
        let bytes = [s0, s1].into_iter().chain(*guid);
        let hex: String = bytes.map(|byte| format!("{byte:02X}")).collect();
        return Err(refused(&format!("of sub-format {hex}"), container));
    }
    if order.u16([n0, n1]) < EXTENSION_BYTES {
        let reason = "the WAV format's extension is longer than its size (cbSize) says";
        header.remark(at, reason)?;
    }
    format.tag = order.u16([s0, s1]);
    let valid = u32::from(order.u16([v0, v1]));
    if valid > format.bits && format.bits > 0 {
        let reason = "the WAV header declares more valid bits than a sample has";
        header.remark(at, reason)?;
    }
    let is_told = (1..=format.bits).contains(&valid);
    format.valid_bits = if is_told { valid } else { format.bits };
    Ok(())
}

/// Bits of a sample where the header contradicts itself.
fn settle(header: &HeaderReader<'_, '_>, at: u64, format: &mut Format) -> Result<()> {
    let is_even = format.block_bytes.checked_rem(format.channels) == Some(0);
    let sample_bytes = format.block_bytes.checked_div(format.channels);
    let container = 8 * sample_bytes.filter(|_| is_even).unwrap_or(0);
    let (bits, reason) = match (format.tag, format.bits) {
        // G.711 has 8 of them, whatever is declared.
        (6 | 7, bits) if bits != 8 => (8, "the WAV header declares other than 8 bits for G.711"),
        (2, bits) if bits != 4 => (4, "the WAV header declares other than 4 bits for ADPCM"),
        (1 | 3, 0) if container > 0 => (
            container,
            "the WAV header declares no bits per sample: they follow from the block size",
        ),
        // The upper ones of 32, as in the extensible form. FFmpeg takes them for the floats of Cool Edit, libsndfile
        // and sox for samples of 3 bytes; each of the three is noise for files of the other two.
        (1, 24) if container == 32 => (
            32,
            "the WAV header declares 24 bits per sample in blocks of 32",
        ),
        _ => return Ok(()),
    };
    format.valid_bits = if format.bits == 24 { 24 } else { bits };
    format.bits = bits;
    header.remark(at, reason)
}

fn layout(format: &Format, order: Order, container: &'static str) -> Result<Layout> {
    let sample = match (format.tag, format.bits) {
        (1, 1..=8) => Some(SampleFormat::Unsigned8),
        (1, bits) => SampleFormat::signed(bits).filter(|_| bits > 0),
        (3, bits) => SampleFormat::float(bits),
        (6, 8) => Some(SampleFormat::ALaw),
        (7, 8) => Some(SampleFormat::MuLaw),
        (2, 4) => return adpcm(format, Adpcm::Microsoft, container),
        (0x11, 4) => return adpcm(format, Adpcm::ImaWav, container),
        (0x31, _) => {
            let (channels, rate) = (format.channels, format.sample_rate);
            return Layout::gsm(container, Packing::Microsoft, channels, rate);
        }
        _ => None,
    };
    let Some(sample) = sample else {
        let (tag, bits) = (format.tag, format.bits);
        let name = format!("{} (format tag 0x{tag:04X}, {bits} bits)", codec_name(tag));
        return Err(refused(&name, container));
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
        return Err(refused(&name, container));
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

fn refused(name: &str, container: &str) -> Error {
    let container = if container == "avi" { "AVI" } else { "WAV" };
    Error::unsupported(format!(
        "the codec {name} in {container} is not decoded here"
    ))
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
