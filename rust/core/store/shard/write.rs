//! Shards to write: the same samples give the same bytes, and half a shard never has a shard's name.
//!
//! A sample is checked before its first byte is written: what a reader would refuse, drop or give another
//! name is an error, and the shard goes on without it. An error of the file system is the end of the
//! shard: the temporary file is removed.

mod head;
mod output;
mod plan;
mod series;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Member, Row, index};
use crate::error::{Error, Result};
use crate::pool;
use head::BLOCK;
use output::{Output, check_free};
use plan::Planned;

pub use series::{Series, Split};

/// Digests of samples of so many bytes are taken by a second thread while the first one writes: a
/// digest takes as long as a copy into the page cache, and a thread much less.
const LARGE: u64 = 256 * 1024;

/// Bytes of one call to the system, which nothing stops: some milliseconds.
const WRITTEN_AT_ONCE: usize = 16 << 20;

/// What is made of a large sample, at the same time.
enum Part<'a> {
    Bytes(&'a mut Output),
    Rows,
}

/// How shards are written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Replace a shard that lies at the path.
    pub overwrite: bool,
    /// Have it on the disk before it has its name. A network file system may tell only then that it is full.
    pub fsync: bool,
    /// Write its index beside it. Without, one that lies there is removed.
    pub index: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            overwrite: false,
            fsync: false,
            index: true,
        }
    }
}

/// A shard that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where it lies, absolute.
    pub path: PathBuf,
    /// How many samples it holds.
    pub samples: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A shard that is being written; dropped before `finish`, it leaves nothing after.
struct Writer {
    path: PathBuf,
    output: Output,
    keys: HashSet<String>,
    rows: Vec<Row>,
    options: Options,
}

impl Writer {
    /// In a temporary file of the same folder. The path is absolute: the process may change its folder.
    fn create(path: &Path, options: Options) -> Result<Self> {
        check_free(path, options.overwrite)?;
        Ok(Self {
            path: path.to_owned(),
            output: Output::create(path)?,
            keys: HashSet::new(),
            rows: Vec::new(),
            options,
        })
    }

    /// Samples so far.
    fn samples(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Ends the archive, gives it its name, and writes its index.
    fn finish(self) -> Result<Written> {
        self.output.check_process()?;
        let samples = self.samples();
        let Options {
            overwrite,
            fsync,
            index,
        } = self.options;
        let forget = || index::remove(&self.path);
        let bytes = self.output.commit(overwrite, fsync, forget)?;
        if index {
            index::write(&self.path, &self.rows)?;
        }
        Ok(Written {
            path: self.path,
            samples,
            bytes,
        })
    }

    /// Bytes of the file, were it to end after these members.
    fn size_with(&self, members: &[Planned<'_>]) -> u64 {
        let more = members.iter().map(Planned::bytes).sum();
        Output::ended_at(self.output.at().saturating_add(more))
    }

    /// What can be wrong with a sample that is nothing of its own.
    fn check(&self, key: &str) -> Result<()> {
        self.output.check_process()?;
        if self.keys.contains(key) {
            let reason = format!("duplicate key {key:?}");
            return Err(self.named(Error::invalid(reason)));
        }
        Ok(())
    }

    /// Writes checked members. After an error the file is of no use.
    fn put(&mut self, key: &str, members: &[Planned<'_>]) -> Result<()> {
        let places = places(members, self.output.at());
        let bytes: u64 = places.iter().map(|place| place.size).sum();
        let rows = || -> Result<Vec<Row>> { members.iter().zip(&places).map(row).collect() };
        match self.options.index {
            false => append(&mut self.output, members)?,
            true if bytes < LARGE => {
                append(&mut self.output, members)?;
                self.rows.extend(rows()?);
            }
            true => {
                let parts = vec![Part::Bytes(&mut self.output), Part::Rows];
                let both = pool::each(parts, 2, |part| match part {
                    Part::Bytes(output) => append(output, members).map(|()| Vec::new()),
                    Part::Rows => rows(),
                });
                for rows in both {
                    self.rows.extend(rows?);
                }
            }
        }
        self.keys.insert(key.to_owned());
        Ok(())
    }

    fn named(&self, error: Error) -> Error {
        error.with_source(self.path.display().to_string())
    }
}

/// Where members will lie whose first header begins at `at`.
fn places(members: &[Planned<'_>], mut at: u64) -> Vec<Member> {
    let place = |member: &Planned<'_>| {
        let header_offset = at;
        at = at.saturating_add(member.bytes());
        Member {
            name: member.name.clone(),
            offset: header_offset + member.head.len() as u64,
            size: member.payload.len() as u64,
            header_offset,
        }
    };
    members.iter().map(place).collect()
}

fn append(output: &mut Output, members: &[Planned<'_>]) -> Result<()> {
    for member in members {
        output.write(&member.head)?;
        for piece in member.payload.chunks(WRITTEN_AT_ONCE) {
            crate::interrupt::check_now()?;
            output.write(piece)?;
        }
        output.pad(BLOCK as u64)?;
    }
    Ok(())
}

fn row((member, place): (&Planned<'_>, &Member)) -> Result<Row> {
    Row::new(place.clone(), member.payload)
}
