//! The predictor of up to eight coefficients in one register of AVX2, beside the loops of [`super`].
//!
//! It gives the same integers; only the order of exact sums differs.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Errors, Predictor};

/// Coefficients of a register.
const LANES: usize = 8;

/// Fills `out` with samples where the processor can; tells whether it did. `is_short`: of 1 to 8
/// coefficients that cannot wrap around.
pub(super) fn run<E: Errors>(
    predictor: &Predictor,
    is_short: bool,
    errors: &mut E,
    out: &mut [i32],
) -> bool {
    let can = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt");
    if can {
        // SAFETY: the processor was just asked for all that the function's attribute names.
        *errors = unsafe {
            match is_short {
                true => samples(predictor, *errors, out),
                false => long(predictor, *errors, out),
            }
        };
    }
    can
}

/// What stays the same from sample to sample.
struct Lanes {
    /// -1 where a coefficient is: they end at the last lane, with the newest sample's.
    active: __m256i,
    /// The same but for the newest.
    older: __m256i,
    /// 1 for the oldest coefficient and so on; 0 where none is.
    weights: __m256i,
}

impl Lanes {
    #[target_feature(enable = "avx2")]
    fn new(order: usize) -> Self {
        let lane = _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8);
        let place = _mm256_sub_epi32(lane, _mm256_set1_epi32((LANES - order) as i32));
        let active = _mm256_cmpgt_epi32(place, _mm256_setzero_si256());
        Self {
            active,
            older: _mm256_blend_epi32::<0x80>(active, _mm256_setzero_si256()),
            weights: _mm256_and_si256(place, active),
        }
    }
}

/// The loop for any order, compiled for this processor.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn long<E: Errors>(predictor: &Predictor, errors: E, out: &mut [i32]) -> E {
    predictor.any(errors, out)
}

#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn samples<E: Errors>(predictor: &Predictor, mut errors: E, out: &mut [i32]) -> E {
    let order = predictor.order.clamp(1, LANES);
    let warm = out.len().min(order + 1);
    predictor.differences(&mut errors, out.get_mut(..warm).unwrap_or_default());
    let lanes = Lanes::new(order);
    let rotated = _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 7);
    let shift = _mm_cvtsi32_si128(predictor.shift as i32);
    let half = predictor.half();
    let rounding = (1 << (predictor.shift & 31)) - 1;
    let mut coefficients = aligned(predictor.coefficients.get(..order).unwrap_or_default());
    let Some((newest, history)) = out.get(1..warm).and_then(<[i32]>::split_last) else {
        return errors;
    };
    // All but the newest, one lane further than they belong.
    let (mut last, mut past) = (*newest, aligned(history));
    for at in warm..out.len() {
        let error = errors.next();
        let base = out.get(at - warm).copied().unwrap_or(0);
        let bases = _mm256_set1_epi32(base);

        // The newest sample is waited for by one product only.
        past = _mm256_permutevar8x32_epi32(past, rotated);
        let older = _mm256_and_si256(_mm256_sub_epi32(bases, past), lanes.older);
        let sum = total(_mm256_mullo_epi32(older, coefficients));
        let newest = base.wrapping_sub(last);
        let product = newest.wrapping_mul(_mm256_extract_epi32::<7>(coefficients));
        let change = half.wrapping_sub(sum).wrapping_sub(product) >> (predictor.shift & 31);

        past = _mm256_blend_epi32::<0x80>(past, _mm256_set1_epi32(last));
        let differences = _mm256_and_si256(_mm256_sub_epi32(bases, past), lanes.active);
        // Shifting a negative number rounds it up in size.
        let round = _mm256_set1_epi32((error >> 31) & rounding);
        let sizes = _mm256_add_epi32(_mm256_abs_epi32(differences), round);
        let parts = _mm256_mullo_epi32(_mm256_sra_epi32(sizes, shift), lanes.weights);
        let size = _mm256_set1_epi32(error.wrapping_abs());
        let is_moved = _mm256_cmpgt_epi32(size, sums_before(parts));
        let signs = _mm256_sign_epi32(_mm256_set1_epi32(1), differences);
        let steps = _mm256_sign_epi32(signs, _mm256_set1_epi32(error));
        coefficients = _mm256_sub_epi32(coefficients, _mm256_and_si256(steps, is_moved));

        last = predictor.cut(base.wrapping_add(change).wrapping_add(error));
        if let Some(sample) = out.get_mut(at) {
            *sample = last;
        }
    }
    errors
}

/// Up to eight numbers, the last in the last lane.
#[target_feature(enable = "avx2")]
fn aligned(numbers: &[i32]) -> __m256i {
    let mut lanes = [0; LANES];
    for (lane, number) in lanes.iter_mut().rev().zip(numbers.iter().rev()) {
        *lane = *number;
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    _mm256_setr_epi32(a, b, c, d, e, f, g, h)
}

#[target_feature(enable = "avx2")]
#[inline]
fn total(lanes: __m256i) -> i32 {
    let low = _mm256_castsi256_si128(lanes);
    let four = _mm_add_epi32(low, _mm256_extracti128_si256::<1>(lanes));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b1110>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b01>(two)))
}

/// For each lane the sum of those in front of it.
#[target_feature(enable = "avx2")]
#[inline]
fn sums_before(lanes: __m256i) -> __m256i {
    let pairs = _mm256_add_epi32(lanes, _mm256_slli_si256::<4>(lanes));
    let fours = _mm256_add_epi32(pairs, _mm256_slli_si256::<8>(pairs));
    // The upper half lacks the whole lower one.
    let low = _mm256_permute4x64_epi64::<0b01_01_01_01>(fours);
    let low = _mm256_shuffle_epi32::<0b11_11_11_11>(low);
    let low = _mm256_blend_epi32::<0xF0>(_mm256_setzero_si256(), low);
    _mm256_sub_epi32(_mm256_add_epi32(fours, low), lanes)
}
