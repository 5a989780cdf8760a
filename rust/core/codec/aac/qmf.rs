//! The banks of quadrature mirror filters: ISO/IEC 14496-3, sections 4.6.18.4.1 to 4.6.18.4.3.
//!
//! A band's samples lie side by side, so that all that is done to bands is done to eight samples at once.

mod cosine;
mod lanes;
mod prototype;

use std::f64::consts::PI;
use std::sync::LazyLock;

use cosine::POINTS;
use lanes::{Lanes, WIDTH};
use prototype::coefficient;

/// Bands of the analysis; the synthesis has twice as many.
pub(super) const LOW_BANDS: usize = 32;
pub(super) const BANDS: usize = 64;
/// Samples of a band in a packet, at most.
pub(super) const SLOTS: usize = 32;
/// Samples of a band that are at hand of the packet before: for the filters that predict, and for the delay.
pub(super) const PAST: usize = 8;

/// What sections 4.6.18 and 8.6.4 take for full scale.
const FULL_SCALE: f64 = 32_768.0;
/// Samples that the window of the analysis reaches back.
const REACH: usize = 320 - LOW_BANDS;
/// Blocks of the synthesis that its window reaches back.
const BLOCKS: usize = 9;

/// Samples of a band: what is left of the packet before, and the packet's own.
pub(super) type Row = [f32; PAST + SLOTS];
/// Samples of a band that leave the bank with the packet.
pub(super) type Output = [f32; SLOTS];

/// Complex samples of bands.
#[derive(Clone)]
pub(super) struct Bands<R, const N: usize> {
    pub(super) re: [R; N],
    pub(super) im: [R; N],
}

impl<const L: usize, const N: usize> Bands<[f32; L], N> {
    pub(super) const fn new() -> Self {
        Self {
            re: [[0.0; L]; N],
            im: [[0.0; L]; N],
        }
    }
}

impl<R: Copy, const N: usize> Bands<R, N> {
    pub(super) fn clone_from_bands(&mut self, other: &Self) {
        self.re.copy_from_slice(&other.re);
        self.im.copy_from_slice(&other.im);
    }
}

struct Windows {
    analysis: [f32; 320],
    synthesis: [f32; 640],
    /// The synthesis at the rate of the analysis.
    half: [f32; 320],
    half_cosines: Box<[[f32; 2 * LOW_BANDS]; 2 * LOW_BANDS]>,
}

static WINDOWS: LazyLock<Windows> = LazyLock::new(|| {
    let window = |n: usize, scale: f64| (f64::from(coefficient(n)) * scale) as f32;
    let synthesis = 1.0 / (64.0 * FULL_SCALE);
    Windows {
        analysis: std::array::from_fn(|n| window(2 * n, 2.0 * FULL_SCALE)),
        synthesis: std::array::from_fn(|n| window(n, synthesis)),
        half: std::array::from_fn(|n| window(2 * n, synthesis)),
        half_cosines: Box::new(std::array::from_fn(|n| {
            std::array::from_fn(|k| {
                let angle = PI / 64.0 * ((k % 32) as f64 + 0.5) * (2.0 * n as f64 - 127.5);
                if k < 32 {
                    angle.cos() as f32
                } else {
                    -angle.sin() as f32
                }
            })
        })),
    }
});

/// What the analysis of one channel remembers.
#[derive(Clone)]
pub(super) struct Analysis {
    past: [f32; REACH],
}

impl Analysis {
    pub(super) fn new() -> Self {
        Self { past: [0.0; REACH] }
    }

    /// Splits `samples`, 32 for each slot, of which there are 30 or 32, into the newest parts of the rows.
    #[inline(always)]
    pub(super) fn run(&mut self, samples: &[f32], rows: &mut Bands<Row, LOW_BANDS>) {
        let mut all = [0.0; REACH + LOW_BANDS * SLOTS];
        all[..REACH].copy_from_slice(&self.past);
        all[REACH..REACH + samples.len()].copy_from_slice(samples);
        self.past.copy_from_slice(&all[samples.len()..][..REACH]);
        let windows = &*WINDOWS;
        for (part, begin) in (0..SLOTS).step_by(WIDTH).enumerate() {
            let mut folded = [[0.0; POINTS]; WIDTH];
            for (lane, folded) in folded.iter_mut().enumerate() {
                let at = LOW_BANDS * (begin + lane);
                if let Some(block) = all[at..].first_chunk() {
                    fold(block, &windows.analysis, folded);
                }
            }
            let mut x = arrange(&folded);
            cosine::transform(&mut x);
            let at = PAST + WIDTH * part;
            for k in 0..LOW_BANDS {
                rows.re[k][at..at + WIDTH].copy_from_slice(&x[k].0);
                let im = Lanes::default() - x[POINTS - 1 - k];
                rows.im[k][at..at + WIDTH].copy_from_slice(&im.0);
            }
        }
    }
}

/// Windows a block, whose newest sample is the last, and adds up what has the same phase.
#[inline(always)]
fn fold(block: &[f32; 320], window: &[f32; 320], folded: &mut [f32; POINTS]) {
    for part in 0..5 {
        for n in 0..POINTS {
            folded[n] += window[POINTS * part + n] * block[319 - POINTS * part - n];
        }
    }
}

/// Orders the sums of eight slots so that cosines of 64 points are what the bank's are of 32.
#[inline(always)]
fn arrange(folded: &[[f32; POINTS]; WIDTH]) -> [Lanes; POINTS] {
    let take = |n: usize| Lanes(std::array::from_fn(|lane| folded[lane][n]));
    let mut x = [Lanes::default(); POINTS];
    x[0] = take(0);
    for n in 1..=32 {
        x[2 * n - 1] = take(n);
    }
    for n in 1..32 {
        x[2 * n] = Lanes::default() - take(POINTS - n);
    }
    x
}

/// What the synthesis of one channel remembers.
#[derive(Clone)]
pub(super) struct Synthesis {
    rows: Box<[[f32; BLOCKS + SLOTS]; 2 * BANDS]>,
}

impl Synthesis {
    pub(super) fn new() -> Self {
        Self {
            rows: Box::new([[0.0; BLOCKS + SLOTS]; 2 * BANDS]),
        }
    }

    /// Puts bands together again: `output` has 64 samples for each slot.
    #[inline(always)]
    pub(super) fn run(&mut self, bands: &Bands<Output, BANDS>, output: &mut [f32]) {
        for begin in (0..SLOTS).step_by(WIDTH) {
            let take = |row: &Output| {
                let chunk = row[begin..].first_chunk();
                Lanes(chunk.copied().unwrap_or_default())
            };
            let mut even: [Lanes; POINTS] = std::array::from_fn(|k| take(&bands.re[k]));
            let mut odd: [Lanes; POINTS] = std::array::from_fn(|k| take(&bands.im[POINTS - 1 - k]));
            cosine::transform(&mut even);
            cosine::transform(&mut odd);
            let at = BLOCKS + begin;
            for n in 0..POINTS {
                let sine = if n % 2 == 0 {
                    odd[n]
                } else {
                    Lanes::default() - odd[n]
                };
                self.rows[n][at..at + WIDTH].copy_from_slice(&(sine - even[n]).0);
                self.rows[127 - n][at..at + WIDTH].copy_from_slice(&(sine + even[n]).0);
            }
        }
        self.window::<BANDS>(&WINDOWS.synthesis, output);
    }

    /// The same at half the rate, of the lower half of the bands alone.
    pub(super) fn run_half(&mut self, bands: &Bands<Output, BANDS>, output: &mut [f32]) {
        for (row, cosines) in self.rows.iter_mut().zip(WINDOWS.half_cosines.iter()) {
            let mut sums = [0.0; SLOTS];
            let inputs = bands.re[..LOW_BANDS].iter().chain(&bands.im[..LOW_BANDS]);
            for (input, cosine) in inputs.zip(cosines) {
                for (sum, sample) in sums.iter_mut().zip(input) {
                    *sum += sample * cosine;
                }
            }
            row[BLOCKS..].copy_from_slice(&sums);
        }
        self.window::<LOW_BANDS>(&WINDOWS.half, output);
    }

    /// Ten blocks make a sample each: one half of every second, the other half of those between.
    #[inline(always)]
    fn window<const N: usize>(&mut self, window: &[f32], output: &mut [f32]) {
        let slots = output.len() / N;
        for k in 0..N {
            let mut sums = [0.0; SLOTS];
            for part in 0..5 {
                let [near, far] = [2 * part, 2 * part + 1].map(|block| {
                    let row = &self.rows[k + N * (block % 2)];
                    (window[N * block + k], &row[BLOCKS - block..][..SLOTS])
                });
                for (sum, (a, b)) in sums.iter_mut().zip(near.1.iter().zip(far.1)) {
                    *sum += near.0 * a + far.0 * b;
                }
            }
            for (slot, sum) in sums.iter().enumerate().take(slots) {
                output[N * slot + k] = *sum;
            }
        }
        for row in self.rows.iter_mut().take(2 * N) {
            row.copy_within(slots..slots + BLOCKS, 0);
        }
    }
}
