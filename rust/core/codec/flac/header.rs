//! The header of a frame: RFC 9639, section 9.1.

use super::Fault;
use super::crc::crc8;
use super::stream_info::StreamInfo;

/// No header is longer: 4 bytes, a number of 7, a block size of 2, a rate of 2 and the checksum.
pub(crate) const MAX_HEADER_BYTES: usize = 16;

/// How the channels of a frame are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stereo {
    Independent,
    LeftSide,
    SideRight,
    MidSide,
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// The number is that of the first sample, not of the frame.
    pub(crate) variable: bool,
    /// The frame's number, or its first sample's.
    pub(crate) number: u64,
    /// Frames (samples per channel) in this block.
    pub(crate) block_size: u32,
    /// `None`: as in STREAMINFO.
    pub(crate) sample_rate: Option<u32>,
    /// `None`: as in STREAMINFO.
    pub(crate) bits: Option<u32>,
    pub(crate) channels: u32,
    pub(crate) stereo: Stereo,
    /// Length of the header in bytes.
    pub(crate) bytes: usize,
}

impl FrameHeader {
    /// Reads the header at the start of `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut fields = Fields(bytes, 0);
        let (sync, kind) = (fields.byte()?, fields.byte()?);
        if sync != 0xFF || kind & 0xFE != 0xF8 {
            return Err(Fault::Damaged("no FLAC frame begins here"));
        }
        let (sizes, layout) = (fields.byte()?, fields.byte()?);
        let variable = kind & 1 == 1;
        let (channels, stereo) = channel_layout(layout >> 4)?;
        let bits = depth(layout >> 1 & 7)?;
        if layout & 1 != 0 {
            return Err(Fault::Damaged("a reserved bit is set in a frame's header"));
        }
        let number = fields.number(if variable { 7 } else { 6 })?;
        let block_size = block_size(sizes >> 4, &mut fields)?;
        let sample_rate = sample_rate(sizes & 15, &mut fields)?;
        let covered = fields.1;
        if fields.byte()? != crc8(bytes.get(..covered).unwrap_or_default()) {
            return Err(Fault::Damaged("the checksum of a frame's header is wrong"));
        }
        Ok(Self {
            variable,
            number,
            block_size,
            sample_rate,
            bits,
            channels,
            stereo,
            bytes: covered + 1,
        })
    }

    /// # Errors
    /// When the frame is of another rate, depth or number of channels than the stream.
    pub(crate) fn check(&self, info: &StreamInfo) -> Result<(), Fault> {
        let changed = |what, from, to| Err(Fault::Changed { what, from, to });
        match (self.sample_rate, self.bits) {
            (Some(rate), _) if rate != info.sample_rate => changed("Hz", info.sample_rate, rate),
            (_, Some(bits)) if bits != info.bits => changed("bits", info.bits, bits),
            _ if self.channels != info.channels => {
                changed("channels", info.channels, self.channels)
            }
            _ => Ok(()),
        }
    }
}

/// Bytes in order, and how many were taken.
struct Fields<'a>(&'a [u8], usize);

impl Fields<'_> {
    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = self.0.get(self.1).ok_or(Fault::Short)?;
        self.1 += 1;
        Ok(*byte)
    }

    fn word(&mut self) -> Result<u32, Fault> {
        Ok(u32::from(self.byte()?) << 8 | u32::from(self.byte()?))
    }

    /// A number in the extended UTF-8 of section 9.1.5, of at most `most` bytes.
    fn number(&mut self, most: u32) -> Result<u64, Fault> {
        let first = self.byte()?;
        let bytes = match first.leading_ones() {
            0 => return Ok(u64::from(first)),
            ones if ones >= 2 && ones <= most => ones,
            _ => return Err(Fault::Damaged("a frame's number is coded wrongly")),
        };
        let mut number = u64::from(first) & (0x7F >> bytes);
        for _ in 1..bytes {
            let byte = self.byte()?;
            if byte >> 6 != 0b10 {
                return Err(Fault::Damaged("a frame's number is coded wrongly"));
            }
            number = number << 6 | u64::from(byte & 0x3F);
        }
        Ok(number)
    }
}

fn channel_layout(code: u8) -> Result<(u32, Stereo), Fault> {
    Ok(match code {
        0..=7 => (u32::from(code) + 1, Stereo::Independent),
        8 => (2, Stereo::LeftSide),
        9 => (2, Stereo::SideRight),
        10 => (2, Stereo::MidSide),
        _ => {
            return Err(Fault::Damaged(
                "a frame's channels are coded by a reserved number",
            ));
        }
    })
}

fn depth(code: u8) -> Result<Option<u32>, Fault> {
    Ok(Some(match code {
        0 => return Ok(None),
        1 => 8,
        2 => 12,
        4 => 16,
        5 => 20,
        6 => 24,
        7 => 32,
        _ => {
            return Err(Fault::Damaged(
                "a frame's depth is coded by a reserved number",
            ));
        }
    }))
}

fn block_size(code: u8, fields: &mut Fields<'_>) -> Result<u32, Fault> {
    Ok(match code {
        0 => {
            return Err(Fault::Damaged(
                "a frame's size is coded by a reserved number",
            ));
        }
        1 => 192,
        2..=5 => 144 << code,
        6 => u32::from(fields.byte()?) + 1,
        7 => fields.word()? + 1,
        _ => 1 << code,
    })
}

fn sample_rate(code: u8, fields: &mut Fields<'_>) -> Result<Option<u32>, Fault> {
    const RATES: [u32; 11] = [
        88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000,
    ];
    Ok(Some(match code {
        0 => return Ok(None),
        12 => u32::from(fields.byte()?) * 1000,
        13 => fields.word()?,
        14 => fields.word()? * 10,
        code => match RATES.get(usize::from(code) - 1) {
            Some(rate) => *rate,
            None => {
                return Err(Fault::Damaged(
                    "a frame's rate is coded by a forbidden number",
                ));
            }
        },
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.push(crc8(&bytes));
        bytes
    }

    fn parsed(bytes: &[u8]) -> FrameHeader {
        FrameHeader::parse(&with_checksum(bytes.to_vec())).unwrap()
    }

    #[test]
    fn block_sizes_follow_the_table_of_the_rfc() {
        let size = |code: u8, rest: &[u8]| {
            parsed(&[&[0xFF, 0xF8, code << 4, 0, 5], rest].concat()).block_size
        };
        for (code, frames) in [
            (1, 192),
            (2, 576),
            (3, 1152),
            (4, 2304),
            (5, 4608),
            (8, 256),
            (12, 4096),
            (15, 32768),
        ] {
            assert_eq!(size(code, &[]), frames);
        }
        assert_eq!(size(6, &[191]), 192);
        assert_eq!(size(7, &[0x12, 0x33]), 0x1234);
    }

    #[test]
    fn rates_depths_and_channels_follow_the_tables_of_the_rfc() {
        let rate = |code: u8, rest: &[u8]| {
            parsed(&[&[0xFF, 0xF8, 0x10 | code, 0, 5], rest].concat()).sample_rate
        };
        assert_eq!(rate(0, &[]), None);
        assert_eq!(rate(5, &[]), Some(16_000));
        assert_eq!(rate(9, &[]), Some(44_100));
        assert_eq!(rate(11, &[]), Some(96_000));
        assert_eq!(rate(12, &[48]), Some(48_000));
        assert_eq!(rate(13, &[0xAC, 0x44]), Some(44_100));
        assert_eq!(rate(14, &[0x4B, 0x00]), Some(192_000));
        let layout = |byte: u8| parsed(&[0xFF, 0xF8, 0x19, byte, 5]);
        assert_eq!((layout(0x7C).channels, layout(0x7C).bits), (8, Some(24)));
        assert_eq!(
            (layout(0xAE).stereo, layout(0xAE).bits),
            (Stereo::MidSide, Some(32))
        );
    }

    #[test]
    fn numbers_are_coded_as_in_utf_8_and_beyond() {
        let number =
            |kind: u8, coded: &[u8]| parsed(&[&[0xFF, kind, 0x19, 0], coded].concat()).number;
        assert_eq!(number(0xF8, &[0x7F]), 0x7F);
        assert_eq!(number(0xF8, "é".as_bytes()), u64::from(u32::from('é')));
        assert_eq!(number(0xF8, "€".as_bytes()), u64::from(u32::from('€')));
        assert_eq!(
            number(0xF8, &[0xFD, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF]),
            (1 << 31) - 1
        );
        assert_eq!(
            number(0xF9, &[0xFE, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF]),
            (1 << 36) - 1
        );
        for coded in [
            &[0x80][..],
            &[0xFF, 0x80],
            &[0xC2, 0x00],
            &[0xFE, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF],
        ] {
            let bytes = with_checksum([&[0xFF, 0xF8, 0x19, 0], coded].concat());
            assert!(matches!(FrameHeader::parse(&bytes), Err(Fault::Damaged(_))));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let bytes = with_checksum(vec![0xFF, 0xF8, 0x79, 0x18, 0xE2, 0x82, 0xAC, 0x12, 0x33]);
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            assert!(FrameHeader::parse(&flipped).is_err());
        }
    }
}
