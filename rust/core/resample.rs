//! Conversion of sample rates: rubato's FFT resampler, aligned to the sample, range by range.
//!
//! The signal is cut into blocks of `input` samples that become blocks of `output` samples. Both are
//! even multiples of the reduced rates: rubato's delay is half a block in whole samples, and an odd
//! block would shift the result by a fraction of one. Any range is made from the same blocks as the
//! whole signal, so that it equals the slice of the whole to the last bit.

use std::ops::Range;

use audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use crate::error::{Error, ErrorKind, Result};
use crate::idle::Idle;
use crate::mix::nonfinite_at;

/// Hz; above it nothing records.
pub const MAX_RATE: u32 = 768_000;
/// The shorter block has at least so many samples: the pass band then reaches 0.98 of Nyquist.
const MIN_BLOCK: usize = 1024;
/// No block is longer, whatever the pair of rates.
const MAX_BLOCK: usize = 1 << 21;
/// Resamplers kept for the next clips; making one costs up to milliseconds.
const KEPT: usize = 64;
/// Longer blocks, of rates with no large common divisor, would hold memory for good.
const MAX_KEPT_BLOCK: usize = 1 << 16;

static IDLE: Idle<(u32, u32), Resampler> = Idle::new(KEPT);

/// `ceil(frames * to / from)`: how many samples a signal has at another rate.
pub fn resampled_frames(frames: u64, from: u32, to: u32) -> u64 {
    let product = u128::from(frames) * u128::from(to);
    u64::try_from(product.div_ceil(u128::from(from.max(1)))).unwrap_or(u64::MAX)
}

/// Converts between one pair of rates.
pub struct Resampler {
    rates: (u32, u32),
    input: usize,
    output: usize,
    fft: Fft<f32>,
}

impl Resampler {
    /// Plans the conversion of `from` Hz into `to` Hz.
    ///
    /// # Errors
    /// A rate of 0 or above [`MAX_RATE`].
    pub fn new(from: u32, to: u32) -> Result<Self> {
        check_rate(from)?;
        check_rate(to)?;
        let (input, output) = block_sizes(from, to);
        let fft = Fft::new_custom(
            from as usize,
            to as usize,
            input,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .map_err(|error| {
            Error::invalid(format!("cannot resample {from} Hz to {to} Hz: {error}"))
        })?;
        Ok(Self {
            rates: (from, to),
            input,
            output,
            fft,
        })
    }

    /// A resampler that was used before, or a new one.
    ///
    /// # Errors
    /// As for [`Resampler::new`].
    pub fn checkout(from: u32, to: u32) -> Result<Self> {
        IDLE.take(&(from, to))
            .map_or_else(|| Self::new(from, to), Ok)
    }

    /// Keeps the resampler for the next [`Resampler::checkout`].
    pub fn give_back(self) {
        if self.input.max(self.output) <= MAX_KEPT_BLOCK {
            IDLE.keep(self.rates, self);
        }
    }

    /// The input samples that output samples `wanted` are made from.
    pub fn input_window(&self, wanted: Range<u64>) -> Range<u64> {
        let blocks = self.blocks(&wanted);
        blocks.start.saturating_mul(self.input as u64)..blocks.end.saturating_mul(self.input as u64)
    }

    fn blocks(&self, wanted: &Range<u64>) -> Range<u64> {
        let (block, delay) = (self.output as u64, self.output as u64 / 2);
        let first = wanted.start.saturating_add(delay) / block;
        let last = wanted.end.max(wanted.start + 1).saturating_add(delay - 1) / block;
        // One block ahead: its tail overlaps with the first that is wanted.
        first.saturating_sub(1)..last.saturating_add(1)
    }

    /// Output samples `wanted` from `window`, the input from [`Resampler::input_window`] on.
    ///
    /// `window` may end early where the signal ends; zeros follow.
    ///
    /// # Errors
    /// None that input can cause; rubato's refusals are passed on.
    pub fn process(&mut self, window: &[f32], wanted: Range<u64>) -> Result<Vec<f32>> {
        self.fft.reset();
        let blocks = self.blocks(&wanted);
        let count = wanted.end.saturating_sub(wanted.start) as usize;
        let skip =
            (wanted.start + self.output as u64 / 2 - blocks.start * self.output as u64) as usize;
        let mut samples = Vec::with_capacity(count);
        let (mut patched, mut block) = (vec![0.0f32; self.input], vec![0.0f32; self.output]);
        let mut tail_is_broken = false;
        for index in 0..(blocks.end - blocks.start) as usize {
            let begin = (index * self.input).min(window.len());
            let there = &window[begin..(begin + self.input).min(window.len())];
            // Rubato panics on NaN: samples that are none mark all that they could have touched.
            let is_broken = nonfinite_at(there).is_some();
            let piece = if is_broken || there.len() < self.input {
                patched.fill(0.0);
                if !is_broken {
                    patched[..there.len()].copy_from_slice(there);
                }
                &patched
            } else {
                there
            };
            self.step(piece, &mut block)?;
            if is_broken || tail_is_broken {
                block.fill(f32::NAN);
            }
            tail_is_broken = is_broken;
            let from = skip.saturating_sub(index * self.output).min(self.output);
            let taken = (self.output - from).min(count - samples.len());
            samples.extend_from_slice(&block[from..from + taken]);
        }
        Ok(samples)
    }

    fn step(&mut self, piece: &[f32], block: &mut [f32]) -> Result<()> {
        let failed =
            |error: String| Error::invalid(format!("the resampler refused a block: {error}"));
        let input =
            SequentialSlice::new(piece, 1, self.input).map_err(|e| failed(e.to_string()))?;
        let mut output =
            SequentialSlice::new_mut(block, 1, self.output).map_err(|e| failed(e.to_string()))?;
        let done = self.fft.process_into_buffer(&input, &mut output, None);
        done.map(drop).map_err(|error| failed(error.to_string()))
    }
}

/// Converts a whole plane.
///
/// # Errors
/// As for [`Resampler::new`], and a sample that is NaN or infinite.
pub fn resample(plane: &[f32], from: u32, to: u32) -> Result<Vec<f32>> {
    if let Some(at) = nonfinite_at(plane) {
        let reason = format!("sample {at} is not a finite number");
        return Err(Error::new(ErrorKind::NonFinite, reason).at_sample(at as u64));
    }
    if from == to {
        check_rate(from)?;
        return Ok(plane.to_vec());
    }
    let mut resampler = Resampler::checkout(from, to)?;
    let frames = resampled_frames(plane.len() as u64, from, to);
    let samples = if frames == 0 {
        Vec::new()
    } else {
        resampler.process(plane, 0..frames)?
    };
    resampler.give_back();
    Ok(samples)
}

fn check_rate(rate: u32) -> Result<()> {
    if (1..=MAX_RATE).contains(&rate) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a sample rate of {rate} Hz is not between 1 and {MAX_RATE} Hz"
    )))
}

/// Even multiples of the reduced rates, by powers of two, so that the FFT keeps small factors.
fn block_sizes(from: u32, to: u32) -> (usize, usize) {
    let divisor = gcd(from, to);
    let (input, output) = ((from / divisor) as usize, (to / divisor) as usize);
    let mut times = 2;
    while input.min(output) * times < MIN_BLOCK && input.max(output) * times * 2 <= MAX_BLOCK {
        times *= 2;
    }
    (input * times, output * times)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
