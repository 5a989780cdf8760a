//! Indexes of shards for Python: one call without the GIL, which tells how far it is.

use std::path::PathBuf;

use ossicle::shard::index::{Made, make};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::door;
use crate::error::to_exception;
use crate::progress::Teller;

/// Makes the indexes that are missing or stale: for each shard whether its index is new, or the error.
#[pyfunction]
pub(crate) fn index_shards<'py>(
    py: Python<'py>,
    paths: Vec<PathBuf>,
    threads: usize,
    force: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    let teller = Teller::new(progress);
    let made = door::enter_sure(py, || {
        make(&paths, threads, force, &|done, total| {
            teller.tell(done, total)
        })
    })?;
    let results = PyList::empty(py);
    for one in made {
        match one {
            Ok(made) => results.append(made == Made::New)?,
            Err(error) => results.append(to_exception(py, &error)?)?,
        }
    }
    Ok(results)
}
