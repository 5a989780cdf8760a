//! Whisper's features of many clips: decode, mix, resample and log-mel, each into its row of one array.
//!
//! A row is `n_mels` x frames. Clips are filled up with zeros, or cut, to `padded` samples; `None`: they
//! are followed by silence for as long as the longest of the batch.

use crate::bytes::source::Source;
use crate::error::Result;
use crate::guard::guarded;
use crate::guard::room;
use crate::pipeline::{self, Request, Row};
use crate::pool;
use crate::signal::mel::{HOP, LogMel, N_FFT, SAMPLE_RATE, WHISPER_PADDED};

/// A sample is in frames whose middle is no farther from it than this.
const REACH: usize = N_FFT / 2;

/// Frames of each row of a batch whose longest clip has `longest` samples.
pub fn frames(padded: Option<usize>, longest: usize) -> usize {
    padded.map_or_else(|| LogMel::unpadded_frames(longest), LogMel::frames)
}

/// Writes the features of `waveforms` one row below the other, on up to `threads` threads.
///
/// The result does not depend on `threads`.
///
/// # Errors
/// None but [`Interrupted`](crate::ErrorKind::Interrupted), [`Limit`](crate::ErrorKind::Limit) where memory cannot
/// hold a copy of the longest clip, and a fault of ours, caught.
///
/// # Panics
/// If `out` does not have the size of rows of [`frames`] frames.
pub fn write_batch(
    mel: &LogMel,
    waveforms: &[&[f32]],
    padded: Option<usize>,
    out: &mut [f32],
    threads: usize,
) -> Result<()> {
    let longest = waveforms.iter().map(|waveform| waveform.len()).max();
    let size = mel.n_mels() * frames(padded, longest.unwrap_or(0));
    assert_eq!(
        out.len(),
        waveforms.len() * size,
        "an array of another size"
    );
    let items = waveforms.iter().zip(out.chunks_exact_mut(size.max(1)));
    let weight = |(waveform, _): &(&&[f32], &mut [f32])| waveform.len() as u64;
    let write = |(waveform, row): (&&[f32], &mut [f32])| match padded {
        Some(padded) => mel.write(waveform, padded, row, LogMel::frames(padded)),
        None => write_followed_by_silence(mel, waveform, row),
    };
    let done = pool::each_heaviest_first(items.collect(), threads, weight, write);
    done.into_iter().collect()
}

/// Decodes one clip to mono at 16 kHz, no more of it than counts, and writes the features of `padded`
/// samples into `row`.
///
/// # Errors
/// As for [`pipeline::load`]; then the row is all zeros.
///
/// # Panics
/// If `row` is not of [`LogMel::frames`].
pub fn load_into(
    source: Result<Source<'_>>,
    request: &Request,
    mel: &LogMel,
    padded: usize,
    row: &mut [f32],
) -> Result<Row> {
    let loaded = guarded(|| {
        let clip = pipeline::load(source?, &at_most(request, padded))?;
        let plane = clip.planes.first().map_or(&[][..], Vec::as_slice);
        mel.write(plane, padded, row, LogMel::frames(padded))?;
        Ok(Row {
            length: plane.len(),
            native_rate: clip.native_rate,
            gaps: clip.gaps,
        })
    });
    loaded.inspect_err(|_| row.fill(0.0))
}

/// Mono at 16 kHz.
pub fn request() -> Request {
    Request {
        sample_rate: Some(SAMPLE_RATE),
        ..Request::default()
    }
}

fn at_most(request: &Request, samples: usize) -> Request {
    let most = samples as f64 / f64::from(SAMPLE_RATE);
    let duration = request.duration.map_or(most, |wanted| wanted.min(most));
    Request {
        duration: Some(duration),
        ..*request
    }
}

/// The features of `waveform` alone, and after them those of silence.
fn write_followed_by_silence(mel: &LogMel, waveform: &[f32], row: &mut [f32]) -> Result<()> {
    let frames = row.len() / mel.n_mels();
    let (own, padded) = (LogMel::unpadded_frames(waveform.len()), frames * HOP);
    if own < frames && waveform.len() + REACH <= padded {
        mel.write(waveform, padded, row, frames)?;
    } else if own < frames {
        // The end would be mirrored into the last frames.
        let mut longer = Vec::new();
        room::reserve(&mut longer, padded)?;
        longer.extend_from_slice(waveform);
        longer.resize(padded, 0.0);
        mel.write_unpadded(&longer, row, frames)?;
    }
    // Alone, a clip that ends at thirty seconds is mirrored there.
    let mirrored = (WHISPER_PADDED - REACH + 1..=WHISPER_PADDED).contains(&waveform.len());
    if own == frames || mirrored {
        mel.write_unpadded(waveform, row, frames)?;
    }
    Ok(())
}
