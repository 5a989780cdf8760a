//! The filters between the excitation and speech.

use super::super::fixed::{product, round, saturate, shift_long, sub_product};
use super::lsf::{Filter, Lines};
use super::{ORDER, SUBFRAME, Subframe};

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
    let [first, a, b, c, d, e, f, g, h, i, j] = filter.map(i32::from);
    let [
        mut q,
        mut p,
        mut o,
        mut n,
        mut m,
        mut l,
        mut k,
        mut z,
        mut y,
        mut x,
    ] = memory.map(i32::from);
    let mut is_loud = false;
    for (to, from) in to.iter_mut().zip(from) {
        let far = y * b + z * c + k * d + l * e + m * f + n * g + o * h + p * i + q * j;
        let value = (i32::from(*from) * first - far - x * a + 0x800) >> 12;
        *to = saturate(value);
        let next = i32::from(*to);
        is_loud |= next != value;
        (q, p, o, n, m, l, k, z, y, x) = (p, o, n, m, l, k, z, y, x, next);
    }
    *memory = [q, p, o, n, m, l, k, z, y, x].map(|past| past as i16);
    is_loud
}

/// Filters by `filter`: the last [`ORDER`] samples come before those that are filtered.
pub(super) fn residual(filter: &Filter, from: &[i16; ORDER + SUBFRAME]) -> Subframe {
    let mut sums = [0x800i64; SUBFRAME];
    for (at, weight) in filter.iter().rev().enumerate() {
        for (sum, sample) in sums.iter_mut().zip(&from[at..]) {
            *sum += i64::from(i32::from(*sample) * i32::from(*weight));
        }
    }
    sums.map(|sum| (sum >> 12).clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16)
}
