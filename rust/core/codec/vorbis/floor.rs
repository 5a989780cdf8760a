//! The floor: the coarse curve of a channel's spectrum. Sections 6 and 7.

use super::Fault;
use super::bits::Bits;
use super::codebook::Codebook;
use super::floor0::{Curve0, Floor0};
use super::floor1::{Floor1, Heights, Levels, levels};

/// What a header says of one floor.
#[derive(Debug)]
pub(super) enum Floor {
    Zero(Floor0),
    One(Floor1),
}

/// What a packet says of one channel's floor, whichever kind that is of.
#[derive(Debug, Default)]
pub(super) struct Curve {
    zero: Curve0,
    one: Heights,
}

/// What all factors are multiplied with.
#[derive(Debug)]
pub(super) struct Gain {
    factor: f32,
    levels: Box<Levels>,
}

impl Gain {
    pub(super) fn new(factor: f32) -> Self {
        let levels = Box::new(levels(factor));
        Self { factor, levels }
    }
}

impl Floor {
    /// Reads the header; `halves` are those of the short and the long block.
    pub(super) fn parse(
        bits: &mut Bits<'_>,
        books: &[Codebook],
        halves: [usize; 2],
    ) -> Result<Self, Fault> {
        match bits.need(16)? {
            0 => Floor0::parse(bits, books, halves).map(Self::Zero),
            1 => Floor1::parse(bits, books).map(Self::One),
            _ => Err(Fault("a floor has an unknown type")),
        }
    }

    /// Reads a curve from a packet; `None` where the channel is silent, or the packet ends before.
    pub(super) fn read(
        &self,
        bits: &mut Bits<'_>,
        books: &[Codebook],
        curve: &mut Curve,
    ) -> Option<()> {
        match self {
            Self::Zero(floor) => floor.read(bits, books, &mut curve.zero),
            Self::One(floor) => floor.read(bits, books, &mut curve.one),
        }
    }

    /// The curve that was read, as factors for half a block, `is_long` or not.
    pub(super) fn render(&self, curve: &Curve, is_long: bool, gain: &Gain, factors: &mut [f32]) {
        match self {
            Self::Zero(floor) => floor.render(&curve.zero, is_long, gain.factor, factors),
            Self::One(floor) => floor.render(&curve.one, &gain.levels, factors),
        }
    }
}
