//! What lies under a cache's root: counting it, evicting from it, clearing it.
//!
//! Only what the cache itself names is ever counted or deleted, in folders that are no links.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::temp;

const SUFFIX: &str = ".npz";
/// File systems allow 255 bytes.
const MAX_NAME: usize = 250;
/// An eviction frees this share of the bound beyond need, so that it need not come back at once.
const SPARE: u64 = 16;

/// What a look at the root has left.
pub(super) struct Left {
    pub(super) bytes: u64,
    pub(super) evicted: u64,
}

struct Entry {
    used: SystemTime,
    bytes: u64,
    path: PathBuf,
}

/// Whether `name` can be an entry's: digits of a digest, a shard folder's two first, and no way out.
pub(super) fn is_entry(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.';
    name.get(..2).is_some_and(is_shard)
        && name.ends_with(SUFFIX)
        && name.len() <= MAX_NAME
        && name.bytes().all(plain)
}

fn is_shard(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether there is a folder that is not a link to one.
pub(super) fn is_real_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// The bytes of entries and temporary files.
pub(super) fn used_bytes(root: &Path) -> u64 {
    let files = shards(root).into_iter().flat_map(|folder| ours(&folder));
    files
        .filter_map(|file| file.metadata().ok())
        .map(|found| found.len())
        .sum()
}

/// Evicts what was used longest ago until `more` bytes fit, and collects orphans on the way.
pub(super) fn shrink(root: &Path, bound: u64, more: u64, now: Option<SystemTime>) -> Left {
    let mut left = Left {
        bytes: 0,
        evicted: 0,
    };
    let mut entries = Vec::new();
    for file in shards(root).into_iter().flat_map(|folder| ours(&folder)) {
        if collected(&file, now) {
            continue;
        }
        let Ok(found) = file.metadata() else { continue };
        left.bytes += found.len();
        if !temp::is_temp(&name_of(&file)) {
            let used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            entries.push(Entry {
                used,
                bytes: found.len(),
                path: file.path(),
            });
        }
    }
    if left.bytes.saturating_add(more) > bound {
        evict(
            entries,
            (bound - bound / SPARE).saturating_sub(more),
            &mut left,
        );
    }
    left
}

/// Deletes the oldest first. A reader that has one open keeps it; another evictor may be quicker.
fn evict(mut entries: Vec<Entry>, target: u64, left: &mut Left) {
    entries.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
    for entry in entries {
        if left.bytes <= target {
            break;
        }
        match fs::remove_file(&entry.path) {
            Ok(()) => left.evicted += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => continue,
        }
        left.bytes -= entry.bytes;
    }
}

/// Deletes the temporary files in one folder whose writers are gone.
pub(super) fn sweep(folder: &Path, now: Option<SystemTime>) {
    ours(folder).iter().for_each(|file| {
        collected(file, now);
    });
}

/// Deletes an orphan and says so.
fn collected(file: &DirEntry, now: Option<SystemTime>) -> bool {
    let name = name_of(file);
    let orphan = temp::is_temp(&name) && {
        let stamp = file.metadata().and_then(|found| found.modified()).ok();
        temp::is_orphan(&name, stamp, now)
    };
    orphan && fs::remove_file(file.path()).is_ok()
}

/// Deletes every file that is the cache's own, then the folders that are empty, the root among them.
pub(super) fn clear(root: &Path) -> io::Result<()> {
    for folder in shards(root) {
        for file in ours(&folder) {
            gone(fs::remove_file(file.path()))?;
        }
        let _ = fs::remove_dir(folder);
    }
    // Refused by the system while anything is left in it, and for a link.
    let _ = fs::remove_dir(root);
    Ok(())
}

/// Deleted by someone else is deleted too.
fn gone(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The shard folders; what cannot be read counts as empty.
fn shards(root: &Path) -> Vec<PathBuf> {
    let is_real = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let found = fs::read_dir(root).into_iter().flatten().flatten();
    found
        .filter(|e| is_shard(&name_of(e)) && is_real(e))
        .map(|e| e.path())
        .collect()
}

/// The files in a shard folder that have names of ours; links are removed, not followed.
fn ours(folder: &Path) -> Vec<DirEntry> {
    let is_dir = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let shard = folder.file_name().unwrap_or_default().to_string_lossy();
    let named = |name: &str| (is_entry(name) && name.starts_with(&*shard)) || temp::is_temp(name);
    let found = fs::read_dir(folder).into_iter().flatten().flatten();
    found.filter(|e| named(&name_of(e)) && !is_dir(e)).collect()
}

fn name_of(entry: &DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}
