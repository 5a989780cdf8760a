//! The clips that benches of codecs read.

use std::path::PathBuf;

/// Files of the folder `OSSICLE_BENCH_CLIPS` whose names begin with `codec`, sorted; none where it is
/// not set. `benches/peers.py clips DIR` fills one.
pub(crate) fn clips(codec: &str) -> Vec<String> {
    let folder = std::env::var_os("OSSICLE_BENCH_CLIPS").map(PathBuf::from);
    let entries = folder.and_then(|folder| folder.read_dir().ok());
    let mut paths: Vec<_> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(codec))
        .map(|entry| entry.path().display().to_string())
        .collect();
    paths.sort();
    paths
}
