//! The filters between the excitation and speech.

use super::super::fixed::{product, round, saturate, shift_long, sub_product};
use super::ORDER;
use super::lsf::{Filter, Lines};

/// Filters `from` by `1 / filter`, after the samples that `memory` has, and keeps the last ones there; whether a sample
/// was too loud. 3GPP TS 26.073 computes with 32 bits and the nearest number at each step.
pub(super) fn synthesise(
    filter: &Filter,
    from: &[i16],
    to: &mut [i16],
    memory: &mut Lines,
) -> bool {
    // As long as no sum on the way can be too large, their order makes no difference.
    let weights: i32 = filter.iter().map(|weight| i32::from(*weight).abs()).sum();
    if weights < 1 << 15 {
        return synthesise_small(filter, from, to, memory);
    }
    let mut is_loud = false;
    for (to, from) in to.iter_mut().zip(from) {
        let first = product(*from, filter[0]);
        let pairs = filter[1..].iter().zip(memory.iter().rev());
        let sum = pairs.fold(first, |sum, (weight, past)| {
            sub_product(sum, *weight, *past)
        });
        let sum = shift_long(sum, 3);
        is_loud |= sum == i32::MAX || sum == i32::MIN;
        *to = round(sum);
        memory.rotate_left(1);
        memory[ORDER - 1] = *to;
    }
    is_loud
}

fn synthesise_small(filter: &Filter, from: &[i16], to: &mut [i16], memory: &mut Lines) -> bool {
    let mut weights = [0i32; ORDER];
    for (to, weight) in weights.iter_mut().zip(filter[1..].iter().rev()) {
        *to = i32::from(*weight);
    }
    let mut past = memory.map(i32::from);
    let mut is_loud = false;
    for (to, from) in to.iter_mut().zip(from) {
        let sum: i32 = past
            .iter()
            .zip(&weights)
            .map(|(past, weight)| past * weight)
            .sum();
        let value = (i32::from(*from) * i32::from(filter[0]) - sum + 0x800) >> 12;
        *to = saturate(value);
        is_loud |= i32::from(*to) != value;
        past.rotate_left(1);
        past[ORDER - 1] = i32::from(*to);
    }
    *memory = past.map(|past| past as i16);
    is_loud
}

/// Filters by `filter`: the last [`ORDER`] samples come before those that are filtered.
pub(super) fn residual(filter: &Filter, from: &[i16], to: &mut [i16]) {
    let mut weights = [0i32; ORDER + 1];
    for (to, weight) in weights.iter_mut().zip(filter.iter().rev()) {
        *to = i32::from(*weight);
    }
    for (to, window) in to.iter_mut().zip(from.windows(ORDER + 1)) {
        let pairs = window.iter().zip(&weights);
        let sum: i64 = pairs
            .map(|(sample, weight)| i64::from(i32::from(*sample) * weight))
            .sum();
        *to = ((sum + 0x800) >> 12).clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16;
    }
}
