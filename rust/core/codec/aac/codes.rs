//! Reading the Huffman codes of spectral band replication and parametric stereo.

use crate::codec::bits::Bits;

/// Codes of so many bits or fewer are found at once.
const ROOT: usize = 9;

/// One book, its codes in the order of their bits: each begins where the one before it ends.
pub(super) struct Codes {
    pub(super) lengths: &'static [u8],
    pub(super) values: &'static [i8],
}

#[derive(Clone, Copy, Default)]
struct Code {
    value: i8,
    /// 0 where the code is longer than the root.
    bits: u8,
}

/// A book, ready to be read with.
pub(super) struct Book {
    root: [Code; 1 << ROOT],
    /// Where each code begins, as a fraction of 2 to the power of 32.
    begins: Vec<u32>,
    codes: Vec<Code>,
}

impl Book {
    pub(super) fn new(codes: &Codes) -> Self {
        let pairs = codes.lengths.iter().zip(codes.values);
        let codes: Vec<Code> = pairs.map(|(&bits, &value)| Code { value, bits }).collect();
        let begins = codes.iter().scan(0u64, |end, code| {
            let begin = *end;
            *end += 1 << (32 - u32::from(code.bits));
            Some(begin as u32)
        });
        let mut book = Self {
            root: [Code::default(); 1 << ROOT],
            begins: begins.collect(),
            codes,
        };
        for index in 0..1 << ROOT {
            let code = book.find((index as u32) << (32 - ROOT));
            if usize::from(code.bits) <= ROOT {
                book.root[index] = code;
            }
        }
        book
    }

    fn find(&self, word: u32) -> Code {
        let place = self.begins.partition_point(|begin| *begin <= word);
        let code = self.codes.get(place.saturating_sub(1));
        code.copied().unwrap_or_default()
    }

    /// The next number; [`Bits::check`] or the end of the payload tells whether it was there.
    #[inline]
    pub(super) fn read(&self, bits: &mut Bits<'_>) -> i32 {
        let word = bits.peek(32);
        let mut code = self.root[(word >> (32 - ROOT)) as usize];
        if code.bits == 0 {
            code = self.find(word);
        }
        bits.at += usize::from(code.bits);
        i32::from(code.value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ps, sbr};
    use super::*;

    #[test]
    fn every_code_is_found() {
        let books = [&sbr::codebooks::ALL[..], &ps::codebooks::ALL[..]].concat();
        for codes in books {
            let (book, mut end) = (Book::new(codes), 0u64);
            for (length, value) in codes.lengths.iter().zip(codes.values) {
                let bytes = (end as u32).to_be_bytes();
                let mut bits = Bits::new(&bytes);
                assert_eq!(book.read(&mut bits), i32::from(*value));
                assert_eq!(bits.at, usize::from(*length));
                end += 1 << (32 - length);
            }
            // No bits are left that mean nothing.
            assert_eq!(end, 1 << 32);
        }
    }
}
