//! Conversion of sample rates: aligned to the sample, and range by range.
//!
//! The signal is cut into blocks that are whole at both rates. Any range is made from the same
//! blocks as the whole signal, so that it equals the slice of the whole to the last bit. Rates whose
//! blocks would be too long are converted sample by sample.

mod direct;
mod overlap;

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::idle::Idle;
use crate::mix::nonfinite_at;
use direct::Direct;
use overlap::OverlapSave;

/// Hz; above it nothing records.
pub const MAX_RATE: u32 = 768_000;
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
    engine: Engine,
}

enum Engine {
    Overlap(OverlapSave),
    Direct(Box<Direct>),
}

impl Resampler {
    /// Plans the conversion of `from` Hz into `to` Hz.
    ///
    /// # Errors
    /// A rate of 0 or above [`MAX_RATE`].
    pub fn new(from: u32, to: u32) -> Result<Self> {
        check_rate(from)?;
        check_rate(to)?;
        let divisor = gcd(from, to);
        let reduced = ((from / divisor) as usize, (to / divisor) as usize);
        let engine = match OverlapSave::new(reduced.0, reduced.1) {
            Some(engine) => Engine::Overlap(engine),
            None => Engine::Direct(Box::new(Direct::new(reduced.0, reduced.1))),
        };
        Ok(Self {
            rates: (from, to),
            engine,
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
        if let Engine::Overlap(engine) = &self.engine
            && engine.block() <= MAX_KEPT_BLOCK
        {
            IDLE.keep(self.rates, self);
        }
    }

    /// The input samples that output samples `wanted` are made from.
    pub fn input_window(&self, wanted: Range<u64>) -> Range<u64> {
        match &self.engine {
            Engine::Overlap(engine) => engine.input_window(&wanted),
            Engine::Direct(engine) => engine.input_window(&wanted),
        }
    }

    /// Output samples `wanted` from `window`, the input from [`Resampler::input_window`] on.
    ///
    /// `window` may end early where the signal ends; zeros follow.
    pub fn process(&mut self, window: &[f32], wanted: Range<u64>) -> Vec<f32> {
        match &mut self.engine {
            Engine::Overlap(engine) => engine.process(window, wanted),
            Engine::Direct(engine) => engine.process(window, wanted),
        }
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
    let samples = resampler.process(plane, 0..frames);
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

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
