//! Bits from bytes, most significant first; nothing behind the end.

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
        8 * self.bytes.len() - self.at
    }

    /// The next `count` bits, 24 at most, as if zeros followed the last one.
    pub(super) fn peek(&self, count: usize) -> u32 {
        let byte = |n| u32::from(*self.bytes.get(self.at / 8 + n).unwrap_or(&0));
        let word = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
        let aligned = word << (self.at % 8);
        // Two shifts, for a shift by 32 is none.
        aligned >> 1 >> (31 - count.min(24))
    }

    /// The next `count` bits, 24 at most.
    pub(super) fn read(&mut self, count: usize) -> Option<u32> {
        let bits = self.peek(count);
        self.skip(count)?;
        Some(bits)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        self.read(1).map(|bit| bit == 1)
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        if count > self.left() {
            return None;
        }
        self.at += count;
        Some(())
    }

    /// Passes over what is left of a byte.
    pub(super) fn align(&mut self) -> Option<()> {
        self.skip(self.at.wrapping_neg() % 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_as_one_would_bit_by_bit(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            steps in prop::collection::vec(0usize..25, 0..60),
        ) {
            let mut bits = Bits::new(&bytes);
            for count in steps {
                let at = bits.at;
                let bit = |n: usize| bytes.get(n / 8).map(|byte| u32::from(byte >> (7 - n % 8) & 1));
                let expected = (at..at + count).try_fold(0, |number, n| Some(number << 1 | bit(n)?));
                prop_assert_eq!(bits.read(count), expected);
            }
        }
    }
}
