//! Line spectral frequencies, which code the short-term predictor: RFC 6716, section 4.2.7.5.

use super::codebooks as tables;
use super::fixed::{mul_q16, saturate};
use super::tables::LSF_EXTENSION;
use crate::codec::opus::range::RangeDecoder;

/// Where the residual's range ends and its extension begins.
const AMPLITUDE: i32 = 4;
/// 0.1 in Q10: residuals are that much nearer to 0 than their index.
const LEVEL_ADJUST_Q10: i32 = 102;
/// Rounds of [`stabilize`] until it does without elegance.
const MAX_ROUNDS: usize = 20;
/// Half a turn, the highest frequency.
const HALF_TURN_Q15: i32 = 1 << 15;

/// The vectors of one internal rate.
pub(super) struct Codebook {
    pub(super) order: usize,
    step_q16: i32,
    stage_1: &'static [[u8; 32]; 2],
    vectors_q8: &'static [u8],
    stage_2: &'static [[u8; 9]; 8],
    select: &'static [u8],
    prediction_q8: [&'static [u8]; 2],
    spacing_q15: &'static [i16],
}

/// For 8 and 12 kHz.
pub(super) static NARROW: Codebook = Codebook {
    order: 10,
    step_q16: 11_796,
    stage_1: &tables::NARROW_STAGE_1,
    vectors_q8: tables::NARROW_VECTORS_Q8.as_flattened(),
    stage_2: &tables::NARROW_STAGE_2,
    select: tables::NARROW_SELECT.as_flattened(),
    prediction_q8: [
        &tables::NARROW_PREDICTION_Q8[0],
        &tables::NARROW_PREDICTION_Q8[1],
    ],
    spacing_q15: &tables::NARROW_SPACING_Q15,
};

/// For 16 kHz.
pub(super) static WIDE: Codebook = Codebook {
    order: 16,
    step_q16: 9_830,
    stage_1: &tables::WIDE_STAGE_1,
    vectors_q8: tables::WIDE_VECTORS_Q8.as_flattened(),
    stage_2: &tables::WIDE_STAGE_2,
    select: tables::WIDE_SELECT.as_flattened(),
    prediction_q8: [
        &tables::WIDE_PREDICTION_Q8[0],
        &tables::WIDE_PREDICTION_Q8[1],
    ],
    spacing_q15: &tables::WIDE_SPACING_Q15,
};

/// A vector and what is added to it.
#[derive(Clone, Debug, Default)]
pub(super) struct LsfIndices {
    vector: usize,
    residuals: [i8; 16],
}

impl Codebook {
    /// Reads the indices: sections 4.2.7.5.1 and 4.2.7.5.2.
    pub(super) fn read(&self, range: &mut RangeDecoder<'_>, is_voiced: bool) -> LsfIndices {
        let vector = range.symbol(&self.stage_1[usize::from(is_voiced)], 8);
        let mut residuals = [0; 16];
        for (at, residual) in residuals[..self.order].iter_mut().enumerate() {
            let book = self.selection(vector, at) >> 1 & 7;
            let mut index = range.symbol(&self.stage_2[book], 8) as i32 - AMPLITUDE;
            if index.abs() == AMPLITUDE {
                index += index.signum() * range.symbol(&LSF_EXTENSION, 8) as i32;
            }
            *residual = index as i8;
        }
        LsfIndices { vector, residuals }
    }

    /// The nibble of a coefficient.
    fn selection(&self, vector: usize, at: usize) -> usize {
        let pair = self.select[(vector * self.order + at) / 2];
        usize::from(pair >> (4 * (at & 1)))
    }

    /// The frequencies in order, of 2^15 for half a turn: sections 4.2.7.5.3 and 4.2.7.5.4.
    pub(super) fn dequantize(&self, indices: &LsfIndices) -> [i16; 16] {
        let mut lsf = [0; 16];
        let vector = &self.vectors_q8[indices.vector * self.order..][..self.order];
        let mut residual = 0;
        for at in (0..self.order).rev() {
            let weights = self.prediction_q8[self.selection(indices.vector, at) & 1];
            let weight = weights.get(at).copied().unwrap_or(0);
            let index = i32::from(indices.residuals[at]);
            let level = (index << 10) - index.signum() * LEVEL_ADJUST_Q10;
            residual = ((residual * i32::from(weight)) >> 8) + mul_q16(level, self.step_q16);
            let frequency = (residual << 14) / weight_q9(vector, at) + (i32::from(vector[at]) << 7);
            lsf[at] = frequency.clamp(0, HALF_TURN_Q15 - 1) as i16;
        }
        stabilize(&mut lsf[..self.order], self.spacing_q15);
        lsf
    }
}

/// How finely a coefficient is coded, by the distance of its neighbours: section 4.2.7.5.3.
fn weight_q9(vector: &[u8], at: usize) -> i32 {
    let value = |at: Option<usize>, other: i32| {
        let value = at.and_then(|at| vector.get(at));
        value.map_or(other, |value| i32::from(*value))
    };
    let here = value(Some(at), 0);
    let (below, above) = (value(at.checked_sub(1), 0), value(Some(at + 1), 256));
    let square = ((1024 / (here - below) + 1024 / (above - here)) as u32) << 16;
    let length = 32 - square.leading_zeros();
    let fraction = (square >> (length - 8) & 127) as i32;
    let root = if length & 1 == 1 { 32_768 } else { 46_214 } >> ((32 - length) >> 1);
    root + ((213 * fraction * root) >> 16)
}

/// Keeps the frequencies apart: section 4.2.7.5.4.
fn stabilize(lsf: &mut [i16], spacing: &[i16]) {
    for _ in 0..MAX_ROUNDS {
        let (at, room) = closest(lsf, spacing);
        if room >= 0 {
            return;
        }
        push_apart(lsf, spacing, at);
    }
    lsf.sort_unstable();
    let last = lsf.len() - 1;
    let mut floor = 0;
    for (frequency, spacing) in lsf.iter_mut().zip(spacing) {
        floor = saturate(floor + i32::from(*spacing)).max(*frequency).into();
        *frequency = floor as i16;
    }
    let mut ceiling = HALF_TURN_Q15;
    for at in (0..=last).rev() {
        ceiling = (ceiling - i32::from(spacing[at + 1])).min(lsf[at].into());
        lsf[at] = ceiling as i16;
    }
}

/// The first of the closest pairs, by the upper one, and the room between them that is not needed.
fn closest(lsf: &[i16], spacing: &[i16]) -> (usize, i32) {
    let (mut best, mut below) = ((0, i32::MAX), 0);
    let ends = lsf.iter().map(|frequency| i32::from(*frequency));
    for (at, frequency) in ends.chain([HALF_TURN_Q15]).enumerate() {
        let room = frequency - below - i32::from(spacing[at]);
        if room < best.1 {
            best = (at, room);
        }
        below = frequency;
    }
    best
}

/// Moves a pair apart around its middle, or one away from an end.
fn push_apart(lsf: &mut [i16], spacing: &[i16], at: usize) {
    let order = lsf.len();
    if at == 0 {
        lsf[0] = spacing[0];
    } else if at == order {
        lsf[order - 1] = (HALF_TURN_Q15 - i32::from(spacing[order])) as i16;
    } else {
        let sum = |part: &[i16]| part.iter().map(|gap| i32::from(*gap)).sum::<i32>();
        let gap = i32::from(spacing[at]);
        let low = sum(&spacing[..at]) + (gap >> 1);
        let high = HALF_TURN_Q15 - sum(&spacing[at + 1..]) - (gap >> 1);
        let pair = i32::from(lsf[at - 1]) + i32::from(lsf[at]);
        let middle = ((pair >> 1) + (pair & 1)).clamp(low.min(high), low.max(high));
        lsf[at - 1] = (middle - (gap >> 1)) as i16;
        lsf[at] = lsf[at - 1].wrapping_add(spacing[at]);
    }
}
