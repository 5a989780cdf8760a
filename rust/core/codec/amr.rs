//! AMR-NB and AMR-WB, the codecs of mobile phones: 3GPP TS 26.071 and 26.171 ff.
//!
//! Decoded with the whole numbers of the reference decoders, so that every sample is theirs. Frames depend on all that
//! came before them, and so ranges are decoded from the beginning on.

mod fixed;
pub(crate) mod frame;
mod narrow;

use self::frame::{Band, frames};
use super::packet::{Block, PacketDecoder, damaged, not_here};
use super::params::{Codec, Params};
use crate::error::Result;

/// Frames of one packet at most: of a second are 50.
const MOST_FRAMES: usize = 1 << 12;

/// A decoder of either codec.
pub(crate) struct Decoder {
    band: Band,
    narrow: Box<narrow::Decoder>,
    planes: [Vec<f32>; 1],
}

impl Decoder {
    /// A decoder for the track that `params` describe.
    ///
    /// # Errors
    /// When it is none of AMR.
    pub(crate) fn new(params: &Params) -> Result<Self> {
        let Codec::Amr(band) = params.codec else {
            return Err(not_here(params.codec.name()));
        };
        if band == Band::Wide {
            return Err(not_here(band.name()));
        }
        Ok(Self {
            band,
            narrow: Box::default(),
            planes: [Vec::new()],
        })
    }

    fn push_frames(&mut self, packet: &[u8]) {
        let [plane] = &mut self.planes;
        for (header, bits) in frames(self.band, packet).flatten() {
            let speech = self.narrow.decode(header.kind, header.is_good, bits);
            plane.extend(speech.iter().map(|sample| f32::from(*sample) / 32768.0));
        }
    }
}

impl PacketDecoder for Decoder {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        let [plane] = &mut self.planes;
        plane.clear();
        if let Err(error) = count(self.band, packet) {
            self.reset();
            return Err(error);
        }
        self.push_frames(packet);
        Ok(Block {
            sample_rate: self.band.sample_rate(),
            channels: 1,
            planes: &self.planes,
        })
    }

    fn reset(&mut self) {
        *self.narrow = narrow::Decoder::default();
    }

    fn channels(&self) -> Option<usize> {
        Some(1)
    }
}

/// Frames in `packet`.
fn count(band: Band, packet: &[u8]) -> Result<usize> {
    let mut count = 0;
    for frame in frames(band, packet) {
        if frame.is_none() {
            let name = band.name();
            return Err(damaged(format!(
                "frame {count} of the {name} packet is none, or cut short"
            )));
        }
        count += 1;
        if count > MOST_FRAMES {
            return Err(damaged(format!(
                "an AMR packet of more than {MOST_FRAMES} frames"
            )));
        }
    }
    Ok(count)
}

/// Samples in the packet `data`.
pub(crate) fn packet_frames(params: &Params, data: &[u8]) -> Option<u64> {
    let Codec::Amr(band) = params.codec else {
        return None;
    };
    Some(count(band, data).ok()? as u64 * band.frame_samples())
}

/// What a stream of either codec is: one channel, whatever a container says.
pub(crate) fn params(band: Band) -> Params {
    Params::new(Codec::Amr(band), band.sample_rate(), Some(1))
}
