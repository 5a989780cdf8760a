//! Checking entries without their keys: by what they echo, and by the names that keys make.

use std::fmt;
use std::fs::File;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::store::npz::{self, Dtype, Label};

/// The file names of features hold so many digits of the processor's digest; the entries echo all.
const PROCESSOR_DIGITS: usize = 12;

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Not what was put, or not what belongs under its name.
    Corrupt,
    /// Right, but made by another pipeline: a miss for this one.
    Stale,
    /// The disk does not tell.
    Unreadable,
}

/// What is wrong with an entry, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which kind of fault.
    pub kind: FaultKind,
    /// What was found.
    pub reason: String,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Io => FaultKind::Unreadable,
            ErrorKind::Unsupported => FaultKind::Stale,
            _ => FaultKind::Corrupt,
        };
        let reason = error.to_string();
        Self { kind, reason }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "corrupt",
            Self::Stale => "stale",
            Self::Unreadable => "unreadable",
        })
    }
}

/// Checks one entry, to the last bit. That of another pipeline is `Unsupported`, if nothing worse is found.
pub(super) fn check(file: &File, path: &Path, pipeline: &str) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut made_by = String::new();
    npz::inspect(file, |label| {
        made_by = label.pipeline.to_owned();
        belongs(label, &name)
    })?;
    if made_by != pipeline {
        let reason = format!("the entry was made by another pipeline: {made_by}");
        return Err(Error::unsupported(reason));
    }
    Ok(())
}

/// Whether an entry that says this of itself is looked for under `name`.
fn belongs(label: &Label, name: &str) -> Result<()> {
    if label.key != name && without_digits(label.key) != name {
        let key = label.key;
        return Err(Error::corrupt(format!("the entry has another key: {key}")));
    }
    let array = if name.ends_with(".wav.npz") {
        "waveform"
    } else {
        "input_features"
    };
    let dtype = match name.split('.').any(|part| part == "f16") {
        true => Dtype::Float16,
        false => Dtype::Float32,
    };
    if (label.array, label.dtype) != (array, dtype) {
        let (found, kept) = (label.array, label.dtype);
        return Err(Error::corrupt(format!(
            "the entry holds {found} as {kept:?} under this name"
        )));
    }
    Ok(())
}

/// The name of features that echo this: the digest of the processor, their second part, is cut.
fn without_digits(key: &str) -> String {
    let cut = |(at, part)| match at {
        1 => str::get(part, ..PROCESSOR_DIGITS).unwrap_or(part),
        _ => part,
    };
    let parts: Vec<&str> = key.split('.').enumerate().map(cut).collect();
    parts.join(".")
}
