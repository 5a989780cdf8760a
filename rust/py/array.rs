//! New arrays of a size that files decide: where memory cannot hold one, it is an error of the longest clip.

use ossicle::pipeline::Row;
use ossicle::{Error, ErrorKind, Result, room};
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::error::raise;
use crate::source::Input;

/// Zeros of `shape` in float32; an error of the core's where memory cannot hold them.
///
/// By way of Python, since the `numpy` crate takes a failed allocation for a panic.
pub(crate) fn zeros<'py>(py: Python<'py>, shape: &[usize]) -> PyResult<Result<Bound<'py, PyAny>>> {
    static ZEROS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let samples = shape.iter().fold(1, |all: usize, n| all.saturating_mul(*n));
    let bytes = samples.saturating_mul(size_of::<f32>());
    if let Err(error) = room::check(bytes) {
        return Ok(Err(error));
    }
    let make = ZEROS.import(py, "numpy", "zeros")?;
    match make.call1((PyTuple::new(py, shape)?, "f4")) {
        Err(error) if error.is_instance_of::<PyMemoryError>(py) => Ok(Err(room::refusal(bytes))),
        made => made.map(Ok),
    }
}

/// What a clip was decoded to: its samples, or the planes of its channels.
pub(crate) trait Decoded: Default {
    /// Samples a channel.
    fn frames(&self) -> usize;
}

impl Decoded for Vec<f32> {
    fn frames(&self) -> usize {
        self.len()
    }
}

impl Decoded for Vec<Vec<f32>> {
    fn frames(&self) -> usize {
        self.first().map_or(0, Vec::len)
    }
}

/// The array that `make` makes for rows as long as the longest of `planes`.
///
/// While memory cannot hold it, the longest clip of all becomes an error, and its plane empty.
pub(crate) fn fitted<'py, P: Decoded>(
    py: Python<'py>,
    inputs: &[&Input],
    planes: &mut [P],
    rows: &mut [Result<Row>],
    make: impl Fn(usize) -> PyResult<Result<Bound<'py, PyAny>>>,
) -> PyResult<Bound<'py, PyAny>> {
    loop {
        let lengths = planes.iter().map(P::frames).enumerate();
        let (longest, length) = lengths.max_by_key(|(_, length)| *length).unwrap_or((0, 0));
        let error = match make(length)? {
            Ok(array) => return Ok(array),
            Err(error) => error,
        };
        let clip = (
            inputs.get(longest),
            planes.get_mut(longest),
            rows.get_mut(longest),
        );
        let (Some(input), Some(plane), Some(row)) = clip else {
            return Err(raise(py, &error));
        };
        if length == 0 {
            return Err(raise(py, &error));
        }
        *plane = P::default();
        *row = Err(too_long(input, length));
    }
}

fn too_long(input: &Input, samples: usize) -> Error {
    let reason =
        format!("a batch with rows of this clip's {samples} samples does not fit into memory");
    let error = Error::new(ErrorKind::Limit, reason);
    match input.open() {
        Ok(source) => error.with_source(source.name()),
        Err(_) => error,
    }
}
