//! WebDataset shards: tar archives whose members are grouped to samples by their names.
//!
//! Opening reads every header and checks it, where no index says what they say: the checksum, that two headers do not disagree, that the
//! archive has its end and nothing after it. What could make content disappear, or one file pass for
//! another, is an error with its member and byte; nothing ends early. Payloads have no checksum in a tar,
//! nor have the long names of PAX and GNU: damage there is found by the digests of an index.
//!
//! A shard that changes while it is open is an error too. What is decoded from it is read, not mapped, and
//! each read is followed by a look at the file: a shard cut short meanwhile is an error, and so is one
//! that was cut and grew again, whose bytes would be zeros. Bytes that are handed out in place lie in a
//! map of the file; it is looked at before, but a file that is cut short while they are in use kills
//! the process that reads them, as any map does. [`Access::Pread`] hands out copies.
#![deny(unsafe_code)]

mod access;
mod agreement;
mod extended;
mod group;
mod header;
mod identity;
pub mod index;
mod progress;
mod repair;
mod row;
mod stamp;
mod verify;
mod walk;
pub mod write;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use crate::bytes::source::Source;
use crate::error::{Error, Result};
use access::Handle;

pub use access::{Access, Payload};
pub use group::{Sample, Samples, split_name};
pub use identity::Identity;
pub use progress::{Progress, digest};
pub use repair::{Repaired, repair};
pub use row::{AUDIO_EXTENSIONS, Row, is_audio};
pub use verify::{Checks, Found, examine, verify};
pub use walk::{Lost, Walk, walk};

/// A file in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path in the archive.
    pub name: String,
    /// The first byte of its payload.
    pub offset: u64,
    /// Bytes of its payload.
    pub size: u64,
    /// The first byte of its header, or of those about it in front of that.
    pub header_offset: u64,
}

/// An open shard.
pub struct Shard {
    handle: Handle,
    samples: Samples,
    /// Whether its headers have not been read: then each member's is, when that is asked for.
    is_indexed: bool,
}

impl Shard {
    /// Opens the shard at `path`: by its [`index`] where that is fresh and whole and of this shard, as far
    /// as some headers tell, else by all headers.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where the file cannot be read, [`Corrupt`](crate::ErrorKind::Corrupt)
    /// where it is no whole tar archive, or where two members have one name,
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for members that a shard may not hold: links,
    /// devices, sparse files, and names that lead out of a folder.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let handle = Handle::open(path, access)?;
        // Of an index that says what cannot be nothing is believed.
        let indexed = index::members(path, &handle).and_then(|members| {
            check(&handle, &members).ok()?;
            let samples = Samples::group(members).ok()?;
            agreement::is_of(&handle, samples.members()).then_some(samples)
        });
        match indexed {
            Some(samples) => {
                handle.check_unchanged()?;
                Ok(Self {
                    handle,
                    samples,
                    is_indexed: true,
                })
            }
            None => Self::from_headers(handle),
        }
    }

    /// Opens the shard at `path` and reads all of its headers, whether it has an index or not.
    ///
    /// # Errors
    /// As for [`Shard::open`].
    pub fn open_headers(path: &Path, access: Access) -> Result<Self> {
        Self::from_headers(Handle::open(path, access)?)
    }

    fn from_headers(handle: Handle) -> Result<Self> {
        let mut members = Vec::new();
        let mut walk = walk(handle.source()?);
        while let Some(member) = walk.step()? {
            members.push(member);
        }
        handle.check_unchanged()?;
        Self::new(handle, members, false)
    }

    /// Opens the shard at `path`, whose members are known from an index: no more than some headers are
    /// read.
    ///
    /// # Errors
    /// As for [`Shard::open`], and [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for members
    /// that lie outside of the file or are those of another one.
    pub fn from_members(path: &Path, access: Access, members: Vec<Member>) -> Result<Self> {
        let handle = Handle::open(path, access)?;
        check(&handle, &members)?;
        let shard = Self::new(handle, members, true)?;
        match agreement::is_of(&shard.handle, shard.members()) {
            true => Ok(shard),
            false => {
                Err(Error::invalid("the index belongs to another shard").with_source(shard.name()))
            }
        }
    }

    /// Opens the shard at `path` for members that are known, if it is the one that `identity` was taken of.
    /// It lists none.
    ///
    /// # Errors
    /// As for [`Shard::check_identity`].
    pub fn reopen_for_members(path: &Path, identity: &Identity) -> Result<Self> {
        let handle = Handle::open(path, Access::Pread)?;
        handle.check_identity(identity)?;
        let samples = Samples::group(Vec::new())?;
        Ok(Self {
            handle,
            samples,
            is_indexed: true,
        })
    }

    fn new(handle: Handle, members: Vec<Member>, is_indexed: bool) -> Result<Self> {
        if members.is_empty() {
            return Err(nothing_in(&handle));
        }
        let grouped = Samples::group(members);
        let samples = grouped.map_err(|e| e.with_source(handle.name()))?;
        Ok(Self {
            handle,
            samples,
            is_indexed,
        })
    }

    /// What tells this shard from another one that lies at its path later.
    pub fn identity(&self) -> Identity {
        Identity::new(self.handle.facts(), self.members())
    }

    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where `identity` was taken of another shard.
    pub fn check_identity(&self, identity: &Identity) -> Result<()> {
        self.handle.check_identity(identity)?;
        // On the same machine the file's times and inode say as much.
        match identity.is_near() || identity.has_members(self.members()) {
            true => Ok(()),
            false => Err(self.handle.holds_others()),
        }
    }

    /// All members, in the order of the archive.
    pub fn members(&self) -> &[Member] {
        self.samples.members()
    }

    /// All samples, in the order of their first members. Members of one key are one sample wherever they
    /// lie. Of members whose path begins with a part like `__this__` samples know nothing, as in
    /// webdataset.
    pub fn samples(&self) -> &Samples {
        &self.samples
    }

    /// Which sample has the key.
    pub fn find(&self, key: &str) -> Option<usize> {
        self.samples.find(key)
    }

    /// The shard's path as it was given.
    pub fn name(&self) -> &str {
        self.handle.name()
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.handle.size()
    }

    /// Whether it was opened by an index, which is the shard's.
    pub fn is_indexed(&self) -> bool {
        self.is_indexed
    }

    /// Whether members are handed out in place, from a map of the file.
    pub fn is_mapped(&self) -> bool {
        self.handle.is_mapped()
    }

    /// Errors where size, time of modification or inode are no longer those of the file that was opened,
    /// or where another file lies at its path. A file that was removed can be read on.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io), with what has changed.
    pub fn check_unchanged(&self) -> Result<()> {
        self.handle.check_unchanged()
    }

    /// A member's payload: in place from a map, else a copy.
    ///
    /// # Errors
    /// As for [`Shard::check_unchanged`], which comes first, and where reading fails.
    pub fn bytes(&self, member: &Member) -> Result<Cow<'_, [u8]>> {
        let range = extent(&self.handle, member)?;
        self.check_unchanged()?;
        match self.handle.mapped(range) {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => self.copied(member).map(Cow::Owned),
        }
    }

    /// A member's payload for as long as it is wanted, whatever becomes of the shard. Who takes many
    /// calls [`Shard::check_unchanged`] in front of each batch; copies are checked each.
    ///
    /// # Errors
    /// Where reading fails or the shard has changed.
    pub fn payload(&self, member: &Member) -> Result<Payload> {
        let range = extent(&self.handle, member)?;
        match self.handle.payload(range) {
            Some(payload) => Ok(payload),
            None => self.copied(member).map(Payload::copied),
        }
    }

    /// A member's payload, read and not mapped: should the shard change meanwhile, that is an error.
    ///
    /// # Errors
    /// As for [`Shard::source`].
    pub fn read(&self, member: &Member) -> Result<Vec<u8>> {
        extent(&self.handle, member)?;
        self.check_member(member)?;
        self.copied(member)
    }

    /// Errors where the shard is known by an index and no header of its own leads to the member.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt): the header is damaged, or the index is another shard's; and
    /// as for [`Shard::check_unchanged`].
    pub fn check_member(&self, member: &Member) -> Result<()> {
        let checked = self.check_unchanged().and_then(|()| match self.is_indexed {
            true => agreement::check(&self.handle, member),
            false => Ok(()),
        });
        checked.map_err(|error| error.with_member(member.name.as_str()))
    }

    fn copied(&self, member: &Member) -> Result<Vec<u8>> {
        let read = self.handle.read(member.offset, member.size);
        read.map_err(|error| error.with_member(member.name.as_str()))
    }

    /// A member to decode. It is read, never mapped: should the shard change meanwhile, that is an error.
    ///
    /// # Errors
    /// As for [`Shard::check_member`].
    pub fn source(&self, member: &Member) -> Result<Source<'_>> {
        extent(&self.handle, member)?;
        self.check_member(member)?;
        self.handle
            .section(&member.name, member.offset, member.size)
    }
}

/// Refuses members that an archive cannot have.
fn check(handle: &Handle, members: &[Member]) -> Result<()> {
    for member in members {
        if let Some(reason) = extended::refusal(&member.name) {
            let error = Error::unsupported(reason).with_member(member.name.as_str());
            return Err(error.with_source(handle.name()));
        }
        extent(handle, member)?;
    }
    Ok(())
}

/// Where the member's payload lies, which is within the file.
fn extent(handle: &Handle, member: &Member) -> Result<Range<usize>> {
    let end = member.offset.checked_add(member.size);
    match end.filter(|end| *end <= handle.size()) {
        Some(end) => Ok(member.offset as usize..end as usize),
        None => {
            let (size, offset) = (member.size, member.offset);
            let reason = format!("the shard has no member of {size} bytes at byte {offset}");
            let error = Error::invalid(reason).with_member(member.name.as_str());
            Err(error.with_source(handle.name()))
        }
    }
}

fn nothing_in(handle: &Handle) -> Error {
    Error::corrupt("the tar archive has no members").with_source(handle.name())
}
