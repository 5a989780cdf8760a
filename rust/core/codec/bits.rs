//! Bits from bytes, most significant first, by their place: for codes that are short, and formats that tell places.
//!
//! FLAC and ALAC read unary codes of any length, faster through a window ([`flac::bits`](super::flac::bits)); the bits
//! of Vorbis come least significant first.

/// Less is there than was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short;

/// The bits of one packet; zeros follow the last one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits from the start; it may lie after the end.
    pub(crate) at: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits that are left.
    pub(crate) fn left(&self) -> usize {
        (8 * self.bytes.len()).saturating_sub(self.at)
    }

    /// At least the next 57 bits, at the top of a word.
    #[inline(always)]
    pub(crate) fn word(&self) -> u64 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = match rest.first_chunk() {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => u64::from_be_bytes(last_bytes(rest)),
        };
        word << (self.at % 8)
    }

    /// The next `count` bits, 32 at most, which stay.
    #[inline(always)]
    pub(crate) fn peek(&self, count: usize) -> u32 {
        debug_assert!(count <= 32);
        // Two shifts, for a shift by 64 is none.
        (self.word() >> 1 >> (63 - count)) as u32
    }

    /// The next `count` bits, 32 at most, which may lie after the end: [`check`](Self::check) follows.
    #[inline(always)]
    pub(crate) fn read(&mut self, count: usize) -> u32 {
        let bits = self.peek(count);
        self.at += count;
        bits
    }

    #[inline(always)]
    pub(crate) fn flag(&mut self) -> bool {
        self.read(1) == 1
    }

    /// That nothing after the end was read.
    pub(crate) fn check(&self) -> Result<(), Short> {
        match self.at > 8 * self.bytes.len() {
            true => Err(Short),
            false => Ok(()),
        }
    }

    /// The next `count` bits, 32 at most, if they are there.
    pub(crate) fn need(&mut self, count: usize) -> Result<u32, Short> {
        let bits = self.peek(count);
        self.skip(count)?;
        Ok(bits)
    }

    /// [`need`](Self::need) of one bit.
    pub(crate) fn need_flag(&mut self) -> Result<bool, Short> {
        self.need(1).map(|bit| bit == 1)
    }

    /// Passes over `count` bits, if they are there.
    pub(crate) fn skip(&mut self, count: usize) -> Result<(), Short> {
        if count > self.left() {
            return Err(Short);
        }
        self.at += count;
        Ok(())
    }

    /// Passes over what is left of a byte.
    pub(crate) fn align(&mut self) -> Result<(), Short> {
        self.skip(self.at.wrapping_neg() % 8)
    }
}

/// Fewer than eight bytes, zeros after them.
#[cold]
pub(crate) fn last_bytes(rest: &[u8]) -> [u8; 8] {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(rest) {
        *to = *from;
    }
    bytes
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
                let padded = (at..at + count).fold(0, |number, n| number << 1 | bit(n).unwrap_or(0));
                prop_assert_eq!(u64::from({ bits }.read(count)), padded);
                prop_assert_eq!(bits.need(count).ok().map(u64::from), expected);
            }
            bits.read(32);
            prop_assert_eq!(bits.check().is_ok(), bits.at <= 8 * bytes.len());
        }
    }
}
