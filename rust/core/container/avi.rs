//! AVI: RIFF of the form `AVI `, and OpenDML's further parts of the form `AVIX`.
//!
//! The first audio stream is read: stored samples as in WAV, MPEG audio and AAC in ADTS by the readers of bare
//! streams, and AAC whose packets are the chunks. Its chunks are found by walking over all of them, since indexes are often wrong; none of another stream
//! is read for that. Start times move nothing, as for FFmpeg.
//! Format: Microsoft's "AVI RIFF File Reference", and "OpenDML AVI File Format Extensions" of the Matrox working group.

mod chunks;
mod stored;
mod units;

use self::chunks::{Chunks, end_of};
use self::stored::Stored;
use self::units::Units;
use super::adts::Adts;
use super::chunk::{HeaderReader, MAX_CHUNKS};
use super::demuxer::Demuxer;
use super::mpeg::Mpeg;
use super::pieces::{Carried, Pieces};
use super::wav;
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::codec::sample::Order;
use crate::error::{Error, Result};

/// FFmpeg's name.
pub(super) const NAME: &str = "avi";
/// More streams than two digits can number.
const MAX_STREAMS: u8 = 100;

/// What the header says of the first audio stream.
#[derive(Default)]
struct Header {
    streams: u8,
    /// The numbers of the audio streams.
    audio: Vec<u8>,
    /// Where the format of the first is, and its bytes.
    format: Option<(u64, u32)>,
    /// Where the first chunk is, and where list and file end by their own sizes.
    chunks: u64,
    ends: [Option<u64>; 2],
}

/// Whether a source begins as AVI.
pub(super) fn sniff(source: &mut Source<'_>) -> Result<bool> {
    let mut header = HeaderReader::new(source);
    let magic = header.bytes(0, 12)?;
    Ok(magic.starts_with(b"RIFF") && magic.get(8..12) == Some(b"AVI "))
}

/// Reads the header.
///
/// # Errors
/// A header that is broken, no audio, and audio of a codec that is not decoded here, by name.
pub(super) fn open<'a>(mut source: Source<'a>) -> Result<Box<dyn Demuxer + 'a>> {
    let mut reader = HeaderReader::new(&mut source);
    let found = read_header(&mut reader)?;
    let Some((number, (at, size))) = found.audio.first().zip(found.format) else {
        let reason = "the file has no audio track that can be read";
        return Err(Error::unsupported(reason));
    };
    let (tag, head) = codec_tag(&mut reader, at)?;
    let layout = match tag {
        // Of other kinds: MPEG audio, and AAC with headers of its own or without.
        0x50 | 0x55 | 0xFF | 0x1600 | 0x706D => None,
        _ => {
            let layout = wav::read_format(&mut reader, at, size, Order::Little, NAME);
            let layout = layout.map_err(|error| error.at_byte(at))?;
            super::pcm::check(&reader, &layout, at)?;
            Some(layout)
        }
    };
    let digits = |number: &u8| [b'0' + number / 10, b'0' + number % 10];
    let all = found.audio.iter().map(digits).collect();
    let walk = Chunks::new(found.chunks, digits(number), all, found.ends);
    if let (Some(header), None) = (aac_header(&mut reader, at, (size, head), tag)?, layout) {
        return Ok(Box::new(Units::new(Window::new(source), walk, header)?));
    }
    let window = Window::joined(Box::new(Pieces::new(Window::new(source), walk)));
    if let Some(layout) = layout {
        return Ok(Box::new(Stored::new(window, layout)?));
    }
    let opened: Option<Box<dyn Demuxer + 'a>> = match tag {
        0x50 | 0x55 => Mpeg::bare(window, NAME)?.map(|mpeg| Box::new(Carried(mpeg)) as _),
        _ => Adts::bare(window, NAME)?.map(|adts| Box::new(Carried(adts)) as _),
    };
    opened.ok_or_else(|| match tag {
        0x50 | 0x55 => {
            Error::corrupt("there are no frames of MPEG audio in the AVI file").at_byte(at)
        }
        _ => Error::corrupt("there are no frames of AAC in the AVI file").at_byte(at),
    })
}

/// The tag of the format at `at`, in a sub-format too, and the bytes before what is the codec's own.
fn codec_tag(reader: &mut HeaderReader<'_, '_>, at: u64) -> Result<(u16, u64)> {
    const EXTENSIBLE: u16 = 0xFFFE;
    let tag = reader.array(at)?.map_or(0, u16::from_le_bytes);
    if tag != EXTENSIBLE {
        return Ok((tag, 18));
    }
    Ok((reader.array(at + 24)?.map_or(0, u16::from_le_bytes), 40))
}

/// What follows on the `head` bytes of the format of AAC: the codec's own header, where the packets have none.
fn aac_header(
    reader: &mut HeaderReader<'_, '_>,
    at: u64,
    (size, head): (u32, u64),
    tag: u16,
) -> Result<Option<Vec<u8>>> {
    // Where it is told how many bytes follow on it.
    const TOLD: u64 = 16;
    if !matches!(tag, 0xFF | 0x706D) {
        return Ok(None);
    }
    let told = reader.array(at + TOLD)?.map_or(0, u16::from_le_bytes);
    let end = u64::from(size).min(TOLD + 2 + u64::from(told));
    let header = reader.bytes(at + head, end.saturating_sub(head) as usize)?;
    Ok((header.len() >= 2).then(|| header.to_vec()))
}

/// Walks over the header, up to the first list of chunks.
fn read_header(reader: &mut HeaderReader<'_, '_>) -> Result<Header> {
    let mut found = Header::default();
    let riff = reader.array(4)?.map_or(0, u32::from_le_bytes);
    let (mut at, mut kind) = (12, [0; 4]);
    for _ in 0..MAX_CHUNKS {
        let Some(chunk) = reader.chunk(at, Order::Little)? else {
            break;
        };
        let list = reader.array::<4>(chunk.at)?.unwrap_or_default();
        match (&chunk.id, &list) {
            (b"LIST", b"movi") => {
                found.chunks = chunk.at + 4;
                found.ends = [
                    end_of(8, u64::from(riff)),
                    end_of(chunk.at, u64::from(chunk.size)),
                ];
                return Ok(found);
            }
            // What is in them is read as what follows.
            (b"LIST", b"hdrl" | b"strl") => {
                at = chunk.at + 4;
                continue;
            }
            (b"strh", _) => {
                kind = list;
                if kind == *b"auds" && found.streams < MAX_STREAMS {
                    found.audio.push(found.streams);
                }
                found.streams = found.streams.saturating_add(1);
            }
            (b"strf", _) if kind == *b"auds" => {
                found.format.get_or_insert((chunk.at, chunk.size));
            }
            _ => {}
        }
        at = reader.behind(chunk)?;
    }
    Err(reader.broken(at, "the AVI file ends before its chunks"))
}
