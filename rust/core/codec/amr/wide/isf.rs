//! Immittance spectral frequencies, and the filters that they stand for: 3GPP TS 26.190, sections 5.2.2 to 5.2.6.

use super::super::fixed::{
    add_product, mult, norm_long, product, round, saturate, shift_long, shift_right_rounded,
};
use super::isf_tables::{FIRST, MEAN, SECOND};
use super::isf_tables_fine::{FINE_1, FINE_2, FINE_3, FINE_4, FINE_5, LOW_1, LOW_2, LOW_3};
use super::noise_tables::{NOISE_1, NOISE_2, NOISE_3, NOISE_4, NOISE_5, NOISE_MEAN};
use super::{ORDER, QUARTERS, bits::Bits};

/// One number for each frequency.
pub(super) type Lines = [i16; ORDER];
/// A filter, its first coefficient 1.0 in Q12 or less.
pub(super) type Filter = [i16; ORDER + 1];

/// How near two frequencies are at most, in units of 6,400 / 16,384 Hz.
const GAP: i16 = 128;
/// How much of the last residual is in the next, Q15.
const PREDICTION: i16 = 10923;
/// The frequencies before the first frame.
pub(super) const FIRST_LINES: Lines = [
    1024, 2048, 3072, 4096, 5120, 6144, 7168, 8192, 9216, 10240, 11264, 12288, 13312, 14336, 15360,
    3840,
];
/// Their cosines.
pub(super) const FIRST_PAIRS: Lines = [
    32138, 30274, 27246, 23170, 18205, 12540, 6393, 0, -6393, -12540, -18205, -23170, -27246,
    -30274, -32138, 1475,
];

/// What the next frame's frequencies are told against.
pub(super) struct Spectrum {
    pub(super) residual: Lines,
    /// The last frequencies.
    pub(super) lines: Lines,
    /// Those of the last three good frames.
    past: [Lines; 3],
}

impl Default for Spectrum {
    fn default() -> Self {
        Self {
            residual: [0; ORDER],
            lines: FIRST_LINES,
            past: [FIRST_LINES; 3],
        }
    }
}

impl Spectrum {
    /// The frequencies of a frame; `is_low` at 6.6 kbit/s. A bad frame's are the last ones, drawn to the mean.
    pub(super) fn decode(&mut self, is_low: bool, is_bad: bool, bits: &mut Bits<'_>) -> Lines {
        let residual = if is_low {
            residual_36(bits)
        } else {
            residual_46(bits)
        };
        if is_bad {
            return self.conceal();
        }
        let predicted = self.residual.map(|last| mult(last, PREDICTION));
        let mut lines = each(
            &each(&residual, &MEAN, i16::wrapping_add),
            &predicted,
            i16::wrapping_add,
        );
        self.residual = residual;
        self.past.rotate_right(1);
        self.past[0] = lines;
        spread(&mut lines);
        lines
    }

    fn conceal(&mut self) -> Lines {
        let mut mean = MEAN;
        for (at, mean) in mean.iter_mut().enumerate() {
            let sum = product(*mean, 8192);
            let sum = self
                .past
                .iter()
                .fold(sum, |sum, lines| add_product(sum, lines[at], 8192));
            *mean = round(sum);
        }
        let mut lines = each(&self.lines, &mean, |last, mean| {
            mult(29491, last).saturating_add(mult(3277, mean))
        });
        let predicted = each(&mean, &self.residual, |mean, last| {
            mean.saturating_add(mult(last, PREDICTION))
        });
        self.residual = each(&lines, &predicted, |line, predicted| {
            line.saturating_sub(predicted) >> 1
        });
        spread(&mut lines);
        lines
    }
}

fn each(a: &Lines, b: &Lines, of: impl Fn(i16, i16) -> i16) -> Lines {
    let mut result = *a;
    for (value, b) in result.iter_mut().zip(b) {
        *value = of(*value, *b);
    }
    result
}

/// Adds row `index` of a table with rows of `width` to `lines` from `at` on.
fn add(lines: &mut Lines, at: usize, width: usize, table: &[i16], index: i16) {
    let row = table.get(index as usize * width..).unwrap_or_default();
    for (line, value) in lines[at..].iter_mut().zip(row.iter().take(width)) {
        *line = line.saturating_add(*value);
    }
}

fn residual_46(bits: &mut Bits<'_>) -> Lines {
    let mut lines = [0; ORDER];
    add(&mut lines, 0, 9, &FIRST, bits.take(8));
    add(&mut lines, 9, 7, &SECOND, bits.take(8));
    add(&mut lines, 0, 3, &FINE_1, bits.take(6));
    add(&mut lines, 3, 3, &FINE_2, bits.take(7));
    add(&mut lines, 6, 3, &FINE_3, bits.take(7));
    add(&mut lines, 9, 3, &FINE_4, bits.take(5));
    add(&mut lines, 12, 4, &FINE_5, bits.take(5));
    lines
}

fn residual_36(bits: &mut Bits<'_>) -> Lines {
    let mut lines = [0; ORDER];
    add(&mut lines, 0, 9, &FIRST, bits.take(8));
    add(&mut lines, 9, 7, &SECOND, bits.take(8));
    add(&mut lines, 0, 5, &LOW_1, bits.take(7));
    add(&mut lines, 5, 4, &LOW_2, bits.take(7));
    add(&mut lines, 9, 7, &LOW_3, bits.take(6));
    lines
}

/// The frequencies that a silence descriptor tells.
pub(super) fn noise_lines(bits: &mut Bits<'_>) -> Lines {
    let mut lines = NOISE_MEAN;
    add(&mut lines, 0, 2, &NOISE_1, bits.take(6));
    add(&mut lines, 2, 3, &NOISE_2, bits.take(6));
    add(&mut lines, 5, 3, &NOISE_3, bits.take(6));
    add(&mut lines, 8, 4, &NOISE_4, bits.take(5));
    add(&mut lines, 12, 4, &NOISE_5, bits.take(5));
    spread(&mut lines);
    lines
}

/// Keeps all frequencies but the last apart and in order.
fn spread(lines: &mut Lines) {
    let mut least = GAP;
    for line in &mut lines[..ORDER - 1] {
        *line = (*line).max(least);
        least = line.saturating_add(GAP);
    }
}

/// The cosines of frequencies, of which the last is half.
pub(super) fn pairs<const N: usize>(lines: &[i16; N]) -> [i16; N] {
    let mut pairs = *lines;
    if let Some(last) = pairs.last_mut() {
        *last = last.saturating_mul(2);
    }
    pairs.map(|line| {
        let (index, offset) = ((line >> 7).clamp(0, 127) as usize, i32::from(line & 0x7F));
        let at = |index: usize| COSINES.get(index).map_or(0, |cosine| i32::from(*cosine));
        let (from, to) = (at(index), at(index + 1));
        saturate(from + (((to - from) * offset) >> 7))
    })
}

/// The lines of quarter `at`, between those of two frames.
pub(super) fn between(old: &Lines, new: &Lines, at: usize) -> Lines {
    let part = QUARTERS[at];
    each(old, new, |old, new| {
        round(add_product(product(old, i16::MAX - part), new, part))
    })
}

/// The filters of the quarters of a frame.
pub(super) fn filters(old: &Lines, new: &Lines) -> [Filter; 4] {
    let mut filters = [filter(new); 4];
    for (filter, part) in filters.iter_mut().zip(QUARTERS).take(3) {
        let rest = (i32::from(i16::MAX) - i32::from(part) + 1) as i16;
        let pairs = each(old, new, |old, new| {
            round(add_product(product(old, rest), new, part))
        });
        *filter = self::filter(&pairs);
    }
    filters
}

/// The filter of immittance spectral pairs.
pub(super) fn filter(pairs: &Lines) -> Filter {
    scaled_filter(pairs, false)
}

/// The same, made smaller if it would not fit.
pub(super) fn filter_that_fits(pairs: &Lines) -> Filter {
    scaled_filter(pairs, true)
}

fn scaled_filter(pairs: &Lines, may_scale: bool) -> Filter {
    let (even, odd) = polynomials::<ORDER, 9>(pairs, 23, 0);
    coefficients::<ORDER, { ORDER + 1 }, 9>(pairs, &even, &odd, may_scale)
}

/// Pairs of the filter of the upper band.
pub(super) const HIGH_ORDER: usize = 20;

/// The filter of the upper band.
pub(super) fn high_filter(pairs: &[i16; HIGH_ORDER]) -> [i16; HIGH_ORDER + 1] {
    let (even, odd) = polynomials::<HIGH_ORDER, 11>(pairs, 21, 2);
    coefficients::<HIGH_ORDER, { HIGH_ORDER + 1 }, 11>(pairs, &even, &odd, false)
}

/// The two polynomials of pairs, their sum and difference with the last pair taken; Q23, by way of `bits` bits.
fn polynomials<const N: usize, const HALF: usize>(
    pairs: &[i16; N],
    bits: u32,
    up: i32,
) -> ([i32; HALF], [i32; HALF]) {
    let half = N / 2;
    let mut even = polynomial::<HALF>(pairs, 0, half, bits);
    let mut odd = polynomial::<HALF>(pairs, 1, half - 1, bits);
    for value in even.iter_mut().chain(&mut odd) {
        *value = shift_long(*value, up);
    }
    for at in (2..half).rev() {
        odd[at] = odd[at].wrapping_sub(odd[at - 2]);
    }
    let last = pairs[N - 1];
    for at in 0..half {
        even[at] = even[at].wrapping_add(part(even[at], last) << 1);
        odd[at] = odd[at].wrapping_sub(part(odd[at], last) << 1);
    }
    (even, odd)
}

/// A number times one of 16 bits, over 2^16.
fn part(value: i32, by: i16) -> i32 {
    ((i64::from(value) * i64::from(by)) >> 16) as i32
}

/// The product of `1 - 2 p z^-1 + z^-2` over every second pair from `first` on, its first half.
fn polynomial<const HALF: usize>(
    pairs: &[i16],
    first: usize,
    degree: usize,
    bits: u32,
) -> [i32; HALF] {
    let pair = |at: usize| pairs.get(first + 2 * at).copied().unwrap_or(0);
    let mut sums = [0i32; HALF];
    sums[0] = 1 << bits;
    sums[1] = -(i32::from(pair(0)) << (bits - 14));
    for at in 2..=degree {
        let by = pair(at - 1);
        sums[at] = sums[at - 2];
        for place in (2..=at).rev() {
            let twice = shift_long(part(sums[place - 1], by), 2);
            sums[place] = sums[place]
                .wrapping_sub(twice)
                .wrapping_add(sums[place - 2]);
        }
        sums[1] = sums[1].wrapping_sub(i32::from(by) << (bits - 14));
    }
    sums
}

fn coefficients<const N: usize, const M: usize, const HALF: usize>(
    pairs: &[i16; N],
    even: &[i32; HALF],
    odd: &[i32; HALF],
    may_scale: bool,
) -> [i16; M] {
    let half = N / 2;
    let both = |at: usize| {
        (
            even[at].saturating_add(odd[at]),
            even[at].saturating_sub(odd[at]),
        )
    };
    let sizes = (1..half).map(&both).fold(1, |most, (a, b)| {
        most | a.saturating_abs() | b.saturating_abs()
    });
    let down = if may_scale {
        (4 - norm_long(sizes)).max(0)
    } else {
        0
    };
    let rounded = |value: i32| ((value >> (12 + down)) + ((value >> (11 + down)) & 1)) as i16;
    let mut filter = [4096 >> down; M];
    for at in 1..half {
        let (sum, difference) = both(at);
        filter[at] = rounded(sum);
        filter[N - at] = rounded(difference);
    }
    let last = pairs[N - 1];
    filter[half] = rounded(even[half].saturating_add(part(even[half], last) << 1));
    filter[N] = shift_right_rounded(i32::from(last), 3 + down) as i16;
    filter
}

/// `cos(pi x / 128)`, Q15.
static COSINES: [i16; 129] = [
    32767, 32758, 32729, 32679, 32610, 32522, 32413, 32286, 32138, 31972, 31786, 31581, 31357,
    31114, 30853, 30572, 30274, 29957, 29622, 29269, 28899, 28511, 28106, 27684, 27246, 26791,
    26320, 25833, 25330, 24812, 24279, 23732, 23170, 22595, 22006, 21403, 20788, 20160, 19520,
    18868, 18205, 17531, 16846, 16151, 15447, 14733, 14010, 13279, 12540, 11793, 11039, 10279,
    9512, 8740, 7962, 7180, 6393, 5602, 4808, 4011, 3212, 2411, 1608, 804, 0, -804, -1608, -2411,
    -3212, -4011, -4808, -5602, -6393, -7180, -7962, -8740, -9512, -10279, -11039, -11793, -12540,
    -13279, -14010, -14733, -15447, -16151, -16846, -17531, -18205, -18868, -19520, -20160, -20788,
    -21403, -22006, -22595, -23170, -23732, -24279, -24812, -25330, -25833, -26320, -26791, -27246,
    -27684, -28106, -28511, -28899, -29269, -29622, -29957, -30274, -30572, -30853, -31114, -31357,
    -31581, -31786, -31972, -32138, -32286, -32413, -32522, -32610, -32679, -32729, -32758, -32768,
];
