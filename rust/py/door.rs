//! The one way from Python into the core: without the GIL, with errors and panics as exceptions, and with
//! Ctrl-C as it is anywhere else in Python.

use std::cell::Cell;
use std::process;

use ossicle::interrupt::{self, Ask, Cause};
use ossicle::{Error, Result, pipeline};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::error::raise;

/// Does `work` without the GIL, and ends it early where a signal's handler raises: that exception is raised
/// then, whatever the work has come to, and so is what [`stop_for`] was told of.
pub(crate) fn enter<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    let ask: Option<Ask> = is_main_thread(py)?.then_some(run_handlers);
    let done = py.detach(|| interrupt::interruptible(ask, || pipeline::guarded(work)));
    match done {
        Ok(done) => done.map_err(|error| raise(py, &error)),
        Err(cause) => Err(exception(cause)),
    }
}

/// [`enter`] for work that has no error of its own.
pub(crate) fn enter_sure<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    enter(py, || Ok(work()))
}

/// Ends the work that this thread is part of, for an exception that some Python code has raised in it.
pub(crate) fn stop_for(exception: PyErr) -> Error {
    interrupt::stop(Box::new(exception));
    interrupt::stopped()
}

/// Does `work` that may panic, with the GIL.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> PyResult<T> {
    let done = pipeline::guarded(|| Ok(work()));
    done.map_err(|error| PyRuntimeError::new_err(error.reason().to_owned()))
}

fn run_handlers() -> std::result::Result<(), Cause> {
    Python::attach(|py| py.check_signals()).map_err(Into::into)
}

fn exception(cause: Cause) -> PyErr {
    match cause.downcast() {
        Ok(exception) => *exception,
        Err(other) => PyRuntimeError::new_err(other.to_string()),
    }
}

/// Whether signals are handled on this thread: elsewhere to ask would be to wait for the GIL for nothing.
fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    thread_local! {
        /// By process: in a fork the thread that forked is the main one.
        static KNOWN: Cell<Option<(u32, bool)>> = const { Cell::new(None) };
    }
    let process = process::id();
    if let Some((_, known)) = KNOWN.get().filter(|(of, _)| *of == process) {
        return Ok(known);
    }
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    let known = main.eq(threading.call_method0("get_ident")?)?;
    KNOWN.set(Some((process, known)));
    Ok(known)
}
