//! What a packet says of one channel's replication: `sbr_single_channel_element` and its like, ISO/IEC 14496-3,
//! section 4.4.2.8.

use std::sync::LazyLock;

use super::super::Fault;
use super::super::codes::Book;
use super::bands::{MOST_BANDS, MOST_NOISE_BANDS, Tables};
use super::codebooks as books;
use super::grid::{Grid, MOST_ENVELOPES};
use crate::codec::bits::Bits;

/// Books by what they code: over frequency, and over time.
struct Books {
    levels: [[Book; 2]; 2],
    balances: [[Book; 2]; 2],
    noise: Book,
    noise_balances: Book,
}

static BOOKS: LazyLock<Books> = LazyLock::new(|| {
    let pair = |frequency, time| [Book::new(frequency), Book::new(time)];
    Books {
        levels: [
            pair(&books::LEVELS_FINE, &books::LEVELS_FINE_TIME),
            pair(&books::LEVELS_COARSE, &books::LEVELS_COARSE_TIME),
        ],
        balances: [
            pair(&books::BALANCES_FINE, &books::BALANCES_FINE_TIME),
            pair(&books::BALANCES_COARSE, &books::BALANCES_COARSE_TIME),
        ],
        noise: Book::new(&books::NOISE_TIME),
        noise_balances: Book::new(&books::NOISE_BALANCES_TIME),
    }
});

/// Levels of the bands of an envelope, as coded.
type Levels = [u8; MOST_BANDS];
type NoiseLevels = [u8; MOST_NOISE_BANDS];

/// What a packet says, and what of the one before it still counts.
#[derive(Clone)]
pub(super) struct Channel {
    pub(super) grid: Grid,
    over_time: [bool; MOST_ENVELOPES],
    noise_over_time: [bool; 2],
    /// How strongly tones are taken out of what is copied, by bands of noise.
    pub(super) filtering: [u8; MOST_NOISE_BANDS],
    pub(super) levels: [Levels; MOST_ENVELOPES],
    pub(super) noise: [NoiseLevels; 2],
    /// Bands with a sine wave, where there are any.
    pub(super) sines: Option<[bool; MOST_BANDS]>,
    /// Of the packet before: the grid, and how strongly was filtered.
    pub(super) last_grid: Grid,
    pub(super) last_filtering: [u8; MOST_NOISE_BANDS],
    /// Whether all that the levels build upon was heard, and the same of noise.
    knows_levels: bool,
    knows_noise: bool,
}

/// Whether the levels are those of both channels, or how they are shared.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Role {
    Level,
    Balance,
}

const INVALID: Fault = Fault::Damaged("an SBR payload has an impossible level");

impl Channel {
    pub(super) fn new(is_known: bool) -> Self {
        Self {
            grid: Grid::default(),
            over_time: [false; MOST_ENVELOPES],
            noise_over_time: [false; 2],
            filtering: [0; MOST_NOISE_BANDS],
            levels: [[0; MOST_BANDS]; MOST_ENVELOPES],
            noise: [[0; MOST_NOISE_BANDS]; 2],
            sines: None,
            last_grid: Grid::default(),
            last_filtering: [0; MOST_NOISE_BANDS],
            knows_levels: is_known,
            knows_noise: is_known,
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.knows_levels && self.knows_noise
    }

    pub(super) fn set_grid(&mut self, grid: Grid) {
        self.last_grid = std::mem::replace(&mut self.grid, grid);
    }

    /// `sbr_dtdf`.
    pub(super) fn read_directions(&mut self, bits: &mut Bits<'_>) -> Result<(), Fault> {
        for flag in self.over_time.iter_mut().take(self.grid.envelopes) {
            *flag = bits.need_flag()?;
        }
        for flag in self.noise_over_time.iter_mut().take(self.grid.noises) {
            *flag = bits.need_flag()?;
        }
        self.knows_levels |= !self.over_time[0];
        self.knows_noise |= !self.noise_over_time[0];
        Ok(())
    }

    /// `sbr_invf`.
    pub(super) fn read_filtering(
        &mut self,
        bits: &mut Bits<'_>,
        tables: &Tables,
    ) -> Result<(), Fault> {
        let mut filtering = self.filtering;
        for mode in filtering.iter_mut().take(tables.noise.len() - 1) {
            *mode = bits.need(2)? as u8;
        }
        self.set_filtering(filtering);
        Ok(())
    }

    pub(super) fn set_filtering(&mut self, filtering: [u8; MOST_NOISE_BANDS]) {
        self.last_filtering = std::mem::replace(&mut self.filtering, filtering);
    }

    /// `sbr_envelope`.
    pub(super) fn read_levels(
        &mut self,
        bits: &mut Bits<'_>,
        tables: &Tables,
        role: Role,
    ) -> Result<(), Fault> {
        let is_coarse = self.grid.is_coarse;
        let (books, step, first_bits) = match role {
            Role::Level => (&BOOKS.levels, 1, 7),
            Role::Balance => (&BOOKS.balances, 2, 6),
        };
        let [frequency, time] = &books[usize::from(is_coarse)];
        let first_bits = first_bits - usize::from(is_coarse);
        let before = self.last_grid.envelopes.saturating_sub(1);
        let mut last = self.levels[before];
        let mut was_fine = self.last_grid.is_fine[before];
        for envelope in 0..self.grid.envelopes {
            let is_fine = self.grid.is_fine[envelope];
            let count = tables.edges(is_fine).len() - 1;
            let odd = (tables.fine.len() - 1) % 2;
            let mut level = 0;
            let mut levels = [0; MOST_BANDS];
            for (band, to) in levels.iter_mut().enumerate().take(count) {
                level = if self.over_time[envelope] {
                    let from = match (was_fine, is_fine) {
                        (false, true) => (band + odd) / 2,
                        (true, false) => (2 * band).saturating_sub(odd),
                        _ => band,
                    };
                    i32::from(last[from]) + step * time.read(bits)
                } else if band == 0 {
                    step * bits.read(first_bits) as i32
                } else {
                    level + step * frequency.read(bits)
                };
                *to = self.checked(level, 127)?;
            }
            self.levels[envelope] = levels;
            (last, was_fine) = (levels, is_fine);
        }
        Ok(bits.check()?)
    }

    /// `sbr_noise`.
    pub(super) fn read_noise(
        &mut self,
        bits: &mut Bits<'_>,
        tables: &Tables,
        role: Role,
    ) -> Result<(), Fault> {
        let (frequency, time, step) = match role {
            Role::Level => (&BOOKS.levels[1][0], &BOOKS.noise, 1),
            Role::Balance => (&BOOKS.balances[1][0], &BOOKS.noise_balances, 2),
        };
        let mut last = self.noise[self.last_grid.noises.saturating_sub(1)];
        for floor in 0..self.grid.noises {
            let mut level = 0;
            let count = tables.noise.len() - 1;
            for (band, last) in last.iter_mut().enumerate().take(count) {
                level = if self.noise_over_time[floor] {
                    i32::from(*last) + step * time.read(bits)
                } else if band == 0 {
                    step * bits.read(5) as i32
                } else {
                    level + step * frequency.read(bits)
                };
                // The first is as large as it likes.
                let is_free = band == 0 && !self.noise_over_time[floor];
                *last = self.checked(level, if is_free { 62 } else { 30 })?;
            }
            self.noise[floor] = last;
        }
        Ok(bits.check()?)
    }

    /// A level that builds upon what was not heard may be anything.
    fn checked(&self, level: i32, most: i32) -> Result<u8, Fault> {
        match (0..=most).contains(&level) {
            true => Ok(level as u8),
            false if !self.is_known() => Ok(level.clamp(0, most) as u8),
            false => Err(INVALID),
        }
    }

    /// `sbr_sinusoidal_coding`.
    pub(super) fn read_sines(&mut self, bits: &mut Bits<'_>, tables: &Tables) -> Result<(), Fault> {
        self.sines = None;
        if bits.need_flag()? {
            let mut sines = [false; MOST_BANDS];
            for sine in sines.iter_mut().take(tables.fine.len() - 1) {
                *sine = bits.need_flag()?;
            }
            self.sines = Some(sines);
        }
        Ok(())
    }
}
