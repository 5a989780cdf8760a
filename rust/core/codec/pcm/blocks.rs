//! Blocks of ADPCM as packets.

use crate::codec::adpcm::{Adpcm, MAX_CHANNELS};
use crate::codec::packet::{Block, PacketDecoder, not_here};
use crate::codec::params::{Codec, Params};
use crate::codec::sample::S16;
use crate::error::Result;

/// One block a packet; nothing goes from one to the next.
pub(crate) struct Decoder {
    kind: Adpcm,
    sample_rate: u32,
    channels: usize,
    samples: Vec<i16>,
    planes: Vec<Vec<f32>>,
}

impl Decoder {
    /// A decoder for the track that `params` describe.
    ///
    /// # Errors
    /// When it is no ADPCM, or has no channels or too many.
    pub(crate) fn new(params: &Params) -> Result<Self> {
        let Codec::Adpcm(kind, _) = params.codec else {
            return Err(not_here(params.codec.name()));
        };
        let channels = params.channels.unwrap_or(0);
        if !(1..=MAX_CHANNELS as usize).contains(&channels) {
            return Err(not_here(format_args!(
                "{} of {channels} channels",
                kind.name()
            )));
        }
        Ok(Self {
            kind,
            sample_rate: params.sample_rate,
            channels,
            samples: Vec::new(),
            planes: vec![Vec::new(); channels],
        })
    }
}

impl PacketDecoder for Decoder {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        self.kind.decode(packet, self.channels, &mut self.samples)?;
        for (channel, plane) in self.planes.iter_mut().enumerate() {
            let samples = self.samples.iter().skip(channel).step_by(self.channels);
            plane.clear();
            plane.extend(samples.map(|sample| f32::from(*sample) * S16));
        }
        Ok(Block {
            sample_rate: self.sample_rate,
            channels: self.channels,
            planes: &self.planes,
        })
    }

    fn reset(&mut self) {}

    fn channels(&self) -> Option<usize> {
        Some(self.channels)
    }
}
