//! Shapes of bands, coded as pulses on a pyramid: RFC 6716, section 4.3.4.

use crate::codec::opus::range::RangeDecoder;

/// Pulses on up to so many dimensions are counted whatever they are, and up to so many pulses on any.
const FEW: usize = 15;
/// The widest part of a band has 176 bins, and pulses are 128 at most: one more each.
const MANY: usize = 178;

/// `U(N, K)` of section 4.3.4.2, `N` first: ways to place K pulses on N dimensions with one in the first
/// that is positive. Those that no symbol can hold are full.
static ON_FEW: [[u32; MANY]; FEW] = counts();
/// The same for many dimensions and few pulses.
static ON_MANY: [[u32; FEW + 1]; MANY] = counts();

const fn counts<const N: usize, const K: usize>() -> [[u32; K]; N] {
    let mut table = [[0_u32; K]; N];
    table[0][0] = 1;
    let mut dimensions = 1;
    while dimensions < N {
        let mut pulses = 1;
        while pulses < K {
            table[dimensions][pulses] = table[dimensions - 1][pulses]
                .saturating_add(table[dimensions][pulses - 1])
                .saturating_add(table[dimensions - 1][pulses - 1]);
            pulses += 1;
        }
        dimensions += 1;
    }
    table
}

/// Counts by pulses.
fn counts_on(dimensions: usize) -> &'static [u32] {
    match ON_FEW.get(dimensions) {
        Some(row) => row,
        None => &ON_MANY[dimensions],
    }
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
    let counts = counts_on(shape.len());
    let mut index = range.uniform(counts[pulses].saturating_add(counts[pulses + 1]));
    let mut energy = 0.0;
    let last = shape.len() - 1;
    for at in 0..last {
        let counts = counts_on(last + 1 - at);
        let before = pulses;
        let is_negative = index >= counts[pulses + 1];
        if is_negative {
            index -= counts[pulses + 1];
        }
        pulses = most_below(counts, pulses, index);
        index -= counts[pulses];
        let placed = (before - pulses) as f32;
        shape[at] = if is_negative { -placed } else { placed };
        energy += placed * placed;
        if pulses == 0 {
            shape[at + 1..].fill(0.0);
            return energy;
        }
    }
    let placed = pulses as f32;
    shape[last] = if index != 0 { -placed } else { placed };
    energy + placed * placed
}

/// The most pulses up to `most` whose count is not above `index`. The first count is 0.
fn most_below(counts: &[u32], most: usize, index: u32) -> usize {
    /// Below, one takes fewer steps down than one would search.
    const FEW_STEPS: usize = 12;
    if most > FEW_STEPS && counts[most] > index {
        return counts[..most].partition_point(|count| *count <= index) - 1;
    }
    let mut pulses = most;
    while counts[pulses] > index {
        pulses -= 1;
    }
    pulses
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
    if stride == 1 {
        turn_along(block.iter_mut(), cosine, sine);
        let below = block.len().saturating_sub(1);
        return turn_along(block[..below].iter_mut().rev(), cosine, -sine);
    }
    let turn = |low: &mut f32, high: &mut f32| {
        (*low, *high) = (cosine * *low - sine * *high, cosine * *high + sine * *low);
    };
    // Those within a stride do not depend on each other.
    let turn_all = |block: &mut [f32], from: usize, to: usize| {
        let (low, high) = block[from..to + stride].split_at_mut(stride);
        low.iter_mut()
            .zip(high)
            .for_each(|(low, high)| turn(low, high));
    };
    let up = block.len().saturating_sub(stride);
    let down = up.saturating_sub(stride);
    for from in (0..up).step_by(stride) {
        turn_all(block, from, up.min(from + stride));
    }
    for skipped in (0..down).step_by(stride) {
        let to = down - skipped;
        turn_all(block, to.saturating_sub(stride), to);
    }
}

/// Rotates each value and the one after it.
fn turn_along<'s>(mut values: impl Iterator<Item = &'s mut f32>, cosine: f32, sine: f32) {
    let Some(mut place) = values.next() else {
        return;
    };
    let mut carry = *place;
    for value in values {
        *place = cosine * carry - sine * *value;
        carry = cosine * *value + sine * carry;
        place = value;
    }
    *place = carry;
}
