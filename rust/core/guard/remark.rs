//! What is careless in a file whose bytes are whole: read all the same, and said.
//!
//! Samples, errors and remarks are the three outcomes of reading. Damage (bytes lost or altered) is an error.
//! A header, a flag or a timestamp that is wrong where every byte is there is a remark; a strict
//! reading makes each remark the error that it would be.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// Remarks kept of one source: a hostile file must not fill the memory with them.
const MAX_REMARKS: usize = 16;

/// One careless place in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What is careless, and how it was read.
    pub reason: String,
    /// The byte of the source, where there is one.
    pub byte_offset: Option<u64>,
}

impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reason)?;
        match self.byte_offset {
            Some(byte) => write!(f, " (byte {byte})"),
            None => Ok(()),
        }
    }
}

/// The remarks on one source, shared by all that read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remarks {
    is_strict: bool,
    found: Arc<Mutex<Vec<Remark>>>,
}

impl Remarks {
    /// Where each remark is an error if `is_strict`.
    pub(crate) fn new(is_strict: bool) -> Self {
        Self {
            is_strict,
            found: Arc::default(),
        }
    }

    /// Whether each remark is an error.
    pub(crate) fn is_strict(&self) -> bool {
        self.is_strict
    }

    /// Takes `carelessness`, which is an error of a strict reading. The same reason is kept once.
    pub(crate) fn note(&self, carelessness: Error) -> Result<()> {
        if self.is_strict {
            return Err(carelessness);
        }
        let reason = carelessness.reason();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() < MAX_REMARKS && found.iter().all(|remark| remark.reason != reason) {
            found.push(Remark {
                reason: reason.to_owned(),
                byte_offset: carelessness.byte_offset(),
            });
        }
        Ok(())
    }

    /// All that were noted, in the order of their bytes.
    pub(crate) fn list(&self) -> Vec<Remark> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = found.clone();
        list.sort_by_key(|remark| remark.byte_offset);
        list
    }
}
