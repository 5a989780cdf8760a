//! MPEG transport streams: ISO/IEC 13818-1, with packets of 188, 192 (M2TS) and 204 bytes.
//!
//! The first audio stream of the first program that has one is read, by the readers of bare streams: a recording is
//! all that its frames decode to, as FFmpeg has it. No timestamp moves or cuts anything. They only tell, where the
//! counter of the packets jumps, whether something is missing.

mod elementary;
mod packet;
mod tables;

use self::elementary::Elementary;
use self::packet::Packets;
use self::tables::Stream;
use super::adts::Adts;
use super::demuxer::Demuxer;
use super::mpeg::Mpeg;
use super::pieces::{Carried, Pieces, Walk as _};
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::error::{Error, Result};

/// FFmpeg's name.
const NAME: &str = "mpegts";
/// Bytes of a file without tables that are searched for an audio stream.
const SEARCHED: u64 = 1 << 20;

/// Reads the tables and finds the first frames; gives the source back where it is no transport stream.
///
/// # Errors
/// Audio that is not decoded here, by name; a stream in which there is none, or none is found.
pub(super) fn open<'a>(
    source: Source<'a>,
) -> Result<std::result::Result<Box<dyn Demuxer + 'a>, Source<'a>>> {
    let mut file = Window::new(source);
    let Some(packets) = Packets::find(&mut file)? else {
        return Ok(Err(file.into_source()));
    };
    let named = tables::first_audio(&mut file, packets.clone(), |stream| name(stream).is_some())?;
    let stream = match named {
        Some(stream) => stream,
        None => guess(&mut file, packets.clone())?
            .ok_or_else(|| Error::unsupported("the file has no audio track that can be read"))?,
    };
    let codec = name(&stream).unwrap_or_default();
    let walk = Elementary::new(packets, stream.pid);
    // Says so where it is scrambled.
    walk.clone().next(&mut file)?;
    let stream = Window::joined(Box::new(Pieces::new(file, walk)));
    let opened: Option<Box<dyn Demuxer + 'a>> = match codec {
        "aac" => Adts::bare(stream, NAME)?.map(|adts| Box::new(Carried(adts)) as _),
        "mp3" => Mpeg::bare(stream, NAME)?.map(|mpeg| Box::new(Carried(mpeg)) as _),
        _ => {
            let reason = format!("the codec {codec} in a transport stream is not decoded here");
            return Err(Error::unsupported(reason));
        }
    };
    opened.map(Ok).ok_or_else(|| {
        let reason = format!("there are no frames of {codec} in the transport stream");
        Error::corrupt(reason)
    })
}

/// FFmpeg's name of the audio in `stream`, or a name of what FFmpeg does not have; `None`: it is no audio.
fn name(stream: &Stream) -> Option<&'static str> {
    Some(match stream.kind {
        // All layers of MPEG audio.
        0x03 | 0x04 => "mp3",
        0x0F => "aac",
        0x11 => "aac_latm",
        0x1C => "aac (without transport syntax)",
        0x80 if registration(stream) == Some(*b"HDMV") => "pcm_bluray",
        0x81 | 0xC1 => "ac3",
        0x82 if registration(stream) == Some(*b"HDMV") => "dts",
        0x83 => "truehd",
        0x84 | 0x87 | 0xA1 | 0xC2 => "eac3",
        0x85 | 0x86 | 0x8A | 0xA2 => "dts",
        0xCF => "aac (encrypted: SAMPLE-AES)",
        0x06 => return private(stream),
        _ => return None,
    })
}

/// What a stream of private data is, by its descriptors.
fn private(stream: &Stream) -> Option<&'static str> {
    match registration(stream).as_ref() {
        Some(b"Opus") => return Some("opus"),
        Some(b"AC-3") => return Some("ac3"),
        Some(b"EAC3") => return Some("eac3"),
        Some(b"AC-4") => return Some("ac4"),
        Some(b"BSSD") => return Some("s302m"),
        Some(b"DTS1" | b"DTS2" | b"DTS3") => return Some("dts"),
        _ => {}
    }
    descriptors(stream).find_map(|(tag, _)| match tag {
        0x6A => Some("ac3"),
        0x7A => Some("eac3"),
        0x7B => Some("dts"),
        0x7C => Some("aac_latm"),
        _ => None,
    })
}

/// Tags and bodies.
fn descriptors(stream: &Stream) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = stream.descriptors.as_slice();
    std::iter::from_fn(move || {
        let [tag, length, more @ ..] = rest else {
            return None;
        };
        let (body, behind) = more.split_at_checked(usize::from(*length))?;
        rest = behind;
        Some((*tag, body))
    })
}

/// Four letters that say whose the stream's kind is.
fn registration(stream: &Stream) -> Option<[u8; 4]> {
    let mut all = descriptors(stream);
    all.find_map(|(tag, body)| body.first_chunk().filter(|_| tag == 5).copied())
}

/// The first stream that has the number of an audio stream, in a file whose tables name none: there are no tables, or
/// they call it private data.
fn guess(file: &mut Window<'_>, mut packets: Packets) -> Result<Option<Stream>> {
    while let Some(packet) = packets.next(file)?.filter(|packet| packet.at() < SEARCHED) {
        let Some((at, [0, 0, 1, 0xC0..=0xDF, head @ ..])) = packet.payload() else {
            continue;
        };
        // Its flags, and the length of what else is in the header.
        let skip = 5 + usize::from(head.get(4).copied().unwrap_or(0));
        let kind = match head.get(skip..) {
            Some([0xFF, second, ..]) if second & 0xF6 == 0xF0 => 0x0F,
            Some([0xFF, second, ..]) if second & 0xE0 == 0xE0 => 0x03,
            _ => continue,
        };
        let reason = "no table of the transport stream names its audio: the first stream of MPEG audio or AAC is read";
        file.remark(Error::corrupt(reason).at_byte(at))?;
        return Ok(Some(Stream {
            pid: packet.pid(),
            kind,
            descriptors: Vec::new(),
        }));
    }
    Ok(None)
}
