//! Fixed-point arithmetic as SILK's reference does it, rounding and wrap-around included: a `q16`
//! has 16 bits after the point.

/// `a * b / 2^16`, rounded down.
#[inline(always)]
pub(super) fn mul_q16(a: i32, b: i32) -> i32 {
    ((i64::from(a) * i64::from(b)) >> 16) as i32
}

/// `a * b / 2^32`, rounded down.
#[inline(always)]
pub(super) fn mul_q32(a: i32, b: i32) -> i32 {
    ((i64::from(a) * i64::from(b)) >> 32) as i32
}

/// `a / 2^bits` rounded to the nearest; `bits` are 2 or more.
#[inline(always)]
pub(super) fn round_shift(a: i32, bits: u32) -> i32 {
    ((a >> (bits - 1)) + 1) >> 1
}

/// As [`round_shift`], for products.
#[inline(always)]
pub(super) fn round_shift_64(a: i64, bits: u32) -> i64 {
    ((a >> (bits - 1)) + 1) >> 1
}

#[inline(always)]
pub(super) fn saturate(a: i32) -> i16 {
    a.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// `a * 2^bits`, or the largest number of its sign.
#[inline(always)]
pub(super) fn shift_saturating(a: i32, bits: u32) -> i32 {
    a.clamp(i32::MIN >> bits, i32::MAX >> bits) << bits
}

/// `a * 2^-shift`, whichever sign `shift` has.
fn scale_back(a: i32, shift: i32) -> i32 {
    match shift {
        ..0 => shift_saturating(a, shift.unsigned_abs()),
        0..32 => a >> shift,
        _ => 0,
    }
}

/// `a` shifted up to its highest bit, and by how much.
fn normalize(a: i32) -> (i32, i32) {
    let room = a.unsigned_abs().leading_zeros() as i32 - 1;
    (a.wrapping_shl(room as u32), room)
}

/// About `a / b * 2^q`; `b` is not 0.
pub(super) fn divide(a: i32, b: i32, q: i32) -> i32 {
    let ((a, room_a), (b, room_b)) = (normalize(a), normalize(b));
    let inverse = (i32::MAX >> 2) / (b >> 16);
    let first = mul_q16(a, inverse);
    let rest = a.wrapping_sub(mul_q32(b, first) << 3);
    let result = first.wrapping_add(mul_q16(rest, inverse));
    scale_back(result, 29 + room_a - room_b - q)
}

/// About `2^q / b`; `b` is not 0.
pub(super) fn inverse(b: i32, q: i32) -> i32 {
    let (b, room) = normalize(b);
    let inverse = (i32::MAX >> 2) / (b >> 16);
    let error = ((1 << 29) - mul_q16(b, inverse)) << 3;
    let result = (inverse << 16).wrapping_add(mul_q16(error, inverse));
    scale_back(result, 61 - room - q)
}

/// About the square root.
pub(super) fn sqrt(a: i32) -> i32 {
    if a <= 0 {
        return 0;
    }
    let zeros = a.leading_zeros();
    let fraction = ((a as u32).rotate_left(zeros + 8) & 0x7F) as i32;
    let root = if zeros & 1 == 1 { 32_768 } else { 46_214 } >> (zeros >> 1);
    root + mul_q16(root, 213 * fraction)
}

/// About 2 to the power of `log / 128`: RFC 6716, section 4.2.7.4.
pub(super) fn exp2_q7(log: i32) -> i32 {
    match log {
        ..0 => return 0,
        3967.. => return i32::MAX,
        _ => {}
    }
    let (whole, fraction) = (1 << (log >> 7), log & 0x7F);
    let curve = fraction + mul_q16(fraction * (128 - fraction), -174);
    if log < 2048 {
        whole + ((whole * curve) >> 7)
    } else {
        whole + (whole >> 7) * curve
    }
}

/// The sum of squares, and how many bits were dropped so that two bits are left free.
pub(super) fn energy(samples: &[i16]) -> (i32, u32) {
    let sum = |start: u32, shift: u32| {
        let square = |sample: &i16| i32::from(*sample).pow(2) as u32;
        samples.chunks(2).fold(start, |sum, pair| {
            sum.wrapping_add(pair.iter().map(square).sum::<u32>() >> shift)
        })
    };
    let length = samples.len() as u32;
    let shift = 31u32.saturating_sub(length.leading_zeros());
    let first = sum(length, shift);
    let shift = (shift + 3).saturating_sub(first.leading_zeros());
    (sum(0, shift) as i32, shift)
}

/// The next number of the generator: RFC 6716, section 4.2.7.8.6.
#[inline(always)]
pub(super) fn random(seed: i32) -> i32 {
    seed.wrapping_mul(196_314_165).wrapping_add(907_633_515)
}

/// Noise at full scale.
pub(super) fn fill_with_noise(samples: &mut [i16], seed: &mut i32) {
    for sample in samples {
        *seed = random(*seed);
        *sample = (*seed >> 16) as i16;
    }
}
