//! Concealment of lost frames. RFC 6716 leaves it open (section 4.4); this is libopus's: what was heard
//! last is repeated with its pitch and filtered by its own spectrum, without end but ever softer.

use super::mdct::{OVERLAP, WINDOW};
use super::postfilter::Comb;

/// Samples that are remembered: the pitch is looked for in them.
pub(super) const HISTORY: usize = 2048;
/// Taps of the prediction.
const ORDER: usize = 24;
/// Samples that the prediction is made from.
const SPAN: usize = 1024;
/// Samples of a pitch.
const MAX_PITCH: usize = 720;
const MIN_PITCH: usize = 100;
/// Noise floor of an autocorrelation, and its window's width by lag.
const NOISE_FLOOR: f32 = 1.0001;
const LAG_WIDTH: f32 = 0.008;
/// What comes out must not have so many times the energy of what it is made from.
const MAX_GROWTH: f32 = 0.2;

/// Prediction of one channel, made at the first lost frame in a row.
pub(super) type Prediction = [f32; ORDER];

/// The pitch of what `channels` end with, in samples.
pub(super) fn find_pitch<'h>(channels: impl Iterator<Item = &'h [f32]>) -> usize {
    let low = whitened_halves(channels);
    MAX_PITCH - search(&low[MAX_PITCH / 2..], &low, HISTORY - MAX_PITCH)
}

/// All channels at half the rate, flattened.
fn whitened_halves<'h>(channels: impl Iterator<Item = &'h [f32]>) -> [f32; HISTORY / 2] {
    let mut low = [0.0; HISTORY / 2];
    for channel in channels {
        let mut before = 0.0;
        for (low, pair) in low.iter_mut().zip(channel.chunks_exact(2)) {
            *low += 0.5 * (0.5 * (before + pair[1]) + pair[0]);
            before = pair[1];
        }
    }
    let mut correlation = autocorrelation::<5>(&low);
    correlation[0] *= NOISE_FLOOR;
    for (lag, value) in correlation.iter_mut().enumerate().skip(1) {
        *value -= *value * (LAG_WIDTH * lag as f32) * (LAG_WIDTH * lag as f32);
    }
    let mut taps = [0.0; 4];
    levinson(&correlation, &mut taps);
    let mut shrink = 1.0;
    for tap in &mut taps {
        shrink *= 0.9;
        *tap *= shrink;
    }
    flatten(&mut low, &taps);
    low
}

/// Filters by `taps` and by a zero at 0.8.
fn flatten(samples: &mut [f32], taps: &[f32; 4]) {
    const ZERO: f32 = 0.8;
    let filter = [
        taps[0] + ZERO,
        taps[1] + ZERO * taps[0],
        taps[2] + ZERO * taps[1],
        taps[3] + ZERO * taps[2],
        ZERO * taps[3],
    ];
    let mut past = [0.0; 5];
    for sample in samples {
        let input = *sample;
        *sample = filter
            .iter()
            .zip(&past)
            .fold(input, |sum, (tap, past)| sum + tap * past);
        past.rotate_right(1);
        past[0] = input;
    }
}

/// Where in `past` something like the `count / 2` samples of `recent` lies, times 2: coarsely at a
/// quarter of the rate, then finer near the best two.
fn search(recent: &[f32], past: &[f32], count: usize) -> usize {
    const LAGS: usize = MAX_PITCH - MIN_PITCH;
    let quarter = |samples: &[f32], count: usize| -> Vec<f32> {
        samples.iter().step_by(2).copied().take(count).collect()
    };
    let recent_quarter = quarter(recent, count / 4);
    let past_quarter = quarter(past, (count + LAGS) / 4);
    let coarse: Vec<f32> = (0..LAGS / 4)
        .map(|lag| dot(&recent_quarter, &past_quarter[lag..]))
        .collect();
    let best = best_two(&coarse, &past_quarter, count / 4);
    let recent = &recent[..count / 2];
    let fine: Vec<f32> = (0..LAGS / 2)
        .map(|lag| {
            if best.iter().all(|best| lag.abs_diff(2 * best) > 2) {
                return 0.0;
            }
            dot(recent, &past[lag..]).max(-1.0)
        })
        .collect();
    let [best, _] = best_two(&fine, past, count / 2);
    let [before, after] =
        [best.checked_sub(1), Some(best + 1)].map(|lag| lag.and_then(|lag| fine.get(lag)).copied());
    let (Some(before), Some(after)) = (before, after) else {
        return 2 * best;
    };
    if after - before > 0.7 * (fine[best] - before) {
        2 * best - 1
    } else if before - after > 0.7 * (fine[best] - after) {
        2 * best + 1
    } else {
        2 * best
    }
}

/// The two lags of the largest correlation for the energy of the `count` samples there.
fn best_two(correlation: &[f32], past: &[f32], count: usize) -> [usize; 2] {
    let mut best = [0, 1];
    let mut squares = [-1.0; 2];
    let mut energies = [0.0; 2];
    let mut energy = past[..count]
        .iter()
        .fold(1.0, |sum, value| sum + value * value);
    for (lag, value) in correlation.iter().enumerate() {
        if *value > 0.0 {
            // So small that the square of a large one stays finite.
            let scaled = value * 1e-12;
            let square = scaled * scaled;
            let is_better = |place: usize| square * energies[place] > squares[place] * energy;
            if is_better(1) {
                let place = usize::from(!is_better(0));
                if place == 0 {
                    (best[1], squares[1], energies[1]) = (best[0], squares[0], energies[0]);
                }
                (best[place], squares[place], energies[place]) = (lag, square, energy);
            }
        }
        let (enters, leaves) = (past[lag + count], past[lag]);
        energy = (energy + (enters * enters - leaves * leaves)).max(1.0);
    }
    best
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

fn autocorrelation<const LAGS: usize>(samples: &[f32]) -> [f32; LAGS] {
    let whole = samples.len() - (LAGS - 1);
    std::array::from_fn(|lag| {
        let head = dot(&samples[..whole], &samples[lag..]);
        head + dot(&samples[whole + lag..], &samples[whole..])
    })
}

/// Levinson's and Durbin's recursion, as far as it predicts anything.
fn levinson(correlation: &[f32], taps: &mut [f32]) {
    taps.fill(0.0);
    let mut error = correlation[0];
    if error == 0.0 {
        return;
    }
    for at in 0..taps.len() {
        let known = taps[..at].iter().zip(correlation[1..=at].iter().rev());
        let sum = known.fold(0.0, |sum, (tap, value)| sum + tap * value);
        let reflection = -(sum + correlation[at + 1]) / error;
        taps[at] = reflection;
        for low in 0..at.div_ceil(2) {
            let (a, b) = (taps[low], taps[at - 1 - low]);
            taps[low] = a + reflection * b;
            taps[at - 1 - low] = b + reflection * a;
        }
        error -= reflection * reflection * error;
        if error < 0.001 * correlation[0] {
            break;
        }
    }
}

/// A prediction from the last samples of `history`.
pub(super) fn predict(history: &[f32]) -> Prediction {
    let mut samples = [0.0; SPAN];
    samples.copy_from_slice(&history[HISTORY - SPAN..HISTORY]);
    for (at, weight) in WINDOW.iter().enumerate() {
        samples[at] *= weight;
        samples[SPAN - 1 - at] *= weight;
    }
    let mut correlation = autocorrelation::<{ ORDER + 1 }>(&samples);
    correlation[0] *= NOISE_FLOOR;
    for (lag, value) in correlation.iter_mut().enumerate().skip(1) {
        *value -= *value * (LAG_WIDTH * LAG_WIDTH) * lag as f32 * lag as f32;
    }
    let mut taps = [0.0; ORDER];
    levinson(&correlation, &mut taps);
    taps
}

/// What a frame is extrapolated by.
pub(super) struct Extrapolation<'a> {
    /// Samples.
    pub(super) pitch: usize,
    pub(super) prediction: &'a Prediction,
    /// Of the first period.
    pub(super) fade: f32,
    /// The filter of the frames before.
    pub(super) comb: &'a Comb,
}

impl Extrapolation<'_> {
    /// Goes on after `samples[..HISTORY]`, for a frame and the half overlap that the next one needs.
    pub(super) fn extend(&self, samples: &mut [f32], frame: usize) {
        let count = frame + OVERLAP;
        let (history, output) = samples.split_at_mut(HISTORY);
        let output = &mut output[..count];
        let energy = self.excite(history, output);
        self.resonate(history, output);
        limit(output, energy);
        self.prepare_overlap(samples, HISTORY + frame);
    }

    /// Repeats the last period of what the prediction leaves, softer from one to the next. Returns the
    /// energy of the history that was repeated.
    fn excite(&self, history: &[f32], output: &mut [f32]) -> f32 {
        let count = (2 * self.pitch).min(SPAN);
        let residual: Vec<f32> = (HISTORY - count..HISTORY)
            .map(|at| {
                let past = history[at - ORDER..at].iter().rev();
                let taps = self.prediction.iter().zip(past).rev();
                taps.fold(history[at], |sum, (tap, past)| sum + tap * past)
            })
            .collect();
        let decay = decay(&residual);
        let mut gain = self.fade * decay;
        let mut energy = 0.0;
        for (number, period) in output.chunks_mut(self.pitch).enumerate() {
            if number > 0 {
                gain *= decay;
            }
            let period_residual = &residual[count - self.pitch..];
            let heard = &history[HISTORY - self.pitch..];
            for ((output, residual), heard) in period.iter_mut().zip(period_residual).zip(heard) {
                *output = gain * residual;
                energy += heard * heard;
            }
        }
        energy
    }

    /// Gives the excitation the spectrum of the history.
    fn resonate(&self, history: &[f32], output: &mut [f32]) {
        let mut past = [0.0; ORDER];
        past.copy_from_slice(&history[HISTORY - ORDER..]);
        for sample in output {
            let taps = self.prediction.iter().rev().zip(&past);
            *sample = taps.fold(*sample, |sum, (tap, past)| sum - tap * past);
            past.rotate_left(1);
            past[ORDER - 1] = *sample;
        }
    }

    /// Leaves at `at` what a block would have left: without the comb filter, folded by the window.
    fn prepare_overlap(&self, samples: &mut [f32], at: usize) {
        let plain = self.comb.undo(samples, at);
        for (index, sample) in samples[at..at + OVERLAP / 2].iter_mut().enumerate() {
            let mirrored = OVERLAP - 1 - index;
            *sample = WINDOW[index] * plain[mirrored] + WINDOW[mirrored] * plain[index];
        }
    }
}

/// By how much the second half is softer than the first.
fn decay(residual: &[f32]) -> f32 {
    let half = residual.len() / 2;
    let energy = |part: &[f32]| part.iter().fold(1.0, |sum, value| sum + value * value);
    let start = residual.len() - 2 * half;
    let earlier = energy(&residual[start..start + half]);
    let later = energy(&residual[start + half..]);
    (later.min(earlier) / earlier).sqrt()
}

/// Nothing comes out louder than `energy`, and nothing at all where the filter rings.
fn limit(output: &mut [f32], energy: f32) {
    let grown = output.iter().fold(0.0, |sum, value| sum + value * value);
    // Also where it is not a number.
    let is_sound = energy > MAX_GROWTH * grown;
    if !is_sound {
        output.fill(0.0);
    } else if energy < grown {
        let ratio = ((energy + 1.0) / (grown + 1.0)).sqrt();
        let (head, tail) = output.split_at_mut(OVERLAP);
        for (sample, window) in head.iter_mut().zip(WINDOW.iter()) {
            *sample *= 1.0 - window * (1.0 - ratio);
        }
        tail.iter_mut().for_each(|sample| *sample *= ratio);
    }
}
