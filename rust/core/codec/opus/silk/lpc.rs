//! The short-term predictor: its coefficients, and the filters made of them.

use super::fixed::{
    inverse, mul_q16, mul_q32, round_shift, round_shift_64, saturate, shift_saturating,
};
use super::tables::COSINE_Q12;

/// The most coefficients, and samples that a filter remembers.
pub(super) const MAX_ORDER: usize = 16;
/// The most samples of a subframe.
const MAX_SUBFRAME: usize = 80;
/// Frequencies in the order that loses the least precision: RFC 6716, table 27.
const WIDE_ORDER: [usize; 16] = [0, 15, 8, 7, 4, 11, 12, 3, 2, 13, 10, 5, 6, 9, 14, 1];
const NARROW_ORDER: [usize; 10] = [0, 9, 6, 3, 4, 5, 8, 1, 2, 7];
/// 1 in Q16.
const ONE_Q16: i32 = 1 << 16;
/// Rounds until coefficients fit into 16 bits, and until they are stable.
const FIT_ROUNDS: usize = 10;
const STABLE_ROUNDS: u32 = 16;

/// Coefficients (Q12) of the frequencies in order: section 4.2.7.5.6 to 4.2.7.5.8.
pub(super) fn from_lsf(lsf: &[i16]) -> [i16; MAX_ORDER] {
    let order = lsf.len();
    let ordering: &[usize] = if order == WIDE_ORDER.len() {
        &WIDE_ORDER
    } else {
        &NARROW_ORDER
    };
    let mut cosines = [0; MAX_ORDER];
    for (frequency, at) in lsf.iter().zip(ordering) {
        cosines[*at] = cosine_q16(*frequency);
    }
    let half = order / 2;
    let sum = polynomial(&cosines, half);
    let difference = polynomial(&cosines[1..], half);
    let mut wide = [0i32; MAX_ORDER];
    for at in 0..half {
        let even = sum[at + 1].wrapping_add(sum[at]);
        let odd = difference[at + 1].wrapping_sub(difference[at]);
        wide[at] = odd.wrapping_add(even).wrapping_neg();
        wide[order - 1 - at] = odd.wrapping_sub(even);
    }
    stable(&mut wide[..order])
}

fn cosine_q16(frequency: i16) -> i32 {
    let (at, part) = ((frequency >> 8) as usize, i32::from(frequency & 255));
    let here = i32::from(COSINE_Q12[at]);
    let step = i32::from(COSINE_Q12[at + 1]) - here;
    round_shift((here << 8) + step * part, 4)
}

/// The product of quadratic factors, of every other one of the cosines.
fn polynomial(cosines: &[i32], degree: usize) -> [i32; MAX_ORDER / 2 + 1] {
    let product = |a: i32, b: i32| round_shift_64(i64::from(a) * i64::from(b), 16) as i32;
    let mut out = [0i32; MAX_ORDER / 2 + 1];
    out[0] = ONE_Q16;
    out[1] = -cosines[0];
    for k in 1..degree {
        let cosine = cosines[2 * k];
        out[k + 1] = (out[k - 1] << 1).wrapping_sub(product(cosine, out[k]));
        for n in (2..=k).rev() {
            let change = out[n - 2].wrapping_sub(product(cosine, out[n - 1]));
            out[n] = out[n].wrapping_add(change);
        }
        out[1] = out[1].wrapping_sub(cosine);
    }
    out
}

/// Rounds from Q17 to Q12, and widens the peaks until the filter is stable.
fn stable(wide: &mut [i32]) -> [i16; MAX_ORDER] {
    let mut coefficients = fit(wide);
    for round in 0..STABLE_ROUNDS {
        if inverse_gain(&coefficients[..wide.len()]) != 0 {
            break;
        }
        widen_q17(wide, ONE_Q16 - (2 << round));
        for (to, from) in coefficients.iter_mut().zip(&*wide) {
            *to = round_shift(*from, 5) as i16;
        }
    }
    coefficients
}

/// Widens the peaks until the coefficients fit into 16 bits: section 4.2.7.5.7.
fn fit(wide: &mut [i32]) -> [i16; MAX_ORDER] {
    let mut coefficients = [0; MAX_ORDER];
    for _ in 0..FIT_ROUNDS {
        let (at, largest) = largest(wide);
        let largest = round_shift(largest, 5);
        if largest <= i32::from(i16::MAX) {
            for (to, from) in coefficients.iter_mut().zip(wide) {
                *to = round_shift(*from, 5) as i16;
            }
            return coefficients;
        }
        let largest = largest.min(163_838);
        let excess = (largest - i32::from(i16::MAX)) << 14;
        widen_q17(wide, 65_470 - excess / ((largest * (at + 1)) >> 2));
    }
    for (to, from) in coefficients.iter_mut().zip(wide) {
        *to = saturate(round_shift(*from, 5));
        *from = i32::from(*to) << 5;
    }
    coefficients
}

/// The first of the largest, and its size.
fn largest(wide: &[i32]) -> (i32, i32) {
    let mut best = (0, 0);
    for (at, value) in wide.iter().enumerate() {
        if value.wrapping_abs() > best.1 {
            best = (at as i32, value.wrapping_abs());
        }
    }
    best
}

/// Multiplies coefficients by rising powers of `chirp`.
fn widen_q17(wide: &mut [i32], chirp: i32) {
    let mut power = chirp;
    for value in wide {
        *value = mul_q16(*value, power);
        power = next_power(power, chirp);
    }
}

/// As [`widen_q17`], for finished coefficients.
pub(super) fn widen(coefficients: &mut [i16], chirp: i32) {
    let mut power = chirp;
    for value in coefficients {
        *value = round_shift(power.wrapping_mul(i32::from(*value)), 16) as i16;
        power = next_power(power, chirp);
    }
}

fn next_power(power: i32, chirp: i32) -> i32 {
    power + round_shift(power.wrapping_mul(chirp - ONE_Q16), 16)
}

/// One over the power that the predictor gains (Q30), or 0 of an unstable one: section 4.2.7.5.8.
pub(super) fn inverse_gain(coefficients: &[i16]) -> i32 {
    const LIMIT: i32 = 16_773_022;
    const LEAST_Q30: i32 = 107_374;
    const ONE_Q30: i32 = 1 << 30;
    if coefficients
        .iter()
        .map(|value| i32::from(*value))
        .sum::<i32>()
        >= 4096
    {
        return 0;
    }
    let mut a = [0i32; MAX_ORDER];
    for (to, from) in a.iter_mut().zip(coefficients) {
        *to = i32::from(*from) << 12;
    }
    let mut gain = ONE_Q30;
    for k in (0..coefficients.len()).rev() {
        if !(-LIMIT..=LIMIT).contains(&a[k]) {
            return 0;
        }
        let reflection = -(a[k] << 7);
        let rest = ONE_Q30 - mul_q32(reflection, reflection);
        gain = mul_q32(gain, rest) << 2;
        if gain < LEAST_Q30 {
            return 0;
        }
        if step_down(&mut a[..k], reflection, rest).is_none() {
            return 0;
        }
    }
    gain
}

/// Takes one reflection (Q31) off a filter, unless that overflows; `rest` is 1 less its square.
fn step_down(a: &mut [i32], reflection: i32, rest: i32) -> Option<()> {
    let bits = 32 - rest.leading_zeros();
    let scale = i64::from(inverse(rest, bits as i32 + 30));
    let apart = |one: i32, other: i32| {
        let part = round_shift_64(i64::from(other) * i64::from(reflection), 31) as i32;
        let value = round_shift_64(i64::from(one.saturating_sub(part)) * scale, bits);
        i32::try_from(value).ok()
    };
    for low in 0..a.len().div_ceil(2) {
        let high = a.len() - 1 - low;
        let (one, other) = (a[low], a[high]);
        a[low] = apart(one, other)?;
        a[high] = apart(other, one)?;
    }
    Some(())
}

/// What the predictor leaves of `signal`, after the samples that it needs to begin with.
pub(super) fn whiten<'a>(
    signal: &'a [i16],
    coefficients: &'a [i16],
) -> impl Iterator<Item = i16> + 'a {
    let order = coefficients.len();
    signal.windows(order + 1).map(move |window| {
        let past = window[..order].iter().rev();
        let predicted = past.zip(coefficients).fold(0i32, |sum, (sample, value)| {
            sum.wrapping_add(i32::from(*sample) * i32::from(*value))
        });
        let here = i32::from(window[order]) << 12;
        saturate(round_shift(here.wrapping_sub(predicted), 12))
    })
}

/// What the filter remembers: its last samples in Q14, in units of the gain.
pub(super) type Memory = [i32; MAX_ORDER];

/// Filters an excitation (Q14) and applies the gain (Q10): section 4.2.7.9.2.
pub(super) fn synthesize(
    coefficients: &[i16],
    gain: i32,
    excitation: &[i32],
    memory: &mut Memory,
    out: &mut [i16],
) {
    let parts = excitation
        .chunks(MAX_SUBFRAME)
        .zip(out.chunks_mut(MAX_SUBFRAME));
    for (excitation, out) in parts {
        if let Ok(coefficients) = <&[i16; 16]>::try_from(coefficients) {
            filter(coefficients, gain, excitation, memory, out);
        } else if let Ok(coefficients) = <&[i16; 10]>::try_from(coefficients) {
            filter(coefficients, gain, excitation, memory, out);
        }
    }
}

fn filter<const ORDER: usize>(
    coefficients: &[i16; ORDER],
    gain: i32,
    excitation: &[i32],
    memory: &mut Memory,
    out: &mut [i16],
) {
    let mut signal = [0; MAX_ORDER + MAX_SUBFRAME];
    signal[..MAX_ORDER].copy_from_slice(memory);
    let coefficients = coefficients.map(i32::from);
    for (at, (excitation, out)) in excitation.iter().zip(out).enumerate() {
        let past = &signal[at..at + MAX_ORDER];
        let mut predicted = ORDER as i32 / 2;
        for (value, sample) in coefficients.iter().zip(past.iter().rev()) {
            predicted = predicted.wrapping_add(mul_q16(*sample, *value));
        }
        let sample = excitation.saturating_add(shift_saturating(predicted, 4));
        signal[at + MAX_ORDER] = sample;
        *out = saturate(round_shift(mul_q16(sample, gain), 8));
    }
    memory.copy_from_slice(&signal[excitation.len()..excitation.len() + MAX_ORDER]);
}
