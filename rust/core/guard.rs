//! What stands between a hostile file and the process: panics, memory, and carelessness that is no damage.

pub mod remark;
pub mod room;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, ErrorKind, Result};

/// Runs `work`, and turns a panic of a decoder into an error of the clip.
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(Error::new(
            ErrorKind::Decode,
            format!("the decoder failed on this data ({text})"),
        ))
    })
}
