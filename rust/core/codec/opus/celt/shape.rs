//! The shape of one band: halved while its bits are many, then pulses, or folded from lower bands.
//! RFC 6716, section 4.3.4.

mod split;

use self::split::{HALF_TURN, Split};
use super::allocation::Allocation;
use super::haar::{self, Mask};
use super::pvq::{self, Spread};
use super::tables::{COST_INDEX, COSTS, EIGHTHS};
use super::{Frame, PerBand};
use crate::codec::opus::range::RangeDecoder;

/// One bit, in eighths.
const BIT: i32 = 1 << EIGHTHS;
/// So many eighths more than its dearest shape makes a band worth halving.
const SPLIT_BITS: i32 = 12;
/// Bits that one half leaves over and the other does not get.
const KEPT_BITS: i32 = 3 * BIT;

/// What the shapes of a frame are decoded by.
pub(super) struct Shapes<'a> {
    pub(super) frame: &'a Frame,
    pub(super) allocation: &'a Allocation,
    pub(super) resolutions: &'a PerBand<i32>,
    pub(super) spread: Spread,
    pub(super) may_invert: bool,
}

/// The generator that libopus and the specification share.
pub(super) fn next_random(seed: u32) -> u32 {
    seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}

/// Scales to the norm `gain`.
pub(super) fn normalise(shape: &mut [f32], gain: f32) {
    let scale = gain / (1e-15 + dot(shape, shape)).sqrt();
    for value in shape {
        *value *= scale;
    }
}

/// Inner product, in lanes: one sum would wait for itself.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail = a.remainder().iter().zip(b.remainder());
    let tail = tail.map(|(a, b)| a * b).sum::<f32>();
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + tail
}

/// Where a band is folded from, and where it is put to be folded from.
pub(super) struct Fold<'n> {
    pub(super) norm: &'n mut [f32],
    pub(super) from: Option<usize>,
    pub(super) to: Option<usize>,
    /// Room for one band.
    pub(super) changed: &'n mut [f32],
}

impl<'n> Fold<'n> {
    pub(super) fn new(
        norm: &'n mut [f32],
        changed: &'n mut [f32],
        from: Option<usize>,
        to: Option<usize>,
    ) -> Self {
        Self {
            norm,
            from,
            to,
            changed,
        }
    }
}

/// Decodes bands one after the other. Bits are eighths of bits.
pub(super) struct ShapeDecoder<'a, 'd> {
    pub(super) range: &'a mut RangeDecoder<'d>,
    pub(super) seed: u32,
    pub(super) band: usize,
    pub(super) remaining: i32,
    /// Change of the resolution in time: more blocks are negative.
    pub(super) resolution: i32,
    pub(super) log_blocks: i32,
    pub(super) blocks: usize,
    pub(super) intensity: usize,
    pub(super) may_invert: bool,
    spread: Spread,
}

/// A part of a band that is halved or coded.
#[derive(Clone, Copy)]
pub(super) struct Part<'l> {
    pub(super) bits: i32,
    pub(super) blocks: usize,
    pub(super) log_blocks: i32,
    pub(super) folded: Option<&'l [f32]>,
    pub(super) gain: f32,
    pub(super) fill: Mask,
}

impl<'a, 'd> ShapeDecoder<'a, 'd> {
    pub(super) fn new(range: &'a mut RangeDecoder<'d>, seed: u32, shapes: &Shapes<'_>) -> Self {
        Self {
            range,
            seed,
            band: 0,
            remaining: 0,
            resolution: 0,
            log_blocks: shapes.frame.log_blocks as i32,
            blocks: shapes.frame.blocks(),
            intensity: shapes.allocation.intensity,
            may_invert: shapes.may_invert,
            spread: shapes.spread,
        }
    }

    /// A band of one channel. Returns which blocks are not empty.
    pub(super) fn band(
        &mut self,
        shape: &mut [f32],
        bits: i32,
        fold: &mut Fold<'_>,
        gain: f32,
        fill: Mask,
    ) -> Mask {
        if shape.len() == 1 {
            return self.sign(shape, Some(fold));
        }
        let resolution = haar::Resolution::new(self.blocks, shape.len(), self.resolution);
        let fill = resolution.fill(fill);
        let folded = fold.from.map(|from| &fold.norm[from..from + shape.len()]);
        let folded = folded.map(|folded| resolution.forward(folded, fold.changed));
        let part = Part {
            bits,
            blocks: resolution.blocks(),
            log_blocks: self.log_blocks,
            folded,
            gain,
            fill,
        };
        let mask = self.part(shape, part);
        let mask = resolution.back(shape, mask);
        if let Some(to) = fold.to {
            let scale = (shape.len() as f32).sqrt();
            for (folded, value) in fold.norm[to..].iter_mut().zip(shape) {
                *folded = scale * *value;
            }
        }
        mask
    }

    /// A band of a single bin is but a sign.
    fn sign(&mut self, shape: &mut [f32], fold: Option<&mut Fold<'_>>) -> Mask {
        let mut is_negative = false;
        if self.remaining >= BIT {
            is_negative = self.range.raw(1) != 0;
            self.remaining -= BIT;
        }
        shape[0] = if is_negative { -1.0 } else { 1.0 };
        if let Some(fold) = fold
            && let Some(to) = fold.to
        {
            fold.norm[to] = shape[0];
        }
        1
    }

    /// A band of two channels: section 4.3.4.4.
    pub(super) fn stereo(
        &mut self,
        x: &mut [f32],
        y: &mut [f32],
        bits: i32,
        fold: &mut Fold<'_>,
        fill: Mask,
    ) -> Mask {
        if x.len() == 1 {
            self.sign(x, Some(fold));
            return self.sign(y, None);
        }
        let mut part = Part {
            bits,
            blocks: self.blocks,
            log_blocks: self.log_blocks,
            folded: None,
            gain: 1.0,
            fill,
        };
        let split = self.split(x.len(), &mut part, self.blocks, true);
        let mask = if x.len() == 2 {
            self.pair(x, y, part.bits, &split, fold, fill)
        } else {
            let mask = self.mid_and_side(x, y, &part, &split, fold);
            merge(x, y, split.mid);
            mask
        };
        if split.is_inverted {
            y.iter_mut().for_each(|value| *value = -*value);
        }
        mask
    }

    /// Two bins: the side stands on the mid, to the left or to the right.
    fn pair(
        &mut self,
        x: &mut [f32],
        y: &mut [f32],
        bits: i32,
        split: &Split,
        fold: &mut Fold<'_>,
        fill: Mask,
    ) -> Mask {
        let mut sign = 1.0;
        let mut mid_bits = bits;
        if split.angle != 0 && split.angle != HALF_TURN {
            mid_bits -= BIT;
            self.remaining -= BIT;
            sign = 1.0 - 2.0 * self.range.raw(1) as f32;
        }
        let is_swapped = split.angle > HALF_TURN / 2;
        let (first, second) = if is_swapped {
            (&mut *y, &mut *x)
        } else {
            (&mut *x, &mut *y)
        };
        let mask = self.band(first, mid_bits, fold, 1.0, fill);
        second[0] = -sign * first[1];
        second[1] = sign * first[0];
        for (x, y) in x.iter_mut().zip(y) {
            let (mid, side) = (split.mid * *x, split.side * *y);
            *x = mid - side;
            *y = mid + side;
        }
        mask
    }

    fn mid_and_side(
        &mut self,
        x: &mut [f32],
        y: &mut [f32],
        part: &Part<'_>,
        split: &Split,
        fold: &mut Fold<'_>,
    ) -> Mask {
        let (mut mid_bits, mut side_bits) = split.divide(part.bits);
        let side_fill = part.fill >> self.blocks;
        let mut none = Fold::new(&mut [], &mut [], None, None);
        let before = self.remaining;
        if mid_bits >= side_bits {
            let mask = self.band(x, mid_bits, fold, 1.0, part.fill);
            side_bits += self.left_over(mid_bits, before, split.angle != 0);
            mask | self.band(y, side_bits, &mut none, split.side, side_fill)
        } else {
            let mask = self.band(y, side_bits, &mut none, split.side, side_fill);
            mid_bits += self.left_over(side_bits, before, split.angle != HALF_TURN);
            mask | self.band(x, mid_bits, fold, 1.0, part.fill)
        }
    }

    /// Of `bits`, what the half since `before` did not take.
    fn left_over(&self, bits: i32, before: i32, is_useful: bool) -> i32 {
        let left = bits - (before - self.remaining);
        if is_useful {
            (left - KEPT_BITS).max(0)
        } else {
            0
        }
    }

    /// Halves a band of one channel, or decodes it.
    fn part(&mut self, shape: &mut [f32], part: Part<'_>) -> Mask {
        let costs = costs(part.log_blocks, self.band);
        let dearest = costs.last().copied().unwrap_or(0);
        let is_rich = part.bits > i32::from(dearest) + SPLIT_BITS;
        if part.log_blocks != -1 && shape.len() > 2 && is_rich {
            return self.halve(shape, part);
        }
        let pulses = self.affordable(costs, part.bits);
        if pulses == 0 {
            return self.fold(shape, &part);
        }
        pvq::decode(
            self.range,
            shape,
            pulse_count(pulses),
            self.spread,
            part.blocks,
            part.gain,
        )
    }

    fn halve(&mut self, shape: &mut [f32], whole: Part<'_>) -> Mask {
        let half = shape.len() / 2;
        let (low, high) = shape.split_at_mut(half);
        let mut part = whole;
        part.log_blocks -= 1;
        if whole.blocks == 1 {
            part.fill = part.fill & 1 | part.fill << 1;
        }
        part.blocks = whole.blocks.div_ceil(2);
        let mut split = self.split(half, &mut part, whole.blocks, false);
        if whole.blocks > 1 {
            split.tilt(half, part.log_blocks);
        }
        let (low_bits, high_bits) = split.divide(part.bits);
        let mut low_part = Part {
            bits: low_bits,
            gain: part.gain * split.mid,
            ..part
        };
        let mut high_part = Part {
            bits: high_bits,
            gain: part.gain * split.side,
            folded: part.folded.map(|folded| &folded[half..]),
            fill: part.fill >> part.blocks,
            ..part
        };
        let shift = whole.blocks >> 1;
        let before = self.remaining;
        if low_bits >= high_bits {
            let mask = self.part(low, low_part);
            high_part.bits += self.left_over(low_bits, before, split.angle != 0);
            mask | self.part(high, high_part) << shift
        } else {
            let mask = self.part(high, high_part) << shift;
            low_part.bits += self.left_over(high_bits, before, split.angle != HALF_TURN);
            mask | self.part(low, low_part)
        }
    }

    /// Pseudo-pulses nearest to `bits` that the frame still has bits for, which they take.
    fn affordable(&mut self, costs: &[u8], bits: i32) -> usize {
        let mut pulses = nearest(costs, bits);
        while pulses > 0 && cost(costs, pulses) > self.remaining {
            pulses -= 1;
        }
        self.remaining -= cost(costs, pulses);
        pulses
    }

    /// A shape without pulses: lower bands with a little noise, noise, or nothing.
    fn fold(&mut self, shape: &mut [f32], part: &Part<'_>) -> Mask {
        let all = (1 << part.blocks) - 1;
        let fill = part.fill & all;
        if fill == 0 {
            shape.fill(0.0);
            return 0;
        }
        let mask = match part.folded {
            Some(folded) => {
                for (value, folded) in shape.iter_mut().zip(folded) {
                    self.seed = next_random(self.seed);
                    let noise = if self.seed & 0x8000 != 0 { 1.0 } else { -1.0 };
                    *value = folded + noise / 256.0;
                }
                fill
            }
            None => {
                for value in shape.iter_mut() {
                    self.seed = next_random(self.seed);
                    *value = (self.seed as i32 >> 20) as f32;
                }
                all
            }
        };
        normalise(shape, part.gain);
        mask
    }
}

/// Mid and side to left and right, of unit norm each.
fn merge(x: &mut [f32], y: &mut [f32], mid: f32) {
    let (cross, side) = (dot(x, y), dot(y, y));
    let left = mid * mid + side - 2.0 * mid * cross;
    let right = mid * mid + side + 2.0 * mid * cross;
    if right < 6e-4 || left < 6e-4 {
        y.copy_from_slice(x);
        return;
    }
    let (left, right) = (1.0 / left.sqrt(), 1.0 / right.sqrt());
    for (x, y) in x.iter_mut().zip(y) {
        let (m, s) = (mid * *x, *y);
        *x = left * (m - s);
        *y = right * (m + s);
    }
}

/// Costs of pseudo-pulses, one eighth less than they take.
fn costs(log_blocks: i32, band: usize) -> &'static [u8] {
    let at = usize::from(COST_INDEX[(log_blocks + 1) as usize][band]);
    &COSTS[at + 1..][..usize::from(COSTS[at])]
}

fn cost(costs: &[u8], pulses: usize) -> i32 {
    match pulses {
        0 => 0,
        _ => i32::from(costs[pulses - 1]) + 1,
    }
}

/// Pseudo-pulses whose cost is nearest to `bits`, the fewer of two that are as near.
fn nearest(costs: &[u8], bits: i32) -> usize {
    let bits = bits - 1;
    let above = costs.partition_point(|cost| i32::from(*cost) < bits);
    if above == costs.len() {
        return above;
    }
    let low = if above == 0 {
        -1
    } else {
        i32::from(costs[above - 1])
    };
    let high = i32::from(costs[above]);
    if bits - low <= high - bits {
        above
    } else {
        above + 1
    }
}

/// Pulses that pseudo-pulses stand for: above 8 they get sparse.
fn pulse_count(pseudo: usize) -> usize {
    match pseudo {
        0..8 => pseudo,
        _ => (8 + (pseudo & 7)) << ((pseudo >> 3) - 1),
    }
}
