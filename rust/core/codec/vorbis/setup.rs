//! The identification header and the setup header: section 4.2.

use super::Fault;
use super::bits::{Bits, bit_length};
use super::budget::Budget;
use super::codebook::Codebook;
use super::floor::Floor;
use super::mapping::Mapping;
use super::residue::Residue;

const IDENT_BYTES: usize = 30;

/// All that the headers say.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) channels: usize,
    pub(super) sample_rate: u32,
    /// Half of a short and of a long block, in samples.
    pub(super) halves: [usize; 2],
    pub(super) books: Vec<Codebook>,
    pub(super) floors: Vec<Floor>,
    pub(super) residues: Vec<Residue>,
    pub(super) mappings: Vec<Mapping>,
    pub(super) modes: Vec<Mode>,
}

#[derive(Debug)]
pub(super) struct Mode {
    pub(super) is_long: bool,
    pub(super) mapping: usize,
}

impl Setup {
    /// Reads the identification header with the setup header after it.
    pub(super) fn parse(headers: &[u8]) -> Result<Self, Fault> {
        let ident = headers.first_chunk::<IDENT_BYTES>();
        let ident = ident.ok_or(Fault("they end too early"))?;
        let (channels, sample_rate, halves) = parse_ident(ident)?;
        let setup = headers[IDENT_BYTES..].strip_prefix(b"\x05vorbis");
        let setup = setup.ok_or(Fault("the setup header is missing"))?;
        let bits = &mut Bits::new(setup);
        let mut budget = Budget::new();
        let books = several(bits, 8, |bits| Codebook::parse(bits, &mut budget))?;
        several(bits, 6, |bits| match bits.need(16)? {
            0 => Ok(()),
            _ => Err(Fault("a time domain transform has an unknown type")),
        })?;
        let floors = several(bits, 6, |bits| Floor::parse(bits, &books, halves))?;
        let residues = several(bits, 6, |bits| Residue::parse(bits, &books, &mut budget))?;
        let parts = (floors.len(), residues.len());
        let mappings = several(bits, 6, |bits| {
            Mapping::parse(bits, channels, parts.0, parts.1)
        })?;
        let modes = several(bits, 6, |bits| Mode::parse(bits, mappings.len()))?;
        if !bits.flag()? {
            return Err(Fault("the framing bit is missing"));
        }
        Ok(Self {
            channels,
            sample_rate,
            halves,
            books,
            floors,
            residues,
            mappings,
            modes,
        })
    }

    /// Bits that tell the mode of a packet.
    pub(super) fn mode_bits(&self) -> u32 {
        bit_length(self.modes.len() as u32 - 1)
    }
}

impl Mode {
    fn parse(bits: &mut Bits<'_>, mappings: usize) -> Result<Self, Fault> {
        let is_long = bits.flag()?;
        let (window, transform) = (bits.need(16)?, bits.need(16)?);
        let mapping = bits.need(8)? as usize;
        if window != 0 || transform != 0 || mapping >= mappings {
            return Err(Fault("a mode has an unknown type"));
        }
        Ok(Self { is_long, mapping })
    }
}

/// Channels, rate, and halves of blocks: section 4.2.2.
fn parse_ident(ident: &[u8; IDENT_BYTES]) -> Result<(usize, u32, [usize; 2]), Fault> {
    let [
        b'\x01',
        b'v',
        b'o',
        b'r',
        b'b',
        b'i',
        b's',
        0,
        0,
        0,
        0,
        channels,
        a,
        b,
        c,
        d,
        ..,
        blocks,
        framing,
    ] = *ident
    else {
        return Err(Fault("they have an unknown version"));
    };
    let sample_rate = u32::from_le_bytes([a, b, c, d]);
    if channels == 0 || sample_rate == 0 || framing & 1 == 0 {
        return Err(Fault("they have no channel, or a rate of 0 Hz"));
    }
    let [short, long] = [blocks & 15, blocks >> 4];
    if !(6 <= short && short <= long && long <= 13) {
        return Err(Fault("the blocks have an impossible size"));
    }
    let halves = [1 << (short - 1), 1 << (long - 1)];
    Ok((usize::from(channels), sample_rate, halves))
}

/// As many as a number of `width` bits says, which is one less.
fn several<'a, T>(
    bits: &mut Bits<'a>,
    width: u32,
    mut parse: impl FnMut(&mut Bits<'a>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let count = bits.need(width)? + 1;
    (0..count).map(|_| parse(bits)).collect()
}
