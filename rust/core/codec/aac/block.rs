//! One packet to the spectra of its channels: `raw_data_block`, ISO/IEC 14496-3, section 4.4.2.1.

use super::bands::Bands;
use super::channel::Channel;
use super::layout::Layout;
use super::noise::Noise;
use super::{AacConfig, Fault, pair};
use crate::codec::bits::Bits;

/// Reads packets; nothing of one is kept for the next but the room.
pub(super) struct Blocks {
    pub(super) bands: Bands,
    /// Whether the header says that there is no spectral band replication.
    is_plain: bool,
    /// Unknown until a packet tells, where the header does not.
    pub(super) layout: Option<Layout>,
    /// By their places in the output.
    pub(super) channels: Vec<Channel>,
}

impl Blocks {
    pub(super) fn new(config: &AacConfig) -> Self {
        let mut blocks = Self {
            bands: Bands::new(config.sample_rate, config.frame_length),
            is_plain: config.is_plain,
            layout: None,
            channels: Vec::new(),
        };
        blocks.set(config.layout.clone());
        blocks
    }

    fn set(&mut self, layout: Option<Layout>) {
        let count = layout.as_ref().map_or(0, |layout| layout.channels);
        self.channels = vec![Channel::new(); count];
        self.layout = layout;
    }

    /// Reads the spectra of all channels, shaping left to do.
    pub(super) fn read(&mut self, packet: &[u8]) -> Result<(), Fault> {
        let mut bits = Bits::new(packet);
        let noise = Noise::of(packet);
        let (mut seen, mut is_replicated) = (0, false);
        loop {
            match bits.need(3)? {
                kind @ (0 | 1 | 3) => seen |= self.read_element(kind, &mut bits, noise, seen)?,
                2 => return Err(Fault::COUPLED),
                4 => skip_data(&mut bits)?,
                5 => self.read_program(&mut bits)?,
                6 => is_replicated |= skip_fill(&mut bits)?,
                _ => break,
            }
        }
        let elements = self
            .layout
            .as_ref()
            .map_or(0, |layout| layout.elements.len());
        if elements == 0 || seen != (1 << elements) - 1 {
            return Err(Fault::CHANGED);
        }
        // Believed of a whole packet only: of a damaged one it may be chance.
        match is_replicated && !self.is_plain {
            true => Err(Fault::REPLICATED),
            false => Ok(()),
        }
    }

    /// Reads the channels of an element; tells its bit among those seen.
    fn read_element(
        &mut self,
        kind: u32,
        bits: &mut Bits<'_>,
        noise: Noise,
        seen: u32,
    ) -> Result<u32, Fault> {
        let tag = bits.need(4)?;
        let layout = self.layout.as_ref().ok_or(Fault::CHANGED)?;
        let index = layout.find(kind, tag, seen).ok_or(Fault::CHANGED)?;
        let [first, second] = layout.elements[index].planes;
        // Each element has numbers of its own to draw noise by.
        let number = 2 * index;
        if kind == 1 {
            let both = self.channels.get_disjoint_mut([first, second]);
            let [left, right] = both.map_err(|_| Fault::CHANGED)?;
            pair::read(bits, &self.bands, (left, right), noise, number)?;
        } else {
            let channel = self.channels.get_mut(first).ok_or(Fault::CHANGED)?;
            channel.read(bits, &self.bands, None)?;
            noise.fill(channel, number, &self.bands, |_| false);
        }
        Ok(1 << index)
    }

    /// A program that comes again, or for the first time.
    fn read_program(&mut self, bits: &mut Bits<'_>) -> Result<(), Fault> {
        let layout = Layout::read_program(bits)?;
        match &self.layout {
            None => self.set(Some(layout)),
            Some(known) if known.channels != layout.channels => return Err(Fault::CHANGED),
            Some(_) => {}
        }
        Ok(())
    }
}

/// Passes over a `fill_element`; tells whether there is spectral band replication in it.
fn skip_fill(bits: &mut Bits<'_>) -> Result<bool, Fault> {
    const REPLICATION: [u32; 2] = [13, 14];
    let mut bytes = bits.need(4)?;
    if bytes == 15 {
        bytes = 14 + bits.need(8)?;
    }
    let is_replicated = bytes > 0 && REPLICATION.contains(&bits.peek(4));
    bits.skip(8 * bytes as usize)?;
    Ok(is_replicated)
}

/// `data_stream_element`.
fn skip_data(bits: &mut Bits<'_>) -> Result<(), Fault> {
    bits.skip(4)?;
    let is_aligned = bits.need_flag()?;
    let mut bytes = bits.need(8)?;
    if bytes == 255 {
        bytes += bits.need(8)?;
    }
    if is_aligned {
        bits.align()?;
    }
    Ok(bits.skip(8 * bytes as usize)?)
}
