//! The small transforms that the one of 400 is made of.

use std::f64::consts::FRAC_1_SQRT_2;
use std::ops::{Add, Mul, Sub};

pub(super) const LONG: usize = 25;
pub(super) const SHORT: usize = 16;
/// Results of a transform of `LONG` real samples; the others are their conjugates.
pub(super) const HALF: usize = LONG / 2 + 1;

#[derive(Clone, Copy)]
pub(super) struct Complex {
    pub(super) re: f64,
    pub(super) im: f64,
}

impl Complex {
    /// Times `-i`: a quarter turn backwards.
    #[inline(always)]
    fn back(self) -> Self {
        Self {
            re: self.im,
            im: -self.re,
        }
    }

    /// An eighth of a turn backwards.
    #[inline(always)]
    fn eighth(self) -> Self {
        Self {
            re: (self.re + self.im) * FRAC_1_SQRT_2,
            im: (self.im - self.re) * FRAC_1_SQRT_2,
        }
    }

    /// Times `re + i * im`.
    #[inline(always)]
    fn turn(self, (re, im): (f64, f64)) -> Self {
        Self {
            re: self.re * re - self.im * im,
            im: self.re * im + self.im * re,
        }
    }

    #[inline(always)]
    fn conjugate(self) -> Self {
        Self {
            re: self.re,
            im: -self.im,
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

impl Mul<f64> for Complex {
    type Output = Self;
    #[inline(always)]
    fn mul(self, factor: f64) -> Self {
        Self {
            re: self.re * factor,
            im: self.im * factor,
        }
    }
}

/// `exp(-2 pi i n / 25)` for n from 0 on, where it is used.
const TURNS_25: [(f64, f64); 9] = [
    (1.0, 0.0),
    (0.9685831611286311, -0.2486898871648548),
    (0.8763066800438636, -0.48175367410171527),
    (0.7289686274214116, -0.6845471059286887),
    (0.5358267949789967, -0.8443279255020151),
    (0.30901699437494745, -0.9510565162951535),
    (0.06279051952931337, -0.9980267284282716),
    (-0.18738131458572463, -0.9822872507286887),
    (-0.42577929156507266, -0.9048270524660196),
];
/// `exp(-2 pi i n / 16)`.
const TURNS_16: [(f64, f64); 10] = [
    (1.0, 0.0),
    (0.9238795325112867, -0.3826834323650898),
    (FRAC_1_SQRT_2, -FRAC_1_SQRT_2),
    (0.3826834323650898, -0.9238795325112867),
    (0.0, -1.0),
    (-0.3826834323650898, -0.9238795325112867),
    (-FRAC_1_SQRT_2, -FRAC_1_SQRT_2),
    (-0.9238795325112867, -0.3826834323650898),
    (-1.0, 0.0),
    (-0.9238795325112867, 0.3826834323650898),
];

/// The first `HALF` results of 25 real samples, by way of 5 times 5.
#[inline(always)]
pub(super) fn real_25(x: impl Fn(usize) -> f64) -> [Complex; HALF] {
    let five = |b: usize| real_5([x(b), x(5 + b), x(10 + b), x(15 + b), x(20 + b)]);
    let x = [five(0), five(1), five(2), five(3), five(4)];
    let row_0 = real_5([x[0][0].re, x[1][0].re, x[2][0].re, x[3][0].re, x[4][0].re]);
    let turn = |b: usize, c: usize| x[b][c].turn(TURNS_25[b * c]);
    let row_1 = complex_5([x[0][1], turn(1, 1), turn(2, 1), turn(3, 1), turn(4, 1)]);
    let row_2 = complex_5([x[0][2], turn(1, 2), turn(2, 2), turn(3, 2), turn(4, 2)]);
    [
        row_0[0],
        row_1[0],
        row_2[0],
        row_2[4].conjugate(),
        row_1[4].conjugate(),
        row_0[1],
        row_1[1],
        row_2[1],
        row_2[3].conjugate(),
        row_1[3].conjugate(),
        row_0[2],
        row_1[2],
        row_2[2],
    ]
}

/// The transform of 16 complex values, by way of 4 times 4.
#[inline(always)]
pub(super) fn complex_16(x: impl Fn(usize) -> Complex) -> [Complex; SHORT] {
    let four = |b: usize| complex_4([x(b), x(4 + b), x(8 + b), x(12 + b)]);
    let x = [four(0), four(1), four(2), four(3)];
    let turn = |b: usize, c: usize| x[b][c].turn(TURNS_16[b * c]);
    let row_0 = complex_4([x[0][0], x[1][0], x[2][0], x[3][0]]);
    let row_1 = complex_4([x[0][1], turn(1, 1), x[2][1].eighth(), turn(3, 1)]);
    let row_2 = complex_4([x[0][2], x[1][2].eighth(), x[2][2].back(), turn(3, 2)]);
    let row_3 = complex_4([x[0][3], turn(1, 3), turn(2, 3), turn(3, 3)]);
    [
        row_0[0], row_1[0], row_2[0], row_3[0], row_0[1], row_1[1], row_2[1], row_3[1], //
        row_0[2], row_1[2], row_2[2], row_3[2], row_0[3], row_1[3], row_2[3], row_3[3],
    ]
}

/// What a transform of five has before cosines and sines meet: the sum, the two sums of
/// cosines, and the two of sines with their sign.
#[inline(always)]
fn parts_of_5<T>(x: [T; 5]) -> (T, [T; 2], [T; 2])
where
    T: Copy + Add<Output = T> + Sub<Output = T> + Mul<f64, Output = T>,
{
    const SIN_1: f64 = 0.951_056_516_295_153_6;
    const SIN_2: f64 = 0.587_785_252_292_473_1;
    const QUARTER_ROOT_5: f64 = 0.559_016_994_374_947_5;
    let (outer, inner) = (x[1] + x[4], x[2] + x[3]);
    let (rise, fall) = (x[4] - x[1], x[3] - x[2]);
    let sum = outer + inner;
    let mean = x[0] - sum * 0.25;
    let apart = (outer - inner) * QUARTER_ROOT_5;
    let sines = [rise * SIN_1 + fall * SIN_2, rise * SIN_2 - fall * SIN_1];
    (x[0] + sum, [mean + apart, mean - apart], sines)
}

/// The first three results of five real numbers.
#[inline(always)]
fn real_5(x: [f64; 5]) -> [Complex; 3] {
    let (sum, re, im) = parts_of_5(x);
    [
        Complex { re: sum, im: 0.0 },
        Complex {
            re: re[0],
            im: im[0],
        },
        Complex {
            re: re[1],
            im: im[1],
        },
    ]
}

#[inline(always)]
fn complex_5(x: [Complex; 5]) -> [Complex; 5] {
    let (sum, re, im) = parts_of_5(x);
    let turned = [im[0].back(), im[1].back()];
    [
        sum,
        re[0] - turned[0],
        re[1] - turned[1],
        re[1] + turned[1],
        re[0] + turned[0],
    ]
}

#[inline(always)]
fn complex_4(x: [Complex; 4]) -> [Complex; 4] {
    let (even, odd) = (x[0] + x[2], x[1] + x[3]);
    let (even_apart, odd_apart) = (x[0] - x[2], (x[1] - x[3]).back());
    [
        even + odd,
        even_apart + odd_apart,
        even - odd,
        even_apart - odd_apart,
    ]
}
