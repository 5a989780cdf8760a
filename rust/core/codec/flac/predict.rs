//! Rice codes to samples in one loop: the prediction of one sample overlaps with the decoding of the
//! next one's code, for neither waits for the other.

use std::cell::Cell;

use super::Fault;
use super::bits::{Bits, REFILLED};

/// Samples of silence in front of a plane, so that every predictor finds a whole history.
pub(super) const PAD: usize = 32;

/// Integers that samples are kept in: `i64` only for the side channel of 32-bit stereo.
pub(crate) trait Sample: Copy + Default {
    fn wrap(value: i64) -> Self;
    fn wide(self) -> i64;
    /// The low 32 bits: exact where a sum is known to fit.
    fn low(self) -> i32;
}

impl Sample for i32 {
    #[inline(always)]
    fn wrap(value: i64) -> Self {
        value as i32
    }
    #[inline(always)]
    fn wide(self) -> i64 {
        i64::from(self)
    }
    #[inline(always)]
    fn low(self) -> i32 {
        self
    }
}

impl Sample for i64 {
    #[inline(always)]
    fn wrap(value: i64) -> Self {
        value
    }
    #[inline(always)]
    fn wide(self) -> i64 {
        self
    }
    #[inline(always)]
    fn low(self) -> i32 {
        self as i32
    }
}

/// A linear predictor over the last `N` samples, oldest first.
pub(crate) trait Predictor<S: Sample, const N: usize> {
    /// `last` is the newest sample again: kept in a register, it need not come back from memory.
    fn next(&self, history: &[Cell<S>; N], last: S, residual: i32) -> S;
}

/// Coefficients whose sums fit 32 bits for samples of the stream's depth.
pub(super) struct Narrow<const N: usize> {
    pub(super) coefficients: [i32; N],
    pub(super) shift: u32,
}

impl<S: Sample, const N: usize> Predictor<S, N> for Narrow<N> {
    #[inline(always)]
    fn next(&self, history: &[Cell<S>; N], last: S, residual: i32) -> S {
        let mut sum = 0i32;
        let older = self
            .coefficients
            .iter()
            .zip(history)
            .take(N.saturating_sub(1));
        for (coefficient, sample) in older {
            sum = sum.wrapping_add(coefficient.wrapping_mul(sample.get().low()));
        }
        if let Some(newest) = self.coefficients.last() {
            sum = sum.wrapping_add(newest.wrapping_mul(last.low()));
        }
        S::wrap(i64::from((sum >> (self.shift & 31)).wrapping_add(residual)))
    }
}

/// The same with 64-bit sums, which always fit.
pub(super) struct Wide<const N: usize> {
    pub(super) coefficients: [i32; N],
    pub(super) shift: u32,
}

impl<S: Sample, const N: usize> Predictor<S, N> for Wide<N> {
    #[inline(always)]
    fn next(&self, history: &[Cell<S>; N], last: S, residual: i32) -> S {
        let mut sum = 0i64;
        let older = self
            .coefficients
            .iter()
            .zip(history)
            .take(N.saturating_sub(1));
        for (coefficient, sample) in older {
            let product = i64::from(*coefficient).wrapping_mul(sample.get().wide());
            sum = sum.wrapping_add(product);
        }
        if let Some(newest) = self.coefficients.last() {
            sum = sum.wrapping_add(i64::from(*newest).wrapping_mul(last.wide()));
        }
        S::wrap((sum >> (self.shift & 31)).wrapping_add(i64::from(residual)))
    }
}

/// Reads the residual of a subframe (RFC 9639, section 9.2.7) and makes `plane`'s samples of it.
///
/// `plane` is [`PAD`] samples longer than the block; the first `order` samples after the padding are there.
pub(super) fn predict<S: Sample, const N: usize>(
    bits: &mut Bits<'_>,
    plane: &mut [S],
    order: usize,
    predictor: &impl Predictor<S, N>,
) -> Result<(), Fault> {
    let block = plane.len().saturating_sub(PAD);
    let parameter_bits = match bits.read(2) {
        0 => 4,
        1 => 5,
        _ => return Err(Fault::Damaged("a residual is coded by a reserved method")),
    };
    let partition_order = bits.read(4) as u32;
    let size = block >> partition_order;
    if size << partition_order != block || size < order {
        return Err(Fault::Damaged(
            "a block's size is not a multiple of its partitions",
        ));
    }
    let cells = Cell::from_mut(plane).as_slice_of_cells();
    for partition in 0..1usize << partition_order {
        let begin = if partition == 0 {
            order
        } else {
            partition * size
        };
        let windows = cells.get(PAD + begin - N..PAD + (partition + 1) * size);
        let Some(windows) = windows else {
            return Err(Fault::Damaged(
                "a block's size is not a multiple of its partitions",
            ));
        };
        let parameter = bits.read(parameter_bits) as u32;
        if parameter == (1 << parameter_bits) - 1 {
            escaped(bits, windows, predictor)?;
            bits.check()?;
        } else {
            predict_codes(bits, windows, parameter, predictor)?;
        }
    }
    Ok(())
}

/// Samples of Rice codes with `parameter` low bits, 31 at most; the first `N` of `windows` are the history.
pub(crate) fn predict_codes<S: Sample, const N: usize>(
    bits: &mut Bits<'_>,
    windows: &[Cell<S>],
    parameter: u32,
    predictor: &impl Predictor<S, N>,
) -> Result<(), Fault> {
    if parameter <= MAX_QUICK {
        rice(bits, windows, parameter, predictor)?;
    } else {
        long_rice(bits, windows, parameter, predictor)?;
    }
    bits.check()
}

/// Up to here no code that fits the window is of a number beyond 32 bits.
const MAX_QUICK: u32 = 27;

fn newest<S: Sample, const N: usize>(windows: &[Cell<S>]) -> S {
    let cell = N.checked_sub(1).and_then(|place| windows.get(place));
    cell.map_or_else(S::default, Cell::get)
}

/// Up to here two codes mostly fit the window.
const MAX_PAIRED: u32 = 20;

/// A partition of codes; with the processor's newer instructions where it has them, which shift by a
/// register in one step and count zeros without a detour.
fn rice<S: Sample, const N: usize>(
    bits: &mut Bits<'_>,
    windows: &[Cell<S>],
    parameter: u32,
    predictor: &impl Predictor<S, N>,
) -> Result<(), Fault> {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
    {
        // SAFETY: the processor has what the function is compiled for.
        #[allow(unsafe_code)]
        return unsafe { rice_bmi(bits, windows, parameter, predictor) };
    }
    rice_codes(bits, windows, parameter, predictor)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "bmi1,bmi2,lzcnt")]
fn rice_bmi<S: Sample, const N: usize>(
    bits: &mut Bits<'_>,
    windows: &[Cell<S>],
    parameter: u32,
    predictor: &impl Predictor<S, N>,
) -> Result<(), Fault> {
    rice_codes(bits, windows, parameter, predictor)
}

/// Two samples for one refill, as long as there are two.
#[inline(always)]
fn rice_codes<S: Sample, const N: usize>(
    bits: &mut Bits<'_>,
    windows: &[Cell<S>],
    parameter: u32,
    predictor: &impl Predictor<S, N>,
) -> Result<(), Fault> {
    let (mut local, mut windows) = (*bits, windows);
    let mut last = newest::<S, N>(windows);
    if parameter <= MAX_PAIRED {
        while let [_, behind @ ..] = windows
            && let Some((history, [first, ..])) = windows.split_first_chunk::<N>()
            && let Some((next_history, [second, ..])) = behind.split_first_chunk::<N>()
        {
            let (code, next_code) = two_codes(&mut local, parameter)?;
            last = predictor.next(history, last, unfolded(code));
            first.set(last);
            last = predictor.next(next_history, last, unfolded(next_code));
            second.set(last);
            windows = behind.get(1..).unwrap_or_default();
        }
    }
    let result = each(windows, last, predictor, || code(&mut local, parameter));
    *bits = local;
    result
}

#[inline(always)]
fn two_codes(bits: &mut Bits<'_>, parameter: u32) -> Result<(u32, u32), Fault> {
    let upcoming = bits.peek();
    let zeros = leading_zeros(upcoming);
    let length = zeros + parameter + 1;
    let behind = upcoming << (length & 63);
    let next_zeros = leading_zeros(behind);
    let both = length + next_zeros + parameter + 1;
    if both <= REFILLED {
        bits.consume(both);
        let first = folded(upcoming, zeros, parameter);
        return Ok((first, folded(behind, next_zeros, parameter)));
    }
    Ok((code(bits, parameter)?, code(bits, parameter)?))
}

#[inline(always)]
fn code(bits: &mut Bits<'_>, parameter: u32) -> Result<u32, Fault> {
    let upcoming = bits.peek();
    let zeros = leading_zeros(upcoming);
    let length = zeros + parameter + 1;
    if length <= REFILLED {
        bits.consume(length);
        return Ok(folded(upcoming, zeros, parameter));
    }
    let (code, behind) = long_code(*bits, parameter);
    *bits = behind;
    code
}

/// The lowest bit never counts: with it set the zeros end.
#[inline(always)]
fn leading_zeros(window: u64) -> u32 {
    (window | 1).leading_zeros()
}

/// A code at the top of `window`: so many zeros, a one, and the low bits.
#[inline(always)]
fn folded(window: u64, zeros: u32, parameter: u32) -> u32 {
    let one_and_low = ((window << zeros) >> ((63 - parameter) & 63)) as u32;
    (zeros.wrapping_sub(1) << parameter).wrapping_add(one_and_low)
}

/// Zigzag: 0, -1, 1, -2, 2, ...
#[inline(always)]
fn unfolded(folded: u32) -> i32 {
    (folded >> 1) as i32 ^ -((folded & 1) as i32)
}

/// What [`unfolded`] takes back.
fn zigzag(number: i32) -> u32 {
    (number << 1 ^ number >> 31) as u32
}

#[cold]
#[inline(never)]
fn long_code(mut bits: Bits<'_>, parameter: u32) -> (Result<u32, Fault>, Bits<'_>) {
    let high = bits.unary(u32::MAX >> parameter);
    let code = high.map(|high| high << parameter | bits.read(parameter) as u32);
    (code, bits)
}

fn long_rice<S: Sample, const N: usize>(
    bits: &mut Bits<'_>,
    windows: &[Cell<S>],
    parameter: u32,
    predictor: &impl Predictor<S, N>,
) -> Result<(), Fault> {
    each(windows, newest::<S, N>(windows), predictor, || {
        let (code, behind) = long_code(*bits, parameter);
        *bits = behind;
        code
    })
}

/// A partition without codes: numbers of a fixed width, or zeros.
fn escaped<S: Sample, const N: usize>(
    bits: &mut Bits<'_>,
    windows: &[Cell<S>],
    predictor: &impl Predictor<S, N>,
) -> Result<(), Fault> {
    let last = newest::<S, N>(windows);
    match bits.read(5) as u32 {
        0 => each(windows, last, predictor, || Ok(0)),
        width => each(windows, last, predictor, || {
            Ok(zigzag(bits.read_signed(width) as i32))
        }),
    }
}

/// One sample after the other; `code` gives folded residuals.
#[inline(always)]
fn each<S: Sample, const N: usize>(
    windows: &[Cell<S>],
    mut last: S,
    predictor: &impl Predictor<S, N>,
    mut code: impl FnMut() -> Result<u32, Fault>,
) -> Result<(), Fault> {
    for window in windows.windows(N + 1) {
        if let Some((history, [place, ..])) = window.split_first_chunk::<N>() {
            last = predictor.next(history, last, unfolded(code()?));
            place.set(last);
        }
    }
    Ok(())
}
