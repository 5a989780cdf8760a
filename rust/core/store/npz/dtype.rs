//! What an entry's numbers are stored as: single precision, or half of it.
//!
//! Half precision is IEEE 754's binary16, held as its bits: Rust has no stable type for it. The `half` crate's
//! conversions are the processor's own or whole numbers: both are right where subnormal numbers are flushed.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

use crate::error::{Error, ErrorKind, Result};

/// How the elements of an array are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// Four bytes each, as they were put.
    #[default]
    Float32,
    /// Two bytes each: rounded to 11 significant bits, up to 65,504.
    Float16,
}

impl Dtype {
    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float16 => 2,
        }
    }

    /// NumPy's name of it, in this machine's byte order.
    pub(super) fn descr(self) -> &'static str {
        match (self, cfg!(target_endian = "little")) {
            (Self::Float32, true) => "<f4",
            (Self::Float32, false) => ">f4",
            (Self::Float16, true) => "<f2",
            (Self::Float16, false) => ">f2",
        }
    }

    pub(super) fn of_descr(descr: &str) -> Option<Self> {
        let known = [Self::Float32, Self::Float16];
        known.into_iter().find(|dtype| dtype.descr() == descr)
    }
}

/// Elements to be put, of either precision.
#[derive(Clone, Copy, Debug)]
pub enum Samples<'a> {
    /// Single precision.
    Float32(&'a [f32]),
    /// The bits of half precision.
    Float16(&'a [u16]),
}

/// A caller's memory for elements that are read.
#[derive(Debug)]
pub enum Target<'a> {
    /// Single precision: what is stored in half of it is widened, which is exact.
    Float32(&'a mut [f32]),
    /// The bits of half precision.
    Float16(&'a mut [u16]),
}

impl<'a> From<&'a [f32]> for Samples<'a> {
    fn from(samples: &'a [f32]) -> Self {
        Self::Float32(samples)
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for Samples<'a> {
    fn from(samples: &'a [f32; N]) -> Self {
        Self::Float32(samples)
    }
}

impl<'a> From<&'a Vec<f32>> for Samples<'a> {
    fn from(samples: &'a Vec<f32>) -> Self {
        Self::Float32(samples)
    }
}

impl Target<'_> {
    /// How many elements there is room for.
    pub fn len(&self) -> usize {
        match self {
            Self::Float32(samples) => samples.len(),
            Self::Float16(samples) => samples.len(),
        }
    }

    /// Whether there is room for none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its first `count` elements, or all.
    pub fn first(&mut self, count: usize) -> Target<'_> {
        let count = count.min(self.len());
        match self {
            Self::Float32(samples) => Target::Float32(samples.split_at_mut(count).0),
            Self::Float16(samples) => Target::Float16(samples.split_at_mut(count).0),
        }
    }

    /// Makes zeros of the elements from `start` on.
    pub fn clear_from(&mut self, start: usize) {
        let start = start.min(self.len());
        match self {
            Self::Float32(samples) => samples.split_at_mut(start).1.fill(0.0),
            Self::Float16(samples) => samples.split_at_mut(start).1.fill(0),
        }
    }
}

/// Half to single precision, one beside the other.
pub(super) fn widen(halves: &[u16], samples: &mut [f32]) {
    let count = halves.len().min(samples.len());
    let halves: &[f16] = halves[..count].reinterpret_cast();
    halves.convert_to_f32_slice(&mut samples[..count]);
}

/// Rounds to half precision, ties to even.
///
/// # Errors
/// `Limit` for a finite sample that would become infinite. Infinities and NaN stay what they are.
pub(super) fn rounded(samples: &[f32]) -> Result<Vec<u16>> {
    // Half of the last place above the largest number, where rounding leaves the range.
    let leaves = |sample: f32| sample.is_finite() && sample.abs() >= 65_520.0;
    if samples.iter().fold(false, |any, &s| any | leaves(s)) {
        let at = samples.iter().position(|&s| leaves(s)).unwrap_or_default();
        let reason = "a sample exceeds 65504, the largest number of float16";
        return Err(Error::new(ErrorKind::Limit, reason).at_sample(at as u64));
    }
    let mut halves = vec![0; samples.len()];
    let target: &mut [f16] = halves.reinterpret_cast_mut();
    target.convert_from_f32_slice(samples);
    Ok(halves)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition of binary16, in f64, where every number of it is exact.
    fn meaning(half: u16) -> f64 {
        let sign = if half >> 15 == 1 { -1.0 } else { 1.0 };
        let (exponent, fraction) = (i32::from(half >> 10 & 31), f64::from(half & 1023));
        match (exponent, half & 1023) {
            (31, 0) => sign * f64::INFINITY,
            (31, _) => f64::NAN,
            (0, _) => sign * fraction * 2_f64.powi(-24),
            _ => sign * (1024.0 + fraction) * 2_f64.powi(exponent - 25),
        }
    }

    #[test]
    fn every_half_is_widened_to_what_it_means_and_rounded_back_to_itself() {
        for half in 0..=u16::MAX {
            let mut single = [0.0];
            widen(&[half], &mut single);
            let (single, meant) = (single[0], meaning(half));
            assert!(
                f64::from(single).to_bits() == meant.to_bits() || meant.is_nan() && single.is_nan()
            );
            let back = rounded(&[single]).unwrap()[0];
            assert!(
                back == half || meant.is_nan() && back == half | 0x200,
                "{half:04x} {back:04x}"
            );
        }
    }

    proptest! {
        #[test]
        fn rounding_takes_the_nearest_and_of_two_the_even_one(bits in any::<u32>(), scale in 0_u32..2) {
            // Half of them among the exponents that float16 has, and ties among those.
            let near = (bits & 0x8fff_ffff) | (7 << 28);
            let tie = (near & !0x1fff) | 0x1000;
            for bits in [bits, if scale == 0 { near } else { tie }] {
                let sample = f32::from_bits(bits);
                let Ok(one) = rounded(&[sample]) else {
                    prop_assert!(sample.abs() >= 65_520.0);
                    continue;
                };
                if sample.is_nan() {
                    prop_assert!(meaning(one[0]).is_nan());
                    continue;
                }
                let off = |half: u16| (meaning(half) - f64::from(sample)).abs();
                prop_assert_eq!(one[0] >> 15 == 1, sample.is_sign_negative());
                for next in [one[0].wrapping_sub(1), one[0].wrapping_add(1)] {
                    if next >> 15 == one[0] >> 15 && sample.is_finite() && meaning(next).is_finite() {
                        prop_assert!(off(one[0]) < off(next) || off(one[0]) == off(next) && one[0] % 2 == 0);
                    }
                }
            }
        }
    }

    #[test]
    fn what_would_become_infinite_is_refused() {
        assert_eq!(
            rounded(&[65_519.9, -65_504.0, f32::NEG_INFINITY]).unwrap(),
            [0x7bff, 0xfbff, 0xfc00]
        );
        for (at, samples) in [[65_520.0, 0.0], [1.0, f32::MIN]].iter().enumerate() {
            let error = rounded(samples).unwrap_err();
            assert_eq!(
                (error.kind(), error.sample_index()),
                (ErrorKind::Limit, Some(at as u64))
            );
        }
    }
}
