//! What is read of whole shards: how much of it is done, and the digests of payloads.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::bytes::source::Source;
use crate::error::Result;

/// Read at a time.
const PIECE: usize = 1 << 20;

/// Told `(bytes done, bytes of all)`; its error ends the work.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) -> Result<()> + Sync);

/// 0 of a shard that is not there: reading it will say so.
pub(super) fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |facts| facts.len())
}

/// The SHA-256 of a payload, read piece by piece; `on_bytes` is told how much each was.
///
/// # Errors
/// What reading meets, and what `on_bytes` returns.
pub fn digest(
    mut payload: Source<'_>,
    mut on_bytes: impl FnMut(u64) -> Result<()>,
) -> Result<[u8; 32]> {
    let (mut sha, mut scratch, mut at) = (Sha256::new(), Vec::new(), 0);
    while at < payload.len() {
        let piece = payload.bytes_at(at, PIECE, &mut scratch)?;
        sha.update(piece);
        let bytes = piece.len() as u64;
        at += bytes;
        on_bytes(bytes)?;
    }
    Ok(sha.finalize().into())
}
