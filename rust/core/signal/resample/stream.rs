//! A signal that comes in pieces, converted to the same bits as the whole would be.

use super::{Quality, Resampler, check_finite, resampled_frames, reserved};
use crate::error::{Error, Result};
use crate::guard::room;

/// Converts channels that come in chunks of any length.
///
/// It hands out what no later sample can change, which is a whole number of blocks: what it has handed
/// out lags behind what it was given by [`Stream::latency`] at most, and so long is what it keeps.
pub struct Stream {
    /// `None` where both rates are the same.
    resampler: Option<Resampler>,
    rates: (u32, u32, Quality),
    /// Of each channel, the input from sample `start` on.
    held: Vec<Vec<f32>>,
    start: u64,
    given: u64,
    made: u64,
    is_over: bool,
}

impl Stream {
    /// A stream of `channels` channels at `from` Hz, to be converted to `to` Hz.
    ///
    /// # Errors
    /// As for [`Resampler::new`].
    pub fn new(from: u32, to: u32, quality: Quality, channels: usize) -> Result<Self> {
        super::check_rate(from)?;
        let converts = from != to;
        let resampler = converts.then(|| Resampler::checkout(from, to, quality));
        Ok(Self {
            resampler: resampler.transpose()?,
            rates: (from, to, quality),
            held: vec![Vec::new(); channels],
            start: 0,
            given: 0,
            made: 0,
            is_over: false,
        })
    }

    /// The rates of the input and of the output, in Hz.
    pub fn rates(&self) -> (u32, u32) {
        (self.rates.0, self.rates.1)
    }

    /// How far the output lags behind the input at most, in samples of the output, until
    /// [`Stream::flush`].
    pub fn latency(&self) -> u64 {
        let lag = |resampler: &Resampler| resampler.kernel.lag() as u64;
        let lag = self.resampler.as_ref().map_or(0, lag);
        resampled_frames(lag, self.rates.0, self.rates.1)
    }

    /// Takes a chunk, each channel's samples after those of the one before, and gives what has become
    /// certain, in the same order.
    ///
    /// # Errors
    /// After [`Stream::flush`]; a chunk that is not made of whole channels; a sample that is NaN or
    /// infinite, whose chunk is then not taken; a result that memory cannot hold.
    pub fn push(&mut self, chunk: &[f32]) -> Result<Vec<f32>> {
        if self.is_over {
            return Err(Error::invalid(
                "the stream was flushed; reset it for another signal",
            ));
        }
        let channels = self.held.len().max(1);
        if !chunk.len().is_multiple_of(channels) {
            let reason = format!(
                "{} samples do not divide into {channels} channels",
                chunk.len()
            );
            return Err(Error::invalid(reason));
        }
        let frames = chunk.len() / channels;
        let planes = || chunk.chunks(frames.max(1));
        planes().try_for_each(|plane| check_finite(plane, self.given))?;
        room::reserve_each(&mut self.held, frames)?;
        for (held, plane) in self.held.iter_mut().zip(planes()) {
            held.extend_from_slice(plane);
        }
        self.given += frames as u64;
        let settled = |resampler: &Resampler| resampler.kernel.settled(self.given);
        self.advance(self.resampler.as_ref().map_or(self.given, settled))
    }

    /// The rest, as if silence followed; then only [`Stream::reset`] makes sense.
    ///
    /// # Errors
    /// A second time; a result that memory cannot hold.
    pub fn flush(&mut self) -> Result<Vec<f32>> {
        if self.is_over {
            return Err(Error::invalid("the stream was flushed before"));
        }
        self.is_over = true;
        self.advance(resampled_frames(self.given, self.rates.0, self.rates.1))
    }

    /// Forgets the signal; another one may follow.
    pub fn reset(&mut self) {
        self.held.iter_mut().for_each(Vec::clear);
        (self.start, self.given, self.made) = (0, 0, 0);
        self.is_over = false;
    }

    /// Makes the output up to sample `end`, and lets go of the input that is not needed any more.
    fn advance(&mut self, end: u64) -> Result<Vec<f32>> {
        let wanted = self.made..end.min(resampled_frames(self.given, self.rates.0, self.rates.1));
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let frames = wanted.end - wanted.start;
        let mut samples = reserved(frames.saturating_mul(self.held.len() as u64))?;
        let Some(resampler) = &mut self.resampler else {
            self.made = wanted.end;
            self.held.iter_mut().for_each(|held| samples.append(held));
            return Ok(samples);
        };
        let kernel = &mut resampler.kernel;
        let first = kernel
            .input_window(&wanted)
            .start
            .saturating_sub(self.start) as usize;
        for held in &self.held {
            let window = held.get(first..).unwrap_or_default();
            kernel.process(window, wanted.clone(), &mut samples)?;
        }
        self.made = wanted.end;
        let next = kernel.input_window(&(self.made..self.made + 1)).start;
        self.forget(next.min(self.given));
        Ok(samples)
    }

    /// Drops the input before sample `start`.
    fn forget(&mut self, start: u64) {
        let count = start.saturating_sub(self.start) as usize;
        for held in &mut self.held {
            held.drain(..count.min(held.len()));
        }
        self.start += count as u64;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(resampler) = self.resampler.take() {
            resampler.give_back();
        }
    }
}
