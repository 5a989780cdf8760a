//! Packets of plain samples out of MP4, MOV and Matroska.

use crate::codec::packet::{Block, PacketDecoder, not_here};
use crate::codec::params::{Codec, Params};
use crate::codec::sample::{Order, SampleFormat};
use crate::error::{Error, Result};
use crate::signal::mix::{Mix, Mixer};

/// Whole frames, as many as a packet has.
pub(crate) struct Decoder {
    sample: SampleFormat,
    order: Order,
    sample_rate: u32,
    channels: usize,
    mix: Mix,
    planes: Vec<Vec<f32>>,
}

impl Decoder {
    /// A decoder for the track that `params` describe.
    ///
    /// # Errors
    /// When it is no PCM, or has no channels or too many.
    pub(crate) fn new(params: &Params) -> Result<Self> {
        let Codec::Pcm(sample, order) = params.codec else {
            return Err(not_here(params.codec.name()));
        };
        let channels = params.channels.filter(|count| *count > 0);
        let channels = channels.ok_or_else(|| Error::corrupt("the stream declares no channels"))?;
        super::check_channels(u32::try_from(channels).unwrap_or(u32::MAX))?;
        Ok(Self {
            sample,
            order,
            sample_rate: params.sample_rate,
            channels,
            mix: Mix::All,
            planes: Vec::new(),
        })
    }
}

impl PacketDecoder for Decoder {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        let frame_bytes = self.sample.bytes() as usize * self.channels;
        let frames = packet.len() / frame_bytes;
        let mut mixer = Mixer::new(self.channels, self.mix, frames)?;
        // What does not fill a frame at the end is none.
        let whole = packet.get(..frames * frame_bytes).unwrap_or_default();
        self.sample.push(whole, self.order, &mut mixer)?;
        self.planes = mixer.into_planes();
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

    fn set_mono(&mut self, mono: bool) {
        self.mix = Mix::of_packets(mono);
    }
}
