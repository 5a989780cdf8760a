//! Where the envelopes of a packet begin and end: `sbr_grid`, ISO/IEC 14496-3, sections 4.4.2.8 and 4.6.18.3.3.

use super::super::Fault;
use crate::codec::bits::Bits;

/// Envelopes of a packet at most.
pub(super) const MOST_ENVELOPES: usize = 5;

const FIX_FIX: u32 = 0;
const FIX_VAR: u32 = 1;
const VAR_FIX: u32 = 2;

/// Times are slots of two samples of each band, from the packet's first on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Grid {
    pub(super) envelopes: usize,
    borders: [usize; MOST_ENVELOPES + 1],
    /// Envelopes of fine resolution.
    pub(super) is_fine: [bool; MOST_ENVELOPES],
    pub(super) noises: usize,
    /// Where the second noise floor begins.
    middle: usize,
    /// The envelope that begins with a transient; one after the last where that is the next packet's first.
    pub(super) transient: Option<usize>,
    pub(super) is_coarse: bool,
}

impl Grid {
    pub(super) fn read(bits: &mut Bits<'_>, slots: usize, is_coarse: bool) -> Result<Self, Fault> {
        let class = bits.need(2)?;
        let mut grid = Self {
            is_coarse,
            ..Self::default()
        };
        let pointer = match class {
            FIX_FIX => {
                grid.read_even(bits, slots)?;
                0
            }
            _ => grid.read_uneven(bits, class, slots)?,
        };
        let borders = &grid.borders[..=grid.envelopes];
        if !borders.windows(2).all(|two| two[0] < two[1]) || pointer > grid.envelopes + 1 {
            return Err(Fault::Damaged("an SBR grid goes backwards"));
        }
        grid.place_noise(class, pointer);
        grid.transient = match (class, pointer) {
            (FIX_FIX, _) | (_, 0) | (VAR_FIX, 1) => None,
            (VAR_FIX, pointer) => Some(pointer - 1),
            (_, pointer) => Some(grid.envelopes + 1 - pointer),
        };
        Ok(grid)
    }

    /// Envelopes of one length.
    fn read_even(&mut self, bits: &mut Bits<'_>, slots: usize) -> Result<(), Fault> {
        let count = 1 << bits.need(2)?;
        if count > MOST_ENVELOPES {
            return Err(Fault::Damaged("an SBR grid has too many envelopes"));
        }
        self.envelopes = count;
        if count == 1 {
            self.is_coarse = false;
        }
        let length = (slots + count / 2) / count;
        for (n, border) in self.borders.iter_mut().enumerate().take(count) {
            *border = n * length;
        }
        self.borders[count] = slots;
        self.is_fine = [bits.need_flag()?; MOST_ENVELOPES];
        Ok(())
    }

    /// Either edge may lie up to three slots late; gives the pointer to an envelope.
    fn read_uneven(
        &mut self,
        bits: &mut Bits<'_>,
        class: u32,
        slots: usize,
    ) -> Result<usize, Fault> {
        const POINTER_BITS: [usize; MOST_ENVELOPES + 1] = [0, 1, 2, 2, 3, 3];
        let begin = if class == FIX_VAR {
            0
        } else {
            bits.need(2)? as usize
        };
        let end = slots
            + if class == VAR_FIX {
                0
            } else {
                bits.need(2)? as usize
            };
        let leading = if class == FIX_VAR {
            0
        } else {
            bits.need(2)? as usize
        };
        let trailing = if class == VAR_FIX {
            0
        } else {
            bits.need(2)? as usize
        };
        let count = leading + trailing + 1;
        if count > MOST_ENVELOPES {
            return Err(Fault::Damaged("an SBR grid has too many envelopes"));
        }
        self.envelopes = count;
        let mut border = begin;
        self.borders[0] = begin;
        for to in self.borders.iter_mut().skip(1).take(leading) {
            border += 2 * bits.need(2)? as usize + 2;
            *to = border;
        }
        let mut border = end;
        self.borders[count] = end;
        for to in self.borders[leading + 1..count].iter_mut().rev() {
            // A border before the first is refused as one that goes backwards.
            border = border.saturating_sub(2 * bits.need(2)? as usize + 2);
            *to = border;
        }
        let pointer = bits.need(POINTER_BITS[count])? as usize;
        for n in 0..count {
            let place = if class == FIX_VAR { count - 1 - n } else { n };
            self.is_fine[place] = bits.need_flag()?;
        }
        Ok(pointer)
    }

    fn place_noise(&mut self, class: u32, pointer: usize) {
        self.noises = if self.envelopes > 1 { 2 } else { 1 };
        let middle = match (class, pointer) {
            (FIX_FIX, _) => self.envelopes / 2,
            (VAR_FIX, 0) => 1,
            (VAR_FIX, 1) => self.envelopes - 1,
            (VAR_FIX, pointer) => pointer - 1,
            (_, pointer) => self.envelopes - pointer.saturating_sub(1).max(1),
        };
        self.middle = self.borders[middle.min(self.envelopes)];
    }

    /// The slots of envelope `n`.
    pub(super) fn envelope(&self, n: usize) -> std::ops::Range<usize> {
        self.borders[n]..self.borders[n + 1]
    }

    /// The noise floor of envelope `n`.
    pub(super) fn noise_of(&self, n: usize) -> usize {
        usize::from(self.noises > 1 && self.borders[n] >= self.middle)
    }

    pub(super) fn begin(&self) -> usize {
        self.borders[0]
    }

    pub(super) fn end(&self) -> usize {
        self.borders[self.envelopes]
    }
}
