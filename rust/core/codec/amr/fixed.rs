//! The arithmetic in whole numbers that both codecs are defined by: ITU-T G.191, the basic operators, and the functions
//! that the two reference decoders share (3GPP TS 26.073 and 26.173).
//!
//! Products are of two fractions in Q15, and so twice those of the numbers. What does not fit is the nearest that does.

/// The nearest number of 16 bits.
pub(super) fn saturate(value: i32) -> i16 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// `a * b` in Q15.
pub(super) fn mult(a: i16, b: i16) -> i16 {
    saturate((i32::from(a) * i32::from(b)) >> 15)
}

/// `a * b` in Q31.
pub(super) fn product(a: i16, b: i16) -> i32 {
    (i32::from(a) * i32::from(b)).saturating_mul(2)
}

/// `sum + a * b` in Q31.
pub(super) fn add_product(sum: i32, a: i16, b: i16) -> i32 {
    sum.saturating_add(product(a, b))
}

/// `sum - a * b` in Q31.
pub(super) fn sub_product(sum: i32, a: i16, b: i16) -> i32 {
    sum.saturating_sub(product(a, b))
}

/// The upper half, rounded.
pub(super) fn round(value: i32) -> i16 {
    (value.saturating_add(0x8000) >> 16) as i16
}

/// The upper half.
pub(super) fn high(value: i32) -> i16 {
    (value >> 16) as i16
}

/// `value * 2^by`, by any number of bits to either side.
pub(super) fn shift_long(value: i32, by: i32) -> i32 {
    if by <= 0 {
        return value >> by.unsigned_abs().min(31);
    }
    if value == 0 {
        return 0;
    }
    let wide = i64::from(value) << by.min(32);
    wide.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// `value / 2^by`, rounded to the nearest.
pub(super) fn shift_right_rounded(value: i32, by: i32) -> i32 {
    match by {
        32.. => 0,
        1.. => shift_long(value, -by) + ((value >> (by - 1)) & 1),
        _ => shift_long(value, -by),
    }
}

/// The same of 16 bits, to the left.
pub(super) fn shift(value: i16, by: i32) -> i16 {
    if by <= 0 {
        return value >> by.unsigned_abs().min(15);
    }
    saturate(i32::from(value) << by.min(16))
}

/// How far a number can be shifted to the left.
pub(super) fn norm_long(value: i32) -> i32 {
    if value == 0 {
        return 0;
    }
    (value ^ (value >> 31)).leading_zeros() as i32 - 1
}

/// The same of 16 bits.
pub(super) fn norm(value: i16) -> i32 {
    if value == 0 {
        return 0;
    }
    (value ^ (value >> 15)).leading_zeros() as i32 - 1
}

/// `a / b` in Q15 for `0 <= a <= b`; 0 for others.
pub(super) fn divide(a: i16, b: i16) -> i16 {
    match (a, b) {
        _ if a < 0 || a > b || b == 0 => 0,
        _ if a == b => i16::MAX,
        _ => ((i32::from(a) << 15) / i32::from(b)) as i16,
    }
}

/// The base 2 logarithm of a positive `value`: its whole part and its fraction in Q15.
pub(super) fn log2(value: i32) -> (i16, i16) {
    let exponent = norm_long(value);
    log2_normal(value.wrapping_shl(exponent as u32), exponent)
}

/// The same of a value that was shifted to the left by `exponent` as far as it goes.
pub(super) fn log2_normal(value: i32, exponent: i32) -> (i16, i16) {
    if value <= 0 {
        return (0, 0);
    }
    let fraction = between(&LOG2, (value >> 25) as usize & 31, (value >> 10) & 0x7FFF);
    ((30 - exponent) as i16, high(fraction))
}

/// `2^(exponent + fraction)`, the fraction in Q15.
pub(super) fn pow2(exponent: i32, fraction: i16) -> i32 {
    let place = i32::from(fraction) * 64;
    let value = between(&POW2, (place >> 16) as usize & 31, (place >> 1) & 0x7FFF);
    shift_right_rounded(value, 30 - exponent)
}

/// `1 / sqrt(value)`, both in Q31.
pub(super) fn inverse_sqrt(value: i32) -> i32 {
    if value <= 0 {
        return 0x3FFF_FFFF;
    }
    let exponent = norm_long(value);
    let (value, shift) = even_power(value << exponent, 30 - exponent);
    inverse_sqrt_mantissa(value) >> (shift + 1)
}

/// A value of 30 bits by its exponent, and half of the exponent, once that is made even.
fn even_power(value: i32, exponent: i32) -> (i32, i32) {
    if exponent & 1 == 0 {
        return (value >> 1, exponent >> 1);
    }
    (value, exponent >> 1)
}

/// The root itself for a value of 0.25 to 1.
pub(super) fn inverse_sqrt_mantissa(value: i32) -> i32 {
    let place = (value >> 25) as usize;
    between(
        &INVERSE_SQRT,
        place.saturating_sub(16),
        (value >> 10) & 0x7FFF,
    )
}

/// The square root of `value`, and by how much the value was shifted to the left for it, an even number.
pub(super) fn sqrt(value: i32) -> (i32, i32) {
    if value <= 0 {
        return (0, 0);
    }
    let exponent = norm_long(value) & !1;
    let value = value << exponent;
    let place = (value >> 25) as usize & 63;
    let place = if place > 15 { place - 16 } else { place };
    (between(&SQRT, place, (value >> 10) & 0x7FFF), exponent)
}

/// A table's value in Q31 at `place` and a fraction in Q15.
fn between(table: &[i16], place: usize, fraction: i32) -> i32 {
    let at = |place: usize| i32::from(table.get(place).copied().unwrap_or(i16::MAX));
    let (from, to) = (at(place), at(place + 1));
    (from << 16) - ((from - to) * fraction).saturating_mul(2)
}

/// The sum of the products of two rows of numbers, which fits.
pub(super) fn dot<const N: usize>(a: &[i16; N], b: &[i16; N]) -> i32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| i32::from(*a) * i32::from(*b))
        .sum()
}

/// The same from `at` on in `a`; 0 past its end.
pub(super) fn dot_at<const N: usize>(a: &[i16], at: usize, b: &[i16; N]) -> i32 {
    let window = a.get(at..).and_then(<[i16]>::first_chunk);
    window.map_or(0, |window| dot(window, b))
}

/// The `n / 2`th of `values` from below.
pub(super) fn median<const N: usize>(values: &[i16]) -> i16 {
    let mut sorted = [0; N];
    for (to, from) in sorted.iter_mut().zip(values) {
        *to = *from;
    }
    sorted.sort_unstable();
    sorted.get(N / 2).copied().unwrap_or(0)
}

/// A generator of noise: a linear congruence.
pub(super) fn next_seed(seed: i16) -> i16 {
    seed.wrapping_mul(31821).wrapping_add(13849)
}

/// `log2(1 + x / 32)`, Q15.
static LOG2: [i16; 33] = [
    0, 1455, 2866, 4236, 5568, 6863, 8124, 9352, 10549, 11716, 12855, 13967, 15054, 16117, 17156,
    18172, 19167, 20142, 21097, 22033, 22951, 23852, 24735, 25603, 26455, 27291, 28113, 28922,
    29716, 30497, 31266, 32023, 32767,
];

/// `2^(x / 32)`, Q14.
static POW2: [i16; 33] = [
    16384, 16743, 17109, 17484, 17867, 18258, 18658, 19066, 19484, 19911, 20347, 20792, 21247,
    21713, 22188, 22674, 23170, 23678, 24196, 24726, 25268, 25821, 26386, 26964, 27554, 28158,
    28774, 29405, 30048, 30706, 31379, 32066, 32767,
];

/// `1 / sqrt(x / 16)` for `x` from 16 to 64, Q15.
static INVERSE_SQRT: [i16; 49] = [
    32767, 31790, 30894, 30070, 29309, 28602, 27945, 27330, 26755, 26214, 25705, 25225, 24770,
    24339, 23930, 23541, 23170, 22817, 22479, 22155, 21845, 21548, 21263, 20988, 20724, 20470,
    20225, 19988, 19760, 19539, 19326, 19119, 18919, 18725, 18536, 18354, 18176, 18004, 17837,
    17674, 17515, 17361, 17211, 17064, 16921, 16782, 16646, 16514, 16384,
];

/// `sqrt(x / 64)` for `x` from 16 to 64, Q15.
static SQRT: [i16; 50] = [
    16384, 16888, 17378, 17854, 18318, 18770, 19212, 19644, 20066, 20480, 20886, 21283, 21674,
    22058, 22435, 22806, 23170, 23530, 23884, 24232, 24576, 24915, 25249, 25580, 25905, 26227,
    26545, 26859, 27170, 27477, 27780, 28081, 28378, 28672, 28963, 29251, 29537, 29819, 30099,
    30377, 30652, 30924, 31194, 31462, 31727, 31991, 32252, 32511, 32767, 32767,
];
