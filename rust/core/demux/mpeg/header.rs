//! Headers of MPEG audio as marks of frames: how long these are, and what belongs to one stream.

use std::ops::Deref;

use crate::demux::frames;
use crate::mpeg_audio;

/// Sync word, version, layer and rate.
const STREAM: u32 = 0xFFFE_0C00;

/// A header whose bit rate is not "free".
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header(mpeg_audio::Header);

/// Whether `word` is a legal header whose bit rate is to be found by the next one.
pub(super) fn is_free_format(word: u32) -> bool {
    mpeg_audio::Header::of(word).is_some_and(|header| header.bit_rate() == 0)
}

/// Whether two words can be headers of one stream.
pub(super) fn are_alike(one: u32, other: u32) -> bool {
    let is_mono = |word: u32| word >> 6 & 3 == 3;
    (one ^ other) & STREAM == 0 && is_mono(one) == is_mono(other)
}

impl Deref for Header {
    type Target = mpeg_audio::Header;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl frames::Header for Header {
    const NAME: &'static str = "MPEG audio";
    const BYTES: usize = 4;
    /// Layer II, MPEG 2.5, 160 kbit/s at 8 kHz.
    const LONGEST: usize = 2881;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let header = mpeg_audio::Header::of(u32::from_be_bytes(*bytes.first_chunk()?));
        header.filter(|header| header.bit_rate() > 0).map(Self)
    }

    fn length(&self) -> usize {
        let (rate, padding) = (self.sample_rate(), self.word() >> 9 & 1);
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
        are_alike(self.word(), other.word())
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
