//! `log_mel`, `load_features`: Whisper's features of many clips, around one GIL-free call each.

use numpy::{PyArray3, PyArrayMethods, PyReadonlyArray1, PyReadwriteArray3, PyUntypedArrayMethods};
use ossicle::mel::LogMel;
use ossicle::pipeline::Row;
use ossicle::{Request, Result, features, pool};
use pyo3::prelude::*;

use crate::array::{fitted, zeros};
use crate::audio::{Batch, Clips, Segment, batch, decode_apart, placed};
use crate::door;
use crate::error::raise;
use crate::source::{Input, RawArguments};

/// Writes the features of `waveforms` into `out`, `(B, n_mels, frames)`.
#[pyfunction]
pub(crate) fn log_mel<'py>(
    py: Python<'py>,
    waveforms: Vec<PyReadonlyArray1<'py, f32>>,
    n_mels: usize,
    padded: Option<usize>,
    threads: usize,
    mut out: PyReadwriteArray3<'py, f32>,
) -> PyResult<()> {
    let waveforms = waveforms.iter().map(|waveform| waveform.as_slice());
    let waveforms = waveforms.collect::<std::result::Result<Vec<_>, _>>()?;
    let out = out.as_slice_mut()?;
    door::enter(py, || {
        features::write_batch(&LogMel::new(n_mels)?, &waveforms, padded, out, threads)
    })
}

type Features<'py> = Bound<'py, PyArray3<f32>>;

/// Decodes many clips and makes their features: of `padded` samples, into `out`; or, without both, of
/// as many as the longest has, into a new array.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(crate) fn load_features<'py>(
    py: Python<'py>,
    sources: Vec<Bound<'py, PyAny>>,
    n_mels: usize,
    padded: Option<usize>,
    segments: Vec<Segment>,
    threads: usize,
    verify: bool,
    conceal: bool,
    quality: &str,
    out: Option<Features<'py>>,
    strict: bool,
    raw: Option<RawArguments>,
) -> PyResult<Batch<'py, Features<'py>>> {
    let inputs = Input::all(&sources, raw.as_ref())?;
    let request = Request {
        verify,
        conceal,
        strict,
        quality: crate::resample::quality(py, quality)?,
        ..features::request()
    };
    let clips = placed(&inputs, segments, true, request);
    let mel = LogMel::new(n_mels).map_err(|error| raise(py, &error))?;
    let (array, rows) = match (padded, out) {
        (Some(padded), Some(out)) => {
            let rows = load_into(py, clips, &mel, padded, &mut out.try_readwrite()?, threads)?;
            (out, rows)
        }
        _ => load(py, clips, &mel, threads)?,
    };
    batch(py, array, rows)
}

/// Each clip goes all the way to its row on one thread.
fn load_into(
    py: Python<'_>,
    clips: Clips<'_>,
    mel: &LogMel,
    padded: usize,
    out: &mut PyReadwriteArray3<'_, f32>,
    threads: usize,
) -> PyResult<Vec<Result<Row>>> {
    let size = mel.n_mels() * LogMel::frames(padded);
    let rows = out.as_slice_mut()?.chunks_exact_mut(size.max(1));
    let items: Vec<_> = clips.into_iter().zip(rows).collect();
    let weight = |((input, _), _): &((&Input, Request), &mut [f32])| input.bytes();
    let one = |((input, request), row): ((&Input, Request), &mut [f32])| {
        features::load_into(input.open(), &request, mel, padded, row)
    };
    door::enter_sure(py, || {
        pool::each_heaviest_first(items, threads, weight, one)
    })
}

/// All clips are decoded before the size of a row is known.
fn load<'py>(
    py: Python<'py>,
    clips: Clips<'_>,
    mel: &LogMel,
    threads: usize,
) -> PyResult<(Features<'py>, Vec<Result<Row>>)> {
    let (inputs, mut planes, mut rows) = decode_apart(py, clips, threads)?;
    let (count, n_mels) = (planes.len(), mel.n_mels());
    let array = fitted(py, &inputs, &mut planes, &mut rows, |longest| {
        zeros(py, &[count, n_mels, features::frames(None, longest)])
    })?;
    let array = array.cast_into::<PyArray3<f32>>()?;
    let frames = array.shape()[2];
    let planes: Vec<&[f32]> = planes.iter().map(Vec::as_slice).collect();
    let mut writable = array.readwrite();
    let out = writable.as_slice_mut()?;
    door::enter(py, || {
        features::write_batch(mel, &planes, None, out, threads)
    })?;
    let size = (mel.n_mels() * frames).max(1);
    for (row, _) in out
        .chunks_exact_mut(size)
        .zip(&rows)
        .filter(|(_, row)| row.is_err())
    {
        row.fill(0.0);
    }
    drop(writable);
    Ok((array, rows))
}
