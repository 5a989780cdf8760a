//! Whisper's log-mel spectrogram, as transformers' `WhisperFeatureExtractor` makes it.
//!
//! Frames of 25 ms every 10 ms, a Hann window, the power of their transform in Slaney's mel bands, the
//! decimal logarithm, at most 8 below the clip's largest. Powers are made in f64, as transformers does
//! without torch: f32 is wrong by up to 5e-5 where a band is much quieter than its neighbours.

mod bank;
mod butterfly;
mod framing;
mod log;
mod simd;
mod transform;

use std::sync::LazyLock;

use crate::error::{Error, Result};
use bank::{Bank, Tile};
use framing::Padded;
use simd::Level;
use transform::{LANES, Plan, Scratch};

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

/// No finite sample gives a logarithm as large; infinity and NaN do.
const NONFINITE: f32 = 200.0;

static PLAN: LazyLock<Plan> = LazyLock::new(Plan::new);

/// Whisper's features for one number of mel bands. Cheap to get again.
pub struct LogMel {
    bank: Bank,
}

impl LogMel {
    /// Features of `n_mels` bands from 0 to 8000 Hz.
    ///
    /// # Errors
    /// No bands, or more than [`MAX_MELS`].
    pub fn new(n_mels: usize) -> Result<Self> {
        if !(1..=MAX_MELS).contains(&n_mels) {
            return Err(Error::invalid(format!(
                "n_mels must be from 1 to {MAX_MELS}, not {n_mels}"
            )));
        }
        Ok(Self {
            bank: Bank::new(n_mels),
        })
    }

    /// Bands, which are rows of features.
    pub fn n_mels(&self) -> usize {
        self.bank.n_mels()
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
    /// Row `i` begins at `out[i * stride]`. If a sample in any frame is NaN or infinite then all
    /// features are NaN, as with transformers. Finite samples give finite features; beyond 1e36, where
    /// transformers' spectra overflow, that is more than it does.
    ///
    /// # Errors
    /// [`Interrupted`](crate::ErrorKind::Interrupted) alone.
    ///
    /// # Panics
    /// If `out` has no room for the rows, or `stride` is less than a row.
    pub fn write(
        &self,
        waveform: &[f32],
        padded: usize,
        out: &mut [f32],
        stride: usize,
    ) -> Result<()> {
        let rows = Rows {
            out,
            stride,
            frames: Self::frames(padded),
        };
        self.features(Level::detect(), Padded::new(waveform, padded), rows)
    }

    /// The first [`LogMel::unpadded_frames`] of [`LogMel::write`], to the last bit, with
    /// [`WHISPER_PADDED`] samples or, for what is longer, so many that silence follows the end.
    ///
    /// # Errors
    /// As [`LogMel::write`].
    ///
    /// # Panics
    /// As [`LogMel::write`].
    pub fn write_unpadded(&self, waveform: &[f32], out: &mut [f32], stride: usize) -> Result<()> {
        let frames = Self::unpadded_frames(waveform.len());
        let mut padded = WHISPER_PADDED;
        if waveform.len() > padded {
            padded = (frames + 2) * HOP;
        }
        let rows = Rows {
            out,
            stride,
            frames,
        };
        self.features(Level::detect(), Padded::new(waveform, padded), rows)
    }

    /// All frames of `signal` count for the maximum, however many are wanted.
    fn features(&self, level: Level, signal: Padded<'_>, mut rows: Rows<'_>) -> Result<()> {
        let computed = signal.frames_with_sound();
        let mut scratch = Scratch::new();
        let mut tile = vec![[0.0; LANES]; self.n_mels()];
        let mut max = log::floor();
        for first in (0..computed).step_by(LANES) {
            crate::interrupt::check()?;
            let span = signal.span(first * HOP);
            let peaks = level.logs(&PLAN, &self.bank, &span, &mut scratch, &mut tile);
            let counted = LANES.min(computed - first);
            max = peaks[..counted]
                .iter()
                .fold(max, |max, peak| max.max(*peak));
            rows.put(&tile, first, counted);
        }
        for mel in 0..self.n_mels() {
            finish(rows.row(mel), computed, max);
        }
        Ok(())
    }
}

/// The frames that are wanted of each band.
struct Rows<'a> {
    out: &'a mut [f32],
    stride: usize,
    frames: usize,
}

impl Rows<'_> {
    fn row(&mut self, mel: usize) -> &mut [f32] {
        &mut self.out[mel * self.stride..][..self.frames]
    }

    /// `count` frames from `first` on, as far as they are wanted.
    fn put(&mut self, tile: &Tile, first: usize, count: usize) {
        let kept = count.min(self.frames.saturating_sub(first));
        if kept == 0 {
            return;
        }
        for (mel, logs) in tile.iter().enumerate() {
            let row = &mut self.row(mel)[first..first + kept];
            match row.first_chunk_mut() {
                Some(whole) => *whole = *logs,
                None => row.copy_from_slice(&logs[..kept]),
            }
        }
    }
}

/// From logarithms to features: `RANGE` below the largest at most, and near 1 in size.
fn finish(row: &mut [f32], computed: usize, max: f32) {
    let least = if max < NONFINITE {
        max - RANGE
    } else {
        f32::NAN
    };
    let feature = |log: f32| (if log > least { log } else { least } + 4.0) * 0.25;
    let (sound, silence) = row.split_at_mut(computed.min(row.len()));
    for value in sound {
        *value = feature(*value);
    }
    silence.fill(feature(log::floor()));
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests;
