//! `log_mel`, `load_features`: Whisper's features of many clips, around one GIL-free call each.

use numpy::{IntoPyArray, PyArray1, PyArray3, PyArrayMethods, PyReadonlyArray1, PyReadwriteArray3};
use ossicle::features::{self, Heard};
use ossicle::mel::LogMel;
use ossicle::{Request, Result, Source, pipeline};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::audio::{Gaps, listed};
use crate::error::{raise, to_exception};
use crate::source::Input;

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
    let work = || {
        let mel = LogMel::new(n_mels)?;
        pipeline::guarded(|| features::write_batch(&mel, &waveforms, padded, out, threads))
    };
    py.detach(work).map_err(|error| raise(py, &error))
}

/// `(features (B, n_mels, frames), lengths (B,), native rates (B,), errors, gaps)`.
type Batch<'py> = (
    Bound<'py, PyArray3<f32>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyList>,
    Vec<Gaps<'py>>,
);

/// Decodes many clips and makes their features: of `padded` samples, into `out`; or, without both, of
/// as many as the longest has, into a new array.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(crate) fn load_features<'py>(
    py: Python<'py>,
    sources: Vec<Bound<'py, PyAny>>,
    n_mels: usize,
    padded: Option<usize>,
    offsets: Vec<f64>,
    duration: Option<f64>,
    threads: usize,
    verify: bool,
    conceal: bool,
    out: Option<Bound<'py, PyArray3<f32>>>,
) -> PyResult<Batch<'py>> {
    let inputs = sources
        .iter()
        .map(Input::new)
        .collect::<PyResult<Vec<_>>>()?;
    let request = Request {
        duration,
        verify,
        conceal,
        ..Request::default()
    };
    let items = || items(&inputs, &offsets, request);
    let mel = LogMel::new(n_mels).map_err(|error| raise(py, &error))?;
    let (array, heard) = match (padded, out) {
        (Some(padded), Some(array)) => {
            let mut writable = array.readwrite();
            let out = writable.as_slice_mut()?;
            let work = || features::load_padded(&mel, items(), padded, out, threads);
            let heard = py.detach(work);
            drop(writable);
            (array, heard)
        }
        _ => {
            let work = || features::load_unpadded(&mel, items(), threads);
            let (values, heard) = py.detach(work);
            let frames = values.len() / (heard.len() * n_mels).max(1);
            let shape = [heard.len(), n_mels, frames];
            (values.into_pyarray(py).reshape(shape)?, heard)
        }
    };
    let (lengths, rates, errors, gaps) = told(py, heard)?;
    Ok((array, lengths, rates, errors, gaps))
}

fn items<'a>(
    inputs: &'a [Input],
    offsets: &[f64],
    request: Request,
) -> Vec<(Result<Source<'a>>, Request)> {
    let starts = offsets.iter().map(|&offset| Request { offset, ..request });
    let opened = inputs.iter().map(Input::open);
    opened.zip(starts).collect()
}

type Told<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyList>,
    Vec<Gaps<'py>>,
);

fn told<'py>(py: Python<'py>, heard: Vec<Result<Heard>>) -> PyResult<Told<'py>> {
    let number = |value: fn(&Heard) -> i64| {
        let numbers = heard.iter().map(|one| one.as_ref().map_or(0, value));
        numbers.collect::<Vec<_>>().into_pyarray(py)
    };
    let lengths = number(|one| one.samples as i64);
    let rates = number(|one| i64::from(one.native_rate));
    let errors = PyList::empty(py);
    let mut gaps = Vec::with_capacity(heard.len());
    for one in heard {
        match one {
            Ok(one) => {
                errors.append(py.None())?;
                gaps.push(listed(py, one.gaps)?);
            }
            Err(error) => {
                errors.append(to_exception(py, &error)?)?;
                gaps.push(Vec::new());
            }
        }
    }
    Ok((lengths, rates, errors, gaps))
}
