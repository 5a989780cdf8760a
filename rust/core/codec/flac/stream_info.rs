//! STREAMINFO, the header of a FLAC stream: RFC 9639, section 8.2.

use crate::error::{Error, Result};

/// What the header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamInfo {
    /// Samples per channel in the shortest block but the last, and in the longest; 0 where not told.
    pub(crate) min_block: u32,
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
    pub(crate) fn parse(bytes: &[u8; 34]) -> Option<Self> {
        let number = |at: usize, length: usize| {
            let bytes = bytes.get(at..at + length).unwrap_or_default();
            bytes
                .iter()
                .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let packed = number(10, 8);
        let info = Self {
            min_block: number(0, 2) as u32,
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

    /// The 34 bytes of a block that tells as much, sizes of frames and blocks left open.
    pub(crate) fn to_bytes(self) -> [u8; 34] {
        let mut bytes = [0; 34];
        bytes[..4].copy_from_slice(&[0, 16, 0xFF, 0xFF]);
        let packed = u64::from(self.sample_rate) << 44
            | u64::from(self.channels - 1) << 41
            | u64::from(self.bits - 1) << 36
            | self.frames;
        bytes[10..18].copy_from_slice(&packed.to_be_bytes());
        bytes[18..].copy_from_slice(&self.md5);
        bytes
    }

    pub(crate) fn check(self) -> Result<Self> {
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
