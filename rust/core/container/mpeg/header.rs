//! Headers of MPEG audio as marks of frames: how long these are, and what belongs to one stream.

use std::ops::Deref;

use crate::codec::mpeg_audio;
use crate::codec::params::{Codec, Params};
use crate::container::frames;
use crate::error::Result;

/// Sync word, version, layer and rate.
const STREAM: u32 = 0xFFFE_0C00;

/// A header, and how long its frame is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    header: mpeg_audio::Header,
    /// Bytes of a frame without padding where the bit rate is "free": the same in all of a stream, and told by
    /// nothing but where the next header lies (ISO/IEC 11172-3, section 2.4.2.3).
    free_length: usize,
}

impl Header {
    /// A header of a free bit rate; `next` is a header of the same stream `distance` bytes after it.
    pub(super) fn of_free(word: u32, next: u32, distance: usize) -> Option<Self> {
        let free = |word| mpeg_audio::Header::of(word).filter(|header| header.bit_rate() == 0);
        let (header, _) = (free(word)?, free(next)?);
        let new = Self {
            header,
            free_length: 0,
        };
        let free_length = distance.checked_sub(new.padding())?;
        let is_one = are_alike(word, next) && free_length > 4;
        is_one.then_some(Self { free_length, ..new })
    }

    /// Bytes of the slot that some frames have more than others.
    fn padding(&self) -> usize {
        let slot = if self.layer() == 1 { 4 } else { 1 };
        slot * (self.word() >> 9 & 1) as usize
    }
}

/// Whether two words can be headers of one stream. Its channels may change from frame to frame: a decoder
/// goes on with what it has of the bit reservoir.
fn are_alike(one: u32, other: u32) -> bool {
    (one ^ other) & STREAM == 0
}

impl Deref for Header {
    type Target = mpeg_audio::Header;

    fn deref(&self) -> &Self::Target {
        &self.header
    }
}

impl frames::Header for Header {
    const NAME: &'static str = "MPEG audio";
    const BYTES: usize = 4;
    /// Layer II, MPEG 2.5, 160 kbit/s at 8 kHz.
    const LONGEST: usize = 2881;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let header = mpeg_audio::Header::of(u32::from_be_bytes(*bytes.first_chunk()?))?;
        (header.bit_rate() > 0).then_some(Self {
            header,
            free_length: 0,
        })
    }

    fn parse_like(bytes: &[u8], like: &Self) -> Option<Self> {
        let header = mpeg_audio::Header::of(u32::from_be_bytes(*bytes.first_chunk()?))?;
        // Only of one rate and layer: elsewhere the same time takes another number of bytes.
        let is_free = like.free_length > 0 && are_alike(header.word(), like.word());
        match header.bit_rate() {
            0 => is_free.then_some(Self { header, ..*like }),
            _ => Self::parse(bytes),
        }
    }

    fn length(&self) -> usize {
        if self.free_length > 0 && self.bit_rate() == 0 {
            return self.free_length + self.padding();
        }
        let rate = self.sample_rate();
        let bits = 1000 * self.bit_rate();
        let bytes = match (self.layer(), self.frames()) {
            // Slots of Layer I have four bytes.
            (1, _) => 4 * (12 * bits / rate),
            (_, 576) => 72 * bits / rate,
            _ => 144 * bits / rate,
        };
        bytes as usize + self.padding()
    }

    fn samples(&self) -> u64 {
        self.frames()
    }

    fn channels(&self) -> usize {
        self.header.channels()
    }

    fn is_like(&self, other: &Self) -> bool {
        are_alike(self.word(), other.word())
    }

    fn counts_alone(&self) -> bool {
        // Text in UTF-16 begins as a frame of Layer I does.
        self.layer() == 3
    }

    fn params(&self) -> Result<Params> {
        let codec = match self.layer() {
            1 => Codec::Mp1,
            2 => Codec::Mp2,
            _ => Codec::Mp3,
        };
        let channels = Some(self.header.channels());
        Ok(Params::new(codec, self.sample_rate(), channels))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::container::frames::Header as _;

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
