//! The columns of an index, and their cells as pages of a Parquet file.
//!
//! Parquet's specification ("Data Pages", "Encodings": PLAIN, RLE_DICTIONARY) leaves many ways to write a
//! column. An index has one page a column and row group, not compressed, so that what opening needs is
//! read as it lies there: half of an index is digests, which no compression makes smaller.

use std::borrow::Cow;

use super::super::group::split_name;
use super::super::row::Row;
use super::thrift::{Reader, Value, write_varint};
use crate::guard::remark::Remark;

/// Of `Type` in parquet.thrift, the kinds of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    I32 = 1,
    I64 = 2,
    Text = 6,
}

/// One column of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) is_optional: bool,
    /// Whether all cells of it are one text, which stands in a dictionary.
    pub(super) is_constant: bool,
}

const fn required(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        is_optional: false,
        is_constant: false,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Column {
    Column {
        is_optional: true,
        ..required(name, kind)
    }
}

/// In their order in the file. The last one is missing from indexes of the first version.
pub(super) const COLUMNS: [Column; 16] = [
    Column {
        is_constant: true,
        ..required("shard", Kind::Text)
    },
    required("key", Kind::Text),
    required("extension", Kind::Text),
    required("offset", Kind::I64),
    required("size", Kind::I64),
    required("sha256", Kind::Text),
    optional("codec", Kind::Text),
    optional("sample_rate", Kind::I32),
    optional("channels", Kind::I32),
    optional("frames", Kind::I64),
    required("name", Kind::Text),
    required("header_offset", Kind::I64),
    optional("error", Kind::Text),
    optional("container", Kind::Text),
    optional("bits_per_sample", Kind::I32),
    optional("remarks", Kind::Text),
];

/// What stands in one row of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    I32(i32),
    I64(i64),
    Text(Cow<'a, str>),
}

impl Cell<'_> {
    /// A number that is not negative.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::I32(value) => u64::try_from(*value).ok(),
            Self::I64(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }
}

/// What the column says of the member.
pub(super) fn cell<'a>(row: &'a Row, shard: &'a str, column: &Column) -> Cell<'a> {
    let text = |text: &'a str| Cell::Text(Cow::Borrowed(text));
    let long = |number: u64| Cell::I64(i64::try_from(number).unwrap_or(i64::MAX));
    let short = |number: u32| Cell::I32(i32::try_from(number).unwrap_or(i32::MAX));
    let member = &row.member;
    match (column.name, &row.audio) {
        ("shard", _) => text(shard),
        ("key", _) => text(split_name(&member.name).0),
        ("extension", _) => Cell::Text(Cow::Owned(split_name(&member.name).1)),
        ("offset", _) => long(member.offset),
        ("size", _) => long(member.size),
        ("sha256", _) => Cell::Text(Cow::Owned(hex(&row.sha256))),
        ("name", _) => text(&member.name),
        ("header_offset", _) => long(member.header_offset),
        ("error", _) => row.error.as_deref().map_or(Cell::Null, text),
        ("codec", Some(audio)) => text(&audio.codec),
        ("sample_rate", Some(audio)) => short(audio.sample_rate),
        ("channels", Some(audio)) => short(audio.channels),
        ("frames", Some(audio)) => long(audio.frames),
        ("container", Some(audio)) => text(&audio.container),
        ("bits_per_sample", Some(audio)) => audio.bits_per_sample.map_or(Cell::Null, short),
        ("remarks", Some(audio)) if !audio.remarks.is_empty() => {
            Cell::Text(Cow::Owned(lines(&audio.remarks)))
        }
        _ => Cell::Null,
    }
}

/// A line for each remark, as it is told.
fn lines(remarks: &[Remark]) -> String {
    let told: Vec<String> = remarks.iter().map(Remark::to_string).collect();
    told.join("\n")
}

/// The remarks that [`lines`] were made of.
pub(super) fn remarks(lines: &str) -> Vec<Remark> {
    let one = |line: &str| {
        let parts = line
            .strip_suffix(')')
            .and_then(|line| line.rsplit_once(" (byte "));
        let placed = parts.and_then(|(reason, byte)| Some((reason, byte.parse().ok()?)));
        let (reason, byte_offset) = match placed {
            Some((reason, byte)) => (reason, Some(byte)),
            None => (line, None),
        };
        Remark {
            reason: reason.to_owned(),
            byte_offset,
        }
    };
    lines.split('\n').map(one).collect()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 15)];
    bytes.iter().flat_map(digits).collect()
}

// Of parquet.thrift: PageType, Encoding.
const DATA_PAGE: i32 = 0;
const DICTIONARY_PAGE: i32 = 2;
const PLAIN: i32 = 0;
const RLE: i32 = 3;
const RLE_DICTIONARY: i32 = 8;

impl Column {
    /// Of `Encoding`, those that its pages have.
    pub(super) fn encodings(&self) -> Vec<Value> {
        let encodings = match (self.is_constant, self.is_optional) {
            (true, _) => vec![PLAIN, RLE_DICTIONARY],
            (_, true) => vec![PLAIN, RLE],
            _ => vec![PLAIN],
        };
        encodings.into_iter().map(Value::I32).collect()
    }

    /// Appends the pages of the column; gives where the data page begins.
    pub(super) fn write(&self, rows: &[Row], shard: &str, out: &mut Vec<u8>) -> usize {
        if self.is_constant {
            return write_constant(shard, rows.len(), out);
        }
        let (mut levels, mut values) = (vec![0u8; rows.len().div_ceil(8)], Vec::new());
        for (at, row) in rows.iter().enumerate() {
            let cell = cell(row, shard, self);
            if cell != Cell::Null
                && let Some(level) = levels.get_mut(at / 8)
            {
                *level |= 1 << (at % 8);
            }
            write_plain(&cell, &mut values);
        }
        let mut body = Vec::new();
        if self.is_optional {
            let mut run = Vec::new();
            write_varint((levels.len() as u64) << 1 | 1, &mut run);
            run.extend(levels);
            body.extend((run.len() as u32).to_le_bytes());
            body.extend(run);
        }
        body.extend(values);
        write_page(DATA_PAGE, rows.len(), PLAIN, &body, out)
    }
}

/// The text as a dictionary, and a run of its number.
fn write_constant(text: &str, count: usize, out: &mut Vec<u8>) -> usize {
    let mut entry = Vec::new();
    write_plain(&Cell::Text(Cow::Borrowed(text)), &mut entry);
    write_page(DICTIONARY_PAGE, 1, PLAIN, &entry, out);
    // Numbers of one bit: one run, `count` times 0.
    let mut body = vec![1];
    write_varint((count as u64) << 1, &mut body);
    body.push(0);
    write_page(DATA_PAGE, count, RLE_DICTIONARY, &body, out)
}

/// The text of a constant column.
pub(super) fn constant(pages: &[u8]) -> Option<String> {
    let mut reader = Reader(pages);
    reader.read_struct()?;
    let length = u32::from_le_bytes(*reader.take(4)?.first_chunk()?);
    String::from_utf8(reader.take(length as usize)?.to_vec()).ok()
}

fn write_plain(cell: &Cell<'_>, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => {}
        Cell::I32(value) => out.extend(value.to_le_bytes()),
        Cell::I64(value) => out.extend(value.to_le_bytes()),
        Cell::Text(text) => {
            out.extend((text.len() as u32).to_le_bytes());
            out.extend(text.as_bytes());
        }
    }
}

/// Gives where the page begins.
fn write_page(kind: i32, count: usize, encoding: i32, body: &[u8], out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let size = Value::I32(body.len() as i32);
    let (count, encoding) = (Value::I32(count as i32), Value::I32(encoding));
    let described = match kind {
        DICTIONARY_PAGE => (7, Value::Struct(vec![(1, count), (2, encoding)])),
        _ => {
            let levels = Value::I32(RLE);
            let fields = vec![(1, count), (2, encoding), (3, levels.clone()), (4, levels)];
            (5, Value::Struct(fields))
        }
    };
    let header = vec![
        (1, Value::I32(kind)),
        (2, size.clone()),
        (3, size),
        described,
    ];
    Value::Struct(header).write(out);
    out.extend_from_slice(body);
    start
}

/// The cells of a column in one row group; `None` from [`Cells::next`] means that they are damaged.
pub(super) struct Cells<'a> {
    column: Column,
    levels: Option<&'a [u8]>,
    at: usize,
    values: Reader<'a>,
}

impl<'a> Cells<'a> {
    /// Of the column's pages, which are those that [`Column::write`] makes. Not for constant columns.
    pub(super) fn new(column: Column, pages: &'a [u8], count: u64) -> Option<Self> {
        let mut values = Reader(pages);
        let header = values.read_struct()?;
        let described = header.field(5)?;
        let is_ours = header.number(1) == Some(DATA_PAGE as u64)
            && header.number(3) == Some(values.0.len() as u64)
            && described.number(1) == Some(count)
            && described.number(2) == Some(PLAIN as u64);
        if !is_ours {
            return None;
        }
        let levels = match column.is_optional {
            true => Some(read_levels(&mut values, count)?),
            false => None,
        };
        Some(Self {
            column,
            levels,
            at: 0,
            values,
        })
    }

    pub(super) fn next(&mut self) -> Option<Cell<'a>> {
        let at = self.at;
        self.at += 1;
        if let Some(levels) = self.levels
            && levels.get(at / 8)? >> (at % 8) & 1 == 0
        {
            return Some(Cell::Null);
        }
        Some(match self.column.kind {
            Kind::I32 => Cell::I32(i32::from_le_bytes(*self.values.take(4)?.first_chunk()?)),
            Kind::I64 => Cell::I64(i64::from_le_bytes(*self.values.take(8)?.first_chunk()?)),
            Kind::Text => Cell::Text(Cow::Borrowed(self.text()?)),
        })
    }

    /// The next cell of a column of numbers.
    pub(super) fn number(&mut self) -> Option<u64> {
        self.next()?.number()
    }

    /// All cells of a column of long numbers that all are there. They are not negative.
    pub(super) fn longs(&mut self) -> Option<impl Iterator<Item = u64> + use<'a>> {
        let (longs, rest) = self.values.0.as_chunks::<8>();
        self.values.0 = rest;
        let is_long = self.levels.is_none() && self.column.kind == Kind::I64;
        is_long.then(|| longs.iter().map(|long| u64::from_le_bytes(*long)))
    }

    /// The next cell of a column of texts that all are there.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = u32::from_le_bytes(*self.values.take(4)?.first_chunk()?);
        std::str::from_utf8(self.values.take(length as usize)?).ok()
    }

    /// The next cell, where there is a text.
    pub(super) fn text_or_null(&mut self) -> Option<Option<&'a str>> {
        match self.next()? {
            Cell::Null => Some(None),
            Cell::Text(Cow::Borrowed(text)) => Some(Some(text)),
            _ => None,
        }
    }

    /// The next cell, where there is a number.
    pub(super) fn number_or_null(&mut self) -> Option<Option<u64>> {
        match self.next()? {
            Cell::Null => Some(None),
            cell => cell.number().map(Some),
        }
    }

    /// Whether all is read.
    pub(super) fn is_done(&self) -> bool {
        self.values.0.is_empty()
    }
}

/// One bit for each row: whether there is a cell. As one run of packed bits.
fn read_levels<'a>(from: &mut Reader<'a>, count: u64) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(*from.take(4)?.first_chunk()?);
    let mut run = Reader(from.take(length as usize)?);
    let bytes = count.div_ceil(8);
    (run.varint()? == bytes << 1 | 1 && run.0.len() as u64 == bytes).then_some(run.0)
}
