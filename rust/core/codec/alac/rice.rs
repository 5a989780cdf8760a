//! Residuals: Rice codes whose parameter follows the mean of the numbers before them.

use super::config::Config;
use crate::codec::flac::bits::Bits;

/// Bits of the mean after the point.
const MEAN_BITS: u32 = 9;
/// What a mean becomes after a number that is larger.
const LARGEST_NUMBER: u32 = 0xFFFF;
/// Below it, a quarter, a run of zeros follows.
const QUIET: u32 = 1 << (MEAN_BITS - 2);
/// So many ones stand for a number that is not coded.
const ESCAPE: u32 = 9;
/// Bits of the length of a run that is not coded.
const RUN_BITS: u32 = 16;

/// The residuals of one channel, one after the other.
#[derive(Clone, Copy)]
pub(super) struct Residuals<'a> {
    pub(super) bits: Bits<'a>,
    pace: u32,
    most_bits: u32,
    /// Bits of a number that is not coded.
    depth: u32,
    mean: u32,
    /// Numbers after the next one.
    left: u32,
    /// How many of them are a run of zeros.
    zeros: u32,
    /// 1 after a run, for no zero follows it.
    bias: u32,
    is_overrun: bool,
}

impl<'a> Residuals<'a> {
    /// `count` numbers; `pace` is the channel's own, in quarters of the stream's.
    pub(super) fn new(
        bits: Bits<'a>,
        config: &Config,
        pace: u32,
        depth: u32,
        count: usize,
    ) -> Self {
        Self {
            bits,
            pace: (pace * config.pace) >> 2,
            most_bits: config.most_bits,
            depth,
            mean: config.first_mean,
            left: count as u32,
            zeros: 0,
            bias: 0,
            is_overrun: false,
        }
    }

    /// Whether a run of zeros was longer than what was left.
    pub(super) fn is_overrun(&self) -> bool {
        self.is_overrun
    }

    #[inline(always)]
    pub(super) fn next(&mut self) -> i32 {
        self.left = self.left.wrapping_sub(1);
        if self.zeros > 0 {
            self.zeros -= 1;
            return 0;
        }
        let parameter = ((self.mean >> MEAN_BITS) + 3).ilog2().min(self.most_bits);
        let number = code(&mut self.bits, parameter, self.depth).wrapping_add(self.bias);
        self.bias = 0;
        self.mean = if number > LARGEST_NUMBER {
            LARGEST_NUMBER
        } else {
            let decay = self.mean.wrapping_mul(self.pace) >> MEAN_BITS;
            let rise = number.wrapping_mul(self.pace);
            self.mean.wrapping_add(rise).wrapping_sub(decay)
        };
        if self.mean < QUIET && self.left > 0 {
            self.begin_run();
        }
        // Zigzag: 0, -1, 1, -2, 2, ...
        (number >> 1) as i32 ^ -((number & 1) as i32)
    }

    #[inline(always)]
    fn begin_run(&mut self) {
        let parameter = self.mean.leading_zeros() - 24 + ((self.mean + 16) >> 6);
        let length = code(&mut self.bits, parameter.min(self.most_bits), RUN_BITS);
        self.is_overrun |= length > self.left;
        self.zeros = length.min(self.left);
        // The longest run may be one of several.
        self.bias = u32::from(length < LARGEST_NUMBER);
        self.mean = 0;
    }
}

/// Ones up to a zero count multiples of `2^parameter - 1`; the rest has one bit less where it is 0.
/// `parameter` is 1 to 23.
#[inline(always)]
fn code(bits: &mut Bits<'_>, parameter: u32, depth: u32) -> u32 {
    let window = bits.peek();
    let ones = (!window).leading_zeros();
    if ones >= ESCAPE {
        bits.consume(ESCAPE);
        return bits.read(depth) as u32;
    }
    let rest = ((window << (ones + 1)) >> ((64 - parameter) & 63)) as u32;
    bits.consume(ones + parameter + u32::from(rest > 1));
    (ones << parameter) - ones + rest.saturating_sub(1)
}
