//! The buffer protocol over bytes that the core owns.

use std::ffi::c_int;

use pyo3::ffi;
use pyo3::prelude::*;

/// Fills `view` with `bytes`, read-only, and makes it own `owner`, which keeps them alive.
///
/// # Safety
/// `view` is what the interpreter passed to `__getbuffer__` of `owner`, a frozen class; `bytes` live as
/// long as `owner` does and never move.
pub(crate) unsafe fn fill(
    owner: &Bound<'_, PyAny>,
    bytes: &[u8],
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    // SAFETY: as the caller vouches.
    let status = unsafe {
        let start = bytes.as_ptr().cast_mut().cast();
        ffi::PyBuffer_FillInfo(view, owner.as_ptr(), start, bytes.len() as isize, 1, flags)
    };
    match status {
        0 => Ok(()),
        // A writable buffer was asked for: the interpreter has set the error.
        _ => Err(PyErr::fetch(owner.py())),
    }
}
