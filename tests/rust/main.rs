//! The crate's tests from outside: `cargo test hostile::` runs those of one file.

mod cache;
mod decode;
mod flac;
mod heap;
mod hostile;
mod mel;
mod pcm;
mod resample;
mod shard;
mod shard_index;
mod shard_verify;
mod shard_write;
