//! Huffman codes by table, and the numbers that they stand for: ISO/IEC 14496-3, section 4.6.3.

use std::sync::LazyLock;

use super::Fault;
use super::codebooks::{Codes, SCALE_FACTORS, SPECTRUM};
use crate::codec::bits::Bits;

/// Codes of so many bits or fewer are found at once, longer ones in a second table.
const ROOT: usize = 9;
/// The largest quantised value: 13 bits after an escape.
const LARGEST: usize = 8191;
/// The value of book 11 that says that the real one follows.
const ESCAPE: usize = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Code {
    /// Its place in the standard's table.
    index: u16,
    bits: u8,
    /// The bits, and those of the signs after them.
    with_signs: u8,
}

/// What every word begins with.
struct Table {
    /// By the first bits; no bits where the code is longer.
    root: Box<[Code; 1 << ROOT]>,
    /// By the first `longest` bits, less `tail_from`.
    tail: Vec<Code>,
    tail_from: usize,
    longest: usize,
}

impl Table {
    fn new(codes: &Codes, signs: impl Fn(u16) -> u8) -> Self {
        let longest = codes.counts.len().max(ROOT);
        let bits = (1..).zip(codes.counts);
        let bits = bits.flat_map(|(bits, count)| std::iter::repeat_n(bits, usize::from(*count)));
        let mut all = Vec::with_capacity(1 << longest);
        for (index, bits) in codes.indices.iter().zip(bits) {
            let code = Code {
                index: *index,
                bits,
                with_signs: bits + signs(*index),
            };
            all.resize(all.len() + (1 << (longest - usize::from(bits))), code);
        }
        let step = 1 << (longest - ROOT);
        let is_short = |code: &Code| usize::from(code.bits) <= ROOT;
        let mut root = Box::new([Code::default(); 1 << ROOT]);
        for (to, from) in root.iter_mut().zip(all.iter().step_by(step)) {
            *to = if is_short(from) {
                *from
            } else {
                Code::default()
            };
        }
        let tail_from = all.iter().take_while(|code| is_short(code)).count();
        let tail = all.split_off(tail_from);
        Self {
            root,
            tail,
            tail_from,
            longest,
        }
    }

    /// The code that `word` begins with.
    #[inline(always)]
    fn find(&self, word: u64) -> Code {
        let code = self.root[(word >> (64 - ROOT)) as usize];
        if code.bits > 0 {
            return code;
        }
        let place = (word >> (64 - self.longest)) as usize;
        let place = place.wrapping_sub(self.tail_from);
        self.tail.get(place).copied().unwrap_or_default()
    }
}

/// What the codes of a spectral book stand for, the powers of 4/3 taken.
enum Values {
    /// Four coefficients with their signs.
    Quads(Vec<[f32; 4]>),
    /// Four, the signs of those that are not 0 after the code.
    UnsignedQuads(Unsigned<4>),
    Pairs(Vec<[f32; 2]>),
    UnsignedPairs(Unsigned<2>),
    /// Two, and escapes after the signs.
    Escapes,
}

/// Coefficients whose signs follow.
struct Unsigned<const N: usize> {
    /// By the index of a code, with a bit for each that has a sign.
    magnitudes: Vec<([f32; N], u32)>,
    /// By those bits and by the next `N` of the stream: what to flip.
    flips: Vec<[u32; N]>,
}

impl<const N: usize> Unsigned<N> {
    fn new(base: usize) -> Self {
        let signed = |values: &[f32; N]| {
            let bits = values.iter().rev().enumerate();
            bits.map(|(place, value)| u32::from(*value != 0.0) << place)
                .sum()
        };
        let values = digits(base, 0).into_iter();
        Self {
            magnitudes: values.map(|values| (values, signed(&values))).collect(),
            flips: (0..1 << (2 * N)).map(Self::flips).collect(),
        }
    }

    /// Gives the signs in the lower half of `key` to those that have a bit in its upper half.
    fn flips(key: u32) -> [u32; N] {
        let mut next = N;
        std::array::from_fn(|place| {
            let has_sign = key >> (2 * N - 1 - place) & 1;
            next -= has_sign as usize;
            (has_sign & key >> next) << 31
        })
    }

    /// The coefficients of the code of this index, before `signs`.
    #[inline(always)]
    fn with_signs(&self, index: u16, signs: u64, scale: f32) -> [f32; N] {
        let none = ([0.0; N], 0);
        let (values, signed) = self.magnitudes.get(usize::from(index)).unwrap_or(&none);
        let key = signed << N | (signs >> (64 - N)) as u32;
        let flips = self.flips.get(key as usize).unwrap_or(&[0; N]);
        std::array::from_fn(|n| f32::from_bits((values[n] * scale).to_bits() ^ flips[n]))
    }
}

/// A spectral book.
pub(super) struct Book {
    table: Table,
    values: Values,
}

static BOOKS: LazyLock<Vec<Book>> = LazyLock::new(|| {
    SPECTRUM
        .iter()
        .zip(1..)
        .map(|(codes, n)| Book::new(codes, n))
        .collect()
});
static FACTORS: LazyLock<Table> = LazyLock::new(|| Table::new(&SCALE_FACTORS, |_| 0));
static POWERS: LazyLock<Vec<f32>> = LazyLock::new(|| {
    (0..=LARGEST)
        .map(|value| (value as f64).powf(4.0 / 3.0) as f32)
        .collect()
});

/// The spectral book of this number, 1 to 11.
pub(super) fn book(number: u8) -> Option<&'static Book> {
    BOOKS.get(usize::from(number).wrapping_sub(1))
}

/// Reads the difference of two scale factors.
pub(super) fn read_difference(bits: &mut Bits<'_>) -> Result<i32, Fault> {
    let code = FACTORS.find(bits.word());
    bits.skip(usize::from(code.bits))?;
    Ok(i32::from(code.index) - 60)
}

impl Book {
    fn new(codes: &Codes, number: usize) -> Self {
        let values = match number {
            1 | 2 => Values::Quads(digits(3, 1)),
            3 | 4 => Values::UnsignedQuads(Unsigned::new(3)),
            5 | 6 => Values::Pairs(digits(9, 4)),
            7 | 8 => Values::UnsignedPairs(Unsigned::new(8)),
            9 | 10 => Values::UnsignedPairs(Unsigned::new(13)),
            _ => Values::Escapes,
        };
        let signs = |index: u16| match &values {
            Values::UnsignedQuads(values) => values.magnitudes[usize::from(index)].1.count_ones(),
            Values::UnsignedPairs(values) => values.magnitudes[usize::from(index)].1.count_ones(),
            _ => 0,
        };
        let table = Table::new(codes, |index| signs(index) as u8);
        Self { table, values }
    }

    /// Fills `band` with its coefficients, times `scale`.
    ///
    /// # Errors
    /// Bits run out, or an escape is longer than any is.
    pub(super) fn read(
        &self,
        bits: &mut Bits<'_>,
        scale: f32,
        band: &mut [f32],
    ) -> Result<(), Fault> {
        // A copy that lives in registers.
        let mut reader = *bits;
        match &self.values {
            Values::Quads(values) => self.each(&mut reader, band, |index, _| {
                let values = values.get(usize::from(index)).unwrap_or(&[0.0; 4]);
                values.map(|value| value * scale)
            }),
            Values::Pairs(values) => self.each(&mut reader, band, |index, _| {
                let values = values.get(usize::from(index)).unwrap_or(&[0.0; 2]);
                values.map(|value| value * scale)
            }),
            Values::UnsignedQuads(values) => self.each(&mut reader, band, |index, signs| {
                values.with_signs(index, signs, scale)
            }),
            Values::UnsignedPairs(values) => self.each(&mut reader, band, |index, signs| {
                values.with_signs(index, signs, scale)
            }),
            Values::Escapes => self.escapes(&mut reader, scale, band)?,
        }
        *bits = reader;
        Ok(bits.check()?)
    }

    /// Fills `band` with what `values` gives for the codes, and for the bits after them.
    #[inline(always)]
    fn each<const N: usize>(
        &self,
        bits: &mut Bits<'_>,
        band: &mut [f32],
        values: impl Fn(u16, u64) -> [f32; N],
    ) {
        // Two codes of 16 bits at most and four signs each fit in one word.
        for two in band.as_chunks_mut::<N>().0.chunks_mut(2) {
            let mut word = bits.word();
            let mut used = 0;
            for group in two {
                let code = self.table.find(word);
                *group = values(code.index, word << code.bits);
                word <<= code.with_signs;
                used += usize::from(code.with_signs);
            }
            bits.at += used;
        }
    }

    fn escapes(&self, bits: &mut Bits<'_>, scale: f32, band: &mut [f32]) -> Result<(), Fault> {
        let powers: &[f32] = &POWERS;
        for pair in band.as_chunks_mut::<2>().0 {
            // A code of 12 bits, two signs and two escapes of 21: they fit in one word.
            let mut word = bits.word();
            let code = self.table.find(word);
            word <<= code.bits;
            let index = usize::from(code.index);
            let values = [index / 17, index % 17];
            let mut used = usize::from(code.bits);
            let mut signs = word;
            let count = values.map(|value| usize::from(value > 0));
            word <<= count[0] + count[1];
            used += count[0] + count[1];
            for ((to, value), has_sign) in pair.iter_mut().zip(values).zip(count) {
                let mut value = value;
                if value == ESCAPE {
                    let ones = word.leading_ones() as usize;
                    if ones > 8 {
                        return Err(Fault::Damaged(
                            "an AAC packet has an impossible coefficient",
                        ));
                    }
                    word <<= ones + 1;
                    value = (1 << (ones + 4)) + (word >> (60 - ones)) as usize;
                    word <<= ones + 4;
                    used += 2 * ones + 5;
                }
                let power = powers.get(value).copied().unwrap_or_default();
                *to = with_sign(power * scale, signs);
                signs <<= has_sign;
            }
            bits.at += used;
        }
        Ok(())
    }
}

/// `value`, negative where the first bit of `signs` is set.
#[inline(always)]
fn with_sign(value: f32, signs: u64) -> f32 {
    f32::from_bits(value.to_bits() ^ (signs >> 32) as u32 & 0x8000_0000)
}

/// The numbers that all indices of a book have as digits to the base `base`, less `offset`, to the
/// power of 4/3.
fn digits<const N: usize>(base: usize, offset: i32) -> Vec<[f32; N]> {
    let digit =
        |index: usize, place: usize| (index / base.pow((N - 1 - place) as u32) % base) as i32;
    let power = |digit: i32| f64::from(digit).abs().powf(4.0 / 3.0) * f64::from(digit.signum());
    (0..base.pow(N as u32))
        .map(|index| std::array::from_fn(|place| power(digit(index, place) - offset) as f32))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, as the codes are defined.
    fn slow(codes: &Codes, word: u64) -> Code {
        let (mut code, mut first, mut before) = (0, 0, 0);
        for (bits, count) in (1..).zip(codes.counts) {
            let count = usize::from(*count);
            code = code << 1 | (word >> (64 - bits) & 1) as usize;
            if code - first < count {
                let index = codes.indices[before + code - first];
                let bits = bits as u8;
                return Code {
                    index,
                    bits,
                    with_signs: bits,
                };
            }
            first = (first + count) << 1;
            before += count;
        }
        Code::default()
    }

    #[test]
    fn tables_find_what_reading_bit_by_bit_does() {
        for codes in SPECTRUM.iter().chain([&SCALE_FACTORS]) {
            let table = Table::new(codes, |_| 0);
            for word in 0..1u64 << 19 {
                assert_eq!(table.find(word << 45), slow(codes, word << 45));
            }
        }
    }

    #[test]
    fn signs_go_to_what_is_not_0() {
        let values = Unsigned::<4>::new(3);
        // Digits 1, 0, 2, 1 with the signs -, + and -.
        let power = 2f32.powf(4.0 / 3.0);
        let index = 27 + 6 + 1;
        let signs = 0b101 << 61;
        assert_eq!(
            values.with_signs(index, signs, 1.0),
            [-1.0, 0.0, power, -1.0]
        );
    }

    #[test]
    fn digits_are_those_of_the_standard() {
        let quads = digits::<4>(3, 1);
        assert_eq!(
            (quads[0], quads[40], quads[80]),
            ([-1.0; 4], [0.0; 4], [1.0; 4])
        );
        assert_eq!(digits::<2>(8, 0)[8], [1.0, 0.0]);
    }
}
