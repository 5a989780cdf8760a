//! Tags in front of, between and after the frames of MPEG streams: ID3v1, ID3v2, APE, Lyrics3.
//!
//! Formats: id3.org (ID3v2.4, section 3; ID3v1; Lyrics3 v1 and v2) and the APEv2 specification.

use crate::bytes::window::Window;
use crate::error::Result;

const ID3V1: u64 = 128;
/// The longest text between `LYRICSBEGIN` and `LYRICSEND`.
const LYRICS3_V1: usize = 5_100;

/// Where the ID3v2 tags that begin at `at` end.
pub(super) fn behind_id3v2(window: &mut Window<'_>, mut at: u64) -> Result<u64> {
    while let Some(length) = id3v2(window.at(at, 10, 10)?, b"ID3") {
        at = at.saturating_add(length);
    }
    Ok(at)
}

/// Where the tag that begins at `at` ends; `None` where there is none, or where it is cut off.
pub(super) fn behind(window: &mut Window<'_>, at: u64) -> Result<Option<u64>> {
    let left = window.len().saturating_sub(at);
    let head = window.at(at, 32, 32)?;
    let length = if head.starts_with(b"TAG") {
        Some(ID3V1)
    } else if head.starts_with(b"LYRICSBEGIN") {
        lyrics3(window.at(at, LYRICS3_V1 + 32, u64::MAX)?)
    } else {
        // A header of APE does not count itself.
        let ape = || ape(head).map(|(length, _)| length.saturating_add(32));
        id3v2(head, b"ID3").or_else(ape)
    };
    Ok(length
        .filter(|length| *length <= left)
        .map(|length| at + length))
}

/// Where the tags at the end of the file begin.
pub(super) fn tail(window: &mut Window<'_>) -> Result<u64> {
    let mut end = window.len();
    while let Some(length) = last(window, end)?.filter(|length| *length <= end) {
        end -= length;
    }
    Ok(end)
}

/// Length of the tag that ends at `end`.
fn last(window: &mut Window<'_>, end: u64) -> Result<Option<u64>> {
    let from = end.saturating_sub(ID3V1);
    let bytes = window.at(from, ID3V1 as usize, ID3V1)?;
    let bytes = bytes.get(..(end - from) as usize).unwrap_or_default();
    if bytes.len() as u64 == ID3V1 && bytes.starts_with(b"TAG") {
        return Ok(Some(ID3V1));
    }
    let foot = |length: usize| {
        bytes
            .get(bytes.len().saturating_sub(length)..)
            .unwrap_or_default()
    };
    // A footer counts itself.
    if let Some((length, has_header)) = ape(foot(32)).filter(|(length, _)| *length >= 32) {
        return Ok(Some(length + 32 * u64::from(has_header)));
    }
    if let Some(length) = id3v2(foot(10), b"3DI") {
        return Ok(Some(length));
    }
    if foot(9) == b"LYRICS200" {
        return Ok(number(foot(15)).map(|length| length + 15));
    }
    if foot(9) != b"LYRICSEND" {
        return Ok(None);
    }
    let from = end.saturating_sub(LYRICS3_V1 as u64 + 20);
    let bytes = window.at(from, (end - from) as usize, end - from)?;
    let begin = bytes.windows(11).position(|word| word == b"LYRICSBEGIN");
    Ok(begin.map(|begin| end - from - begin as u64))
}

/// Length of the ID3v2 tag with this header or footer.
pub(crate) fn id3v2(head: &[u8], name: &[u8; 3]) -> Option<u64> {
    let [a, b, c, major, minor, flags, size @ ..] = head.first_chunk::<10>()?;
    let is_legal = *major < 0xFF && *minor < 0xFF && size.iter().all(|byte| *byte < 0x80);
    if [*a, *b, *c] != *name || !is_legal {
        return None;
    }
    let size = size
        .iter()
        .fold(0, |size, byte| size << 7 | u64::from(*byte));
    let has_footer = flags & 0x10 != 0 || name == b"3DI";
    Some(10 + size + 10 * u64::from(has_footer))
}

/// Length after the header, and whether there is one, by a header or footer of APE.
fn ape(bytes: &[u8]) -> Option<(u64, bool)> {
    let word = |at| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    if bytes.len() < 32 || !bytes.starts_with(b"APETAGEX") {
        return None;
    }
    Some((u64::from(word(12)?), word(20)? >> 31 == 1))
}

/// Length of the lyrics that begin here, to the end mark of either version.
fn lyrics3(bytes: &[u8]) -> Option<u64> {
    let is_end = |word: &[u8]| word == b"LYRICSEND" || word == b"LYRICS200";
    let end = bytes.windows(9).position(is_end)?;
    Some(end as u64 + 9)
}

/// Six digits.
fn number(digits: &[u8]) -> Option<u64> {
    let digits = digits.get(..6)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
