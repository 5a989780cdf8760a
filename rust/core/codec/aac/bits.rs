//! Bits from bytes, most significant first; nothing after the end.

use super::Fault;

/// The most bits that [`Bits::peek`] gives: a word less what an odd place in a byte costs.
const MOST: usize = 57;

#[derive(Clone, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits that are left.
    pub(super) fn left(&self) -> usize {
        (8 * self.bytes.len()).saturating_sub(self.at)
    }

    /// The next 57 bits at the top of a word, as if zeros followed the last one.
    #[inline(always)]
    pub(super) fn word(&self) -> u64 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = match rest.first_chunk() {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => last_word(rest),
        };
        word << (self.at % 8)
    }

    /// Passes over `count` bits that may lie after the end: [`check`](Self::check) follows.
    #[inline(always)]
    pub(super) fn advance(&mut self, count: usize) {
        self.at += count;
    }

    /// That nothing after the end was passed over.
    pub(super) fn check(&self) -> Result<(), Fault> {
        match self.at > 8 * self.bytes.len() {
            true => Err(Fault::SHORT),
            false => Ok(()),
        }
    }

    /// The next `count` bits, 32 at most, as if zeros followed the last one.
    pub(super) fn peek(&self, count: usize) -> u32 {
        debug_assert!(count <= 32 && 32 < MOST);
        // Two shifts, for a shift by 64 is none.
        (self.word() >> 1 >> (63 - count)) as u32
    }

    /// The next `count` bits, 32 at most.
    pub(super) fn read(&mut self, count: usize) -> Result<u32, Fault> {
        let bits = self.peek(count);
        self.skip(count)?;
        Ok(bits)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Fault> {
        self.read(1).map(|bit| bit == 1)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), Fault> {
        if count > self.left() {
            return Err(Fault::SHORT);
        }
        self.at += count;
        Ok(())
    }

    /// Passes over what is left of a byte.
    pub(super) fn align(&mut self) -> Result<(), Fault> {
        self.skip(self.at.wrapping_neg() % 8)
    }
}

/// Fewer than eight bytes, zeros after them.
#[cold]
fn last_word(rest: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_as_one_would_bit_by_bit(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            steps in prop::collection::vec(0usize..33, 0..60),
        ) {
            let mut bits = Bits::new(&bytes);
            for count in steps {
                let at = bits.at;
                let bit = |n: usize| bytes.get(n / 8).map(|byte| u64::from(byte >> (7 - n % 8) & 1));
                let expected = (at..at + count).try_fold(0, |number, n| Some(number << 1 | bit(n)?));
                prop_assert_eq!(bits.read(count).ok().map(u64::from), expected);
            }
            bits.advance(8 * bytes.len());
            prop_assert_eq!(bits.check().is_ok(), bits.at == 8 * bytes.len());
        }
    }
}
