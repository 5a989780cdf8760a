//! Where bytes come from: a file, memory in place, or anything that reads and seeks.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{Error, ErrorKind, Name, Result};
use crate::remark::Remarks;

/// A stream of a caller's own: a Python file object, a network range reader.
pub trait ReadSeek: Read + Seek + Send + Sync {}

impl<T: Read + Seek + Send + Sync> ReadSeek for T {}

enum Data<'a> {
    File(File),
    Memory(&'a [u8]),
    /// And where its byte 0 is.
    Stream(Box<dyn ReadSeek + 'a>, u64),
}

/// One input, with the name that its errors carry.
pub struct Source<'a> {
    name: Name,
    data: Data<'a>,
    len: u64,
    remarks: Remarks,
}

impl Source<'static> {
    /// Opens the regular file at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be opened or is not a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |error| Error::io("open the file", error).with_source(name.clone());
        let file = File::open(path).map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        if !facts.is_file() {
            return Err(Error::new(ErrorKind::Io, "not a regular file").with_source(name));
        }
        Ok(Self::from_file(name, file, facts.len()))
    }

    /// Reads an open file of `len` bytes.
    pub(crate) fn from_file(name: impl Into<Name>, file: File, len: u64) -> Self {
        Self::new(name.into(), Data::File(file), len)
    }
}

impl<'a> Source<'a> {
    fn new(name: Name, data: Data<'a>, len: u64) -> Self {
        Self {
            name,
            data,
            len,
            remarks: Remarks::default(),
        }
    }

    /// Reads `bytes` in place.
    pub fn from_bytes(name: impl Into<Name>, bytes: &'a [u8]) -> Self {
        Self::new(name.into(), Data::Memory(bytes), bytes.len() as u64)
    }

    /// Reads from a stream; its current position counts as byte 0.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the stream cannot be measured by seeking.
    pub fn from_stream(name: impl Into<Name>, stream: Box<dyn ReadSeek + 'a>) -> Result<Self> {
        let (name, mut stream) = (name.into(), stream);
        let (base, len) = measure(&mut *stream)
            .map_err(|error| Error::io("seek in the stream", error).with_source(name.clone()))?;
        Ok(Self::new(name, Data::Stream(stream, base), len))
    }

    /// Makes each remark on this source an error, if `is_strict`.
    #[must_use]
    pub fn strict(mut self, is_strict: bool) -> Self {
        self.remarks = Remarks::new(is_strict);
        self
    }

    /// Notes what is careless here and is read all the same.
    ///
    /// # Errors
    /// `carelessness` itself, where the reading is strict.
    pub(crate) fn remark(&self, carelessness: Error) -> Result<()> {
        self.remarks.note(carelessness)
    }

    /// A handle on the remarks, which goes on after the source has been given away.
    pub(crate) fn remarks(&self) -> Remarks {
        self.remarks.clone()
    }

    /// The name that errors carry.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// At most `len` bytes from `offset`: in place from memory, else read into `scratch`.
    pub(crate) fn bytes_at<'s>(
        &'s mut self,
        offset: u64,
        len: usize,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        // An offset behind the end, which a lying header can lead to, gives no bytes.
        let offset = offset.min(self.len);
        let len = (self.len - offset).min(len as u64) as usize;
        if let Data::Memory(bytes) = self.data {
            return Ok(&bytes[offset as usize..offset as usize + len]);
        }
        scratch.resize(len, 0);
        self.fill(offset, scratch)?;
        Ok(scratch)
    }

    /// The `len` bytes at `offset`, which are there: like [`Source::bytes_at`], into a `scratch` that only grows.
    pub(crate) fn piece_at<'s>(
        &'s mut self,
        offset: u64,
        len: usize,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        if self.in_memory().is_some() {
            return self.bytes_at(offset, len, scratch);
        }
        scratch.resize(scratch.len().max(len), 0);
        self.fill(offset, &mut scratch[..len])?;
        Ok(&scratch[..len])
    }

    /// Whether it is a file of the system's, which is read without a caller's code.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.data, Data::File(_))
    }

    /// All of it, where it lies in memory.
    pub(crate) fn in_memory(&self) -> Option<&'a [u8]> {
        match self.data {
            Data::Memory(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Reads exactly `buffer` from `offset`.
    pub(crate) fn fill(&mut self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.read_exact_at(offset, buffer).map_err(|error| {
            Error::io("read", error)
                .with_source(self.name.clone())
                .at_byte(offset)
        })
    }

    fn read_exact_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &mut self.data {
            #[cfg(unix)]
            // One call to the system instead of two.
            Data::File(file) => std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset),
            #[cfg(not(unix))]
            Data::File(file) => read_exact_from(file, offset, buffer),
            Data::Stream(stream, base) => {
                read_exact_from(stream, base.saturating_add(offset), buffer)
            }
            Data::Memory(bytes) => {
                let mut rest = bytes.get(offset as usize..).unwrap_or_default();
                rest.read_exact(buffer)
            }
        }
    }
}

fn read_exact_from(stream: &mut (impl Read + Seek), at: u64, buffer: &mut [u8]) -> io::Result<()> {
    stream.seek(SeekFrom::Start(at))?;
    stream.read_exact(buffer)
}

/// Where a stream stands, and how much follows.
fn measure(stream: &mut dyn ReadSeek) -> io::Result<(u64, u64)> {
    let base = stream.stream_position()?;
    let end = stream.seek(SeekFrom::End(0))?;
    Ok((base, end.saturating_sub(base)))
}
