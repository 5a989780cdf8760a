//! How far a long call is, told to Python, which can stop it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use ossicle::{Error, ErrorKind, Result};
use pyo3::prelude::*;

/// Between two calls of a progress function.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells a Python function how far the work is, and the work of Ctrl-C.
pub(crate) struct Teller {
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
    /// Of a function of `(done, total)`, or of none: Ctrl-C stops the work all the same.
    pub(crate) fn new(progress: Option<Py<PyAny>>) -> Self {
        Self {
            progress,
            told: Mutex::new(Told::default()),
        }
    }

    /// Calls the function now and then, and always at the end; never from two threads at a time.
    ///
    /// # Errors
    /// Once the function has raised something, which [`Teller::raised`] then has.
    pub(crate) fn tell(&self, done: u64, total: u64) -> Result<()> {
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

    /// What the function has raised.
    pub(crate) fn raised(self) -> Option<PyErr> {
        self.told.into_inner().ok().and_then(|told| told.failed)
    }

    fn call(&self, py: Python<'_>, done: u64, total: u64) -> PyResult<()> {
        py.check_signals()?;
        match &self.progress {
            Some(progress) => progress.call1(py, (done, total)).map(drop),
            None => Ok(()),
        }
    }
}
