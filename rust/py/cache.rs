//! The cache for Python: names and arrays in, arrays and views out. Half precision comes and goes as uint16.

use std::collections::HashMap;
use std::ffi::c_int;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use numpy::{
    IntoPyArray, PyArray1, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyReadwriteArrayDyn,
    PyUntypedArrayMethods,
};
use ossicle::cache::{Cache as Core, Found, Key};
use ossicle::npz::{Dtype, Samples, Target, View};
use ossicle::{Error, Result, pool};
use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PySlice, PyTuple};

use crate::buffer;
use crate::door;
use crate::error::{raise, to_exception};

/// So many entries are open at once in a batch: processes may have a thousand files, and threads share them.
const OPEN_AT_ONCE: usize = 64;

/// Bytes of a line of the processor's cache.
const LINE_BYTES: usize = 64;
/// So many elements and more begin at one.
const ALIGNED: usize = 1 << 14;

/// File name and whole identity of an entry, and whether it is stored in half precision.
type Names = (String, String, bool);
/// How many elements each row has got, and the error of the first that did not fit.
type Lengths<'py> = (Bound<'py, PyArray1<i64>>, Option<Bound<'py, PyAny>>);
/// Of an entry: its path, size in bytes and last use in seconds since 1970.
type Entry = (PathBuf, u64, f64);

/// The native half of `ossicle.cache`: one root, one array name, one bound.
#[pyclass(frozen, module = "ossicle._native")]
pub(crate) struct Cache(Core);

/// An entry left in its file: a read-only buffer over its payload.
#[pyclass(frozen, module = "ossicle._native")]
struct EntryView(View);

/// What is put.
#[derive(FromPyObject)]
enum Input<'py> {
    Single(PyReadonlyArrayDyn<'py, f32>),
    Half(PyReadonlyArrayDyn<'py, u16>),
}

/// What is read into.
#[derive(FromPyObject)]
enum Output<'py> {
    Single(Bound<'py, PyArrayDyn<f32>>),
    Half(Bound<'py, PyArrayDyn<u16>>),
}

/// An output that nobody else writes to meanwhile.
enum Borrowed<'py> {
    Single(PyReadwriteArrayDyn<'py, f32>),
    Half(PyReadwriteArrayDyn<'py, u16>),
}

#[pymethods]
impl Cache {
    #[new]
    fn new(root: PathBuf, array: &str, max_bytes: Option<u64>, fsync: bool) -> Self {
        Self(Core::new(root, array, max_bytes).with_fsync(fsync))
    }

    fn exists(&self, py: Python<'_>, names: Names) -> PyResult<bool> {
        let key = key(py, names)?;
        door::enter_sure(py, || self.0.exists(&key))
    }

    fn get<'py>(
        &self,
        py: Python<'py>,
        names: Names,
        copy: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let keys = [key(py, names)?];
        Ok(self.get_all(py, &keys, copy, 1)?.pop().flatten())
    }

    fn get_batch<'py>(
        &self,
        py: Python<'py>,
        names: Vec<Names>,
        copy: bool,
        threads: usize,
    ) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        self.get_all(py, &keys(py, names)?, copy, threads)
    }

    /// The shape of what has been read to the start of `out`.
    fn get_into<'py>(
        &self,
        py: Python<'py>,
        names: Names,
        out: Output<'py>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let (key, mut out) = (key(py, names)?, out.borrow()?);
        let target = out.target()?;
        let read = || {
            let Some(found) = self.0.find(&key) else {
                return Ok(None);
            };
            let shape = found.shape().to_vec();
            Ok(self.0.read(found, target)?.map(|()| shape))
        };
        let shape = door::enter(py, read)?;
        shape.map(|shape| PyTuple::new(py, shape)).transpose()
    }

    /// How many elements each row of `out` has got, -1 for a miss, and what did not fit; zeros after them.
    fn get_batch_into<'py>(
        &self,
        py: Python<'py>,
        names: Vec<Names>,
        out: Output<'py>,
        threads: usize,
    ) -> PyResult<Lengths<'py>> {
        let (keys, row) = (keys(py, names)?, out.shape().split_off(1));
        let mut out = out.borrow()?;
        let rows = out.rows(keys.len())?;
        let work = |(key, target): (&Key, Target<'_>)| into_row(&self.0, key, &row, target);
        let items = keys.iter().zip(rows).collect();
        let lengths = door::enter_sure(py, || pool::each(items, threads, work))?;
        let error = lengths.iter().find_map(|length| length.as_ref().err());
        let error = error.map(|error| to_exception(py, error)).transpose()?;
        let lengths: Vec<i64> = lengths
            .into_iter()
            .map(|length| length.unwrap_or(-1))
            .collect();
        Ok((lengths.into_pyarray(py), error))
    }

    /// Puts all and gives, for each, none or the error that it met.
    fn put_batch<'py>(
        &self,
        py: Python<'py>,
        names: Vec<Names>,
        arrays: Vec<Input<'py>>,
        threads: usize,
    ) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        let keys = keys(py, names)?;
        let items = keys.iter().zip(&arrays);
        let puts: Vec<_> = items
            .map(|(key, array)| array.of(key))
            .collect::<PyResult<_>>()?;
        let mut errors: Vec<Option<Error>> = (0..puts.len()).map(|_| None).collect();
        let put = |turns: Vec<usize>| {
            let one = |turn: usize| {
                let (key, shape, samples) = puts.get(turn)?;
                self.0
                    .put(key, shape, *samples)
                    .err()
                    .map(|error| (turn, error))
            };
            Ok(turns.into_iter().filter_map(one).collect::<Vec<_>>())
        };
        let done = door::enter_sure(py, || pool::each(by_key(&keys), threads, put))?;
        for (turn, error) in done.into_iter().flat_map(Result::unwrap_or_default) {
            errors[turn] = Some(error);
        }
        let convert = |error: &Option<_>| error.as_ref().map(|e| to_exception(py, e)).transpose();
        errors.iter().map(convert).collect()
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        door::enter(py, || self.0.clear())
    }

    /// (evicted, orphans, bytes)
    fn prune(&self, py: Python<'_>, max_bytes: Option<u64>) -> PyResult<(u64, u64, u64)> {
        let left = door::enter(py, || self.0.prune(max_bytes))?;
        Ok((left.evicted, left.orphans, left.bytes))
    }

    fn entries(&self, py: Python<'_>) -> PyResult<Vec<Entry>> {
        let listed = door::enter_sure(py, || self.0.entries())?;
        let since = |time: std::time::SystemTime| match time.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_secs_f64(),
            Err(before) => -before.duration().as_secs_f64(),
        };
        let entries = listed.into_iter();
        Ok(entries.map(|e| (e.path, e.bytes, since(e.used))).collect())
    }

    /// None or (kind, reason) for each.
    fn check(
        &self,
        py: Python<'_>,
        paths: Vec<PathBuf>,
        threads: usize,
    ) -> PyResult<Vec<Option<(String, String)>>> {
        let one = |path: PathBuf| Ok(self.0.check(&path).err());
        let faults = door::enter_sure(py, || pool::each(paths, threads, one))?;
        let told = |fault: Result<Option<ossicle::cache::Fault>>| match fault {
            Ok(fault) => fault.map(|fault| (fault.kind.to_string(), fault.reason)),
            Err(panicked) => Some(("unreadable".to_owned(), panicked.to_string())),
        };
        Ok(faults.into_iter().map(told).collect())
    }

    /// (hits, misses, corrupt, evicted, failed, bytes, puts, entries, temporary)
    #[allow(clippy::type_complexity)]
    fn stats(&self, py: Python<'_>) -> PyResult<(u64, u64, u64, u64, u64, u64, u64, u64, u64)> {
        let s = door::enter_sure(py, || self.0.stats())?;
        Ok((
            s.hits,
            s.misses,
            s.corrupt,
            s.evicted,
            s.failed,
            s.bytes,
            s.puts,
            s.entries,
            s.temporary,
        ))
    }
}

impl Cache {
    fn get_all<'py>(
        &self,
        py: Python<'py>,
        keys: &[Key],
        copy: bool,
        threads: usize,
    ) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        if copy {
            let mut arrays = Vec::with_capacity(keys.len());
            for some in keys.chunks(OPEN_AT_ONCE) {
                arrays.extend(self.copies(py, some, threads)?);
            }
            return Ok(arrays);
        }
        let view = |key: &Key| Ok(self.0.view(key));
        let views = door::enter_sure(py, || pool::each(keys.iter().collect(), threads, view))?;
        let convert = |view: Result<Option<View>>| view.ok().flatten().map(|v| mapped(py, v));
        views
            .into_iter()
            .map(|one| convert(one).transpose())
            .collect()
    }

    /// Opens all, lets NumPy make the arrays, and reads into them: memory is written only once.
    fn copies<'py>(
        &self,
        py: Python<'py>,
        keys: &[Key],
        threads: usize,
    ) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        let find = |key: &Key| Ok(self.0.find(key));
        let found = door::enter_sure(py, || pool::each(keys.iter().collect(), threads, find))?;
        let found: Vec<_> = found.into_iter().map(|one| one.ok().flatten()).collect();
        // What memory cannot hold is a miss.
        let empty = |(key, found): (&Key, &Option<Found>)| {
            let Some(found) = found else { return Ok(None) };
            match empty(py, found.shape(), key.dtype()) {
                Err(error) if error.is_instance_of::<PyMemoryError>(py) => Ok(None),
                made => made.map(Some),
            }
        };
        let arrays: Vec<_> = keys
            .iter()
            .zip(&found)
            .map(empty)
            .collect::<PyResult<_>>()?;
        let mut borrowed: Vec<_> = arrays
            .iter()
            .map(|array| {
                array
                    .as_ref()
                    .map(|(_, memory)| memory.borrow())
                    .transpose()
            })
            .collect::<PyResult<_>>()?;
        let targets = borrowed
            .iter_mut()
            .map(|b| b.as_mut().map(Borrowed::target).transpose());
        let targets: Vec<_> = targets.collect::<PyResult<_>>()?;
        let read = |(found, target): (Option<Found>, Option<Target<'_>>)| {
            let Some((found, target)) = found.zip(target) else {
                return Ok(None);
            };
            self.0.read(found, target)
        };
        let items = found.into_iter().zip(targets).collect();
        let hits = door::enter_sure(py, || pool::each(items, threads, read))?;
        drop(borrowed);
        let kept = |(array, hit): (Option<(Bound<'py, PyAny>, _)>, Result<Option<()>>)| {
            hit.ok().flatten().and(array).map(|(array, _)| array)
        };
        Ok(arrays.into_iter().zip(hits).map(kept).collect())
    }
}

impl Input<'_> {
    fn of<'a>(&'a self, key: &'a Key) -> PyResult<(&'a Key, &'a [usize], Samples<'a>)> {
        Ok(match self {
            Self::Single(array) => (key, array.shape(), Samples::Float32(array.as_slice()?)),
            Self::Half(array) => (key, array.shape(), Samples::Float16(array.as_slice()?)),
        })
    }
}

impl<'py> Output<'py> {
    fn borrow(&self) -> PyResult<Borrowed<'py>> {
        Ok(match self {
            Self::Single(array) => Borrowed::Single(array.try_readwrite()?),
            Self::Half(array) => Borrowed::Half(array.try_readwrite()?),
        })
    }

    fn address(&self) -> usize {
        match self {
            Self::Single(array) => array.data() as usize,
            Self::Half(array) => array.data() as usize,
        }
    }

    fn shape(&self) -> Vec<usize> {
        match self {
            Self::Single(array) => array.shape().to_vec(),
            Self::Half(array) => array.shape().to_vec(),
        }
    }
}

impl Borrowed<'_> {
    fn target(&mut self) -> PyResult<Target<'_>> {
        Ok(match self {
            Self::Single(array) => Target::Float32(array.as_slice_mut()?),
            Self::Half(array) => Target::Float16(array.as_slice_mut()?),
        })
    }

    /// Its parts along the first dimension, of which there are `count`.
    fn rows(&mut self, count: usize) -> PyResult<Vec<Target<'_>>> {
        Ok(match self.target()? {
            Target::Float32(all) => parts(all, count).map(Target::Float32).collect(),
            Target::Float16(all) => parts(all, count).map(Target::Float16).collect(),
        })
    }
}

fn parts<T>(mut all: &mut [T], count: usize) -> impl Iterator<Item = &mut [T]> {
    let each = all.len() / count.max(1);
    (0..count).map(move |_| all.split_off_mut(..each).unwrap_or_default())
}

/// Reads an entry of the shape of a row, or a waveform that is no longer; zeros after it, or for a miss.
fn into_row(cache: &Core, key: &Key, row: &[usize], mut target: Target<'_>) -> Result<i64> {
    let Some(found) = cache.find(key) else {
        target.clear_from(0);
        return Ok(-1);
    };
    let shape = found.shape().to_vec();
    let is_short = matches!((shape.as_slice(), row), ([length], [room]) if length <= room);
    let count = shape.iter().product::<usize>();
    let outcome = if is_short || shape == row {
        cache.read(found, target.first(count))
    } else {
        // A wrong entry is a miss; a right one does not fit.
        let fits = || {
            Error::invalid(format!(
                "the entry has the shape {shape:?}, and the rows of out {row:?}"
            ))
        };
        cache.check_found(found).map_or(Ok(None), |()| Err(fits()))
    };
    let is_hit = matches!(outcome, Ok(Some(())));
    target.clear_from(if is_hit { count } else { 0 });
    Ok(if outcome?.is_some() { count as i64 } else { -1 })
}

/// The turns of each key, in order: the later of two puts under one key is the one that stays.
fn by_key(keys: &[Key]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::with_capacity(keys.len());
    let mut places = HashMap::new();
    for (turn, key) in keys.iter().enumerate() {
        let place = *places.entry(key.file_name()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(turn),
            None => groups.push(vec![turn]),
        }
    }
    groups
}

/// An array for Python, and the same memory as it is written to.
///
/// Longer ones begin at a line of the processor's cache, where the allocator's do not: the system's copying
/// into them takes a tenth less time.
fn empty<'py>(
    py: Python<'py>,
    shape: &[usize],
    dtype: Dtype,
) -> PyResult<(Bound<'py, PyAny>, Output<'py>)> {
    static EMPTY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = EMPTY.import(py, "numpy", "empty")?;
    let count: usize = shape.iter().product();
    let spare = if count < ALIGNED {
        0
    } else {
        LINE_BYTES / dtype.bytes()
    };
    let all = make.call1((count + spare, descr(dtype)))?;
    let start = match spare {
        0 => 0,
        _ => writable(&all, dtype)?.address().wrapping_neg() % LINE_BYTES / dtype.bytes(),
    };
    let (start, end) = (start as isize, (start + count) as isize);
    let flat = all.get_item(PySlice::new(py, start, end, 1))?;
    let memory = writable(&flat, dtype)?;
    let array = match shape.len() {
        1 => flat,
        _ => flat.call_method1("reshape", (PyTuple::new(py, shape)?,))?,
    };
    Ok((array, memory))
}

fn writable<'py>(array: &Bound<'py, PyAny>, dtype: Dtype) -> PyResult<Output<'py>> {
    match dtype {
        Dtype::Float32 => array.extract(),
        Dtype::Float16 => array.call_method1("view", ("u2",))?.extract(),
    }
}

fn mapped<'py>(py: Python<'py>, view: View) -> PyResult<Bound<'py, PyAny>> {
    static FROM_BUFFER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = FROM_BUFFER.import(py, "numpy", "frombuffer")?;
    let (shape, dtype) = (view.shape().to_vec(), descr(view.dtype()));
    let flat = make.call1((EntryView(view), dtype))?;
    match shape.len() {
        1 => Ok(flat),
        _ => flat.call_method1("reshape", (PyTuple::new(py, shape)?,)),
    }
}

fn descr(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Float32 => "f4",
        Dtype::Float16 => "f2",
    }
}

#[pymethods]
impl EntryView {
    /// The buffer protocol, read-only: NumPy keeps this object, and with it the map, alive.
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: the interpreter passes a valid `view`; the class is frozen, and a map never moves.
        unsafe { buffer::fill(slf.as_any(), slf.get().0.bytes(), view, flags) }
    }
}

fn key(py: Python<'_>, (name, identity, is_half): Names) -> PyResult<Key> {
    let dtype = if is_half {
        Dtype::Float16
    } else {
        Dtype::Float32
    };
    let key = Key::new(name, identity).map_err(|e| raise(py, &e))?;
    Ok(key.with_dtype(dtype))
}

fn keys(py: Python<'_>, names: Vec<Names>) -> PyResult<Vec<Key>> {
    names.into_iter().map(|one| key(py, one)).collect()
}
