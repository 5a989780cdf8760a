//! Whisper's features of many clips: decode, mix, resample and log-mel, each into its row of one array.
//!
//! A row is `n_mels` x frames. Results do not depend on the number of threads, which live as long as
//! the call.

use crate::damage::Gap;
use crate::error::Result;
use crate::mel::{HOP, LogMel, N_FFT, SAMPLE_RATE, WHISPER_PADDED};
use crate::pipeline::{self, Clip, Request, guarded};
use crate::pool;
use crate::source::Source;

/// A sample is in frames whose middle is no farther from it than this.
const REACH: usize = N_FFT / 2;

/// What was heard of a source.
#[derive(Debug)]
pub struct Heard {
    /// Samples at 16 kHz that its features were made of.
    pub samples: usize,
    /// Rate of the source in Hz.
    pub native_rate: u32,
    /// What damage has cost, in samples at 16 kHz; empty unless it is concealed.
    pub gaps: Vec<Gap>,
}

/// Frames of each row of a batch whose longest clip has `longest` samples.
///
/// Clips are filled up with zeros, or cut, to `padded` samples; `None`: they are followed by silence
/// for as long as the longest of them.
pub fn frames(padded: Option<usize>, longest: usize) -> usize {
    padded.map_or_else(|| LogMel::unpadded_frames(longest), LogMel::frames)
}

/// Writes the features of `waveforms` on up to `threads` threads, each row of [`frames`] frames.
///
/// # Errors
/// None but for a fault of ours, caught.
///
/// # Panics
/// If `out` does not have the size of the rows.
pub fn write_batch(
    mel: &LogMel,
    waveforms: &[&[f32]],
    padded: Option<usize>,
    out: &mut [f32],
    threads: usize,
) -> Result<()> {
    let longest = waveforms.iter().map(|waveform| waveform.len()).max();
    let frames = frames(padded, longest.unwrap_or(0));
    let rows = rows(out, waveforms.len(), mel.n_mels() * frames);
    let write = |(waveform, row): (&&[f32], &mut [f32])| {
        match padded {
            Some(padded) => mel.write(waveform, padded, row, frames),
            None => write_longest(mel, waveform, row, frames),
        }
        Ok(())
    };
    let items = waveforms.iter().zip(rows).collect();
    pool::each(items, threads, write).into_iter().collect()
}

/// Decodes each item to mono at 16 kHz, no more of it than counts, and writes the features of `padded`
/// samples into its row. The row of a failed one is zeros.
///
/// # Panics
/// If `out` does not have the size of the rows.
pub fn load_padded(
    mel: &LogMel,
    items: Vec<(Result<Source<'_>>, Request)>,
    padded: usize,
    out: &mut [f32],
    threads: usize,
) -> Vec<Result<Heard>> {
    let frames = LogMel::frames(padded);
    let rows = rows(out, items.len(), mel.n_mels() * frames);
    let items = items.into_iter().zip(rows).collect();
    pool::each(items, threads, |((source, request), row)| {
        let request = request_of(request, Some(padded));
        let result = guarded(|| {
            let clip = pipeline::load(source?, &request)?;
            mel.write(mono(&clip), padded, row, frames);
            Ok(heard(clip))
        });
        result.inspect_err(|_| row.fill(0.0))
    })
}

/// [`load_padded`] into a new array, of as many frames as the longest clip has; silence behind the others.
pub fn load_unpadded(
    mel: &LogMel,
    items: Vec<(Result<Source<'_>>, Request)>,
    threads: usize,
) -> (Vec<f32>, Vec<Result<Heard>>) {
    let request = |(source, request)| (source, request_of(request, None));
    let clips = pipeline::load_batch(items.into_iter().map(request).collect(), threads);
    let longest = clips.iter().flatten().map(|clip| mono(clip).len()).max();
    let frames = LogMel::unpadded_frames(longest.unwrap_or(0));
    let size = mel.n_mels() * frames;
    let mut out = vec![0.0; clips.len() * size];
    let rows = rows(&mut out, clips.len(), size);
    let items = clips.into_iter().zip(rows).collect();
    let result = pool::each(items, threads, |(clip, row): (Result<Clip>, &mut [f32])| {
        let clip = clip?;
        write_longest(mel, mono(&clip), row, frames);
        Ok(heard(clip))
    });
    (out, result)
}

fn rows(out: &mut [f32], clips: usize, size: usize) -> impl Iterator<Item = &mut [f32]> {
    assert_eq!(out.len(), clips * size, "an array of another size");
    let mut rest = out;
    (0..clips).map(move |_| {
        let (row, behind) = std::mem::take(&mut rest).split_at_mut(size);
        rest = behind;
        row
    })
}

/// The features of `waveform` alone, and behind them those of silence.
fn write_longest(mel: &LogMel, waveform: &[f32], row: &mut [f32], frames: usize) {
    let own = LogMel::unpadded_frames(waveform.len());
    let padded = frames * HOP;
    if own < frames && waveform.len() + REACH <= padded {
        mel.write(waveform, padded, row, frames);
    } else if own < frames {
        // The end would be mirrored into the last frames.
        let mut longer = waveform.to_vec();
        longer.resize(padded, 0.0);
        mel.write_unpadded(&longer, row, frames);
    }
    // Alone, a clip that ends at thirty seconds is mirrored there.
    let mirrored = (WHISPER_PADDED - REACH + 1..=WHISPER_PADDED).contains(&waveform.len());
    if own == frames || mirrored {
        mel.write_unpadded(waveform, row, frames);
    }
}

/// Mono at 16 kHz, and no more than `padded` samples of it.
fn request_of(request: Request, padded: Option<usize>) -> Request {
    let most = padded.map(|samples| samples as f64 / f64::from(SAMPLE_RATE));
    let shorter = |duration: f64| most.map_or(duration, |most| duration.min(most));
    Request {
        sample_rate: Some(SAMPLE_RATE),
        mono: true,
        duration: request.duration.map(shorter).or(most),
        ..request
    }
}

fn mono(clip: &Clip) -> &[f32] {
    clip.planes.first().map_or(&[], Vec::as_slice)
}

fn heard(clip: Clip) -> Heard {
    Heard {
        samples: mono(&clip).len(),
        native_rate: clip.native_rate,
        gaps: clip.gaps,
    }
}
