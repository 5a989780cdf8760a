//! A windowed sinc, evaluated for each output sample: for rates with no large common divisor.
//!
//! Blocks that are whole at both rates would be seconds long there. The filter is that of
//! [`overlap`](super::overlap), looked up in a table that serves all pairs (Smith, Digital Audio
//! Resampling, ccrma.stanford.edu/~jos/resample): slower by far, and every sample stands for itself.

use std::ops::Range;
use std::sync::LazyLock;

use super::overlap::{BAND, OverlapSave, REJECTION, bessel, half_taps, sinc};

/// Table entries for one period of the lower rate: between them a line is off by 3e-7 at most.
const STEPS: usize = 2048;

/// One side of the filter, in steps of 1 / [`STEPS`] of a period of the lower rate, and a 0.
static KERNEL: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let periods = half_taps(1, 1);
    let (cutoff, beta) = ((BAND.0 + BAND.1) / 2.0, 0.1102 * (REJECTION - 8.7));
    let tap = |step: usize| {
        let place = step as f64 / STEPS as f64;
        let window = (1.0 - (place / periods as f64).powi(2)).max(0.0).sqrt();
        cutoff * sinc(cutoff * place) * bessel(beta * window) / bessel(beta)
    };
    (0..periods * STEPS).map(tap).chain([0.0, 0.0]).collect()
});

/// The rate is divided by so much at most before the sinc: what fits into a block.
const MAX_DIVISOR: usize = 4096;

/// One pair of reduced rates.
pub(super) struct Direct {
    /// Takes the input to at least twice the lower rate, where it is far above: the sinc has a tap for
    /// each sample.
    divider: Option<OverlapSave>,
    /// The pair that is left.
    from: u64,
    to: u64,
    /// Steps of the kernel in an input sample, and what the sum is multiplied by.
    step: f64,
    gain: f64,
    /// Input samples on either side that the kernel reaches.
    reach: u64,
}

impl Direct {
    pub(super) fn new(from: usize, to: usize) -> Self {
        let divisor = (from / to / 2).clamp(1, MAX_DIVISOR);
        let divider = Some(divisor).filter(|divisor| *divisor > 1);
        let divider = divider.and_then(|divisor| OverlapSave::new(divisor, 1));
        // Of samples that are `divisor` apart: `from / divisor` to `to`.
        let to = if divider.is_some() { to * divisor } else { to };
        let gain = (to as f64 / from as f64).min(1.0);
        Self {
            divider,
            from: from as u64,
            to: to as u64,
            step: gain * STEPS as f64,
            gain,
            reach: (half_taps(1, 1) as f64 / gain).ceil() as u64,
        }
    }

    /// The input samples that output samples `wanted` are made from.
    pub(super) fn input_window(&self, wanted: &Range<u64>) -> Range<u64> {
        let window = self.window(wanted);
        match &self.divider {
            Some(divider) => divider.input_window(&window),
            None => window,
        }
    }

    /// The same in samples that are divided already.
    fn window(&self, wanted: &Range<u64>) -> Range<u64> {
        let last = self.place(wanted.end.max(wanted.start.saturating_add(1))).0;
        let start = self.place(wanted.start).0.saturating_sub(self.reach);
        start..last.saturating_add(self.reach + 1)
    }

    /// The input sample at or before output sample `at`, and how far behind it that lies.
    fn place(&self, at: u64) -> (u64, f64) {
        let place = u128::from(at) * u128::from(self.from);
        let to = u128::from(self.to);
        let whole = u64::try_from(place / to).unwrap_or(u64::MAX);
        (whole, (place % to) as f64 / self.to as f64)
    }

    /// Output samples `wanted` from `window`, the input from [`Direct::input_window`] on.
    pub(super) fn process(&mut self, window: &[f32], wanted: Range<u64>) -> Vec<f32> {
        let needed = self.window(&wanted);
        match &mut self.divider {
            Some(divider) => {
                let divided = divider.process(window, needed.clone());
                self.convolve(&divided, wanted, needed.start)
            }
            None => self.convolve(window, wanted, needed.start),
        }
    }

    /// Output samples `wanted` from `window`, whose first sample is number `base`.
    fn convolve(&self, window: &[f32], wanted: Range<u64>, base: u64) -> Vec<f32> {
        wanted
            .map(|at| {
                let (whole, behind) = self.place(at);
                let here = (whole - base) as usize;
                let (before, after) = window.split_at((here + 1).min(window.len()));
                // A window that ended before `here` is zeros from there on.
                let gap = (here + 1 - before.len()) as f64;
                let left = self.side(before.iter().rev(), behind + gap);
                let right = self.side(after.iter(), 1.0 - behind);
                ((left + right) * self.gain) as f32
            })
            .collect()
    }

    /// The sum over samples that lie `first` input samples away from the output sample, and further.
    fn side<'s>(&self, samples: impl Iterator<Item = &'s f32>, first: f64) -> f64 {
        let kernel = &KERNEL[..];
        let mut sum = 0.0;
        for (index, sample) in samples.enumerate() {
            let place = (first + index as f64) * self.step;
            let Some([low, high]) = kernel.get(place as usize..place as usize + 2) else {
                break;
            };
            sum += f64::from(*sample) * (low + (high - low) * place.fract());
        }
        sum
    }
}
