//! Whose resampler converts.

use std::str::FromStr;

#[cfg(not(feature = "rubato"))]
use super::Quality;
use crate::error::{Error, Result};

/// Whose resampler converts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Engine {
    /// This crate's own.
    #[default]
    Native,
    /// That of the crate rubato; the cargo feature of that name has it.
    Rubato,
}

impl FromStr for Engine {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "native" => Ok(Self::Native),
            "rubato" => Ok(Self::Rubato),
            _ => {
                let reason = format!(r#"engine must be "native" or "rubato", not {name:?}"#);
                Err(Error::invalid(reason))
            }
        }
    }
}

#[cfg(feature = "rubato")]
pub(super) use super::second::convert as rubato;

#[cfg(not(feature = "rubato"))]
pub(super) fn rubato(
    _plane: &[f32],
    _rates: (u32, u32),
    _quality: Quality,
    _samples: &mut Vec<f32>,
) -> Result<()> {
    let reason = "this build has no second resampler: build it with the cargo feature rubato";
    Err(Error::unsupported(reason))
}
