//! Rubato's FFT resampler block by block, for pairs of rates whose common divisor is tiny.
//!
//! Blocks are even multiples of the reduced rates: rubato's delay is half a block in whole samples,
//! and an odd block would shift the result by a fraction of one.

use std::ops::Range;

use audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use crate::error::{Error, Result};
use crate::mix::nonfinite_at;

/// The shorter block has at least so many samples: the pass band then reaches 0.98 of Nyquist.
const MIN_BLOCK: usize = 1024;
/// No block is longer, whatever the pair of rates.
const MAX_BLOCK: usize = 1 << 21;

/// One pair of reduced rates.
pub(super) struct Blocks {
    input: usize,
    output: usize,
    fft: Fft<f32>,
}

impl Blocks {
    pub(super) fn new(from: usize, to: usize) -> Result<Self> {
        let (input, output) = block_sizes(from, to);
        let window = WindowFunction::BlackmanHarris2;
        let fft = Fft::new_custom(from, to, input, 1, 1, window, FixedSync::Both)
            .map_err(|error| Error::invalid(format!("cannot resample {from}:{to}: {error}")))?;
        Ok(Self { input, output, fft })
    }

    /// Samples of the longer block.
    pub(super) fn block(&self) -> usize {
        self.input.max(self.output)
    }

    /// The input samples that output samples `wanted` are made from.
    pub(super) fn input_window(&self, wanted: &Range<u64>) -> Range<u64> {
        let blocks = self.blocks(wanted);
        blocks.start.saturating_mul(self.input as u64)..blocks.end.saturating_mul(self.input as u64)
    }

    fn blocks(&self, wanted: &Range<u64>) -> Range<u64> {
        let (block, delay) = (self.output as u64, self.output as u64 / 2);
        let first = wanted.start.saturating_add(delay) / block;
        let last = wanted
            .end
            .max(wanted.start.saturating_add(1))
            .saturating_add(delay - 1)
            / block;
        // One block ahead: its tail overlaps with the first that is wanted.
        first.saturating_sub(1)..last.saturating_add(1)
    }

    /// Output samples `wanted` from `window`, the input from [`Blocks::input_window`] on.
    pub(super) fn process(&mut self, window: &[f32], wanted: Range<u64>) -> Result<Vec<f32>> {
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

/// Even multiples of the reduced rates, by powers of two, so that the FFT keeps small factors.
fn block_sizes(from: usize, to: usize) -> (usize, usize) {
    let mut times = 2;
    while from.min(to) * times < MIN_BLOCK && from.max(to) * times * 2 <= MAX_BLOCK {
        times *= 2;
    }
    (from * times, to * times)
}
