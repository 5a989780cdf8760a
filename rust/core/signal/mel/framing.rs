//! The signal that frames are cut from: zeros after the waveform, mirrored at both ends.

use std::borrow::Cow;

use super::transform::SPAN;
use super::{HOP, N_FFT};

/// A frame is centred on its place, so that the first and the last reach over the ends.
const REACH: usize = N_FFT / 2;

/// A waveform followed by silence.
pub(super) struct Padded<'a> {
    wave: &'a [f32],
    len: usize,
}

impl<'a> Padded<'a> {
    /// `wave` filled up with zeros, or cut, to `len` samples.
    pub(super) fn new(wave: &'a [f32], len: usize) -> Self {
        let wave = &wave[..wave.len().min(len)];
        Self { wave, len }
    }

    /// Frames up to the last that the waveform reaches; those after it hear nothing but zeros. The
    /// first sample of a frame does not count: the window is zero there.
    pub(super) fn frames_with_sound(&self) -> usize {
        if self.wave.is_empty() {
            return 0;
        }
        let reached = (self.wave.len() + REACH - 1).div_ceil(HOP);
        reached.min(self.len / HOP)
    }

    /// What the frames centred on `centre` and on the hops that follow are cut from.
    pub(super) fn span(&self, centre: usize) -> Cow<'a, [f32; SPAN]> {
        let inside = centre
            .checked_sub(REACH)
            .and_then(|begin| self.wave.get(begin..));
        if let Some(span) = inside.and_then(<[f32]>::first_chunk) {
            return Cow::Borrowed(span);
        }
        Cow::Owned(std::array::from_fn(|at| self.sample(centre + at)))
    }

    /// The sample `REACH` before `at`.
    fn sample(&self, at: usize) -> f32 {
        let inside = at >= REACH && at - REACH < self.len;
        let place = if inside {
            at - REACH
        } else {
            self.mirrored(at)
        };
        self.wave.get(place).copied().unwrap_or(0.0)
    }

    /// Mirrored at the first and the last sample, again and again where there are few.
    fn mirrored(&self, at: usize) -> usize {
        let period = 2 * self.len.saturating_sub(1);
        if period == 0 {
            return 0;
        }
        let place = (at + (REACH / period + 1) * period - REACH) % period;
        place.min(period - place)
    }
}
