//! Code books: their headers, their codewords, and the vectors that these stand for. Section 3.

use super::Fault;
use super::bits::{Bits, bit_length};
use super::budget::Budget;
use super::huffman::Table;

const SYNC: u32 = 0x56_4342;

/// One code book, ready to be decoded with.
#[derive(Debug)]
pub(super) struct Codebook {
    pub(super) dimensions: usize,
    pub(super) entries: u32,
    table: Table,
    /// By entry, `dimensions` values each; none in a book of numbers only.
    vectors: Vec<f32>,
}

impl Codebook {
    pub(super) fn parse(bits: &mut Bits<'_>, budget: &mut Budget) -> Result<Self, Fault> {
        if bits.need(24)? != SYNC {
            return Err(Fault("a code book is not where it should be"));
        }
        let (dimensions, entries) = (bits.need(16)? as usize, bits.need(24)?);
        budget.take(entries as usize, dimensions)?;
        let lengths = lengths(bits, entries)?;
        let vectors = match bits.need(4)? {
            0 => Vec::new(),
            kind @ 1..=2 if dimensions > 0 => vectors(bits, &lengths, dimensions, kind == 1)?,
            _ => return Err(Fault("a code book has vectors of an unknown type")),
        };
        Ok(Self {
            dimensions,
            entries,
            table: Table::new(&lengths)?,
            vectors,
        })
    }

    /// Whether its entries stand for vectors.
    pub(super) fn has_vectors(&self) -> bool {
        !self.vectors.is_empty()
    }

    /// The next entry; `None` where the packet ends before.
    #[inline]
    pub(super) fn entry(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let entry = self.table.find(bits);
        (bits.left() >= 0 && !self.table.is_empty()).then_some(entry)
    }

    /// The vector of the next entry; `None` where the packet ends before.
    pub(super) fn vector(&self, bits: &mut Bits<'_>) -> Option<&[f32]> {
        let start = self.entry(bits)? * self.dimensions;
        self.vectors.get(start..start + self.dimensions)
    }

    /// Adds vectors to `target`, end to end; `None` where the packet ends before.
    pub(super) fn add(&self, bits: &mut Bits<'_>, target: &mut [f32]) -> Option<()> {
        let count = target.len().div_ceil(self.dimensions);
        let most = count.saturating_mul(self.table.longest() as usize);
        if most > bits.left().max(0) as usize {
            return self.add_warily(bits, target);
        }
        match self.dimensions {
            1 => self.add_each::<1>(bits, target),
            2 => self.add_each::<2>(bits, target),
            4 => self.add_each::<4>(bits, target),
            8 => self.add_each::<8>(bits, target),
            _ => self.add_warily(bits, target),
        }
    }

    /// The same for books of `N` dimensions, where the packet is known to be long enough.
    #[inline(never)]
    fn add_each<const N: usize>(&self, bits: &mut Bits<'_>, target: &mut [f32]) -> Option<()> {
        // A copy stays in registers.
        let mut reader = *bits;
        let (vectors, _) = self.vectors.as_chunks::<N>();
        let (whole, rest) = target.as_chunks_mut::<N>();
        for to in whole {
            let vector = vectors.get(self.table.find(&mut reader))?;
            *to = std::array::from_fn(|n| to[n] + vector[n]);
        }
        *bits = reader;
        if rest.is_empty() {
            Some(())
        } else {
            self.add_warily(bits, rest)
        }
    }

    #[inline(never)]
    fn add_warily(&self, bits: &mut Bits<'_>, target: &mut [f32]) -> Option<()> {
        for to in target.chunks_mut(self.dimensions) {
            for (to, value) in to.iter_mut().zip(self.vector(bits)?) {
                *to += value;
            }
        }
        Some(())
    }
}

/// The lengths of the codewords by entry, 0 for entries that are not used: section 3.2.1.
fn lengths(bits: &mut Bits<'_>, entries: u32) -> Result<Vec<u8>, Fault> {
    let mut lengths = Vec::new();
    if bits.flag()? {
        let mut length = bits.need(5)? as u8 + 1;
        let mut left = entries;
        while left > 0 {
            let count = bits.need(bit_length(left))?;
            if count > left || length > 32 {
                return Err(Fault("a code book has more codewords than entries"));
            }
            lengths.resize(lengths.len() + count as usize, length);
            left -= count;
            length += 1;
        }
        return Ok(lengths);
    }
    let is_sparse = bits.flag()?;
    for _ in 0..entries {
        let is_used = !is_sparse || bits.flag()?;
        lengths.push(if is_used { bits.need(5)? as u8 + 1 } else { 0 });
    }
    Ok(lengths)
}

/// The vectors by entry: section 3.2.1 for the header and section 3.3 for the rest.
fn vectors(
    bits: &mut Bits<'_>,
    lengths: &[u8],
    dimensions: usize,
    is_lattice: bool,
) -> Result<Vec<f32>, Fault> {
    let (least, step) = (float(bits.need(32)?), float(bits.need(32)?));
    let width = bits.need(4)? + 1;
    let adds_up = bits.flag()?;
    let count = match is_lattice {
        true => root(lengths.len(), dimensions),
        false => lengths.len() * dimensions,
    };
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(bits.need(width)? as f32 * step + least);
    }
    let mut vectors = vec![0.0; lengths.len() * dimensions];
    let mut digits = vec![0; dimensions];
    let entries = vectors.chunks_exact_mut(dimensions).zip(lengths);
    for (entry, (vector, length)) in entries.enumerate() {
        if *length > 0 {
            let mut last = 0.0;
            for (place, (to, digit)) in vector.iter_mut().zip(&digits).enumerate() {
                let at = if is_lattice {
                    *digit
                } else {
                    entry * dimensions + place
                };
                *to = values.get(at).copied().unwrap_or(0.0) + last;
                last = if adds_up { *to } else { 0.0 };
            }
        }
        if is_lattice {
            count_on(&mut digits, count);
        }
    }
    Ok(vectors)
}

/// The next number of these digits, the lowest first.
fn count_on(digits: &mut [usize], base: usize) {
    for digit in digits {
        *digit += 1;
        if *digit < base {
            return;
        }
        *digit = 0;
    }
}

/// The greatest number whose power `dimensions` is at most `entries`: `lookup1_values`, section 9.2.3.
fn root(entries: usize, dimensions: usize) -> usize {
    let exponent = dimensions as u32;
    let fits = |base: &usize| base.checked_pow(exponent).is_some_and(|p| p <= entries);
    match dimensions {
        0 => 0,
        1 => entries,
        _ => (1..).take_while(fits).last().unwrap_or(0),
    }
}

/// A number as the headers have it, with 21 bits of mantissa: section 9.2.2.
fn float(packed: u32) -> f32 {
    let mantissa = f64::from(packed & 0x1F_FFFF);
    let exponent = (packed >> 21 & 0x3FF) as i32 - 788;
    let sign = if packed >> 31 == 1 { -1.0 } else { 1.0 };
    (sign * mantissa * f64::from(exponent).exp2()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(root(entries, dimensions), expected);
        }
        assert_eq!(root(5, 0), 0);
    }

    #[test]
    fn floats_are_those_of_the_format() {
        // Mantissa 1 with the exponent of 0, the same below zero, and a half.
        let packed = |mantissa: u32, exponent: u32| exponent << 21 | mantissa;
        assert_eq!(float(packed(1, 788)), 1.0);
        assert_eq!(float(packed(3, 787) | 1 << 31), -1.5);
        assert_eq!(float(packed(0, 1023)), 0.0);
    }
}
