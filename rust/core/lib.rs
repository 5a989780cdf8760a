//! Audio files to model-ready arrays: decode, mix, resample, truncate, cache.
//!
//! No Python here: the crate stands on its own.

mod aac;
mod alac;
pub mod cache;
mod codec;
pub mod damage;
pub mod decode;
mod demux;
pub mod encode;
pub mod error;
pub mod features;
mod flac;
mod idle;
pub mod interrupt;
mod map;
pub mod mel;
mod mix;
mod mpeg_audio;
pub mod npz;
mod opus;
mod params;
mod pcm;
pub mod pipeline;
mod plane;
pub mod pool;
pub mod remark;
pub mod resample;
pub mod room;
pub mod shard;
pub mod source;
mod temp;
mod vorbis;
mod window;

// The tests from outside are in the program of the unit tests, so that the crate is compiled once for both.
#[cfg(test)]
extern crate self as ossicle;
#[cfg(test)]
#[path = "../../tests/rust/main.rs"]
mod outside;

pub use damage::{Damage, Gap};
pub use decode::{AudioInfo, Decoder};
pub use error::{Error, ErrorKind, Name, Result};
pub use pipeline::{Clip, Request, load, load_batch};
pub use remark::Remark;
pub use resample::Quality;
pub use source::Source;
