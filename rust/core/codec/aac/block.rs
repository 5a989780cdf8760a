//! One packet to the spectra of its channels: `raw_data_block`, ISO/IEC 14496-3, section 4.4.2.1.

use super::bands::Bands;
use super::channel::Channel;
use super::layout::Layout;
use super::noise::Noise;
use super::sbr::Extent;
use super::{AacConfig, Fault, Replicated, pair};
use crate::codec::bits::Bits;

/// Reads packets; nothing of one is kept for the next but the room.
pub(super) struct Blocks {
    pub(super) bands: Bands,
    replicated: Replicated,
    /// Unknown until a packet tells, where the header does not.
    pub(super) layout: Option<Layout>,
    /// By their places in the output.
    pub(super) channels: Vec<Channel>,
    /// Where the packet tells of the replication of each element.
    pub(super) extents: Vec<Option<Extent>>,
}

impl Blocks {
    pub(super) fn new(config: &AacConfig) -> Self {
        let mut blocks = Self {
            bands: Bands::new(config.core_rate, config.frame_length),
            replicated: config.replicated,
            layout: None,
            channels: Vec::new(),
            extents: Vec::new(),
        };
        blocks.set(config.layout.clone());
        blocks
    }

    fn set(&mut self, layout: Option<Layout>) {
        let count = layout.as_ref().map_or(0, |layout| layout.channels);
        self.channels = vec![Channel::new(); count];
        let elements = layout.as_ref().map_or(0, |layout| layout.elements.len());
        self.extents = vec![None; elements];
        self.layout = layout;
    }

    /// Reads the spectra of all channels, shaping left to do.
    pub(super) fn read(&mut self, packet: &[u8]) -> Result<(), Fault> {
        let mut bits = Bits::new(packet);
        let noise = Noise::of(packet);
        let (mut seen, mut last) = (0, None);
        self.extents.fill(None);
        loop {
            match bits.need(3)? {
                kind @ (0 | 1 | 3) => {
                    let index = self.read_element(kind, &mut bits, noise, seen)?;
                    last = Some(index);
                    seen |= 1 << index;
                }
                2 => return Err(Fault::COUPLED),
                4 => skip_data(&mut bits)?,
                5 => self.read_program(&mut bits)?,
                6 => self.read_fill(&mut bits, last)?,
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
        let is_replicated = self.extents.iter().any(Option::is_some);
        match self.replicated == Replicated::Unknown && is_replicated {
            true => Err(Fault::REPLICATED),
            false => Ok(()),
        }
    }

    /// Passes over a `fill_element`, and remembers where replication is in it, which is that of the element before.
    fn read_fill(&mut self, bits: &mut Bits<'_>, last: Option<usize>) -> Result<(), Fault> {
        let extent = skip_fill(bits)?;
        if let (Some(to), Replicated::Yes | Replicated::Unknown) = (
            last.and_then(|last| self.extents.get_mut(last)),
            self.replicated,
        ) {
            *to = extent.or(*to);
        }
        Ok(())
    }

    /// Reads the channels of an element; tells its place in the layout.
    fn read_element(
        &mut self,
        kind: u32,
        bits: &mut Bits<'_>,
        noise: Noise,
        seen: u32,
    ) -> Result<usize, Fault> {
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
        Ok(index)
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

/// Passes over a `fill_element`; tells where there is spectral band replication in it.
fn skip_fill(bits: &mut Bits<'_>) -> Result<Option<Extent>, Fault> {
    const REPLICATION: u32 = 13;
    const WITH_CHECKSUM: u32 = 14;
    let mut bytes = bits.need(4)?;
    if bytes == 15 {
        bytes = 14 + bits.need(8)?;
    }
    let (begin, kind) = (bits.at + 4, bits.peek(4));
    bits.skip(8 * bytes as usize)?;
    let is_replication = bytes > 0 && matches!(kind, REPLICATION | WITH_CHECKSUM);
    Ok(is_replication.then_some(Extent {
        begin,
        end: bits.at,
        has_checksum: kind == WITH_CHECKSUM,
    }))
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
