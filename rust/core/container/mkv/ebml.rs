//! Elements: RFC 8794.

use crate::bytes::window::Window;
use crate::error::{Error, Result};

/// Bytes of an identifier and a size at most.
const HEADER_BYTES: usize = 12;
/// No element of a header that is read in one piece is larger.
const MAX_BYTES: u64 = 16 << 20;

/// The elements that are read part by part, of unknown size or not.
pub(super) const SEGMENT: u32 = 0x1853_8067;
pub(super) const CLUSTER: u32 = 0x1F43_B675;
pub(super) const CRC_32: u32 = 0xBF;
pub(super) const VOID: u32 = 0xEC;

/// One element: its header begins at `start`, its body lies at `body..end`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Element {
    pub(super) id: u32,
    pub(super) start: u64,
    pub(super) body: u64,
    /// That of its parent, where the size is open.
    pub(super) end: u64,
    /// Live writers leave the size of segments and clusters open.
    pub(super) open: bool,
}

/// The element at `at`; `None` at the end of its parent. What follows is wanted for `ahead` bytes.
///
/// # Errors
/// Bytes that are no element, one that is longer than its parent, or than the file.
pub(super) fn element(
    window: &mut Window<'_>,
    at: u64,
    parent_end: u64,
    ahead: u64,
) -> Result<Option<Element>> {
    if at >= parent_end {
        return Ok(None);
    }
    let length = window.len();
    if at >= length {
        return Err(cut_short(length));
    }
    let head = window.at(at, HEADER_BYTES, ahead.min(parent_end - at))?;
    let Some((id, id_bytes, size, size_bytes)) = header(head) else {
        return Err(if head.len() < HEADER_BYTES {
            cut_short(at)
        } else {
            Error::corrupt("no Matroska element begins here").at_byte(at)
        });
    };
    let body = at + (id_bytes + size_bytes) as u64;
    let (end, open) = match size {
        Some(size) => (body.saturating_add(size), false),
        None => (parent_end, true),
    };
    // What lies in a segment or a cluster that was cut is there up to the cut.
    let is_read_by_parts = open || matches!(id, SEGMENT | CLUSTER);
    if body > length || (end > length && !is_read_by_parts) {
        return Err(cut_short(at));
    }
    if end > parent_end || body > end {
        let reason = "a Matroska element is longer than the one around it";
        return Err(Error::corrupt(reason).at_byte(at));
    }
    Ok(Some(Element {
        id,
        start: at,
        body,
        end,
        open,
    }))
}

fn cut_short(at: u64) -> Error {
    Error::corrupt("the file ends in the middle of its data: it was cut short").at_byte(at)
}

/// Identifier, size and the bytes that each takes; a size of ones only is open.
fn header(bytes: &[u8]) -> Option<(u32, usize, Option<u64>, usize)> {
    let id_bytes = bytes.first()?.leading_zeros() as usize + 1;
    if id_bytes > 4 {
        return None;
    }
    let id = big_endian(bytes.get(..id_bytes)?) as u32;
    let (size, size_bytes) = vint(bytes.get(id_bytes..)?)?;
    let open = size == (1 << (7 * size_bytes)) - 1;
    Some((id, id_bytes, (!open).then_some(size), size_bytes))
}

/// A number of variable length, and its length.
pub(super) fn vint(bytes: &[u8]) -> Option<(u64, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    if length > 8 {
        return None;
    }
    let value = big_endian(bytes.get(..length)?);
    Some((value & ((1 << (7 * length)) - 1), length))
}

pub(super) fn big_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The body of `element`, which has to be in the file.
pub(super) fn body<'w>(window: &'w mut Window<'_>, element: &Element) -> Result<&'w [u8]> {
    let size = element.end - element.body;
    if size > MAX_BYTES {
        return Err(Error::corrupt("a Matroska element is too long").at_byte(element.start));
    }
    let length = window.len();
    let bytes = window.at(element.body, size as usize, size)?;
    bytes.get(..size as usize).ok_or_else(|| cut_short(length))
}

pub(super) fn unsigned(window: &mut Window<'_>, element: &Element) -> Result<u64> {
    match body(window, element)? {
        bytes if bytes.len() <= 8 => Ok(big_endian(bytes)),
        _ => Err(too_long(element)),
    }
}

pub(super) fn signed(window: &mut Window<'_>, element: &Element) -> Result<i64> {
    let bits = 8 * (element.end - element.body).min(9) as u32;
    let value = unsigned(window, element)?;
    Ok(match bits {
        0 => 0,
        _ => (value << (64 - bits)) as i64 >> (64 - bits),
    })
}

pub(super) fn float(window: &mut Window<'_>, element: &Element) -> Result<f64> {
    match *body(window, element)? {
        [] => Ok(0.0),
        [a, b, c, d] => Ok(f64::from(f32::from_be_bytes([a, b, c, d]))),
        [a, b, c, d, e, f, g, h] => Ok(f64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => Err(too_long(element)),
    }
}

fn too_long(element: &Element) -> Error {
    Error::corrupt("a number in a Matroska element has a wrong size").at_byte(element.start)
}

/// Calls `work` for each child of `parent`.
pub(super) fn each_child<'a>(
    window: &mut Window<'a>,
    parent: &Element,
    mut work: impl FnMut(&mut Window<'a>, &Element) -> Result<()>,
) -> Result<()> {
    let mut at = parent.body;
    while let Some(child) = element(window, at, parent.end, parent.end - at)? {
        at = child.end;
        work(window, &child)?;
    }
    Ok(())
}

/// Compares the checksum that stands in front of all else in `parent`, where there is one.
///
/// # Errors
/// [`Corrupt`](crate::ErrorKind::Corrupt) when it is another one: RFC 8794, section 11.3.1.
pub(super) fn check_sum(window: &mut Window<'_>, parent: &Element) -> Result<()> {
    if parent.open || parent.end - parent.body > MAX_BYTES {
        return Ok(());
    }
    let bytes = body(window, parent)?;
    let [0xBF, 0x84, a, b, c, d, covered @ ..] = bytes else {
        return Ok(());
    };
    if crc32fast::hash(covered) == u32::from_le_bytes([*a, *b, *c, *d]) {
        return Ok(());
    }
    let reason = "the checksum of a Matroska element is wrong";
    Err(Error::corrupt(reason).at_byte(parent.start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::source::Source;

    #[test]
    fn numbers_of_variable_length_are_read_to_eight_bytes() {
        assert_eq!(vint(&[0x81]), Some((1, 1)));
        assert_eq!(vint(&[0x40, 0x02]), Some((2, 2)));
        let longest = [0x01, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(vint(&longest), Some((9, 8)));
        assert_eq!(vint(&[0x40]), None);
        assert_eq!(vint(&[0x00; 9]), None);
    }

    #[test]
    fn a_child_longer_than_its_parent_is_named_with_its_byte() {
        let bytes = [0xEC, 0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut window = Window::new(Source::from_bytes("test", &bytes));
        assert!(element(&mut window, 0, 6, 6).is_ok());
        let error = element(&mut window, 0, 5, 5).err();
        assert_eq!(error.and_then(|error| error.byte_offset()), Some(0));
    }

    #[test]
    fn signed_numbers_keep_their_sign() {
        let bytes = [0xFF, 0xFE, 0x00, 0x05];
        let mut window = Window::new(Source::from_bytes("test", &bytes));
        let field = |body, end| Element {
            id: 0,
            start: 0,
            body,
            end,
            open: false,
        };
        for (body, end, value) in [(0, 2, -2), (2, 4, 5), (1, 1, 0), (3, 4, 5)] {
            assert_eq!(signed(&mut window, &field(body, end)).ok(), Some(value));
        }
    }
}
