//! Bits from bytes, most significant first: a 64-bit window that is refilled without a branch.
//!
//! After the end the window fills with zeros and the reader only notes that it did: whoever reads
//! asks [`Bits::check`] once in a while instead of at every bit.

use super::Fault;

/// So many bits are in the window after a refill, at least.
pub(crate) const REFILLED: u32 = 56;

/// A reader of one frame's bits. A loop works on a copy: only that can stay in registers.
#[derive(Clone, Copy)]
pub(crate) struct Bits<'a> {
    /// What has not been moved into the window yet.
    rest: &'a [u8],
    len: usize,
    /// The next bits, from the top; what lies below `count` is either zero or the right bits too.
    window: u64,
    /// Bits of the window that count.
    count: u32,
    /// Zero bytes that stand for what is not there.
    missing: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            len: bytes.len(),
            window: 0,
            count: 0,
            missing: 0,
        }
    }

    /// Fills the window to [`REFILLED`] bits or more.
    #[inline(always)]
    pub(crate) fn refill(&mut self) {
        if let Some(chunk) = self.rest.first_chunk::<8>() {
            self.window |= u64::from_be_bytes(*chunk) >> (self.count & 63);
            let taken = ((63 ^ self.count) & 63) >> 3;
            self.rest = self.rest.get(taken as usize..).unwrap_or_default();
            self.count |= REFILLED;
        } else {
            *self = self.refilled_at_the_end();
        }
    }

    /// By value, so that the reader's address is never taken.
    #[cold]
    #[inline(never)]
    fn refilled_at_the_end(mut self) -> Self {
        while self.count < REFILLED {
            let byte = match self.rest.split_first() {
                Some((byte, rest)) => {
                    self.rest = rest;
                    *byte
                }
                None => {
                    self.missing += 1;
                    0
                }
            };
            self.window |= u64::from(byte) << (REFILLED - self.count);
            self.count += 8;
        }
        self
    }

    /// The window after a refill: its upper [`REFILLED`] bits are the next ones.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> u64 {
        self.refill();
        self.window
    }

    /// Passes over `bits` of the window, at most what the last refill left there.
    #[inline(always)]
    pub(crate) fn consume(&mut self, bits: u32) {
        self.window <<= bits & 63;
        self.count = self.count.wrapping_sub(bits);
    }

    /// The next `bits` as a number, 0 to 56 of them.
    #[inline(always)]
    pub(crate) fn read(&mut self, bits: u32) -> u64 {
        let window = self.peek();
        self.consume(bits);
        // Two shifts, for a shift by 64 is none.
        window >> 1 >> ((63 - bits) & 63)
    }

    /// The next `bits` as a number in two's complement, 1 to 56 of them.
    #[inline(always)]
    pub(crate) fn read_signed(&mut self, bits: u32) -> i64 {
        let window = self.peek();
        self.consume(bits);
        window as i64 >> ((64 - bits) & 63)
    }

    /// Zeros up to the next one, which is passed over too.
    ///
    /// # Errors
    /// When there are more than `most`, or no one follows.
    pub(crate) fn unary(&mut self, most: u32) -> Result<u32, Fault> {
        let mut zeros = 0u32;
        loop {
            let run = self.peek().leading_zeros();
            if run < REFILLED {
                self.consume(run + 1);
                zeros += run;
                break;
            }
            self.consume(REFILLED);
            zeros += REFILLED;
            self.check()?;
            if zeros > most {
                break;
            }
        }
        self.check()?;
        if zeros > most {
            return Err(Fault::Damaged("a unary code is impossibly long"));
        }
        Ok(zeros)
    }

    /// Bits that were read or passed over so far.
    pub(crate) fn place(&self) -> usize {
        8 * (self.len + self.missing - self.rest.len()) - self.count as usize
    }

    /// # Errors
    /// When more was read than is there.
    #[inline(always)]
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if 8 * self.missing > self.count as usize {
            return Err(Fault::Short);
        }
        Ok(())
    }

    /// Passes over whatever bits there are up to the next whole byte.
    pub(crate) fn pass_to_byte(&mut self) {
        self.consume(self.count % 8);
    }

    /// Passes over the zero bits up to the next whole byte, and gives that byte's place.
    ///
    /// # Errors
    /// When the bits are not zero, or more was read than is there.
    pub(crate) fn align(&mut self) -> Result<usize, Fault> {
        self.check()?;
        if self.read(self.count % 8) != 0 {
            return Err(Fault::Damaged("the padding of a frame is not zero"));
        }
        self.check()?;
        Ok(self.len + self.missing - self.rest.len() - self.count as usize / 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bit by bit, as one would write it down.
    struct Naive<'a>(&'a [u8], usize);

    impl Naive<'_> {
        fn bit(&mut self) -> Option<u64> {
            let byte = self.0.get(self.1 / 8)?;
            self.1 += 1;
            Some(u64::from(byte >> (7 - (self.1 - 1) % 8) & 1))
        }

        fn read(&mut self, bits: u32) -> Option<u64> {
            (0..bits).try_fold(0, |number, _| Some(number << 1 | self.bit()?))
        }

        fn signed(&mut self, bits: u32) -> Option<i64> {
            let number = self.read(bits)? as i64;
            Some(if number >> (bits - 1) == 1 {
                number - (1 << bits)
            } else {
                number
            })
        }

        fn unary(&mut self) -> Option<u32> {
            let mut zeros = 0;
            while self.bit()? == 0 {
                zeros += 1;
            }
            Some(zeros)
        }
    }

    proptest! {
        #[test]
        fn reads_as_one_would_bit_by_bit(
            bytes in prop::collection::vec(prop_oneof![2 => Just(0u8), 3 => any::<u8>()], 0..200),
            steps in prop::collection::vec((0u32..3, 0u32..57), 0..200),
        ) {
            let (mut bits, mut naive) = (Bits::new(&bytes), Naive(&bytes, 0));
            for (kind, size) in steps {
                let expected = match kind {
                    0 => naive.read(size).map(|n| n as i64),
                    1 => naive.signed(size.max(1)),
                    _ => naive.unary().map(i64::from),
                };
                let got = match kind {
                    0 => Ok(bits.read(size) as i64),
                    1 => Ok(bits.read_signed(size.max(1))),
                    _ => bits.unary(u32::MAX).map(i64::from),
                };
                let Some(expected) = expected else {
                    prop_assert!(matches!(got.and_then(|_| bits.check()), Err(Fault::Short)));
                    return Ok(());
                };
                prop_assert_eq!(got.ok(), Some(expected));
                prop_assert!(bits.check().is_ok());
            }
        }

        #[test]
        fn aligns_to_the_next_byte(skip in 0u32..50) {
            let mut bits = Bits::new(&[0; 9]);
            bits.read(skip);
            prop_assert_eq!(bits.align().ok(), Some(skip.div_ceil(8) as usize));
        }
    }
}
