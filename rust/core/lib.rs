//! Audio files to model-ready arrays: decode, mix, resample, truncate, cache.
//!
//! No Python here: the crate stands on its own.

pub mod cache;
pub mod error;
mod map;
pub mod npz;

pub use error::{Error, ErrorKind, Result};
