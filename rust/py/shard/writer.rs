//! Shards written from Python: buffers are taken as they lie, without the GIL.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use ossicle::Result;
use ossicle::shard::write::{Options, Series, Split};
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

use crate::door;
use crate::source::bytes_of;

/// The native half of `ossicle.ShardWriter`.
#[pyclass(frozen, module = "ossicle._native")]
pub(crate) struct ShardWriter(Mutex<Series>);

#[pymethods]
impl ShardWriter {
    #[new]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        max_bytes: Option<u64>,
        max_samples: Option<u64>,
        index: bool,
        overwrite: bool,
        fsync: bool,
    ) -> PyResult<Self> {
        let split = Split {
            max_bytes,
            max_samples,
        };
        let options = Options {
            overwrite,
            fsync,
            index,
        };
        let series = door::enter(py, || Series::new(&path, split, options))?;
        Ok(Self(Mutex::new(series)))
    }

    /// Appends a sample: contiguous buffers by extension.
    #[pyo3(signature = (key, members, same_shard=false))]
    fn write(
        &self,
        py: Python<'_>,
        key: &str,
        members: Vec<(String, PyBuffer<u8>)>,
        same_shard: bool,
    ) -> PyResult<()> {
        let members: Vec<(&str, &[u8])> = members
            .iter()
            .map(|(extension, buffer)| (extension.as_str(), bytes_of(buffer)))
            .collect();
        self.with(py, |series| match same_shard {
            true => series.write_beside(key, &members),
            false => series.write(key, &members),
        })
    }

    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, Series::finish)
    }

    fn discard(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |series| {
            series.discard();
            Ok(())
        })
    }

    /// `(path, samples, bytes)` of each that is whole.
    fn shards(&self, py: Python<'_>) -> PyResult<Vec<(PathBuf, u64, u64)>> {
        self.with(py, |series| {
            let written = series.written().iter();
            let facts = written.map(|one| (one.path.clone(), one.samples, one.bytes));
            Ok(facts.collect())
        })
    }
}

impl ShardWriter {
    /// Waits for other threads, and works, without the GIL.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Series) -> Result<T> + Send,
    ) -> PyResult<T> {
        door::enter(py, || {
            work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}
