//! Eight numbers side by side, which the compiler keeps in vectors.

use std::ops::{Add, Mul, Sub};

pub(super) const WIDTH: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
pub(super) struct Lanes(pub(super) [f32; WIDTH]);

impl Lanes {
    #[inline(always)]
    pub(super) fn of(value: f32) -> Self {
        Self([value; WIDTH])
    }
}

impl Add for Lanes {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] + other.0[n]))
    }
}

impl Sub for Lanes {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] - other.0[n]))
    }
}

impl Mul for Lanes {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] * other.0[n]))
    }
}

/// Complex numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Complex {
    pub(super) re: Lanes,
    pub(super) im: Lanes,
}

impl Complex {
    #[inline(always)]
    pub(super) fn times(self, [re, im]: [f32; 2]) -> Self {
        let (re, im) = (Lanes::of(re), Lanes::of(im));
        Self {
            re: self.re * re - self.im * im,
            im: self.re * im + self.im * re,
        }
    }

    /// Times the square root of -1, negated.
    #[inline(always)]
    pub(super) fn turned(self) -> Self {
        Self {
            re: self.im,
            im: Lanes::default() - self.re,
        }
    }
}

impl Add for Complex {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self {
            re: self.re + other.re,
            im: self.im + other.im,
        }
    }
}

impl Sub for Complex {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self {
            re: self.re - other.re,
            im: self.im - other.im,
        }
    }
}
