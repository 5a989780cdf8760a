//! Spectral band replication, which makes HE-AAC of AAC: ISO/IEC 14496-3, section 4.6.18.
//!
//! High bands are copied from low ones and shaped as the stream tells.

mod adjust;
mod assemble;
mod bands;
pub(super) mod codebooks;
mod generate;
mod grid;
mod header;
mod noise;
mod payload;
mod voice;

use super::Fault;
use super::ps::Parameters;
use crate::codec::bits::Bits;
use adjust::Energies;
use bands::Tables;
pub(super) use generate::OFFSET;
use grid::Grid;
use header::Header;
use payload::{Channel, Role};
pub(super) use voice::{Moment, Voice};

/// Where a packet tells of the replication of an element, in bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Extent {
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) has_checksum: bool,
}

/// The replication of one element: what the stream has told of it.
pub(super) struct Replication {
    /// Of what comes out, at the full rate.
    rate: u32,
    /// Pairs of samples of each band in a packet.
    slots: usize,
    header: Option<(Header, Tables)>,
    channels: Vec<Channel>,
    is_coupled: bool,
    /// Whether the packet at hand tells enough.
    is_on: bool,
    /// Whether the bands have changed with the packet.
    has_changed: bool,
    /// Whether all that came before was heard, or there was nothing.
    is_known: bool,
    /// Of an element of one channel.
    pub(super) stereo: Option<Parameters>,
}

const TOO_LONG: Fault = Fault::Damaged("an SBR payload ends too early");

impl Replication {
    pub(super) fn new(rate: u32, frame_length: usize, count: usize, has_stereo: bool) -> Self {
        let mut replication = Self {
            rate,
            slots: frame_length / 64,
            header: None,
            channels: vec![Channel::new(true); count],
            is_coupled: false,
            is_on: false,
            has_changed: false,
            is_known: true,
            stereo: has_stereo.then(Parameters::new),
        };
        replication.reset(true);
        replication
    }

    /// Forgets all. `is_first` says that nothing comes before the next packet; otherwise levels that build upon what
    /// was not heard are not trusted.
    pub(super) fn reset(&mut self, is_first: bool) {
        self.header = None;
        self.is_on = false;
        self.is_known = is_first;
        self.channels.fill(Channel::new(is_first));
        if let Some(stereo) = &mut self.stereo {
            stereo.reset(is_first);
        }
    }

    /// Keeps what a lost packet has not changed: the header, as others do.
    pub(super) fn lose(&mut self) {
        self.is_on = false;
        self.is_known = false;
        self.channels.fill(Channel::new(false));
        if let Some(stereo) = &mut self.stereo {
            stereo.reset(false);
        }
    }

    /// Whether what comes after depends on nothing that was not heard.
    pub(super) fn is_settled(&self) -> bool {
        let stereo = self.stereo.as_ref();
        self.is_known || self.is_on && stereo.is_none_or(Parameters::is_settled)
    }

    /// Reads what a packet tells; nothing where it has no payload for the element.
    pub(super) fn read(&mut self, packet: &[u8], extent: Option<Extent>) -> Result<(), Fault> {
        (self.is_on, self.has_changed) = (false, false);
        let Some(extent) = extent else {
            // Without its levels, replication ends until there is a header again.
            self.header = None;
            self.channels.fill(Channel::new(true));
            self.is_known = true;
            return Ok(());
        };
        let mut bits = Bits::new(packet);
        bits.at = extent.begin + if extent.has_checksum { 10 } else { 0 };
        if bits.need_flag()? {
            self.read_header(&mut bits)?;
        }
        if let Some((header, tables)) = self.header.take() {
            let read = self.read_data(&mut bits, &header, &tables, extent.end);
            self.header = Some((header, tables));
            read?;
            self.is_on = self.channels.iter().all(Channel::is_known);
        }
        match bits.at > extent.end {
            true => Err(TOO_LONG),
            false => Ok(()),
        }
    }

    fn read_header(&mut self, bits: &mut Bits<'_>) -> Result<(), Fault> {
        let new = Header::read(bits)?;
        match &mut self.header {
            Some((header, tables)) if header.spectrum == new.spectrum => {
                tables.set_limiter(new.limiter_bands);
                *header = new;
            }
            _ => {
                let tables = Tables::new(self.rate, &new)?;
                self.header = Some((new, tables));
                self.has_changed = true;
            }
        }
        Ok(())
    }

    fn read_data(
        &mut self,
        bits: &mut Bits<'_>,
        header: &Header,
        tables: &Tables,
        end: usize,
    ) -> Result<(), Fault> {
        if bits.need_flag()? {
            bits.skip(4 * self.channels.len())?;
        }
        match self.channels.len() {
            1 => self.read_single(bits, header, tables)?,
            _ => self.read_pair(bits, header, tables)?,
        }
        for channel in &mut self.channels {
            channel.read_sines(bits, tables)?;
        }
        match bits.need_flag()? {
            true => self.read_extensions(bits, end),
            false => Ok(()),
        }
    }

    fn read_single(
        &mut self,
        bits: &mut Bits<'_>,
        header: &Header,
        tables: &Tables,
    ) -> Result<(), Fault> {
        for channel in &mut self.channels {
            channel.set_grid(Grid::read(bits, self.slots, header.is_coarse)?);
            channel.read_directions(bits)?;
            channel.read_filtering(bits, tables)?;
            channel.read_levels(bits, tables, Role::Level)?;
            channel.read_noise(bits, tables, Role::Level)?;
        }
        Ok(())
    }

    fn read_pair(
        &mut self,
        bits: &mut Bits<'_>,
        header: &Header,
        tables: &Tables,
    ) -> Result<(), Fault> {
        self.is_coupled = bits.need_flag()?;
        let [first, second] = self.channels.as_mut_slice() else {
            return Err(TOO_LONG);
        };
        first.set_grid(Grid::read(bits, self.slots, header.is_coarse)?);
        second.set_grid(match self.is_coupled {
            true => first.grid,
            false => Grid::read(bits, self.slots, header.is_coarse)?,
        });
        first.read_directions(bits)?;
        second.read_directions(bits)?;
        first.read_filtering(bits, tables)?;
        if self.is_coupled {
            second.set_filtering(first.filtering);
            first.read_levels(bits, tables, Role::Level)?;
            first.read_noise(bits, tables, Role::Level)?;
            second.read_levels(bits, tables, Role::Balance)?;
            return second.read_noise(bits, tables, Role::Balance);
        }
        second.read_filtering(bits, tables)?;
        first.read_levels(bits, tables, Role::Level)?;
        second.read_levels(bits, tables, Role::Level)?;
        first.read_noise(bits, tables, Role::Level)?;
        second.read_noise(bits, tables, Role::Level)
    }

    /// `bs_extended_data`: parametric stereo, and what is not known.
    fn read_extensions(&mut self, bits: &mut Bits<'_>, payload_end: usize) -> Result<(), Fault> {
        const STEREO: u32 = 2;
        let mut bytes = bits.need(4)? as usize;
        if bytes == 15 {
            bytes += bits.need(8)? as usize;
        }
        let end = bits.at + 8 * bytes;
        if end > payload_end {
            return Err(TOO_LONG);
        }
        while bits.at + 7 < end {
            match (bits.need(2)?, &mut self.stereo) {
                (STEREO, Some(stereo)) => stereo.read(bits, end)?,
                _ => break,
            }
        }
        bits.at = end;
        Ok(())
    }

    /// The header and the tables of the packet at hand, and the energies of its channels.
    pub(super) fn energies(&self) -> Option<Vec<Energies>> {
        self.header.as_ref().filter(|_| self.is_on)?;
        let energies = match self.channels.as_slice() {
            [first, second] if self.is_coupled => Energies::of_pair(first, second).to_vec(),
            channels => channels.iter().map(Energies::of).collect(),
        };
        Some(energies)
    }
}

impl Energies {
    const NONE: Self = Self {
        levels: [[0.0; bands::MOST_BANDS]; grid::MOST_ENVELOPES],
        noise: [[0.0; bands::MOST_NOISE_BANDS]; 2],
    };

    /// Section 4.6.18.3.5.
    fn of(channel: &Channel) -> Self {
        let step = step_of(channel);
        let mut energies = Self::NONE;
        each(&channel.levels, &mut energies.levels, |level| {
            believed((level * step + 6.0).exp2())
        });
        each(&channel.noise, &mut energies.noise, |level| {
            (6.0 - level).exp2()
        });
        energies
    }

    fn of_pair(sum: &Channel, share: &Channel) -> [Self; 2] {
        let step = step_of(sum);
        let (mut both, mut ratio) = (Self::NONE, Self::NONE);
        each(&sum.levels, &mut both.levels, |level| {
            believed((level * step + 7.0).exp2())
        });
        each(&share.levels, &mut ratio.levels, |level| {
            (12.0 - level * step).exp2()
        });
        each(&sum.noise, &mut both.noise, |level| (7.0 - level).exp2());
        each(&share.noise, &mut ratio.noise, |level| {
            (12.0 - level).exp2()
        });
        let levels = both.levels.as_flattened_mut().iter_mut();
        split(levels.zip(ratio.levels.as_flattened_mut()));
        let noise = both.noise.as_flattened_mut().iter_mut();
        split(noise.zip(ratio.noise.as_flattened_mut()));
        [both, ratio]
    }
}

fn step_of(channel: &Channel) -> f32 {
    if channel.grid.is_coarse { 1.0 } else { 0.5 }
}

fn each<const M: usize, const N: usize>(
    from: &[[u8; M]; N],
    to: &mut [[f32; M]; N],
    of: impl Fn(f32) -> f32,
) {
    let from = from.as_flattened().iter();
    for (from, to) in from.zip(to.as_flattened_mut()) {
        *to = of(f32::from(*from));
    }
}

/// A level that no recording has is taken for none, as FFmpeg does.
fn believed(energy: f32) -> f32 {
    if energy > 1e20 { 1.0 } else { energy }
}

/// Shares a sum by a ratio: the first of each pair becomes one part, the second the other.
fn split<'a>(pairs: impl Iterator<Item = (&'a mut f32, &'a mut f32)>) {
    for (sum, ratio) in pairs {
        let part = *sum / (1.0 + *ratio);
        (*sum, *ratio) = (part, part * *ratio);
    }
}
