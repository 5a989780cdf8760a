//! Where bytes come from: a file, memory in place, or anything that reads and seeks.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::bytes::raw::RawFormat;
use crate::error::{Error, ErrorKind, Name, Result};
use crate::guard::remark::Remarks;
use crate::guard::room;

/// Steps that reading a source may take: these, and so many for each of its bytes. A step is a look at what is
/// there, or a byte read. A reader takes a few for a byte; one that a hostile file leads in a circle takes them all
/// in about a second.
const STEPS: u64 = 1 << 24;
const STEPS_PER_BYTE: u64 = 64;
/// What a call to the system or to a caller's code counts for.
const STEPS_PER_READ: u64 = 64;

/// A stream of a caller's own: a Python file object, a network range reader.
pub trait ReadSeek: Read + Seek + Send + Sync {}

impl<T: Read + Seek + Send + Sync> ReadSeek for T {}

enum Data<'a> {
    File(File),
    Memory(&'a [u8]),
    /// And where its byte 0 is. Twins share it.
    Stream(Arc<Mutex<Box<dyn ReadSeek + 'a>>>, u64),
}

/// One input, with the name that its errors carry.
pub struct Source<'a> {
    name: Name,
    data: Data<'a>,
    len: u64,
    /// Steps that are left.
    steps: u64,
    remarks: Remarks,
    /// Boxed: few have one.
    raw: Option<Box<RawFormat>>,
}

impl Source<'_> {
    /// Opens the regular file at `path`.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be opened or is not a regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let doing = if name.contains("://") {
            "open a URL, which is not read: download it first"
        } else {
            "open the file"
        };
        let failed = |error| Error::io(doing, error).with_source(name.clone());
        let irregular = || Error::new(ErrorKind::Io, "not a regular file");
        let file = match open_at_once(path) {
            // A socket cannot be opened at all.
            Err(_) if path.metadata().is_ok_and(|facts| !facts.is_file()) => {
                return Err(irregular().with_source(name));
            }
            opened => opened.map_err(failed)?,
        };
        let facts = file.metadata().map_err(failed)?;
        if !facts.is_file() {
            return Err(irregular().with_source(name));
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
            steps: STEPS.saturating_add(len.saturating_mul(STEPS_PER_BYTE)),
            remarks: Remarks::default(),
            raw: None,
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
        let stream = Arc::new(Mutex::new(stream));
        Ok(Self::new(name, Data::Stream(stream, base), len))
    }

    /// Another source of the same bytes, to be read beside this one; its remarks are its own.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the system has no other handle for a file.
    pub(crate) fn twin(&self) -> Result<Self> {
        let data = match &self.data {
            Data::File(file) => Data::File(file.try_clone().map_err(|error| {
                Error::io("open the file twice", error).with_source(self.name.clone())
            })?),
            Data::Memory(bytes) => Data::Memory(bytes),
            Data::Stream(stream, base) => Data::Stream(Arc::clone(stream), *base),
        };
        let twin = Self::new(self.name.clone(), data, self.len).raw(self.raw_format());
        Ok(twin.strict(self.remarks.is_strict()))
    }

    /// Makes each remark on this source an error, if `is_strict`.
    #[must_use]
    pub fn strict(mut self, is_strict: bool) -> Self {
        self.remarks = Remarks::new(is_strict);
        self
    }

    /// Has it read as samples without a header, if `format` describes them: its content is not looked at.
    #[must_use]
    pub fn raw(mut self, format: Option<RawFormat>) -> Self {
        self.raw = format.map(Box::new);
        self
    }

    /// What stands in for its header, if it has none.
    pub(crate) fn raw_format(&self) -> Option<RawFormat> {
        self.raw.as_deref().copied()
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

    /// Counts `steps` of reading at byte `at`: every reader passes here, so that none goes round for ever.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] when there are far more of them than reading this source can take.
    #[inline]
    pub(crate) fn spend(&mut self, at: u64, steps: u64) -> Result<()> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(self.circling(at)),
        }
    }

    #[cold]
    fn circling(&self, at: u64) -> Error {
        let reason = "reading the file does not advance: its headers lead in a circle";
        Error::new(ErrorKind::Limit, reason)
            .with_source(self.name.clone())
            .at_byte(at.min(self.len))
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
        crate::interrupt::check_now()?;
        // An offset after the end, which a lying header can lead to, gives no bytes.
        let offset = offset.min(self.len);
        let len = (self.len - offset).min(len as u64) as usize;
        if let Data::Memory(bytes) = self.data {
            self.spend(offset, 1)?;
            return Ok(&bytes[offset as usize..offset as usize + len]);
        }
        room::resize(scratch, len, 0)?;
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
        crate::interrupt::check_now()?;
        if self.in_memory().is_some() {
            return self.bytes_at(offset, len, scratch);
        }
        room::resize(scratch, scratch.len().max(len), 0)?;
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
        self.spend(offset, STEPS_PER_READ + buffer.len() as u64)?;
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
                let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                read_exact_from(&mut *stream, base.saturating_add(offset), buffer)
            }
            Data::Memory(bytes) => {
                let mut rest = bytes.get(offset as usize..).unwrap_or_default();
                rest.read_exact(buffer)
            }
        }
    }
}

/// Opens a file to read, and waits for nobody: a pipe without a writer opens too, and is told by its kind.
#[cfg(unix)]
fn open_at_once(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let mut options = File::options();
    options.read(true).custom_flags(flags.bits() as i32);
    options.open(path)
}

#[cfg(not(unix))]
fn open_at_once(path: &Path) -> io::Result<File> {
    File::open(path)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Cursor;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::bytes::window::Window;

    /// A reader that does not notice that it stands still.
    fn circle(source: Source<'_>, far: u64) -> Error {
        let mut window = Window::new(source);
        loop {
            // The second look throws away what the first one has read.
            let looks = window.at(0, 10, 10).map(|_| ());
            if let Err(error) = looks.and_then(|()| window.at(far, 10, 10).map(|_| ())) {
                return error;
            }
        }
    }

    #[test]
    fn a_reader_that_goes_round_is_stopped() {
        let bytes = vec![7; 300_000];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, &bytes).unwrap();
        for far in [0, 200_000] {
            for source in [
                Source::from_bytes("bytes", &bytes),
                Source::open(&path).unwrap(),
                Source::from_stream("stream", Box::new(Cursor::new(&bytes))).unwrap(),
            ] {
                let start = Instant::now();
                let error = circle(source, far);
                assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
                assert!(error.byte_offset().is_some_and(|at| at <= far), "{error}");
                // Far more than it takes, for machines with other work.
                assert!(start.elapsed() < Duration::from_secs(60));
            }
        }
    }
}
