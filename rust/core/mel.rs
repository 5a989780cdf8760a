//! Whisper's log-mel spectrogram, as transformers' `WhisperFeatureExtractor` makes it.
//!
//! Frames of 25 ms every 10 ms, a Hann window, the power of their transform in Slaney's mel bands, the
//! decimal logarithm, at most 8 below the clip's largest. Powers are made in f64, as transformers does
//! without torch: f32 is wrong by up to 5e-5 where a band is much quieter than its neighbours.

mod bank;

use std::f64::consts::PI;
use std::sync::LazyLock;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use crate::error::{Error, Result};
use bank::Filter;

/// Hz, of every waveform here.
pub const SAMPLE_RATE: u32 = 16_000;
/// Samples of a frame.
pub const N_FFT: usize = 400;
/// Samples from one frame to the next.
pub const HOP: usize = 160;
/// More bands than this are narrower than two bins of the transform, and many of them empty.
pub const MAX_MELS: usize = 512;
/// Samples that Whisper pads a clip to.
pub const WHISPER_PADDED: usize = 30 * SAMPLE_RATE as usize;

/// Powers below count as this.
const FLOOR: f64 = 1e-10;
/// Features reach so far below the largest of the clip, in powers of ten.
const RANGE: f32 = 8.0;

static FFT: LazyLock<std::sync::Arc<dyn Fft<f64>>> =
    LazyLock::new(|| FftPlanner::new().plan_fft_forward(N_FFT));
static WINDOW: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let hann = |n: usize| 0.5 - 0.5 * (2.0 * PI * n as f64 / N_FFT as f64).cos();
    (0..N_FFT).map(hann).collect()
});

/// Whisper's features for one number of mel bands. Cheap to get again.
pub struct LogMel {
    filters: Vec<Filter>,
}

impl LogMel {
    /// Features of `n_mels` bands from 0 to 8000 Hz.
    ///
    /// # Errors
    /// No bands, or more than [`MAX_MELS`].
    pub fn new(n_mels: usize) -> Result<Self> {
        if !(1..=MAX_MELS).contains(&n_mels) {
            return Err(Error::invalid(format!(
                "{n_mels} mel bands are not between 1 and {MAX_MELS}"
            )));
        }
        let filters = bank::filters(n_mels);
        Ok(Self { filters })
    }

    /// Bands, which are rows of features.
    pub fn n_mels(&self) -> usize {
        self.filters.len()
    }

    /// Frames of a waveform padded to `padded` samples.
    pub fn frames(padded: usize) -> usize {
        padded / HOP
    }

    /// Frames of a waveform of `samples` samples that is not padded, the last of them in part.
    pub fn unpadded_frames(samples: usize) -> usize {
        samples.div_ceil(HOP)
    }

    /// Features of `waveform` filled up with zeros, or cut, to `padded` samples: a row of
    /// [`LogMel::frames`] for each band.
    ///
    /// Row `i` begins at `out[i * stride]`. If a sample that counts is NaN or infinite then all
    /// features are NaN.
    ///
    /// # Panics
    /// If `out` has no room for the rows, or `stride` is less than a row.
    pub fn write(&self, waveform: &[f32], padded: usize, out: &mut [f32], stride: usize) {
        self.features(waveform, padded, Self::frames(padded), out, stride);
    }

    /// The first [`LogMel::unpadded_frames`] of [`LogMel::write`], to the last bit, with
    /// [`WHISPER_PADDED`] samples or, for what is longer, so many that silence follows the end.
    ///
    /// # Panics
    /// As [`LogMel::write`].
    pub fn write_unpadded(&self, waveform: &[f32], out: &mut [f32], stride: usize) {
        let frames = Self::unpadded_frames(waveform.len());
        let mut padded = WHISPER_PADDED;
        if waveform.len() > padded {
            padded = (frames + 2) * HOP;
        }
        self.features(waveform, padded, frames, out, stride);
    }

    /// The first `frames` of the features of `padded` samples; all of them count for the maximum.
    fn features(&self, wave: &[f32], padded: usize, frames: usize, out: &mut [f32], stride: usize) {
        let wave = &wave[..wave.len().min(padded)];
        let all = Self::frames(padded);
        let mut max = f32::NEG_INFINITY;
        for frame in 0..all {
            let logs = self.logs(wave, padded, frame);
            for (mel, log) in logs.iter().enumerate() {
                max = if log.is_nan() {
                    f32::NAN
                } else {
                    max.max(*log)
                };
                if max.is_nan() {
                    break;
                }
                if frame < frames {
                    out[mel * stride + frame] = *log;
                }
            }
            if max.is_nan() {
                break;
            }
        }
        for mel in 0..self.n_mels() {
            for value in &mut out[mel * stride..][..frames] {
                *value = if max.is_nan() {
                    max
                } else {
                    (value.max(max - RANGE) + 4.0) / 4.0
                };
            }
        }
    }

    fn logs(&self, wave: &[f32], padded: usize, frame: usize) -> Vec<f32> {
        let begin = (frame * HOP) as isize - (N_FFT / 2) as isize;
        if frame * HOP >= wave.len() + N_FFT / 2 {
            return vec![-10.0; self.n_mels()];
        }
        let sample = |n: usize| wave.get(reflected(begin + n as isize, padded)).copied();
        let windowed = |n: usize| WINDOW[n] * f64::from(sample(n).unwrap_or(0.0));
        let mut buffer: Vec<Complex<f64>> =
            (0..N_FFT).map(|n| Complex::from(windowed(n))).collect();
        FFT.process(&mut buffer);
        let power: Vec<f64> = buffer.iter().map(|bin| bin.norm_sqr()).collect();
        let log = |filter: &Filter| {
            let bins = filter.weights.iter().zip(&power[filter.first..]);
            let sum: f64 = bins.map(|(weight, power)| weight * power).sum();
            if sum.is_finite() {
                sum.max(FLOOR).log10() as f32
            } else {
                f32::NAN
            }
        };
        self.filters.iter().map(log).collect()
    }
}

/// Where the sample `at` lies if `len` samples are mirrored at their first and last, again and again.
fn reflected(at: isize, len: usize) -> usize {
    let period = 2 * len.saturating_sub(1);
    if period == 0 {
        return 0;
    }
    let at = at.rem_euclid(period as isize) as usize;
    at.min(period - at)
}
