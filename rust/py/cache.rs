//! The cache for Python: names and arrays in, arrays and views out.

use std::ffi::c_int;
use std::path::PathBuf;

use numpy::{PyArray1, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use ossicle::cache::{Cache as Core, Key};
use ossicle::npz::{Array, View};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::buffer;
use crate::error::{raise, to_exception};

/// File name and whole identity of an entry.
type Names = (String, String);

/// The native half of `ossicle.cache`: one root, one array name, one bound.
#[pyclass(frozen, module = "ossicle._native")]
pub(crate) struct Cache(Core);

/// An entry left in its file: a read-only buffer over its payload.
#[pyclass(frozen, module = "ossicle._native")]
struct EntryView(View);

/// What a get has found, before Python sees it.
enum Found {
    Copied(Array),
    Mapped(View),
}

#[pymethods]
impl Cache {
    #[new]
    fn new(root: PathBuf, array: &str, max_bytes: Option<u64>) -> Self {
        Self(Core::new(root, array, max_bytes))
    }

    fn exists(&self, py: Python<'_>, name: String, identity: String) -> PyResult<bool> {
        let key = key(py, (name, identity))?;
        Ok(py.detach(|| self.0.exists(&key)))
    }

    fn get<'py>(
        &self,
        py: Python<'py>,
        name: String,
        identity: String,
        copy: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let key = key(py, (name, identity))?;
        let found = py.detach(|| Found::get(&self.0, &key, copy));
        found.map(|one| one.into_numpy(py)).transpose()
    }

    fn get_batch<'py>(
        &self,
        py: Python<'py>,
        names: Vec<Names>,
        copy: bool,
    ) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        let keys = keys(py, names)?;
        let get = |key: &Key| Found::get(&self.0, key, copy);
        let found: Vec<_> = py.detach(|| keys.iter().map(get).collect());
        let convert = |one: Option<Found>| one.map(|one| one.into_numpy(py)).transpose();
        found.into_iter().map(convert).collect()
    }

    /// Puts all and gives, for each, none or the error that it met.
    fn put_batch<'py>(
        &self,
        py: Python<'py>,
        names: Vec<Names>,
        arrays: Vec<PyReadonlyArrayDyn<'py, f32>>,
    ) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        let keys = keys(py, names)?;
        let mut slices = Vec::with_capacity(arrays.len());
        for array in &arrays {
            slices.push((array.shape(), array.as_slice()?));
        }
        let put = |(key, &(shape, samples)): (&Key, &(&[usize], &[f32]))| {
            self.0.put(key, shape, samples).err()
        };
        let errors: Vec<_> = py.detach(|| keys.iter().zip(&slices).map(put).collect());
        let convert = |error: &Option<_>| error.as_ref().map(|e| to_exception(py, e)).transpose();
        errors.iter().map(convert).collect()
    }

    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.0.clear()).map_err(|e| raise(py, &e))
    }

    /// (hits, misses, corrupt, evicted, failed, bytes)
    fn stats(&self, py: Python<'_>) -> (u64, u64, u64, u64, u64, u64) {
        let s = py.detach(|| self.0.stats());
        (s.hits, s.misses, s.corrupt, s.evicted, s.failed, s.bytes)
    }
}

impl Found {
    fn get(cache: &Core, key: &Key, copy: bool) -> Option<Self> {
        match copy {
            true => cache.get(key).map(Self::Copied),
            false => cache.view(key).map(Self::Mapped),
        }
    }

    /// Hands the samples over: nothing is copied here, in either case.
    fn into_numpy(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self {
            Self::Copied(Array { shape, samples }) => {
                Ok(PyArray1::from_vec(py, samples).reshape(shape)?.into_any())
            }
            Self::Mapped(view) => {
                let shape = PyTuple::new(py, view.shape())?;
                let numpy = py.import("numpy")?;
                let flat = numpy.call_method1("frombuffer", (EntryView(view), "f4"))?;
                flat.call_method1("reshape", (shape,))
            }
        }
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

fn key(py: Python<'_>, (name, identity): Names) -> PyResult<Key> {
    Key::new(name, identity).map_err(|e| raise(py, &e))
}

fn keys(py: Python<'_>, names: Vec<Names>) -> PyResult<Vec<Key>> {
    names.into_iter().map(|one| key(py, one)).collect()
}
