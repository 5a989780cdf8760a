//! An index as a Parquet file: row groups, the footer, and what makes it tell damage.
//!
//! Parquet's pages have no checksum that readers would have to look at, and its footer has none at all.
//! An index has the CRC-32 of each column of each row group in its footer, and that of the footer in the
//! four bytes in front of it, which no other reader looks at.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::row::Row;
use super::super::stamp::Stamp;
use super::column::{self, COLUMNS, Cells, Column, Kind};
use super::thrift::{Reader, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::guard::room;

const MAGIC: &[u8; 4] = b"PAR1";
/// Length and magic after the footer.
const TAIL: u64 = 8;
/// The footer's own checksum, in front of it.
const SEAL: u64 = 4;
/// Rows of a group, and bytes of names in it: a page may have 2 GiB.
const GROUP_ROWS: usize = 1 << 17;
const GROUP_BYTES: usize = 1 << 26;
/// A row group takes about a kilobyte of the footer: enough for a hundred million members.
const MAX_FOOTER: u64 = 1 << 20;
/// A member of a shard has a header of its own, so that a shard has room for so many.
const LEAST_MEMBER: u64 = 512;
/// A row holds a name twice, which the shard has once, and less than a header beside it.
const MOST_BYTES: (u64, u64) = (1 << 16, 4);

/// Versions that are read, with their columns; the first of them is written. One is what shards were
/// indexed by before remarks.
const VERSIONS: [(&str, usize); 2] = [("2", COLUMNS.len()), ("1", COLUMNS.len() - 1)];
const VERSION_KEY: &str = "ossicle.index.version";
const SIZE_KEY: &str = "ossicle.shard.size";
const MODIFIED_KEY: &str = "ossicle.shard.mtime_ns";
const CRC_KEY: &str = "ossicle.crc32";

/// The bytes of the index of a shard of this name.
pub(super) fn encode(rows: &[Row], shard: &str, stamp: Stamp) -> Vec<u8> {
    let [(version, columns), ..] = VERSIONS;
    encode_as(
        version,
        COLUMNS.get(..columns).unwrap_or(&COLUMNS),
        rows,
        shard,
        stamp,
    )
}

fn encode_as(
    version: &str,
    columns: &[Column],
    rows: &[Row],
    shard: &str,
    stamp: Stamp,
) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let (mut groups, mut crcs) = (Vec::new(), String::new());
    for group in grouped(rows) {
        let mut chunks = Vec::new();
        let first = out.len();
        for column in columns {
            let start = out.len();
            let data = column.write(group, shard, &mut out);
            let pages = out.get(start..).unwrap_or_default();
            crcs.push_str(&format!("{:08x}", crc32fast::hash(pages)));
            chunks.push(chunk(column, group.len(), start, data, pages.len()));
        }
        groups.push(Value::Struct(vec![
            (1, Value::List(chunks)),
            (2, long(out.len() - first)),
            (3, long(group.len())),
        ]));
    }
    let mut footer = Vec::new();
    footer_of(version, columns, rows.len(), groups, stamp, &crcs).write(&mut footer);
    out.extend(crc32fast::hash(&footer).to_le_bytes());
    out.extend_from_slice(&footer);
    out.extend((footer.len() as u32).to_le_bytes());
    out.extend(MAGIC);
    out
}

fn grouped(mut rest: &[Row]) -> impl Iterator<Item = &[Row]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |row: &&Row| {
            bytes += row.member.name.len();
            bytes <= GROUP_BYTES
        };
        let count = rest.iter().take(GROUP_ROWS).take_while(fits).count();
        let (group, behind) = rest.split_at_checked(count.max(1))?;
        rest = behind;
        Some(group)
    })
}

fn long(number: usize) -> Value {
    Value::I64(number as i64)
}

/// ColumnChunk and ColumnMetaData of parquet.thrift.
fn chunk(column: &Column, rows: usize, start: usize, data: usize, bytes: usize) -> Value {
    let mut facts = vec![
        (1, Value::I32(column.kind as i32)),
        (2, Value::List(column.encodings())),
        (3, Value::List(vec![Value::text(column.name)])),
        // Not compressed.
        (4, Value::I32(0)),
        (5, long(rows)),
        (6, long(bytes)),
        (7, long(bytes)),
        (9, long(data)),
    ];
    if data != start {
        facts.push((11, long(start)));
    }
    Value::Struct(vec![(2, long(0)), (3, Value::Struct(facts))])
}

/// FileMetaData of parquet.thrift.
fn footer_of(
    version: &str,
    columns: &[Column],
    rows: usize,
    groups: Vec<Value>,
    stamp: Stamp,
    crcs: &str,
) -> Value {
    let pair = |key: &str, value: &str| {
        Value::Struct(vec![(1, Value::text(key)), (2, Value::text(value))])
    };
    let pairs = vec![
        pair(VERSION_KEY, version),
        pair(SIZE_KEY, &stamp.size.to_string()),
        pair(MODIFIED_KEY, &stamp.modified.to_string()),
        pair(CRC_KEY, crcs),
    ];
    Value::Struct(vec![
        (1, Value::I32(1)),
        (2, schema(columns)),
        (3, long(rows)),
        (4, Value::List(groups)),
        (5, Value::List(pairs)),
        (6, Value::text("ossicle")),
    ])
}

/// SchemaElement of parquet.thrift: the root and the columns.
fn schema(columns: &[Column]) -> Value {
    let root = Value::Struct(vec![
        (4, Value::text("schema")),
        (5, Value::I32(columns.len() as i32)),
    ]);
    let element = |column: &Column| {
        let mut fields = vec![
            (1, Value::I32(column.kind as i32)),
            (3, Value::I32(column.is_optional.into())),
            (4, Value::text(column.name)),
        ];
        if column.kind == Kind::Text {
            // UTF8 of ConvertedType, STRING of LogicalType.
            fields.push((6, Value::I32(0)));
            let string = (1, Value::Struct(Vec::new()));
            fields.push((10, Value::Struct(vec![string])));
        }
        Value::Struct(fields)
    };
    Value::List(
        [root]
            .into_iter()
            .chain(columns.iter().map(element))
            .collect(),
    )
}

/// An index that was opened: its footer is whole, and one that we write.
pub(super) struct Table {
    pub(super) name: String,
    file: File,
    size: u64,
    version: &'static str,
    columns: &'static [Column],
    pub(super) stamp: Stamp,
    groups: Vec<Group>,
}

struct Group {
    rows: u64,
    chunks: Vec<Chunk>,
}

struct Chunk {
    start: u64,
    size: u64,
    crc: u32,
}

impl Table {
    /// Opens the index at `path` of a shard of `shard_size` bytes; `None` where there is no file.
    pub(super) fn open(path: &Path, shard_size: u64) -> Result<Option<Self>> {
        let name = path.display().to_string();
        let failed = |error| Error::io("open the index", error).with_source(name.as_str());
        // Not a pipe, whose opening would wait for a writer.
        let facts = match path.metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            facts => facts.map_err(failed)?,
        };
        if !facts.is_file() {
            return Err(Error::new(ErrorKind::Io, "not a regular file").with_source(name));
        }
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let table = Self::read(&name, file, size, shard_size);
        table.map(Some).map_err(|error| error.with_source(name))
    }

    fn read(name: &str, file: File, size: u64, shard_size: u64) -> Result<Self> {
        let (footer, end) = read_footer(&file, size)?;
        let foreign =
            || damaged("it was written by another program, or by another version of ossicle");
        let (version, columns) = read_version(&footer).ok_or_else(foreign)?;
        let stamp = read_stamp(&footer).ok_or_else(foreign)?;
        let groups = read_groups(&footer, columns.len(), end)
            .ok_or_else(|| damaged("its footer is damaged"))?;
        let rows = groups
            .iter()
            .fold(0u64, |rows, group| rows.saturating_add(group.rows));
        // Of an index of another size of shard nothing but the stamp is looked at.
        let most = MOST_BYTES
            .0
            .saturating_add(shard_size.saturating_mul(MOST_BYTES.1));
        if stamp.size == shard_size && (rows > shard_size / LEAST_MEMBER || size > most) {
            return Err(damaged("it is larger than an index of this shard can be"));
        }
        Ok(Self {
            name: name.to_owned(),
            file,
            size,
            version,
            columns,
            stamp,
            groups,
        })
    }

    /// Hands the cells of the columns of each row group to `take`, with the number of rows.
    pub(super) fn each_group(
        &self,
        columns: &[&str],
        mut take: impl FnMut(u64, &mut [Cells<'_>]) -> Option<()>,
    ) -> Result<()> {
        for group in &self.groups {
            let mut pages = Vec::new();
            for (column, chunk) in self.columns.iter().zip(&group.chunks) {
                if columns.contains(&column.name) {
                    pages.push((column, self.pages(chunk)?));
                }
            }
            let off = || damaged("its pages are damaged").with_source(self.name.as_str());
            let mut cells = Vec::new();
            for (column, pages) in &pages {
                cells.push(Cells::new(**column, pages, group.rows).ok_or_else(off)?);
            }
            take(group.rows, &mut cells).ok_or_else(off)?;
            if !cells.iter().all(Cells::is_done) {
                return Err(off());
            }
        }
        Ok(())
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|one| one.name == column)
    }

    /// That it is what is written for these rows, to the byte: other readers of Parquet get to see nothing
    /// that was made to mislead them.
    pub(super) fn check(&self, rows: &[Row]) -> Result<()> {
        let shard = self.shard()?;
        let expected = encode_as(self.version, self.columns, rows, &shard, self.stamp);
        let named = |error: Error| error.with_source(self.name.as_str());
        match read_at(&self.file, 0, self.size).map_err(named)? == expected {
            true => Ok(()),
            false => Err(named(damaged("it differs from what ossicle writes"))),
        }
    }

    /// The name of the shard, which stands in the first column.
    fn shard(&self) -> Result<String> {
        let first = self.groups.first().and_then(|group| group.chunks.first());
        match first {
            None => Ok(String::new()),
            Some(chunk) => column::constant(&self.pages(chunk)?)
                .ok_or_else(|| damaged("its pages are damaged").with_source(self.name.as_str())),
        }
    }

    fn pages(&self, chunk: &Chunk) -> Result<Vec<u8>> {
        let named = |error: Error| error.with_source(self.name.as_str()).at_byte(chunk.start);
        let pages = read_at(&self.file, chunk.start, chunk.size).map_err(named)?;
        match crc32fast::hash(&pages) == chunk.crc {
            true => Ok(pages),
            false => Err(named(damaged("a checksum fails"))),
        }
    }
}

/// Why an index can be neither believed nor called out of date.
pub(super) fn damaged(why: &str) -> Error {
    Error::corrupt(format!("the index cannot be read: {why}"))
}

fn read_at(file: &File, start: u64, size: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    room::resize(&mut bytes, size, 0)?;
    let read = file.read_exact_at(&mut bytes, start);
    read.map_err(|error| Error::io("read the index", error))?;
    Ok(bytes)
}

/// The footer, and where the pages end.
fn read_footer(file: &File, size: u64) -> Result<(Value, u64)> {
    let short = || damaged("it is cut short");
    let tail = read_at(file, size.checked_sub(TAIL).ok_or_else(short)?, TAIL)?;
    let (length, magic) = tail.split_first_chunk().ok_or_else(short)?;
    if magic != MAGIC || read_at(file, 0, MAGIC.len() as u64)? != MAGIC {
        return Err(damaged("it is not a Parquet file"));
    }
    let length = u64::from(u32::from_le_bytes(*length));
    let start = size.checked_sub(TAIL + length + SEAL).ok_or_else(short)?;
    if length > MAX_FOOTER {
        return Err(damaged("its footer is too long"));
    }
    let sealed = read_at(file, start, SEAL + length)?;
    let (seal, footer) = sealed.split_first_chunk().ok_or_else(short)?;
    if crc32fast::hash(footer) != u32::from_le_bytes(*seal) {
        return Err(damaged("the checksum of its footer fails").at_byte(start));
    }
    let mut reader = Reader(footer);
    let value = reader.read_struct().filter(|_| reader.0.is_empty());
    let value = value.ok_or_else(|| damaged("its footer is damaged").at_byte(start))?;
    Ok((value, start))
}

fn fact<'a>(footer: &'a Value, key: &str) -> Option<&'a str> {
    let pairs = footer.list(5)?;
    let found = pairs.iter().find(|pair| pair.str(1) == Some(key))?;
    found.str(2)
}

/// Of the versions the one whose name and columns it has.
fn read_version(footer: &Value) -> Option<(&'static str, &'static [Column])> {
    static ALL: [Column; COLUMNS.len()] = COLUMNS;
    let named = fact(footer, VERSION_KEY)?;
    let (version, count) = VERSIONS
        .into_iter()
        .find(|(version, _)| *version == named)?;
    let columns = ALL.get(..count)?;
    (footer.field(2) == Some(&schema(columns))).then_some((version, columns))
}

fn read_stamp(footer: &Value) -> Option<Stamp> {
    Some(Stamp {
        size: fact(footer, SIZE_KEY)?.parse().ok()?,
        modified: fact(footer, MODIFIED_KEY)?.parse().ok()?,
    })
}

/// The row groups, whose columns lie end to end from the magic to `pages_end`: all that is
/// read of an index is no more than the file.
fn read_groups(footer: &Value, columns: usize, pages_end: u64) -> Option<Vec<Group>> {
    let mut crcs = fact(footer, CRC_KEY)?.as_bytes().chunks_exact(8);
    let mut crc = || u32::from_str_radix(std::str::from_utf8(crcs.next()?).ok()?, 16).ok();
    let (mut groups, mut end, mut rows) = (Vec::new(), MAGIC.len() as u64, 0u64);
    for group in footer.list(4)? {
        let mut chunks = Vec::new();
        for chunk in group.list(1)? {
            let facts = chunk.field(3)?;
            let start = facts.number(11).or_else(|| facts.number(9))?;
            let (size, crc) = (facts.number(7)?, crc()?);
            if start != end {
                return None;
            }
            end = end.checked_add(size)?;
            chunks.push(Chunk { start, size, crc });
        }
        let count = group.number(3)?;
        rows = rows.checked_add(count)?;
        if chunks.len() != columns || count == 0 {
            return None;
        }
        groups.push(Group {
            rows: count,
            chunks,
        });
    }
    (end == pages_end && footer.number(3) == Some(rows)).then_some(groups)
}
