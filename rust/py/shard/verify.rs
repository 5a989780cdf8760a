//! Shards checked and repaired, with progress that can stop them.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ossicle::Error;
use ossicle::shard::write::Options;
use ossicle::shard::{Checks, Row, examine, index, repair};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::error::{raise, to_exception};

/// All that is wrong with a shard, which is read through.
#[pyfunction]
pub(crate) fn verify_shard(
    py: Python<'_>,
    path: PathBuf,
    decode: bool,
    on_bytes: Option<Py<PyAny>>,
) -> PyResult<Bound<'_, PyList>> {
    let found = watched(py, on_bytes, |on_bytes| {
        with_rows(&path, |rows, unreadable| {
            let checks = Checks { rows, decode, on_bytes: Some(on_bytes) };
            let found = examine(&path, checks)?;
            Ok(unreadable.into_iter().chain(found.errors).collect::<Vec<_>>())
        })
    })?;
    to_list(py, &found)
}

/// `(samples, members, bytes, errors)` of the new shard; no sample where nothing was left to write.
#[pyfunction]
pub(crate) fn repair_shard(
    py: Python<'_>,
    path: PathBuf,
    target: PathBuf,
    decode: bool,
    overwrite: bool,
    on_bytes: Option<Py<PyAny>>,
) -> PyResult<(u64, u64, u64, Bound<'_, PyList>)> {
    let options = Options { overwrite, ..Options::default() };
    let repaired = watched(py, on_bytes, |on_bytes| {
        with_rows(&path, |rows, _| {
            let checks = Checks { rows, decode, on_bytes: Some(on_bytes) };
            repair(&path, &target, checks, options)
        })
    })?;
    let (samples, bytes) = repaired.written.map_or((0, 0), |shard| (shard.samples, shard.bytes));
    Ok((samples, repaired.members, bytes, to_list(py, &repaired.errors)?))
}

/// Calls `work` with the rows of the shard's index, and with what is wrong with an index that cannot be
/// relied on: its digests are not used then.
fn with_rows<T>(
    path: &Path,
    work: impl FnOnce(Option<&[Row]>, Option<Error>) -> Result<T, Error>,
) -> Result<T, Error> {
    match index::read(path) {
        Ok(rows) => work(rows.as_deref(), None),
        Err(error) => work(None, Some(error)),
    }
}

/// Does `work` without the GIL; what `on_bytes` raises in Python, Ctrl-C too, ends it and is raised.
fn watched<T: Send>(
    py: Python<'_>,
    on_bytes: Option<Py<PyAny>>,
    work: impl FnOnce(&dyn Fn(u64) -> bool) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let raised = Mutex::new(None);
    let told = |bytes: u64| {
        let outcome = Python::attach(|py| {
            py.check_signals()?;
            on_bytes.as_ref().map_or(Ok(()), |told| told.call1(py, (bytes,)).map(drop))
        });
        let goes_on = outcome.is_ok();
        if let (Err(error), Ok(mut raised)) = (outcome, raised.lock()) {
            raised.get_or_insert(error);
        }
        goes_on
    };
    let outcome = py.detach(|| work(&told));
    match raised.into_inner().ok().flatten() {
        Some(error) => Err(error),
        None => outcome.map_err(|error| raise(py, &error)),
    }
}

fn to_list<'py>(py: Python<'py>, errors: &[Error]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for error in errors {
        list.append(to_exception(py, error)?)?;
    }
    Ok(list)
}
