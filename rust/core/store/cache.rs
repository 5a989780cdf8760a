//! A folder of checked arrays under keys made of digests, shared by any number of processes.
//!
//! `get` gives the array that was put, or nothing: every byte of an entry is checked on every read, and
//! what is off is removed. `put` writes under a name of its own and renames, so that no reader ever
//! sees half an entry and no lock is needed; where two processes put the same key, the later one wins
//! whole. Nothing here waits for another process, and nothing is shared that a fork could leave locked.
#![deny(unsafe_code)]

mod audit;
mod prune;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::bytes::temp::Temp;
use crate::error::{Error, ErrorKind, Result};
use crate::guard::guarded;
use crate::store::npz::{self, Array, Dtype, Entry, Label, Opened, Samples, Target, View};

pub use audit::{Fault, FaultKind};
pub use prune::{Listed, Pruned};

/// What made the waveforms: an entry from another version is a miss. Raise what changes the samples.
pub const PIPELINE_VERSION: &str = "decoder=aac-2+alac-1+amr-1+flac-1+gsm-1+mp3-1+opus-1+pcm-2+shorten-1+vorbis-1+demux-3 \
                                    second=symphonia-0.6.1 \
                                    resampler=fast-1+high-1+best-1+rustfft-6.4.1 quality=high \
                                    second-resampler=rubato-5.1.0 \
                                    mono=mean-before-resampling dtype=float32 revision=1";

/// A put is tried again when another process has cleared the folder from under it.
const PUT_TRIES: usize = 8;
/// Stands for "not counted yet" among the bytes known to lie in the root.
const UNKNOWN: u64 = u64::MAX;
/// This share of the bound may be written between two looks at what other processes have written.
const LOOKS_PER_BOUND: u64 = 64;
/// An eviction frees this share of the bound beyond need, so that it need not come back at once.
const SPARE: u64 = 16;

/// Where an entry lies, and the whole identity that it has to echo.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    file_name: String,
    echo: String,
    dtype: Dtype,
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
                "{file_name:?} is not the name of a cache entry"
            )));
        }
        Ok(Self {
            file_name,
            echo,
            dtype: Dtype::Float32,
        })
    }

    /// The same key for elements that are stored as `dtype`; file name and identity have to tell it too.
    #[must_use]
    pub fn with_dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// What the elements are stored as.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Its file's name.
    pub fn file_name(&self) -> &str {
        &self.file_name
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
    /// Puts that wrote an entry.
    pub puts: u64,
    /// Puts that wrote nothing.
    pub failed: u64,
    /// Bytes of entries and temporary files under the root, whoever wrote them.
    pub bytes: u64,
    /// Entries under the root, whoever wrote them.
    pub entries: u64,
    /// Files under the root that are being written, or were when their writer died.
    pub temporary: u64,
}

/// An entry whose framing is right; its elements are still to be read and checked.
#[derive(Debug)]
pub struct Found {
    path: PathBuf,
    file: File,
    entry: Opened,
}

impl Found {
    /// The dimensions; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        self.entry.shape()
    }
}

#[derive(Debug, Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    corrupt: AtomicU64,
    evicted: AtomicU64,
    puts: AtomicU64,
    failed: AtomicU64,
}

/// One cache: a root, the name of its arrays, and a bound on its size.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    array: String,
    pipeline: String,
    max_bytes: Option<u64>,
    fsync: bool,
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
            fsync: false,
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

    /// The same cache, whose puts wait until entry, name and folder are on the disk: what `put` has told stays
    /// when the machine loses power. Without it such an entry may be lost, or found wrong and removed.
    #[must_use]
    pub fn with_fsync(mut self, fsync: bool) -> Self {
        self.fsync = fsync;
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

    /// The first half of a get, for those who bring memory of the right size to [`Cache::read`]. Only a miss
    /// is counted here.
    pub fn find(&self, key: &Key) -> Option<Found> {
        let path = self.path_for(key);
        let opened = open(&path).and_then(|file| {
            let entry = Opened::new(&file, &self.label(key))?;
            Ok((file, entry))
        });
        match opened {
            Ok((file, entry)) => Some(Found { path, file, entry }),
            Err(error) => {
                self.missed(&path, &error);
                None
            }
        }
    }

    /// The other end of a get that has no use for what was found: whether it is right.
    pub fn check_found(&self, found: Found) -> Option<()> {
        let Found { path, file, entry } = found;
        self.counted(&path, &file, entry.check(&file))
    }

    /// Reads what was found to the start of `target`; gives none, and zeros there, where it is wrong.
    ///
    /// # Errors
    /// `InvalidArgument` when a right entry does not go into `target`, which is left as it was. This counts as
    /// a hit; a wrong entry is a miss whatever it says of its size.
    pub fn read(&self, found: Found, target: Target<'_>) -> Result<Option<()>> {
        if let Some(error) = found.entry.objection(&target) {
            let error = error.with_source(found.path.display().to_string());
            return self.check_found(found).map_or(Ok(None), |()| Err(error));
        }
        let Found { path, file, entry } = found;
        Ok(self.counted(&path, &file, entry.read_into(&file, target)))
    }

    /// Writes an entry: whole and under its name, or not at all.
    ///
    /// # Errors
    /// `Io` when the disk refuses, `Limit` when the array exceeds the bound or 4 GiB or a sample what the key's
    /// dtype holds, `InvalidArgument` when shape and samples disagree.
    pub fn put<'a>(
        &self,
        key: &Key,
        shape: &[usize],
        samples: impl Into<Samples<'a>>,
    ) -> Result<PathBuf> {
        let path = self.path_for(key);
        // Whatever happens, a run goes on.
        let stored = guarded(|| {
            let entry = Entry::new(&self.label(key), shape, samples)?;
            self.insist(key, &path, &entry)
        });
        let counters = &self.counters;
        let counter = if stored.is_ok() {
            &counters.puts
        } else {
            &counters.failed
        };
        add(counter, 1);
        stored.map_err(|error| error.with_source(path.display().to_string()))?;
        Ok(path)
    }

    /// Collects the temporary files of dead writers, and evicts what was used longest ago while the root holds
    /// more than `max_bytes`; without it, more than the cache's own bound, if it has one.
    ///
    /// # Errors
    /// `Io` for the first file that could not be deleted, after all others have been.
    pub fn prune(&self, max_bytes: Option<u64>) -> Result<Pruned> {
        let bound = max_bytes.or(self.max_bytes).unwrap_or(u64::MAX);
        let now = prune::stamp(&self.root);
        let mut left = prune::shrink(&self.root, bound, bound, now);
        add(&self.counters.evicted, left.evicted);
        self.known_bytes.store(UNKNOWN, Relaxed);
        match left.failed.take() {
            Some((path, error)) => {
                Err(Error::io("delete", error).with_source(path.display().to_string()))
            }
            None => Ok(left),
        }
    }

    /// The entries under the root, in the order of their names, whoever wrote them.
    pub fn entries(&self) -> Vec<Listed> {
        prune::entries(&self.root)
    }

    /// Checks the entry in the file `path`, without a key, as far as that goes: framing, checksum, that what it
    /// echoes belongs under its name, and that this pipeline made it. Removes and counts nothing.
    ///
    /// # Errors
    /// What is wrong with it. No error where it has gone meanwhile.
    pub fn check(&self, path: &Path) -> std::result::Result<(), Fault> {
        match open(path).and_then(|file| audit::check(&file, path, &self.pipeline)) {
            Err(error) if error.io_error().is_some_and(is_absent) => Ok(()),
            outcome => outcome.map_err(Fault::from),
        }
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
            puts,
            failed,
        } = &self.counters;
        let held = prune::held(&self.root);
        Stats {
            hits: hits.load(Relaxed),
            misses: misses.load(Relaxed),
            corrupt: corrupt.load(Relaxed),
            evicted: evicted.load(Relaxed),
            puts: puts.load(Relaxed),
            failed: failed.load(Relaxed),
            bytes: held.bytes,
            entries: held.entries,
            temporary: held.temporary,
        }
    }

    fn label<'a>(&'a self, key: &'a Key) -> Label<'a> {
        Label {
            array: &self.array,
            key: &key.echo,
            pipeline: &self.pipeline,
            dtype: key.dtype,
        }
    }

    fn checked<T>(&self, key: &Key, read: fn(&File, &Label) -> Result<T>) -> Option<T> {
        let path = self.path_for(key);
        match open(&path) {
            Ok(file) => self.counted(&path, &file, read(&file, &self.label(key))),
            Err(error) => {
                self.missed(&path, &error);
                None
            }
        }
    }

    /// Counts what a reading has come to, and marks or removes the entry.
    fn counted<T>(&self, path: &Path, file: &File, outcome: Result<T>) -> Option<T> {
        match &outcome {
            Ok(_) => {
                add(&self.counters.hits, 1);
                self.touch(file);
            }
            Err(error) => self.missed(path, error),
        }
        outcome.ok()
    }

    /// Marks an entry as used, where an eviction may ask. Not being allowed to is no reason to miss.
    fn touch(&self, file: &File) {
        if self.max_bytes.is_some() {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// Counts, and removes what is wrong; a disk that does not answer and memory that is short say nothing about
    /// the entry, and work that was stopped nothing at all.
    fn missed(&self, path: &Path, error: &Error) {
        if error.kind() == ErrorKind::Interrupted {
            return;
        }
        add(&self.counters.misses, 1);
        if matches!(error.kind(), ErrorKind::Io | ErrorKind::Limit) {
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
                "the entry is larger than the limit of the cache",
            ));
        }
        let mut temp = Temp::create(&self.folder(key)?, "")?;
        self.tidy(key, &temp);
        self.make_room(entry.file_bytes(), &temp);
        entry.write_to(temp.file())?;
        temp.rename_to(path, self.fsync)
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
        let unseen = add(&self.unseen_bytes, bytes);
        let more = |known: u64| known.checked_add(bytes).filter(|&sum| sum <= bound);
        if unseen <= bound / LOOKS_PER_BOUND
            && self
                .known_bytes
                .fetch_update(Relaxed, Relaxed, more)
                .is_ok()
        {
            return;
        }
        let target = (bound - bound / SPARE).saturating_sub(bytes);
        let limit = bound.saturating_sub(bytes);
        let left = prune::shrink(&self.root, limit, target, temp.written_at());
        add(&self.counters.evicted, left.evicted);
        self.known_bytes.store(left.bytes + bytes, Relaxed);
        self.unseen_bytes.store(0, Relaxed);
    }
}

/// Opens a file, but no link, which could lead anywhere, and waits for no writer of a pipe. Whether it is a
/// regular file is asked of what has been opened.
fn open(path: &Path) -> Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    file.map_err(|error| match Errno::from_io_error(&error) {
        // What the system says of a link, and of a socket.
        Some(Errno::LOOP | Errno::NXIO) => Error::corrupt("not a regular file"),
        _ => Error::io("open the entry", error),
    })
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

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Adds and gives the new value.
fn add(counter: &AtomicU64, more: u64) -> u64 {
    counter.fetch_add(more, Relaxed).wrapping_add(more)
}
