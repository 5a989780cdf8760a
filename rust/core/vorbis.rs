//! Vorbis with more than two channels, which symphonia 0.6.1 decodes to noise in two cases.
//!
//! Vorbis I, section 4.3.5, undoes the coupling steps from the last to the first. Symphonia goes from
//! the first to the last, which is the same for stereo only. The steps lie side by side in the setup
//! header, so that reversing them there puts it right.
//!
//! Section 8.6.2: a classword can hold classes for more partitions than are left. Symphonia writes
//! them over those of the next channel, where residues are not interleaved (types 0 and 1). No
//! header mends that: such a stream is refused.

use crate::error::{Error, Result};

/// Reverses the coupling steps in a decoder's extra data; leaves alone what it cannot read.
///
/// # Errors
/// A stream that would be decoded wrong all the same.
pub(crate) fn repair(extra_data: &mut [u8]) -> Result<()> {
    let Some((ident, setup)) = find_setup(extra_data) else {
        return Ok(());
    };
    // A broken header is the decoder's to complain of.
    let garbled = Setup::new(&mut extra_data[setup..], ident).repair();
    match garbled {
        Some(true) => Err(Error::unsupported(format!(
            "Vorbis of {} channels with residues that are not interleaved is not decoded here",
            ident.channels
        ))),
        _ => Ok(()),
    }
}

/// How long the blocks of a stream are, by what their packets begin with: section 4.3.1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Blocks {
    /// Samples of a short and of a long block.
    pub(crate) sizes: [u32; 2],
    /// Whether each mode is that of long blocks.
    modes: Vec<bool>,
}

impl Blocks {
    /// Reads a decoder's extra data; `None` where that is broken.
    pub(crate) fn parse(extra_data: &[u8]) -> Option<Self> {
        let (ident, setup) = find_setup(extra_data)?;
        let [short, long] = ident.blocks;
        if !(6 <= short && short <= long && long <= 13) {
            return None;
        }
        // It is read as it is written over.
        let mut setup = extra_data.get(setup..)?.to_vec();
        let modes = Setup::new(&mut setup, ident).modes()?;
        Some(Self {
            sizes: [1 << short, 1 << long],
            modes,
        })
    }

    /// Samples of the block in a packet that begins with `head`; `None` where it is none of audio.
    pub(crate) fn size(&self, head: &[u8]) -> Option<u32> {
        let first = u32::from(*head.first()?);
        let bits = bit_length(self.modes.len() as u32 - 1);
        let mode = (first >> 1) & ((1 << bits) - 1);
        let is_long = self.modes.get(mode as usize).filter(|_| first & 1 == 0)?;
        Some(self.sizes[usize::from(*is_long)])
    }
}

const IDENT_BYTES: usize = 30;
const SIGNATURE_BYTES: usize = 7;

/// What is needed of the identification header: section 4.2.2.
#[derive(Clone, Copy)]
struct Ident {
    channels: u8,
    /// Exponents of the short and the long block.
    blocks: [u8; 2],
}

/// The identification header, and where the setup header begins.
fn find_setup(extra_data: &[u8]) -> Option<(Ident, usize)> {
    let (ident, setup) = match extra_data.first()? {
        // As in Matroska: three headers behind the lengths of the first two, in 255s.
        2 => {
            let mut at = 1;
            let mut length = || {
                let start = at;
                while *extra_data.get(at)? == 255 {
                    at += 1;
                }
                at += 1;
                Some(255 * (at - 1 - start) + usize::from(extra_data[at - 1]))
            };
            let (ident, comment) = (length()?, length()?);
            (at, at + ident + comment)
        }
        _ => (0, IDENT_BYTES),
    };
    let is_setup = extra_data.get(setup..)?.starts_with(b"\x05vorbis");
    let (channels, blocks) = (*extra_data.get(ident + 11)?, *extra_data.get(ident + 28)?);
    let blocks = [blocks & 15, blocks >> 4];
    is_setup.then_some((Ident { channels, blocks }, setup))
}

/// What is needed of a residue's header: section 8.6.1.
struct Residue {
    interleaved: bool,
    range: [u32; 2],
    partition: u32,
    /// Partitions whose classes one classword holds.
    parts_per_classword: u32,
}

impl Residue {
    /// Whether the last classword of a block holds more classes than partitions are left.
    fn overhangs(&self, block: u8) -> bool {
        let half = 1u32 << block.clamp(1, 15) >> 1;
        let [begin, end] = self.range.map(|bound| bound.min(half));
        let partitions = end.saturating_sub(begin) / self.partition;
        self.parts_per_classword > 0 && !partitions.is_multiple_of(self.parts_per_classword)
    }
}

/// The setup header, read bit by bit: section 4.2.4.
struct Setup<'a> {
    bytes: &'a mut [u8],
    at: u64,
    ident: Ident,
    /// Dimensions of each codebook.
    codebooks: Vec<u32>,
    residues: Vec<Residue>,
}

impl<'a> Setup<'a> {
    fn new(bytes: &'a mut [u8], ident: Ident) -> Self {
        Self {
            bytes,
            at: 8 * SIGNATURE_BYTES as u64,
            ident,
            codebooks: Vec::new(),
            residues: Vec::new(),
        }
    }

    /// Whether a mapping is decoded wrong in spite of it.
    fn repair(mut self) -> Option<bool> {
        self.mappings()
    }

    /// Whether each mode is that of long blocks: section 4.2.4, behind the mappings.
    fn modes(mut self) -> Option<Vec<bool>> {
        self.mappings()?;
        self.each(6, |setup| {
            let is_long = setup.read(1)? == 1;
            setup.skip(40)?;
            Some(is_long)
        })
    }

    /// Reads all in front of the modes.
    fn mappings(&mut self) -> Option<bool> {
        self.codebooks = self.each(8, Self::codebook)?;
        self.each(6, |setup| setup.skip(16))?;
        self.each(6, Self::skip_floor)?;
        self.residues = self.each(6, Self::residue)?;
        let garbled = self.each(6, Self::mapping)?;
        Some(garbled.contains(&true))
    }

    /// Does `work` as often as the number of `bits` bits says, which is one less.
    fn each<T>(&mut self, bits: u32, work: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.read(bits)? + 1;
        (0..count).map(|_| work(self)).collect()
    }

    fn codebook(&mut self) -> Option<u32> {
        self.skip(24)?;
        let (dimensions, entries) = (self.read(16)?, self.read(24)?);
        if self.read(1)? == 1 {
            self.skip(5)?;
            let mut entry = 0;
            while entry < entries {
                entry += self.read(bit_length(entries - entry))?;
            }
        } else {
            let sparse = self.read(1)? == 1;
            for _ in 0..entries {
                if !sparse || self.read(1)? == 1 {
                    self.skip(5)?;
                }
            }
        }
        let lookup = self.read(4)?;
        if lookup == 0 {
            return Some(dimensions);
        }
        self.skip(64)?;
        let bits = u64::from(self.read(4)? + 1);
        self.skip(1)?;
        let values = match lookup {
            1 => root(entries, dimensions)?,
            _ => u64::from(entries) * u64::from(dimensions),
        };
        self.skip(values.checked_mul(bits)?)?;
        Some(dimensions)
    }

    fn skip_floor(&mut self) -> Option<()> {
        if self.read(16)? == 0 {
            self.skip(8 + 16 + 16 + 6 + 8)?;
            return self.each(4, |setup| setup.skip(8)).map(drop);
        }
        let partitions = self.read(5)?;
        let classes = (0..partitions)
            .map(|_| self.read(4))
            .collect::<Option<Vec<_>>>()?;
        let count = classes.iter().max().map_or(0, |highest| highest + 1);
        let mut dimensions = Vec::new();
        for _ in 0..count {
            dimensions.push(u64::from(self.read(3)? + 1));
            let subclasses = self.read(2)?;
            let books = (1u64 << subclasses) + u64::from(subclasses > 0);
            self.skip(8 * books)?;
        }
        self.skip(2)?;
        let range_bits = u64::from(self.read(4)?);
        let points = classes.iter().map(|class| dimensions[*class as usize]);
        self.skip(range_bits * points.sum::<u64>())
    }

    fn residue(&mut self) -> Option<Residue> {
        let interleaved = self.read(16)? == 2;
        let range = [self.read(24)?, self.read(24)?];
        let partition = self.read(24)? + 1;
        let classifications = self.read(6)? + 1;
        let classbook = self.read(8)?;
        let mut books = 0;
        for _ in 0..classifications {
            books += self.read(3)?.count_ones();
            if self.read(1)? == 1 {
                books += self.read(5)?.count_ones();
            }
        }
        self.skip(8 * u64::from(books))?;
        Some(Residue {
            interleaved,
            range,
            partition,
            parts_per_classword: *self.codebooks.get(classbook as usize)?,
        })
    }

    /// Reverses its coupling steps; whether one of its submaps is decoded wrong.
    fn mapping(&mut self) -> Option<bool> {
        let channels = u32::from(self.ident.channels);
        self.skip(16)?;
        let submaps = if self.read(1)? == 1 {
            self.read(4)? + 1
        } else {
            1
        };
        if self.read(1)? == 1 {
            let steps = self.read(8)? + 1;
            self.reverse_fields(steps, 2 * bit_length(channels.checked_sub(1)?))?;
        }
        self.skip(2)?;
        let bits_of_submap = if submaps > 1 { 4 } else { 0 };
        let submap_of: Vec<u32> = (0..channels)
            .map(|_| self.read(bits_of_submap))
            .collect::<Option<_>>()?;
        let mut garbled = false;
        for submap in 0..submaps {
            self.skip(16)?;
            let residue = self.read(8)?;
            let residue = self.residues.get(residue as usize)?;
            let several = submap_of.iter().filter(|of| **of == submap).count() > 1;
            let overhangs = self.ident.blocks.iter().any(|b| residue.overhangs(*b));
            garbled |= several && !residue.interleaved && overhangs;
        }
        Some(garbled)
    }

    /// Puts the next `count` fields of `bits` bits each in the opposite order.
    fn reverse_fields(&mut self, count: u32, bits: u32) -> Option<()> {
        let start = self.at;
        let fields = (0..count)
            .map(|_| self.read(bits))
            .collect::<Option<Vec<_>>>()?;
        for (index, field) in fields.iter().rev().enumerate() {
            for bit in 0..bits {
                let at = start + index as u64 * u64::from(bits) + u64::from(bit);
                let byte = self.bytes.get_mut((at / 8) as usize)?;
                *byte = *byte & !(1 << (at % 8)) | ((field >> bit & 1) as u8) << (at % 8);
            }
        }
        Some(())
    }

    /// The next `bits` bits, at most 32, lowest first.
    fn read(&mut self, bits: u32) -> Option<u32> {
        let mut value = 0;
        for bit in 0..bits {
            let byte = *self.bytes.get((self.at / 8) as usize)?;
            value |= u32::from(byte >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        Some(value)
    }

    fn skip(&mut self, bits: u64) -> Option<()> {
        self.at = self.at.checked_add(bits)?;
        (self.at <= 8 * self.bytes.len() as u64).then_some(())
    }
}

/// How many bits `value` takes: `ilog` of the specification.
fn bit_length(value: u32) -> u32 {
    u32::BITS - value.leading_zeros()
}

/// The greatest number whose power `dimensions` is at most `entries`.
fn root(entries: u32, dimensions: u32) -> Option<u64> {
    if dimensions <= 1 {
        return (dimensions == 1).then_some(u64::from(entries));
    }
    let fits = |base: u64| {
        base.checked_pow(dimensions)
            .is_some_and(|p| p <= u64::from(entries))
    };
    Some((1u64..).take_while(|base| fits(*base)).last().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENT: Ident = Ident {
        channels: 6,
        blocks: [8, 11],
    };

    #[test]
    fn a_classword_overhangs_where_partitions_do_not_fill_it() {
        let residue = |parts_per_classword| Residue {
            interleaved: false,
            range: [0, 1 << 20],
            partition: 32,
            parts_per_classword,
        };
        // A block of 2048 gives 1024 values, and those 32 partitions.
        assert!(!residue(4).overhangs(11));
        assert!(residue(5).overhangs(11));
        assert!(!residue(0).overhangs(11));
    }

    #[test]
    fn roots_are_the_greatest_that_fit() {
        for (entries, dimensions, expected) in [
            (81, 4, 3),
            (80, 4, 2),
            (7, 1, 7),
            (1, 65_535, 1),
            (0, 2, 0),
            ((1 << 24) - 1, 2, 4095),
        ] {
            assert_eq!(root(entries, dimensions), Some(expected));
        }
        assert_eq!(root(5, 0), None);
    }

    #[test]
    fn fields_are_reversed_in_place() {
        // Three fields of 6 bits (1, 2, 3) from bit 3 on, between ones.
        let packed: u32 = 0b111 | 1 << 3 | 2 << 9 | 3 << 15 | 0x7FF << 21;
        let mut bytes = packed.to_le_bytes();
        let mut setup = Setup {
            at: 3,
            ..Setup::new(&mut bytes, IDENT)
        };
        assert_eq!(setup.reverse_fields(3, 6), Some(()));
        let expected: u32 = 0b111 | 3 << 3 | 2 << 9 | 1 << 15 | 0x7FF << 21;
        assert_eq!(u32::from_le_bytes(bytes), expected);
    }
}
