//! The power spectrum of real frames of 400 samples, several frames side by side.
//!
//! 400 is 25 times 16, which have no common divisor: transforms of 25 along one way through the frame
//! and of 16 along the other are the whole one, with nothing to turn between them (Good and Thomas;
//! Burrus and Parks, DFT/FFT and Convolution Algorithms, 1985). Those of 25 take real samples, so
//! that 13 of their results say everything; those of 16 then give each bin of the spectrum once.
//! No frame takes part in the rounding of another.

use std::f64::consts::PI;

use super::butterfly::{Complex, HALF, LONG, SHORT, complex_16, real_25};
use super::{HOP, N_FFT};

/// Frames that are transformed together: one AVX-512 register of f64, two of AVX2.
pub(super) const LANES: usize = 8;
/// Samples that `LANES` frames span, up to a whole hop.
pub(super) const SPAN: usize = (LANES + 2) * HOP;
/// Places of a row of columns: the hops of a span, and room up to a cache line.
const PITCH: usize = 16;

/// One number of each frame; aligned for the widest registers.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Lanes(pub(super) [f64; LANES]);

/// Samples of as many hops as there are lanes.
pub(super) type Square = [[f32; LANES]; LANES];

const ZERO: Lanes = Lanes([0.0; LANES]);

/// Of each sample, in the order of the transforms of 25: its place in the columns, and its window.
pub(super) struct Plan(Vec<(usize, f64)>);

/// The working memory of the transform.
pub(super) struct Scratch {
    /// The samples, hop beside hop: a sample of `LANES` frames lies together, wherever they begin.
    columns: Vec<f32>,
    /// Results of the transforms of 25, real and imaginary parts.
    halves: Vec<[[Lanes; 2]; SHORT]>,
    /// Squared magnitudes, at the places that `place_of_bin` gives.
    pub(super) power: Vec<[Lanes; SHORT]>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            columns: vec![0.0; HOP * PITCH],
            halves: vec![[[ZERO; 2]; SHORT]; HALF],
            power: vec![[ZERO; SHORT]; HALF],
        }
    }
}

impl Plan {
    pub(super) fn new() -> Self {
        let order = (0..SHORT).flat_map(|b| (0..LONG).map(move |a| (SHORT * a + LONG * b) % N_FFT));
        Self(
            order
                .map(|n| (n % HOP * PITCH + n / HOP, hann(n)))
                .collect(),
        )
    }

    /// Powers of the frames that begin at `signal[0]`, `signal[HOP]` and so on.
    ///
    /// Loops go over the lanes, and between arrays on the stack that the compiler knows apart: only
    /// so does it make vectors of them.
    #[inline(always)]
    pub(super) fn power(
        &self,
        signal: &[f32; SPAN],
        scratch: &mut Scratch,
        transposed: impl Fn(Square) -> Square,
    ) {
        transpose(signal, &mut scratch.columns, transposed);
        let (mut x, mut y) = ([ZERO; LONG], [[ZERO; 2]; HALF]);
        for (at, samples) in self.0.chunks_exact(LONG).enumerate() {
            cut(samples, &scratch.columns, &mut x);
            transform_25(&x, &mut y);
            for (row, y) in scratch.halves.iter_mut().zip(&y) {
                row[at] = *y;
            }
        }
        let mut y = [ZERO; SHORT];
        for (half, power) in scratch.halves.iter().zip(&mut scratch.power) {
            power_of_16(half, &mut y);
            *power = y;
        }
    }
}

/// 25 samples of each frame, times their windows.
#[inline(always)]
fn cut(samples: &[(usize, f64)], columns: &[f32], x: &mut [Lanes; LONG]) {
    for (x, (place, window)) in x.iter_mut().zip(samples) {
        let hops = &columns[*place..*place + LANES];
        for (x, sample) in x.0.iter_mut().zip(hops) {
            *x = f64::from(*sample) * window;
        }
    }
}

#[inline(always)]
fn transform_25(x: &[Lanes; LONG], y: &mut [[Lanes; 2]; HALF]) {
    for lane in 0..LANES {
        let results = real_25(|at| x[at].0[lane]);
        for (y, result) in y.iter_mut().zip(results) {
            y[0].0[lane] = result.re;
            y[1].0[lane] = result.im;
        }
    }
}

#[inline(always)]
fn power_of_16(half: &[[Lanes; 2]; SHORT], y: &mut [Lanes; SHORT]) {
    for lane in 0..LANES {
        let value = |at: usize| Complex {
            re: half[at][0].0[lane],
            im: half[at][1].0[lane],
        };
        for (y, result) in y.iter_mut().zip(complex_16(value)) {
            y.0[lane] = result.re * result.re + result.im * result.im;
        }
    }
}

/// Where a bin's power is found: by what the bin, or the one with the same power, leaves modulo 25
/// and modulo 16.
pub(super) fn place_of_bin(bin: usize) -> usize {
    let same = if bin % LONG < HALF { bin } else { N_FFT - bin };
    same % LONG * SHORT + same % SHORT
}

/// The periodic window, 0 at its first sample.
fn hann(n: usize) -> f64 {
    0.5 - 0.5 * (2.0 * PI * n as f64 / N_FFT as f64).cos()
}

/// Hop beside hop.
#[inline(always)]
fn transpose(signal: &[f32; SPAN], columns: &mut [f32], transposed: impl Fn(Square) -> Square) {
    let (hops, _) = signal.as_chunks::<HOP>();
    for (at, rows) in columns.chunks_exact_mut(LANES * PITCH).enumerate() {
        let samples = |hop: usize| hops[hop].as_chunks::<LANES>().0[at];
        let square = transposed(std::array::from_fn(samples));
        let behind = [samples(LANES), samples(LANES + 1)];
        for (lane, row) in rows.chunks_exact_mut(PITCH).enumerate() {
            row[..LANES].copy_from_slice(&square[lane]);
            row[LANES] = behind[0][lane];
            row[LANES + 1] = behind[1][lane];
        }
    }
}
