//! `info`, `load`, `load_batch`: conversions around one GIL-free call each.

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods,
};
use ossicle::{Clip, Decoder, Gap, Request, Result, pipeline};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::error::{raise, to_exception};
use crate::resample::quality;
use crate::source::Input;

/// `(sample_rate, channels, frames, container, codec, bits_per_sample)`.
type Info = (u32, u32, u64, String, String, Option<u32>);

/// Facts about one source.
#[pyfunction]
pub(crate) fn info(py: Python<'_>, source: &Bound<'_, PyAny>) -> PyResult<Info> {
    let input = Input::new(source)?;
    let read = || {
        let source = input.open()?;
        let name = source.name().to_owned();
        pipeline::guarded(|| Decoder::open(source)?.info()).map_err(|error| error.with_source(name))
    };
    let info = py.detach(read).map_err(|error| raise(py, &error))?;
    let (container, codec) = (info.container.into_owned(), info.codec.into_owned());
    Ok((
        info.sample_rate,
        info.channels,
        info.frames,
        container,
        codec,
        info.bits_per_sample,
    ))
}

/// One decoded clip: the planes' samples in one array, `(channels, samples)`, and its rate.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(crate) fn load<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    sample_rate: Option<u32>,
    mono: bool,
    offset: f64,
    duration: Option<f64>,
    allow_nonfinite: bool,
    verify: bool,
    conceal: bool,
    quality: &str,
) -> PyResult<(Bound<'py, PyAny>, u32, Gaps<'py>)> {
    let input = Input::new(source)?;
    let request = Request {
        sample_rate,
        mono,
        offset,
        duration,
        allow_nonfinite,
        verify,
        conceal,
        quality: self::quality(py, quality)?,
    };
    let mut clip = py
        .detach(|| ossicle::load(input.open()?, &request))
        .map_err(|error| raise(py, &error))?;
    let rate = clip.sample_rate;
    let gaps = listed(py, std::mem::take(&mut clip.gaps))?;
    let array = if mono {
        plane(py, clip).into_any()
    } else {
        let planes: Vec<&[f32]> = clip.planes.iter().map(Vec::as_slice).collect();
        stacked(py, &planes)?.into_any()
    };
    Ok((array, rate, gaps))
}

/// `(start, end, error)` of each gap, in samples of the result.
type Gaps<'py> = Vec<(u64, u64, Bound<'py, PyAny>)>;

fn listed<'py>(py: Python<'py>, gaps: Vec<Gap>) -> PyResult<Gaps<'py>> {
    let one = |gap: Gap| {
        let error = to_exception(py, &gap.error)?;
        Ok((gap.frames.start, gap.frames.end, error))
    };
    gaps.into_iter().map(one).collect()
}

fn plane(py: Python<'_>, mut clip: Clip) -> Bound<'_, PyArray1<f32>> {
    let samples = if clip.planes.is_empty() {
        Vec::new()
    } else {
        clip.planes.swap_remove(0)
    };
    samples.into_pyarray(py)
}

/// Planes one below the other, zeros behind the short ones. Row by row: `from_vec2` copies sample by
/// sample.
fn stacked<'py>(py: Python<'py>, planes: &[&[f32]]) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let longest = planes.iter().map(|plane| plane.len()).max().unwrap_or(0);
    let array = PyArray2::zeros(py, [planes.len(), longest], false);
    {
        let mut writable = array.readwrite();
        let rows = writable.as_slice_mut()?.chunks_exact_mut(longest.max(1));
        for (row, plane) in rows.zip(planes) {
            row[..plane.len()].copy_from_slice(plane);
        }
    }
    Ok(array)
}

/// `(waveforms (B, T), lengths (B,), native rates (B,), errors, gaps)`.
type Batch<'py> = (
    Bound<'py, PyArray2<f32>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyList>,
    Vec<Gaps<'py>>,
);

/// Many clips at one rate, mono, padded with zeros to the longest.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(crate) fn load_batch<'py>(
    py: Python<'py>,
    sources: Vec<Bound<'py, PyAny>>,
    sample_rate: u32,
    offsets: Vec<f64>,
    duration: Option<f64>,
    threads: usize,
    verify: bool,
    conceal: bool,
    quality: &str,
) -> PyResult<Batch<'py>> {
    let inputs = sources
        .iter()
        .map(Input::new)
        .collect::<PyResult<Vec<_>>>()?;
    let request = Request {
        sample_rate: Some(sample_rate),
        duration,
        verify,
        conceal,
        quality: self::quality(py, quality)?,
        ..Request::default()
    };
    let clips = py.detach(|| {
        let items = inputs.iter().zip(&offsets);
        let items = items.map(|(input, offset)| {
            (
                input.open(),
                Request {
                    offset: *offset,
                    ..request
                },
            )
        });
        pipeline::load_batch(items.collect(), threads)
    });
    assemble(py, clips)
}

fn assemble<'py>(py: Python<'py>, clips: Vec<Result<Clip>>) -> PyResult<Batch<'py>> {
    let plane = |clip| match clip {
        &Ok(Clip { ref planes, .. }) => planes.first().map_or(&[][..], Vec::as_slice),
        Err(_) => &[],
    };
    let planes: Vec<&[f32]> = clips.iter().map(plane).collect();
    let lengths: Vec<i64> = planes.iter().map(|plane| plane.len() as i64).collect();
    let rates: Vec<i64> = clips
        .iter()
        .map(|clip| clip.as_ref().map_or(0, |clip| i64::from(clip.native_rate)))
        .collect();
    let waveforms = stacked(py, &planes)?;
    let errors = PyList::empty(py);
    let mut gaps = Vec::with_capacity(clips.len());
    for clip in clips {
        match clip {
            Ok(clip) => {
                errors.append(py.None())?;
                gaps.push(listed(py, clip.gaps)?);
            }
            Err(error) => {
                errors.append(to_exception(py, &error)?)?;
                gaps.push(Vec::new());
            }
        }
    }
    Ok((
        waveforms,
        lengths.into_pyarray(py),
        rates.into_pyarray(py),
        errors,
        gaps,
    ))
}

/// A WAV or FLAC file in memory, from samples in [-1, 1] of shape `(channels, samples)`.
#[pyfunction]
pub(crate) fn encode<'py>(
    py: Python<'py>,
    planes: PyReadonlyArray2<'py, f32>,
    sample_rate: u32,
    container: &str,
    bits_per_sample: u32,
) -> PyResult<Bound<'py, PyBytes>> {
    let (samples, channels) = (planes.as_slice()?, planes.shape()[0]);
    let work = || {
        pipeline::guarded(|| {
            ossicle::encode::encode(samples, channels, sample_rate, container, bits_per_sample)
        })
    };
    Ok(PyBytes::new(
        py,
        &py.detach(work).map_err(|error| raise(py, &error))?,
    ))
}
