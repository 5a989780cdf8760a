//! The Python extension module: argument conversion, the GIL and errors, nothing else.
use pyo3::prelude::*;

/// `ossicle._native`.
#[pymodule(gil_used = false)]
mod _native {}
