//! The lines of Layer III: ISO/IEC 11172-3, section 2.4.2.7 and table B.7.
//!
//! A code, the signs after it and, where there is room, a second pair with its signs are found by
//! one look into a table of the next [`PEEK`] bits. What does not fit there takes a table of the code
//! alone, in two steps.

use std::sync::LazyLock;

use super::codebooks::{CODEBOOKS, Codebook, LINBITS, QUADS, codebook};
use super::grid::{LINES, Lines, SLOTS};
use super::side_info::Granule;
use crate::codec::bits::Bits;

const PEEK: usize = 10;
/// Bits that the first step takes of a code that is looked up alone.
const FIRST: usize = 8;
/// Looks into a table for which the bits of one word do.
const LOOKS: usize = 5;
const _: () = assert!(LOOKS * PEEK <= 57);

/// What the next bits stand for, by their number.
struct Looks<const SIZE: usize> {
    /// Bits taken, with [`FOUR`] where they give four lines instead of two; 0 where the bits do not do.
    lengths: Box<[u8; SIZE]>,
    lines: Box<[[i8; 4]; SIZE]>,
}

const FOUR: u8 = 1 << 4;
const LENGTH: u8 = FOUR - 1;

/// One code, without signs.
#[derive(Clone, Copy, Default)]
struct Pair {
    /// In bits; 0 where the second step is needed.
    length: u8,
    x: u8,
    y: u8,
}

/// A code book's tables.
struct Tables {
    looks: Looks<{ 1 << PEEK }>,
    /// By the first bits.
    first: [Pair; 1 << FIRST],
    /// The longest codes: by first bits the place in `second`, and the bits that choose there.
    steps: [(u16, u8); 1 << FIRST],
    second: Vec<Pair>,
    has_escape: bool,
}

static TABLES: LazyLock<[Tables; 15]> =
    LazyLock::new(|| std::array::from_fn(|number| Tables::new(&CODEBOOKS[number], number >= 13)));
static QUAD_LOOKS: LazyLock<[Looks<{ 1 << PEEK }>; 2]> =
    LazyLock::new(|| std::array::from_fn(|number| quad_looks(&QUADS[number])));

impl<const SIZE: usize> Looks<SIZE> {
    fn new(find: impl Fn(u32) -> Option<(u8, [i8; 4])>) -> Self {
        let mut new = Self {
            lengths: vec![0; SIZE]
                .try_into()
                .unwrap_or_else(|_| Box::new([0; SIZE])),
            lines: vec![[0; 4]; SIZE]
                .try_into()
                .unwrap_or_else(|_| Box::new([[0; 4]; SIZE])),
        };
        for bits in 0..SIZE {
            if let Some(found) = find(bits as u32) {
                (new.lengths[bits], new.lines[bits]) = found;
            }
        }
        new
    }
}

impl Tables {
    fn new(book: &Codebook, has_escape: bool) -> Self {
        let mut new = Self {
            looks: Looks::new(|_| None),
            first: [Pair::default(); 1 << FIRST],
            steps: [(0, 0); 1 << FIRST],
            second: Vec::new(),
            has_escape,
        };
        new.fill_codes(book);
        new.looks = Looks::new(|bits| new.look(bits));
        new
    }

    fn fill_codes(&mut self, book: &Codebook) {
        let codes = || book.codes.iter().zip(book.lengths).enumerate();
        // How many bits the longest code after each beginning has left.
        for (_, (code, length)) in codes() {
            if let Some(rest) = usize::from(*length).checked_sub(FIRST + 1) {
                let step = &mut self.steps[usize::from(*code) >> (rest + 1)];
                step.1 = step.1.max(rest as u8 + 1);
            }
        }
        for step in &mut self.steps {
            step.0 = self.second.len() as u16;
            let size = if step.1 > 0 { 1 << step.1 } else { 0 };
            self.second
                .resize(self.second.len() + size, Pair::default());
        }
        for (place, (code, length)) in codes() {
            let pair = Pair {
                length: *length,
                x: (place / book.side) as u8,
                y: (place % book.side) as u8,
            };
            let (code, length) = (usize::from(*code), usize::from(*length));
            match length.checked_sub(FIRST) {
                Some(rest @ 1..) => {
                    let (begin, bits) = self.steps[code >> rest];
                    let spare = usize::from(bits) - rest;
                    let begin = usize::from(begin) + ((code & ((1 << rest) - 1)) << spare);
                    self.second[begin..begin + (1 << spare)].fill(pair);
                }
                _ => {
                    let spare = FIRST - length;
                    self.first[code << spare..(code + 1) << spare].fill(pair);
                }
            }
        }
    }

    /// The pair whose code the word begins with.
    #[inline(always)]
    fn pair(&self, word: u64) -> Pair {
        let begin = (word >> (64 - FIRST)) as usize;
        let pair = self.first[begin];
        if pair.length > 0 {
            return pair;
        }
        let (place, bits) = self.steps[begin];
        let rest = word << FIRST >> 1 >> (63 - bits);
        let found = self.second.get(usize::from(place) + rest as usize);
        found.copied().unwrap_or_default()
    }

    /// One pair with its signs from the top of a word, and the bits it takes, if that is all.
    fn signed(&self, word: u64) -> Option<(u8, [i8; 2])> {
        let pair = self.pair(word);
        let escapes = self.has_escape && (pair.x == 15 || pair.y == 15);
        let mut length = pair.length;
        let mut sign = |magnitude: u8| {
            if magnitude == 0 {
                return 0;
            }
            let is_negative = word << length >> 63 == 1;
            length += 1;
            if is_negative {
                -(magnitude as i8)
            } else {
                magnitude as i8
            }
        };
        let lines = [sign(pair.x), sign(pair.y)];
        (!escapes && pair.length > 0 && length <= PEEK as u8).then_some((length, lines))
    }

    fn look(&self, bits: u32) -> Option<(u8, [i8; 4])> {
        let word = u64::from(bits) << (64 - PEEK);
        let (length, [v, w]) = self.signed(word)?;
        match self.signed(word << length) {
            Some((second, [x, y])) if length + second <= PEEK as u8 => {
                Some((FOUR | (length + second), [v, w, x, y]))
            }
            _ => Some((length, [v, w, 0, 0])),
        }
    }

    /// Two lines by the code alone.
    #[inline(always)]
    fn read(&self, bits: &mut Bits<'_>, linbits: usize) -> [i16; 2] {
        let pair = self.pair(bits.word());
        bits.at += usize::from(pair.length);
        let mut line = |magnitude: u8| {
            let mut line = i16::from(magnitude);
            if magnitude == 15 && linbits > 0 {
                line += bits.read(linbits) as i16;
            }
            if line != 0 && bits.flag() {
                -line
            } else {
                line
            }
        };
        [line(pair.x), line(pair.y)]
    }
}

fn quad_looks(codes: &[(u8, u8); 16]) -> Looks<{ 1 << PEEK }> {
    Looks::new(|bits| {
        let is_code = |(code, length): &(u8, u8)| bits >> (PEEK as u8 - length) == u32::from(*code);
        let place = codes.iter().position(is_code)?;
        let mut length = codes[place].1;
        let lines = std::array::from_fn(|line| {
            if place >> (3 - line) & 1 == 0 {
                return 0;
            }
            length += 1;
            1 - 2 * (bits >> (PEEK as u8 - length) & 1) as i8
        });
        Some((length, lines))
    })
}

/// Reads the lines of a granule's channel up to bit `end`, and tells how many may be other than zero;
/// after them `lines` is zero up to the end of the subband, and undefined from there on.
#[inline(always)]
pub(super) fn read(bits: &mut Bits<'_>, end: usize, granule: &Granule, lines: &mut Lines) -> usize {
    let big = granule.big_lines;
    let [first, second] = granule.region_ends.map(|end| end.min(big));
    let mut at = 0;
    if end > bits.at {
        for (region_end, table) in [first, second, big].into_iter().zip(granule.tables) {
            at = read_pairs(bits, end, table, at..region_end.max(at), lines);
        }
        at = read_quads(bits, end, granule.quad_table, at, lines);
    }
    lines[at..at.next_multiple_of(SLOTS)].fill(0);
    at
}

/// One region of pairs.
#[inline(always)]
fn read_pairs(
    bits: &mut Bits<'_>,
    end: usize,
    table: usize,
    region: std::ops::Range<usize>,
    lines: &mut Lines,
) -> usize {
    let (mut at, region_end) = (region.start, region.end);
    let Some(number) = codebook(table) else {
        lines[region].fill(0);
        return region_end;
    };
    let tables = &TABLES[number];
    let linbits = table.checked_sub(16).map_or(0, |of| LINBITS[of & 15]);
    let linbits = usize::from(linbits);
    // As long as neither the region nor the bits can end within one word.
    while at + 4 <= region_end && bits.at + 64 <= end {
        let mut word = bits.word();
        for _ in 0..LOOKS {
            let next = (word >> (64 - PEEK)) as usize;
            let found = tables.looks.lengths[next];
            let length = found & LENGTH;
            if found == 0 {
                [lines[at], lines[at + 1]] = tables.read(bits, linbits);
                at += 2;
                break;
            }
            let Some(four) = lines[at..].first_chunk_mut() else {
                break;
            };
            widen(tables.looks.lines[next], four);
            at += 2 + usize::from(found & FOUR) / 8;
            bits.at += usize::from(length);
            word <<= length;
            if at + 4 > region_end {
                break;
            }
        }
    }
    while at + 2 <= region_end && bits.at < end {
        [lines[at], lines[at + 1]] = tables.read(bits, linbits);
        at += 2;
    }
    at
}

/// The lines of magnitude 1 after the pairs.
#[inline(always)]
fn read_quads(
    bits: &mut Bits<'_>,
    end: usize,
    table: usize,
    mut at: usize,
    lines: &mut Lines,
) -> usize {
    let looks = &QUAD_LOOKS[table];
    // As long as neither the lines nor the bits can end within one word.
    while at + 4 * LOOKS <= LINES && bits.at + LOOKS * PEEK <= end {
        let mut word = bits.word();
        for four in lines[at..at + 4 * LOOKS].as_chunks_mut::<4>().0 {
            let next = (word >> (64 - PEEK)) as usize;
            widen(looks.lines[next], four);
            let length = looks.lengths[next];
            bits.at += usize::from(length);
            word <<= length;
        }
        at += 4 * LOOKS;
    }
    while let Some(four) = lines
        .get_mut(at..at + 4)
        .and_then(|four| four.first_chunk_mut())
        && bits.at < end
    {
        let next = (bits.word() >> (64 - PEEK)) as usize;
        bits.at += usize::from(looks.lengths[next]);
        if bits.at > end {
            // Encoders that fill up with other bits: the code is none.
            break;
        }
        widen(looks.lines[next], four);
        at += 4;
    }
    at
}

#[inline(always)]
fn widen(small: [i8; 4], lines: &mut [i16; 4]) {
    for (line, small) in lines.iter_mut().zip(small) {
        *line = i16::from(small);
    }
}
