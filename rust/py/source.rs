//! Python's inputs as sources: paths, buffers in place, file objects.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use ossicle::{RawFormat, Result, Source};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::door;
use crate::error::raise;
use crate::shard::ShardMember;

/// What Python's `RawFormat` says: codec, sample rate, channels, offset in bytes.
pub(crate) type RawArguments = (String, u32, u32, u64);

/// An input, and how it is read where it has no header.
pub(crate) struct Input {
    kind: Kind,
    raw: Option<RawFormat>,
}

/// What keeps alive what it borrows from Python while the GIL is released.
enum Kind {
    Path(PathBuf),
    Buffer(PyBuffer<u8>),
    File(Py<PyAny>, String),
    Member(Py<ShardMember>),
}

impl Input {
    /// Recognises what `object` is; nothing is read yet.
    pub(crate) fn new(object: &Bound<'_, PyAny>, raw: Option<&RawArguments>) -> PyResult<Self> {
        let format =
            raw.map(|(codec, rate, channels, at)| RawFormat::new(codec, *rate, *channels, *at));
        let raw = format
            .transpose()
            .map_err(|error| raise(object.py(), &error))?;
        let kind = Kind::new(object)?;
        Ok(Self { kind, raw })
    }

    /// The same of each of `objects`.
    pub(crate) fn all(
        objects: &[Bound<'_, PyAny>],
        raw: Option<&RawArguments>,
    ) -> PyResult<Vec<Self>> {
        let inputs = objects.iter().map(|object| Self::new(object, raw));
        inputs.collect()
    }

    /// How much there is to decode, as far as that is known without opening it.
    pub(crate) fn bytes(&self) -> u64 {
        self.kind.bytes()
    }

    /// Opens it; needs no GIL.
    pub(crate) fn open(&self) -> Result<Source<'_>> {
        self.kind.open().map(|source| source.raw(self.raw))
    }
}

impl Kind {
    fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(member) = object.cast::<ShardMember>() {
            return Ok(Self::Member(member.clone().unbind()));
        }
        if let Ok(path) = object.extract::<PathBuf>() {
            return Ok(Self::Path(path));
        }
        if let Ok(buffer) = PyBuffer::get(object) {
            return contiguous(buffer);
        }
        if object.hasattr("read")? && object.hasattr("seek")? {
            let name = object.getattr("name").and_then(|name| name.extract());
            let name = name.unwrap_or_else(|_| "<file object>".to_owned());
            return Ok(Self::File(object.clone().unbind(), name));
        }
        let kind = object.get_type().name()?;
        Err(PyTypeError::new_err(format!(
            "an audio source must be a path, a contiguous buffer of bytes, a seekable binary file object, or a member of a shard, not {kind}"
        )))
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Path(path) => path.metadata().map_or(0, |facts| facts.len()),
            Self::Buffer(buffer) => buffer.len_bytes() as u64,
            Self::File(..) => 0,
            Self::Member(member) => member.get().bytes(),
        }
    }

    fn open(&self) -> Result<Source<'_>> {
        match self {
            Self::Path(path) => Source::open(path),
            Self::Buffer(buffer) => Ok(Source::from_bytes("<bytes>", bytes_of(buffer))),
            Self::File(file, name) => Source::from_stream(name.clone(), Box::new(PyFile { file })),
            Self::Member(member) => member.get().source(),
        }
    }
}

fn contiguous(buffer: PyBuffer<u8>) -> PyResult<Kind> {
    if buffer.is_c_contiguous() {
        return Ok(Kind::Buffer(buffer));
    }
    Err(PyTypeError::new_err(
        "an audio source in memory must be contiguous",
    ))
}

#[allow(unsafe_code)]
pub(crate) fn bytes_of(buffer: &PyBuffer<u8>) -> &[u8] {
    if buffer.len_bytes() == 0 {
        return &[];
    }
    // SAFETY: the export is held by `buffer`, so that the memory can neither move nor be freed, it
    // is C-contiguous and `len_bytes` long. A caller that writes to a bytearray while it is decoded
    // gets a garbled clip or an error; the docs of `load` say so.
    unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) }
}

/// A Python file object; each call takes the GIL for itself.
struct PyFile<'a> {
    file: &'a Py<PyAny>,
}

impl Read for PyFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Python::attach(|py| {
            let data = self.file.bind(py).call_method1("read", (buffer.len(),))?;
            let data = data.cast_into::<PyBytes>().map_err(PyErr::from)?;
            let bytes = data.as_bytes();
            let count = bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&bytes[..count]);
            Ok(count)
        })
        .map_err(raised)
    }
}

impl Seek for PyFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (offset, whence) = match to {
            SeekFrom::Start(offset) => (i128::from(offset), 0),
            SeekFrom::Current(offset) => (i128::from(offset), 1),
            SeekFrom::End(offset) => (i128::from(offset), 2),
        };
        Python::attach(|py| {
            self.file
                .bind(py)
                .call_method1("seek", (offset, whence))?
                .extract()
        })
        .map_err(raised)
    }
}

/// What a file object has raised. What is no `Exception`, such as Ctrl-C, ends the work.
fn raised(error: PyErr) -> io::Error {
    Python::attach(|py| {
        if !error.is_instance_of::<PyException>(py) {
            door::stop_for(error.clone_ref(py));
        }
    });
    io::Error::other(error)
}
