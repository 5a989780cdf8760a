//! The bits of a frame in the order of its parameters.

use super::bit_tables::ORDER;

/// Bits of the longest frame.
const MOST: usize = 477;

/// The bits of a frame, each in a byte.
pub(super) struct Ordered([u8; MOST]);

impl Ordered {
    /// Of a frame of type `kind`; those of silence are in order.
    pub(super) fn new(kind: u8, stored: &[u8]) -> Self {
        let mut bits = [0; MOST];
        let bit = |at: usize| {
            stored
                .get(at / 8)
                .map_or(0, |byte| byte >> (7 - at % 8) & 1)
        };
        match ORDER.get(usize::from(kind)) {
            Some(order) => {
                for (at, place) in order.iter().enumerate() {
                    bits[usize::from(*place)] = bit(at);
                }
            }
            None => {
                for (at, value) in bits.iter_mut().take(40).enumerate() {
                    *value = bit(at);
                }
            }
        }
        Self(bits)
    }

    pub(super) fn bits(&self) -> Bits<'_> {
        Bits(&self.0)
    }
}

/// What is left of them.
pub(super) struct Bits<'b>(&'b [u8]);

impl Bits<'_> {
    /// The next number of `width` bits, 14 at most.
    pub(super) fn take(&mut self, width: usize) -> i16 {
        let (bits, rest) = self.0.split_at_checked(width).unwrap_or_default();
        self.0 = rest;
        bits.iter()
            .fold(0, |value, bit| value << 1 | i16::from(*bit))
    }
}
