//! The filter that brings out the pitch: RFC 6716, section 4.3.7.1.

use super::mdct::{OVERLAP, WINDOW};
use super::tables::TAPS;
use crate::codec::opus::range::RangeDecoder;

/// No pitch is shorter.
const MIN_PERIOD: usize = 15;
/// Taps on either side of the pitch.
const SIDE_TAPS: usize = 2;
/// Of a gain, by set of taps: the middle tap and those on either side.
const GAINS: [[f32; SIDE_TAPS + 1]; 3] = [
    [0.306_640_62, 0.217_041_02, 0.129_638_67],
    [0.463_867_2, 0.268_066_4, 0.0],
    [0.799_804_7, 0.100_097_656, 0.0],
];

/// A comb filter of five taps.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Comb {
    /// Samples.
    period: usize,
    gain: f32,
    taps: usize,
}

/// One tap each way and the outer ones.
type Weights = [f32; SIDE_TAPS + 1];

impl Comb {
    /// Decodes a frame's filter.
    pub(super) fn decode(range: &mut RangeDecoder<'_>) -> Self {
        let total = 8 * range.len() as i32;
        let octave = range.uniform(6);
        let period = ((16 << octave) + range.raw(4 + octave) - 1) as usize;
        let gain = 0.09375 * (range.raw(3) + 1) as f32;
        let taps = if range.tell() + 2 <= total {
            range.symbol(&TAPS, 2)
        } else {
            0
        };
        Self { period, gain, taps }
    }

    fn period(&self) -> usize {
        self.period.max(MIN_PERIOD)
    }

    fn weights(&self) -> Weights {
        GAINS[self.taps].map(|weight| self.gain * weight)
    }

    fn equals(&self, other: &Self) -> bool {
        (self.gain, self.period(), self.taps) == (other.gain, other.period(), other.taps)
    }

    /// What takes the filter off `samples[at..]` again, one overlap of it.
    pub(super) fn undo(&self, samples: &[f32], at: usize) -> [f32; OVERLAP] {
        let mut output = [0.0; OVERLAP];
        output.copy_from_slice(&samples[at..at + OVERLAP]);
        if self.gain != 0.0 {
            let weights = self.weights().map(|weight| -weight);
            let past = &samples[at - self.period() - SIDE_TAPS..];
            add_taps(&mut output, past, &weights);
        }
        output
    }
}

/// Filters `samples[at..at + count]` in place, from one filter to the next within an overlap.
pub(super) fn filter(samples: &mut [f32], at: usize, count: usize, from: &Comb, to: &Comb) {
    if from.gain == 0.0 && to.gain == 0.0 {
        return;
    }
    let mut steady = at;
    if !from.equals(to) {
        steady += OVERLAP;
        cross_fade(samples, at, from, to);
    }
    if to.gain != 0.0 {
        let weights = to.weights();
        // As many samples at once as do not depend on each other.
        let most = to.period() - SIDE_TAPS;
        while steady < at + count {
            let (past, new) = samples.split_at_mut(steady);
            let count = most.min(at + count - steady);
            let past = &past[steady - to.period() - SIDE_TAPS..];
            add_taps(&mut new[..count], past, &weights);
            steady += count;
        }
    }
}

/// `past` begins at the earliest tap of the first sample.
fn add_taps(samples: &mut [f32], past: &[f32], weights: &Weights) {
    let count = samples.len();
    let taps: [&[f32]; 2 * SIDE_TAPS + 1] = std::array::from_fn(|tap| &past[tap..tap + count]);
    for (at, sample) in samples.iter_mut().enumerate() {
        *sample = *sample
            + weights[0] * taps[2][at]
            + weights[1] * (taps[3][at] + taps[1][at])
            + weights[2] * (taps[4][at] + taps[0][at]);
    }
}

fn cross_fade(samples: &mut [f32], at: usize, from: &Comb, to: &Comb) {
    let (from_weights, to_weights) = (from.weights(), to.weights());
    let shorter = from.period().min(to.period());
    let longer = from.period().max(to.period());
    let mut done = 0;
    while done < OVERLAP {
        let count = (shorter - SIDE_TAPS).min(OVERLAP - done);
        let (past, new) = samples.split_at_mut(at + done);
        let past = &past[at + done - longer - SIDE_TAPS..];
        let old = &past[longer - from.period()..];
        let young = &past[longer - to.period()..];
        let window = &WINDOW[done..];
        for (index, (sample, window)) in new[..count].iter_mut().zip(window).enumerate() {
            let rise = window * window;
            let tap = |past: &[f32], weights: &Weights, share: f32| {
                share * weights[0] * past[index + 2]
                    + share * weights[1] * (past[index + 3] + past[index + 1])
                    + share * weights[2] * (past[index + 4] + past[index])
            };
            *sample += tap(old, &from_weights, 1.0 - rise) + tap(young, &to_weights, rise);
        }
        done += count;
    }
}
