//! `resample` and `Resampler`: arrays of `(channels, samples)` around one GIL-free call each.

use std::sync::{Mutex, PoisonError};

use numpy::{IntoPyArray, PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use ossicle::Result;
use ossicle::resample::{Engine, Quality, Stream, resample_planes};
use pyo3::prelude::*;

use crate::door;
use crate::error::raise;

/// A quality from its name.
pub(crate) fn quality(py: Python<'_>, name: &str) -> PyResult<Quality> {
    name.parse().map_err(|error| raise(py, &error))
}

/// Runs `work` without the GIL; its samples are those of `channels` channels, end to end.
fn planes<'py>(
    py: Python<'py>,
    channels: usize,
    work: impl FnOnce() -> Result<Vec<f32>> + Send,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let samples = door::enter(py, work)?;
    let frames = samples.len() / channels.max(1);
    samples.into_pyarray(py).reshape([channels, frames])
}

/// Channels at another rate.
#[pyfunction]
pub(crate) fn resample<'py>(
    py: Python<'py>,
    waveform: PyReadonlyArray2<'py, f32>,
    orig_rate: u32,
    target_rate: u32,
    quality: &str,
    engine: &str,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let quality = self::quality(py, quality)?;
    let engine: Engine = engine.parse().map_err(|error| raise(py, &error))?;
    let (samples, shape) = (waveform.as_slice()?, waveform.shape());
    let (channels, frames) = (shape[0], shape[1]);
    planes(py, channels, || {
        resample_planes(samples, frames, (orig_rate, target_rate), quality, engine)
    })
}

/// Channels that come in chunks.
#[pyclass(frozen, module = "ossicle._native")]
pub(crate) struct Resampler {
    channels: usize,
    latency: u64,
    stream: Mutex<Stream>,
}

impl Resampler {
    fn run<'py>(
        &self,
        py: Python<'py>,
        work: impl FnOnce(&mut Stream) -> Result<Vec<f32>> + Send,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        // Locked without the GIL, for which the holder may be waiting.
        planes(py, self.channels, || {
            work(&mut self.stream.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}

#[pymethods]
impl Resampler {
    #[new]
    fn new(
        py: Python<'_>,
        orig_rate: u32,
        target_rate: u32,
        quality: &str,
        channels: usize,
    ) -> PyResult<Self> {
        let quality = self::quality(py, quality)?;
        let stream = door::enter(py, || {
            Stream::new(orig_rate, target_rate, quality, channels)
        })?;
        Ok(Self {
            channels,
            latency: stream.latency(),
            stream: Mutex::new(stream),
        })
    }

    #[getter]
    fn latency(&self) -> u64 {
        self.latency
    }

    fn push<'py>(
        &self,
        py: Python<'py>,
        chunk: PyReadonlyArray2<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let samples = chunk.as_slice()?;
        self.run(py, |stream| stream.push(samples))
    }

    fn flush<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        self.run(py, Stream::flush)
    }

    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, |stream| {
            stream.reset();
            Ok(Vec::new())
        })?;
        Ok(())
    }
}
