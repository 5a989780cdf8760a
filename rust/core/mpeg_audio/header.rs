//! What decoding needs of a frame's header: ISO/IEC 11172-3, section 2.4.1.3, and 13818-3, 2.4.2.3.

use crate::codec::damaged;
use crate::error::{Error, Result};

/// kbit/s of Layer II by `bitrate_index`, of MPEG 1.
const LAYER2_RATES: [u32; 15] = [
    0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
];

/// The four bytes in front of a frame, of a legal header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header(u32);

impl Header {
    pub(super) const BYTES: usize = 4;

    /// # Errors
    /// No header of MPEG audio.
    pub(super) fn parse(packet: &[u8]) -> Result<Self> {
        let word = packet.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let is_legal = |word: &u32| {
            word >> 21 == 0x7FF
                && word >> 19 & 3 != 1
                && word >> 17 & 3 != 0
                && word >> 12 & 15 != 15
                && word >> 10 & 3 != 3
        };
        let word = word.filter(is_legal);
        Ok(Self(
            word.ok_or_else(|| damaged("the frame has no legal header"))?,
        ))
    }

    /// Bytes behind the header that a checksum takes. It covers the side information only, and there
    /// are encoders that get it wrong: players do not look at it, and nor do we.
    pub(super) fn checksum_bytes(self) -> usize {
        if self.0 >> 16 & 1 == 0 { 2 } else { 0 }
    }

    pub(super) fn is_mpeg1(self) -> bool {
        self.0 >> 19 & 3 == 3
    }

    fn is_mpeg25(self) -> bool {
        self.0 >> 19 & 3 == 0
    }

    /// 1, 2 or 3.
    pub(super) fn layer(self) -> u32 {
        4 - (self.0 >> 17 & 3)
    }

    /// Place of the rate in tables: 44.1, 48 and 32 kHz, their halves and their quarters.
    pub(super) fn rate_index(self) -> usize {
        let of_version = match (self.is_mpeg1(), self.is_mpeg25()) {
            (true, _) => 0,
            (_, true) => 6,
            _ => 3,
        };
        of_version + (self.0 >> 10 & 3) as usize
    }

    /// In Hz.
    pub(super) fn sample_rate(self) -> u32 {
        let of_mpeg1 = match self.0 >> 10 & 3 {
            0 => 44_100,
            1 => 48_000,
            _ => 32_000,
        };
        of_mpeg1 >> (self.rate_index() / 3)
    }

    pub(super) fn channels(self) -> usize {
        if self.0 >> 6 & 3 == 3 { 1 } else { 2 }
    }

    pub(super) fn granules(self) -> usize {
        if self.is_mpeg1() { 2 } else { 1 }
    }

    fn is_joint(self) -> bool {
        self.0 >> 6 & 3 == 1
    }

    /// Whether the channels of Layer III are their sum and their difference.
    pub(super) fn has_mid_side(self) -> bool {
        self.is_joint() && self.0 >> 5 & 1 == 1
    }

    /// Whether the channels of Layer III share their upper bands.
    pub(super) fn has_intensity(self) -> bool {
        self.is_joint() && self.0 >> 4 & 1 == 1
    }

    /// The first subband that the channels of Layers I and II share.
    pub(super) fn bound(self) -> usize {
        match self.is_joint() {
            true => 4 * (1 + (self.0 >> 4 & 3) as usize),
            false => 32,
        }
    }

    /// kbit/s for each channel of Layer II, MPEG 1.
    pub(super) fn layer2_rate(self) -> u32 {
        let rate = LAYER2_RATES.get((self.0 >> 12 & 15) as usize);
        rate.copied().unwrap_or(0) / self.channels() as u32
    }

    /// Bytes of Layer III's side information.
    pub(super) fn side_info_bytes(self) -> usize {
        match (self.is_mpeg1(), self.channels()) {
            (true, 1) | (false, 2) => 17,
            (true, _) => 32,
            (false, _) => 9,
        }
    }
}

/// A packet that is too short for what its header promises.
pub(super) fn too_short() -> Error {
    damaged("the frame ends too early")
}
