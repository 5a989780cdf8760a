//! One float32 array and its label in an uncompressed `.npz`, written so that reading is comparing.
//!
//! An entry is a ZIP file of two stored members: `meta.json`, which echoes the label (the key, the
//! pipeline that made the array) with shape and checksum, and the array as `<name>.npy`, payload on a
//! 64-byte boundary. `numpy.load` reads it.
//!
//! Every byte outside the payload is a function of label, shape and checksum. A reader therefore
//! learns those two, renders the bytes again and compares: there is no ZIP parser that a damaged file
//! could mislead, and nothing in the file goes unchecked. Files that other programs wrote have no
//! such label and are refused.
//!
//! Formats: PKWARE APPNOTE 6.3 (4.3.7, 4.3.12, 4.3.16) and NEP 1 (`.npy` version 1.0).
#![deny(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use memmap2::Mmap;

use crate::{Error, ErrorKind, Result, map};

/// As many dimensions as NumPy 1 had; it also bounds the framing.
const MAX_DIMS: usize = 32;
/// What is read to learn shape and checksum: above the longest label that `Label::check` lets through.
const HEAD_BYTES: usize = 4096;
/// The longest label, in bytes of JSON.
const MAX_LABEL: usize = 1024;
/// Payload read and summed at a time: small enough to be summed from the second-level cache.
const PIECE_BYTES: usize = 128 * 1024;
/// Where the payload starts in the file is a multiple of this.
const ALIGNMENT: usize = 64;
const META_NAME: &str = "meta.json";
const LOCAL_HEADER_BYTES: usize = 30;
const SAMPLE_BYTES: usize = size_of::<f32>();
const DESCR: &str = if cfg!(target_endian = "little") {
    "<f4"
} else {
    ">f4"
};

/// What an entry says about itself, and what a reader insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label<'a> {
    /// The array's name: `numpy.load(path)[name]`.
    pub array: &'a str,
    /// The whole identity of what is stored.
    pub key: &'a str,
    /// The version of the code that made the array.
    pub pipeline: &'a str,
}

/// An array read back, in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its elements.
    pub samples: Vec<f32>,
}

/// An array left in its file: a read-only view, checked once when it was opened.
#[derive(Debug)]
pub struct View {
    shape: Vec<usize>,
    map: Mmap,
    start: usize,
    bytes: usize,
}

/// What a reader must learn from the file; all else follows.
#[derive(Debug)]
struct Facts {
    shape: Vec<usize>,
    crc: u32,
}

/// The bytes around the payload.
struct Frame {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// One file inside the ZIP.
struct Member {
    name: String,
    crc: u32,
    size: u32,
    offset: u32,
}

/// An entry whose framing has been found right; the payload has not been looked at.
struct Opened {
    facts: Facts,
    start: usize,
    bytes: usize,
    /// The checksum so far: over the array's `.npy` header.
    sum: crc32fast::Hasher,
}

impl Label<'_> {
    /// The JSON up to the shape: the part that a reader knows before it reads.
    fn opening(&self) -> String {
        let Self {
            array,
            key,
            pipeline,
        } = self;
        format!(
            "{{\"format\":1,\"key\":\"{key}\",\"pipeline\":\"{pipeline}\",\"array\":\"{array}\",\
             \"dtype\":\"{DESCR}\",\"shape\":["
        )
    }

    /// Refuses what would need escapes in JSON or in a ZIP name.
    fn check(&self) -> Result<()> {
        let plain = |b: u8| (b' '..=b'~').contains(&b) && !matches!(b, b'"' | b'\\' | b'/');
        let all = [self.array, self.key, self.pipeline];
        if all.iter().any(|text| !text.bytes().all(plain)) || self.opening().len() > MAX_LABEL {
            return Err(Error::invalid(
                "a label is at most 1 KiB of printable ASCII without quotes and slashes",
            ));
        }
        Ok(())
    }
}

impl Facts {
    fn json_end(&self) -> String {
        format!("{}],\"crc32\":\"{:08x}\"}}", join(&self.shape), self.crc)
    }

    /// Finds shape and checksum behind the expected opening; the caller compares the rest.
    fn learn(head: &[u8], label: &Label) -> Option<Self> {
        let json = head.get(LOCAL_HEADER_BYTES + META_NAME.len()..)?;
        let rest = json.strip_prefix(label.opening().as_bytes())?;
        let end = rest.iter().position(|&byte| byte == b']')?;
        let (shape, rest) = rest.split_at_checked(end)?;
        let digits = rest.strip_prefix(b"],\"crc32\":\"")?.get(..8)?;
        let crc = u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
        Some(Self {
            shape: split(str::from_utf8(shape).ok()?)?,
            crc,
        })
    }
}

impl Frame {
    fn render(label: &Label, facts: &Facts) -> Result<Self> {
        let npy = npy_header(&facts.shape);
        let payload = payload_bytes(&facts.shape)?;
        let array_name = format!("{}.npy", label.array);
        let mut json = label.opening() + &facts.json_end();
        let fixed = 2 * LOCAL_HEADER_BYTES + META_NAME.len() + array_name.len();
        // White space behind the object is still JSON, and puts the payload on its boundary.
        let padding = (fixed + json.len()).next_multiple_of(ALIGNMENT) - fixed;
        json = format!("{json:padding$}");

        let meta = Member::new(META_NAME, crc32fast::hash(json.as_bytes()), json.len(), 0)?;
        let array_at = LOCAL_HEADER_BYTES + META_NAME.len() + json.len();
        let array = Member::new(&array_name, facts.crc, npy.len() + payload, array_at)?;
        let head = [meta.local(), json.into_bytes(), array.local(), npy].concat();
        let directory = [meta.central(), array.central()].concat();
        let end = end_record(directory.len(), head.len() + payload)?;
        Ok(Self {
            head,
            tail: [directory, end].concat(),
        })
    }
}

impl Member {
    fn new(name: &str, crc: u32, size: usize, offset: usize) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            crc,
            size: zip_size(size)?,
            offset: zip_size(offset)?,
        })
    }

    /// The fields that both headers share, from "version needed" to "extra length".
    fn shared(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(26);
        // Version 2.0, no flags, stored, midnight of 1980-01-01: equal arrays make equal files.
        [20_u16, 0, 0, 0, 0x21]
            .iter()
            .for_each(|v| out.extend(v.to_le_bytes()));
        [self.crc, self.size, self.size]
            .iter()
            .for_each(|v| out.extend(v.to_le_bytes()));
        out.extend((self.name.len() as u16).to_le_bytes());
        out.extend([0, 0]);
        out
    }

    fn local(&self) -> Vec<u8> {
        [
            b"PK\x03\x04",
            self.shared().as_slice(),
            self.name.as_bytes(),
        ]
        .concat()
    }

    fn central(&self) -> Vec<u8> {
        let offset = self.offset.to_le_bytes();
        // Made by version 2.0; no comment, disk 0, no attributes.
        [
            b"PK\x01\x02\x14\0",
            self.shared().as_slice(),
            &[0; 10],
            &offset,
            self.name.as_bytes(),
        ]
        .concat()
    }
}

impl Opened {
    fn new(file: &File, label: &Label) -> Result<Self> {
        let length = file
            .metadata()
            .map_err(|e| Error::io("stat the entry", e))?
            .len();
        let mut head = vec![0; length.min(HEAD_BYTES as u64) as usize];
        read_at(file, &mut head, 0)?;
        let facts = Facts::learn(&head, label)
            .ok_or_else(|| Error::corrupt("no label of this key and pipeline at its head"))?;
        let frame = Frame::render(label, &facts)?;
        let start = frame.head.len();
        let bytes = payload_bytes(&facts.shape)?;
        if length != (start + bytes + frame.tail.len()) as u64 {
            return Err(Error::corrupt(format!(
                "{length} bytes long, unlike what its label says"
            )));
        }
        let mut tail = vec![0; frame.tail.len()];
        read_at(file, &mut tail, (start + bytes) as u64)?;
        if !head.starts_with(&frame.head) || tail != frame.tail {
            return Err(Error::corrupt(
                "ZIP or npy headers differ from what its label says",
            ));
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&npy_header(&facts.shape));
        Ok(Self {
            facts,
            start,
            bytes,
            sum,
        })
    }

    /// Reads the payload piece by piece, each summed while it is still in the processor's cache.
    fn samples(&mut self, file: &File) -> Result<Vec<f32>> {
        // Safe to reserve: the file has been found to be that long.
        let count = self.bytes / SAMPLE_BYTES;
        let mut samples = Vec::with_capacity(count);
        while samples.len() < count {
            let done = samples.len();
            samples.resize((done + PIECE_BYTES / SAMPLE_BYTES).min(count), 0.0);
            let piece = bytemuck::cast_slice_mut(samples.get_mut(done..).unwrap_or_default());
            read_at(file, piece, (self.start + done * SAMPLE_BYTES) as u64)?;
            self.sum.update(piece);
        }
        Ok(samples)
    }

    fn finish(self) -> Result<Vec<usize>> {
        if self.sum.finalize() != self.facts.crc {
            return Err(Error::corrupt("checksum differs"));
        }
        Ok(self.facts.shape)
    }
}

impl View {
    /// The dimensions; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The array's bytes in C order, aligned to 64.
    pub fn bytes(&self) -> &[u8] {
        self.map
            .get(self.start..self.start + self.bytes)
            .unwrap_or_default()
    }
}

/// An entry ready to be written: framing, payload, framing.
pub struct Entry<'a> {
    frame: Frame,
    payload: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Sums the samples and renders what goes around them.
    ///
    /// # Errors
    /// `InvalidArgument` when shape and samples disagree, `Limit` above 4 GiB.
    pub fn new(label: &Label, shape: &[usize], samples: &'a [f32]) -> Result<Self> {
        label.check()?;
        let payload: &[u8] = bytemuck::cast_slice(samples);
        if shape.len() > MAX_DIMS || payload_bytes(shape)? != payload.len() {
            return Err(Error::invalid(
                "the shape does not fit the samples or exceeds 32 dimensions",
            ));
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&npy_header(shape));
        sum.update(payload);
        let facts = Facts {
            shape: shape.to_vec(),
            crc: sum.finalize(),
        };
        Ok(Self {
            frame: Frame::render(label, &facts)?,
            payload,
        })
    }

    /// How many bytes the file will have.
    pub fn file_bytes(&self) -> u64 {
        (self.frame.head.len() + self.payload.len() + self.frame.tail.len()) as u64
    }

    /// Writes the whole file.
    ///
    /// # Errors
    /// `Io` when writing fails.
    pub fn write_to(&self, out: &mut impl Write) -> Result<()> {
        for part in [&self.frame.head, self.payload, &self.frame.tail] {
            out.write_all(part)
                .map_err(|e| Error::io("write the entry", e))?;
        }
        Ok(())
    }
}

/// Reads an entry whole, if it is exactly what [`Entry`] makes for this label.
///
/// # Errors
/// `Corrupt` when any byte is off or the label is another one, `Io` when reading fails.
pub fn read(file: &File, label: &Label) -> Result<Array> {
    let mut entry = Opened::new(file, label)?;
    let samples = entry.samples(file)?;
    Ok(Array {
        shape: entry.finish()?,
        samples,
    })
}

/// Maps an entry that passes the same checks as in [`read`].
///
/// # Errors
/// As [`read`].
pub fn view(file: &File, label: &Label) -> Result<View> {
    let mut entry = Opened::new(file, label)?;
    let map = map::read_only(file).map_err(|e| Error::io("map the entry", e))?;
    let (start, bytes) = (entry.start, entry.bytes);
    let payload = map.get(start..start + bytes);
    entry
        .sum
        .update(payload.ok_or_else(|| Error::corrupt("cut short while it was opened"))?);
    Ok(View {
        shape: entry.finish()?,
        map,
        start,
        bytes,
    })
}

/// The `.npy` header (magic, version 1.0, length, dict), padded to the boundary as NEP 1 asks.
fn npy_header(shape: &[usize]) -> Vec<u8> {
    let comma = if shape.len() == 1 { "," } else { "" };
    let dims = join(shape).replace(',', ", ") + comma;
    let dict = format!("{{'descr': '{DESCR}', 'fortran_order': False, 'shape': ({dims}), }}");
    let total = (10 + dict.len() + 1).next_multiple_of(ALIGNMENT);
    let text = format!("{dict:width$}\n", width = total - 11);
    [
        b"\x93NUMPY\x01\x00",
        ((total - 10) as u16).to_le_bytes().as_slice(),
        text.as_bytes(),
    ]
    .concat()
}

fn end_record(directory_bytes: usize, directory_at: usize) -> Result<Vec<u8>> {
    let size = zip_size(directory_bytes)?.to_le_bytes();
    let offset = zip_size(directory_at)?.to_le_bytes();
    // Disk 0 of one, two members here and in all, no comment.
    Ok([
        b"PK\x05\x06\0\0\0\0\x02\0\x02\0".as_slice(),
        &size,
        &offset,
        &[0, 0],
    ]
    .concat())
}

/// ZIP without its 64-bit extension counts in 32 bits; half a day of 16 kHz fits.
fn zip_size(bytes: usize) -> Result<u32> {
    u32::try_from(bytes).map_err(|_| Error::new(ErrorKind::Limit, "an entry holds less than 4 GiB"))
}

fn payload_bytes(shape: &[usize]) -> Result<usize> {
    let product = shape
        .iter()
        .try_fold(SAMPLE_BYTES, |product, &n| product.checked_mul(n));
    let bytes = product.filter(|&bytes| u32::try_from(bytes).is_ok());
    bytes.ok_or_else(|| Error::new(ErrorKind::Limit, "an entry holds less than 4 GiB"))
}

fn join(shape: &[usize]) -> String {
    shape
        .iter()
        .map(usize::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn split(text: &str) -> Option<Vec<usize>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let dims: Option<Vec<usize>> = text.split(',').map(|dim| dim.parse().ok()).collect();
    dims.filter(|dims| dims.len() <= MAX_DIMS)
}

/// Fills `piece`; a file that ends early is corrupt, not an I/O failure.
fn read_at(file: &File, piece: &mut [u8], offset: u64) -> Result<()> {
    file.read_exact_at(piece, offset)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::corrupt("ends early").at_byte(offset),
            _ => Error::io("read the entry", error).at_byte(offset),
        })
}
