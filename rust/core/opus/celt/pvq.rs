//! Shapes of bands, coded as pulses on a pyramid: RFC 6716, section 4.3.4.

use crate::opus::range::RangeDecoder;

/// Pulses by section 4.3.4.2 are counted for so many dimensions or pulses, whichever are fewer.
const ROWS: usize = 15;
/// Dimensions or pulses, whichever are more: 176 of both need one more.
const COLUMNS: usize = 178;

/// `U(N, K)`: ways to place K pulses on N dimensions with one in the first, which is positive or has
/// another before it. Symmetric; those that no symbol can hold are full.
static COUNTS: [[u32; COLUMNS]; ROWS] = counts();

const fn counts() -> [[u32; COLUMNS]; ROWS] {
    let mut table = [[0_u32; COLUMNS]; ROWS];
    table[0][0] = 1;
    let mut row = 1;
    while row < ROWS {
        let mut column = 1;
        while column < COLUMNS {
            table[row][column] = table[row - 1][column]
                .saturating_add(table[row][column - 1])
                .saturating_add(table[row - 1][column - 1]);
            column += 1;
        }
        row += 1;
    }
    table
}

fn count(dimensions: usize, pulses: usize) -> u32 {
    COUNTS[dimensions.min(pulses)][dimensions.max(pulses)]
}

/// How much pulses are spread over the band: section 4.3.4.3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Spread {
    None,
    Light,
    Normal,
    Aggressive,
}

impl Spread {
    pub(super) fn from_symbol(symbol: usize) -> Self {
        match symbol {
            0 => Self::None,
            1 => Self::Light,
            2 => Self::Normal,
            _ => Self::Aggressive,
        }
    }

    /// The larger, the sooner pulses are too many to be spread.
    fn factor(self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Light => Some(15),
            Self::Normal => Some(10),
            Self::Aggressive => Some(5),
        }
    }
}

/// Decodes `pulses` into a shape of norm `gain`, in `blocks` interleaved ones. Returns a bit for each
/// block that is not empty.
pub(super) fn decode(
    range: &mut RangeDecoder<'_>,
    shape: &mut [f32],
    pulses: usize,
    spread: Spread,
    blocks: usize,
    gain: f32,
) -> u32 {
    let energy = place_pulses(range, shape, pulses);
    let mask = filled_blocks(shape, blocks);
    let scale = gain / energy.sqrt();
    for value in shape.iter_mut() {
        *value *= scale;
    }
    spread_pulses(shape, pulses, spread, blocks);
    mask
}

/// Section 4.3.4.2. Returns the sum of the squares.
fn place_pulses(range: &mut RangeDecoder<'_>, shape: &mut [f32], mut pulses: usize) -> f32 {
    let dimensions = shape.len();
    let ways = count(dimensions, pulses).saturating_add(count(dimensions, pulses + 1));
    let mut index = range.uniform(ways);
    let mut energy = 0.0;
    for (at, value) in shape.iter_mut().enumerate() {
        let dimensions = dimensions - at;
        let before = pulses;
        let positive = count(dimensions, pulses + 1);
        let is_negative = index >= positive;
        if is_negative {
            index -= positive;
        }
        while count(dimensions, pulses) > index {
            pulses -= 1;
        }
        index -= count(dimensions, pulses);
        let placed = (before - pulses) as f32;
        *value = if is_negative { -placed } else { placed };
        energy += placed * placed;
    }
    energy
}

/// A bit for each block with a pulse.
fn filled_blocks(shape: &[f32], blocks: usize) -> u32 {
    if blocks <= 1 {
        return 1;
    }
    let filled = |block: &[f32]| u32::from(block.iter().any(|value| *value != 0.0));
    shape
        .chunks_exact(shape.len() / blocks)
        .enumerate()
        .fold(0, |mask, (at, block)| mask | filled(block) << at)
}

/// Rotates neighbours into each other, so that few pulses do not sound like tones.
fn spread_pulses(shape: &mut [f32], pulses: usize, spread: Spread, blocks: usize) {
    let Some(factor) = spread.factor() else {
        return;
    };
    let bins = shape.len();
    if 2 * pulses >= bins {
        return;
    }
    let gain = bins as f32 / (bins + factor * pulses) as f32;
    let angle = 0.5 * gain * gain * std::f32::consts::FRAC_PI_2;
    let (sine, cosine) = angle.sin_cos();
    let stride = far_stride(bins, blocks);
    for block in shape.chunks_exact_mut(bins / blocks) {
        if stride > 0 {
            rotate(block, stride, sine, cosine);
        }
        rotate(block, 1, cosine, sine);
    }
}

/// Distance of the second rotation, 0 where there is none: about the root of a block's bins.
fn far_stride(bins: usize, blocks: usize) -> usize {
    if bins < 8 * blocks {
        return 0;
    }
    let is_short = |stride: &usize| (stride * stride + stride) * blocks + (blocks >> 2) < bins;
    (1..).find(|stride| !is_short(stride)).unwrap_or(0)
}

/// Rotates each bin and the one `stride` above it, upwards and then down again.
fn rotate(block: &mut [f32], stride: usize, cosine: f32, sine: f32) {
    let bins = block.len();
    let mut turn = |at: usize| {
        let (low, high) = (block[at], block[at + stride]);
        block[at + stride] = cosine * high + sine * low;
        block[at] = cosine * low - sine * high;
    };
    (0..bins.saturating_sub(stride)).for_each(&mut turn);
    (0..bins.saturating_sub(2 * stride)).rev().for_each(turn);
}
