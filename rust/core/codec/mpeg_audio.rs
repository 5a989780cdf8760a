//! MPEG audio, Layers I, II and III, of MPEG 1, MPEG 2 and "MPEG 2.5": ISO/IEC 11172-3 and 13818-3.
//!
//! A packet is one frame, its header included. Where only the mean of two channels is wanted, they are
//! mixed in front of the filters, which are linear: one channel's work is left, and the lines of
//! the difference that joint stereo codes are not even read.

mod bands;
mod codebooks;
mod grid;
mod header;
mod huffman;
mod hybrid;
mod layer12;
mod layer3;
mod lengths;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod oracle;
mod requantize;
mod scale_factors;
mod side_info;
mod simd;
mod stereo;
mod synthesis;
mod window;

use crate::codec::packet::{Block, PacketDecoder};
use crate::error::Result;
pub(crate) use header::Header;
use header::too_short;
use layer3::{Filters, Layer3};
pub(crate) use lengths::{layer3_preroll_frames, packet_frames};

/// A decoder of any of the three layers.
#[derive(Clone, Default)]
pub(crate) struct Decoder {
    layer3: Layer3,
    planes: Vec<Plane>,
    /// The last block, in memory that is used again.
    block: Vec<Vec<f32>>,
    is_mean: bool,
}

/// One plane of samples, and the filters that make it.
#[derive(Clone, Default)]
struct Plane {
    filters: Filters,
    samples: Vec<f32>,
}

impl Plane {
    /// The samples of the granule that the hybrid filter bank has ready.
    #[inline(always)]
    fn synthesize<const FUSED: bool>(&mut self) {
        let Filters { hybrid, synthesis } = &mut self.filters;
        synthesis.run::<FUSED>(hybrid.present(), &mut self.samples);
        hybrid.advance();
    }
}

impl PacketDecoder for Decoder {
    /// Decodes one frame. What later frames take from it is its main data, whatever became of it: after
    /// an error, too, their samples do not depend on where decoding began.
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        let header = Header::parse(packet)?;
        let count = if self.is_mean { 1 } else { header.channels() };
        self.planes.resize_with(count, Plane::default);
        for plane in &mut self.planes {
            plane.samples.clear();
        }
        if let Err(error) = simd::decode(self, packet) {
            self.planes.clear();
            return Err(error);
        }
        self.block.resize_with(count, Vec::new);
        for (block, plane) in self.block.iter_mut().zip(&mut self.planes) {
            std::mem::swap(block, &mut plane.samples);
        }
        Ok(Block {
            sample_rate: header.sample_rate(),
            channels: header.channels(),
            planes: &self.block,
        })
    }

    fn reset(&mut self) {
        self.layer3.reset();
        self.planes.clear();
    }

    fn set_mono(&mut self, mono: bool) {
        self.is_mean = mono;
    }
}

impl Decoder {
    #[inline(always)]
    fn decode_frame<const FUSED: bool>(&mut self, packet: &[u8]) -> Result<()> {
        let header = Header::parse(packet)?;
        let begin = Header::BYTES + header.checksum_bytes();
        let frame = packet.get(begin..).ok_or_else(too_short)?;
        match header.layer() {
            3 => self.layer3.decode::<FUSED>(header, frame, &mut self.planes),
            _ => layer12::decode::<FUSED>(header, frame, &mut self.planes),
        }
    }
}
