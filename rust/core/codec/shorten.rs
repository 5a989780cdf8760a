//! Shorten, versions 0 to 3: one channel's block after the other, each predicted from the samples before it.
//!
//! The stream has no frames, no index and no checksum: all that is decoded begins at its first bit.
//! Format: Tony Robinson, "SHORTEN: Simple lossless and near-lossless waveform compression", Cambridge University
//! technical report CUED/F-INFENG/TR.156, 1994; what it leaves open is as the author's program has it.

mod block;
pub(crate) mod header;
mod values;

use self::block::Channel;
use self::header::{Header, number, unsigned};
use self::values::Values;
use super::flac::Fault;
use super::flac::bits::Bits;

/// The commands of a stream.
mod command {
    pub(super) const QUIT: u32 = 4;
    pub(super) const BLOCK_SIZE: u32 = 5;
    pub(super) const SHIFT: u32 = 6;
    pub(super) const ZERO: u32 = 8;
    pub(super) const VERBATIM: u32 = 9;
}

const COMMAND_BITS: u32 = 2;
const ENERGY_BITS: u32 = 3;
const SHIFT_BITS: u32 = 2;
const MAX_SHIFT: u32 = 31;

/// What a command was.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// All channels have their block.
    Block,
    /// Nothing can be heard of it yet.
    Other,
    /// The mark at the end.
    End,
}

/// The decoder of one stream.
pub(crate) struct Decoder {
    header: Header,
    values: Values,
    channels: Vec<Channel>,
    /// Whose block comes next.
    next: usize,
    block_size: usize,
    shift: u32,
    planes: Vec<Vec<f32>>,
}

impl Decoder {
    pub(crate) fn new(header: &Header) -> Self {
        Self {
            values: Values::new(header.kind),
            channels: vec![Channel::new(header); header.channels],
            next: 0,
            block_size: header.block_size,
            shift: 0,
            planes: vec![Vec::new(); header.channels],
            header: header.clone(),
        }
    }

    /// The block of all channels after [`Step::Block`].
    pub(crate) fn planes(&self) -> &[Vec<f32>] {
        &self.planes
    }

    /// Its length.
    pub(crate) fn frames(&self) -> usize {
        self.block_size
    }

    /// Executes the next command of `bits`; after an error the decoder is as it was.
    ///
    /// # Errors
    /// [`Fault::Short`] when not all of the command is there.
    pub(crate) fn step(&mut self, bits: &mut Bits<'_>) -> Result<Step, Fault> {
        let command = unsigned(bits, COMMAND_BITS)?;
        match command {
            command::QUIT => Ok(Step::End),
            command::BLOCK_SIZE => self.change_block_size(bits),
            command::SHIFT => self.change_shift(bits),
            command::VERBATIM => header::verbatim(bits).map(|_| Step::Other),
            0..=3 | 7 | command::ZERO => self.decode_block(command, bits),
            _ => Err(Fault::Damaged("unknown command in the Shorten stream")),
        }
    }

    fn change_block_size(&mut self, bits: &mut Bits<'_>) -> Result<Step, Fault> {
        let size = number(bits, self.header.version, self.block_size.ilog2())? as usize;
        if size == 0 || size > self.header.block_size || self.next != 0 {
            return Err(Fault::Damaged(
                "impossible block size in the Shorten stream",
            ));
        }
        self.block_size = size;
        Ok(Step::Other)
    }

    fn change_shift(&mut self, bits: &mut Bits<'_>) -> Result<Step, Fault> {
        let shift = unsigned(bits, SHIFT_BITS)?;
        if shift > MAX_SHIFT || !self.values.takes_shift(shift) {
            return Err(Fault::Damaged("impossible bit shift in the Shorten stream"));
        }
        self.shift = shift;
        self.values.set_shift(shift);
        Ok(Step::Other)
    }

    fn decode_block(&mut self, command: u32, bits: &mut Bits<'_>) -> Result<Step, Fault> {
        let (size, shift) = (self.block_size, self.shift);
        let (Some(channel), Some(plane)) = (
            self.channels.get_mut(self.next),
            self.planes.get_mut(self.next),
        ) else {
            return Err(Fault::Damaged("a Shorten stream without channels"));
        };
        let parameter = match command {
            command::ZERO => 0,
            _ => energy(bits, self.header.version)?,
        };
        let block = channel.decode(command, bits, size, shift, parameter)?;
        self.values.write(block, plane)?;
        channel.finish(size, shift);
        self.next += 1;
        if self.next < self.channels.len() {
            return Ok(Step::Other);
        }
        self.next = 0;
        Ok(Step::Block)
    }
}

/// The low bits of a block's codes: those of the magnitudes, and the sign. Version 0 counts the sign in.
fn energy(bits: &mut Bits<'_>, version: u8) -> Result<u32, Fault> {
    let energy = unsigned(bits, ENERGY_BITS)?;
    let parameter = energy.saturating_add(u32::from(version > 0));
    match parameter {
        0..=31 => Ok(parameter),
        _ => Err(Fault::Damaged(
            "impossible code length in the Shorten stream",
        )),
    }
}
