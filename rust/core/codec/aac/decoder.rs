//! The decoder of AAC-LC.

use super::block::Blocks;
use super::channel::{Channel, NOISE};
use super::filterbank::{Filterbank, Overlap, Scratch};
use super::{AacConfig, Fault, LATE_REPLICATION};
use crate::codec::packet::{Block, PacketDecoder, damaged, not_here};
use crate::codec::params::Params;
use crate::error::{Error, Result};

/// One `raw_data_block` a packet.
pub(crate) struct Decoder {
    sample_rate: u32,
    /// By the header.
    channels: Option<usize>,
    blocks: Blocks,
    filterbank: &'static Filterbank,
    scratch: Scratch,
    /// One of each channel: all that goes from packet to packet.
    overlaps: Vec<Overlap>,
    /// Whether any packet could be decoded.
    has_begun: bool,
    /// Whether the last packet has noise, and whether the one before it does, with which it overlaps.
    noise: [bool; 2],
    planes: Vec<Vec<f32>>,
}

impl Decoder {
    /// A decoder for the track that `params` describe, with an `AudioSpecificConfig` or without.
    ///
    /// # Errors
    /// As [`check`](super::check) has them.
    pub(crate) fn new(params: &Params) -> Result<Self> {
        let config = match (params.header.as_slice(), params.sample_rate) {
            ([], 0) => {
                return Err(Error::corrupt(
                    "the AAC header (AudioSpecificConfig) is missing",
                ));
            }
            ([], rate) => AacConfig::of(rate, params.channels.unwrap_or(0)),
            (config, _) => super::check(config)?,
        };
        let filterbank = Filterbank::of(config.frame_length as usize);
        let mut decoder = Self {
            sample_rate: config.sample_rate,
            channels: config.channels().or(params.channels),
            blocks: Blocks::new(&config),
            filterbank,
            scratch: filterbank.scratch(),
            overlaps: Vec::new(),
            has_begun: false,
            noise: [false; 2],
            planes: Vec::new(),
        };
        decoder.make_room();
        Ok(decoder)
    }

    /// Makes room for the channels that the blocks have.
    fn make_room(&mut self) {
        let count = self.blocks.channels.len();
        if count == self.overlaps.len() {
            return;
        }
        self.overlaps = vec![Overlap::new(); count];
        self.planes = vec![vec![0.0; self.blocks.bands.frame_length]; count];
    }

    fn decode_block(&mut self, packet: &[u8]) -> std::result::Result<(), Fault> {
        self.blocks.read(packet)?;
        for channel in &mut self.blocks.channels {
            channel.shaping.apply(&mut channel.spectrum)?;
        }
        self.make_room();
        let length = self.blocks.bands.frame_length;
        let channels = self.blocks.channels.iter().zip(&mut self.overlaps);
        for ((channel, overlap), output) in channels.zip(&mut self.planes) {
            let spectrum = &channel.spectrum[..length];
            let scratch = &mut self.scratch;
            self.filterbank
                .synthesize(&channel.windows, spectrum, overlap, scratch, output);
        }
        Ok(())
    }
}

impl PacketDecoder for Decoder {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        if let Err(fault) = self.decode_block(packet) {
            // What follows must not depend on what came before the damage: a range may begin at it.
            self.reset();
            return Err(match fault {
                Fault::REPLICATED => not_here(LATE_REPLICATION),
                // In a stream that could be decoded so far, it is damage that looks so.
                Fault::Unsupported(what) if !self.has_begun => not_here(what),
                Fault::Unsupported(reason) | Fault::Damaged(reason) => damaged(reason),
            });
        }
        self.has_begun = true;
        let is_noisy = |channel: &Channel| channel.books.contains(&NOISE);
        self.noise = [self.blocks.channels.iter().any(is_noisy), self.noise[0]];
        Ok(Block {
            sample_rate: self.sample_rate,
            channels: self.planes.len(),
            planes: &self.planes,
        })
    }

    fn reset(&mut self) {
        self.overlaps.fill(Overlap::new());
    }

    fn has_noise(&self) -> bool {
        self.noise.contains(&true)
    }

    fn channels(&self) -> Option<usize> {
        self.channels
    }
}
