//! Bits from bytes, least significant first: section 2.

use super::Fault;
use crate::codec::bits::last_bytes;

/// The bits of one packet. After the end come zeros; [`Bits::left`] tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The byte that is read next.
    at: usize,
    /// Bits that were read and not taken, the next one lowest.
    word: u64,
    /// How many of them are counted: those above may be there, and come again.
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            word: 0,
            count: 0,
        }
    }

    /// Bits that are left; below zero where some were taken that are not there.
    #[inline(always)]
    pub(super) fn left(&self) -> isize {
        8 * (self.bytes.len() as isize - self.at as isize) + self.count as isize
    }

    /// Reads until 56 bits or more can be taken.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let next = match rest.first_chunk() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => u64::from_le_bytes(last_bytes(rest)),
        };
        self.word |= next << self.count;
        self.at += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
    }

    /// What comes next; after [`Bits::refill`], 56 bits of it count.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        self.word
    }

    /// Takes `count` bits, of those that a refill got.
    #[inline(always)]
    pub(super) fn drop(&mut self, count: u32) {
        self.word >>= count;
        self.count -= count;
    }

    /// The next `count` bits, 32 at most; `None` where the packet ends before.
    #[inline]
    pub(super) fn read(&mut self, count: u32) -> Option<u32> {
        self.refill();
        if self.left() < count as isize {
            return None;
        }
        let value = self.word & ((1 << count) - 1);
        self.drop(count);
        Some(value as u32)
    }

    /// The next `count` bits of a header, 32 at most.
    pub(super) fn need(&mut self, count: u32) -> Result<u32, Fault> {
        self.read(count).ok_or(Fault("they end too early"))
    }

    pub(super) fn flag(&mut self) -> Result<bool, Fault> {
        self.need(1).map(|bit| bit == 1)
    }
}

/// How many bits `value` takes: `ilog` of section 9.2.1.
pub(super) fn bit_length(value: u32) -> u32 {
    u32::BITS - value.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_as_one_would_bit_by_bit(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            steps in prop::collection::vec(0u32..33, 0..60),
        ) {
            let mut bits = Bits::new(&bytes);
            let mut at = 0;
            for count in steps {
                let bit = |n: usize| bytes.get(n / 8).map(|byte| u64::from(byte >> (n % 8) & 1));
                let expected = (0..count as usize).try_fold(0, |number, n| Some(number | bit(at + n)? << n));
                prop_assert_eq!(bits.read(count).map(u64::from), expected);
                at += expected.map_or(0, |_| count as usize);
                prop_assert_eq!(bits.left(), (8 * bytes.len() - at) as isize);
            }
        }
    }
}
