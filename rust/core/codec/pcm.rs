//! Stored numbers: linear, companded and adaptive.

pub(crate) mod blocks;
mod decoder;

pub(crate) use decoder::Decoder;

use crate::error::{Error, Result};

/// As libsndfile's: a header alone must not make us reserve a plane for each of billions.
const MAX_CHANNELS: u32 = 1024;

/// Refuses more channels than are read.
pub(crate) fn check_channels(channels: u32) -> Result<()> {
    if channels <= MAX_CHANNELS {
        return Ok(());
    }
    let reason = format!("{channels} channels are too many: at most {MAX_CHANNELS} are read");
    Err(Error::unsupported(reason))
}
