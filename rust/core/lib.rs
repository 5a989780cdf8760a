//! Audio files to model-ready arrays: decode, mix, resample, truncate, cache.
//!
//! No Python here: the crate stands on its own. `docs/architecture.md` has a map of its modules, whose arrows go
//! one way.

mod bytes;
mod codec;
mod container;
pub mod decode;
pub mod encode;
pub mod error;
pub mod features;
mod guard;
mod idle;
mod info;
pub mod interrupt;
pub mod pipeline;
pub mod pool;
mod signal;
mod store;

pub use bytes::{raw, source};
pub use decode::damage;
pub use guard::{remark, room};
pub use signal::mix::Mix;
pub use signal::{mel, resample};
pub use store::{cache, npz, shard};

// The tests from outside are in the program of the unit tests, so that the crate is compiled once for both.
#[cfg(test)]
extern crate self as ossicle;
#[cfg(test)]
#[path = "../../tests/rust/main.rs"]
mod outside;

pub use damage::{Damage, Gap};
pub use decode::{AudioInfo, Choice, Decoder};
pub use error::{Error, ErrorKind, Name, Result};
pub use pipeline::{Clip, Request, load, load_batch};
pub use raw::RawFormat;
pub use remark::Remark;
pub use resample::Quality;
pub use source::Source;
