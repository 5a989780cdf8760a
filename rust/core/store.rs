//! What is kept on disk: shards with their indexes, and caches of waveforms.

pub mod cache;
pub mod npz;
pub mod shard;
