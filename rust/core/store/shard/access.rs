//! An open shard: what tells that it has changed, a map of it or reads at an offset.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use memmap2::Mmap;

use super::identity::{Facts, Identity, has_changed};
use super::stamp::Stamp;
use crate::bytes::map;
use crate::bytes::source::Source;
use crate::error::{Error, ErrorKind, Name, Result};
use crate::guard::room;

/// Each time that so many bytes of a map were handed out, its pages are let go. Else all that was ever touched
/// of a shard would count as memory of the process, for which its kernel or its cluster may stop it. Who
/// looks at a view again that is older than this faults its pages in once more.
const RELEASED_BYTES: u64 = 256 << 20;
/// The least that touching a member brings in: Linux maps what is in the page cache around a fault.
const FAULT_BYTES: u64 = 64 << 10;

/// How members are handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// [`Access::Mmap`] on file systems that are known to be local, else [`Access::Pread`].
    #[default]
    Auto,
    /// In place, in a map of the file.
    Mmap,
    /// As copies, read one by one.
    Pread,
}

/// The bytes of a member, which keep the map alive that they lie in.
pub struct Payload(Held);

enum Held {
    Mapped(Arc<Mmap>, Range<usize>),
    Copied(Vec<u8>),
}

impl Payload {
    pub(super) fn copied(bytes: Vec<u8>) -> Self {
        Self(Held::Copied(bytes))
    }

    /// The bytes; they never move.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Held::Mapped(map, range) => map.get(range.clone()).unwrap_or_default(),
            Held::Copied(bytes) => bytes,
        }
    }
}

/// A shard's file, opened once.
pub(super) struct Handle {
    name: String,
    path: PathBuf,
    file: File,
    facts: Facts,
    map: Option<Arc<Mmap>>,
    handed_out: AtomicU64,
}

impl Handle {
    pub(super) fn open(path: &Path, access: Access) -> Result<Self> {
        let name = path.display().to_string();
        Self::open_named(&name, path, access).map_err(|error| error.with_source(name))
    }

    fn open_named(name: &str, path: &Path, access: Access) -> Result<Self> {
        let failed = |error| Error::io("open the shard", error);
        // Not of a pipe, whose opening would wait for a writer.
        if !path.metadata().map_err(failed)?.is_file() {
            return Err(Error::new(ErrorKind::Io, "not a regular file"));
        }
        let file = File::open(path).map_err(failed)?;
        let mut handle = Self {
            name: name.to_owned(),
            // The process may change its folder.
            path: std::path::absolute(path).map_err(failed)?,
            facts: Facts::of(&file.metadata().map_err(failed)?),
            file,
            map: None,
            handed_out: AtomicU64::new(0),
        };
        if handle.facts.size == 0 {
            return Err(Error::corrupt("the file is empty").at_byte(0));
        }
        if access == Access::Mmap || (access == Access::Auto && is_local(&handle.file)) {
            let map = map::read_only(&handle.file).map_err(|e| Error::io("map the shard", e))?;
            handle.map = Some(Arc::new(map));
        }
        handle.check_unchanged()?;
        Ok(handle)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn size(&self) -> u64 {
        self.facts.size
    }

    /// What an index of the shard is made for.
    pub(super) fn stamp(&self) -> Stamp {
        let (seconds, nanoseconds) = self.facts.modified;
        Stamp::new(self.facts.size, seconds, nanoseconds)
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    pub(super) fn mapped(&self, range: Range<usize>) -> Option<&[u8]> {
        let map = self.map.as_ref()?;
        self.count(map, range.len());
        map.get(range)
    }

    pub(super) fn payload(&self, range: Range<usize>) -> Option<Payload> {
        let map = self.map.as_ref()?;
        map.get(range.clone())?;
        self.count(map, range.len());
        Some(Payload(Held::Mapped(Arc::clone(map), range)))
    }

    /// Keeps what is resident of the map small: see [`RELEASED_BYTES`].
    fn count(&self, map: &Mmap, bytes: usize) {
        let bytes = FAULT_BYTES.max(bytes as u64);
        let before = self.handed_out.fetch_add(bytes, Relaxed);
        if before / RELEASED_BYTES != before.wrapping_add(bytes) / RELEASED_BYTES {
            map::release(map);
        }
    }

    /// Whether the open file is as it was and still what lies at the path. A file that was removed can
    /// be read on.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        self.check_file()
            .and_then(|()| match self.path.metadata() {
                Ok(found) => self.compare(&Facts::of(&found)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            })
            .map_err(|error| self.failed(error))
    }

    /// Whether the file is the one that `identity` was taken of.
    pub(super) fn check_identity(&self, identity: &Identity) -> Result<()> {
        let changed = identity.difference(&self.facts);
        changed.map_or(Ok(()), |what| Err(self.failed(has_changed(&what))))
    }

    /// The error of another shard in this one's place.
    pub(super) fn holds_others(&self) -> Error {
        self.failed(has_changed("its members differ"))
    }

    pub(super) fn facts(&self) -> Facts {
        self.facts
    }

    fn check_file(&self) -> io::Result<()> {
        let now = Facts::of(&self.file.metadata()?);
        // Where nothing lies at the path any more, that is why its time of change is another.
        if self.facts != now && self.facts.may_be_renamed(&now) && !self.path.exists() {
            return Ok(());
        }
        self.compare(&now)
    }

    fn compare(&self, now: &Facts) -> io::Result<()> {
        let changed = self.facts.difference(now);
        changed.map_or(Ok(()), |what| Err(has_changed(&what)))
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io("read", error).with_source(self.name.as_str())
    }

    /// The bytes at `offset`, which lie within the file.
    pub(super) fn read(&self, offset: u64, size: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let room = room::resize(&mut bytes, size, 0);
        room.map_err(|error| error.with_source(self.name.as_str()))?;
        let read = self.file.read_exact_at(&mut bytes, offset);
        // A file cut short is told as changed; one cut and grown again would read as zeros.
        self.check_file()
            .and(read)
            .map_err(|error| self.failed(error).at_byte(offset))?;
        Ok(bytes)
    }

    /// All of the file, to walk through: headers are read without a look at the file each, so
    /// [`Handle::check_unchanged`] has to follow.
    pub(super) fn source(&self) -> Result<Source<'static>> {
        let file = self.file.try_clone().map_err(|error| self.failed(error))?;
        Ok(Source::from_file(self.name.as_str(), file, self.size()))
    }

    /// The bytes at `offset`, which lie within the file, as a source. Each read of it is followed by a
    /// look at the file: what it gives was there, before any change.
    pub(super) fn section(&self, member: &str, offset: u64, size: u64) -> Result<Source<'_>> {
        let name = Name::of_member(self.name.as_str(), member, offset);
        let section = Section {
            handle: self,
            start: offset,
            size,
            at: 0,
        };
        Source::from_stream(name, Box::new(section))
    }
}

struct Section<'a> {
    handle: &'a Handle,
    start: u64,
    size: u64,
    at: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        let Some(wanted) = buffer.get_mut(..count).filter(|wanted| !wanted.is_empty()) else {
            return Ok(0);
        };
        let read = self.handle.file.read_at(wanted, self.start + self.at);
        self.handle.check_file()?;
        let read = read?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Section<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
        };
        // After the end there is nothing to read.
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?.min(self.size);
        Ok(self.at)
    }
}

/// Whether the file lies on a file system that is known to be local: on others a file may shrink without
/// this machine's knowledge, and a map of it kills the process that touches it.
#[cfg(target_os = "linux")]
fn is_local(file: &File) -> bool {
    // statfs(2). A list of those that are local, not of NFS, SMB, Lustre, GPFS, Ceph, 9P, FUSE ...: there
    // is always one more of these.
    const LOCAL: [u64; 14] = [
        0xEF53,      // ext2, ext3, ext4
        0x5846_5342, // XFS
        0x9123_683E, // Btrfs
        0x2FC1_2FC1, // ZFS
        0xF2F5_2010, // F2FS
        0xCA45_1A4E, // bcachefs
        0x0102_1994, // tmpfs
        0x8584_58F6, // ramfs
        0x794C_7630, // overlayfs, of containers
        0x7371_7368, // SquashFS
        0xE0F5_E1E2, // EROFS
        0x5265_4973, // ReiserFS
        0x3153_464A, // JFS
        0x9660,      // ISO 9660
    ];
    rustix::fs::fstatfs(file)
        .is_ok_and(|facts| LOCAL.contains(&(facts.f_type as u64 & 0xFFFF_FFFF)))
}

#[cfg(not(target_os = "linux"))]
fn is_local(_: &File) -> bool {
    false
}
