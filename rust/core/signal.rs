//! Planes of samples: mixed, resampled, and turned into features.

pub mod mel;
pub(crate) mod mix;
pub(crate) mod mono;
pub(crate) mod plane;
pub mod resample;
