//! One channel of a frame: RFC 9639, section 9.2.

use super::Fault;
use super::bits::Bits;
use super::predict::{Narrow, PAD, Sample, Wide, predict};

/// Decodes a subframe of `bits_per_sample` into `plane`, which begins with [`PAD`] zeros.
pub(super) fn decode<S: Sample>(
    bits: &mut Bits<'_>,
    bits_per_sample: u32,
    plane: &mut [S],
) -> Result<(), Fault> {
    if bits.read(1) != 0 {
        return Err(Fault::Damaged("a subframe does not begin with a zero bit"));
    }
    let kind = bits.read(6) as u32;
    let wasted = match bits.read(1) {
        0 => 0,
        _ => bits.unary(bits_per_sample)? + 1,
    };
    let depth = match bits_per_sample.checked_sub(wasted) {
        Some(depth) if depth > 0 => depth,
        _ => return Err(Fault::Damaged("a subframe has only wasted bits")),
    };
    match kind {
        0 => {
            let value = S::wrap(bits.read_signed(depth));
            plane
                .iter_mut()
                .skip(PAD)
                .for_each(|sample| *sample = value);
        }
        1 => read_samples(bits, depth, plane, usize::MAX),
        8..=12 => fixed(bits, depth, plane, kind as usize - 8)?,
        32..=63 => linear(bits, depth, plane, kind as usize - 31)?,
        _ => return Err(Fault::Damaged("a subframe has a reserved type")),
    }
    bits.check()?;
    if wasted > 0 {
        let samples = plane.iter_mut().skip(PAD);
        samples.for_each(|sample| *sample = S::wrap(sample.wide() << wasted));
    }
    Ok(())
}

/// Plain samples: at most `count`, at most as many as the block has.
fn read_samples<S: Sample>(bits: &mut Bits<'_>, depth: u32, plane: &mut [S], count: usize) {
    for sample in plane.iter_mut().skip(PAD).take(count) {
        *sample = S::wrap(bits.read_signed(depth));
    }
}

/// Section 9.2.5: polynomials through the last samples.
fn fixed<S: Sample>(
    bits: &mut Bits<'_>,
    depth: u32,
    plane: &mut [S],
    order: usize,
) -> Result<(), Fault> {
    warm_up(bits, depth, plane, order)?;
    match order {
        0 => run(bits, depth, plane, order, [], 0),
        1 => run(bits, depth, plane, order, [1], 0),
        2 => run(bits, depth, plane, order, [-1, 2], 0),
        3 => run(bits, depth, plane, order, [1, -3, 3], 0),
        _ => run(bits, depth, plane, order, [-1, 4, -6, 4], 0),
    }
}

/// Section 9.2.6: coefficients of the encoder's own.
fn linear<S: Sample>(
    bits: &mut Bits<'_>,
    depth: u32,
    plane: &mut [S],
    order: usize,
) -> Result<(), Fault> {
    warm_up(bits, depth, plane, order)?;
    let precision = bits.read(4) as u32 + 1;
    if precision == 16 {
        return Err(Fault::Damaged(
            "a predictor's precision is a reserved number",
        ));
    }
    let Ok(shift) = u32::try_from(bits.read_signed(5)) else {
        return Err(Fault::Damaged("a predictor's shift is negative"));
    };
    let mut newest_first = [0; 32];
    for coefficient in newest_first.iter_mut().take(order) {
        *coefficient = bits.read_signed(precision) as i32;
    }
    with_order(bits, depth, plane, order, &newest_first, shift)
}

fn warm_up<S: Sample>(
    bits: &mut Bits<'_>,
    depth: u32,
    plane: &mut [S],
    order: usize,
) -> Result<(), Fault> {
    if order > plane.len().saturating_sub(PAD) {
        return Err(Fault::Damaged("a predictor is longer than its block"));
    }
    read_samples(bits, depth, plane, order);
    Ok(())
}

/// A loop of its own for each common order; longer ones are filled up with zeros.
fn with_order<S: Sample>(
    bits: &mut Bits<'_>,
    depth: u32,
    plane: &mut [S],
    order: usize,
    newest_first: &[i32; 32],
    shift: u32,
) -> Result<(), Fault> {
    macro_rules! loops {
        ($($padded:literal)*) => {
            match order {
                $(..=$padded => run::<S, $padded>(
                    bits, depth, plane, order, oldest_first(newest_first), shift,
                ),)*
                _ => run::<S, 32>(bits, depth, plane, order, oldest_first(newest_first), shift),
            }
        };
    }
    loops!(1 2 3 4 5 6 7 8 9 10 11 12 16 24)
}

fn oldest_first<const N: usize>(newest_first: &[i32; 32]) -> [i32; N] {
    std::array::from_fn(|place| newest_first[N - 1 - place])
}

/// Chooses the width of the sums: 32 bits where no sum over samples of `depth` can be wider.
fn run<S: Sample, const N: usize>(
    bits: &mut Bits<'_>,
    depth: u32,
    plane: &mut [S],
    order: usize,
    coefficients: [i32; N],
    shift: u32,
) -> Result<(), Fault> {
    let total: u64 = coefficients
        .iter()
        .map(|c| u64::from(c.unsigned_abs()))
        .sum();
    let widest = total << (depth - 1);
    if widest < 1 << 31 && depth < 31 {
        predict(
            bits,
            plane,
            order,
            &Narrow {
                coefficients,
                shift,
            },
        )
    } else {
        predict(
            bits,
            plane,
            order,
            &Wide {
                coefficients,
                shift,
            },
        )
    }
}
