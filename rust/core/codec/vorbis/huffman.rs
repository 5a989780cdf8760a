//! Codewords of Huffman trees, given by their lengths alone: section 3.2.1.

use super::Fault;
use super::bits::{Bits, bit_length};

/// Codewords of so many bits or fewer are found at once.
const MOST_AT_ONCE: u32 = 11;
const NO_TREE: Fault = Fault("the codewords of a code book do not form a tree");

/// What stands for a codeword: the entry above six bits of length.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Code(u32);

impl Code {
    fn new(entry: usize, length: u8) -> Self {
        Self((entry as u32) << 6 | u32::from(length))
    }

    #[inline(always)]
    fn entry(self) -> usize {
        (self.0 >> 6) as usize
    }

    #[inline(always)]
    fn length(self) -> u32 {
        self.0 & 63
    }
}

/// Finds the codeword that comes next.
#[derive(Debug)]
pub(super) struct Table {
    /// By the first bits; none where the codeword is longer.
    short: Vec<Code>,
    /// The longer ones with the first bit on top, in order.
    long: Vec<(u32, Code)>,
    longest: u32,
}

impl Table {
    /// From the lengths of the codewords by entry, 0 for an entry that has none.
    pub(super) fn new(lengths: &[u8]) -> Result<Self, Fault> {
        let used = lengths.iter().filter(|length| **length > 0).count();
        let longest = lengths.iter().copied().max().map_or(0, u32::from);
        if used <= 1 {
            return Ok(Self::single(lengths, longest));
        }
        let at_once = (bit_length(used as u32) + 1).min(longest).min(MOST_AT_ONCE);
        let mut short = vec![Code::default(); 1 << at_once];
        let mut long = Vec::new();
        let mut tree = Tree::new();
        for (entry, length) in lengths
            .iter()
            .enumerate()
            .filter(|(_, length)| **length > 0)
        {
            let word = tree.grow(usize::from(*length)).ok_or(NO_TREE)?;
            let code = Code::new(entry, *length);
            if u32::from(*length) > at_once {
                long.push((word, code));
                continue;
            }
            let places = short.iter_mut().skip(word.reverse_bits() as usize);
            for place in places.step_by(1 << length) {
                *place = code;
            }
        }
        if !tree.is_full() {
            return Err(NO_TREE);
        }
        long.sort_unstable_by_key(|(word, _)| *word);
        Ok(Self {
            short,
            long,
            longest,
        })
    }

    /// A tree of one leaf, to which any bits lead, or of none.
    fn single(lengths: &[u8], longest: u32) -> Self {
        let entry = lengths.iter().position(|length| *length > 0);
        let code = entry.map_or(Code::default(), |entry| Code::new(entry, longest as u8));
        Self {
            short: vec![code],
            long: Vec::new(),
            longest,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.longest == 0
    }

    /// The bits of the longest codeword.
    pub(super) fn longest(&self) -> u32 {
        self.longest
    }

    /// The entry whose codeword comes next; it may reach over the packet's end.
    #[inline(always)]
    pub(super) fn find(&self, bits: &mut Bits<'_>) -> usize {
        bits.refill();
        let place = bits.peek() as usize & self.short.len().wrapping_sub(1);
        let mut code = self.short.get(place).copied().unwrap_or_default();
        if code.length() == 0 {
            code = self.find_long(bits.peek() as u32);
        }
        bits.drop(code.length());
        code.entry()
    }

    #[inline(never)]
    fn find_long(&self, next: u32) -> Code {
        let next = next.reverse_bits();
        let behind = self.long.partition_point(|(word, _)| *word <= next);
        let found = behind.checked_sub(1).and_then(|at| self.long.get(at));
        found.map_or(Code::default(), |(_, code)| *code)
    }
}

/// A tree to which leaves are added, each as far to the left as there is room.
struct Tree {
    has_begun: bool,
    /// By depth, the node that is free there: at most one, for it was left over by a leaf below.
    free: [Option<u32>; 33],
}

impl Tree {
    fn new() -> Self {
        Self {
            has_begun: false,
            free: [None; 33],
        }
    }

    /// The way to a new leaf of this depth, the first bit on top.
    fn grow(&mut self, depth: usize) -> Option<u32> {
        let (top, word) = match std::mem::replace(&mut self.has_begun, true) {
            true => (0..=depth)
                .rev()
                .find_map(|top| Some((top, self.free[top].take()?)))?,
            false => (0, 0),
        };
        for depth in top + 1..=depth {
            self.free[depth] = Some(word | 1 << (32 - depth));
        }
        Some(word)
    }

    fn is_full(&self) -> bool {
        self.free.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of section 3.2.1.
    #[test]
    fn codewords_are_those_of_the_specification() {
        let mut tree = Tree::new();
        let words =
            [2, 4, 4, 4, 4, 2, 3, 3].map(|depth| tree.grow(depth).map(|word| word >> (32 - depth)));
        let expected = [0b00, 0b0100, 0b0101, 0b0110, 0b0111, 0b10, 0b110, 0b111];
        assert_eq!(words, expected.map(Some));
        assert!(tree.is_full());
    }

    #[test]
    fn trees_with_too_many_leaves_or_too_few_are_none() {
        assert!(Table::new(&[1, 1, 1]).is_err());
        assert!(Table::new(&[1, 2]).is_err());
        assert!(Table::new(&[2, 0, 1, 2]).is_ok());
        assert!(Table::new(&[0, 1]).is_ok_and(|table| table.longest() == 1));
        assert!(Table::new(&[]).is_ok_and(|table| table.is_empty()));
    }

    /// Lengths of a full tree: leaves are split where `choices` say.
    fn full_tree(choices: &[usize]) -> Vec<u8> {
        let mut lengths = vec![1, 1];
        for choice in choices {
            let at = choice % lengths.len();
            if lengths[at] < 32 {
                lengths[at] += 1;
                lengths.insert(choice / 7 % lengths.len(), lengths[at]);
            }
        }
        lengths
    }

    proptest! {
        #[test]
        fn every_codeword_is_found_behind_every_other(
            choices in prop::collection::vec(any::<usize>(), 0..300),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 1..100),
            deep in any::<bool>(),
        ) {
            let choices: Vec<usize> = choices.iter().map(|c| if deep { c % 3 } else { *c }).collect();
            let lengths = full_tree(&choices);
            let table = Table::new(&lengths).map_err(|fault| TestCaseError::fail(fault.0))?;
            let mut tree = Tree::new();
            let words: Vec<u32> = lengths.iter().filter_map(|l| tree.grow(usize::from(*l))).collect();
            let picks: Vec<usize> = picks.iter().map(|pick| pick.index(lengths.len())).collect();
            let mut bytes = vec![];
            let mut at = 0;
            for pick in &picks {
                for bit in 0..lengths[*pick] {
                    bytes.resize(at / 8 + 1, 0u8);
                    bytes[at / 8] |= ((words[*pick] << bit >> 31) as u8) << (at % 8);
                    at += 1;
                }
            }
            let mut bits = Bits::new(&bytes);
            for pick in picks {
                prop_assert_eq!(table.find(&mut bits), pick);
            }
            prop_assert!((0..8).contains(&bits.left()));
        }
    }
}
