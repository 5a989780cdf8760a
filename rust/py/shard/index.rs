//! Indexes of shards for Python: one call without the GIL, which tells how far it is.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ossicle::shard::index::{Made, make};
use ossicle::{Error, ErrorKind, Result};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::error::to_exception;

/// Between two calls of a progress function.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes the indexes that are missing or stale: for each shard whether its index is new, or the error.
#[pyfunction]
pub(crate) fn index_shards<'py>(
    py: Python<'py>,
    paths: Vec<PathBuf>,
    threads: usize,
    force: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    let teller = Teller {
        progress,
        told: Mutex::new(Told::default()),
    };
    let made = py.detach(|| {
        make(&paths, threads, force, &|done, total| {
            teller.tell(done, total)
        })
    });
    if let Some(error) = teller.told.into_inner().ok().and_then(|told| told.failed) {
        return Err(error);
    }
    let results = PyList::empty(py);
    for one in made {
        match one {
            Ok(made) => results.append(made == Made::New)?,
            Err(error) => results.append(to_exception(py, &error)?)?,
        }
    }
    Ok(results)
}

/// Tells a Python function how far the work is, and the work of Ctrl-C.
struct Teller {
    progress: Option<Py<PyAny>>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    last: Option<Instant>,
    most: u64,
    failed: Option<PyErr>,
}

impl Teller {
    /// Calls the function now and then, and always at the end; never from two threads at a time.
    fn tell(&self, done: u64, total: u64) -> Result<()> {
        // No thread waits for the lock that has the GIL: all that call this are without it.
        let told = match done >= total {
            true => self.told.lock().ok(),
            false => self.told.try_lock().ok(),
        };
        let Some(mut told) = told else {
            return Ok(());
        };
        let is_due = done >= total || told.last.is_none_or(|last| last.elapsed() >= PAUSE);
        // What another thread has told of more is not taken back.
        if told.failed.is_none() && is_due && done >= told.most {
            (told.last, told.most) = (Some(Instant::now()), done);
            told.failed = Python::attach(|py| self.call(py, done, total)).err();
        }
        match &told.failed {
            None => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Io, "the work was stopped")),
        }
    }

    fn call(&self, py: Python<'_>, done: u64, total: u64) -> PyResult<()> {
        py.check_signals()?;
        match &self.progress {
            Some(progress) => progress.call1(py, (done, total)).map(drop),
            None => Ok(()),
        }
    }
}
