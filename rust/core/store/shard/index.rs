//! The index of a shard: a Parquet file beside it with one row a member.
//!
//! It says where members lie, so that opening a shard reads no header; and of each its digest and what
//! audio it holds, so that it is the shard's manifest too. It is used only while size and time of
//! modification of the shard are those that it was made for, and is made anew otherwise. It is never
//! trusted beyond that: it has checksums, and what it says of places has to lie in the shard.

mod column;
mod make;
mod offsets;
mod table;
mod thrift;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Member;
use super::access::Handle;
use super::row::Row;
use super::stamp::Stamp;
use crate::bytes::temp::Temp;
use crate::error::{Error, ErrorKind, Result};
use crate::info::AudioInfo;
use column::Cells;
pub use make::{Made, make};
use table::{Table, damaged};

/// The index that belongs to `shard`: its name with `.index.parquet` after it.
pub fn path_of(shard: &Path) -> PathBuf {
    let mut path = shard.as_os_str().to_owned();
    path.push(".index.parquet");
    path.into()
}

/// Writes the index of `shard`, for the shard as it is now: to a file of another name, then renamed.
/// The same rows and the same shard give the same bytes; a copy of the shard differs in its time.
///
/// # Errors
/// [`Io`](ErrorKind::Io) where it cannot be written; then what was there before is there still.
pub fn write(shard: &Path, rows: &[Row]) -> Result<PathBuf> {
    let facts = shard.metadata().map_err(|error| {
        Error::io("look at the shard", error).with_source(shard.display().to_string())
    })?;
    write_for(shard, Stamp::of(&facts), rows)
}

/// Removes the index of `shard`, if there is one.
pub(super) fn remove(shard: &Path) -> io::Result<()> {
    match fs::remove_file(path_of(shard)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_for(shard: &Path, stamp: Stamp, rows: &[Row]) -> Result<PathBuf> {
    let path = path_of(shard);
    let name = shard.file_name().unwrap_or_default().to_string_lossy();
    let bytes = table::encode(rows, &name, stamp);
    written(&path, &name, &bytes).map_err(|error| error.with_source(path.display().to_string()))?;
    Ok(path)
}

/// The temporary file is called as the shard's own: its next writer removes what a killed one left.
fn written(path: &Path, shard: &str, bytes: &[u8]) -> Result<()> {
    let failed = |error| Error::io("write the index", error);
    let mut temp = Temp::create(path.parent().unwrap_or(Path::new("")), shard)?;
    temp.file().write_all(bytes).map_err(failed)?;
    temp.file().sync_all().map_err(failed)?;
    temp.rename_to(path, false)
}

/// The rows of the index of `shard`, all checksums compared; `None` where it has none.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) where it is damaged, or a file of another kind;
/// [`InvalidArgument`](ErrorKind::InvalidArgument) where it is stale: the shard has another size or time
/// of modification than the one that it was made for; [`Io`](ErrorKind::Io) where either cannot be read.
pub fn read(shard: &Path) -> Result<Option<Vec<Row>>> {
    let facts = shard.metadata().map_err(|error| {
        Error::io("look at the shard", error).with_source(shard.display().to_string())
    })?;
    let stamp = Stamp::of(&facts);
    match opened(shard, stamp)? {
        None => Ok(None),
        Some(table) if table.stamp == stamp => whole(&table).map(Some),
        Some(_) => Err(stale(shard)),
    }
}

/// The rows of the index of `shard`, fresh or not, and what tells which shard it was made for: what a copy,
/// whose time is another, and a damaged shard have to hold. `None` where it has none.
///
/// # Errors
/// As [`read`], but for stale indexes.
pub(super) fn recorded(shard: &Path) -> Result<Option<(Stamp, Vec<Row>)>> {
    let table = Table::open(&path_of(shard), u64::MAX)?;
    let rows = |table: Table| Ok((table.stamp, whole(&table)?));
    table.map(rows).transpose()
}

/// [`read`], but that a stale index is none.
fn fresh(shard: &Path, stamp: Stamp) -> Result<Option<Vec<Row>>> {
    let table = opened(shard, stamp)?.filter(|table| table.stamp == stamp);
    table.as_ref().map(whole).transpose()
}

fn opened(shard: &Path, stamp: Stamp) -> Result<Option<Table>> {
    Table::open(&path_of(shard), stamp.size)
}

fn whole(table: &Table) -> Result<Vec<Row>> {
    let rows = rows(table).map_err(|error| error.with_source(table.name.as_str()))?;
    table.check(&rows)?;
    Ok(rows)
}

fn stale(shard: &Path) -> Error {
    let reason = "the index is stale: the shard has changed since it was made";
    let error = Error::new(ErrorKind::InvalidArgument, reason);
    error.with_source(path_of(shard).display().to_string())
}

/// What opening a shard needs of its index; `None` where there is none that is fresh and whole.
pub(super) fn members(path: &Path, handle: &Handle) -> Option<Vec<Member>> {
    let stamp = handle.stamp();
    let table = opened(path, stamp).ok().flatten()?;
    (table.stamp == stamp).then_some(())?;
    let mut members = Vec::new();
    let take = |rows: u64, cells: &mut [Cells<'_>]| {
        let [offset, size, name, header_offset] = cells else {
            return None;
        };
        let places = offset
            .longs()?
            .zip(size.longs()?)
            .zip(header_offset.longs()?);
        members.try_reserve(places.size_hint().0).ok()?;
        let before = members.len();
        for ((offset, size), header_offset) in places {
            members.push(Member {
                name: name.text()?.to_owned(),
                offset,
                size,
                header_offset,
            });
        }
        if (members.len() - before) as u64 != rows {
            return None;
        }
        Some(())
    };
    table
        .each_group(&["offset", "size", "name", "header_offset"], take)
        .ok()?;
    is_possible(members.iter(), stamp.size).then_some(members)
}

/// Whether the members lie end to end in a shard of this size, each after its header.
fn is_possible<'a>(members: impl Iterator<Item = &'a Member>, size: u64) -> bool {
    const BLOCK: u64 = 512;
    let mut end = 0;
    for member in members {
        let is_behind = end <= member.header_offset;
        let room = member.offset.checked_sub(member.header_offset);
        let is_led = room.is_some_and(|room| room >= BLOCK);
        match member.offset.checked_add(member.size) {
            Some(next) if is_behind && is_led && next <= size => end = next,
            _ => return false,
        }
    }
    true
}

fn rows(table: &Table) -> Result<Vec<Row>> {
    const NEEDED: [&str; 13] = [
        "offset",
        "size",
        "sha256",
        "codec",
        "sample_rate",
        "channels",
        "frames",
        "name",
        "header_offset",
        "error",
        "container",
        "bits_per_sample",
        "remarks",
    ];
    // Of the first version there are no remarks.
    let needed = match table.has("remarks") {
        true => &NEEDED[..],
        false => NEEDED.split_last().map_or(&[][..], |(_, others)| others),
    };
    let mut rows = Vec::new();
    table.each_group(needed, |count, cells| {
        for _ in 0..count {
            rows.push(row(cells)?);
        }
        Some(())
    })?;
    match is_possible(rows.iter().map(|row: &Row| &row.member), table.stamp.size) {
        true => Ok(rows),
        false => Err(damaged("its members do not fit into the shard")),
    }
}

fn row(cells: &mut [Cells<'_>]) -> Option<Row> {
    let [
        offset,
        size,
        sha256,
        codec,
        sample_rate,
        channels,
        frames,
        name,
        header_offset,
        error,
        container,
        bits_per_sample,
        remarks @ ..,
    ] = cells
    else {
        return None;
    };
    let remarks = match remarks.first_mut() {
        Some(cells) => cells.text_or_null()?,
        None => None,
    };
    let sample_rate = sample_rate.number_or_null()?;
    let (channels, frames) = (channels.number_or_null()?, frames.number_or_null()?);
    let bits = bits_per_sample.number_or_null()?;
    let (codec, container) = (codec.text_or_null()?, container.text_or_null()?);
    let audio = match codec {
        None => None,
        Some(codec) => Some(AudioInfo {
            sample_rate: sample_rate?.try_into().ok()?,
            channels: channels?.try_into().ok()?,
            frames: frames?,
            container: container?.to_owned().into(),
            codec: codec.to_owned().into(),
            bits_per_sample: bits.and_then(|bits| bits.try_into().ok()),
            remarks: remarks.map(column::remarks).unwrap_or_default(),
        }),
    };
    let member = Member {
        offset: offset.number()?,
        size: size.number()?,
        name: name.text()?.to_owned(),
        header_offset: header_offset.number()?,
    };
    Some(Row {
        member,
        sha256: unhex(sha256.text()?)?,
        audio,
        error: error.text_or_null()?.map(str::to_owned),
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let (mut bytes, pairs) = ([0; 32], text.as_bytes().as_chunks::<2>().0);
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
