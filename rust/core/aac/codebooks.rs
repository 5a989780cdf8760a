//! The Huffman codes of AAC, as far as their lengths and what follows them goes.
//!
//! Source: ISO/IEC 14496-3, tables 4.A.1 to 4.A.12. Ordered by length and then by value, the codes of
//! each book count up, as canonical ones do: how many there are of each length tells them all.

use super::bits::Bits;

/// One book.
pub(super) struct Book {
    /// Codes of 1 bit, 2 bits, and so on.
    counts: &'static [u16],
    /// The codes' indices in the standard's table, in the order of the codes; empty where all that
    /// counts is where a code ends.
    indices: &'static [u16],
    /// Coefficients that a code stands for.
    pub(super) dimension: usize,
    /// Values of one coefficient, where signs follow the code; 0 where the code has them in it.
    values: u16,
}

impl Book {
    /// Passes over one code, its signs and its escapes.
    pub(super) fn skip(&self, bits: &mut Bits<'_>) -> Option<()> {
        let rank = self.rank(bits)?;
        if self.values == 0 {
            return Some(());
        }
        let mut index = *self.indices.get(rank)?;
        let (mut signs, mut escapes) = (0, 0);
        for _ in 0..self.dimension {
            let value = index % self.values;
            index /= self.values;
            signs += usize::from(value > 0);
            escapes += usize::from(value == ESCAPE);
        }
        bits.skip(signs)?;
        (0..escapes).try_for_each(|_| skip_escape(bits))
    }

    /// Reads one code: its place among all of the book.
    fn rank(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut code, mut first, mut before) = (0, 0, 0);
        for count in self.counts {
            let count = u32::from(*count);
            code = code << 1 | bits.read(1)?;
            if code - first < count {
                return Some((before + code - first) as usize);
            }
            first = (first + count) << 1;
            before += count;
        }
        None
    }
}

/// The value of book 11 that says that the real one follows.
const ESCAPE: u16 = 16;

/// Ones, a zero, and four bits more than there were ones.
fn skip_escape(bits: &mut Bits<'_>) -> Option<()> {
    let mut ones = 0;
    while bits.flag()? {
        ones += 1;
    }
    // Beyond 13 bits no value is legal.
    (ones < 9).then_some(())?;
    bits.skip(ones + 4)
}

/// Differences of scale factors.
pub(super) const SCALE_FACTORS: Book = Book {
    counts: &SCALE_FACTOR_COUNTS,
    indices: &[],
    dimension: 1,
    values: 0,
};

/// Spectral books 1 to 11.
pub(super) const SPECTRUM: [Book; 11] = [
    Book {
        counts: &COUNTS_1,
        indices: &[],
        dimension: 4,
        values: 0,
    },
    Book {
        counts: &COUNTS_2,
        indices: &[],
        dimension: 4,
        values: 0,
    },
    Book {
        counts: &COUNTS_3,
        indices: &INDICES_3,
        dimension: 4,
        values: 3,
    },
    Book {
        counts: &COUNTS_4,
        indices: &INDICES_4,
        dimension: 4,
        values: 3,
    },
    Book {
        counts: &COUNTS_5,
        indices: &[],
        dimension: 2,
        values: 0,
    },
    Book {
        counts: &COUNTS_6,
        indices: &[],
        dimension: 2,
        values: 0,
    },
    Book {
        counts: &COUNTS_7,
        indices: &INDICES_7,
        dimension: 2,
        values: 8,
    },
    Book {
        counts: &COUNTS_8,
        indices: &INDICES_8,
        dimension: 2,
        values: 8,
    },
    Book {
        counts: &COUNTS_9,
        indices: &INDICES_9,
        dimension: 2,
        values: 13,
    },
    Book {
        counts: &COUNTS_10,
        indices: &INDICES_10,
        dimension: 2,
        values: 13,
    },
    Book {
        counts: &COUNTS_11,
        indices: &INDICES_11,
        dimension: 2,
        values: 17,
    },
];

const COUNTS_1: [u16; 11] = [1, 0, 0, 0, 8, 0, 24, 0, 24, 8, 16];
const COUNTS_2: [u16; 9] = [0, 0, 1, 1, 7, 24, 15, 19, 14];
const COUNTS_3: [u16; 16] = [1, 0, 0, 4, 2, 6, 3, 5, 15, 15, 8, 9, 3, 3, 5, 2];
const INDICES_3: [u16; 81] = [
    0, 27, 1, 9, 3, 36, 4, 12, 10, 30, 13, 28, 39, 40, 31, 37, 54, 2, 5, 63, 48, 7, 16, 45, 14, 66,
    6, 21, 15, 18, 11, 57, 49, 22, 42, 43, 46, 33, 34, 19, 67, 41, 64, 32, 8, 17, 75, 51, 29, 55,
    25, 72, 52, 38, 58, 44, 76, 24, 23, 35, 73, 69, 78, 26, 79, 70, 50, 53, 20, 60, 47, 61, 68, 65,
    80, 77, 71, 59, 56, 74, 62,
];
const COUNTS_4: [u16; 12] = [0, 0, 0, 10, 6, 0, 9, 21, 8, 14, 11, 2];
const INDICES_4: [u16; 81] = [
    40, 13, 37, 39, 31, 27, 36, 0, 4, 30, 28, 12, 1, 10, 3, 9, 67, 43, 49, 41, 66, 64, 48, 58, 16,
    14, 42, 22, 32, 46, 38, 34, 63, 57, 45, 55, 11, 21, 5, 15, 19, 29, 7, 33, 54, 2, 18, 6, 52, 76,
    70, 44, 50, 68, 51, 75, 69, 25, 17, 73, 23, 61, 35, 79, 47, 59, 65, 53, 71, 77, 24, 72, 8, 60,
    20, 56, 80, 26, 78, 74, 62,
];
const COUNTS_5: [u16; 13] = [1, 0, 0, 4, 4, 0, 4, 12, 12, 12, 18, 10, 4];
const COUNTS_6: [u16; 11] = [0, 0, 0, 9, 0, 16, 13, 8, 23, 8, 4];
const COUNTS_7: [u16; 12] = [1, 0, 2, 1, 0, 4, 5, 10, 14, 15, 8, 4];
const INDICES_7: [u16; 64] = [
    0, 8, 1, 9, 17, 10, 16, 2, 25, 11, 18, 24, 3, 19, 26, 12, 33, 13, 41, 27, 20, 4, 32, 34, 21,
    42, 5, 49, 40, 14, 35, 29, 28, 43, 22, 50, 15, 30, 6, 48, 36, 57, 37, 58, 44, 51, 23, 59, 52,
    45, 38, 31, 56, 7, 53, 46, 60, 39, 47, 61, 62, 54, 55, 63,
];
const COUNTS_8: [u16; 10] = [0, 0, 1, 5, 7, 10, 14, 15, 8, 4];
const INDICES_8: [u16; 64] = [
    9, 17, 8, 10, 1, 18, 0, 16, 2, 25, 11, 26, 19, 27, 33, 12, 34, 20, 24, 3, 35, 28, 42, 41, 21,
    13, 43, 29, 36, 44, 4, 37, 32, 22, 50, 49, 14, 30, 51, 45, 40, 52, 5, 38, 57, 58, 23, 53, 59,
    15, 46, 31, 54, 60, 48, 39, 6, 61, 62, 55, 47, 56, 7, 63,
];
const COUNTS_9: [u16; 15] = [1, 0, 2, 1, 0, 4, 3, 8, 11, 20, 31, 38, 32, 14, 4];
const INDICES_9: [u16; 169] = [
    0, 13, 1, 14, 27, 15, 26, 2, 40, 28, 16, 39, 3, 29, 41, 17, 53, 30, 18, 54, 42, 4, 52, 66, 31,
    19, 43, 67, 79, 55, 5, 32, 65, 20, 44, 21, 105, 56, 68, 80, 92, 6, 106, 34, 45, 33, 57, 118,
    22, 93, 78, 69, 81, 107, 7, 119, 47, 58, 46, 8, 131, 82, 35, 70, 104, 91, 94, 132, 120, 108,
    23, 95, 83, 71, 60, 59, 48, 144, 73, 117, 109, 133, 36, 9, 145, 121, 84, 157, 61, 110, 24, 122,
    134, 72, 96, 37, 25, 158, 146, 49, 74, 85, 111, 147, 10, 97, 159, 130, 135, 62, 86, 38, 123,
    124, 63, 143, 87, 50, 75, 112, 99, 161, 51, 148, 98, 160, 149, 136, 64, 100, 76, 11, 162, 88,
    156, 137, 77, 101, 125, 12, 150, 113, 126, 138, 102, 163, 89, 115, 151, 103, 90, 114, 139, 116,
    127, 128, 129, 141, 165, 140, 152, 164, 153, 166, 167, 142, 154, 155, 168,
];
const COUNTS_10: [u16; 12] = [0, 0, 0, 3, 8, 14, 17, 25, 31, 41, 22, 8];
const INDICES_10: [u16; 169] = [
    14, 15, 27, 28, 13, 1, 16, 41, 40, 29, 42, 26, 2, 30, 54, 17, 53, 0, 55, 43, 39, 3, 56, 31, 67,
    18, 66, 68, 44, 69, 57, 80, 32, 81, 52, 79, 4, 19, 45, 70, 82, 58, 83, 93, 46, 33, 71, 106, 94,
    65, 92, 5, 105, 20, 107, 95, 59, 34, 84, 96, 21, 47, 108, 60, 72, 109, 73, 97, 85, 119, 78, 86,
    120, 48, 118, 35, 6, 110, 121, 61, 132, 22, 98, 111, 122, 99, 133, 74, 134, 36, 131, 49, 123,
    87, 104, 62, 91, 145, 100, 146, 136, 23, 144, 124, 7, 112, 135, 50, 75, 113, 148, 8, 147, 37,
    101, 88, 137, 63, 24, 158, 125, 159, 149, 76, 160, 150, 161, 51, 89, 117, 138, 130, 157, 9, 64,
    126, 162, 38, 114, 127, 25, 151, 163, 102, 77, 90, 139, 115, 164, 10, 103, 143, 140, 152, 153,
    11, 154, 128, 141, 156, 116, 165, 142, 129, 155, 167, 12, 166, 168,
];
const COUNTS_11: [u16; 12] = [0, 0, 0, 2, 6, 7, 16, 59, 55, 95, 43, 6];
const INDICES_11: [u16; 289] = [
    0, 18, 288, 17, 1, 35, 19, 36, 20, 52, 53, 34, 37, 2, 54, 69, 21, 70, 38, 71, 55, 51, 3, 86,
    87, 39, 72, 22, 88, 56, 89, 73, 104, 40, 103, 105, 57, 23, 84, 67, 277, 275, 276, 106, 278, 68,
    74, 4, 50, 90, 101, 279, 274, 280, 41, 121, 58, 107, 91, 118, 282, 122, 120, 281, 135, 33, 24,
    75, 283, 123, 284, 152, 273, 108, 169, 42, 92, 186, 285, 139, 138, 59, 85, 286, 203, 124, 76,
    109, 125, 5, 140, 287, 220, 25, 137, 254, 93, 237, 60, 141, 126, 43, 142, 155, 156, 271, 77,
    110, 102, 157, 94, 143, 127, 26, 173, 6, 172, 154, 158, 78, 44, 159, 61, 111, 174, 144, 175,
    160, 190, 27, 119, 176, 128, 62, 95, 171, 79, 189, 223, 112, 224, 45, 272, 96, 192, 191, 161,
    129, 145, 16, 81, 7, 64, 193, 222, 225, 207, 47, 226, 146, 113, 178, 177, 240, 208, 28, 80,
    188, 63, 30, 206, 130, 65, 97, 98, 242, 82, 194, 241, 209, 227, 210, 136, 195, 46, 162, 243,
    115, 180, 257, 147, 163, 244, 179, 99, 196, 239, 48, 114, 29, 229, 8, 228, 131, 211, 132, 258,
    205, 116, 49, 260, 259, 31, 164, 83, 245, 149, 230, 148, 100, 66, 181, 197, 212, 261, 262, 150,
    256, 133, 153, 9, 166, 165, 213, 246, 183, 247, 214, 117, 134, 167, 263, 198, 201, 32, 182,
    184, 232, 231, 200, 199, 151, 249, 233, 217, 264, 248, 170, 215, 168, 10, 216, 187, 218, 185,
    234, 13, 250, 265, 266, 202, 251, 221, 11, 235, 267, 268, 219, 238, 252, 236, 204, 253, 14, 12,
    269, 255, 15, 270,
];
const SCALE_FACTOR_COUNTS: [u16; 19] = [1, 0, 1, 3, 2, 4, 3, 5, 4, 6, 6, 6, 5, 8, 4, 7, 3, 7, 46];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_of_a_book_fill_all_words() {
        for book in SPECTRUM.iter().chain([&SCALE_FACTORS]) {
            let longest = book.counts.len();
            let words = |(length, count)| usize::from(count) << (longest - 1 - length);
            let counts = book.counts.iter().copied().enumerate();
            assert_eq!(counts.map(words).sum::<usize>(), 1 << longest);
        }
    }

    #[test]
    fn every_index_has_one_code() {
        for book in SPECTRUM.iter().filter(|book| book.values > 0) {
            let all = usize::from(book.values).pow(book.dimension as u32);
            let mut sorted = book.indices.to_vec();
            sorted.sort_unstable();
            assert!(sorted.into_iter().map(usize::from).eq(0..all));
            assert_eq!(
                book.counts
                    .iter()
                    .map(|count| usize::from(*count))
                    .sum::<usize>(),
                all
            );
        }
    }
}
