//! What stands in front of the frames: RFC 9639, section 8, and the tags that others put before it.

use crate::error::{Error, Result};
use crate::source::Source;

/// Metadata blocks and tags that are passed over at most: each costs a read.
const MAX_BLOCKS: u32 = 4096;

/// STREAMINFO, section 8.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamInfo {
    /// Samples per channel in the longest block.
    pub(crate) max_block: u32,
    /// The largest frame in bytes; 0: not told.
    pub(crate) max_frame_bytes: u32,
    pub(crate) sample_rate: u32,
    pub(crate) channels: u32,
    pub(crate) bits: u32,
    /// Samples per channel; 0: not told.
    pub(crate) frames: u64,
    /// All zeros: not told.
    pub(crate) md5: [u8; 16],
}

impl StreamInfo {
    /// The 34 bytes of the block.
    pub(super) fn parse(bytes: &[u8; 34]) -> Option<Self> {
        let number = |at: usize, length: usize| {
            let bytes = bytes.get(at..at + length).unwrap_or_default();
            bytes
                .iter()
                .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let packed = number(10, 8);
        let info = Self {
            max_block: number(2, 2) as u32,
            max_frame_bytes: number(7, 3) as u32,
            sample_rate: (packed >> 44) as u32,
            channels: (packed >> 41 & 7) as u32 + 1,
            bits: (packed >> 36 & 31) as u32 + 1,
            frames: packed & ((1 << 36) - 1),
            md5: *bytes.last_chunk()?,
        };
        Some(info)
    }

    pub(super) fn check(self) -> Result<Self> {
        let reason = match self {
            Self { sample_rate: 0, .. } => "the FLAC header declares a rate of 0 Hz".to_owned(),
            Self { bits: ..4, .. } => {
                format!("the FLAC header declares {} bits a sample", self.bits)
            }
            _ => return Ok(self),
        };
        Err(Error::corrupt(reason))
    }
}

/// Where `fLaC` stands, at the start or behind ID3v2 tags; `None` when this is no native FLAC.
pub(super) fn sniff(source: &mut Source<'_>) -> Result<Option<u64>> {
    let (mut scratch, mut at) = (Vec::new(), 0);
    for _ in 0..MAX_BLOCKS {
        let head = source.bytes_at(at, 10, &mut scratch)?;
        if head.starts_with(b"fLaC") {
            return Ok(Some(at));
        }
        let &[b'I', b'D', b'3', _, _, flags, a, b, c, d] = head else {
            return Ok(None);
        };
        // ID3v2.4, section 3.1: seven bits a byte, header and footer not counted.
        let size = [a, b, c, d]
            .iter()
            .fold(0u64, |sum, byte| sum << 7 | u64::from(byte & 0x7F));
        at += 10 + size + if flags & 0x10 != 0 { 10 } else { 0 };
    }
    Ok(None)
}

/// Reads STREAMINFO behind the `fLaC` at `at`, and where the first frame begins.
pub(super) fn read(source: &mut Source<'_>, mut at: u64) -> Result<(StreamInfo, u64)> {
    let mut scratch = Vec::new();
    let head: Option<&[u8; 42]> = source.bytes_at(at, 42, &mut scratch)?.first_chunk();
    let first = at + 4;
    let Some(head) = head else {
        let reason = "the file ends inside of the FLAC header: it was cut short";
        return Err(Error::corrupt(reason).at_byte(first));
    };
    let info = head.last_chunk().and_then(StreamInfo::parse);
    let Some(info) = info.filter(|_| head[4] & 0x7F == 0 && head[5..8] == [0, 0, 34]) else {
        return Err(Error::corrupt("the FLAC file does not begin with STREAMINFO").at_byte(first));
    };
    let info = info.check().map_err(|error| error.at_byte(first))?;
    let mut is_last = head[4] >> 7 == 1;
    at += 42;
    for _ in 0..MAX_BLOCKS {
        if is_last {
            return Ok((info, at));
        }
        let Some([kind, a, b, c]) = source.bytes_at(at, 4, &mut scratch)?.first_chunk() else {
            let reason = "the file ends inside of the FLAC header: it was cut short";
            return Err(Error::corrupt(reason).at_byte(at));
        };
        if kind & 0x7F == 0x7F {
            return Err(Error::corrupt("a FLAC metadata block is of a forbidden type").at_byte(at));
        }
        is_last = kind >> 7 == 1;
        at += 4 + u64::from(u32::from_be_bytes([0, *a, *b, *c]));
        if at > source.len() {
            let reason = "the file ends inside of the FLAC header: it was cut short";
            return Err(Error::corrupt(reason).at_byte(source.len()));
        }
    }
    Err(Error::corrupt("the FLAC file has too many metadata blocks").at_byte(at))
}
