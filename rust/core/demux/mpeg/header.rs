//! The header of a frame of MPEG audio: ISO/IEC 11172-3, section 2.4.1.3, and 13818-3, section 2.4.2.3;
//! "MPEG 2.5" halves the rates of the latter once more.

use crate::demux::frames;

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
/// Sync word, version, layer and rate.
const STREAM: u32 = 0xFFFE_0C00;

/// The four bytes, of a legal header whose bit rate is not "free".
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header(u32);

/// Whether `word` is a legal header whose bit rate is to be found by the next one.
pub(super) fn is_free_format(word: u32) -> bool {
    is_legal(word) && word >> 12 & 15 == 0
}

fn is_legal(word: u32) -> bool {
    word >> 21 == 0x7FF
        && word >> 19 & 3 != 1
        && word >> 17 & 3 != 0
        && word >> 12 & 15 != 15
        && word >> 10 & 3 != 3
}

/// Whether two words can be headers of one stream.
pub(super) fn are_alike(one: u32, other: u32) -> bool {
    let is_mono = |word: u32| word >> 6 & 3 == 3;
    (one ^ other) & STREAM == 0 && is_mono(one) == is_mono(other)
}

impl Header {
    fn is_mpeg1(self) -> bool {
        self.0 >> 19 & 3 == 3
    }

    /// 1, 2 or 3.
    pub(super) fn layer(self) -> u32 {
        4 - (self.0 >> 17 & 3)
    }

    /// In Hz.
    pub(super) fn sample_rate(self) -> u32 {
        let of_mpeg1 = match self.0 >> 10 & 3 {
            0 => 44_100,
            1 => 48_000,
            _ => 32_000,
        };
        match self.0 >> 19 & 3 {
            3 => of_mpeg1,
            2 => of_mpeg1 / 2,
            _ => of_mpeg1 / 4,
        }
    }

    pub(super) fn channels(self) -> u32 {
        if self.0 >> 6 & 3 == 3 { 1 } else { 2 }
    }

    /// In kbit/s.
    fn bit_rate(self) -> u32 {
        let layers = &BIT_RATES[usize::from(!self.is_mpeg1())];
        let rates = layers.get(self.layer() as usize - 1);
        let rate = rates.and_then(|rates| rates.get((self.0 >> 12 & 15) as usize));
        rate.copied().unwrap_or(0)
    }

    /// Samples per channel that the frame holds.
    pub(super) fn frames(self) -> u64 {
        match self.layer() {
            1 => 384,
            3 if !self.is_mpeg1() => 576,
            _ => 1152,
        }
    }

    /// Bytes of checksum and side information behind the header of a Layer III frame.
    pub(super) fn side_info(self) -> usize {
        match (self.is_mpeg1(), self.channels()) {
            (true, 1) | (false, 2) => 17,
            (true, _) => 32,
            (false, _) => 9,
        }
    }
}

impl frames::Header for Header {
    const NAME: &'static str = "MPEG audio";
    const BYTES: usize = 4;
    /// Layer II, MPEG 2.5, 160 kbit/s at 8 kHz.
    const LONGEST: usize = 2881;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = u32::from_be_bytes(*bytes.first_chunk()?);
        (is_legal(word) && !is_free_format(word)).then_some(Self(word))
    }

    fn length(&self) -> usize {
        let (rate, padding) = (self.sample_rate(), self.0 >> 9 & 1);
        let bits = 1000 * self.bit_rate();
        let bytes = match (self.layer(), self.frames()) {
            // Slots of Layer I have four bytes.
            (1, _) => 4 * (12 * bits / rate + padding),
            (_, 576) => 72 * bits / rate + padding,
            _ => 144 * bits / rate + padding,
        };
        bytes as usize
    }

    fn is_like(&self, other: &Self) -> bool {
        are_alike(self.0, other.0)
    }

    fn counts_alone(&self) -> bool {
        // Text in UTF-16 begins as a frame of Layer I does.
        self.layer() == 3
    }

    fn describe(&self) -> String {
        let (layer, rate, channels) = (self.layer(), self.sample_rate(), self.channels());
        format!("Layer {layer} of {rate} Hz and {channels} channel(s)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::demux::frames::Header as _;

    fn header(word: u32) -> Header {
        Header::parse(&word.to_be_bytes()).unwrap()
    }

    #[test]
    fn lengths_are_those_of_known_files() {
        // (header, bytes, samples): what encoders write at these rates.
        for (word, bytes, frames) in [
            (0xFFFB_9064_u32, 417, 1152), // MPEG 1 Layer III, 128 kbit/s, 44.1 kHz
            (0xFFFB_9264, 418, 1152),
            (0xFFF3_48C4, 144, 576),  // MPEG 2 Layer III, 32 kbit/s, 16 kHz
            (0xFFE3_18C4, 72, 576),   // MPEG 2.5 Layer III, 8 kbit/s, 8 kHz
            (0xFFFD_A400, 576, 1152), // MPEG 1 Layer II, 192 kbit/s, 48 kHz
            (0xFFFF_C400, 384, 384),  // MPEG 1 Layer I, 384 kbit/s, 48 kHz
        ] {
            assert_eq!(
                (header(word).length(), header(word).frames()),
                (bytes, frames)
            );
        }
    }

    #[test]
    fn every_legal_frame_is_longer_than_its_header_and_no_longer_than_the_longest() {
        for word in (0xFFE0_0000u32..=0xFFFF_FFFF).step_by(64) {
            if let Some(header) = Header::parse(&word.to_be_bytes()) {
                assert!(
                    (24..=Header::LONGEST).contains(&header.length()),
                    "{word:x}"
                );
            }
        }
    }
}
