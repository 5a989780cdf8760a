//! The synthesis filter bank: 32 subbands to samples. ISO/IEC 11172-3, section 2.4.3.2.2 and annex A,
//! figure A.2.
//!
//! The standard's 64 values for each slot are 32 outputs of a DCT-II, X(n) = Σ S(k) cos(n (2k + 1) π / 64),
//! with signs. Sample 16 - q and sample 16 + q of a slot are sums over the same outputs, n = 32 - q
//! and n = q, of this slot and of the 15 before it.
#![allow(
    clippy::needless_range_loop,
    reason = "loops over the same places of several rows"
)]

use std::f64::consts::PI;
use std::sync::LazyLock;

use super::grid::SUBBANDS;
use super::simd::multiply_add as fma;
use super::window::window;

/// Slots before the present one that the window reaches.
const PAST: usize = 15;
/// Slots that are synthesized at once, at most: those of a granule, or a third of a frame of Layer II.
pub(super) const MOST_SLOTS: usize = 18;
/// Slots that share a look at the coefficients.
const TOGETHER: usize = 2;

type Lanes = [f32; 16];
/// X(16 + p) and X(16 - p), with p as [`PLACES`] says; but X(0) for p = 0 of the second.
type Outputs = [Lanes; 2];

/// Even ones first: these come from sums of subbands, the odd ones from differences.
const PLACES: [usize; 16] = [0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15];

struct Coefficients {
    /// By subband k, of 16: cosines for both rows of outputs.
    cosines: [Outputs; 16],
    /// By pairs of slots: the window for samples p (from both rows), and for samples 32 - p.
    window: [[Outputs; 2]; 8],
    /// The window for sample 0 from X(16), by slot.
    first: [f32; 16],
}

static COEFFICIENTS: LazyLock<Coefficients> = LazyLock::new(|| Coefficients {
    cosines: std::array::from_fn(|k| {
        let cosine = |n: usize| (PI / 64.0 * (n * (2 * k + 1)) as f64).cos() as f32;
        [
            PLACES.map(|p| cosine(16 + p)),
            PLACES.map(|p| if p == 0 { 1.0 } else { cosine(16 - p) }),
        ]
    }),
    window: std::array::from_fn(|i| {
        let at = 64 * i;
        [
            [
                PLACES.map(|p| if p == 0 { 0.0 } else { window(at + p) }),
                PLACES.map(|p| if p == 0 { 0.0 } else { -window(at + 32 + p) }),
            ],
            // X(0) is for sample 16 alone, which takes the place of a sample 32.
            [
                PLACES.map(|p| if p == 0 { 0.0 } else { -window(at + 32 - p) }),
                PLACES.map(|p| {
                    if p == 0 {
                        -window(at + 48)
                    } else {
                        -window(at + 64 - p)
                    }
                }),
            ],
        ]
    }),
    first: std::array::from_fn(|slot| {
        let sign = if slot % 2 == 0 { 1.0 } else { -1.0 };
        sign * window(32 * slot)
    }),
});

/// The outputs of slots before, and room for those of the present ones.
#[derive(Clone)]
pub(super) struct Synthesis {
    slots: [Outputs; PAST + MOST_SLOTS],
}

impl Default for Synthesis {
    fn default() -> Self {
        Self {
            slots: [[[0.0; 16]; 2]; PAST + MOST_SLOTS],
        }
    }
}

impl Synthesis {
    /// Appends 32 samples for each slot.
    #[inline(always)]
    pub(super) fn run<const FUSED: bool>(
        &mut self,
        subbands: &[[f32; SUBBANDS]],
        samples: &mut Vec<f32>,
    ) {
        let coefficients = &*COEFFICIENTS;
        let count = subbands.len().min(MOST_SLOTS);
        let present = &mut self.slots[PAST..PAST + count];
        for (slots, subbands) in present
            .as_chunks_mut::<TOGETHER>()
            .0
            .iter_mut()
            .zip(subbands.as_chunks::<TOGETHER>().0)
        {
            transform::<FUSED>(coefficients, subbands, slots);
        }
        let begin = samples.len();
        samples.resize(begin + count * SUBBANDS, 0.0);
        let samples = samples[begin..].as_chunks_mut::<SUBBANDS>().0;
        for (at, samples) in samples.as_chunks_mut().0.iter_mut().enumerate() {
            let slots = self.slots[at * TOGETHER..].first_chunk();
            if let Some(slots) = slots {
                apply_window::<FUSED>(coefficients, slots, samples);
            }
        }
        self.slots.copy_within(count..count + PAST, 0);
    }
}

/// The outputs of [`TOGETHER`] slots.
#[inline(always)]
fn transform<const FUSED: bool>(
    coefficients: &Coefficients,
    subbands: &[[f32; SUBBANDS]; TOGETHER],
    outputs: &mut [Outputs; TOGETHER],
) {
    let mut sums = [[0.0; 16]; TOGETHER];
    let mut differences = [[0.0; 16]; TOGETHER];
    for slot in 0..TOGETHER {
        for k in 0..16 {
            let (low, high) = (subbands[slot][k], subbands[slot][31 - k]);
            (sums[slot][k], differences[slot][k]) = (low + high, low - high);
        }
    }
    let mut out = [[[0.0; 16]; 2]; TOGETHER];
    for (k, cosines) in coefficients.cosines.iter().enumerate() {
        for slot in 0..TOGETHER {
            for row in 0..2 {
                let out = &mut out[slot][row];
                for lane in 0..8 {
                    out[lane] = fma::<FUSED>(sums[slot][k], cosines[row][lane], out[lane]);
                }
                for lane in 8..16 {
                    out[lane] = fma::<FUSED>(differences[slot][k], cosines[row][lane], out[lane]);
                }
            }
        }
    }
    *outputs = out;
}

/// The samples of the last [`TOGETHER`] slots.
#[inline(always)]
fn apply_window<const FUSED: bool>(
    coefficients: &Coefficients,
    slots: &[Outputs; PAST + TOGETHER],
    samples: &mut [[f32; SUBBANDS]; TOGETHER],
) {
    let mut sums = [[[0.0; 16]; 2]; TOGETHER];
    for (i, window) in coefficients.window.iter().enumerate() {
        for slot in 0..TOGETHER {
            let upper = &slots[PAST + slot - 2 * i][0];
            let lower = &slots[PAST + slot - 2 * i - 1][1];
            for half in 0..2 {
                let sum = &mut sums[slot][half];
                for lane in 0..16 {
                    sum[lane] = fma::<FUSED>(upper[lane], window[half][0][lane], sum[lane]);
                    sum[lane] = fma::<FUSED>(lower[lane], window[half][1][lane], sum[lane]);
                }
            }
        }
    }
    for slot in 0..TOGETHER {
        let [low, high] = &mut sums[slot];
        let mut firsts = [0.0; 4];
        for past in 0..=PAST {
            let (upper, gain) = (slots[PAST + slot - past][0][0], coefficients.first[past]);
            firsts[past % 4] = fma::<FUSED>(upper, gain, firsts[past % 4]);
        }
        low[0] = (firsts[0] + firsts[1]) + (firsts[2] + firsts[3]);
        samples[slot] = in_order(low, high);
    }
}

/// Sample p is in `low`, sample 32 - p in `high`, and sample 16 at its start.
#[inline(always)]
fn in_order(low: &Lanes, high: &Lanes) -> [f32; SUBBANDS] {
    let mut samples = [0.0; SUBBANDS];
    for lane in 0..8 {
        samples[2 * lane] = low[lane];
        samples[2 * lane + 1] = low[8 + lane];
        samples[16 + 2 * lane] = high[(8 - lane) % 8];
        samples[17 + 2 * lane] = high[15 - lane];
    }
    samples
}
