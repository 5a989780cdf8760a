//! The value of a signal between its samples, where it holds nothing above a quarter of its rate.
//!
//! A windowed sinc, tabulated for places [`PHASES`] to a sample. Between those its taps follow from the
//! first two derivatives: off by (1 / 512)^3 / 6 of the third at most, which is -160 dB.

use std::sync::LazyLock;

use super::filter::Band;
use super::overlap::Real;
use super::quality::Quality;

/// Tabulated places within one sample.
const PHASES: usize = 256;
/// Taps that are added up side by side, in an order that no processor changes.
const LANES: usize = 8;
/// For the derivatives, in samples: their error is as small as the rounding here.
const STEP: f64 = 1e-4;

/// A tap's value at a place, its slope, and half of its curvature.
type Tap<T> = [[T; LANES]; 3];

static KERNELS: LazyLock<[Vec<Tap<f64>>; 3]> = LazyLock::new(|| Quality::ALL.map(kernel));

/// Signals up to a quarter of the rate are kept; their images begin at three quarters.
fn band(quality: Quality) -> Band {
    Band {
        pass: 0.25,
        stop: 0.75,
        rejection: quality.rejection(),
        block: quality.block(),
    }
}

/// Samples on either side, so that whole groups of lanes are used.
fn reach(quality: Quality) -> usize {
    band(quality).half_taps().next_multiple_of(LANES / 2)
}

/// The taps at each place, 0 and 1 among them, in groups of lanes.
fn kernel(quality: Quality) -> Vec<Tap<f64>> {
    let reach = reach(quality) as f64;
    let band = band(quality).reaching(reach);
    let tap = |place: f64| band.tap(place, reach) / band.tap(0.0, reach);
    let mut groups = vec![Tap::default(); (PHASES + 1) * 2 * reach as usize / LANES];
    for (index, group) in groups.iter_mut().enumerate() {
        let first = index * LANES;
        let (phase, first) = (first / (2 * reach as usize), first % (2 * reach as usize));
        let [value, slope, curve] = group;
        for lane in 0..LANES {
            let place = phase as f64 / PHASES as f64 + reach - 1.0 - (first + lane) as f64;
            let (below, here, above) = (tap(place - STEP), tap(place), tap(place + STEP));
            value[lane] = here;
            slope[lane] = (above - below) / (2.0 * STEP);
            curve[lane] = (above + below - 2.0 * here) / (2.0 * STEP * STEP);
        }
    }
    groups
}

/// The kernel of one profile.
pub(super) struct Between<T> {
    reach: usize,
    taps: Vec<Tap<T>>,
}

impl<T: Real> Between<T> {
    pub(super) fn new(quality: Quality) -> Self {
        let taps = &KERNELS[quality as usize];
        Self {
            reach: reach(quality),
            taps: taps
                .iter()
                .map(|tap| tap.map(|row| row.map(T::of)))
                .collect(),
        }
    }

    /// Samples on either side that count.
    pub(super) fn reach(&self) -> u64 {
        self.reach as u64
    }

    /// The signal `after` (of 0 to 1) a sample after sample `whole`.
    ///
    /// Zeros lie around `signal`.
    pub(super) fn sample(&self, signal: &[T], whole: isize, behind: f64) -> f32 {
        let first = whole + 1 - self.reach as isize;
        let inside = usize::try_from(first).ok();
        let inside = inside.and_then(|first| signal.get(first..first + 2 * self.reach));
        match inside {
            Some(samples) => self.sum(samples, behind),
            None => {
                let sample = |at: isize| usize::try_from(at).ok().and_then(|at| signal.get(at));
                let around = first..first + 2 * self.reach as isize;
                let around: Vec<T> = around
                    .map(|at| sample(at).copied().unwrap_or_default())
                    .collect();
                self.sum(&around, behind)
            }
        }
    }

    fn sum(&self, samples: &[T], behind: f64) -> f32 {
        let phase = (behind * PHASES as f64).round();
        let off = T::of(behind - phase / PHASES as f64);
        let groups = 2 * self.reach / LANES;
        let taps = &self.taps[phase as usize * groups..][..groups];
        let mut sums = [T::default(); LANES];
        for (samples, [value, slope, curve]) in samples.as_chunks::<LANES>().0.iter().zip(taps) {
            for lane in 0..LANES {
                let tap = value[lane] + off * (slope[lane] + off * curve[lane]);
                sums[lane] = sums[lane] + samples[lane] * tap;
            }
        }
        let [a, b, c, d, e, f, g, h] = sums;
        (((a + e) + (c + g)) + ((b + f) + (d + h))).single()
    }
}
