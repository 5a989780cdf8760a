//! One array of floats and its label in an uncompressed `.npz`, written so that reading is comparing.
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

mod dtype;
mod frame;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;

use bytemuck::{cast_slice, cast_slice_mut};
use memmap2::Mmap;

use crate::bytes::map;
use crate::error::{Error, Result};
use crate::guard::room;
use frame::{Facts, Frame, MAX_DIMS, npy_header, payload_bytes};

pub use dtype::{Dtype, Samples, Target};
pub use frame::Label;

/// What is read to learn shape and checksum: above the longest head that a label can make.
const HEAD_BYTES: usize = 4096;
/// Payload read and summed at a time: small enough to be summed from the second-level cache.
const PIECE_BYTES: usize = 256 * 1024;
/// Written by one call to the system, which nothing stops: some milliseconds.
const WRITTEN_AT_ONCE: usize = 16 << 20;

/// An array read back, in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its elements, widened where they are stored in half precision.
    pub samples: Vec<f32>,
}

/// An array left in its file: a read-only view, checked once when it was opened.
#[derive(Debug)]
pub struct View {
    shape: Vec<usize>,
    dtype: Dtype,
    map: Mmap,
    start: usize,
    bytes: usize,
}

/// An entry whose framing has been found right; the payload has not been looked at.
#[derive(Debug)]
pub struct Opened {
    facts: Facts,
    dtype: Dtype,
    start: usize,
    bytes: usize,
    /// The checksum so far: over the array's `.npy` header.
    sum: crc32fast::Hasher,
}

impl Opened {
    /// Compares everything around the payload of `file` with what `label` makes of it.
    ///
    /// # Errors
    /// `Corrupt` when any byte is off or the label is another one, `Io` when reading fails.
    pub fn new(file: &File, label: &Label) -> Result<Self> {
        let length = length(file)?;
        Self::behind(file, &head(file, length)?, length, label)
    }

    fn behind(file: &File, head: &[u8], length: u64, label: &Label) -> Result<Self> {
        let facts = Facts::learn(head, label).ok_or_else(|| {
            Error::corrupt("the entry's label is not that of this key and pipeline")
        })?;
        let frame = Frame::render(label, &facts)?;
        let start = frame.head.len();
        let bytes = payload_bytes(&facts.shape, label.dtype)?;
        if length != (start + bytes + frame.tail.len()) as u64 {
            return Err(Error::corrupt(format!(
                "the entry has {length} bytes, which contradicts its label"
            )));
        }
        let mut tail = vec![0; frame.tail.len()];
        read_at(file, &mut tail, (start + bytes) as u64)?;
        if !head.starts_with(&frame.head) || tail != frame.tail {
            return Err(Error::corrupt(
                "the ZIP or npy headers differ from the entry's label",
            ));
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&npy_header(&facts.shape, label.dtype));
        Ok(Self {
            facts,
            dtype: label.dtype,
            start,
            bytes,
            sum,
        })
    }

    /// The dimensions; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.facts.shape
    }

    /// How many elements there are. The file has been found to be that long.
    pub fn count(&self) -> usize {
        self.bytes / self.dtype.bytes()
    }

    /// What the elements are stored as.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Why the elements do not go into `target`, if they do not.
    pub fn objection(&self, target: &Target<'_>) -> Option<Error> {
        let (count, room) = (self.count(), target.len());
        if count > room {
            let reason =
                format!("the entry has {count} elements, and the buffer has room for {room}");
            return Some(Error::invalid(reason));
        }
        let narrow = matches!((self.dtype, target), (Dtype::Float32, Target::Float16(_)));
        narrow.then(|| {
            Error::invalid("the entry is float32 and cannot be read into a float16 buffer")
        })
    }

    /// Reads the elements to the start of `target`, where there must be room for them, and checks them.
    /// What was written of a wrong entry is overwritten with zeros.
    ///
    /// # Errors
    /// `Corrupt` for a wrong checksum, `Io` when reading fails, `InvalidArgument` for a target that is too
    /// short, or of half precision where the entry is not.
    pub fn read_into(mut self, file: &File, mut target: Target<'_>) -> Result<()> {
        if let Some(error) = self.objection(&target) {
            return Err(error);
        }
        let done = self.fill(file, &mut target).and_then(|()| self.finish());
        if done.is_err() {
            target.first(self.count()).clear_from(0);
        }
        done
    }

    fn fill(&mut self, file: &File, target: &mut Target<'_>) -> Result<()> {
        let count = self.count();
        match (self.dtype, target) {
            (Dtype::Float16, Target::Float32(samples)) => self.widen(file, first(samples, count)),
            (_, Target::Float32(samples)) => self.copy(file, cast_slice_mut(first(samples, count))),
            (_, Target::Float16(samples)) => self.copy(file, cast_slice_mut(first(samples, count))),
        }
    }

    /// Reads piece by piece, each summed while it is still in the processor's cache.
    fn copy(&mut self, file: &File, bytes: &mut [u8]) -> Result<()> {
        let mut at = self.start as u64;
        for piece in bytes.chunks_mut(PIECE_BYTES) {
            crate::interrupt::check()?;
            read_at(file, piece, at)?;
            self.sum.update(piece);
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn widen(&mut self, file: &File, samples: &mut [f32]) -> Result<()> {
        let mut halves = vec![0_u16; samples.len().min(PIECE_BYTES / 2)];
        let mut at = self.start as u64;
        for piece in samples.chunks_mut(halves.len().max(1)) {
            crate::interrupt::check()?;
            let halves = halves.get_mut(..piece.len()).unwrap_or_default();
            let bytes = cast_slice_mut(halves);
            read_at(file, bytes, at)?;
            self.sum.update(bytes);
            at += bytes.len() as u64;
            dtype::widen(halves, piece);
        }
        Ok(())
    }

    /// Reads the payload for its checksum alone.
    ///
    /// # Errors
    /// As [`Opened::read_into`].
    pub fn check(mut self, file: &File) -> Result<()> {
        let mut piece = vec![0; self.bytes.min(PIECE_BYTES)];
        let end = self.start + self.bytes;
        for start in (self.start..end).step_by(PIECE_BYTES) {
            crate::interrupt::check()?;
            let part = piece
                .get_mut(..PIECE_BYTES.min(end - start))
                .unwrap_or_default();
            read_at(file, part, start as u64)?;
            self.sum.update(part);
        }
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        let sum = std::mem::take(&mut self.sum);
        if sum.finalize() != self.facts.crc {
            return Err(Error::corrupt("checksum differs"));
        }
        Ok(())
    }
}

impl View {
    /// The dimensions; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// What the elements are.
    pub fn dtype(&self) -> Dtype {
        self.dtype
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
    payload: Payload<'a>,
}

/// Elements as they will be stored.
enum Payload<'a> {
    Single(&'a [f32]),
    Half(Cow<'a, [u16]>),
}

impl<'a> Payload<'a> {
    fn new(samples: Samples<'a>, dtype: Dtype) -> Result<Self> {
        Ok(match (dtype, samples) {
            (Dtype::Float32, Samples::Float32(samples)) => Self::Single(samples),
            (Dtype::Float16, Samples::Float32(samples)) => {
                Self::Half(dtype::rounded(samples)?.into())
            }
            (Dtype::Float16, Samples::Float16(samples)) => Self::Half(samples.into()),
            (Dtype::Float32, Samples::Float16(_)) => {
                return Err(Error::invalid(
                    "the array is float16, and the key asks for float32",
                ));
            }
        })
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Single(samples) => cast_slice(samples),
            Self::Half(samples) => cast_slice(samples),
        }
    }
}

impl<'a> Entry<'a> {
    /// Rounds the samples where the label says so, sums them and renders what goes around them.
    ///
    /// # Errors
    /// `InvalidArgument` when shape and samples disagree, `Limit` above 4 GiB, or for a sample beyond what
    /// half precision holds.
    pub fn new(label: &Label, shape: &[usize], samples: impl Into<Samples<'a>>) -> Result<Self> {
        label.check()?;
        let payload = Payload::new(samples.into(), label.dtype)?;
        let bytes = payload.bytes();
        if shape.len() > MAX_DIMS || payload_bytes(shape, label.dtype)? != bytes.len() {
            return Err(Error::invalid(
                "the shape does not fit the samples or exceeds 32 dimensions",
            ));
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&npy_header(shape, label.dtype));
        add_all(&mut sum, bytes)?;
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
        (self.frame.head.len() + self.payload.bytes().len() + self.frame.tail.len()) as u64
    }

    /// Writes the whole file, in one call to the system unless it is large.
    ///
    /// # Errors
    /// `Io` when writing fails.
    pub fn write_to(&self, out: &mut impl Write) -> Result<()> {
        let payload = self.payload.bytes();
        let (first, mut rest) = payload.split_at(payload.len().min(WRITTEN_AT_ONCE));
        let mut head: &[u8] = &self.frame.head;
        let mut piece = first;
        while !rest.is_empty() {
            crate::interrupt::check_now()?;
            written(out, &[head, piece])?;
            head = &[];
            (piece, rest) = rest.split_at(rest.len().min(WRITTEN_AT_ONCE));
        }
        written(out, &[head, piece, &self.frame.tail])
    }
}

fn written<const N: usize>(out: &mut impl Write, parts: &[&[u8]; N]) -> Result<()> {
    let mut slices = parts.map(IoSlice::new);
    write_all(out, &mut slices).map_err(|e| Error::io("write the entry", e))
}

/// Adds `bytes` to a checksum, piece by piece.
fn add_all(sum: &mut crc32fast::Hasher, bytes: &[u8]) -> Result<()> {
    for piece in bytes.chunks(PIECE_BYTES) {
        crate::interrupt::check()?;
        sum.update(piece);
    }
    Ok(())
}

/// `Write::write_all` over several slices.
fn write_all(out: &mut impl Write, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match out.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads an entry whole, if it is exactly what [`Entry`] makes for this label.
///
/// # Errors
/// `Corrupt` when any byte is off or the label is another one, `Io` when reading fails, `Limit` where memory
/// cannot hold it.
pub fn read(file: &File, label: &Label) -> Result<Array> {
    let entry = Opened::new(file, label)?;
    let shape = entry.shape().to_vec();
    // Of half precision they take twice the file, and a file may be mostly holes.
    let mut samples = Vec::new();
    room::resize(&mut samples, entry.count(), 0.0)?;
    entry.read_into(file, Target::Float32(&mut samples))?;
    Ok(Array { shape, samples })
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
    let payload =
        payload.ok_or_else(|| Error::corrupt("the file was cut short while it was opened"))?;
    add_all(&mut entry.sum, payload)?;
    entry.finish()?;
    Ok(View {
        shape: entry.facts.shape,
        dtype: entry.dtype,
        map,
        start,
        bytes,
    })
}

/// Checks an entry as [`read`] does, but with the label that it tells of itself, which `accept` is asked about
/// before the payload is read.
///
/// # Errors
/// As [`read`], and what `accept` says.
pub fn inspect(file: &File, accept: impl FnOnce(&Label) -> Result<()>) -> Result<()> {
    let length = length(file)?;
    let head = head(file, length)?;
    let label = Label::learn(&head).filter(|label| label.check().is_ok());
    let label = label.ok_or_else(|| Error::corrupt("the file does not begin with a label"))?;
    let entry = Opened::behind(file, &head, length, &label)?;
    accept(&label)?;
    entry.check(file)
}

/// Asked of the file that is open, whatever else comes to be under its name.
fn length(file: &File) -> Result<u64> {
    let found = file
        .metadata()
        .map_err(|e| Error::io("stat the entry", e))?;
    // A pipe or a device has no end, or no bytes that would stay.
    match found.is_file() {
        true => Ok(found.len()),
        false => Err(Error::corrupt("not a regular file")),
    }
}

fn head(file: &File, length: u64) -> Result<Vec<u8>> {
    let mut head = vec![0; length.min(HEAD_BYTES as u64) as usize];
    read_at(file, &mut head, 0)?;
    Ok(head)
}

fn first<T>(room: &mut [T], count: usize) -> &mut [T] {
    room.get_mut(..count).unwrap_or_default()
}

/// Fills `piece`; a file that ends early is corrupt, not an I/O failure.
fn read_at(file: &File, piece: &mut [u8], offset: u64) -> Result<()> {
    file.read_exact_at(piece, offset)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::corrupt("ends early").at_byte(offset),
            _ => Error::io("read the entry", error).at_byte(offset),
        })
}
