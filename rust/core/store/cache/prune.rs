//! What lies under a cache's root: counting it, evicting from it, clearing it.
//!
//! Only what the cache itself names is ever counted or deleted, in folders that are no links.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Dir, FileType, Mode, OFlags};

use crate::bytes::temp::{self, Temp};
use crate::interrupt;

const SUFFIX: &str = ".npz";
/// File systems allow 255 bytes.
const MAX_NAME: usize = 250;
/// What a look at the root has done, and what it has left.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Bytes of the entries and temporary files that are left.
    pub bytes: u64,
    /// Entries that were removed to keep the bound.
    pub evicted: u64,
    /// Temporary files of dead writers that were removed.
    pub orphans: u64,
    /// The first file that could not be removed, and why.
    pub(super) failed: Option<(PathBuf, io::Error)>,
}

/// What lies under the root.
#[derive(Default)]
pub(super) struct Held {
    pub(super) bytes: u64,
    pub(super) entries: u64,
    pub(super) temporary: u64,
}

/// An entry's file, unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When it was last put, or got from a cache with a bound.
    pub used: SystemTime,
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

/// Counts entries and temporary files.
pub(super) fn held(root: &Path) -> Held {
    let mut held = Held::default();
    for file in shards(root).into_iter().flat_map(|folder| ours(&folder)) {
        if interrupt::check().is_err() {
            break;
        }
        let Ok(found) = file.metadata() else { continue };
        held.bytes += found.len();
        match temp::is_temp(&file.name) {
            true => held.temporary += 1,
            false => held.entries += 1,
        }
    }
    held
}

/// The entries, in the order of their names.
pub(super) fn entries(root: &Path) -> Vec<Listed> {
    let files = shards(root).into_iter().flat_map(|folder| ours(&folder));
    let files = files.take_while(|_| interrupt::check().is_ok());
    let entries = files.filter(|file| !temp::is_temp(&file.name));
    let mut listed: Vec<_> = entries.filter_map(|file| listed(&file)).collect();
    listed.sort_by(|a, b| a.path.cmp(&b.path));
    listed
}

fn listed(file: &Item) -> Option<Listed> {
    let found = file.metadata().ok()?;
    Some(Listed {
        path: file.path.clone(),
        bytes: found.len(),
        used: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

/// Now, by the clock of the file system under the root, where anything can be written there.
pub(super) fn stamp(root: &Path) -> Option<SystemTime> {
    let folder = shards(root).into_iter().next()?;
    Temp::create(&folder, "").ok()?.written_at()
}

/// Collects orphans; where more than `limit` bytes are left, evicts what was used longest ago until `target` is
/// reached.
pub(super) fn shrink(root: &Path, limit: u64, target: u64, now: Option<SystemTime>) -> Pruned {
    let mut left = Pruned::default();
    let mut entries = Vec::new();
    for file in shards(root).into_iter().flat_map(|folder| ours(&folder)) {
        if interrupt::check().is_err() {
            return left;
        }
        if is_orphan(&file, now) && removed(&file.path, &mut left) {
            left.orphans += 1;
            continue;
        }
        let Some(found) = listed(&file) else { continue };
        left.bytes += found.bytes;
        if !temp::is_temp(&file.name) {
            entries.push(found);
        }
    }
    if left.bytes > limit {
        evict(entries, target, &mut left);
    }
    left
}

/// Deletes the oldest first. A reader that has one open keeps it; another evictor may be quicker.
fn evict(mut entries: Vec<Listed>, target: u64, left: &mut Pruned) {
    entries.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
    for entry in entries {
        if left.bytes <= target || interrupt::check().is_err() {
            break;
        }
        if removed(&entry.path, left) {
            left.evicted += 1;
            left.bytes -= entry.bytes;
        } else if !entry.path.exists() {
            left.bytes -= entry.bytes;
        }
    }
}

/// Deletes a file; what cannot be deleted is noted, unless somebody else was quicker.
fn removed(path: &Path, left: &mut Pruned) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                left.failed.get_or_insert((path.to_owned(), error));
            }
            false
        }
    }
}

/// Deletes the temporary files in one folder whose writers are gone.
pub(super) fn sweep(folder: &Path, now: Option<SystemTime>) {
    for file in ours(folder).iter().filter(|file| is_orphan(file, now)) {
        let _ = fs::remove_file(&file.path);
    }
}

/// Whether a file is a temporary one, and its writer gone.
fn is_orphan(file: &Item, now: Option<SystemTime>) -> bool {
    let name = &file.name;
    temp::is_temp(name) && {
        let stamp = file.metadata().and_then(|found| found.modified()).ok();
        temp::is_orphan(name, stamp, now)
    }
}

/// Deletes every file that is the cache's own, then the folders that are empty, the root among them.
pub(super) fn clear(root: &Path) -> io::Result<()> {
    for folder in shards(root) {
        for file in ours(&folder) {
            if interrupt::check().is_err() {
                return Ok(());
            }
            gone(fs::remove_file(&file.path))?;
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

/// Something in a folder.
struct Item {
    path: PathBuf,
    name: String,
    is_folder: bool,
}

impl Item {
    /// Of itself, where it is a link.
    fn metadata(&self) -> io::Result<fs::Metadata> {
        fs::symlink_metadata(&self.path)
    }
}

/// The shard folders; what cannot be read counts as empty.
fn shards(root: &Path) -> Vec<PathBuf> {
    let mut found = list(root);
    found.retain(|item| is_shard(&item.name) && item.is_folder);
    found.into_iter().map(|item| item.path).collect()
}

/// The files in a shard folder that have names of ours; links are removed, not followed.
fn ours(folder: &Path) -> Vec<Item> {
    let shard = folder.file_name().unwrap_or_default().to_string_lossy();
    let named = |name: &str| (is_entry(name) && name.starts_with(&*shard)) || temp::is_temp(name);
    let mut found = list(folder);
    found.retain(|item| named(&item.name) && !item.is_folder);
    found
}

/// What is in a folder whose name can be one of ours. Not by `fs::read_dir`, which panics when closing the folder
/// fails.
fn list(folder: &Path) -> Vec<Item> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty()).and_then(Dir::new);
    let items = opened.into_iter().flatten().map_while(Result::ok);
    let item = |entry: rustix::fs::DirEntry| {
        let name = entry.file_name().to_str().ok()?.to_owned();
        let path = folder.join(&name);
        let is_folder = match entry.file_type() {
            FileType::Directory => true,
            FileType::Unknown => is_real_folder(&path),
            _ => false,
        };
        Some(Item {
            path,
            name,
            is_folder,
        })
    };
    items.filter_map(item).collect()
}
