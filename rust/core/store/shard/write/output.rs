//! The file that becomes the shard by a rename, or disappears.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::head::BLOCK;
use crate::bytes::temp::{is_orphan, unique_name};
use crate::error::{Error, ErrorKind, Result};

/// Small writes are put together up to this.
const BUFFER: usize = 256 * 1024;
/// Larger payloads go to the system as they lie.
const SMALL: usize = 32 * 1024;
/// GNU tar and `tarfile` fill their last record up to a multiple of this.
const RECORD: u64 = 20 * BLOCK as u64;

const ZEROS: [u8; RECORD as usize] = [0; RECORD as usize];

/// A shard that is being written, under a name of its own.
pub(super) struct Output {
    /// For errors.
    name: String,
    target: PathBuf,
    temporary: PathBuf,
    file: File,
    buffer: Vec<u8>,
    /// Bytes written or in the buffer.
    at: u64,
    /// A fork has the same file, but not the same buffer.
    process: u32,
    is_there: bool,
}

impl Output {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        Self::created(path, &name)
            .map_err(|error| Error::io("create the shard", error).with_source(name))
    }

    fn created(path: &Path, name: &str) -> io::Result<Self> {
        let mut own = OsString::from(".");
        own.push(path.file_name().unwrap_or_default());
        own.push(unique_name());
        let temporary = path.with_file_name(own);
        let mut options = OpenOptions::new();
        Ok(Self {
            name: name.to_owned(),
            file: options.write(true).create_new(true).open(&temporary)?,
            target: path.to_owned(),
            temporary,
            buffer: Vec::with_capacity(BUFFER),
            at: 0,
            process: std::process::id(),
            is_there: true,
        })
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes of the archive, were it to end at `at`: with the zeros that end it.
    pub(super) fn ended_at(at: u64) -> u64 {
        at.saturating_add(2 * BLOCK as u64)
            .checked_next_multiple_of(RECORD)
            .unwrap_or(u64::MAX)
    }

    /// Now, by the clock that stamps the files of this file system; it need not be this machine's.
    pub(super) fn stamp(&self) -> Option<SystemTime> {
        self.file.metadata().and_then(|found| found.modified()).ok()
    }

    /// # Errors
    /// In a process that has inherited the writer: both would write the same bytes.
    pub(super) fn check_process(&self) -> Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        let reason = "the shard is being written by the process that this one was forked from";
        Err(Error::invalid(reason).with_source(self.name.as_str()))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.pass_on(bytes);
        self.at += bytes.len() as u64;
        written.map_err(|error| self.failed("write", error))
    }

    fn pass_on(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < SMALL {
            self.buffer.extend_from_slice(bytes);
            return match self.buffer.len() >= BUFFER - SMALL {
                true => self.flush(&[]),
                false => Ok(()),
            };
        }
        self.flush(bytes)
    }

    /// The buffer and what comes after it, in one call to the system where it takes them so.
    fn flush(&mut self, behind: &[u8]) -> io::Result<()> {
        let mut slices = &mut [IoSlice::new(&self.buffer), IoSlice::new(behind)][..];
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut slices, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.buffer.clear();
        Ok(())
    }

    /// Zeros up to the next multiple of `unit`, which is no more than a record.
    pub(super) fn pad(&mut self, unit: u64) -> Result<()> {
        let count = (self.at.next_multiple_of(unit) - self.at) as usize;
        self.write(ZEROS.get(..count).unwrap_or(&ZEROS))
    }

    /// Ends the archive and gives it its name, `before` which what belongs to an older one is removed: whoever
    /// is killed between leaves a shard without it, never one with another's.
    pub(super) fn commit(
        mut self,
        overwrite: bool,
        fsync: bool,
        before: impl Fn() -> io::Result<()>,
    ) -> Result<u64> {
        self.write(&[0; 2 * BLOCK])?;
        self.pad(RECORD)?;
        self.flush(&[])
            .map_err(|error| self.failed("write", error))?;
        if fsync {
            let synced = self.file.sync_all();
            synced.map_err(|error| self.failed("write", error))?;
        }
        crate::interrupt::check_now()?;
        self.rename(overwrite, before)
            .and_then(|()| match fsync {
                true => sync_folder(&self.target),
                false => Ok(()),
            })
            .map_err(|error| self.failed("name", error))?;
        Ok(self.at)
    }

    fn rename(&mut self, overwrite: bool, before: impl Fn() -> io::Result<()>) -> io::Result<()> {
        if !overwrite && fs::symlink_metadata(&self.target).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        before()?;
        if overwrite {
            fs::rename(&self.temporary, &self.target)?;
            self.is_there = false;
            return Ok(());
        }
        // Unlike a rename, a link never replaces what another process has put there meanwhile.
        match fs::hard_link(&self.temporary, &self.target) {
            Ok(()) => {
                self.remove();
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            // A file system without links.
            Err(_) => {}
        }
        fs::rename(&self.temporary, &self.target)?;
        self.is_there = false;
        Ok(())
    }

    fn failed(&self, doing: &str, error: io::Error) -> Error {
        Error::io(&format!("{doing} the shard"), error).with_source(self.name.as_str())
    }

    fn remove(&mut self) {
        if std::mem::take(&mut self.is_there) {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Not the file of the process that this one was forked from.
        if self.process == std::process::id() {
            self.remove();
        }
    }
}

fn sync_folder(target: &Path) -> io::Result<()> {
    File::open(folder_of(target))?.sync_all()
}

/// Where a file lies.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Errors where something lies at `path` that a new shard must not take the place of.
pub(super) fn check_free(path: &Path, overwrite: bool) -> Result<()> {
    let reason = match path.metadata() {
        Err(_) => return Ok(()),
        Ok(facts) if !facts.is_file() => "not a regular file: it is not replaced by a shard",
        Ok(_) if overwrite => return Ok(()),
        Ok(_) => {
            let error = io::Error::from_raw_os_error(rustix::io::Errno::EXIST.raw_os_error());
            let error = Error::io(
                "write the shard, since there is one (overwrite=True replaces it)",
                error,
            );
            return Err(error.with_source(path.display().to_string()));
        }
    };
    Err(Error::new(ErrorKind::Io, reason).with_source(path.display().to_string()))
}

/// Removes what writers of such shards left in the folder that were killed.
///
/// A temporary file is `.<shard>.<machine>-<process>-<random>.tmp`. That its writer is gone is told by its
/// process number, where that means something here, else by an hour without a write, both stamps taken
/// from this file system.
pub(super) fn collect(folder: &Path, is_ours: impl Fn(&str) -> bool, now: Option<SystemTime>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((shard, unique)) = parted(&name) else {
            continue;
        };
        let stamp = || entry.metadata().and_then(|found| found.modified()).ok();
        if is_ours(shard) && is_orphan(unique, stamp(), now) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The shard's name and the unique one, of a temporary file's.
fn parted(name: &OsStr) -> Option<(&str, &str)> {
    let name = name.to_str()?.strip_prefix('.')?;
    let dot = name.strip_suffix(".tmp")?.rfind('.')?;
    name.split_at_checked(dot)
}
