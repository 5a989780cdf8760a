//! Where bytes come from: a file, memory in place, or anything that reads and seeks.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use symphonia::core::io::MediaSource;

use crate::error::{Error, ErrorKind, Result};

/// A stream of a caller's own: a Python file object, a network range reader.
pub trait ReadSeek: Read + Seek + Send + Sync {}

impl<T: Read + Seek + Send + Sync> ReadSeek for T {}

enum Data<'a> {
    File(File),
    Memory(&'a [u8]),
    Stream(Box<dyn ReadSeek + 'a>),
}

/// One input, with the name that its errors carry.
pub struct Source<'a> {
    name: String,
    data: Data<'a>,
    len: u64,
    /// Shared with the errors of whoever reads the stream further down.
    position: Arc<AtomicU64>,
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
        Ok(Self::new(name, Data::File(file), facts.len()))
    }
}

impl<'a> Source<'a> {
    fn new(name: String, data: Data<'a>, len: u64) -> Self {
        let position = Arc::new(AtomicU64::new(0));
        Self {
            name,
            data,
            len,
            position,
        }
    }

    /// Reads `bytes` in place.
    pub fn from_bytes(name: impl Into<String>, bytes: &'a [u8]) -> Self {
        Self::new(name.into(), Data::Memory(bytes), bytes.len() as u64)
    }

    /// Reads from a stream; its current position counts as byte 0.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the stream cannot be measured by seeking.
    pub fn from_stream(name: impl Into<String>, stream: Box<dyn ReadSeek + 'a>) -> Result<Self> {
        let name = name.into();
        let (stream, len) = Offset::new(stream)
            .map_err(|error| Error::io("seek in the stream", error).with_source(name.clone()))?;
        Ok(Self::new(name, Data::Stream(Box::new(stream)), len))
    }

    /// The name that errors carry.
    pub fn name(&self) -> &str {
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
        #[cfg(unix)]
        if let Data::File(file) = &self.data {
            // One call to the system instead of two; the position stays where it is.
            return std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset);
        }
        self.seek(SeekFrom::Start(offset))?;
        self.read_exact(buffer)
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = self.position.load(Ordering::Relaxed);
        let count = match &mut self.data {
            Data::File(file) => file.read(buffer)?,
            Data::Stream(stream) => stream.read(buffer)?,
            Data::Memory(bytes) => {
                let rest = &bytes[(at as usize).min(bytes.len())..];
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                count
            }
        };
        self.position.store(at + count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Seek for Source<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let here = self.position.load(Ordering::Relaxed);
        let target = absolute(to, here, self.len)?;
        match &mut self.data {
            Data::File(file) => file.seek(SeekFrom::Start(target))?,
            Data::Stream(stream) => stream.seek(SeekFrom::Start(target))?,
            Data::Memory(_) => target,
        };
        self.position.store(target, Ordering::Relaxed);
        Ok(target)
    }
}

impl MediaSource for Source<'_> {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.len)
    }
}

fn absolute(to: SeekFrom, here: u64, len: u64) -> io::Result<u64> {
    let target = match to {
        SeekFrom::Start(target) => Some(target),
        SeekFrom::Current(delta) => here.checked_add_signed(delta),
        SeekFrom::End(delta) => len.checked_add_signed(delta),
    };
    target.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

/// A stream whose byte 0 is where it stood when it was handed over.
struct Offset<'a> {
    inner: Box<dyn ReadSeek + 'a>,
    base: u64,
}

impl<'a> Offset<'a> {
    fn new(mut inner: Box<dyn ReadSeek + 'a>) -> io::Result<(Self, u64)> {
        let base = inner.stream_position()?;
        let end = inner.seek(SeekFrom::End(0))?;
        inner.seek(SeekFrom::Start(base))?;
        Ok((Self { inner, base }, end.saturating_sub(base)))
    }
}

impl Read for Offset<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl Seek for Offset<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(target) => SeekFrom::Start(target.saturating_add(self.base)),
            other => other,
        };
        Ok(self.inner.seek(to)?.saturating_sub(self.base))
    }
}
