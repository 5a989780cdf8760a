//! Energies of samples, by mantissa and exponent: 3GPP TS 26.173.

use super::super::fixed::{
    add_product, divide, high, inverse_sqrt_mantissa, mult, norm, norm_long, product, round, shift,
    shift_long,
};
use super::Subframe;

/// The energy of samples: a number of 31 bits as large as it can be, and its exponent.
pub(super) fn energy(samples: &[i16]) -> (i32, i32) {
    let sum = samples
        .iter()
        .fold(1, |sum, sample| add_product(sum, *sample, *sample));
    let shifted = norm_long(sum);
    (sum << shifted, 30 - shifted)
}

/// One over the root of a number, each with its exponent.
pub(super) fn inverse_sqrt_normal(value: i32, exponent: i32) -> (i32, i32) {
    if value <= 0 {
        return (i32::MAX, 0);
    }
    let value = if exponent & 1 == 1 { value >> 1 } else { value };
    (inverse_sqrt_mantissa(value), -((exponent - 1) >> 1))
}

/// How much of the excitation is voice: from -1 for pulses alone to 1 for the pitch alone, Q15.
pub(super) fn voicing(pitch: &Subframe, pitch_gain: i16, code: &Subframe, gain: i16) -> i16 {
    let (voiced, voiced_exponent) = energy(pitch);
    let square = product(pitch_gain, pitch_gain);
    let shifted = norm_long(square);
    let voiced = mult(high(voiced), high(square << shifted));
    let voiced_exponent = voiced_exponent + 6 - shifted - 10;
    let (pulses, pulses_exponent) = energy(code);
    let up = norm(gain);
    let gain = shift(gain, up);
    let pulses = mult(high(pulses), mult(gain, gain));
    let apart = voiced_exponent - (pulses_exponent - 2 * up);
    let (voiced, pulses) = match apart {
        0.. => (voiced >> 1, pulses >> (apart + 1).min(15)),
        _ => (voiced >> (1 - apart).min(15), pulses >> 1),
    };
    let (difference, sum) = (voiced - pulses, voiced + pulses + 1);
    match difference {
        0.. => divide(difference, sum),
        _ => -divide(-difference, sum),
    }
}

/// Makes `output` as loud as `input`.
pub(super) fn level(input: &Subframe, output: &mut Subframe) {
    let quarter = |samples: &Subframe| {
        let samples = samples.iter().map(|sample| sample >> 2);
        samples.fold(0, |sum, sample| add_product(sum, sample, sample))
    };
    let out = quarter(output);
    if out == 0 {
        return;
    }
    let up = norm_long(out) - 1;
    let loud_out = round(shift_long(out, up));
    let energy = quarter(input);
    let gain = match energy {
        0 => 0,
        _ => gain_of(loud_out, up, energy),
    };
    for sample in output {
        *sample = high(shift_long(product(*sample, gain), 2));
    }
}

/// The root of `energy` over one that is `loud` over `2^up`.
fn gain_of(loud: i16, up: i32, energy: i32) -> i16 {
    let shifted = norm_long(energy);
    let ratio = i32::from(divide(loud, round(energy << shifted))) << 7;
    let ratio = shift_long(ratio, shifted - up);
    let (root, exponent) = match ratio {
        ..=0 => (i32::MAX, 0),
        _ => {
            let shifted = norm_long(ratio);
            inverse_sqrt_normal(ratio << shifted, 31 - shifted)
        }
    };
    round(shift_long(shift_long(root, exponent), 9))
}
