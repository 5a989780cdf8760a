//! The Python extension module: argument conversion, the GIL and errors, nothing else.

use numpy::{PyArray1, PyArrayMethods};
use pyo3::prelude::*;

mod array;
mod audio;
mod buffer;
mod cache;
mod door;
mod error;
mod mel;
mod progress;
mod resample;
mod shard;
mod source;

/// `ossicle._native`.
#[pymodule(gil_used = false)]
mod _native {
    use std::collections::HashMap;

    use pyo3::prelude::*;

    #[pymodule_export]
    use super::audio::{encode, encode_opus, info, load, load_batch};
    #[pymodule_export]
    use super::cache::Cache;
    #[pymodule_export]
    use super::mel::{load_features, log_mel};
    #[pymodule_export]
    use super::resample::{Resampler, resample};
    #[pymodule_export]
    use super::shard::verify::{repair_shard, verify_shards};
    #[pymodule_export]
    use super::shard::writer::ShardWriter;
    #[pymodule_export]
    use super::shard::{Shard, ShardMember, index_shards, reopen_member};

    /// Which code made the waveforms that a cache holds.
    #[pymodule_export]
    const PIPELINE_VERSION: &str = ossicle::cache::PIPELINE_VERSION;

    /// What audio is known by in a shard.
    #[pymodule_export]
    const AUDIO_EXTENSIONS: [&str; 39] = ossicle::shard::AUDIO_EXTENSIONS;

    /// What samples without a header can be.
    #[pymodule_export]
    const RAW_CODECS: [&str; 15] = ossicle::raw::CODECS;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::load_numpy(module.py())?;
        module.add("VERSION", env!("CARGO_PKG_VERSION"))
    }

    /// What this module was built from and how.
    #[pyfunction]
    fn build() -> HashMap<&'static str, &'static str> {
        HashMap::from([
            (
                "profile",
                if cfg!(debug_assertions) {
                    "debug"
                } else {
                    "release"
                },
            ),
            ("core", env!("CARGO_PKG_VERSION")),
            ("pipeline", PIPELINE_VERSION),
        ])
    }

    /// Processors that this process may use, by affinity and by the control group's quota.
    #[pyfunction]
    fn available_threads() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

/// Loads what the numpy crate would load at the first array, and would panic over where a signal comes
/// between.
fn load_numpy(py: Python<'_>) -> PyResult<()> {
    py.import("numpy")?;
    door::caught(|| {
        PyArray1::<f32>::zeros(py, 0, false)
            .try_readwrite()
            .map(drop)
    })?
    .map_err(Into::into)
}
