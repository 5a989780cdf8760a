//! GSM 06.10 full rate: 160 samples in 260 bits, alone or in Microsoft's blocks of two frames.
//!
//! The decoder's arithmetic is fixed by the standard to the bit, saturation included. What a frame decodes to depends
//! on all before it.
//! Format: ETSI EN 300 961 (GSM 06.10 version 8.1.1), and RFC 3551, section 4.5.8.1, for the packing; Microsoft's
//! packing is that of its codec for the format tag 0x0031.

mod frame;
mod synthesis;

use self::frame::{Frame, LeastFirst, MostFirst};
use self::synthesis::State;
use crate::codec::packet::damaged;
use crate::error::Result;

/// Samples of a frame.
pub(crate) const FRAME_SAMPLES: usize = 160;
/// A frame's upper four bits where it lies alone.
const MARK: u8 = 0xD;

/// How frames are laid out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Packing {
    /// One frame in 33 bytes, with a mark, the most significant bit first.
    Plain,
    /// Two frames in 65 bytes, the least significant bit first.
    Microsoft,
}

impl Packing {
    /// FFmpeg's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "gsm",
            Self::Microsoft => "gsm_ms",
        }
    }

    pub(crate) fn block_bytes(self) -> u64 {
        match self {
            Self::Plain => 33,
            Self::Microsoft => 65,
        }
    }

    /// Samples of a block of `bytes`; a part of a block has none.
    pub(crate) fn frames(self, bytes: u64) -> u64 {
        let frames = match self {
            Self::Plain => 1,
            Self::Microsoft => 2,
        };
        (bytes / self.block_bytes()).min(1) * frames * FRAME_SAMPLES as u64
    }
}

/// A decoder of one stream.
pub(crate) struct Decoder {
    packing: Packing,
    state: State,
    samples: Vec<i16>,
}

impl Decoder {
    pub(crate) fn new(packing: Packing) -> Self {
        Self {
            packing,
            state: State::default(),
            samples: Vec::new(),
        }
    }

    /// The samples of one whole block.
    ///
    /// # Errors
    /// A plain frame without its mark; then the decoder is as it was.
    pub(crate) fn decode(&mut self, block: &[u8]) -> Result<&[i16]> {
        self.samples.clear();
        match (self.packing, block.first()) {
            (Packing::Microsoft, _) => {
                let mut bits = LeastFirst::new(block);
                for _ in 0..2 {
                    let frame = Frame::read(|count| bits.read(count));
                    self.samples.extend(self.state.decode(&frame));
                }
            }
            (Packing::Plain, Some(first)) if first >> 4 == MARK => {
                let mut bits = MostFirst::new(block, 4);
                let frame = Frame::read(|count| bits.read(count));
                self.samples.extend(self.state.decode(&frame));
            }
            _ => return Err(damaged("a frame of GSM 06.10 does not begin with 0xD")),
        }
        Ok(&self.samples)
    }
}
