//! Bits from bytes, most significant first; zeros after the end.

use crate::codec::packet::damaged;
use crate::error::Result;

#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// In bits from the start.
    pub(super) at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// At least the next 57 bits, at the top of a word.
    #[inline(always)]
    pub(super) fn word(&self) -> u64 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = match rest.first_chunk() {
            Some(bytes) => u64::from_be_bytes(*bytes),
            None => last_word(rest),
        };
        word << (self.at % 8)
    }

    /// The next `count` bits, 32 at most.
    #[inline(always)]
    pub(super) fn read(&mut self, count: usize) -> u32 {
        // Two shifts, for a shift by 64 is none.
        let bits = (self.word() >> 1 >> (63 - count)) as u32;
        self.at += count;
        bits
    }

    #[inline(always)]
    pub(super) fn flag(&mut self) -> bool {
        self.read(1) == 1
    }

    /// That nothing after the end was read.
    pub(super) fn check(&self) -> Result<()> {
        match self.at > 8 * self.bytes.len() {
            true => Err(damaged("the frame ends too early")),
            false => Ok(()),
        }
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
