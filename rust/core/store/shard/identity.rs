//! What tells a shard from another one under its path, while it is open and when it is opened anew.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;

use super::Member;
use crate::error::{Error, Result};

/// What a file system says of a file, as far as another content or another file shows in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) size: u64,
    /// Seconds and nanoseconds.
    pub(super) modified: (i64, i64),
    /// Likewise. No call sets this time: who writes and puts the other one back is seen by it.
    changed: (i64, i64),
    inode: u64,
    /// Links, mode and owner: where they are others, they are why the file was changed.
    attributes: (u64, u32, u32, u32),
}

impl Facts {
    pub(super) fn of(found: &Metadata) -> Self {
        Self {
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
            inode: found.ino(),
            attributes: (found.nlink(), found.mode(), found.uid(), found.gid()),
        }
    }

    /// What has become of the file, in words; `None` where its content is as it was.
    pub(super) fn difference(&self, now: &Self) -> Option<String> {
        if self.size != now.size {
            return Some(format!("it has {} bytes, and had {}", now.size, self.size));
        }
        if self.inode != now.inode {
            return Some("it was replaced".to_owned());
        }
        let is_explained = self.attributes != now.attributes || self.changed == now.changed;
        match self.modified == now.modified && is_explained {
            true => None,
            false => Some("it was written to".to_owned()),
        }
    }

    /// Whether a rename is all that may have happened: it changes nothing but the time of change.
    pub(super) fn may_be_renamed(&self, now: &Self) -> bool {
        let renamed = Self {
            changed: now.changed,
            ..*self
        };
        renamed == *now
    }
}

pub(super) fn has_changed(what: &str) -> io::Error {
    let reason = format!("the shard has changed since it was opened: {what}");
    io::Error::other(reason)
}

/// A shard as it was when it was first opened, to be compared when it is opened anew: in another process,
/// or after it was closed. As text it can be kept and sent.
///
/// On the machine that took it, size, both times and inode have to be the same. On another one, whose
/// disk may hold a copy of the shard, its size and its members have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    facts: Facts,
    machine: String,
    layout: u32,
}

impl Identity {
    pub(super) fn new(facts: Facts, members: &[Member]) -> Self {
        Self {
            facts,
            machine: machine(),
            layout: layout(members),
        }
    }

    /// Compares the file at `path` before it is opened as a shard: one that was cut short is a changed one,
    /// not a damaged one.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where it is not there, or another one.
    pub fn check(&self, path: &Path) -> Result<()> {
        let named =
            |error| Error::io("open the shard", error).with_source(path.display().to_string());
        let now = Facts::of(&path.metadata().map_err(named)?);
        self.difference(&now)
            .map_or(Ok(()), |what| Err(named(has_changed(&what))))
    }

    /// Whether it was taken on this machine, since it was started.
    pub(super) fn is_near(&self) -> bool {
        self.machine == machine()
    }

    /// What of the file is another, in words.
    pub(super) fn difference(&self, now: &Facts) -> Option<String> {
        let near = if self.is_near() {
            self.facts
        } else {
            Facts {
                size: self.facts.size,
                ..*now
            }
        };
        near.difference(now)
    }

    pub(super) fn has_members(&self, members: &[Member]) -> bool {
        self.layout == layout(members)
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Facts {
            size,
            modified,
            changed,
            inode,
            attributes: (links, mode, user, group),
        } = self.facts;
        let (modified, changed) = (
            format!("{} {}", modified.0, modified.1),
            format!("{} {}", changed.0, changed.1),
        );
        let attributes = format!("{links} {mode} {user} {group}");
        let (layout, machine) = (self.layout, &self.machine);
        write!(
            f,
            "{size} {modified} {changed} {inode} {attributes} {layout} {machine}"
        )
    }
}

impl FromStr for Identity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.splitn(12, ' ');
        parse(&mut words).ok_or_else(|| Error::invalid("the text is not the identity of a shard"))
    }
}

fn parse<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Identity> {
    fn number<'a, T: FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Option<T> {
        words.next()?.parse().ok()
    }
    let facts = Facts {
        size: number(words)?,
        modified: (number(words)?, number(words)?),
        changed: (number(words)?, number(words)?),
        inode: number(words)?,
        attributes: (
            number(words)?,
            number(words)?,
            number(words)?,
            number(words)?,
        ),
    };
    Some(Identity {
        facts,
        layout: number(words)?,
        machine: words.next()?.to_owned(),
    })
}

/// This machine since it was started: inodes and times of change mean nothing to another. Where the system
/// does not tell, all are taken for one.
fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    boot.trim().to_owned()
}

/// A checksum of where all members lie and what they are called.
fn layout(members: &[Member]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for member in members {
        crc.update(&member.offset.to_le_bytes());
        crc.update(&member.size.to_le_bytes());
        crc.update(member.name.as_bytes());
    }
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_from_its_text() {
        let facts = Facts {
            size: 1,
            modified: (-2, 3),
            changed: (4, 5),
            inode: u64::MAX,
            attributes: (6, 7, 8, 9),
        };
        let identity = Identity::new(facts, &[]);
        assert_eq!(
            identity.to_string().parse::<Identity>().ok(),
            Some(identity)
        );
        for wrong in ["", "1 2 3", "a b c d e f g h i j k l"] {
            assert!(wrong.parse::<Identity>().is_err(), "{wrong}");
        }
    }
}
