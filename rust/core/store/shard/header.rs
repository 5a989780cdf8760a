//! One header of a tar archive: its checksum, kind, size and name.
//!
//! Formats: POSIX.1-2017, `pax`, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format", which
//! also tells of numbers in base 256. Archives from before both have neither magic nor prefix.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result};

/// Headers, and payloads with their padding, are whole blocks.
pub(super) const BLOCK: u64 = 512;
pub(super) type Block = [u8; BLOCK as usize];

const NAME: Range<usize> = 0..100;
const SIZE: Range<usize> = 124..136;
const CHECKSUM: Range<usize> = 148..156;
const KIND: usize = 156;
const MAGIC: Range<usize> = 257..263;
const PREFIX: Range<usize> = 345..500;
/// Schily's tar keeps times after a shorter prefix, and says so at the end.
const SCHILY_PREFIX: Range<usize> = 345..476;
const SCHILY_MAGIC: Range<usize> = 508..512;

/// What follows a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// Records about the next member.
    Extended,
    /// Records about all members from here on.
    Global,
    /// GNU's: the next member's name.
    LongName,
    /// GNU's: what the next member links to.
    LongLink,
    /// What a shard may not hold, in words.
    Refused(&'static str),
}

/// A header whose checksum is right.
pub(super) struct Header<'a>(&'a Block);

impl<'a> Header<'a> {
    /// Compares the checksum.
    pub(super) fn new(block: &'a Block) -> Result<Self> {
        let stored = octal(&block[CHECKSUM]).ok_or_else(|| {
            Error::corrupt("this is not a tar header: its checksum is not an octal number")
        })?;
        if stored == sum(block) || stored as i64 == signed_sum(block) {
            return Ok(Self(block));
        }
        Err(Error::corrupt("the checksum of the tar header is wrong"))
    }

    pub(super) fn kind(&self) -> Kind {
        match self.0[KIND] {
            b'0' | b'7' | 0 => Kind::File,
            b'5' => Kind::Directory,
            b'x' => Kind::Extended,
            b'g' => Kind::Global,
            b'L' => Kind::LongName,
            b'K' => Kind::LongLink,
            b'1' => Kind::Refused("a hard link"),
            b'2' => Kind::Refused("a symbolic link"),
            b'3' | b'4' => Kind::Refused("a device"),
            b'6' => Kind::Refused("a named pipe"),
            b'S' => Kind::Refused("a sparse file"),
            b'M' => Kind::Refused("the rest of a file that began in another archive"),
            _ => Kind::Refused("of an unknown type"),
        }
    }

    /// Bytes of payload that the header tells.
    pub(super) fn size(&self) -> Result<u64> {
        number(&self.0[SIZE])
            .ok_or_else(|| Error::corrupt("the size in the tar header is not a number"))
    }

    /// The name in the header, of at most 256 bytes.
    pub(super) fn name(&self) -> Cow<'_, [u8]> {
        let name = until_nul(&self.0[NAME]);
        match self.prefix() {
            [] => Cow::Borrowed(name),
            prefix => Cow::Owned([prefix, b"/", name].concat()),
        }
    }

    fn prefix(&self) -> &[u8] {
        // GNU's own format has times there.
        match &self.0[MAGIC] {
            b"ustar\0" if &self.0[SCHILY_MAGIC] == b"tar\0" => until_nul(&self.0[SCHILY_PREFIX]),
            b"ustar\0" => until_nul(&self.0[PREFIX]),
            _ => &[],
        }
    }
}

/// The sum of all bytes, the checksum's own counted as spaces.
fn sum(block: &Block) -> u64 {
    // The odd bytes and the even ones of eight each, in lanes of 16 bits: 64 words of 2 x 255 fit.
    const LANES: u64 = 0x00FF_00FF_00FF_00FF;
    let (words, _) = block.as_chunks::<8>();
    let pairs = words.iter().map(|word| u64::from_ne_bytes(*word));
    let lanes: u64 = pairs.map(|word| (word & LANES) + (word >> 8 & LANES)).sum();
    let sum = lanes.to_ne_bytes();
    let (lanes, _) = sum.as_chunks::<2>();
    let all: u64 = lanes
        .iter()
        .map(|lane| u64::from(u16::from_ne_bytes(*lane)))
        .sum();
    let own: u64 = block[CHECKSUM].iter().map(|byte| u64::from(*byte)).sum();
    all - own + CHECKSUM.len() as u64 * u64::from(b' ')
}

/// Some old tars took bytes above 127 as negative.
fn signed_sum(block: &Block) -> i64 {
    let is_high = |byte: &&u8| **byte > 127;
    let own = block[CHECKSUM].iter().filter(is_high).count();
    let high = block.iter().filter(is_high).count() - own;
    sum(block) as i64 - 256 * high as i64
}

pub(super) fn is_zero(block: &Block) -> bool {
    block.iter().all(|byte| *byte == 0)
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Octal digits or, after a byte of 0x80, a big-endian number below 2^63.
fn number(field: &[u8]) -> Option<u64> {
    let Some((0x80, bytes)) = field.split_first() else {
        return octal(field);
    };
    let (high, low) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
    let value = u64::from_be_bytes(low.try_into().ok()?);
    (high.iter().all(|byte| *byte == 0) && value <= i64::MAX as u64).then_some(value)
}

/// Digits after any spaces; NULs and spaces alone follow.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start();
    let count = digits
        .iter()
        .take_while(|byte| matches!(byte, b'0'..=b'7'))
        .count();
    let (digits, rest) = digits.split_at(count);
    if digits.is_empty() || rest.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    let push = |value: u64, digit: &u8| value.checked_mul(8)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, push)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, value) in [
            (&b"00000001750\0"[..], Some(1000)),
            (b"       1750 ", Some(1000)),
            (b"777777777777", Some((1 << 36) - 1)),
            (b"0\0          ", Some(0)),
            (b"            ", None),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", None),
            (b"00000001758\0", None),
            (b"0000 001750\0", None),
            (b"-0000001750\0", None),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\x01", Some((1 << 33) + 1)),
            (
                b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
                Some(i64::MAX as u64),
            ),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }
}
