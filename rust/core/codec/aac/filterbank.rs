//! From spectra to samples: windows, the inverse MDCT and the overlap, ISO/IEC 14496-3, section 4.6.11.

use std::f64::consts::PI;
use std::sync::{Arc, LazyLock};

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use super::windows::{Sequence, Windows};

/// Frames of a block at most.
const LONGEST: usize = 1024;
/// Samples of full scale, in the scale that the standard's formulas have.
const FULL_SCALE: f64 = 32_768.0;

/// Both lengths of transforms and both shapes of windows, for frames of one length.
pub(super) struct Filterbank {
    long: Transform,
    short: Transform,
}

static FRAMES_1024: LazyLock<Filterbank> = LazyLock::new(|| Filterbank::new(1024));
static FRAMES_960: LazyLock<Filterbank> = LazyLock::new(|| Filterbank::new(960));

/// What one channel keeps from packet to packet.
#[derive(Clone)]
pub(super) struct Overlap {
    samples: [f32; LONGEST],
    is_kaiser: bool,
}

/// Room for what lives no longer than a call.
pub(super) struct Scratch {
    complex: Vec<Complex<f32>>,
    fft: Vec<Complex<f32>>,
    real: [f32; LONGEST],
    blocks: [f32; 2 * LONGEST],
}

impl Overlap {
    pub(super) fn new() -> Self {
        Self {
            samples: [0.0; LONGEST],
            is_kaiser: false,
        }
    }
}

impl Filterbank {
    /// The filter bank for frames of `length` samples, 960 or 1024.
    pub(super) fn of(length: usize) -> &'static Self {
        match length {
            960 => &FRAMES_960,
            _ => &FRAMES_1024,
        }
    }

    fn new(length: usize) -> Self {
        Self {
            long: Transform::new(length, 4.0),
            short: Transform::new(length / 8, 6.0),
        }
    }

    pub(super) fn scratch(&self) -> Scratch {
        let length = self.long.fft.get_inplace_scratch_len();
        let length = length.max(self.short.fft.get_inplace_scratch_len());
        Scratch {
            complex: vec![Complex::default(); LONGEST / 2],
            fft: vec![Complex::default(); length],
            real: [0.0; LONGEST],
            blocks: [0.0; 2 * LONGEST],
        }
    }

    /// The samples of one channel's `spectrum`; all three have the length of a frame.
    pub(super) fn synthesize(
        &self,
        windows: &Windows,
        spectrum: &[f32],
        overlap: &mut Overlap,
        scratch: &mut Scratch,
        output: &mut [f32],
    ) {
        let kept = &mut overlap.samples[..output.len()];
        let before = std::mem::replace(&mut overlap.is_kaiser, windows.is_kaiser);
        if windows.is_short() {
            self.synthesize_short(windows.is_kaiser, before, spectrum, kept, scratch, output);
            return;
        }
        let length = output.len();
        self.long.run(spectrum, scratch);
        let folded = &scratch.real[..length];
        let flat = (length - length / 8) / 2;
        unfold_first(folded, output);
        if windows.sequence == Sequence::Stop {
            output[..flat].fill(0.0);
            multiply(&mut output[flat..length - flat], self.short.rise(before));
        } else {
            multiply(output, self.long.rise(before));
        }
        add(output, kept);
        unfold_second(folded, kept);
        if windows.sequence == Sequence::Start {
            multiply_reversed(
                &mut kept[flat..length - flat],
                self.short.rise(windows.is_kaiser),
            );
            kept[length - flat..].fill(0.0);
        } else {
            multiply_reversed(kept, self.long.rise(windows.is_kaiser));
        }
    }

    /// Eight short blocks, the first of which rises at 7/16 of the frame.
    fn synthesize_short(
        &self,
        is_kaiser: bool,
        was_kaiser: bool,
        spectrum: &[f32],
        kept: &mut [f32],
        scratch: &mut Scratch,
        output: &mut [f32],
    ) {
        let (length, short) = (output.len(), output.len() / 8);
        scratch.blocks.fill(0.0);
        scratch.blocks[..length].copy_from_slice(kept);
        let mut half = [0.0; LONGEST / 8];
        let half = &mut half[..short];
        let mut at = (length - short) / 2;
        let mut shape = was_kaiser;
        for spectrum in spectrum.chunks_exact(short) {
            self.short.run(spectrum, scratch);
            unfold_first(&scratch.real[..short], half);
            multiply(half, self.short.rise(shape));
            add(&mut scratch.blocks[at..at + short], half);
            shape = is_kaiser;
            unfold_second(&scratch.real[..short], half);
            multiply_reversed(half, self.short.rise(shape));
            at += short;
            add(&mut scratch.blocks[at..at + short], half);
        }
        output.copy_from_slice(&scratch.blocks[..length]);
        kept.copy_from_slice(&scratch.blocks[length..2 * length]);
    }
}

/// An inverse MDCT of `M` coefficients as a DCT-IV, which is its result folded, by a complex transform
/// of half as many points.
struct Transform {
    fft: Arc<dyn Fft<f32>>,
    twiddles: Vec<Complex<f32>>,
    scaled_twiddles: Vec<Complex<f32>>,
    /// The rising halves of the windows.
    sine: Vec<f32>,
    kaiser: Vec<f32>,
}

impl Transform {
    fn new(length: usize, alpha: f64) -> Self {
        let twiddle = |n: usize, scale: f64| {
            let angle = -PI * (8 * n + 1) as f64 / (8 * length) as f64;
            Complex::new((scale * angle.cos()) as f32, (scale * angle.sin()) as f32)
        };
        let scale = 1.0 / (length as f64 * FULL_SCALE);
        Self {
            fft: FftPlanner::new().plan_fft_forward(length / 2),
            twiddles: (0..length / 2).map(|n| twiddle(n, 1.0)).collect(),
            scaled_twiddles: (0..length / 2).map(|n| twiddle(n, scale)).collect(),
            sine: sine(length),
            kaiser: kaiser(length, alpha),
        }
    }

    fn rise(&self, is_kaiser: bool) -> &[f32] {
        if is_kaiser { &self.kaiser } else { &self.sine }
    }

    /// The DCT-IV of `spectrum`, in `scratch.real`.
    fn run(&self, spectrum: &[f32], scratch: &mut Scratch) {
        let length = self.twiddles.len();
        let complex = &mut scratch.complex[..length];
        let (even, odd) = (spectrum.as_chunks::<2>().0, spectrum.as_chunks::<2>().0);
        let inputs = even.iter().zip(odd.iter().rev());
        for ((to, twiddle), (even, odd)) in
            complex.iter_mut().zip(&self.scaled_twiddles).zip(inputs)
        {
            *to = Complex::new(even[0], odd[1]) * twiddle;
        }
        self.fft.process_with_scratch(complex, &mut scratch.fft);
        for (value, twiddle) in complex.iter_mut().zip(&self.twiddles) {
            *value *= twiddle;
        }
        let pairs = scratch.real[..2 * length].as_chunks_mut::<2>().0;
        let values = complex.iter().zip(complex.iter().rev());
        for (pair, (from, mirrored)) in pairs.iter_mut().zip(values) {
            *pair = [from.re, -mirrored.im];
        }
    }
}

/// The first half of an inverse MDCT from its folded form.
fn unfold_first(folded: &[f32], output: &mut [f32]) {
    let (_, upper) = folded.split_at(folded.len() / 2);
    let (first, second) = output.split_at_mut(folded.len() / 2);
    first.copy_from_slice(upper);
    for (to, from) in second.iter_mut().zip(upper.iter().rev()) {
        *to = -from;
    }
}

/// The second half.
fn unfold_second(folded: &[f32], output: &mut [f32]) {
    let (lower, _) = folded.split_at(folded.len() / 2);
    let (first, second) = output.split_at_mut(folded.len() / 2);
    for (to, from) in first.iter_mut().zip(lower.iter().rev()) {
        *to = -from;
    }
    for (to, from) in second.iter_mut().zip(lower) {
        *to = -from;
    }
}

fn multiply(samples: &mut [f32], window: &[f32]) {
    for (sample, factor) in samples.iter_mut().zip(window) {
        *sample *= factor;
    }
}

fn multiply_reversed(samples: &mut [f32], window: &[f32]) {
    for (sample, factor) in samples.iter_mut().zip(window.iter().rev()) {
        *sample *= factor;
    }
}

fn add(samples: &mut [f32], others: &[f32]) {
    for (sample, other) in samples.iter_mut().zip(others) {
        *sample += other;
    }
}

fn sine(length: usize) -> Vec<f32> {
    let angle = |n: usize| PI * (2 * n + 1) as f64 / (4 * length) as f64;
    (0..length).map(|n| angle(n).sin() as f32).collect()
}

/// The window that Kaiser and Bessel give, section 4.6.11.3.2.
fn kaiser(length: usize, alpha: f64) -> Vec<f32> {
    let middle = length as f64 / 2.0;
    let value = |n: usize| {
        let place = (n as f64 - middle) / middle;
        bessel(PI * alpha * (1.0 - place * place).sqrt())
    };
    let sums = (0..=length).scan(0.0, |sum, n| {
        *sum += value(n);
        Some(*sum)
    });
    let sums: Vec<f64> = sums.collect();
    let whole = sums.last().copied().unwrap_or(1.0);
    let rise = sums.iter().take(length);
    rise.map(|sum| (sum / whole).sqrt() as f32).collect()
}

/// The modified Bessel function of the first kind and order 0, by its series.
fn bessel(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..60 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x[n]` of section 4.6.11.3.1, in full scale, without a window.
    fn naive(spectrum: &[f32]) -> Vec<f64> {
        let half = spectrum.len();
        let angle = |n: usize, k: usize| {
            let n0 = (half as f64 + 1.0) / 2.0;
            PI / half as f64 * (n as f64 + n0) * (k as f64 + 0.5)
        };
        let sum = |n| {
            (0..half)
                .map(|k| f64::from(spectrum[k]) * angle(n, k).cos())
                .sum::<f64>()
        };
        (0..2 * half)
            .map(|n| sum(n) / half as f64 / FULL_SCALE)
            .collect()
    }

    fn spectrum(length: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 100.0 - 80_000.0
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn the_transform_is_the_formula_of_the_standard() {
        for length in [960, 1024] {
            let bank = Filterbank::of(length);
            let mut scratch = bank.scratch();
            for transform in [&bank.long, &bank.short] {
                let length = 2 * transform.twiddles.len();
                let spectrum = spectrum(length, 5);
                transform.run(&spectrum, &mut scratch);
                let mut halves = vec![0.0; 2 * length];
                unfold_first(&scratch.real[..length], &mut halves[..length]);
                unfold_second(&scratch.real[..length], &mut halves[length..]);
                for (ours, theirs) in halves.iter().zip(naive(&spectrum)) {
                    assert!((f64::from(*ours) - theirs).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn windows_rise_as_their_falls_need() {
        for length in [120, 128, 960, 1024] {
            for window in [sine(length), kaiser(length, 4.0), kaiser(length, 6.0)] {
                assert!(window.is_sorted());
                for (up, down) in window.iter().zip(window.iter().rev()) {
                    assert!((up * up + down * down - 1.0).abs() < 1e-6);
                }
            }
        }
    }

    /// A forward MDCT with the same windows gives back what went in, across every change of window.
    #[test]
    fn blocks_overlap_to_the_signal_again() {
        use Sequence::{Long, Short, Start, Stop};
        let sequences = [
            Long, Long, Start, Short, Short, Stop, Long, Start, Stop, Start, Short, Stop,
        ];
        for length in [960, 1024] {
            let signal = spectrum(length * (sequences.len() + 1), 9);
            let bank = Filterbank::of(length);
            let (mut overlap, mut scratch) = (Overlap::new(), bank.scratch());
            let mut was = false;
            for (at, sequence) in sequences.into_iter().enumerate() {
                let is_kaiser = at % 3 == 1;
                let block = &signal[at * length..(at + 2) * length];
                let spectrum = analyze(bank, block, sequence, was, is_kaiser);
                was = is_kaiser;
                let mut windows = Windows::default();
                (windows.sequence, windows.is_kaiser) = (sequence, is_kaiser);
                let mut output = vec![0.0; length];
                bank.synthesize(&windows, &spectrum, &mut overlap, &mut scratch, &mut output);
                for (ours, sample) in
                    output
                        .iter()
                        .zip(block)
                        .skip(if at == 0 { length } else { 0 })
                {
                    assert!(
                        (f64::from(*ours) * FULL_SCALE - f64::from(*sample)).abs() < 0.5,
                        "{at}"
                    );
                }
            }
        }
    }

    fn analyze(
        bank: &Filterbank,
        block: &[f32],
        sequence: Sequence,
        was: bool,
        is: bool,
    ) -> Vec<f32> {
        let length = block.len() / 2;
        let flat = (length - length / 8) / 2;
        let edge = |rise: &[f32]| {
            let mut edge = vec![0.0; flat];
            edge.extend(rise);
            edge.resize(length, 1.0);
            edge
        };
        let whole = |first: Vec<f32>, second: Vec<f32>| -> Vec<f32> {
            first.into_iter().chain(second.into_iter().rev()).collect()
        };
        let (long, short) = (&bank.long, &bank.short);
        match sequence {
            Sequence::Short => (0..8)
                .flat_map(|n| {
                    let at = flat + n * length / 8;
                    let first = short.rise(if n == 0 { was } else { is });
                    let window = whole(first.to_vec(), short.rise(is).to_vec());
                    mdct(&block[at..at + length / 4], &window)
                })
                .collect(),
            Sequence::Long => mdct(
                block,
                &whole(long.rise(was).to_vec(), long.rise(is).to_vec()),
            ),
            Sequence::Start => mdct(block, &whole(long.rise(was).to_vec(), edge(short.rise(is)))),
            Sequence::Stop => mdct(block, &whole(edge(short.rise(was)), long.rise(is).to_vec())),
        }
    }

    fn mdct(block: &[f32], window: &[f32]) -> Vec<f32> {
        let half = block.len() / 2;
        let samples: Vec<f64> = block
            .iter()
            .zip(window)
            .map(|(s, w)| f64::from(s * w))
            .collect();
        let n0 = (half as f64 + 1.0) / 2.0;
        let angle = |n: usize, k: usize| PI / half as f64 * (n as f64 + n0) * (k as f64 + 0.5);
        let sum = |k| {
            samples
                .iter()
                .enumerate()
                .map(|(n, s)| s * angle(n, k).cos())
                .sum::<f64>()
        };
        (0..half).map(|k| 2.0 * sum(k) as f32).collect()
    }
}
