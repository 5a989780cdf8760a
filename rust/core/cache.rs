//! A folder of checked arrays under keys made of digests, shared by any number of processes.
//!
//! `get` gives the array that was put, or nothing: every byte of an entry is checked on every read, and
//! what is off is removed. `put` writes under a name of its own and renames, so that no reader ever
//! sees half an entry and no lock is needed; where two processes put the same key, the later one wins
//! whole. Nothing here waits for another process, and nothing is shared that a fork could leave locked.
#![deny(unsafe_code)]

mod prune;
pub(crate) mod temp;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use crate::npz::{self, Array, Entry, Label, View};
use crate::{Error, ErrorKind, Result};
use temp::Temp;

/// What made the waveforms: an entry from another version is a miss. Raise what changes the samples.
pub const PIPELINE_VERSION: &str = "decoder=aac-1+alac-1+flac-1+mp3-1+opus-1+pcm-2+vorbis-1+demux-1 \
                                    resampler=fast-1+high-1+best-1+rustfft-6.4.1 quality=high \
                                    mono=mean-before-resampling dtype=float32 revision=1";

/// A put is tried again when another process has cleared the folder from under it.
const PUT_TRIES: usize = 8;
/// Stands for "not counted yet" among the bytes known to lie in the root.
const UNKNOWN: u64 = u64::MAX;
/// This share of the bound may be written between two looks at what other processes have written.
const LOOKS_PER_BOUND: u64 = 64;

/// Where an entry lies, and the whole identity that it has to echo.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    file_name: String,
    echo: String,
}

impl Key {
    /// A key from its file name (two hex digits first, `.npz` last) and its whole identity.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that could leave the cache's root or be taken for another file.
    pub fn new(file_name: impl Into<String>, echo: impl Into<String>) -> Result<Self> {
        let (file_name, echo) = (file_name.into(), echo.into());
        if !prune::is_entry(&file_name) {
            return Err(Error::invalid(format!(
                "{file_name:?} is no name of a cache entry"
            )));
        }
        Ok(Self { file_name, echo })
    }

    /// The folder under the root: the first two digits of the digest.
    pub fn shard(&self) -> &str {
        self.file_name.get(..2).unwrap_or_default()
    }
}

/// Counts since the cache was opened here, and the bytes that its root holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Gets that gave an array.
    pub hits: u64,
    /// Gets that gave none; the corrupt ones are among them.
    pub misses: u64,
    /// Entries that were found wrong, and removed.
    pub corrupt: u64,
    /// Entries removed to keep the bound.
    pub evicted: u64,
    /// Puts that wrote nothing.
    pub failed: u64,
    /// Bytes of entries and temporary files under the root, whoever wrote them.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    corrupt: AtomicU64,
    evicted: AtomicU64,
    failed: AtomicU64,
}

/// One cache: a root, the name of its arrays, and a bound on its size.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    array: String,
    pipeline: String,
    max_bytes: Option<u64>,
    counters: Counters,
    /// Bytes in the root: those found at the last look, and those put from here since.
    known_bytes: AtomicU64,
    unseen_bytes: AtomicU64,
    /// One bit a shard folder: whether orphans have been looked for in it.
    swept: [AtomicU64; 4],
}

impl Cache {
    /// A cache at `root`, which need not exist yet; `array` names its arrays inside the entries.
    pub fn new(root: impl Into<PathBuf>, array: &str, max_bytes: Option<u64>) -> Self {
        Self {
            root: root.into(),
            array: array.to_owned(),
            pipeline: PIPELINE_VERSION.to_owned(),
            max_bytes,
            counters: Counters::default(),
            known_bytes: AtomicU64::new(UNKNOWN),
            unseen_bytes: AtomicU64::new(0),
            swept: Default::default(),
        }
    }

    /// The same cache for arrays that another pipeline made.
    #[must_use]
    pub fn with_pipeline(mut self, version: &str) -> Self {
        self.pipeline = version.to_owned();
        self
    }

    /// Where the entry of `key` lies, whether it exists or not.
    pub fn path_for(&self, key: &Key) -> PathBuf {
        self.root.join(key.shard()).join(&key.file_name)
    }

    /// Whether there is an entry, unchecked: a following `get` may still miss.
    pub fn exists(&self, key: &Key) -> bool {
        fs::symlink_metadata(self.path_for(key)).is_ok_and(|found| found.is_file())
    }

    /// The array that was put under `key`, checked to the last bit, or none.
    pub fn get(&self, key: &Key) -> Option<Array> {
        self.checked(key, npz::read)
    }

    /// As [`Cache::get`], left in its file.
    pub fn view(&self, key: &Key) -> Option<View> {
        self.checked(key, npz::view)
    }

    /// Writes an entry: whole and under its name, or not at all.
    ///
    /// # Errors
    /// `Io` when the disk refuses, `Limit` when the array exceeds the bound or 4 GiB,
    /// `InvalidArgument` when shape and samples disagree.
    pub fn put(&self, key: &Key, shape: &[usize], samples: &[f32]) -> Result<PathBuf> {
        let path = self.path_for(key);
        let stored = Entry::new(&self.label(key), shape, samples)
            .and_then(|entry| self.insist(key, &path, &entry));
        if stored.is_err() {
            add(&self.counters.failed, 1);
        }
        stored.map_err(|error| error.with_source(path.display().to_string()))?;
        Ok(path)
    }

    /// Deletes the entries and temporary files of the root, and the folders left empty by that.
    ///
    /// # Errors
    /// `Io` when something cannot be deleted.
    pub fn clear(&self) -> Result<()> {
        self.known_bytes.store(UNKNOWN, Relaxed);
        prune::clear(&self.root).map_err(|e| {
            Error::io("clear the cache", e).with_source(self.root.display().to_string())
        })
    }

    /// The counts, and the bytes of the root, for which the whole root is looked at.
    pub fn stats(&self) -> Stats {
        let Counters {
            hits,
            misses,
            corrupt,
            evicted,
            failed,
        } = &self.counters;
        Stats {
            hits: hits.load(Relaxed),
            misses: misses.load(Relaxed),
            corrupt: corrupt.load(Relaxed),
            evicted: evicted.load(Relaxed),
            failed: failed.load(Relaxed),
            bytes: prune::used_bytes(&self.root),
        }
    }

    fn label<'a>(&'a self, key: &'a Key) -> Label<'a> {
        Label {
            array: &self.array,
            key: &key.echo,
            pipeline: &self.pipeline,
        }
    }

    fn checked<T>(&self, key: &Key, read: fn(&File, &Label) -> Result<T>) -> Option<T> {
        let path = self.path_for(key);
        let outcome = open(&path).and_then(|file| {
            let value = read(&file, &self.label(key))?;
            self.touch(&file);
            Ok(value)
        });
        match &outcome {
            Ok(_) => _ = add(&self.counters.hits, 1),
            Err(error) => self.missed(&path, error),
        }
        outcome.ok()
    }

    /// Marks an entry as used, where an eviction may ask. Not being allowed to is no reason to miss.
    fn touch(&self, file: &File) {
        if self.max_bytes.is_some() {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// Counts, and removes what is wrong; a disk that does not answer says nothing about the entry.
    fn missed(&self, path: &Path, error: &Error) {
        add(&self.counters.misses, 1);
        if error.kind() == ErrorKind::Io {
            return;
        }
        add(&self.counters.corrupt, 1);
        // A folder that is a link leads out of the root, where nothing is ours to remove. Between the
        // check and here another process may have put a good entry: losing it costs one more miss.
        if path.parent().is_some_and(prune::is_real_folder) {
            let _ = fs::remove_file(path);
        }
    }

    /// Stores, again where the folder or the temporary file was cleared away meanwhile.
    fn insist(&self, key: &Key, path: &Path, entry: &Entry) -> Result<()> {
        let raced = |outcome: &Result<()>| outcome.as_ref().is_err_and(is_race);
        let mut outcome = self.store(key, path, entry);
        for _ in 1..PUT_TRIES {
            if raced(&outcome) {
                outcome = self.store(key, path, entry);
            }
        }
        outcome
    }

    fn store(&self, key: &Key, path: &Path, entry: &Entry) -> Result<()> {
        if self
            .max_bytes
            .is_some_and(|bound| entry.file_bytes() > bound)
        {
            return Err(Error::new(
                ErrorKind::Limit,
                "larger than the whole cache may be",
            ));
        }
        let mut temp = Temp::create(self.folder(key)?)?;
        self.tidy(key, &temp);
        self.make_room(entry.file_bytes(), &temp);
        entry.write_to(temp.file())?;
        temp.rename_to(path)
    }

    /// Makes the shard's folder, and refuses to write through a link.
    fn folder(&self, key: &Key) -> Result<PathBuf> {
        let folder = self.root.join(key.shard());
        fs::create_dir_all(&folder).map_err(|e| Error::io("make the entry's folder", e))?;
        let found = fs::symlink_metadata(&folder).map_err(|e| Error::io("find the folder", e))?;
        if !found.is_dir() {
            return Err(Error::invalid(
                "the entry's folder is a link that leaves the cache",
            ));
        }
        Ok(folder)
    }

    /// Collects orphans from a folder at the first put into it: 256 small looks instead of a large one.
    fn tidy(&self, key: &Key, temp: &Temp) {
        let number = usize::from_str_radix(key.shard(), 16).unwrap_or_default();
        let bit = 1_u64 << (number % 64);
        let word = self.swept.get(number / 64);
        if word.is_some_and(|word| word.fetch_or(bit, Relaxed) & bit == 0) {
            prune::sweep(&self.root.join(key.shard()), temp.written_at());
        }
    }

    /// Keeps the root within its bound before `bytes` more are written.
    ///
    /// What other processes put is seen only at the next look: P writers overshoot the bound by P / 64
    /// of it at most, for the moment; a look that finds it reached frees a sixteenth.
    fn make_room(&self, bytes: u64, temp: &Temp) {
        let Some(bound) = self.max_bytes else { return };
        let known = self.known_bytes.load(Relaxed);
        let unseen = add(&self.unseen_bytes, bytes);
        let fits = known.checked_add(bytes).is_some_and(|sum| sum <= bound);
        if fits && unseen <= bound / LOOKS_PER_BOUND {
            add(&self.known_bytes, bytes);
            return;
        }
        let left = prune::shrink(&self.root, bound, bytes, temp.written_at());
        add(&self.counters.evicted, left.evicted);
        self.known_bytes.store(left.bytes + bytes, Relaxed);
        self.unseen_bytes.store(0, Relaxed);
    }
}

/// Opens a regular file and nothing else: a pipe would block, a link could lead anywhere.
fn open(path: &Path) -> Result<File> {
    let found = fs::symlink_metadata(path).map_err(|e| Error::io("find the entry", e))?;
    if !found.is_file() {
        return Err(Error::corrupt("not a regular file"));
    }
    File::open(path).map_err(|e| Error::io("open the entry", e))
}

/// Whether a file or folder was lost to another process. `create_dir_all` says `AlreadyExists` when the
/// folder that it found has gone by the time it looks again.
fn is_race(error: &Error) -> bool {
    let kind = error.io_error().map(io::Error::kind);
    matches!(
        kind,
        Some(io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
    )
}

/// Adds and gives the new value.
fn add(counter: &AtomicU64, more: u64) -> u64 {
    counter.fetch_add(more, Relaxed).wrapping_add(more)
}
