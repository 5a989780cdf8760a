//! Edit lists of MP4 files, which say how many frames of encoder delay and padding to cut.
//!
//! Format: ISO/IEC 14496-12, boxes `mvhd`, `mdhd`, `hdlr`, `elst` and `stts`. Symphonia reads the
//! samples of MP4 but not what an edit list says of them.

use crate::error::{Error, Result};
use crate::source::Source;

/// The part of the track that is to be heard, in samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Edit {
    /// Samples in front of it.
    pub(crate) delay: u64,
    /// Its length.
    pub(crate) frames: u64,
}

/// The body of one box.
#[derive(Clone, Copy, Debug)]
struct Body {
    at: u64,
    end: u64,
}

/// The edit of the first audio track; `None` when the file is no MP4 or has no edit list.
pub(crate) fn read_edit(source: &mut Source<'_>) -> Result<Option<Edit>> {
    let file = Body {
        at: 0,
        end: source.len(),
    };
    let mut scratch = Vec::new();
    let head = source.bytes_at(4, 4, &mut scratch)?;
    if !matches!(head, b"ftyp" | b"moov" | b"styp") {
        return Ok(None);
    }
    let Some(moov) = child(source, file, *b"moov")? else {
        return Ok(None);
    };
    let Some(track) = audio_track(source, moov)? else {
        return Ok(None);
    };
    let Some(edts) = child(source, track, *b"edts")? else {
        return Ok(None);
    };
    let Some(elst) = child(source, edts, *b"elst")? else {
        return Ok(None);
    };
    let Some((segment, media_time)) = read_elst(source, elst)? else {
        return Ok(None);
    };
    resolve(source, moov, track, segment, media_time)
}

fn resolve(
    source: &mut Source<'_>,
    moov: Body,
    track: Body,
    segment: u64,
    media_time: u64,
) -> Result<Option<Edit>> {
    let Some(mdia) = child(source, track, *b"mdia")? else {
        return Ok(None);
    };
    let movie_scale = timescale(source, moov, *b"mvhd")?;
    let media_scale = timescale(source, mdia, *b"mdhd")?;
    let total = media_duration(source, mdia)?;
    let (Some(movie_scale), Some(media_scale)) = (movie_scale, media_scale) else {
        return Ok(None);
    };
    // A fragmented file has its durations elsewhere: nothing to cut an end by.
    if total == 0 {
        return Ok(None);
    }
    let valid = total.saturating_sub(media_time);
    let scaled =
        |ticks: u64| (u128::from(ticks) * u128::from(media_scale) / u128::from(movie_scale)) as u64;
    // The segment is in ticks of the movie, often milliseconds: it cuts only where it cuts clearly.
    let frames = if segment > 0 && scaled(segment.saturating_add(1)) < valid {
        scaled(segment)
    } else {
        valid
    };
    Ok(Some(Edit {
        delay: media_time,
        frames,
    }))
}

/// The first child of `kind`.
fn child(source: &mut Source<'_>, parent: Body, kind: [u8; 4]) -> Result<Option<Body>> {
    let mut at = parent.at;
    while let Some((found, body)) = next_box(source, at, parent.end)? {
        if found == kind {
            return Ok(Some(body));
        }
        at = body.end;
    }
    Ok(None)
}

/// The box at `at`, cut at its parent's end; `None` where none fits.
fn next_box(source: &mut Source<'_>, at: u64, end: u64) -> Result<Option<([u8; 4], Body)>> {
    let mut scratch = Vec::new();
    let head = source.bytes_at(at, 16, &mut scratch)?;
    if at + 8 > end || head.len() < 8 {
        return Ok(None);
    }
    let kind = [head[4], head[5], head[6], head[7]];
    let (header, size) = match (be32(head, 0), head.get(8..16)) {
        (Some(0), _) => (8, end - at),
        (Some(1), Some(_)) => (
            16,
            u64::from(be32(head, 8).unwrap_or(0)) << 32 | u64::from(be32(head, 12).unwrap_or(0)),
        ),
        (Some(size), _) => (8, u64::from(size)),
        (None, _) => return Ok(None),
    };
    // A size below its own header would never end.
    if size < header {
        return Ok(None);
    }
    let body = Body {
        at: at + header,
        end: at.saturating_add(size).min(end),
    };
    Ok((body.at <= body.end).then_some((kind, body)))
}

fn audio_track(source: &mut Source<'_>, moov: Body) -> Result<Option<Body>> {
    let mut at = moov.at;
    while let Some((kind, body)) = next_box(source, at, moov.end)? {
        at = body.end;
        if kind == *b"trak" && is_audio(source, body)? {
            return Ok(Some(body));
        }
    }
    Ok(None)
}

fn is_audio(source: &mut Source<'_>, track: Body) -> Result<bool> {
    let Some(mdia) = child(source, track, *b"mdia")? else {
        return Ok(false);
    };
    let Some(hdlr) = child(source, mdia, *b"hdlr")? else {
        return Ok(false);
    };
    let mut scratch = Vec::new();
    Ok(source.bytes_at(hdlr.at + 8, 4, &mut scratch)? == b"soun")
}

/// Ticks per second out of an `mvhd` or `mdhd`.
fn timescale(source: &mut Source<'_>, parent: Body, kind: [u8; 4]) -> Result<Option<u32>> {
    let Some(body) = child(source, parent, kind)? else {
        return Ok(None);
    };
    let mut scratch = Vec::new();
    let head = source.bytes_at(body.at, 24, &mut scratch)?;
    let at = if head.first() == Some(&1) { 20 } else { 12 };
    Ok(be32(head, at).filter(|scale| *scale > 0))
}

/// Sum of all sample durations, in ticks of the media.
fn media_duration(source: &mut Source<'_>, mdia: Body) -> Result<u64> {
    let mut body = mdia;
    for kind in [*b"minf", *b"stbl", *b"stts"] {
        match child(source, body, kind)? {
            Some(inner) => body = inner,
            None => return Ok(0),
        }
    }
    let (mut total, mut at) = (0u64, body.at + 8);
    let mut scratch = Vec::new();
    while at < body.end {
        let piece = source.bytes_at(at, (body.end - at).min(64 * 1024) as usize, &mut scratch)?;
        for entry in piece.chunks_exact(8) {
            let product =
                u64::from(be32(entry, 0).unwrap_or(0)) * u64::from(be32(entry, 4).unwrap_or(0));
            total = total.saturating_add(product);
        }
        at += 64 * 1024;
    }
    Ok(total)
}

/// `(segment_duration, media_time)` of the one edit that plays something.
fn read_elst(source: &mut Source<'_>, elst: Body) -> Result<Option<(u64, u64)>> {
    let mut scratch = Vec::new();
    let bytes = source.bytes_at(
        elst.at,
        (elst.end - elst.at).min(4096) as usize,
        &mut scratch,
    )?;
    let is_long = bytes.first() == Some(&1);
    let entries = bytes
        .get(8..)
        .unwrap_or(&[])
        .chunks_exact(if is_long { 20 } else { 12 });
    // A negative media time is a pause in front: silence that is not in the track.
    let played: Vec<(u64, u64)> = entries
        .filter_map(|entry| edit_times(entry, is_long))
        .collect();
    match played.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err(Error::unsupported("an MP4 edit list with several parts").at_byte(elst.at)),
    }
}

fn edit_times(entry: &[u8], is_long: bool) -> Option<(u64, u64)> {
    let (segment, media_time) = if is_long {
        let wide = |at| Some(u64::from(be32(entry, at)?) << 32 | u64::from(be32(entry, at + 4)?));
        (wide(0)?, wide(8)? as i64)
    } else {
        (
            u64::from(be32(entry, 0)?),
            i64::from(be32(entry, 4)? as i32),
        )
    };
    u64::try_from(media_time)
        .ok()
        .map(|media_time| (segment, media_time))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
}
