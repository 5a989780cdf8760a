//! The Python extension module: argument conversion, the GIL and errors, nothing else.
use pyo3::prelude::*;

mod cache;
mod error;

/// `ossicle._native`.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::cache::Cache;

    /// Which code made the waveforms that a cache holds.
    #[pymodule_export]
    const PIPELINE_VERSION: &str = ossicle::cache::PIPELINE_VERSION;
}
