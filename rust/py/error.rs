//! The one place where a core error becomes a Python exception.

use ossicle::{Error, ErrorKind};
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::io;

fn class_name(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Io => match error.io_error().map(io::Error::kind) {
            Some(io::ErrorKind::NotFound) => "AudioFileNotFoundError",
            _ => "AudioIOError",
        },
        ErrorKind::Unsupported => "UnsupportedFormatError",
        ErrorKind::Decode => "DecodeError",
        ErrorKind::Corrupt => "CorruptAudioError",
        ErrorKind::Disagree => "DecodersDisagreeError",
        ErrorKind::NonFinite => "NonFiniteSampleError",
        ErrorKind::Limit => "AudioLimitError",
        ErrorKind::InvalidArgument => "InvalidArgumentError",
        // The door raises what has interrupted, before this.
        ErrorKind::Interrupted => "AudioIOError",
    }
}

/// Builds the instance of `ossicle.errors` that says what `error` says.
pub(crate) fn to_exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("source", error.source_name())?;
    fields.set_item("member", error.member())?;
    fields.set_item("byte_offset", error.byte_offset())?;
    fields.set_item("sample_index", error.sample_index())?;
    let class = py.import("ossicle.errors")?.getattr(class_name(error))?;
    let exception = class.call((error.reason(),), Some(&fields))?;
    if let Some(number) = error.os_error() {
        exception.setattr("errno", number)?;
    }
    if let Some(cause) = raised_by_file(error) {
        exception.setattr("__cause__", cause.value(py))?;
    }
    Ok(exception)
}

/// Turns a core error into the Python error to raise.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    match to_exception(py, error) {
        Ok(exception) => PyErr::from_value(exception),
        Err(failure) if !failure.is_instance_of::<PyException>(py) => failure,
        Err(failure) => {
            // The fault in reporting must not hide the fault that was reported.
            let outer = PyRuntimeError::new_err(error.to_string());
            outer.set_cause(py, Some(failure));
            outer
        }
    }
}

/// The Python exception inside an error, where a file object raised one.
fn raised_by_file(error: &Error) -> Option<&PyErr> {
    error.io_error()?.get_ref()?.downcast_ref::<PyErr>()
}
