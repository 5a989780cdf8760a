//! Line spectral frequencies, and the filters that they stand for: 3GPP TS 26.090, sections 5.2.3 to 5.2.6.

use super::super::fixed::{mult, saturate};
use super::lsf_tables::{FIRST_3, FIRST_3_OF_795, MEAN_3, PREDICTION_3, SECOND_3};
use super::lsf_tables_122::{FIFTH_5, FIRST_5, FOURTH_5, MEAN_5, SECOND_5, THIRD_5};
use super::lsf_tables_last::{NOISE_RESIDUALS, THIRD_3, THIRD_3_OF_515};
use super::{Mode, ORDER};

/// One number for each line.
pub(super) type Lines = [i16; ORDER];
/// A filter, its first coefficient 1.0 in Q12.
pub(super) type Filter = [i16; ORDER + 1];

/// How near two frequencies are at most, Q15 of the sampling rate: 50 Hz.
const GAP: i16 = 205;
/// How much of the last residual is in the next at 12.2 kbit/s, Q15.
const PREDICTION_5: i16 = 21299;
/// Cosines of the line spectral pairs before the first frame.
pub(super) const FIRST_PAIRS: Lines = [
    30000, 26000, 21000, 15000, 8000, 0, -8000, -15000, -21000, -26000,
];

/// What the next frame's frequencies are told against.
pub(super) struct Spectrum {
    residual: Lines,
    /// The last frequencies.
    pub(super) lines: Lines,
}

impl Default for Spectrum {
    fn default() -> Self {
        Self {
            residual: [0; ORDER],
            lines: MEAN_5,
        }
    }
}

impl Spectrum {
    /// The pairs at the end of a frame of any mode but 12.2 kbit/s.
    pub(super) fn decode_3(&mut self, mode: Mode, numbers: &[i16]) -> Lines {
        let residual = residual_3(Some(mode), numbers);
        let predicted = self.predicted_3();
        self.take(residual, &predicted)
    }

    /// The pairs that a silence descriptor tells.
    pub(super) fn decode_silence(&mut self, numbers: &[i16]) -> Lines {
        let base = numbers.first().map_or(0, |row| *row as usize & 7);
        self.residual = row(&NOISE_RESIDUALS, base);
        let residual = residual_3(None, numbers.get(1..).unwrap_or_default());
        let predicted = sum(&MEAN_3, &self.residual);
        let pairs = self.take(residual, &predicted);
        self.residual = [0; ORDER];
        pairs
    }

    /// The pairs in the middle and at the end of a frame of 12.2 kbit/s.
    pub(super) fn decode_5(&mut self, numbers: &[i16]) -> (Lines, Lines) {
        let (first, second) = residuals_5(numbers);
        let predicted = self.predicted_5();
        let mut middle = sum(&first, &predicted);
        spread(&mut middle);
        (pairs(&middle), self.take(second, &predicted))
    }

    /// The pairs of a frame of any mode but 12.2 kbit/s that was lost: the last ones, drawn to the mean.
    pub(super) fn conceal_3(&mut self) -> Lines {
        let predicted = self.predicted_3();
        self.conceal(&MEAN_3, (29491, 3277), &predicted)
    }

    /// The same at 12.2 kbit/s.
    pub(super) fn conceal_5(&mut self) -> Lines {
        let predicted = self.predicted_5();
        self.conceal(&MEAN_5, (31128, 1639), &predicted)
    }

    fn conceal(&mut self, mean: &Lines, parts: (i16, i16), predicted: &Lines) -> Lines {
        let mut lines = each(&self.lines, mean, |last, mean| {
            mult(mean, parts.1).saturating_add(mult(last, parts.0))
        });
        self.residual = each(&lines, predicted, i16::saturating_sub);
        spread(&mut lines);
        self.lines = lines;
        pairs(&lines)
    }

    fn predicted_3(&self) -> Lines {
        let predicted = each(&self.residual, &PREDICTION_3, mult);
        sum(&MEAN_3, &predicted)
    }

    fn predicted_5(&self) -> Lines {
        sum(&MEAN_5, &self.residual.map(|last| mult(last, PREDICTION_5)))
    }

    fn take(&mut self, residual: Lines, predicted: &Lines) -> Lines {
        self.lines = sum(&residual, predicted);
        self.residual = residual;
        spread(&mut self.lines);
        pairs(&self.lines)
    }
}

fn each(a: &Lines, b: &Lines, of: impl Fn(i16, i16) -> i16) -> Lines {
    let mut result = *a;
    for (value, b) in result.iter_mut().zip(b) {
        *value = of(*value, *b);
    }
    result
}

fn sum(a: &Lines, b: &Lines) -> Lines {
    each(a, b, i16::saturating_add)
}

/// Row `index` of a table; the last one where there are fewer.
fn row<const N: usize>(table: &[i16], index: usize) -> [i16; N] {
    let index = index.min((table.len() / N).saturating_sub(1));
    let row = table.get(index * N..).and_then(<[i16]>::first_chunk);
    row.copied().unwrap_or([0; N])
}

/// A split in 3, 3 and 4; of a silence descriptor without a mode.
fn residual_3(mode: Option<Mode>, numbers: &[i16]) -> Lines {
    let number = |at: usize| numbers.get(at).map_or(0, |number| *number as usize);
    let is_low = matches!(mode, Some(Mode::M475 | Mode::M515));
    let first: &[i16] = match mode {
        Some(Mode::M795) => &FIRST_3_OF_795,
        _ => &FIRST_3,
    };
    let second = number(1) << u32::from(is_low);
    let third: &[i16] = if is_low { &THIRD_3_OF_515 } else { &THIRD_3 };
    let [a, b, c] = row(first, number(0));
    let [d, e, f] = row(&SECOND_3, second);
    let [g, h, i, j] = row(third, number(2));
    [a, b, c, d, e, f, g, h, i, j]
}

/// A split in five pairs, of two frames at once.
fn residuals_5(numbers: &[i16]) -> (Lines, Lines) {
    let tables: [&[i16]; 5] = [&FIRST_5, &SECOND_5, &THIRD_5, &FOURTH_5, &FIFTH_5];
    let (mut first, mut second) = ([0; ORDER], [0; ORDER]);
    for (part, (table, number)) in tables.iter().zip(numbers).enumerate() {
        let is_signed = part == 2;
        let index = *number as usize >> u32::from(is_signed);
        let [a, b, c, d] = row::<4>(table, index).map(|value| {
            let is_negative = is_signed && number & 1 == 1;
            if is_negative { -value } else { value }
        });
        for (to, from) in [(&mut first, [a, b]), (&mut second, [c, d])] {
            if let Some(to) = to.get_mut(2 * part..2 * part + 2) {
                to.copy_from_slice(&from);
            }
        }
    }
    (first, second)
}

/// Keeps frequencies apart and in order.
pub(super) fn spread(lines: &mut Lines) {
    let mut least = GAP;
    for line in lines {
        *line = (*line).max(least);
        least = line.saturating_add(GAP);
    }
}

/// The cosines of frequencies.
pub(super) fn pairs(lines: &Lines) -> Lines {
    lines.map(|line| {
        let (index, offset) = ((line >> 8).clamp(0, 63) as usize, i32::from(line & 0xFF));
        let at = |index: usize| COSINES.get(index).map_or(0, |cosine| i32::from(*cosine));
        let (from, to) = (at(index), at(index + 1));
        saturate(from + (((to - from) * offset) >> 8))
    })
}

/// The frequencies of cosines, which fall.
pub(super) fn lines(pairs: &Lines) -> Lines {
    let mut index = 63;
    let mut result = [0; ORDER];
    for (line, pair) in result.iter_mut().zip(pairs).rev() {
        let at = |index: usize| COSINES.get(index).copied().unwrap_or(i16::MAX);
        while at(index) < *pair && index > 0 {
            index -= 1;
        }
        let slope = SLOPES.get(index).map_or(0, |slope| i32::from(*slope));
        let offset = ((i32::from(*pair) - i32::from(at(index))) * slope + 0x800) >> 12;
        *line = (offset as i16).wrapping_add((index as i16) << 8);
    }
    result
}

/// The four filters of a frame whose pairs are known at its end alone.
pub(super) fn filters_3(old: &Lines, new: &Lines) -> [Filter; 4] {
    let quarter =
        |near: &Lines, far: &Lines| each(near, far, |near, far| near - (near >> 2) + (far >> 2));
    [
        filter(&quarter(old, new)),
        filter(&half(old, new)),
        filter(&quarter(new, old)),
        filter(new),
    ]
}

/// The four filters of a frame whose pairs are known in its middle too.
pub(super) fn filters_5(old: &Lines, middle: &Lines, new: &Lines) -> [Filter; 4] {
    [
        filter(&half(old, middle)),
        filter(middle),
        filter(&half(middle, new)),
        filter(new),
    ]
}

fn half(a: &Lines, b: &Lines) -> Lines {
    each(a, b, |a, b| (a >> 1) + (b >> 1))
}

/// The filter of line spectral pairs.
pub(super) fn filter(pairs: &Lines) -> Filter {
    let [a, b, c, d, e, f, g, h, i, j] = *pairs;
    let (mut even, mut odd) = (polynomial([a, c, e, g, i]), polynomial([b, d, f, h, j]));
    for at in (1..6).rev() {
        even[at] = even[at].wrapping_add(even[at - 1]);
        odd[at] = odd[at].wrapping_sub(odd[at - 1]);
    }
    let mut filter = [4096; ORDER + 1];
    for at in 1..6 {
        let (even, odd) = (even[at], odd[at]);
        filter[at] = (even.wrapping_add(odd).wrapping_add(1 << 12) >> 13) as i16;
        filter[11 - at] = (even.wrapping_sub(odd).wrapping_add(1 << 12) >> 13) as i16;
    }
    filter
}

/// The product of `1 - 2 p z^-1 + z^-2` over five pairs, its first half, Q24.
fn polynomial(pairs: [i16; 5]) -> [i32; 6] {
    let mut sums = [0i32; 6];
    sums[0] = 1 << 24;
    sums[1] = -(i32::from(pairs[0]) << 10);
    for degree in 2..6 {
        let pair = i32::from(pairs[degree - 1]);
        sums[degree] = sums[degree - 2];
        for at in (2..=degree).rev() {
            let (high, low) = (sums[at - 1] >> 16, (sums[at - 1] >> 1) & 0x7FFF);
            let product = (high * pair).wrapping_add((low * pair) >> 15);
            sums[at] = sums[at]
                .wrapping_add(sums[at - 2])
                .wrapping_sub(product.wrapping_shl(2));
        }
        sums[1] = sums[1].wrapping_sub(pair << 10);
    }
    sums
}

/// `cos(pi x / 64)`, Q15.
static COSINES: [i16; 65] = [
    32767, 32729, 32610, 32413, 32138, 31786, 31357, 30853, 30274, 29622, 28899, 28106, 27246,
    26320, 25330, 24279, 23170, 22006, 20788, 19520, 18205, 16846, 15447, 14010, 12540, 11039,
    9512, 7962, 6393, 4808, 3212, 1608, 0, -1608, -3212, -4808, -6393, -7962, -9512, -11039,
    -12540, -14010, -15447, -16846, -18205, -19520, -20788, -22006, -23170, -24279, -25330, -26320,
    -27246, -28106, -28899, -29622, -30274, -30853, -31357, -31786, -32138, -32413, -32610, -32729,
    -32768,
];

/// The slope of the frequency between two cosines.
static SLOPES: [i16; 64] = [
    -26887, -8812, -5323, -3813, -2979, -2444, -2081, -1811, -1608, -1450, -1322, -1219, -1132,
    -1059, -998, -946, -901, -861, -827, -797, -772, -750, -730, -713, -699, -687, -677, -668,
    -662, -657, -654, -652, -652, -654, -657, -662, -668, -677, -687, -699, -713, -730, -750, -772,
    -797, -827, -861, -901, -946, -998, -1059, -1132, -1219, -1322, -1450, -1608, -1811, -2081,
    -2444, -2979, -3813, -5323, -8812, -26887,
];
