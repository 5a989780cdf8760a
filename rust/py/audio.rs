//! `info`, `load`, `load_batch`: conversions around one GIL-free call each.

use numpy::{
    IntoPyArray, PyArray1, PyArray2, PyArrayDyn, PyArrayMethods, PyReadonlyArray2,
    PyReadwriteArray2, PyUntypedArrayMethods,
};
use ossicle::pipeline::Row;
use ossicle::{Choice, Clip, Decoder, Error, Gap, Mix, Request, Result, pipeline, pool};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::array::{Decoded, fitted, zeros};
use crate::door;
use crate::error::{raise, to_exception};
use crate::resample::quality;
use crate::source::{Input, RawArguments};

/// `(sample_rate, channels, frames, container, codec, bits_per_sample, remarks)`.
type Info<'py> = (
    u32,
    u32,
    u64,
    String,
    String,
    Option<u32>,
    Bound<'py, PyTuple>,
);

/// A decoder from its name.
pub(crate) fn choice(py: Python<'_>, name: &str) -> PyResult<Choice> {
    name.parse().map_err(|error| raise(py, &error))
}

/// Facts about one source.
#[pyfunction]
pub(crate) fn info<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    raw: Option<RawArguments>,
    decoder: &str,
) -> PyResult<Info<'py>> {
    let (input, decoder) = (Input::new(source, raw.as_ref())?, choice(py, decoder)?);
    let read = || {
        let source = input.open()?;
        let name = source.name().to_owned();
        pipeline::guarded(|| Decoder::open_with(source, decoder)?.info())
            .map_err(|error| error.with_source(name))
    };
    let info = door::enter(py, read)?;
    let remarks = info.remarks.iter().map(ToString::to_string);
    let remarks = PyTuple::new(py, remarks.collect::<Vec<_>>())?;
    let (container, codec) = (info.container.into_owned(), info.codec.into_owned());
    Ok((
        info.sample_rate,
        info.channels,
        info.frames,
        container,
        codec,
        info.bits_per_sample,
        remarks,
    ))
}

/// One decoded clip: its samples, `(samples,)` of one plane or `(channels, samples)`, and its rate.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(crate) fn load<'py>(
    py: Python<'py>,
    source: &Bound<'py, PyAny>,
    sample_rate: Option<u32>,
    mono: bool,
    segment: Segment,
    allow_nonfinite: bool,
    verify: bool,
    conceal: bool,
    quality: &str,
    strict: bool,
    raw: Option<RawArguments>,
    decoder: &str,
) -> PyResult<(Bound<'py, PyAny>, u32, Gaps<'py>)> {
    let input = Input::new(source, raw.as_ref())?;
    let (offset, duration, channel) = segment;
    let mix = mix(mono, channel);
    let request = Request {
        sample_rate,
        mix,
        offset,
        duration,
        allow_nonfinite,
        verify,
        conceal,
        strict,
        quality: self::quality(py, quality)?,
        decoder: choice(py, decoder)?,
    };
    let mut clip = door::enter(py, || ossicle::load(input.open()?, &request))?;
    let rate = clip.sample_rate;
    let gaps = listed(py, std::mem::take(&mut clip.gaps))?;
    let array = if mix != Mix::All {
        plane(py, clip).into_any()
    } else {
        let planes: Vec<&[f32]> = clip.planes.iter().map(Vec::as_slice).collect();
        let stacked = stacked(py, &planes)?;
        let named = |error: Error| match input.open() {
            Ok(source) => error.with_source(source.name()),
            Err(_) => error,
        };
        stacked
            .map_err(|error| raise(py, &named(error)))?
            .into_any()
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

/// Planes one below the other, zeros after the short ones. Row by row: `from_vec2` copies sample by
/// sample.
fn stacked<'py>(py: Python<'py>, planes: &[&[f32]]) -> PyResult<Result<Bound<'py, PyArray2<f32>>>> {
    let longest = planes.iter().map(|plane| plane.len()).max().unwrap_or(0);
    let array = match zeros(py, &[planes.len(), longest])? {
        Ok(array) => array.cast_into::<PyArray2<f32>>()?,
        Err(error) => return Ok(Err(error)),
    };
    {
        let mut writable = array.readwrite();
        let rows = writable.as_slice_mut()?.chunks_exact_mut(longest.max(1));
        for (row, plane) in rows.zip(planes) {
            row[..plane.len()].copy_from_slice(plane);
        }
    }
    Ok(Ok(array))
}

/// `(array, lengths (B,), native rates (B,), errors, gaps)`.
pub(crate) type Batch<'py, A> = (
    A,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyList>,
    Vec<Gaps<'py>>,
);

/// Waveforms `(B, T)`; or `(B, C, T)`, and the channels of each clip `(B,)`.
type Waveforms<'py> = (Bound<'py, PyAny>, Option<Bound<'py, PyArray1<i64>>>);

/// Many clips, padded with zeros to the longest, or to the rows of `out`; each at its own rate without one. All channels
/// of each, padded with silent ones to the most, unless they are `mono`.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub(crate) fn load_batch<'py>(
    py: Python<'py>,
    sources: Vec<Bound<'py, PyAny>>,
    sample_rate: Option<u32>,
    mono: bool,
    segments: Vec<Segment>,
    threads: usize,
    verify: bool,
    conceal: bool,
    quality: &str,
    out: Option<Bound<'py, PyArray2<f32>>>,
    strict: bool,
    raw: Option<RawArguments>,
    decoder: &str,
) -> PyResult<Batch<'py, Waveforms<'py>>> {
    let inputs = Input::all(&sources, raw.as_ref())?;
    let request = Request {
        sample_rate,
        verify,
        conceal,
        strict,
        quality: self::quality(py, quality)?,
        decoder: choice(py, decoder)?,
        ..Request::default()
    };
    let clips = placed(&inputs, segments, mono, request);
    match out {
        Some(out) => {
            let rows = decode_into(py, clips, &mut out.try_readwrite()?, threads)?;
            batch(py, (out.into_any(), None), rows)
        }
        None => {
            let (waveforms, rows) = decode(py, clips, mono, threads)?;
            batch(py, waveforms, rows)
        }
    }
}

/// What of a clip is wanted: where it begins and how long it is, in seconds, and one channel.
pub(crate) type Segment = (f64, Option<f64>, Option<usize>);

/// What becomes of a clip's channels: one is kept, or they are mixed, or all are kept.
fn mix(mono: bool, channel: Option<usize>) -> Mix {
    match channel {
        Some(channel) => Mix::One(channel),
        None if mono => Mix::Mean,
        None => Mix::All,
    }
}

pub(crate) type Clips<'a> = Vec<(&'a Input, Request)>;

/// Inputs, each with the request for its own segment.
pub(crate) fn placed(
    inputs: &[Input],
    segments: Vec<Segment>,
    mono: bool,
    request: Request,
) -> Clips<'_> {
    let of = |(input, (offset, duration, channel))| {
        let mix = mix(mono, channel);
        let own = Request {
            mix,
            offset,
            duration,
            ..request
        };
        (input, own)
    };
    inputs.iter().zip(segments).map(of).collect()
}

/// Opened by the thread that decodes it: no more files are open at once than threads.
fn decode<'py>(
    py: Python<'py>,
    clips: Clips<'_>,
    mono: bool,
    threads: usize,
) -> PyResult<(Waveforms<'py>, Vec<Result<Row>>)> {
    let (inputs, mut planes, mut rows) = decode_by(py, clips, threads, |clip| clip.planes)?;
    let count = planes.len();
    let most = match mono {
        true => 1,
        false => planes.iter().map(Vec::len).max().unwrap_or(0),
    };
    let waveforms = fitted(py, &inputs, &mut planes, &mut rows, |width| match mono {
        true => zeros(py, &[count, width]),
        false => zeros(py, &[count, most, width]),
    })?;
    let waveforms = waveforms.cast_into::<PyArrayDyn<f32>>()?;
    let width = waveforms.shape().last().copied().unwrap_or(0);
    let own = |planes: &Vec<Vec<f32>>| planes.len() as i64;
    let channels = (!mono).then(|| planes.iter().map(own).collect::<Vec<_>>().into_pyarray(py));
    for planes in &mut planes {
        planes.resize_with(most, Vec::new);
    }
    {
        let mut writable = waveforms.readwrite();
        let samples = writable.as_slice_mut()?;
        let planes = planes.into_iter().flatten().collect();
        door::enter_sure(py, || pipeline::stack(planes, samples, width, threads))?;
    }
    Ok(((waveforms.into_any(), channels), rows))
}

/// Inputs, and what became of each: its samples, none of an error, and the rest.
type Apart<'a, P> = (Vec<&'a Input>, Vec<P>, Vec<Result<Row>>);

/// Decodes each clip into a plane of its own.
pub(crate) fn decode_apart<'a>(
    py: Python<'_>,
    clips: Clips<'a>,
    threads: usize,
) -> PyResult<Apart<'a, Vec<f32>>> {
    decode_by(py, clips, threads, first_plane)
}

/// Decodes each clip by itself; `take` says what of it is kept.
fn decode_by<'a, P: Decoded>(
    py: Python<'_>,
    clips: Clips<'a>,
    threads: usize,
    take: impl Fn(Clip) -> P,
) -> PyResult<Apart<'a, P>> {
    let inputs = clips.iter().map(|(input, _)| *input).collect();
    let one = |(input, request): (&Input, Request)| ossicle::load(input.open()?, &request);
    let weight = |(input, _): &(&Input, Request)| input.bytes();
    let clips = door::enter_sure(py, || {
        pool::each_heaviest_first(clips, threads, weight, one)
    })?;
    let parted = |clip| parted(clip, &take);
    let (planes, rows) = clips.into_iter().map(parted).unzip();
    Ok((inputs, planes, rows))
}

fn parted<P: Decoded>(clip: Result<Clip>, take: impl Fn(Clip) -> P) -> (P, Result<Row>) {
    let mut clip = match clip {
        Ok(clip) => clip,
        Err(error) => return (P::default(), Err(error)),
    };
    let row = Row {
        length: clip.planes.first().map_or(0, Vec::len),
        native_rate: clip.native_rate,
        gaps: std::mem::take(&mut clip.gaps),
    };
    (take(clip), Ok(row))
}

/// Of a clip that is mono: its samples.
fn first_plane(clip: Clip) -> Vec<f32> {
    clip.planes.into_iter().next().unwrap_or_default()
}

/// The same into the rows of `out`.
fn decode_into(
    py: Python<'_>,
    clips: Clips<'_>,
    out: &mut PyReadwriteArray2<'_, f32>,
    threads: usize,
) -> PyResult<Vec<Result<Row>>> {
    let width = out.shape()[1];
    let samples = out.as_slice_mut()?;
    let rows: Vec<&mut [f32]> = match width {
        0 => clips.iter().map(|_| &mut [][..]).collect(),
        width => samples.chunks_exact_mut(width).collect(),
    };
    let items: Vec<_> = clips.into_iter().zip(rows).collect();
    let weight = |((input, _), _): &((&Input, Request), &mut [f32])| input.bytes();
    let one = |((input, request), row): ((&Input, Request), &mut [f32])| match input.open() {
        Ok(source) => pipeline::load_into(source, &request, row),
        Err(error) => {
            row.fill(0.0);
            Err(error)
        }
    };
    door::enter_sure(py, || {
        pool::each_heaviest_first(items, threads, weight, one)
    })
}

pub(crate) fn batch<'py, A>(
    py: Python<'py>,
    array: A,
    rows: Vec<Result<Row>>,
) -> PyResult<Batch<'py, A>> {
    let of = |fact: fn(&Row) -> i64| -> Vec<i64> {
        let facts = rows.iter().map(|row| row.as_ref().map_or(0, fact));
        facts.collect()
    };
    let lengths = of(|row| row.length as i64).into_pyarray(py);
    let rates = of(|row| i64::from(row.native_rate)).into_pyarray(py);
    let errors = PyList::empty(py);
    let mut gaps = Vec::with_capacity(rows.len());
    for row in rows {
        match row {
            Ok(row) => {
                errors.append(py.None())?;
                gaps.push(listed(py, row.gaps)?);
            }
            Err(error) => {
                errors.append(to_exception(py, &error)?)?;
                gaps.push(Vec::new());
            }
        }
    }
    Ok((array, lengths, rates, errors, gaps))
}

/// An Ogg Opus file in memory, from samples in [-1, 1] of shape `(channels, samples)`.
#[pyfunction]
#[pyo3(signature = (planes, sample_rate, bitrate))]
pub(crate) fn encode_opus<'py>(
    py: Python<'py>,
    planes: PyReadonlyArray2<'py, f32>,
    sample_rate: u32,
    bitrate: Option<u32>,
) -> PyResult<Bound<'py, PyBytes>> {
    let (samples, channels) = (planes.as_slice()?, planes.shape()[0]);
    let bytes = door::enter(py, || {
        ossicle::encode::encode_opus(samples, channels, sample_rate, bitrate)
    })?;
    Ok(PyBytes::new(py, &bytes))
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
    let bytes = door::enter(py, || {
        ossicle::encode::encode(samples, channels, sample_rate, container, bits_per_sample)
    })?;
    Ok(PyBytes::new(py, &bytes))
}
