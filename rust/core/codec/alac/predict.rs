//! The adaptive predictor: a filter over differences, whose coefficients follow the signs of its errors.

#[cfg(target_arch = "x86_64")]
mod wide;

use super::rice::Residuals;

/// The order that stands for plain differences.
pub(super) const DIFFERENCES: usize = 31;
/// Up to here there is a loop for each order.
const MAX_FIXED: usize = 8;
/// Up to here no sum of [`MAX_FIXED`] weighted and halved differences is beyond 32 bits.
const MAX_FIXED_DEPTH: u32 = 25;

/// Where the errors of a prediction come from.
pub(super) trait Errors: Copy {
    fn next(&mut self) -> i32;
}

impl Errors for Residuals<'_> {
    #[inline(always)]
    fn next(&mut self) -> i32 {
        self.next()
    }
}

impl Errors for &[i32] {
    #[inline(always)]
    fn next(&mut self) -> i32 {
        let Some((first, rest)) = self.split_first() else {
            return 0;
        };
        *self = rest;
        *first
    }
}

/// One channel's predictor, as the packet has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Predictor {
    /// Oldest first.
    pub(super) coefficients: [i32; 32],
    pub(super) order: usize,
    pub(super) shift: u32,
    /// Bits of a sample.
    pub(super) depth: u32,
    /// Whether differences were taken of what went in.
    pub(super) is_double: bool,
}

impl Predictor {
    /// Fills `out` with samples.
    pub(super) fn run(&self, residuals: &mut Residuals<'_>, out: &mut [i32]) {
        if !self.is_double {
            return self.samples(residuals, out);
        }
        let mut local = *residuals;
        self.differences(&mut local, out);
        *residuals = local;
        let errors = out.to_vec();
        self.samples(&mut errors.as_slice(), out);
    }

    fn samples<E: Errors>(&self, errors: &mut E, out: &mut [i32]) {
        let is_narrow = self.cannot_wrap(out.len());
        #[cfg(target_arch = "x86_64")]
        if (1..DIFFERENCES).contains(&self.order)
            && wide::run(self, is_narrow && self.order <= MAX_FIXED, errors, out)
        {
            return;
        }
        // A loop works on a copy: only that can stay in registers.
        let local = *errors;
        *errors = match self.order {
            0 => self.plain(local, out),
            DIFFERENCES => self.first_order(local, out),
            4 if is_narrow => self.fixed::<E, 4>(local, out),
            5 if is_narrow => self.fixed::<E, 5>(local, out),
            6 if is_narrow => self.fixed::<E, 6>(local, out),
            8 if is_narrow => self.fixed::<E, 8>(local, out),
            _ => self.any(local, out),
        };
    }

    /// Whether no sum needs more than 32 bits, and no coefficient leaves its 16: every sample moves it
    /// by 1 at most.
    fn cannot_wrap(&self, frames: usize) -> bool {
        let largest = self.coefficients.iter().map(|c| c.unsigned_abs()).max();
        let reach = largest.unwrap_or(0) as usize + frames;
        self.shift > 0 && self.depth <= MAX_FIXED_DEPTH && reach <= i16::MAX as usize
    }

    fn plain<E: Errors>(&self, mut errors: E, out: &mut [i32]) -> E {
        out.iter_mut().for_each(|sample| *sample = errors.next());
        errors
    }

    fn first_order<E: Errors>(&self, mut errors: E, out: &mut [i32]) -> E {
        self.differences(&mut errors, out);
        errors
    }

    #[inline(always)]
    pub(super) fn differences<E: Errors>(&self, errors: &mut E, out: &mut [i32]) {
        let mut samples = out.iter_mut();
        let Some(first) = samples.next() else { return };
        *first = errors.next();
        let mut last = *first;
        for sample in samples {
            last = self.cut(last.wrapping_add(errors.next()));
            *sample = last;
        }
    }

    /// Keeps as many bits as a sample has.
    #[inline(always)]
    pub(super) fn cut(&self, value: i32) -> i32 {
        let above = (32 - self.depth) & 31;
        value << above >> above
    }

    /// What to add to a sum in front of the shift.
    pub(super) fn half(&self) -> i32 {
        (1 << (self.shift & 31)) >> 1
    }

    /// A known order without a branch on the data. An error is used up by one coefficient after the
    /// other, the oldest first; as no part is negative, the sum of the parts tells where it ends.
    fn fixed<E: Errors, const N: usize>(&self, mut errors: E, out: &mut [i32]) -> E {
        let warm = out.len().min(N + 1);
        let (start, rest) = out.split_at_mut(warm);
        self.differences(&mut errors, start);
        let Some((base, history)) = start.split_first() else {
            return errors;
        };
        let (mut base, Some(history)) = (*base, history.first_chunk::<N>()) else {
            return errors;
        };
        let mut history = *history;
        let mut coefficients = [0; N];
        coefficients.copy_from_slice(&self.coefficients[..N]);
        let (shift, half) = (self.shift & 31, self.half());
        for sample in rest {
            let error = errors.next();
            let mut sum = 0i32;
            for (coefficient, past) in coefficients.iter().zip(&history) {
                sum = sum.wrapping_add(coefficient.wrapping_mul(past.wrapping_sub(base)));
            }
            let change = sum.wrapping_add(half) >> shift;
            *sample = self.cut(base.wrapping_add(change).wrapping_add(error));

            let (size, is_negative) = (error.wrapping_abs(), error >> 31);
            // Shifting a negative number rounds it up in size.
            let round = is_negative & ((1 << shift) - 1);
            let mut used = 0i32;
            for (place, coefficient) in coefficients.iter_mut().enumerate() {
                let difference = base.wrapping_sub(history[place]);
                let sign = (difference.signum() ^ is_negative) - is_negative;
                *coefficient -= if used < size { sign } else { 0 };
                let part = difference.wrapping_abs().wrapping_add(round) >> shift;
                used = used.wrapping_add(part.wrapping_mul(place as i32 + 1));
            }
            base = history[0];
            history.rotate_left(1);
            history[N - 1] = *sample;
        }
        errors
    }

    /// Any order, and sums that wrap around.
    #[inline(always)]
    pub(super) fn any<E: Errors>(&self, mut errors: E, out: &mut [i32]) -> E {
        let warm = out.len().min(self.order + 1);
        self.differences(&mut errors, &mut out[..warm]);
        let mut coefficients = self.coefficients;
        let coefficients = &mut coefficients[..self.order];
        for at in self.order + 1..out.len() {
            let (before, rest) = out.split_at_mut(at);
            if let ([.., _], [sample, ..]) = (&*before, rest) {
                let past = &before[at - self.order - 1..];
                *sample = self.next(past[0], &past[1..], coefficients, errors.next());
            }
        }
        errors
    }

    #[inline(always)]
    fn next(&self, base: i32, history: &[i32], coefficients: &mut [i32], error: i32) -> i32 {
        let products = coefficients.iter().zip(history);
        let sum = products.fold(0i32, |sum, (coefficient, past)| {
            sum.wrapping_add(coefficient.wrapping_mul(past.wrapping_sub(base)))
        });
        let change = sum.wrapping_add(self.half()) >> (self.shift & 31);
        let (direction, mut left) = (error.signum(), error);
        let places = coefficients.iter_mut().zip(history).zip(1..);
        for ((coefficient, past), place) in places {
            if left.wrapping_mul(direction) <= 0 {
                break;
            }
            let difference = base.wrapping_sub(*past);
            let sign = difference.signum() * direction;
            *coefficient = i32::from((*coefficient - sign) as i16);
            let part = difference.wrapping_mul(sign) >> (self.shift & 31);
            left = left.wrapping_sub(part.wrapping_mul(place));
        }
        self.cut(base.wrapping_add(change).wrapping_add(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Errors that music leaves, and rarely any.
    fn errors(depth: u32) -> impl Strategy<Value = Vec<i32>> {
        let limit = 1 << (depth - 1).min(30);
        let error = prop_oneof![
            2 => Just(0),
            6 => -limit.min(300)..limit.min(300),
            1 => -limit..=limit - 1,
        ];
        prop::collection::vec(error, 0..300)
    }

    fn predictor() -> impl Strategy<Value = (Predictor, Vec<i32>)> {
        let limit = prop_oneof![Just(300), Just(3000), Just(32_768)];
        let coefficients = limit
            .prop_flat_map(|limit| prop::collection::vec(-limit..limit, 32))
            .prop_map(|all| std::array::from_fn(|place| all[place]));
        (coefficients, 1..DIFFERENCES, 0..16u32, 8..=32u32).prop_flat_map(
            |(coefficients, order, shift, depth)| {
                let predictor = Predictor {
                    coefficients,
                    order,
                    shift,
                    depth,
                    is_double: false,
                };
                (Just(predictor), errors(depth))
            },
        )
    }

    proptest! {
        #[test]
        fn every_loop_gives_the_same((mut predictor, mut errors) in predictor(), short in 1..=8usize, is_short: bool) {
            if is_short {
                predictor.order = short;
                let above = predictor.depth.saturating_sub(MAX_FIXED_DEPTH);
                predictor.depth -= above;
                errors.iter_mut().for_each(|error| *error >>= above);
            }
            predictor.coefficients[predictor.order..].fill(0);
            let mut expected = vec![0; errors.len()];
            predictor.any(errors.as_slice(), &mut expected);
            let mut chosen = vec![0; errors.len()];
            predictor.samples(&mut errors.as_slice(), &mut chosen);
            prop_assert_eq!(&chosen, &expected);
            if predictor.cannot_wrap(errors.len()) {
                let mut fixed = vec![0; errors.len()];
                match predictor.order {
                    4 => predictor.fixed::<_, 4>(errors.as_slice(), &mut fixed),
                    5 => predictor.fixed::<_, 5>(errors.as_slice(), &mut fixed),
                    6 => predictor.fixed::<_, 6>(errors.as_slice(), &mut fixed),
                    8 => predictor.fixed::<_, 8>(errors.as_slice(), &mut fixed),
                    _ => predictor.any(errors.as_slice(), &mut fixed),
                };
                prop_assert_eq!(&fixed, &expected);
            }
        }
    }
}
