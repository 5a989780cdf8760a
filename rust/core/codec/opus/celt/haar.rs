//! Changes of a band's resolution in time: RFC 6716, section 4.3.4.5.

use std::f32::consts::FRAC_1_SQRT_2;

use super::tables::MAX_WIDTH;

/// Bit by short block: whether the block is not empty.
pub(super) type Mask = u32;

/// Places of the blocks of a long one, by how fast the Hadamard transform's rows change sign.
const SEQUENCY: [&[usize]; 4] = [&[0], &[1, 0], &[3, 0, 2, 1], &[7, 0, 4, 3, 6, 1, 5, 2]];

/// How one band changes its resolution.
pub(super) struct Resolution {
    /// Blocks of the frame.
    given: usize,
    /// Times that blocks are joined in pairs, or else cut in two.
    joins: u32,
    cuts: u32,
}

impl Resolution {
    /// For a band of some bins in some blocks: joined where `change` is above 0, cut where below and
    /// as long as each block has an even count of bins.
    pub(super) fn new(blocks: usize, bins: usize, change: i32) -> Self {
        let wanted = (-change).max(0) as u32;
        Self {
            given: blocks,
            joins: change.max(0) as u32,
            cuts: wanted.min((bins / blocks).trailing_zeros()),
        }
    }

    /// Blocks that the band is coded in.
    pub(super) fn blocks(&self) -> usize {
        self.given >> self.joins << self.cuts
    }

    /// The mask of the blocks that are not empty, for the band's own blocks.
    pub(super) fn fill(&self, mut mask: Mask) -> Mask {
        for _ in 0..self.joins {
            mask = joined(mask);
        }
        for cut in 0..self.cuts {
            mask |= mask << (self.given >> self.joins << cut);
        }
        mask
    }

    /// Brings a spectrum of the frame's blocks to the band's, end to end.
    pub(super) fn forward<'s>(&self, spectrum: &'s [f32], changed: &'s mut [f32]) -> &'s [f32] {
        if self.joins == 0 && self.cuts == 0 && self.given == 1 {
            return spectrum;
        }
        let changed = &mut changed[..spectrum.len()];
        changed.copy_from_slice(spectrum);
        for join in 0..self.joins {
            haar(changed, 1 << join);
        }
        for cut in 0..self.cuts {
            haar(changed, self.given >> self.joins << cut);
        }
        if self.blocks() > 1 {
            self.deinterleave(changed);
        }
        changed
    }

    /// Brings a shape back to the frame's blocks, and the mask of those that are not empty.
    pub(super) fn back(&self, shape: &mut [f32], mut mask: Mask) -> Mask {
        if self.blocks() > 1 {
            self.interleave(shape);
        }
        for cut in (0..self.cuts).rev() {
            let blocks = self.given >> self.joins << cut;
            mask |= mask >> blocks;
            haar(shape, blocks);
        }
        for join in 0..self.joins {
            mask = parted(mask);
            haar(shape, 1 << join);
        }
        mask & ((1 << self.given) - 1)
    }

    /// Interleaved blocks, and where the first of each comes to lie.
    fn places(&self, bins: usize) -> impl Iterator<Item = (usize, usize)> {
        let blocks = self.blocks() << self.joins;
        let order = match self.given {
            1 => SEQUENCY[blocks.ilog2() as usize & 3],
            _ => &[],
        };
        (0..blocks).map(move |block| (block, order.get(block).unwrap_or(&block) * (bins / blocks)))
    }

    fn deinterleave(&self, spectrum: &mut [f32]) {
        let mut copy = [0.0; MAX_WIDTH];
        let copy = &mut copy[..spectrum.len()];
        let blocks = self.blocks() << self.joins;
        for (block, place) in self.places(spectrum.len()) {
            let block = spectrum[block..].iter().step_by(blocks);
            for (to, from) in copy[place..].iter_mut().zip(block) {
                *to = *from;
            }
        }
        spectrum.copy_from_slice(copy);
    }

    fn interleave(&self, spectrum: &mut [f32]) {
        let mut copy = [0.0; MAX_WIDTH];
        let copy = &mut copy[..spectrum.len()];
        copy.copy_from_slice(spectrum);
        let blocks = self.blocks() << self.joins;
        for (block, place) in self.places(spectrum.len()) {
            let block = spectrum[block..].iter_mut().step_by(blocks);
            for (to, from) in block.zip(&copy[place..]) {
                *to = *from;
            }
        }
    }
}

/// One step of the Haar transform between neighbours of `blocks` interleaved blocks, a power of 2. It
/// is its own inverse.
fn haar(spectrum: &mut [f32], blocks: usize) {
    match blocks {
        1 => haar_of::<1>(spectrum),
        2 => haar_of::<2>(spectrum),
        4 => haar_of::<4>(spectrum),
        _ => haar_of::<8>(spectrum),
    }
}

fn haar_of<const BLOCKS: usize>(spectrum: &mut [f32]) {
    for pair in spectrum.chunks_exact_mut(2 * BLOCKS) {
        let (even, odd) = pair.split_at_mut(BLOCKS);
        for (even, odd) in even.iter_mut().zip(odd) {
            let (first, second) = (FRAC_1_SQRT_2 * *even, FRAC_1_SQRT_2 * *odd);
            *even = first + second;
            *odd = first - second;
        }
    }
}

/// A bit for each pair of bits, set where either is.
fn joined(mask: Mask) -> Mask {
    (0..4).fold(0, |joined, pair| {
        joined | Mask::from(mask >> (2 * pair) & 3 != 0) << pair
    })
}

/// Each of four bits twice.
fn parted(mask: Mask) -> Mask {
    (0..4).fold(0, |parted, bit| {
        parted | ((mask >> bit & 1) * 3) << (2 * bit)
    })
}
