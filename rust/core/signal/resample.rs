//! Conversion of sample rates: aligned to the sample, range by range or as a stream.
//!
//! The signal is cut into blocks that are whole at both rates. Any range is made from the same
//! blocks as the whole signal, so that it equals the slice of the whole to the last bit, and so do the
//! pieces of a [`Stream`]. Rates whose blocks would be too long go by way of another one ([`odd`]).

mod between;
mod engine;
mod filter;
mod odd;
mod overlap;
mod quality;
#[cfg(feature = "rubato")]
mod second;
mod stream;

use std::ops::Range;
use std::sync::Arc;

use rustfft::{Fft, FftDirection, FftPlanner};

use crate::error::{Error, ErrorKind, Result};
use crate::guard::room;
use crate::idle::Idle;
use crate::signal::mix::nonfinite_at;
use crate::signal::plane;
pub use engine::Engine;
use odd::Odd;
use overlap::{OverlapSave, Plan, Real};
pub use quality::Quality;
pub use stream::Stream;

/// Hz; above it nothing records.
pub const MAX_RATE: u32 = 768_000;
/// Of reduced rates that share blocks: beyond, a block would be seconds long, which pays for long signals
/// only, and streams would lag by that.
const MAX_TERM: usize = 1 << 13;
/// Resamplers kept for the next clips; making one costs up to milliseconds.
const KEPT: usize = 64;
/// Longer blocks, of rates with no large common divisor, would hold memory for good.
const MAX_KEPT_BLOCK: usize = 1 << 16;

static IDLE: Idle<(u32, u32, Quality), Resampler> = Idle::new(KEPT);

/// `ceil(frames * to / from)`: how many samples a signal has at another rate.
pub fn resampled_frames(frames: u64, from: u32, to: u32) -> u64 {
    let product = u128::from(frames) * u128::from(to);
    u64::try_from(product.div_ceil(u128::from(from.max(1)))).unwrap_or(u64::MAX)
}

/// Converts between one pair of rates, in one quality.
pub struct Resampler {
    key: (u32, u32, Quality),
    kernel: Box<dyn Kernel>,
}

/// What converts: all see the same signal, with zeros around it.
trait Kernel: Send {
    /// Samples of its transforms, which is what the memory goes by.
    fn block(&self) -> usize;
    /// Input samples from the newest that was given to the oldest that is waited for, at most.
    fn lag(&self) -> usize;
    /// Output samples that no more input changes, when there are `frames` of it.
    fn settled(&self, frames: u64) -> u64;
    /// The input samples that output samples `wanted` are made from.
    fn input_window(&self, wanted: &Range<u64>) -> Range<u64>;
    /// Appends output samples `wanted`, made from the input of their window; whether all of that was finite.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] where memory cannot hold them.
    fn process(
        &mut self,
        window: &[f32],
        wanted: Range<u64>,
        samples: &mut Vec<f32>,
    ) -> Result<bool>;
}

impl<T: Real> Kernel for OverlapSave<T> {
    fn block(&self) -> usize {
        OverlapSave::block(self)
    }

    fn lag(&self) -> usize {
        OverlapSave::lag(self)
    }

    fn settled(&self, frames: u64) -> u64 {
        OverlapSave::settled(self, frames)
    }

    fn input_window(&self, wanted: &Range<u64>) -> Range<u64> {
        OverlapSave::input_window(self, wanted)
    }

    fn process(
        &mut self,
        window: &[f32],
        wanted: Range<u64>,
        samples: &mut Vec<f32>,
    ) -> Result<bool> {
        let end = samples.len().saturating_add(length(&wanted));
        let is_finite = OverlapSave::process(self, window, wanted, samples, T::single)?;
        room::resize(samples, end, 0.0)?;
        Ok(is_finite)
    }
}

impl<T: Real> Kernel for Odd<T> {
    fn block(&self) -> usize {
        Odd::block(self)
    }

    fn lag(&self) -> usize {
        Odd::lag(self)
    }

    fn settled(&self, frames: u64) -> u64 {
        Odd::settled(self, frames)
    }

    fn input_window(&self, wanted: &Range<u64>) -> Range<u64> {
        Odd::input_window(self, wanted)
    }

    fn process(
        &mut self,
        window: &[f32],
        wanted: Range<u64>,
        samples: &mut Vec<f32>,
    ) -> Result<bool> {
        Odd::process(self, window, wanted, samples)
    }
}

/// The kernel for reduced rates.
fn kernel<T: Real>(
    (from, to): (usize, usize),
    quality: Quality,
    plan: Plan<'_, T>,
) -> Option<Box<dyn Kernel>> {
    let band = quality.band(from, to);
    if from.max(to) <= MAX_TERM
        && let Some(kernel) = OverlapSave::new((from, to), &band, 0, plan)
    {
        return Some(Box::new(kernel));
    }
    Some(Box::new(Odd::new(from, to, quality, plan)?))
}

/// Transforms that fit this processor.
fn planner<T: Real>() -> impl FnMut(usize, FftDirection) -> Arc<dyn Fft<T>> {
    let mut planner = FftPlanner::new();
    move |size, direction| planner.plan_fft(size, direction)
}

impl Resampler {
    /// Plans the conversion of `from` Hz into `to` Hz.
    ///
    /// # Errors
    /// A rate of 0 or above [`MAX_RATE`].
    pub fn new(from: u32, to: u32, quality: Quality) -> Result<Self> {
        check_rate(from)?;
        check_rate(to)?;
        let divisor = gcd(from, to);
        let rates = ((from / divisor) as usize, (to / divisor) as usize);
        let kernel = match quality {
            Quality::Fast | Quality::High => kernel::<f32>(rates, quality, &mut planner()),
            Quality::Best => kernel::<f64>(rates, quality, &mut planner()),
        };
        let reason = || Error::invalid(format!("{from} Hz cannot be converted to {to} Hz"));
        Ok(Self {
            key: (from, to, quality),
            kernel: kernel.ok_or_else(reason)?,
        })
    }

    /// A resampler that was used before, or a new one.
    ///
    /// # Errors
    /// As for [`Resampler::new`].
    pub fn checkout(from: u32, to: u32, quality: Quality) -> Result<Self> {
        IDLE.take(&(from, to, quality))
            .map_or_else(|| Self::new(from, to, quality), Ok)
    }

    /// Keeps the resampler for the next [`Resampler::checkout`].
    pub fn give_back(self) {
        if self.kernel.block() <= MAX_KEPT_BLOCK {
            IDLE.keep(self.key, self);
        }
    }

    /// The input samples that output samples `wanted` are made from.
    pub fn input_window(&self, wanted: Range<u64>) -> Range<u64> {
        self.kernel.input_window(&wanted)
    }

    /// Output samples `wanted` from `window`, the input from [`Resampler::input_window`] on.
    ///
    /// `window` may end early where the signal ends; zeros follow.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] where memory cannot hold them: a file of a few bytes may declare a rate of 1 Hz.
    pub fn process(&mut self, window: &[f32], wanted: Range<u64>) -> Result<Vec<f32>> {
        let mut samples = plane::with_capacity(1, length(&wanted))?.remove(0);
        self.kernel.process(window, wanted, &mut samples)?;
        Ok(samples)
    }
}

/// Converts a whole plane.
///
/// # Errors
/// As for [`resample_planes`].
pub fn resample(plane: &[f32], from: u32, to: u32, quality: Quality) -> Result<Vec<f32>> {
    resample_planes(plane, plane.len(), (from, to), quality, Engine::Native)
}

/// Converts planes of `frames` samples that lie end to end, as the result's do, by `engine`.
///
/// # Errors
/// As for [`Resampler::new`]; a sample that is NaN or infinite; a result that memory cannot hold; an engine that this
/// build does not have.
pub fn resample_planes(
    planes: &[f32],
    frames: usize,
    (from, to): (u32, u32),
    quality: Quality,
    engine: Engine,
) -> Result<Vec<f32>> {
    check_rate(from)?;
    check_rate(to)?;
    let planes = || planes.chunks(frames.max(1));
    let finite = || planes().try_for_each(|plane| check_finite(plane, 0));
    let made = resampled_frames(frames as u64, from, to);
    let mut samples = reserved(made.saturating_mul(planes().len() as u64))?;
    if from == to {
        finite()?;
        planes().for_each(|plane| samples.extend_from_slice(plane));
        return Ok(samples);
    }
    if engine == Engine::Rubato {
        finite()?;
        planes().try_for_each(|plane| engine::rubato(plane, (from, to), quality, &mut samples))?;
        return Ok(samples);
    }
    let mut resampler = Resampler::checkout(from, to, quality)?;
    let mut is_finite = true;
    for plane in planes() {
        is_finite &= resampler.kernel.process(plane, 0..made, &mut samples)?;
    }
    resampler.give_back();
    if !is_finite {
        finite()?;
    }
    Ok(samples)
}

/// How many samples a range has.
fn length(wanted: &Range<u64>) -> usize {
    let length = wanted.end.saturating_sub(wanted.start);
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Room for `frames` samples, of all planes together.
fn reserved(frames: u64) -> Result<Vec<f32>> {
    let mut samples = Vec::new();
    let room = usize::try_from(frames).ok();
    let room = room.and_then(|frames| room::reserve(&mut samples, frames).ok());
    let reason = || format!("the {frames} samples of the result do not fit into memory");
    room.ok_or_else(|| Error::new(ErrorKind::Limit, reason()))?;
    plane::prepare(&samples);
    Ok(samples)
}

/// No sample of `plane`, whose first one is number `start`, is NaN or infinite.
fn check_finite(plane: &[f32], start: u64) -> Result<()> {
    let Some(at) = nonfinite_at(plane) else {
        return Ok(());
    };
    let at = start + at as u64;
    let reason = format!("sample {at} is not a finite number");
    Err(Error::new(ErrorKind::NonFinite, reason).at_sample(at))
}

fn check_rate(rate: u32) -> Result<()> {
    if (1..=MAX_RATE).contains(&rate) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a sample rate must be from 1 to {MAX_RATE} Hz, not {rate}"
    )))
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Output samples on either side of its place that an input sample has a share in, but for rounding.
pub(crate) fn reach(from: u32, to: u32, quality: Quality) -> u64 {
    let taps = quality.band(from as usize, to as usize).half_taps();
    // Between odd rates there are shorter filters beside the main one, never of more than its length.
    2 * resampled_frames(taps as u64, from, to)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustfft::FftPlannerScalar;

    use super::*;

    fn noise(frames: usize) -> Vec<f32> {
        let bits = |index: usize| (index as u32).wrapping_mul(2_654_435_761) >> 8;
        (0..frames)
            .map(|index| bits(index) as f32 / (1 << 23) as f32 - 1.0)
            .collect()
    }

    /// The largest difference between a kernel on this processor's instructions and on none of them.
    fn distance<T: Real>(from: usize, to: usize, quality: Quality) -> f32 {
        let mut scalar = FftPlannerScalar::new();
        let mut plain = |size, direction| scalar.plan_fft(size, direction);
        let made = |kernel: Option<Box<dyn Kernel>>| {
            let mut samples = Vec::new();
            let plane = noise(50_000);
            let count = (plane.len() * to / from) as u64;
            if let Some(mut kernel) = kernel {
                kernel.process(&plane, 0..count, &mut samples).unwrap();
            }
            samples
        };
        let ours = made(kernel::<T>((from, to), quality, &mut planner()));
        let plain = made(kernel::<T>((from, to), quality, &mut plain));
        assert!(!ours.is_empty() && ours.len() == plain.len());
        let pairs = ours.iter().zip(&plain);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn an_impulse_reaches_no_farther_than_told() {
        let at = 30_000;
        let mut plane = vec![0.0; 60_000];
        plane[at] = 1.0;
        for (from, to) in [
            (44_100, 16_000),
            (22_050, 48_000),
            (48_000, 16_000),
            (44_100, 16_001),
            (8_000, 8_001),
            (8_001, 44_100),
        ] {
            for quality in Quality::ALL {
                let samples = resample(&plane, from, to, quality).unwrap();
                let place = resampled_frames(at as u64, from, to);
                let reach = reach(from, to, quality);
                let share = |apart: &dyn Fn(u64) -> bool| {
                    let there = (0..)
                        .zip(&samples)
                        .filter(|(n, _)| apart(place.abs_diff(*n)));
                    there.map(|(_, sample)| sample.abs()).fold(0.0, f32::max)
                };
                let name = quality.name();
                let beyond = share(&|off| off > reach);
                assert!(beyond < 1e-6, "{from} to {to} {name}: {beyond}");
                let within = share(&|off| off > reach / 4);
                assert!(within > 1e-6, "{from} to {to} {name}: {within}");
            }
        }
    }

    #[test]
    fn all_processors_give_the_same_within_a_millionth() {
        for (from, to) in [
            (441, 160),
            (3, 1),
            (441, 320),
            (1, 2),
            (160, 441),
            (44_100, 16_001),
            (7919, 15_991),
        ] {
            for quality in [Quality::Fast, Quality::High] {
                let off = distance::<f32>(from, to, quality);
                assert!(off < 1e-6, "{from} to {to} {}: {off}", quality.name());
            }
            let off = distance::<f64>(from, to, Quality::Best);
            assert!(off < 1e-6, "{from} to {to} best: {off}");
        }
    }
}
