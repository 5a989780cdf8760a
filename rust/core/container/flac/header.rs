//! What stands in front of the frames: RFC 9639, section 8, and the tags that others put before it.

use crate::bytes::source::Source;
use crate::codec::flac::frame::FrameDecoder;
use crate::codec::flac::header::FrameHeader;
use crate::codec::flac::stream_info::StreamInfo;
use crate::container::tags::id3v2;
use crate::error::{Error, Result};

/// Metadata blocks and tags that are passed over at most: each costs a read.
const MAX_BLOCKS: u32 = 4096;
/// The type of a block that holds a picture.
const PICTURE: u8 = 6;
/// How much is looked at for the first frame of a stream without a header.
const MAX_BARE_FRAME: usize = 256 * 1024;

/// Where `fLaC` or a frame without it stands, at the start or after ID3v2 tags; `None` when this is no
/// native FLAC.
pub(crate) fn sniff(source: &mut Source<'_>) -> Result<Option<u64>> {
    let (mut scratch, mut at) = (Vec::new(), 0u64);
    for _ in 0..MAX_BLOCKS {
        let head = source.bytes_at(at, 16, &mut scratch)?;
        if let Some(length) = id3v2(head, b"ID3") {
            at = at.saturating_add(length);
            continue;
        }
        let is_flac = head.starts_with(b"fLaC") || (is_frame(head) && bare(source, at)?.is_some());
        return Ok(is_flac.then_some(at));
    }
    Ok(None)
}

fn is_frame(head: &[u8]) -> bool {
    FrameHeader::parse(head).is_ok()
}

/// What the frame at `at` tells of a stream without a header; `None` where no whole frame is there that tells
/// rate and depth.
fn bare(source: &mut Source<'_>, at: u64) -> Result<Option<StreamInfo>> {
    let mut scratch = Vec::new();
    let bytes = source.bytes_at(at, MAX_BARE_FRAME, &mut scratch)?;
    let Ok(header) = FrameHeader::parse(bytes) else {
        return Ok(None);
    };
    let (Some(sample_rate), Some(bits)) = (header.sample_rate, header.bits) else {
        return Ok(None);
    };
    let info = StreamInfo {
        min_block: 0,
        max_block: header.block_size,
        max_frame_bytes: 0,
        sample_rate,
        channels: header.channels,
        bits,
        frames: 0,
        md5: [0; 16],
    };
    let is_whole = sample_rate > 0 && FrameDecoder::new(&info).decode(bytes).is_ok();
    Ok(is_whole.then_some(info))
}

/// Reads STREAMINFO after the `fLaC` at `at`, and where the first frame begins.
pub(super) fn read(source: &mut Source<'_>, at: u64) -> Result<(StreamInfo, u64)> {
    let mut scratch = Vec::new();
    if !source.bytes_at(at, 4, &mut scratch)?.starts_with(b"fLaC")
        && let Some(info) = bare(source, at)?
    {
        let reason = "the FLAC stream has no header: rate and depth are taken from its first frame";
        source.remark(careless(source, reason, at))?;
        return Ok((info, at));
    }
    let head: Option<&[u8; 42]> = source.bytes_at(at, 42, &mut scratch)?.first_chunk();
    let first = at + 4;
    let Some(head) = head else {
        return Err(cut_short(first));
    };
    let info = head.last_chunk().and_then(StreamInfo::parse);
    let Some(info) = info.filter(|_| head[4] & 0x7F == 0 && head[5..8] == [0, 0, 34]) else {
        return Err(Error::corrupt("the FLAC file does not begin with STREAMINFO").at_byte(first));
    };
    let info = info.check().map_err(|error| error.at_byte(first))?;
    let is_last = head[4] >> 7 == 1;
    Ok((info, behind_blocks(source, at + 42, is_last)?))
}

/// Where the metadata blocks end that begin at `at`, if STREAMINFO was not the last.
fn behind_blocks(source: &mut Source<'_>, mut at: u64, mut is_last: bool) -> Result<u64> {
    let mut scratch = Vec::new();
    for _ in 0..MAX_BLOCKS {
        if is_last {
            return Ok(at);
        }
        let Some(&[kind, a, b, c]) = source.bytes_at(at, 4, &mut scratch)?.first_chunk() else {
            return Err(cut_short(at));
        };
        if kind & 0x7F == 0x7F {
            return Err(Error::corrupt("a FLAC metadata block is of a forbidden type").at_byte(at));
        }
        is_last = kind >> 7 == 1;
        let mut length = u64::from(u32::from_be_bytes([0, a, b, c]));
        if kind & 0x7F == PICTURE {
            length += picture_excess(source, at + 4, length)?;
        }
        at += 4 + length;
        if at > source.len() {
            return Err(cut_short(source.len()));
        }
    }
    Err(Error::corrupt("the FLAC file has too many metadata blocks").at_byte(at))
}

/// Bytes of a picture (RFC 9639, section 8.8) beyond its block, whose length of 24 bits has overflowed.
fn picture_excess(source: &mut Source<'_>, at: u64, length: u64) -> Result<u64> {
    let mut scratch = Vec::new();
    let mut number = |source: &mut Source<'_>, at: u64| -> Result<u64> {
        let bytes = source.bytes_at(at, 4, &mut scratch)?.first_chunk();
        Ok(bytes.map_or(0, |bytes| u64::from(u32::from_be_bytes(*bytes))))
    };
    let media_type = number(source, at + 4)?;
    let description = number(source, at + 8 + media_type)?;
    let head = 12 + media_type + description + 16;
    let data = number(source, at + head)?;
    let whole = head + 4 + data;
    if whole <= length || whole & 0xFF_FFFF != length {
        return Ok(0);
    }
    let reason = "a FLAC picture is longer than the size of its metadata block can express";
    source.remark(careless(source, reason, at))?;
    Ok(whole - length)
}

fn careless(source: &Source<'_>, reason: &str, at: u64) -> Error {
    Error::corrupt(reason)
        .with_source(source.name())
        .at_byte(at)
}

fn cut_short(at: u64) -> Error {
    let reason = "the file ends inside the FLAC header: it was cut short";
    Error::corrupt(reason).at_byte(at)
}
