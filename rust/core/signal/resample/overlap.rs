//! Overlap-save with a zero-phase filter: no delay to undo, and two blocks for one transform.
//!
//! A symmetric filter has a real spectrum. So two consecutive blocks of a real signal can travel as
//! the real and the imaginary part of one complex transform: multiplied by the spectrum, cut or
//! filled up with zeros to the other rate's length, and transformed back, they are still apart.
//! Nothing has to be disentangled (Oppenheim and Schafer, Discrete-Time Signal Processing, 8.7).
//!
//! All lengths are multiples of the reduced rates, so that blocks begin on whole samples of both.

use std::ops::Range;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftDirection, FftNum, FftPlanner};

use super::filter::Band;
use crate::error::Result;
use crate::guard::room;

/// A block is at least so many times longer than what it loses on either side.
const MARGINS: usize = 8;
/// No transform is longer: rates that are far apart take another way.
const MAX_TRANSFORM: usize = 1 << 18;

/// The precision of the transforms.
pub(super) trait Real: FftNum + Default + From<f32> {
    fn of(value: f64) -> Self;
    fn single(self) -> f32;
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as Self
    }

    fn single(self) -> f32 {
        self
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn single(self) -> f32 {
        self as f32
    }
}

/// Makes the transform of a length and direction.
pub(super) type Plan<'p, T> = &'p mut dyn FnMut(usize, FftDirection) -> Arc<dyn Fft<T>>;

/// One rate's view of a block.
struct Side<T> {
    /// Samples of a whole block, and of its transform.
    size: usize,
    /// Samples at either end that the filter's wrap spoils.
    margin: usize,
    /// Samples between: what a block gives.
    hop: usize,
    fft: Arc<dyn Fft<T>>,
    /// What the transform is made of, which it spoils, and what it gives.
    buffer: Vec<Complex<T>>,
    transformed: Vec<Complex<T>>,
}

/// The filter and the transforms of one pair of rates, with their working memory.
pub(super) struct OverlapSave<T> {
    input: Side<T>,
    output: Side<T>,
    /// Input samples by which the first block begins before the signal.
    lead: u64,
    /// Of the filter, from 0 to the lower Nyquist frequency, by which transforms are multiplied.
    spectrum: Vec<T>,
    /// The same of the negative frequencies, in their order.
    mirrored: Vec<T>,
    scratch: Vec<Complex<T>>,
}

impl<T: Real> OverlapSave<T> {
    /// For rates reduced to `from` and `to`; `None` where the blocks would be too long.
    ///
    /// Output sample 0 is input sample `-lead`.
    pub(super) fn new(
        (from, to): (usize, usize),
        band: &Band,
        lead: u64,
        plan: Plan<'_, T>,
    ) -> Option<Self> {
        let taps = band.half_taps();
        let margin = taps.div_ceil(from);
        let mut times = (MARGINS * margin).next_power_of_two();
        while from.max(to).checked_mul(times)? < band.block {
            times *= 2;
        }
        if from.max(to).checked_mul(times)? > MAX_TRANSFORM {
            return None;
        }
        let input = Side::new(
            from,
            margin,
            times,
            plan(from * times, FftDirection::Forward),
        );
        let output = Side::new(to, margin, times, plan(to * times, FftDirection::Inverse));
        let spectrum = spectrum(band, taps, input.size, output.size);
        let mirrored = spectrum.iter().skip(1).rev().copied().collect();
        let scratch = input.scratch().max(output.scratch());
        let scratch = vec![Complex::default(); scratch];
        Some(Self {
            input,
            output,
            lead,
            spectrum,
            mirrored,
            scratch,
        })
    }

    /// Samples of the longer transform, which is what the memory goes by.
    pub(super) fn block(&self) -> usize {
        self.input.size.max(self.output.size)
    }

    /// Input samples for one of the output, where that is fewer.
    pub(super) fn divisor(&self) -> usize {
        (self.input.size / self.output.size).max(1)
    }

    /// Input samples from the newest that was given to the oldest that is waited for, at most.
    pub(super) fn lag(&self) -> usize {
        2 * self.input.hop + self.input.margin
    }

    /// Output samples that no more input changes, when there are `frames` of it.
    pub(super) fn settled(&self, frames: u64) -> u64 {
        let ahead = (frames.saturating_add(self.lead)).saturating_sub(self.input.margin as u64);
        let pairs = ahead / (2 * self.input.hop as u64);
        pairs.saturating_mul(2 * self.output.hop as u64)
    }

    /// The input samples that output samples `wanted` are made from.
    pub(super) fn input_window(&self, wanted: &Range<u64>) -> Range<u64> {
        let (pairs, step) = (self.pairs(wanted), 2 * self.input.hop as u64);
        let (margin, lead) = (self.input.margin as u64, self.lead);
        let start = pairs.start.saturating_mul(step);
        let end = pairs.end.saturating_mul(step).saturating_add(margin);
        start.saturating_sub(margin + lead)..end.saturating_sub(lead)
    }

    /// Pairs of blocks: a range is made from the same ones as the whole, so that it has its bits.
    fn pairs(&self, wanted: &Range<u64>) -> Range<u64> {
        let step = 2 * self.output.hop as u64;
        let end = wanted.end.max(wanted.start.saturating_add(1));
        wanted.start / step..end.div_ceil(step)
    }

    /// Appends output samples `wanted` to `samples`, from `window`: the input from
    /// [`OverlapSave::input_window`] on. Where only zeros are left it stops: far rates have blocks of hours.
    ///
    /// Whether all of the input was finite; sums that overflow count as if it was not.
    ///
    /// # Errors
    /// [`Limit`](crate::ErrorKind::Limit) where memory cannot hold them.
    pub(super) fn process<S: Copy + Into<T>, O>(
        &mut self,
        window: &[S],
        wanted: Range<u64>,
        samples: &mut Vec<O>,
        write: impl Fn(T) -> O + Copy,
    ) -> Result<bool> {
        let mut is_finite = true;
        let count = samples.len().saturating_add(super::length(&wanted));
        let pairs = self.pairs(&wanted);
        let mut skip = (wanted.start - pairs.start * 2 * self.output.hop as u64) as usize;
        // In front of the signal lie zeros, which the window does not hold.
        let before = self.input.margin as u64 + self.lead;
        let missing = before.saturating_sub(pairs.start * 2 * self.input.hop as u64);
        let mut at = -(missing as isize);
        while samples.len() < count && at < window.len() as isize {
            crate::interrupt::check_now()?;
            self.transform(window, at);
            // The sum of both blocks: what is not finite stays so in any sum, in any order.
            let sums = &self.input.transformed[0];
            is_finite &= sums.re.single().is_finite() && sums.im.single().is_finite();
            for part in [|c: &Complex<T>| c.re, |c: &Complex<T>| c.im] {
                let valid = &self.output.transformed[self.output.margin..][..self.output.hop];
                let from = skip.min(valid.len());
                let taken = (valid.len() - from).min(count - samples.len());
                let kept = &valid[from..from + taken];
                room::reserve(samples, taken)?;
                samples.extend(kept.iter().map(|value| write(part(value))));
                skip -= from;
            }
            at += 2 * self.input.hop as isize;
        }
        Ok(is_finite)
    }

    /// One pair of blocks, the first at sample `at` of `window`, to what the output's transform gives.
    fn transform<S: Copy + Into<T>>(&mut self, window: &[S], at: isize) {
        let hop = self.input.hop;
        fill(&mut self.input.buffer, window, at, hop);
        self.input.transform(&mut self.scratch);
        self.filter();
        self.output.transform(&mut self.scratch);
    }

    /// Multiplies by the spectrum and moves the bins, of both signs, to the other length.
    fn filter(&mut self) {
        let (from, to) = (&self.input.transformed, &mut self.output.buffer);
        let (positive, negative) = (self.spectrum.len(), self.mirrored.len());
        let (to_size, from_size) = (to.len(), from.len());
        multiply(&mut to[..positive], &from[..positive], &self.spectrum);
        to[positive..to_size - negative].fill(Complex::default());
        let (to, from) = (&mut to[to_size - negative..], &from[from_size - negative..]);
        multiply(to, from, &self.mirrored);
    }
}

fn multiply<T: Real>(to: &mut [Complex<T>], from: &[Complex<T>], gains: &[T]) {
    for ((to, from), gain) in to.iter_mut().zip(from).zip(gains) {
        *to = from * gain;
    }
}

/// Writes the blocks at sample `at` of `window` and `hop` after it, zeros around the signal.
fn fill<T: Real, S: Copy + Into<T>>(cells: &mut [Complex<T>], window: &[S], at: isize, hop: usize) {
    let inside = usize::try_from(at).ok();
    let inside = inside.and_then(|at| window.get(at..at + hop + cells.len()));
    if let Some(samples) = inside {
        // Nearly all pairs: once over the memory instead of three times.
        for ((cell, first), second) in cells.iter_mut().zip(samples).zip(&samples[hop..]) {
            *cell = Complex::new((*first).into(), (*second).into());
        }
        return;
    }
    cells.fill(Complex::default());
    overlay(cells, window, at, |cell, sample| cell.re = sample.into());
    overlay(cells, window, at + hop as isize, |cell, sample| {
        cell.im = sample.into();
    });
}

impl<T: Real> Side<T> {
    fn new(rate: usize, margin: usize, times: usize, fft: Arc<dyn Fft<T>>) -> Self {
        let size = rate * times;
        Self {
            size,
            margin: rate * margin,
            hop: rate * (times - 2 * margin),
            fft,
            buffer: vec![Complex::default(); size],
            transformed: vec![Complex::default(); size],
        }
    }

    fn scratch(&self) -> usize {
        self.fft.get_outofplace_scratch_len()
    }

    /// Not in place: that would be a copy more.
    fn transform(&mut self, scratch: &mut [Complex<T>]) {
        self.fft
            .process_outofplace_with_scratch(&mut self.buffer, &mut self.transformed, scratch);
    }
}

/// Writes `window` over `cells`, which begin at sample `at` of it.
fn overlay<S: Copy, C>(cells: &mut [C], window: &[S], at: isize, write: impl Fn(&mut C, S)) {
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

/// The filter's spectrum at the bins that both transforms have, the scale of the transforms in it.
fn spectrum<T: Real>(band: &Band, taps: usize, size: usize, other: usize) -> Vec<T> {
    let mut kernel = vec![Complex::<f64>::default(); size];
    for n in 0..=taps {
        let tap = band.tap(n as f64, (taps + 1) as f64);
        kernel[n].re = tap;
        kernel[(size - n) % size].re = tap;
    }
    let sum: f64 = kernel.iter().map(|c| c.re).sum();
    FftPlanner::new()
        .plan_fft_forward(size)
        .process(&mut kernel);
    let bins = size.min(other).div_ceil(2);
    let scale = 1.0 / (sum * size as f64);
    kernel[..bins].iter().map(|c| T::of(c.re * scale)).collect()
}
