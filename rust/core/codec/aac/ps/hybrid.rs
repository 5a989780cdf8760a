//! Splitting the lowest bands further: ISO/IEC 14496-3, section 8.6.4.3.

use std::f64::consts::PI;
use std::sync::LazyLock;

use super::super::qmf::{BANDS, Bands, LOW_BANDS, Output, Row};
use super::SLOTS;

/// Bands that are split, with 34 bands of parameters, and samples that the filters reach to either side.
const SPLIT: usize = 5;
const REACH: usize = 6;
const TAPS: usize = 2 * REACH + 1;
/// The most that the bands are split into, the others with them.
pub(super) const SUBBANDS: usize = 91;

/// Samples of the bands that are split: before the packet, in it, and after it.
type Line = [f32; SLOTS + 2 * REACH];
/// Complex samples of all sub-bands.
pub(super) type Subbands = Bands<Output, SUBBANDS>;

/// Filters of one band, by the sub-bands that they make.
type Filters<const N: usize> = [[[f32; 2]; TAPS]; N];

struct All {
    eight: Filters<8>,
    twelve: Filters<12>,
    second: Filters<8>,
    four: Filters<4>,
}

static FILTERS: LazyLock<All> = LazyLock::new(|| {
    // Tables 8.39 and 8.40: the first half of each prototype, and its middle.
    const EIGHT: [f64; 7] = [
        0.007_460_829_498_12,
        0.022_704_209_498_25,
        0.045_468_659_304_73,
        0.072_661_139_295_91,
        0.098_851_085_752_64,
        0.117_937_105_672_17,
        0.125,
    ];
    const TWELVE: [f64; 7] = [
        0.040_811_799_246_92,
        0.038_128_109_949_26,
        0.051_449_081_356_99,
        0.063_998_311_515_92,
        0.074_283_138_011_06,
        0.081_003_478_929_14,
        0.083_333_333_333_33,
    ];
    const SECOND: [f64; 7] = [
        0.015_656_756_001_22,
        0.037_527_163_919_91,
        0.054_178_913_787_82,
        0.084_170_441_167_67,
        0.103_073_441_580_36,
        0.122_224_522_497_53,
        0.125,
    ];
    const FOUR: [f64; 7] = [
        -0.059_082_111_556_39,
        -0.048_714_983_749_46,
        0.0,
        0.077_787_239_158_51,
        0.164_863_035_673_03,
        0.232_798_566_629_96,
        0.25,
    ];
    All {
        eight: modulate(&EIGHT),
        twelve: modulate(&TWELVE),
        second: modulate(&SECOND),
        four: modulate(&FOUR),
    }
});

fn modulate<const N: usize>(prototype: &[f64; 7]) -> Filters<N> {
    std::array::from_fn(|band| {
        std::array::from_fn(|tap| {
            let value = prototype[tap.min(TAPS - 1 - tap)];
            let angle = 2.0 * PI / N as f64 * (band as f64 + 0.5) * (tap as f64 - REACH as f64);
            [(value * angle.cos()) as f32, (-value * angle.sin()) as f32]
        })
    })
}

/// What the filters remember of the packet before.
#[derive(Clone)]
pub(super) struct Hybrid {
    past: Bands<[f32; REACH], SPLIT>,
}

impl Hybrid {
    pub(super) fn new() -> Self {
        Self { past: Bands::new() }
    }

    /// Splits `bands`; `low` has what comes after them too, from sample `after` on.
    #[inline(always)]
    pub(super) fn split(
        &mut self,
        bands: &Bands<Output, BANDS>,
        (low, after): (&Bands<Row, LOW_BANDS>, usize),
        is_fine: bool,
        to: &mut Subbands,
    ) {
        let mut lines: Bands<Line, SPLIT> = Bands::new();
        for band in 0..SPLIT {
            let join = |line: &mut Line, past: &mut [f32; REACH], now: &Output, row: &Row| {
                line[..REACH].copy_from_slice(past);
                line[REACH..REACH + SLOTS].copy_from_slice(now);
                line[REACH + SLOTS..].copy_from_slice(&row[after..after + REACH]);
                past.copy_from_slice(&now[SLOTS - REACH..]);
            };
            let past = (&mut self.past.re[band], &mut self.past.im[band]);
            join(&mut lines.re[band], past.0, &bands.re[band], &low.re[band]);
            join(&mut lines.im[band], past.1, &bands.im[band], &low.im[band]);
        }
        let filters = &*FILTERS;
        let line = |band: usize| (&lines.re[band], &lines.im[band]);
        let split = if is_fine {
            run(line(0), &filters.twelve, 0, to);
            run(line(1), &filters.second, 12, to);
            for band in 2..SPLIT {
                run(line(band), &filters.four, 12 + 4 * band, to);
            }
            SPLIT
        } else {
            six(line(0), &filters.eight, to);
            two(line(1), [7, 6], to);
            two(line(2), [8, 9], to);
            3
        };
        let first = first_whole(is_fine);
        to.re[first..first + BANDS - split].copy_from_slice(&bands.re[split..]);
        to.im[first..first + BANDS - split].copy_from_slice(&bands.im[split..]);
    }
}

/// The first sub-band that is a band.
fn first_whole(is_fine: bool) -> usize {
    if is_fine { 32 } else { 10 }
}

#[inline(always)]
fn run<const N: usize>(
    line: (&Line, &Line),
    filters: &Filters<N>,
    first: usize,
    to: &mut Subbands,
) {
    for (band, filter) in (first..).zip(filters) {
        let (re, im) = convolve(line, filter);
        (to.re[band], to.im[band]) = (re, im);
    }
}

#[inline(always)]
fn convolve((re, im): (&Line, &Line), filter: &[[f32; 2]; TAPS]) -> (Output, Output) {
    let (mut to_re, mut to_im) = ([0.0; SLOTS], [0.0; SLOTS]);
    for (tap, [a, b]) in filter.iter().enumerate() {
        let (re, im) = (&re[tap..tap + SLOTS], &im[tap..tap + SLOTS]);
        for n in 0..SLOTS {
            to_re[n] += a * re[n] - b * im[n];
            to_im[n] += a * im[n] + b * re[n];
        }
    }
    (to_re, to_im)
}

/// Eight sub-bands, of which two pairs that lie beyond the band's edge are joined.
#[inline(always)]
fn six(line: (&Line, &Line), filters: &Filters<8>, to: &mut Subbands) {
    const FROM: [&[usize]; 6] = [&[6], &[7], &[0], &[1], &[2, 5], &[3, 4]];
    for (band, from) in FROM.into_iter().enumerate() {
        let mut filter = filters[from[0]];
        if let Some(other) = from.get(1) {
            for (tap, other) in filter.iter_mut().zip(&filters[*other]) {
                *tap = [tap[0] + other[0], tap[1] + other[1]];
            }
        }
        (to.re[band], to.im[band]) = convolve(line, &filter);
    }
}

/// Sum and difference of what the middle tap and the others give.
#[inline(always)]
fn two((re, im): (&Line, &Line), [sum, difference]: [usize; 2], to: &mut Subbands) {
    // Table 8.38: taps 1, 3, 5 and their mirror images.
    const TAPS_BESIDE: [f32; 3] = [0.018_994_875, -0.072_931_39, 0.305_966_3];
    for (line, to) in [(re, &mut to.re), (im, &mut to.im)] {
        for n in 0..SLOTS {
            let beside = |(index, tap): (usize, &f32)| {
                let at = 2 * index + 1;
                tap * (line[n + at] + line[n + 12 - at])
            };
            let beside: f32 = TAPS_BESIDE.iter().enumerate().map(beside).sum();
            let middle = 0.5 * line[n + REACH];
            to[sum][n] = middle + beside;
            to[difference][n] = middle - beside;
        }
    }
}

/// Puts the sub-bands together again.
#[inline(always)]
pub(super) fn join(from: &Subbands, is_fine: bool, to: &mut Bands<Output, BANDS>) {
    const FINE: [usize; SPLIT + 1] = [0, 12, 20, 24, 28, 32];
    const COARSE: [usize; 4] = [0, 6, 8, 10];
    let edges = if is_fine { &FINE[..] } else { &COARSE[..] };
    for (band, edges) in edges.windows(2).enumerate() {
        for (to, from) in [(&mut to.re, &from.re), (&mut to.im, &from.im)] {
            let mut sum = [0.0; SLOTS];
            for row in &from[edges[0]..edges[1]] {
                for (sum, sample) in sum.iter_mut().zip(row) {
                    *sum += sample;
                }
            }
            to[band] = sum;
        }
    }
    let (split, first) = (edges.len() - 1, first_whole(is_fine));
    to.re[split..].copy_from_slice(&from.re[first..first + BANDS - split]);
    to.im[split..].copy_from_slice(&from.im[first..first + BANDS - split]);
}
