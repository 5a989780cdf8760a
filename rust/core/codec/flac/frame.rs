//! One frame's bytes to planes of integers: RFC 9639, section 9.

use super::Fault;
use super::bits::Bits;
use super::crc::crc16;
use super::header::{FrameHeader, Stereo};
use super::predict::PAD;
use super::stream_info::StreamInfo;
use super::subframe;

/// Decodes frames one by one into planes of its own.
pub(crate) struct FrameDecoder {
    info: StreamInfo,
    /// Channel by channel as stored, [`PAD`] zeros in front.
    planes: Vec<Vec<i32>>,
    /// The side channel of 32-bit stereo: 33 bits.
    side: Vec<i64>,
    stereo: Stereo,
}

/// What is known of a frame that was decoded; its samples lie in the decoder.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    /// Length of the frame, checksum and all.
    pub(crate) bytes: usize,
}

/// The samples of one block, before stereo is put together.
pub(crate) enum Block<'d> {
    /// Each channel as it is.
    Channels(&'d [Vec<i32>]),
    /// Two channels that [`Stereo`] tells how to put together.
    Pair(Stereo, &'d [i32], &'d [i32]),
    /// Likewise; the one that is not the side channel, and the side channel.
    WidePair(Stereo, &'d [i32], &'d [i64]),
}

impl FrameDecoder {
    pub(crate) fn new(info: &StreamInfo) -> Self {
        Self {
            info: *info,
            planes: vec![Vec::new(); info.channels as usize],
            side: Vec::new(),
            stereo: Stereo::Independent,
        }
    }

    /// Decodes the frame at the start of `bytes`, which may continue after it.
    ///
    /// # Errors
    /// [`Fault::Short`] when `bytes` ends inside of the frame; everything else is damage.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<Frame, Fault> {
        let header = FrameHeader::parse(bytes)?;
        header.check(&self.info)?;
        let body = bytes.get(header.bytes..).unwrap_or_default();
        let mut bits = Bits::new(body);
        self.subframes(&mut bits, &header)?;
        let length = header.bytes + bits.align()? + 2;
        let frame = bytes.get(..length).ok_or(Fault::Short)?;
        if crc16(frame) != 0 {
            return Err(Fault::Damaged("the checksum of a frame is wrong"));
        }
        Ok(Frame {
            header,
            bytes: length,
        })
    }

    fn subframes(&mut self, bits: &mut Bits<'_>, header: &FrameHeader) -> Result<(), Fault> {
        self.stereo = header.stereo;
        let length = PAD + header.block_size as usize;
        for (channel, plane) in self.planes.iter_mut().enumerate() {
            let is_side = match header.stereo {
                Stereo::Independent => false,
                Stereo::LeftSide | Stereo::MidSide => channel == 1,
                Stereo::SideRight => channel == 0,
            };
            let depth = self.info.bits + u32::from(is_side);
            if depth > 32 {
                self.side.resize(length, 0);
                subframe::decode(bits, depth, &mut self.side)?;
            } else {
                plane.resize(length, 0);
                subframe::decode(bits, depth, plane)?;
            }
        }
        Ok(())
    }

    /// The samples of the frame that was decoded last.
    pub(crate) fn block(&self) -> Block<'_> {
        let plane = |channel: usize| self.planes.get(channel).map_or(&[][..], |p| samples(p));
        let wide = samples(&self.side);
        match (self.stereo, self.info.bits) {
            (Stereo::Independent, _) => Block::Channels(&self.planes),
            (stereo @ Stereo::SideRight, 32) => Block::WidePair(stereo, plane(1), wide),
            (stereo, 32) => Block::WidePair(stereo, plane(0), wide),
            (stereo, _) => Block::Pair(stereo, plane(0), plane(1)),
        }
    }
}

/// A plane without its padding.
pub(crate) fn samples<S>(plane: &[S]) -> &[S] {
    plane.get(PAD..).unwrap_or_default()
}

impl Stereo {
    /// Left and right of what is stored first and second (RFC 9639, section 4.2).
    #[inline(always)]
    pub(crate) fn join(self, first: i32, second: i32) -> (i32, i32) {
        match self {
            Self::Independent => (first, second),
            Self::LeftSide => (first, first.wrapping_sub(second)),
            Self::SideRight => (first.wrapping_add(second), second),
            Self::MidSide => {
                let twice = first << 1 | second & 1;
                (
                    twice.wrapping_add(second) >> 1,
                    twice.wrapping_sub(second) >> 1,
                )
            }
        }
    }

    /// The same with a side channel of 33 bits, wherever that is stored.
    pub(crate) fn join_wide(self, other: i32, side: i64) -> (i32, i32) {
        let other = i64::from(other);
        let (left, right) = match self {
            Self::Independent => (other, side),
            Self::LeftSide => (other, other - side),
            Self::SideRight => (other + side, other),
            Self::MidSide => {
                let twice = other << 1 | side & 1;
                ((twice + side) >> 1, (twice - side) >> 1)
            }
        };
        (left as i32, right as i32)
    }
}
