//! One channel: its samples predicted from those before, and the means of its blocks.

use std::cell::Cell;

use super::command;
use super::header::{Header, unsigned};
use crate::codec::flac::Fault;
use crate::codec::flac::bits::Bits;
use crate::codec::flac::predict::{Predictor, predict_codes};

/// Samples in front of a block that every predictor finds.
const LEAST_FRONT: usize = 32;
/// What a linear predictor looks back at most, in its quick form.
const QUICK_ORDER: usize = 32;
const ORDER_BITS: u32 = 2;
/// Bits after the point of a coefficient.
const COEFFICIENT_BITS: u32 = 5;

/// What one channel remembers.
#[derive(Clone)]
pub(super) struct Channel {
    /// The samples before the block, and the block.
    samples: Vec<i32>,
    front: usize,
    /// How many samples the next block is predicted from: longer memories are of no format's.
    wrap: usize,
    most_order: usize,
    /// A ring of the means of blocks, and their sum.
    means: Vec<i32>,
    oldest: usize,
    sum: i32,
    /// Versions before 2 round towards zero.
    rounds: bool,
}

impl Channel {
    pub(super) fn new(header: &Header) -> Self {
        let wrap = header.most_order.max(3);
        let front = wrap.max(LEAST_FRONT);
        let mean = header.kind.mean();
        let count = header.means.max(1) as i32;
        Self {
            samples: vec![0; front + header.block_size],
            front,
            wrap,
            most_order: header.most_order,
            means: vec![mean; header.means],
            oldest: 0,
            sum: if header.means == 0 {
                mean
            } else {
                mean.wrapping_mul(count)
            },
            rounds: header.version > 1,
        }
    }

    /// Decodes a block of `size` samples; [`Channel::finish`] follows. After an error all is as it was.
    pub(super) fn decode(
        &mut self,
        command: u32,
        bits: &mut Bits<'_>,
        size: usize,
        shift: u32,
        parameter: u32,
    ) -> Result<&[i32], Fault> {
        let (begin, end) = (self.front, self.front + size);
        let offset = self.offset(shift);
        let order = match command {
            0..=3 => command as usize,
            _ => 0,
        };
        let windows = self.samples.get_mut(begin - order..end);
        let windows = windows.ok_or(Fault::Damaged(
            "impossible block size in the Shorten stream",
        ))?;
        let cells = Cell::from_mut(windows).as_slice_of_cells();
        match command {
            0 => predict_codes(bits, cells, parameter, &Offset(offset))?,
            1 => predict_codes(bits, cells, parameter, &Difference1)?,
            2 => predict_codes(bits, cells, parameter, &Difference2)?,
            3 => predict_codes(bits, cells, parameter, &Difference3)?,
            command::ZERO => windows.fill(0),
            _ => self.decode_linear(bits, size, parameter, offset)?,
        }
        Ok(self.samples.get(begin..end).unwrap_or_default())
    }

    /// The offset of a block, by the means of those before.
    fn offset(&self, shift: u32) -> i32 {
        let Some(count) = i32::try_from(self.means.len())
            .ok()
            .filter(|count| *count > 0)
        else {
            return self.sum;
        };
        if !self.rounds {
            return self.sum / count;
        }
        let mean = self.sum.wrapping_add(count / 2) / count;
        match shift {
            0 => mean,
            _ => mean >> (shift - 1) >> 1,
        }
    }

    /// A linear predictor over samples from which the offset is taken off.
    fn decode_linear(
        &mut self,
        bits: &mut Bits<'_>,
        size: usize,
        parameter: u32,
        offset: i32,
    ) -> Result<(), Fault> {
        let order = unsigned(bits, ORDER_BITS)? as usize;
        if order > self.most_order {
            return Err(Fault::Damaged(
                "a predictor of Shorten is longer than its header says",
            ));
        }
        let coefficients = (0..order).map(|_| coefficient(bits));
        let coefficients = coefficients.collect::<Result<Vec<_>, _>>()?;
        self.move_history(order, offset.wrapping_neg());
        let done = self.predict(bits, size, parameter, &coefficients);
        if done.is_err() {
            self.move_history(order, offset);
            return done;
        }
        let block = self.samples.iter_mut().skip(self.front).take(size);
        block.for_each(|sample| *sample = sample.wrapping_add(offset));
        Ok(())
    }

    fn move_history(&mut self, order: usize, offset: i32) {
        let history = self.samples.iter_mut().skip(self.front - order).take(order);
        history.for_each(|sample| *sample = sample.wrapping_add(offset));
    }

    fn predict(
        &mut self,
        bits: &mut Bits<'_>,
        size: usize,
        parameter: u32,
        coefficients: &[i32],
    ) -> Result<(), Fault> {
        let rounding = i32::from(self.rounds) << COEFFICIENT_BITS;
        let (begin, end) = (self.front, self.front + size);
        let from = |order: usize| begin - order..end;
        let cells = Cell::from_mut(self.samples.as_mut_slice()).as_slice_of_cells();
        macro_rules! quick {
            ($($order:literal)*) => {
                match coefficients.len() {
                    $(..=$order => {
                        let windows = cells.get(from($order)).unwrap_or_default();
                        let linear = Linear::<$order>::new(coefficients, rounding);
                        predict_codes(bits, windows, parameter, &linear)
                    })*
                    _ => {
                        let windows = cells.get(from(0)).unwrap_or_default();
                        predict_codes(bits, windows, parameter, &Offset(0))?;
                        predict_slowly(&mut self.samples, begin..end, coefficients, rounding);
                        Ok(())
                    }
                }
            };
        }
        quick!(1 2 4 6 8 10 12 16 24 32)
    }

    /// Remembers what the next block needs.
    pub(super) fn finish(&mut self, size: usize, shift: u32) {
        let (begin, end) = (self.front, self.front + size);
        let block = self.samples.get(begin..end).unwrap_or_default();
        let start = if self.rounds { size as i32 / 2 } else { 0 };
        if let Some(oldest) = self.means.get_mut(self.oldest) {
            let sum = block
                .iter()
                .fold(start, |sum, sample| sum.wrapping_add(*sample));
            let mean = sum / (size as i32).max(1);
            let mean = if self.rounds {
                mean.wrapping_shl(shift)
            } else {
                mean
            };
            self.sum = self.sum.wrapping_sub(*oldest).wrapping_add(mean);
            *oldest = mean;
            self.oldest = (self.oldest + 1) % self.means.len();
        }
        self.samples
            .copy_within(end - self.wrap..end, begin - self.wrap);
    }
}

/// 1 to 2 samples before, and so on: polynomials through the last samples.
struct Difference1;
struct Difference2;
struct Difference3;
/// None before: the mean.
struct Offset(i32);

impl Predictor<i32, 0> for Offset {
    #[inline(always)]
    fn next(&self, _: &[Cell<i32>; 0], _: i32, residual: i32) -> i32 {
        residual.wrapping_add(self.0)
    }
}

impl Predictor<i32, 1> for Difference1 {
    #[inline(always)]
    fn next(&self, _: &[Cell<i32>; 1], last: i32, residual: i32) -> i32 {
        residual.wrapping_add(last)
    }
}

impl Predictor<i32, 2> for Difference2 {
    #[inline(always)]
    fn next(&self, [before, _]: &[Cell<i32>; 2], last: i32, residual: i32) -> i32 {
        let slope = last.wrapping_sub(before.get());
        residual.wrapping_add(last).wrapping_add(slope)
    }
}

impl Predictor<i32, 3> for Difference3 {
    #[inline(always)]
    fn next(&self, [first, before, _]: &[Cell<i32>; 3], last: i32, residual: i32) -> i32 {
        let slope = last.wrapping_sub(before.get()).wrapping_mul(3);
        residual.wrapping_add(first.get()).wrapping_add(slope)
    }
}

/// A predictor of up to `N` coefficients, oldest first.
struct Linear<const N: usize> {
    coefficients: [i32; N],
    rounding: i32,
}

impl<const N: usize> Linear<N> {
    fn new(newest_first: &[i32], rounding: i32) -> Self {
        let oldest_first = |place: usize| newest_first.get(N - 1 - place).copied();
        Self {
            coefficients: std::array::from_fn(|place| oldest_first(place).unwrap_or(0)),
            rounding,
        }
    }
}

impl<const N: usize> Predictor<i32, N> for Linear<N> {
    #[inline(always)]
    fn next(&self, history: &[Cell<i32>; N], _: i32, residual: i32) -> i32 {
        let products = self.coefficients.iter().zip(history);
        let sum = products.fold(self.rounding, |sum, (coefficient, sample)| {
            sum.wrapping_add(coefficient.wrapping_mul(sample.get()))
        });
        residual.wrapping_add(sum >> COEFFICIENT_BITS)
    }
}

/// Adds the prediction to residuals, where it looks back farther than [`QUICK_ORDER`].
fn predict_slowly(
    samples: &mut [i32],
    block: std::ops::Range<usize>,
    coefficients: &[i32],
    rounding: i32,
) {
    debug_assert!(coefficients.len() > QUICK_ORDER);
    for place in block {
        let Some((before, [sample, ..])) = samples.split_at_mut_checked(place) else {
            return;
        };
        let products = coefficients.iter().zip(before.iter().rev());
        let sum = products.fold(rounding, |sum, (coefficient, past)| {
            sum.wrapping_add(coefficient.wrapping_mul(*past))
        });
        *sample = sample.wrapping_add(sum >> COEFFICIENT_BITS);
    }
}

/// A signed number of a predictor.
fn coefficient(bits: &mut Bits<'_>) -> Result<i32, Fault> {
    let folded = unsigned(bits, COEFFICIENT_BITS + 1)?;
    Ok((folded >> 1) as i32 ^ -((folded & 1) as i32))
}
