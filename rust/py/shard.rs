//! Shards for Python: samples as dictionaries of read-only views, members as sources to decode.

mod index;
pub(crate) mod verify;
pub(crate) mod writer;

use std::borrow::Cow;
use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

use ossicle::shard::{Access, Identity, Member, Payload, Sample, Shard as Core};
use ossicle::{Error, Result, Source};
use pyo3::exceptions::PyIndexError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView};

pub(crate) use index::index_shards;

use crate::buffer;
use crate::door;
use crate::error::raise;

/// While it iterates, an iterator looks whether the shard has changed at each sample of this many bytes,
/// and of smaller ones at each of so many. A look costs as much as handing out a small sample.
const LOOK_BYTES: u64 = 8 * 1024;
const LOOK_SAMPLES: usize = 16;

/// `(name, offset, size, header_offset)`.
type Facts = (String, u64, u64, u64);

/// The native half of `ossicle.shard`: an open shard.
#[pyclass(frozen, module = "ossicle._native")]
pub(crate) struct Shard(Arc<Core>);

/// A member of a shard, to decode from: what `load`, `info` and `load_batch` take as a source.
#[pyclass(frozen, module = "ossicle._native")]
pub(crate) struct ShardMember {
    shard: Arc<Core>,
    member: Member,
    /// Of the whole shard, where it was pickled and knows no more than this member.
    identity: Option<String>,
}

type Pickled<'py> = (Bound<'py, PyAny>, (String, String, Facts));

/// The samples one after the other.
#[pyclass(frozen, module = "ossicle._native")]
struct Samples {
    shard: Arc<Core>,
    next: AtomicUsize,
}

/// A member left where it is: a read-only buffer.
#[pyclass(frozen, module = "ossicle._native")]
struct MemberView(Payload);

#[pymethods]
impl Shard {
    #[new]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        access: &str,
        index: Option<Vec<Facts>>,
        by_headers: bool,
        identity: Option<&str>,
    ) -> PyResult<Self> {
        let open = || {
            let access = parse_access(access)?;
            let identity: Option<Identity> = identity.map(str::parse).transpose()?;
            if let Some(identity) = &identity {
                identity.check(&path)?;
            }
            let shard = match index {
                None if by_headers => Core::open_headers(&path, access),
                None => Core::open(&path, access),
                Some(index) => {
                    let members = index.into_iter().map(to_member).collect();
                    Core::from_members(&path, access, members)
                }
            }?;
            let checked = identity.map(|identity| shard.check_identity(&identity));
            checked.transpose().map(|_| shard)
        };
        let shard = door::enter(py, open)?;
        Ok(Self(Arc::new(shard)))
    }

    fn __len__(&self) -> usize {
        self.0.samples().len()
    }

    fn __iter__(&self) -> Samples {
        Samples {
            shard: Arc::clone(&self.0),
            next: AtomicUsize::new(0),
        }
    }

    /// Whether members are views into a map of the file.
    fn is_mapped(&self) -> bool {
        self.0.is_mapped()
    }

    /// Whether it was opened by an index, which is the shard's.
    fn is_indexed(&self) -> bool {
        self.0.is_indexed()
    }

    /// What tells it from another shard at its path, as text.
    fn identity(&self) -> String {
        self.0.identity().to_string()
    }

    fn check_unchanged(&self, py: Python<'_>) -> PyResult<()> {
        door::enter(py, || self.0.check_unchanged())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.samples().keys().collect()
    }

    fn key(&self, number: usize) -> PyResult<&str> {
        Ok(self.numbered(number)?.key)
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.0.find(key)
    }

    fn members(&self) -> Vec<(&str, u64, u64, u64)> {
        let members = self.0.members().iter();
        members
            .map(|m| (m.name.as_str(), m.offset, m.size, m.header_offset))
            .collect()
    }

    fn extensions(&self, number: usize) -> PyResult<Vec<Cow<'_, str>>> {
        let members = self.numbered(number)?.members.into_iter();
        Ok(members.map(|(extension, _)| extension).collect())
    }

    fn sample<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyDict>> {
        let sample = self.numbered(number)?;
        check(py, &self.0, &sample)?;
        to_dict(py, &self.0, &sample)
    }

    /// A member's bytes, read; `None` where there is no such member.
    fn read<'py>(
        &self,
        py: Python<'py>,
        number: usize,
        extension: &str,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some(member) = self.member(number, extension)? else {
            return Ok(None);
        };
        let bytes = door::enter(py, || member.shard.read(&member.member))?;
        Ok(Some(PyBytes::new(py, &bytes)))
    }

    fn member(&self, number: usize, extension: &str) -> PyResult<Option<ShardMember>> {
        let mut members = self.numbered(number)?.members.into_iter();
        let found = members.find(|(one, _)| one == extension);
        Ok(found.map(|(_, member)| ShardMember {
            shard: Arc::clone(&self.0),
            member: member.clone(),
            identity: None,
        }))
    }
}

impl Shard {
    fn numbered(&self, number: usize) -> PyResult<Sample<'_>> {
        let sample = self.0.samples().get(number);
        sample.ok_or_else(|| PyIndexError::new_err(format!("there is no sample {number}")))
    }
}

#[pymethods]
impl Samples {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let number = self.next.fetch_add(1, Relaxed);
        let Some(sample) = self.shard.samples().get(number) else {
            return Ok(None);
        };
        let bytes: u64 = sample.members.iter().map(|(_, member)| member.size).sum();
        if number.is_multiple_of(LOOK_SAMPLES) || bytes >= LOOK_BYTES {
            check(py, &self.shard, &sample)?;
        }
        to_dict(py, &self.shard, &sample).map(Some)
    }
}

#[pymethods]
impl ShardMember {
    /// The shard's path.
    #[getter]
    fn shard(&self) -> &str {
        self.shard.name()
    }

    /// The path in the shard.
    #[getter]
    fn name(&self) -> &str {
        &self.member.name
    }

    /// The first byte of the payload, in the shard.
    #[getter]
    fn offset(&self) -> u64 {
        self.member.offset
    }

    /// Bytes of the payload.
    #[getter]
    fn size(&self) -> u64 {
        self.member.size
    }

    fn __repr__(&self) -> String {
        format!("<{} [{}]>", self.shard.name(), self.member.name)
    }

    /// As its place and what tells its shard from another: see [`reopen_member`].
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Pickled<'py>> {
        let reopen = py.import("ossicle._native")?.getattr("reopen_member")?;
        let identity = match &self.identity {
            Some(identity) => identity.clone(),
            None => self.shard.identity().to_string(),
        };
        let Member {
            name,
            offset,
            size,
            header_offset,
        } = self.member.clone();
        let path = self.shard.name().to_owned();
        Ok((
            reopen,
            (path, identity, (name, offset, size, header_offset)),
        ))
    }
}

/// A member that was pickled, of the same shard; its header is read when it is.
#[pyfunction]
pub(crate) fn reopen_member(
    py: Python<'_>,
    path: PathBuf,
    identity: String,
    member: Facts,
) -> PyResult<ShardMember> {
    Ok(ShardMember {
        shard: door::enter(py, || reopened(&path, &identity))?,
        member: to_member(member),
        identity: Some(identity),
    })
}

/// Shards that members were pickled of, while such members live: thousands come of one.
static REOPENED: Mutex<Vec<(PathBuf, String, Weak<Core>)>> = Mutex::new(Vec::new());

fn reopened(path: &Path, identity: &str) -> Result<Arc<Core>> {
    let open = || Core::reopen_for_members(path, &identity.parse()?).map(Arc::new);
    // Not waited for: a fork may have left it locked.
    let Ok(mut known) = REOPENED.try_lock() else {
        return open();
    };
    known.retain(|(_, _, shard)| shard.strong_count() > 0);
    let is_it = |(other, state, _): &&(PathBuf, String, _)| other == path && state == identity;
    if let Some(shard) = known
        .iter()
        .find(is_it)
        .and_then(|(_, _, shard)| shard.upgrade())
    {
        shard.check_unchanged()?;
        return Ok(shard);
    }
    let shard = open()?;
    known.push((path.to_owned(), identity.to_owned(), Arc::downgrade(&shard)));
    Ok(shard)
}

/// Before the views of a sample are handed out.
fn check(py: Python<'_>, shard: &Core, sample: &Sample<'_>) -> PyResult<()> {
    door::enter(py, || match sample.members.first() {
        Some((_, member)) => shard.check_member(member),
        None => shard.check_unchanged(),
    })
}

impl ShardMember {
    pub(crate) fn bytes(&self) -> u64 {
        self.member.size
    }

    /// Opens it; needs no GIL.
    pub(crate) fn source(&self) -> Result<Source<'_>> {
        self.shard.source(&self.member)
    }
}

#[pymethods]
impl MemberView {
    /// The buffer protocol, read-only: a view keeps this object, and with it the map, alive.
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: the interpreter passes a valid `view`; the class is frozen, and a payload never moves.
        unsafe { buffer::fill(slf.as_any(), slf.get().0.bytes(), view, flags) }
    }
}

/// The key, and each member without a copy, or read without the GIL.
fn to_dict<'py>(
    py: Python<'py>,
    shard: &Core,
    sample: &Sample<'_>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item(intern!(py, "__key__"), sample.key)?;
    for (extension, member) in &sample.members {
        let payload = match shard.is_mapped() {
            true => shard.payload(member).map_err(|error| raise(py, &error))?,
            false => door::enter(py, || shard.payload(member))?,
        };
        let view = MemberView(payload);
        let view = Bound::new(py, view)?;
        dict.set_item(extension.as_ref(), PyMemoryView::from(&view)?)?;
    }
    Ok(dict)
}

fn to_member((name, offset, size, header_offset): Facts) -> Member {
    Member {
        name,
        offset,
        size,
        header_offset,
    }
}

fn parse_access(access: &str) -> Result<Access> {
    match access {
        "auto" => Ok(Access::Auto),
        "mmap" => Ok(Access::Mmap),
        "pread" => Ok(Access::Pread),
        _ => Err(Error::invalid(format!(
            "access must be \"auto\", \"mmap\" or \"pread\", not {access:?}"
        ))),
    }
}
