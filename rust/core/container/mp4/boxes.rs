//! The tree of boxes, and the numbers in them: ISO/IEC 14496-12, section 4.2.

use crate::bytes::window::Window;
use crate::error::{Error, ErrorKind, Result};

/// Children of one box that are looked at: hostile files have millions.
const MAX_CHILDREN: usize = 4096;
/// Bytes looked at per search for a fragment.
const SEARCH_BYTES: usize = 64 * 1024;
/// Bytes read at once where boxes are walked over: most of them are short.
const AHEAD: u64 = 2048;

/// The place of one box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) kind: [u8; 4],
    /// The byte of its header.
    pub(super) start: u64,
    /// The byte of its body.
    pub(super) at: u64,
    /// Where it ends by its own word.
    pub(super) end: u64,
    /// Its size is 0: it reaches to the end of what it is in.
    pub(super) open: bool,
}

impl Span {
    /// That of a box without its version and flags.
    pub(super) fn inner(self, skip: u64) -> Self {
        let at = self.at.saturating_add(skip).min(self.end);
        Self { at, ..self }
    }
}

/// The box at `at`, in a parent that ends at `end`; `None` where no header fits.
///
/// # Errors
/// A box that is shorter than its header: nothing after it can be found.
pub(super) fn header(window: &mut Window<'_>, at: u64, end: u64) -> Result<Option<Span>> {
    let room = end.min(window.len()).saturating_sub(at);
    let bytes = window.at(at, 16, AHEAD)?;
    let (Some(size_word), Some(kind)) = (be32(bytes, 0), bytes.get(4..8)) else {
        return Ok(None);
    };
    if room < 8 {
        return Ok(None);
    }
    let mut name = [0; 4];
    name.copy_from_slice(kind);
    let (header, size) = match (size_word, be64(bytes, 8)) {
        (0, _) => (8, end - at),
        (1, Some(size)) if room >= 16 => (16, size),
        (1, _) => return Ok(None),
        (size, _) => (8, u64::from(size)),
    };
    if size < header {
        let reason = format!("an MP4 box declares {size} bytes, fewer than its header has");
        return Err(Error::corrupt(reason).at_byte(at));
    }
    Ok(Some(Span {
        kind: name,
        start: at,
        at: at + header,
        end: at.saturating_add(size),
        open: size_word == 0,
    }))
}

/// The first fragment in an `mdat` whose size is 0, as one has that was being written: a `moof` that begins with its
/// number. It is looked for in all of the box, since nothing else says where that ends.
pub(super) fn fragment_inside(window: &mut Window<'_>, mdat: Span) -> Result<Option<u64>> {
    const MARK: &[u8] = b"moof\0\0\0\x10mfhd";
    let (mut at, mut scratch) = (mdat.at, Vec::new());
    while at < mdat.end {
        let bytes = window.aside(at, SEARCH_BYTES, &mut scratch)?;
        let found = bytes.windows(MARK.len()).position(|part| part == MARK);
        if let Some(found) = found {
            return Ok((at + found as u64).checked_sub(4));
        }
        if bytes.len() < SEARCH_BYTES {
            break;
        }
        at += (SEARCH_BYTES - MARK.len() + 1) as u64;
    }
    Ok(None)
}

/// The boxes in `parent`, cut at its end.
pub(super) fn children(window: &mut Window<'_>, parent: Span) -> Result<Vec<Span>> {
    let (mut found, mut at) = (Vec::new(), parent.at);
    while let Some(child) = header(window, at, parent.end)? {
        let end = child.end.min(parent.end);
        found.push(Span { end, ..child });
        if found.len() > MAX_CHILDREN {
            let error = Error::new(ErrorKind::Limit, "an MP4 box holds too many boxes");
            return Err(error.at_byte(parent.start));
        }
        at = end;
    }
    Ok(found)
}

/// The first child of `kind`.
pub(super) fn child(window: &mut Window<'_>, parent: Span, kind: &[u8; 4]) -> Result<Option<Span>> {
    let mut at = parent.at;
    for _ in 0..MAX_CHILDREN {
        let Some(found) = header(window, at, parent.end)? else {
            break;
        };
        at = found.end.min(parent.end);
        if found.kind == *kind {
            return Ok(Some(Span { end: at, ..found }));
        }
    }
    Ok(None)
}

/// The box at the end of a path of first children.
pub(super) fn descend(
    window: &mut Window<'_>,
    parent: Span,
    path: &[&[u8; 4]],
) -> Result<Option<Span>> {
    let mut here = parent;
    for kind in path {
        match child(window, here, kind)? {
            Some(inner) => here = inner,
            None => return Ok(None),
        }
    }
    Ok(Some(here))
}

/// The first bytes of a box's body, `most` at most.
pub(super) fn body(window: &mut Window<'_>, span: Span, most: usize) -> Result<Vec<u8>> {
    let length = (span.end - span.at).min(most as u64) as usize;
    let bytes = window.at(span.at, length, AHEAD)?;
    Ok(bytes.get(..length).unwrap_or(bytes).to_vec())
}

/// The boxes that lie in `bytes`: their kinds and bodies.
pub(super) fn inside(mut bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let size = be32(bytes, 0)? as usize;
        let size = if size == 0 { bytes.len() } else { size };
        let (whole, rest) = bytes.split_at(size.min(bytes.len()));
        let kind = <[u8; 4]>::try_from(whole.get(4..8)?).ok()?;
        bytes = rest;
        Some((kind, whole.get(8..)?))
    })
}

/// The body of the first box of `kind` in `bytes`.
pub(super) fn find<'b>(bytes: &'b [u8], kind: &[u8; 4]) -> Option<&'b [u8]> {
    inside(bytes)
        .find(|(found, _)| found == kind)
        .map(|(_, body)| body)
}

pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(word.try_into().ok()?))
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(word.try_into().ok()?))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(word.try_into().ok()?))
}
