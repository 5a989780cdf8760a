//! Overlap-save with a zero-phase filter: no delay to undo, and two blocks for one transform.
//!
//! A symmetric filter has a real spectrum. So two consecutive blocks of a real signal can travel as
//! the real and the imaginary part of one complex transform: multiplied by the spectrum, cut or
//! filled up with zeros to the other rate's length, and transformed back, they are still apart.
//! Nothing has to be disentangled (Oppenheim and Schafer, Discrete-Time Signal Processing, 8.7).
//!
//! All lengths are multiples of the reduced rates, so that blocks begin on whole samples of both.

use std::f64::consts::PI;
use std::ops::Range;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

/// The pass band ends, and the stop band begins, at these parts of the lower Nyquist frequency.
pub(super) const BAND: (f64, f64) = (0.95, 1.0);
/// Of the stop band, in dB; beyond what f32 can hold.
pub(super) const REJECTION: f64 = 140.0;
/// A block is at least so many times longer than what it loses on either side.
const MARGINS: usize = 8;
/// The longer side of a transform has at least so many samples: below, calls outweigh work.
const MIN_TRANSFORM: usize = 4096;
/// No transform is longer: rates with almost no common divisor take another way.
const MAX_TRANSFORM: usize = 1 << 18;

/// One rate's view of a block.
struct Side {
    /// Samples of a whole block, and of its transform.
    size: usize,
    /// Samples at either end that the filter's wrap spoils.
    margin: usize,
    /// Samples between: what a block gives.
    hop: usize,
    fft: Arc<dyn Fft<f32>>,
    buffer: Vec<Complex<f32>>,
}

/// The filter and the transforms of one pair of rates, with their working memory.
pub(super) struct OverlapSave {
    input: Side,
    output: Side,
    /// Of the filter, from 0 to the lower Nyquist frequency, by which transforms are multiplied.
    spectrum: Vec<f32>,
    scratch: Vec<Complex<f32>>,
}

impl OverlapSave {
    /// For rates reduced to `from` and `to`; `None` where the blocks would be too long.
    pub(super) fn new(from: usize, to: usize) -> Option<Self> {
        let taps = half_taps(from, to);
        let margin = taps.div_ceil(from);
        let mut times = (MARGINS * margin).next_power_of_two();
        while from.max(to).checked_mul(times)? < MIN_TRANSFORM {
            times *= 2;
        }
        if from.max(to).checked_mul(times)? > MAX_TRANSFORM {
            return None;
        }
        let mut planner = FftPlanner::new();
        let input = Side::new(from, margin, times, |size| planner.plan_fft_forward(size));
        let output = Side::new(to, margin, times, |size| planner.plan_fft_inverse(size));
        let spectrum = spectrum(taps, from, to, input.size, output.size);
        let scratch = input.scratch().max(output.scratch());
        let scratch = vec![Complex::default(); scratch];
        Some(Self {
            input,
            output,
            spectrum,
            scratch,
        })
    }

    /// Samples of the longer transform, which is what the memory goes by.
    pub(super) fn block(&self) -> usize {
        self.input.size.max(self.output.size)
    }

    /// The input samples that output samples `wanted` are made from.
    pub(super) fn input_window(&self, wanted: &Range<u64>) -> Range<u64> {
        let (pairs, step) = (self.pairs(wanted), 2 * self.input.hop as u64);
        let margin = self.input.margin as u64;
        let start = pairs.start.saturating_mul(step).saturating_sub(margin);
        start..pairs.end.saturating_mul(step).saturating_add(margin)
    }

    /// Pairs of blocks: a range is made from the same ones as the whole, so that it has its bits.
    fn pairs(&self, wanted: &Range<u64>) -> Range<u64> {
        let step = 2 * self.output.hop as u64;
        wanted.start / step
            ..wanted
                .end
                .max(wanted.start.saturating_add(1))
                .div_ceil(step)
    }

    /// Output samples `wanted` from `window`, the input from [`OverlapSave::input_window`] on.
    pub(super) fn process(&mut self, window: &[f32], wanted: Range<u64>) -> Vec<f32> {
        let count = wanted.end.saturating_sub(wanted.start) as usize;
        let pairs = self.pairs(&wanted);
        let step = 2 * self.output.hop as u64;
        let mut skip = (wanted.start - pairs.start * step) as usize;
        let mut samples = Vec::with_capacity(count);
        // In front of the signal lie zeros, which the window does not hold.
        let missing = if pairs.start == 0 {
            self.input.margin
        } else {
            0
        };
        let mut at = -(missing as isize);
        while samples.len() < count {
            self.transform(window, at);
            for part in [|c: &Complex<f32>| c.re, |c: &Complex<f32>| c.im] {
                let valid = &self.output.buffer[self.output.margin..][..self.output.hop];
                let from = skip.min(valid.len());
                let taken = (valid.len() - from).min(count - samples.len());
                samples.extend(valid[from..from + taken].iter().map(part));
                skip -= from;
            }
            at += 2 * self.input.hop as isize;
        }
        samples
    }

    /// One pair of blocks, the first at sample `at` of `window`, into the output's buffer.
    fn transform(&mut self, window: &[f32], at: isize) {
        let (first, second) = (at, at + self.input.hop as isize);
        self.input.buffer.fill(Complex::default());
        overlay(&mut self.input.buffer, window, first, |cell, sample| {
            cell.re = sample
        });
        overlay(&mut self.input.buffer, window, second, |cell, sample| {
            cell.im = sample
        });
        let input = &mut self.input;
        input
            .fft
            .process_with_scratch(&mut input.buffer, &mut self.scratch);
        self.filter();
        let output = &mut self.output;
        output
            .fft
            .process_with_scratch(&mut output.buffer, &mut self.scratch);
    }

    /// Multiplies by the spectrum and moves the bins, of both signs, to the other length.
    fn filter(&mut self) {
        let (from, to) = (&self.input.buffer, &mut self.output.buffer);
        let bins = self.spectrum.len();
        let (to_size, from_size) = (to.len(), from.len());
        for ((to, from), gain) in to.iter_mut().zip(from).zip(&self.spectrum) {
            *to = from * gain;
        }
        to[bins..to_size + 1 - bins].fill(Complex::default());
        let negative = to[to_size + 1 - bins..]
            .iter_mut()
            .zip(&from[from_size + 1 - bins..]);
        for ((to, from), gain) in negative.zip(self.spectrum[1..].iter().rev()) {
            *to = from * gain;
        }
    }
}

impl Side {
    fn new(
        rate: usize,
        margin: usize,
        times: usize,
        plan: impl FnOnce(usize) -> Arc<dyn Fft<f32>>,
    ) -> Self {
        let size = rate * times;
        Self {
            size,
            margin: rate * margin,
            hop: rate * (times - 2 * margin),
            fft: plan(size),
            buffer: vec![Complex::default(); size],
        }
    }

    fn scratch(&self) -> usize {
        self.fft.get_inplace_scratch_len()
    }
}

/// Writes `window` over `cells`, which begin at sample `at` of it.
fn overlay(
    cells: &mut [Complex<f32>],
    window: &[f32],
    at: isize,
    write: impl Fn(&mut Complex<f32>, f32),
) {
    let skipped = at.unsigned_abs();
    let (cells, samples) = if at < 0 {
        (cells.get_mut(skipped..), Some(window))
    } else {
        (Some(cells), window.get(skipped..))
    };
    let pairs = cells
        .unwrap_or_default()
        .iter_mut()
        .zip(samples.unwrap_or_default());
    pairs.for_each(|(cell, sample)| write(cell, *sample));
}

/// Half the length of the filter in input samples, by Kaiser's estimate.
pub(super) fn half_taps(from: usize, to: usize) -> usize {
    // In cycles per input sample; the lower Nyquist frequency is half of the lower rate.
    let width = (BAND.1 - BAND.0) * 0.5 * from.min(to) as f64 / from as f64;
    ((REJECTION - 7.95) / (14.36 * width) / 2.0).ceil() as usize
}

/// The filter's spectrum at the bins that both transforms have, the scale of the transforms in it.
fn spectrum(taps: usize, from: usize, to: usize, size: usize, other: usize) -> Vec<f32> {
    let cutoff = (BAND.0 + BAND.1) / 2.0 * 0.5 * from.min(to) as f64 / from as f64;
    let beta = 0.1102 * (REJECTION - 8.7);
    let tap = |n: usize| {
        let place = n as f64 / (taps + 1) as f64;
        sinc(2.0 * cutoff * n as f64) * bessel(beta * (1.0 - place * place).sqrt())
    };
    let mut kernel = vec![Complex::<f64>::default(); size];
    for n in 0..=taps {
        kernel[n].re = tap(n);
        kernel[(size - n) % size].re = tap(n);
    }
    let sum: f64 = kernel.iter().map(|c| c.re).sum();
    FftPlanner::new()
        .plan_fft_forward(size)
        .process(&mut kernel);
    let bins = size.min(other).div_ceil(2);
    let scale = 1.0 / (sum * size as f64);
    kernel[..bins]
        .iter()
        .map(|c| (c.re * scale) as f32)
        .collect()
}

pub(super) fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

/// The modified Bessel function of the first kind and order 0, by its power series.
pub(super) fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..200 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}
