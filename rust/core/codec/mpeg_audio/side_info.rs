//! The side information of Layer III: ISO/IEC 11172-3, section 2.4.1.7, and 13818-3, section 2.4.1.7.

use super::bands::{LONG, LONG_EDGES, SHORT};
use super::grid::LINES;
use super::header::{Header, too_short};
use crate::codec::bits::Bits;
use crate::codec::packet::damaged;
use crate::error::Result;

/// The window of a granule: `block_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Window {
    #[default]
    Long,
    Start,
    Short,
    End,
}

/// One channel of a granule.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Granule {
    /// Bits of scale factors and lines: `part2_3_length`.
    pub(super) bits: usize,
    /// Lines in pairs, two for each of the standard's `big_values`.
    pub(super) big_lines: usize,
    pub(super) global_gain: i32,
    pub(super) scale_compress: u32,
    pub(super) window: Window,
    /// The lowest two subbands have a long window, whatever `window` says.
    pub(super) is_mixed: bool,
    pub(super) tables: [usize; 3],
    /// Where the first and the second region end, in lines.
    pub(super) region_ends: [usize; 2],
    pub(super) subblock_gain: [i32; 3],
    pub(super) has_preemphasis: bool,
    /// Quarters of an octave that one step of a scale factor takes, as a power of two: 1 or 2.
    pub(super) scale_shift: u32,
    pub(super) quad_table: usize,
}

impl Granule {
    /// Bands of long blocks that it begins with.
    pub(super) fn long_bands(&self, rate_index: usize) -> usize {
        match (self.window, self.is_mixed) {
            (Window::Short, false) => 0,
            (Window::Short, true) if rate_index < 3 => 8,
            (Window::Short, true) => 6,
            _ => LONG,
        }
    }

    /// The first band of short blocks after them.
    pub(super) fn first_short_band(&self) -> usize {
        match (self.window, self.is_mixed) {
            (Window::Short, false) => 0,
            (Window::Short, true) => 3,
            _ => SHORT,
        }
    }

    /// Whether lines of both pass the same filters.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        (self.window, self.is_mixed) == (other.window, other.is_mixed)
    }

    fn read(bits: &mut Bits<'_>, header: Header) -> Result<Self> {
        let mut new = Self {
            bits: bits.read(12) as usize,
            big_lines: 2 * bits.read(9) as usize,
            global_gain: bits.read(8) as i32,
            scale_compress: bits.read(if header.is_mpeg1() { 4 } else { 9 }),
            ..Self::default()
        };
        if new.big_lines > LINES {
            return Err(damaged("a granule has more than 288 pairs of lines"));
        }
        match bits.flag() {
            true => new.read_window(bits, header)?,
            false => new.read_regions(bits, header),
        }
        // MPEG 2 tells it with the scale factors.
        new.has_preemphasis = header.is_mpeg1() && bits.flag();
        new.scale_shift = 1 + bits.read(1);
        new.quad_table = bits.read(1) as usize;
        Ok(new)
    }

    fn read_window(&mut self, bits: &mut Bits<'_>, header: Header) -> Result<()> {
        self.window = match bits.read(2) {
            1 => Window::Start,
            2 => Window::Short,
            3 => Window::End,
            _ => return Err(damaged("a granule switches windows to the long type")),
        };
        self.is_mixed = bits.flag();
        for table in &mut self.tables[..2] {
            *table = bits.read(5) as usize;
        }
        self.subblock_gain = std::array::from_fn(|_| bits.read(3) as i32);
        // The first region holds nine short bands or eight long ones, the second one the rest.
        let end = match (header.is_mpeg1(), self.window) {
            (true, _) | (_, Window::Short) => 36,
            _ => 54,
        };
        let is_8_khz = header.rate_index() == 8;
        self.region_ends = [if is_8_khz { 2 * end } else { end }, LINES];
        Ok(())
    }

    fn read_regions(&mut self, bits: &mut Bits<'_>, header: Header) {
        self.tables = std::array::from_fn(|_| bits.read(5) as usize);
        let first = bits.read(4) as usize + 1;
        let second = first + bits.read(3) as usize + 1;
        let edges = &LONG_EDGES[header.rate_index()];
        let edge = |band: usize| usize::from(edges[band.min(LONG)]);
        self.region_ends = [edge(first), edge(second)];
    }
}

/// What stands in front of a frame's main data.
#[derive(Clone, Debug)]
pub(super) struct SideInfo {
    /// How many bytes in front of this frame's own ones the main data begin.
    pub(super) main_data_begin: usize,
    /// Whether the second granule takes over scale factors of the first: by channel and group of bands.
    pub(super) shared: [[bool; 4]; 2],
    /// By granule and channel.
    pub(super) granules: [[Granule; 2]; 2],
}

impl SideInfo {
    /// Of as many bytes as the header says.
    ///
    /// # Errors
    /// What the standard does not allow.
    pub(super) fn read(header: Header, bytes: &[u8]) -> Result<Self> {
        let bits = &mut Bits::new(bytes);
        let channels = header.channels();
        let is_mpeg1 = header.is_mpeg1();
        let mut new = Self {
            main_data_begin: bits.read(if is_mpeg1 { 9 } else { 8 }) as usize,
            shared: Default::default(),
            granules: Default::default(),
        };
        // Private bits.
        bits.at += match (is_mpeg1, channels) {
            (true, 1) => 5,
            (true, _) => 3,
            (false, count) => count,
        };
        if is_mpeg1 {
            for group in new.shared[..channels].iter_mut().flatten() {
                *group = bits.flag();
            }
        }
        for granule in &mut new.granules[..header.granules()] {
            for channel in &mut granule[..channels] {
                *channel = Granule::read(bits, header)?;
            }
        }
        bits.check().map_err(|_| too_short())?;
        Ok(new)
    }
}
