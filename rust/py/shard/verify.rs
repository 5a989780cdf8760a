//! Shards checked and repaired: calls without the GIL, which tell how far they are.

use std::path::PathBuf;

use ossicle::shard::write::Options;
use ossicle::shard::{repair, verify};
use ossicle::{Choice, Error};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::audio::choice;
use crate::door;
use crate::error::to_exception;
use crate::progress::Teller;

/// For each shard all that is wrong with it.
#[pyfunction]
pub(crate) fn verify_shards<'py>(
    py: Python<'py>,
    paths: Vec<PathBuf>,
    threads: usize,
    decode: bool,
    decoder: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    let teller = Teller::new(progress);
    let decoder = choice(py, decoder)?;
    let decode = decode.then_some(decoder);
    let found = door::enter_sure(py, || {
        verify(&paths, threads, decode, &|done, total| {
            teller.tell(done, total)
        })
    })?;
    let lists = PyList::empty(py);
    for errors in found {
        let errors = errors.unwrap_or_else(|error| vec![error]);
        lists.append(to_list(py, &errors)?)?;
    }
    Ok(lists)
}

/// `(samples, members, bytes, errors)` of the new shard; no sample where nothing was left to write.
#[pyfunction]
pub(crate) fn repair_shard(
    py: Python<'_>,
    path: PathBuf,
    target: PathBuf,
    decode: bool,
    overwrite: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<(u64, u64, u64, Bound<'_, PyList>)> {
    let teller = Teller::new(progress);
    let options = Options {
        overwrite,
        ..Options::default()
    };
    let tell = |done, total| teller.tell(done, total);
    let repaired = door::enter(py, || {
        let decode = decode.then_some(Choice::Native);
        repair(&path, &target, decode, options, &tell)
    })?;
    let written = repaired.written.map(|shard| (shard.samples, shard.bytes));
    let (samples, bytes) = written.unwrap_or_default();
    let errors = to_list(py, &repaired.errors)?;
    Ok((samples, repaired.members, bytes, errors))
}

fn to_list<'py>(py: Python<'py>, errors: &[Error]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for error in errors {
        list.append(to_exception(py, error)?)?;
    }
    Ok(list)
}
