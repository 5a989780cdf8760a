//! Rates with no large common divisor: to a rate with room above the band, then between its samples.
//!
//! Blocks that are whole at both rates would be seconds long there. So overlap-save filters to the band
//! that both rates can hold, at a rate of at least twice the lower one; a short kernel, which has half of
//! that rate for its transition, then finds each output sample between those (Smith, Digital Audio
//! Resampling, ccrma.stanford.edu/~jos/resample). Rates that are far apart are divided before.

use std::ops::Range;

use super::between::Between;
use super::filter::Band;
use super::overlap::{OverlapSave, Plan, Real};
use super::quality::Quality;
use crate::error::Result;
use crate::guard::room;

/// Rates further apart than so are divided first, as short filters do that.
const FAR: usize = 16;
/// By so much at a time.
const MAX_DIVISOR: usize = 64;
/// What is left above the lower rate then, at the least.
const ROOM: usize = 4;

/// Samples that are found between two looks whether the work goes on: some milliseconds.
const AT_ONCE: u64 = 1 << 14;

/// One pair of reduced rates.
pub(super) struct Odd<T> {
    /// Each takes the one before to a lower rate; the last one filters.
    stages: Vec<OverlapSave<T>>,
    between: Between<T>,
    /// Samples of the last stage between two of the output, as a fraction.
    from: u64,
    to: u64,
    /// Where the signal begins among the samples of the last stage.
    origin: u64,
    /// Input samples of which the last stage makes one, as a fraction.
    divided: (u64, u64),
}

/// A chain of stages that is being built.
struct Chain<'p, T> {
    stages: Vec<OverlapSave<T>>,
    /// The rate it has come to is the input's times `up / down`.
    up: u64,
    down: u64,
    /// Where the signal begins.
    origin: u64,
    plan: Plan<'p, T>,
}

impl<T: Real> Chain<'_, T> {
    /// Adds a stage that takes `down` samples to `up`.
    fn push(&mut self, (down, up): (usize, usize), band: &Band) -> Option<()> {
        // What the filter spreads in front of the signal is kept, from a whole sample of both rates on.
        let reach = band.half_taps() as u64;
        let lead = (self.origin + reach).next_multiple_of(down as u64) - self.origin;
        let stage = OverlapSave::new((down, up), band, lead, self.plan)?;
        self.stages.push(stage);
        self.origin = (self.origin + lead) / down as u64 * up as u64;
        self.up *= up as u64;
        self.down *= down as u64;
        Some(())
    }
}

impl<T: Real> Odd<T> {
    pub(super) fn new(from: usize, to: usize, quality: Quality, plan: Plan<'_, T>) -> Option<Self> {
        let mut chain = Chain {
            stages: Vec::new(),
            up: 1,
            down: 1,
            origin: 0,
            plan,
        };
        let lower = from.min(to);
        // Samples for one of the lower rate, at the rate that the chain has come to.
        let times = |chain: &Chain<'_, T>| from as f64 / chain.down as f64 / lower as f64;
        while times(&chain) >= FAR as f64 {
            let divisor = (times(&chain) as usize / ROOM).min(MAX_DIVISOR);
            let band = Band {
                pass: 0.5 / times(&chain),
                stop: 0.5 / divisor as f64,
                rejection: quality.rejection(),
                block: quality.block(),
            };
            chain.push((divisor, 1), &band)?;
        }
        let nyquist = 0.5 / times(&chain);
        let band = Band {
            pass: quality.pass_band() * nyquist,
            stop: quality.stop_band() * nyquist,
            rejection: quality.rejection(),
            block: quality.block(),
        };
        let ratio = match times(&chain) as usize {
            0 | 1 => (1, 2),
            whole => (whole / 2, 1),
        };
        chain.push(ratio, &band)?;
        Some(Self {
            between: Between::new(quality),
            from: from as u64 * chain.up,
            to: to as u64 * chain.down,
            origin: chain.origin,
            divided: (chain.down, chain.up),
            stages: chain.stages,
        })
    }

    pub(super) fn block(&self) -> usize {
        self.stages.iter().map(OverlapSave::block).sum()
    }

    /// Input samples from the newest that was given to the oldest that is waited for, at most.
    pub(super) fn lag(&self) -> usize {
        let (mut lag, mut scale) = (0, 1);
        for stage in &self.stages {
            lag += stage.lag() * scale;
            scale *= stage.divisor();
        }
        let reach = (self.between.reach() + 2) * self.divided.0;
        lag + reach.div_ceil(self.divided.1) as usize
    }

    /// Output samples that no more input changes, when there are `frames` of it.
    pub(super) fn settled(&self, frames: u64) -> u64 {
        let stages = self.stages.iter();
        let made = stages.fold(frames, |frames, stage| stage.settled(frames));
        let ahead = made.saturating_sub(self.origin + self.between.reach() + 1);
        let product = u128::from(ahead) * u128::from(self.to);
        u64::try_from(product / u128::from(self.from)).unwrap_or(u64::MAX)
    }

    /// The input samples that output samples `wanted` are made from.
    pub(super) fn input_window(&self, wanted: &Range<u64>) -> Range<u64> {
        let stages = self.stages.iter().rev();
        stages.fold(self.window(wanted), |window, stage| {
            stage.input_window(&window)
        })
    }

    /// The same in samples of the last stage.
    fn window(&self, wanted: &Range<u64>) -> Range<u64> {
        let reach = self.between.reach();
        let last = self
            .place(wanted.end.max(wanted.start.saturating_add(1)) - 1)
            .0;
        let start = self.place(wanted.start).0.saturating_sub(reach - 1);
        start..last.saturating_add(reach + 1)
    }

    /// The sample at or before output sample `at`, and by which part of `to` that lies after it.
    fn place(&self, at: u64) -> (u64, u64) {
        let place = u128::from(at) * u128::from(self.from);
        let to = u128::from(self.to);
        let whole = u64::try_from(place / to).unwrap_or(u64::MAX);
        (whole.saturating_add(self.origin), (place % to) as u64)
    }

    /// Appends output samples `wanted` to `samples`, from `window`: the input from
    /// [`Odd::input_window`] on; whether all of that was finite.
    ///
    /// # Errors
    /// [`Limit`](crate::ErrorKind::Limit) where memory cannot hold them.
    pub(super) fn process(
        &mut self,
        window: &[f32],
        wanted: Range<u64>,
        samples: &mut Vec<f32>,
    ) -> Result<bool> {
        if wanted.is_empty() {
            return Ok(true);
        }
        room::reserve(samples, super::length(&wanted))?;
        let mut is_finite = true;
        let mut needed = vec![self.window(&wanted)];
        for stage in self.stages.iter().skip(1).rev() {
            needed.push(stage.input_window(needed.last().unwrap_or(&wanted)));
        }
        let mut made: Option<Vec<T>> = None;
        for (stage, needed) in self.stages.iter_mut().zip(needed.iter().rev()) {
            let mut next = Vec::new();
            is_finite &= match &made {
                None => stage.process(window, needed.clone(), &mut next, |value| value)?,
                Some(made) => stage.process(made, needed.clone(), &mut next, |value| value)?,
            };
            made = Some(next);
        }
        let start = needed.first().map_or(0, |needed| needed.start);
        let made = made.unwrap_or_default();
        self.interpolate(&made, start, wanted, samples)?;
        Ok(is_finite)
    }

    /// Appends output samples `wanted` from those of the last stage, of which `signal` begins at `start`.
    fn interpolate(
        &self,
        signal: &[T],
        start: u64,
        wanted: Range<u64>,
        samples: &mut Vec<f32>,
    ) -> Result<()> {
        // Step by step instead of `place` each time: divisions of 128 bits would take most of the time.
        let (step, part) = (self.from / self.to, self.from % self.to);
        let (first, mut rest) = self.place(wanted.start);
        let mut whole = first as isize - start as isize;
        for at in wanted {
            if at.is_multiple_of(AT_ONCE) {
                crate::interrupt::check_now()?;
            }
            let behind = rest as f64 / self.to as f64;
            samples.push(self.between.sample(signal, whole, behind));
            whole += step as isize;
            rest += part;
            if rest >= self.to {
                (whole, rest) = (whole + 1, rest - self.to);
            }
        }
        Ok(())
    }
}
