//! The decoder of AAC-LC and HE-AAC.

use super::block::Blocks;
use super::channel::{Channel, NOISE};
use super::element::Elements;
use super::filterbank::{Filterbank, Overlap, Scratch};
use super::{AacConfig, Fault, LATE_REPLICATION, Replicated, simd};
use crate::codec::packet::{Block, PacketDecoder, damaged, not_here};
use crate::codec::params::Params;
use crate::error::{Error, Result};

/// One `raw_data_block` a packet.
pub(crate) struct Decoder {
    config: AacConfig,
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
    /// What makes HE-AAC of it.
    elements: Option<Elements>,
    /// The number of the packet in the stream.
    number: u32,
    is_mono: bool,
    /// Whether decoding began at the stream's first packet.
    is_first: bool,
}

impl Decoder {
    /// A decoder for the track that `params` describe, with an `AudioSpecificConfig` or without.
    ///
    /// # Errors
    /// As [`check`](super::check) has them.
    pub(crate) fn new(params: &Params) -> Result<Self> {
        let config = AacConfig::of_params(params)?;
        let filterbank = Filterbank::of(config.frame_length as usize);
        let mut decoder = Self {
            channels: config.channels().or(params.channels),
            blocks: Blocks::new(&config),
            filterbank,
            scratch: filterbank.scratch(),
            overlaps: Vec::new(),
            has_begun: false,
            noise: [false; 2],
            planes: Vec::new(),
            elements: None,
            number: 0,
            is_mono: false,
            is_first: true,
            config,
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
        self.make_elements();
    }

    fn make_elements(&mut self) {
        self.elements = match (&self.blocks.layout, self.config.replicated) {
            (Some(layout), Replicated::Yes) => {
                Some(Elements::new(&self.config, layout, self.is_mono))
            }
            _ => None,
        };
        if let (Some(elements), false) = (&mut self.elements, self.is_first) {
            elements.reset(false, false);
        }
    }

    /// Reads all of a packet.
    fn read(&mut self, packet: &[u8]) -> std::result::Result<(), Fault> {
        self.blocks.read(packet)?;
        self.make_room();
        match &mut self.elements {
            Some(elements) => elements.read(packet, &self.blocks.extents),
            None => Ok(()),
        }
    }

    fn decode_block(&mut self, packet: &[u8]) -> std::result::Result<(), Fault> {
        self.read(packet)?;
        for channel in &mut self.blocks.channels {
            channel.shaping.apply(&mut channel.spectrum)?;
        }
        let length = self.blocks.bands.frame_length;
        let channels = self.blocks.channels.iter().zip(&mut self.overlaps);
        for ((channel, overlap), output) in channels.zip(&mut self.planes) {
            let spectrum = &channel.spectrum[..length];
            let scratch = &mut self.scratch;
            self.filterbank
                .synthesize(&channel.windows, spectrum, overlap, scratch, output);
        }
        if let Some(elements) = &mut self.elements {
            let slots = (length / 32) as u32;
            simd::run(elements, &self.planes, self.number.wrapping_mul(slots));
        }
        Ok(())
    }

    /// What follows must not depend on what came before the damage: a range may begin at it.
    fn fail(&mut self, fault: Fault) -> Error {
        self.overlaps.fill(Overlap::new());
        if let Some(elements) = &mut self.elements {
            elements.reset(true, false);
        }
        match fault {
            Fault::REPLICATED => not_here(LATE_REPLICATION),
            // In a stream that could be decoded so far, it is damage that looks so.
            Fault::Unsupported(what) if !self.has_begun => not_here(what),
            Fault::Unsupported(reason) | Fault::Damaged(reason) => damaged(reason),
        }
    }
}

impl PacketDecoder for Decoder {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        let decoded = self.decode_block(packet);
        self.number = self.number.wrapping_add(1);
        if let Err(fault) = decoded {
            return Err(self.fail(fault));
        }
        self.has_begun = true;
        let is_noisy = |channel: &Channel| channel.books.contains(&NOISE);
        self.noise = [self.blocks.channels.iter().any(is_noisy), self.noise[0]];
        let (planes, channels) = match (&self.elements, &self.blocks.layout) {
            (Some(elements), Some(layout)) => {
                let is_stereo = self.config.is_stereo(layout);
                (
                    &elements.planes,
                    if is_stereo { 2 } else { layout.channels },
                )
            }
            _ => (&self.planes, self.planes.len()),
        };
        Ok(Block {
            sample_rate: self.config.sample_rate(),
            channels,
            planes,
        })
    }

    fn reset(&mut self) {
        self.overlaps.fill(Overlap::new());
        (self.number, self.is_first) = (0, true);
        if let Some(elements) = &mut self.elements {
            elements.reset(false, true);
        }
    }

    fn has_noise(&self) -> bool {
        self.noise.contains(&true)
    }

    fn channels(&self) -> Option<usize> {
        self.channels
    }

    fn set_mono(&mut self, mono: bool) {
        if std::mem::replace(&mut self.is_mono, mono) != mono {
            self.make_elements();
        }
    }

    fn remembers_far(&self) -> bool {
        self.config.replicated == Replicated::Yes
    }

    fn begin_inside(&mut self) {
        self.reset();
        self.is_first = false;
        if let Some(elements) = &mut self.elements {
            elements.reset(false, false);
        }
    }

    fn skim(&mut self, packet: &[u8]) -> Result<bool> {
        let read = self.read(packet);
        self.number = self.number.wrapping_add(1);
        if let Err(fault) = read {
            return Err(self.fail(fault));
        }
        Ok(self.elements.as_ref().is_none_or(Elements::is_settled))
    }

    fn set_packet_number(&mut self, number: u32) {
        self.number = number;
    }
}
