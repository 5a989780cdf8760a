//! The header of a frame: ISO/IEC 11172-3, section 2.4.1.3, and 13818-3, section 2.4.2.3; "MPEG 2.5"
//! halves the rates of the latter once more.

use crate::codec::packet::damaged;
use crate::error::{Error, Result};

/// kbit/s by version (MPEG 1, the others), layer and index: the standards' tables.
const BIT_RATES: [[[u32; 15]; 3]; 2] = [
    [
        [
            0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448,
        ],
        [
            0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
        ],
        [
            0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
        ],
    ],
    [
        [
            0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256,
        ],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ],
];
/// The four bytes in front of a frame, of a legal header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header(u32);

impl Header {
    pub(super) const BYTES: usize = 4;

    /// `None` where `word` is no header of MPEG audio.
    pub(crate) fn of(word: u32) -> Option<Self> {
        let is_legal = word >> 21 == 0x7FF
            && word >> 19 & 3 != 1
            && word >> 17 & 3 != 0
            && word >> 12 & 15 != 15
            && word >> 10 & 3 != 3;
        is_legal.then_some(Self(word))
    }

    /// # Errors
    /// No header of MPEG audio.
    pub(super) fn parse(packet: &[u8]) -> Result<Self> {
        let word = packet.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        word.and_then(Self::of)
            .ok_or_else(|| damaged("the frame has an invalid header"))
    }

    /// The four bytes.
    pub(crate) fn word(self) -> u32 {
        self.0
    }

    /// Bytes after the header that a checksum takes. It covers the side information only, and there
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
    pub(crate) fn layer(self) -> u32 {
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
    pub(crate) fn sample_rate(self) -> u32 {
        let of_mpeg1 = match self.0 >> 10 & 3 {
            0 => 44_100,
            1 => 48_000,
            _ => 32_000,
        };
        of_mpeg1 >> (self.rate_index() / 3)
    }

    pub(crate) fn channels(self) -> usize {
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

    /// In kbit/s; 0 where it is "free".
    pub(crate) fn bit_rate(self) -> u32 {
        let layers = &BIT_RATES[usize::from(!self.is_mpeg1())];
        let rates = layers.get(self.layer() as usize - 1);
        let rate = rates.and_then(|rates| rates.get((self.0 >> 12 & 15) as usize));
        rate.copied().unwrap_or(0)
    }

    /// Samples per channel that the frame holds.
    pub(crate) fn frames(self) -> u64 {
        match self.layer() {
            1 => 384,
            3 if !self.is_mpeg1() => 576,
            _ => 1152,
        }
    }

    /// Bytes of Layer III's side information.
    pub(crate) fn side_info_bytes(self) -> usize {
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
