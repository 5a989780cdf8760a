//! Vorbis I: the decoder of its packets, and what a demuxer has to know of them. Sections are those of
//! the specification by Xiph.Org.

mod bits;
mod budget;
mod codebook;
#[cfg(test)]
mod craft;
mod decoder;
mod floor;
mod floor0;
mod floor1;
mod huffman;
mod mapping;
mod mdct;
mod residue;
mod setup;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use decoder::Decoder;
use setup::Setup;

use crate::error::{Error, Result};
use crate::idle::Idle;

/// What is wrong with headers, as the end of "broken Vorbis headers: ".
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fault(&'static str);

/// Setups between clips: files of one encoder share their code books, and building these takes as long
/// as decoding seconds of audio.
static SETUPS: Idle<Box<[u8]>, Arc<Setup>> = Idle::new(16);

/// What these headers say, the first and the third of three.
fn shared(headers: &[u8]) -> Result<Arc<Setup>> {
    if let Some(setup) = SETUPS.share(headers) {
        return Ok(setup);
    }
    let broken = |Fault(reason)| Error::corrupt(format!("the Vorbis headers are broken: {reason}"));
    let setup = Arc::new(Setup::parse(headers).map_err(broken)?);
    SETUPS.keep(headers.into(), Arc::clone(&setup));
    Ok(setup)
}

/// How long the blocks of a stream are, by what their packets begin with: section 4.3.1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Blocks {
    /// Samples of a short and of a long block.
    pub(crate) sizes: [u32; 2],
    /// Whether each mode is that of long blocks.
    modes: Vec<bool>,
    mode_bits: u32,
}

impl Blocks {
    /// Reads a decoder's extra data; `None` where that is broken.
    pub(crate) fn parse(extra_data: &[u8]) -> Option<Self> {
        let setup = shared(extra_data).ok()?;
        Some(Self {
            sizes: setup.halves.map(|half| 2 * half as u32),
            modes: setup.modes.iter().map(|mode| mode.is_long).collect(),
            mode_bits: setup.mode_bits(),
        })
    }

    /// Samples of the block in a packet that begins with `head`; `None` where it is none of audio.
    pub(crate) fn size(&self, head: &[u8]) -> Option<u32> {
        let first = u32::from(*head.first()?);
        let mode = (first >> 1) & ((1 << self.mode_bits) - 1);
        let is_long = self.modes.get(mode as usize).filter(|_| first & 1 == 0)?;
        Some(self.sizes[usize::from(*is_long)])
    }
}
