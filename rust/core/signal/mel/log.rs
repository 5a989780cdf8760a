//! Decimal logarithms of positive numbers, several at once.

use std::f64::consts::LOG10_2;

use super::FLOOR;

const FRACTION_BITS: u32 = 52;
const FRACTION: u64 = (1 << FRACTION_BITS) - 1;
const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
const ONE: u64 = 0x3ff0_0000_0000_0000;
/// 2^52, whose last bit is worth 1: integers below it become floats by `or`.
const INTEGERS: u64 = 0x4330_0000_0000_0000;
/// Of `log10((1 + s) / (1 - s))` in odd powers of s, fitted to +-0.1716 with an error below 1e-10.
const SERIES: [f64; 4] = [
    0.868_588_961_089_473_9,
    0.289_530_878_376_065_56,
    0.173_569_241_902_278_3,
    0.130_724_066_268_030_4,
];

/// The logarithm of silence.
pub(super) fn floor() -> f32 {
    log10(FLOOR)
}

/// Within 1e-10, and rounding, of `log10`, for normal positive numbers; more for infinity and NaN
/// than for any number.
///
/// Splits into a power of two and a factor between the square roots of 1/2 and 2, whose series is short.
#[inline(always)]
pub(super) fn log10(value: f64) -> f32 {
    let shifted = (value.to_bits() & (u64::MAX >> 1)) + (ONE - SQRT_HALF);
    let biased = f64::from_bits(INTEGERS | (shifted >> FRACTION_BITS));
    let exponent = biased - (f64::from_bits(INTEGERS) + 1023.0);
    let factor = f64::from_bits((shifted & FRACTION) + SQRT_HALF);
    let s = (factor - 1.0) / (factor + 1.0);
    let square = s * s;
    let series = SERIES[3] * square + SERIES[2];
    let series = (series * square + SERIES[1]) * square + SERIES[0];
    (exponent * LOG10_2 + series * s) as f32
}
