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

mod frame;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use memmap2::Mmap;

use crate::{Error, Result, map};
use frame::{Facts, Frame, MAX_DIMS, SAMPLE_BYTES, npy_header, payload_bytes};

pub use frame::Label;

/// What is read to learn shape and checksum: above the longest head that a label can make.
const HEAD_BYTES: usize = 4096;
/// Payload read and summed at a time: small enough to be summed from the second-level cache.
const PIECE_BYTES: usize = 128 * 1024;

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

/// An entry whose framing has been found right; the payload has not been looked at.
struct Opened {
    facts: Facts,
    start: usize,
    bytes: usize,
    /// The checksum so far: over the array's `.npy` header.
    sum: crc32fast::Hasher,
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

/// Fills `piece`; a file that ends early is corrupt, not an I/O failure.
fn read_at(file: &File, piece: &mut [u8], offset: u64) -> Result<()> {
    file.read_exact_at(piece, offset)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::corrupt("ends early").at_byte(offset),
            _ => Error::io("read the entry", error).at_byte(offset),
        })
}
