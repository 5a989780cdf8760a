//! The head of a stream: what the samples are, and the header of the file that was compressed.

use crate::codec::flac::Fault;
use crate::codec::flac::bits::Bits;
use crate::error::{Error, Result as Checked};

pub(crate) const MAGIC: &[u8; 4] = b"ajkg";
const MAX_VERSION: u8 = 3;
/// As FFmpeg's.
const MAX_CHANNELS: u32 = 8;
const MAX_BLOCK_SIZE: u32 = 65_535;
/// The author's.
const MAX_ORDER: u32 = 64;
const MAX_MEANS: u32 = 32_768;
/// Bytes of a foreign header.
const MAX_VERBATIM: u32 = 1 << 20;

const KIND_BITS: u32 = 4;
const ORDER_BITS: u32 = 2;
const LENGTH_BITS: u32 = 2;
const SKIP_BITS: u32 = 1;
const SKIPPED_BYTE_BITS: u32 = 7;
const CHUNK_BITS: u32 = 5;
const BYTE_BITS: u32 = 8;
const DEFAULT_BLOCK_SIZE: u32 = 256;

/// What is encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Signed8,
    Unsigned8,
    Signed16,
    Unsigned16,
    /// Mu-law's codes in the order of their values; two zeros of mu-law are one in the first.
    MuLawOne,
    MuLawTwo,
    /// A-law's codes in the order of their values.
    ALawCodes,
    /// Values of mu-law and A-law, of 13 bits.
    MuLawValues,
    ALawValues,
}

impl Kind {
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::MuLawOne,
            1 => Self::Signed8,
            2 => Self::Unsigned8,
            3 | 5 => Self::Signed16,
            4 | 6 => Self::Unsigned16,
            7 => Self::MuLawValues,
            8 => Self::MuLawTwo,
            9 => Self::ALawCodes,
            10 => Self::ALawValues,
            _ => return None,
        })
    }

    /// Bits of one sample of what was compressed.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Signed16 | Self::Unsigned16 => 16,
            _ => 8,
        }
    }

    /// Of silence.
    pub(super) fn mean(self) -> i32 {
        match self {
            Self::Unsigned8 => 0x80,
            Self::Unsigned16 => 0x8000,
            _ => 0,
        }
    }
}

/// What a stream's head says.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(super) version: u8,
    pub(crate) kind: Kind,
    pub(crate) channels: usize,
    pub(super) block_size: usize,
    /// Coefficients of a linear predictor at most.
    pub(super) most_order: usize,
    /// Blocks whose means are remembered.
    pub(super) means: usize,
    /// The header of the file that was compressed: WAV's, AIFF's, or nothing.
    pub(crate) foreign: Vec<u8>,
}

impl Header {
    /// Reads the head of the stream that begins with `bytes`; and its length in bits.
    ///
    /// # Errors
    /// [`Fault::Short`] in the inner result when not all of it is there.
    pub(crate) fn read(bytes: &[u8]) -> Checked<Result<(Self, usize), Fault>> {
        let Some((&[_, _, _, _, version], rest)) = bytes.split_first_chunk() else {
            return Ok(Err(Fault::Short));
        };
        if version > MAX_VERSION {
            let reason = format!("version {version} of Shorten is not decoded here");
            return Err(Error::unsupported(reason));
        }
        let mut bits = Bits::new(rest);
        let kind = match number(&mut bits, version, KIND_BITS) {
            Ok(kind) => kind,
            Err(fault) => return Ok(Err(fault)),
        };
        let Some(kind) = Kind::of(kind) else {
            let reason = format!("samples of type {kind} in Shorten are not decoded here");
            return Err(Error::unsupported(reason));
        };
        let head = Self::read_rest(&mut bits, version, kind);
        Ok(head.map(|head| (head, 40 + bits.place())))
    }

    fn read_rest(bits: &mut Bits<'_>, version: u8, kind: Kind) -> Result<Self, Fault> {
        let mut within = |low_bits, least, most, reason| {
            let value = number(bits, version, low_bits)?;
            match (least..=most).contains(&value) {
                true => Ok(value as usize),
                false => Err(Fault::Damaged(reason)),
            }
        };
        let channels = within(
            0,
            1,
            MAX_CHANNELS,
            "the Shorten header declares no channels or more than 8",
        )?;
        let (mut block_size, mut most_order, mut means, mut skipped) =
            (DEFAULT_BLOCK_SIZE as usize, 0, 0, 0);
        if version > 0 {
            let low_bits = DEFAULT_BLOCK_SIZE.ilog2();
            let reason = "the Shorten header declares an impossible block size";
            block_size = within(low_bits, 1, MAX_BLOCK_SIZE, reason)?;
            let reason = "the Shorten header declares too long a predictor";
            most_order = within(ORDER_BITS, 0, MAX_ORDER, reason)?;
            let reason = "the Shorten header declares too many means";
            means = within(0, 0, MAX_MEANS, reason)?;
            let reason = "the Shorten header is too long";
            skipped = within(SKIP_BITS, 0, MAX_VERBATIM, reason)?;
        }
        let foreign = foreign(bits, skipped)?;
        Ok(Self {
            version,
            kind,
            channels,
            block_size,
            most_order,
            means,
            foreign,
        })
    }
}

/// The header of the file that was compressed: bytes that old versions skip, and what stands verbatim in front
/// of the first block.
fn foreign(bits: &mut Bits<'_>, skipped: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = bytes_of(bits, skipped, SKIPPED_BYTE_BITS)?;
    loop {
        let mut ahead = *bits;
        // A stream that ends here is judged where it is decoded.
        if unsigned(&mut ahead, 2) != Ok(super::command::VERBATIM) {
            return Ok(bytes);
        }
        bytes.extend(verbatim(&mut ahead)?);
        if bytes.len() > MAX_VERBATIM as usize {
            return Err(Fault::Damaged("the Shorten header is too long"));
        }
        *bits = ahead;
    }
}

/// Bytes of the file that was compressed, after their command.
pub(super) fn verbatim(bits: &mut Bits<'_>) -> Result<Vec<u8>, Fault> {
    let length = unsigned(bits, CHUNK_BITS)?;
    if length > MAX_VERBATIM {
        return Err(Fault::Damaged("a verbatim part of Shorten is too long"));
    }
    bytes_of(bits, length as usize, BYTE_BITS)
}

fn bytes_of(bits: &mut Bits<'_>, count: usize, low_bits: u32) -> Result<Vec<u8>, Fault> {
    // Each is there before the next: nothing is reserved on the count's word.
    let byte = |_| unsigned(bits, low_bits).map(|byte| byte as u8);
    (0..count).map(byte).collect()
}

/// A number whose `low_bits` stand after a unary part.
pub(super) fn unsigned(bits: &mut Bits<'_>, low_bits: u32) -> Result<u32, Fault> {
    let high = bits.unary(u32::MAX >> low_bits.min(31))?;
    let low = bits.read(low_bits) as u32;
    bits.check()?;
    Ok(high.checked_shl(low_bits).unwrap_or(0) | low)
}

/// A number that tells its own low bits; in version 0 they are `low_bits`.
pub(super) fn number(bits: &mut Bits<'_>, version: u8, low_bits: u32) -> Result<u32, Fault> {
    let low_bits = match version {
        0 => low_bits,
        _ => unsigned(bits, LENGTH_BITS)?,
    };
    if low_bits > 32 {
        return Err(Fault::Damaged("a number in the Shorten stream is too long"));
    }
    unsigned(bits, low_bits)
}
