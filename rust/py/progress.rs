//! How far a long call is, told to Python, which can stop it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use ossicle::{Result, interrupt};
use pyo3::prelude::*;

use crate::door;

/// Between two calls of a progress function.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells a Python function how far the work is, which ends where that raises.
pub(crate) struct Teller {
    progress: Option<Py<PyAny>>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    last: Option<Instant>,
    most: u64,
}

impl Teller {
    /// Of a function of `(done, total)`, or of none.
    pub(crate) fn new(progress: Option<Py<PyAny>>) -> Self {
        Self {
            progress,
            told: Mutex::new(Told::default()),
        }
    }

    /// Calls the function now and then, and always at the end; never from two threads at a time.
    ///
    /// # Errors
    /// Once the function has raised something, which the [door] raises.
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
        interrupt::check()?;
        if let Some(progress) = self
            .progress
            .as_ref()
            .filter(|_| is_due && done >= told.most)
        {
            (told.last, told.most) = (Some(Instant::now()), done);
            let called = Python::attach(|py| progress.call1(py, (done, total)).map(drop));
            called.map_err(door::stop_for)?;
        }
        Ok(())
    }
}
