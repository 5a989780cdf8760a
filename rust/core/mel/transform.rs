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

/// Places of a row of columns: the hops that `LANES` frames touch, and room up to a cache line.
const PITCH: usize = 16;

/// Samples that `LANES` frames span.
pub(super) const SPAN: usize = (LANES - 1) * HOP + N_FFT;

/// One number of each frame; aligned for the widest registers.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Lanes(pub(super) [f64; LANES]);

const ZERO: Lanes = Lanes([0.0; LANES]);

/// The tables of the transform.
pub(super) struct Plan {
    /// Of the samples in the order of the transforms of 25: place in the columns, and window.
    samples: Vec<(usize, f64)>,
}

/// The working memory of the transform.
pub(super) struct Scratch {
    /// The samples, hop beside hop: of eight frames one register at any place.
    columns: Vec<f32>,
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

/// The periodic window, 0 at its first sample.
fn hann(n: usize) -> f64 {
    0.5 - 0.5 * (2.0 * PI * n as f64 / N_FFT as f64).cos()
}

impl Plan {
    pub(super) fn new() -> Self {
        let order = (0..SHORT).flat_map(|b| (0..LONG).map(move |a| (SHORT * a + LONG * b) % N_FFT));
        let samples = order.map(|n| (n % HOP * PITCH + n / HOP, hann(n)));
        Self {
            samples: samples.collect(),
        }
    }

    /// Powers of the frames that begin at `signal[0]`, `signal[HOP]` and so on.
    #[inline(always)]
    pub(super) fn power(&self, signal: &[f32; SPAN], scratch: &mut Scratch) {
        transpose(signal, &mut scratch.columns);
        let mut x = [ZERO; LONG];
        let mut y = [[ZERO; 2]; HALF];
        for (b, samples) in self.samples.chunks_exact(LONG).enumerate() {
            for (x, (place, window)) in x.iter_mut().zip(samples) {
                let hops = &scratch.columns[*place..*place + LANES];
                for lane in 0..LANES {
                    x.0[lane] = f64::from(hops[lane]) * window;
                }
            }
            for lane in 0..LANES {
                let results = real_25(|at| x[at].0[lane]);
                for (y, result) in y.iter_mut().zip(results) {
                    y[0].0[lane] = result.re;
                    y[1].0[lane] = result.im;
                }
            }
            for (half, y) in scratch.halves.iter_mut().zip(&y) {
                half[b] = *y;
            }
        }
        for (half, power) in scratch.halves.iter().zip(&mut scratch.power) {
            powers_of_16(half, power);
        }
    }
}

/// A function of its own, so that the compiler knows the arrays apart.
#[inline(always)]
fn powers_of_16(half: &[[Lanes; 2]; SHORT], power: &mut [Lanes; SHORT]) {
    let mut y = [ZERO; SHORT];
    for lane in 0..LANES {
        let value = |at: usize| Complex {
            re: half[at][0].0[lane],
            im: half[at][1].0[lane],
        };
        for (y, result) in y.iter_mut().zip(complex_16(value)) {
            y.0[lane] = result.re * result.re + result.im * result.im;
        }
    }
    *power = y;
}

/// Where a bin's power is found: by what the bin, or the one with the same power, leaves modulo 25 and
/// 16.
pub(super) fn place_of_bin(bin: usize) -> usize {
    let same = if bin % LONG < HALF { bin } else { N_FFT - bin };
    same % LONG * SHORT + same % SHORT
}

/// Hop beside hop.
#[inline(always)]
fn transpose(signal: &[f32; SPAN], columns: &mut [f32]) {
    for (at, row) in columns.chunks_exact_mut(PITCH).enumerate() {
        for hop in 0..SPAN.div_ceil(HOP) {
            row[hop] = signal.get(hop * HOP + at).copied().unwrap_or(0.0);
        }
    }
}
