//! High bands from low ones: ISO/IEC 14496-3, section 4.6.18.6.

use super::super::qmf::{BANDS, Bands, LOW_BANDS, Row};
use super::bands::{MOST_NOISE_BANDS, Tables};

/// By how many samples envelopes and what they shape lie later than the rows begin.
pub(in super::super) const OFFSET: usize = 2;

/// A predictor of two taps: complex coefficients of the sample before, and of the one before that.
type Predictor = [[f32; 2]; 2];

/// How strongly tones are taken out, smoothed from packet to packet: section 4.6.18.6.2.
pub(super) fn update_chirps(
    chirps: &mut [f32; MOST_NOISE_BANDS],
    modes: &[u8; MOST_NOISE_BANDS],
    last_modes: &[u8; MOST_NOISE_BANDS],
) {
    const STRENGTHS: [f32; 4] = [0.0, 0.75, 0.9, 0.98];
    for ((chirp, &mode), &last) in chirps.iter_mut().zip(modes).zip(last_modes) {
        let target = match mode + last {
            1 => 0.6,
            _ => STRENGTHS[usize::from(mode & 3)],
        };
        let share = if target < *chirp { 0.75 } else { 0.906_25 };
        let next = share * target + (1.0 - share) * *chirp;
        *chirp = if next < 0.015_625 { 0.0 } else { next };
    }
}

/// Copies low bands upwards, for the samples `slots` from [`OFFSET`] on, tones taken out.
#[inline(always)]
pub(super) fn copy_up(
    low: &Bands<Row, LOW_BANDS>,
    high: &mut Bands<Row, BANDS>,
    tables: &Tables,
    chirps: &[f32; MOST_NOISE_BANDS],
    length: usize,
    slots: std::ops::Range<usize>,
) {
    let mut predictors: [Option<Predictor>; LOW_BANDS] = [None; LOW_BANDS];
    let mut band = tables.first;
    for patch in &tables.patches {
        let sources = patch.from..patch.from + patch.count;
        for (from, predictor) in sources.clone().zip(&mut predictors[sources]) {
            let noise = tables.noise.partition_point(|edge| *edge <= band);
            let chirp = chirps[noise.saturating_sub(1).min(MOST_NOISE_BANDS - 1)];
            let rows = (&low.re[from], &low.im[from]);
            let predictor = *predictor.get_or_insert_with(|| predict(rows, length));
            let to = (&mut high.re[band], &mut high.im[band]);
            filter(rows, to, predictor, chirp, slots.clone());
            band += 1;
        }
    }
    for band in band..tables.first + tables.count {
        high.re[band].fill(0.0);
        high.im[band].fill(0.0);
    }
}

#[inline(always)]
fn filter(
    (re, im): (&Row, &Row),
    (to_re, to_im): (&mut Row, &mut Row),
    predictor: Predictor,
    chirp: f32,
    slots: std::ops::Range<usize>,
) {
    let (begin, end) = (slots.start + OFFSET, slots.end + OFFSET);
    for row in [&mut *to_re, &mut *to_im] {
        row[..begin].fill(0.0);
        row[end..].fill(0.0);
    }
    if chirp == 0.0 {
        to_re[begin..end].copy_from_slice(&re[begin..end]);
        to_im[begin..end].copy_from_slice(&im[begin..end]);
        return;
    }
    let [a, b] = predictor[0].map(|part| part * chirp);
    let [c, d] = predictor[1].map(|part| part * chirp * chirp);
    let count = end - begin;
    let (re0, re1, re2) = (
        &re[begin..end],
        &re[begin - 1..end - 1],
        &re[begin - 2..end - 2],
    );
    let (im0, im1, im2) = (
        &im[begin..end],
        &im[begin - 1..end - 1],
        &im[begin - 2..end - 2],
    );
    let (to_re, to_im) = (&mut to_re[begin..end], &mut to_im[begin..end]);
    for n in 0..count {
        to_re[n] = re0[n] + a * re1[n] - b * im1[n] + c * re2[n] - d * im2[n];
        to_im[n] = im0[n] + a * im1[n] + b * re1[n] + c * im2[n] + d * re2[n];
    }
}

/// The predictor of a band, by the method of covariances over `length` samples.
#[inline(always)]
fn predict((re, im): (&Row, &Row), length: usize) -> Predictor {
    let last = length - 2;
    let zero = products((re, im), 0, last);
    let one = products((re, im), 1, last);
    let two = products((re, im), 2, last);
    let edge = |at: usize, lag: usize| {
        let (a, b) = ((re[at], im[at]), (re[at + lag], im[at + lag]));
        [a.0 * b.0 + a.1 * b.1, a.0 * b.1 - a.1 * b.0]
    };
    let plus = |sum: [f32; 2], term: [f32; 2]| [sum[0] + term[0], sum[1] + term[1]];
    let (older, newer) = (zero[0] + edge(0, 0)[0], zero[0] + edge(last, 0)[0]);
    let (first, second) = (plus(one, edge(0, 1)), plus(one, edge(last, 1)));
    let third = plus(two, edge(0, 2));
    let square = |z: [f32; 2]| z[0] * z[0] + z[1] * z[1];
    let determinant = older * newer - square(first) / 1.000_001;
    let mut far = [0.0; 2];
    if determinant != 0.0 {
        let re = second[0] * first[0] - second[1] * first[1] - third[0] * newer;
        let im = second[0] * first[1] + second[1] * first[0] - third[1] * newer;
        far = [re / determinant, im / determinant];
    }
    let mut near = [0.0; 2];
    if newer != 0.0 {
        let re = second[0] + far[0] * first[0] + far[1] * first[1];
        let im = second[1] + far[1] * first[0] - far[0] * first[1];
        near = [-re / newer, -im / newer];
    }
    // Written so that what is no number is none either.
    match square(far) < 16.0 && square(near) < 16.0 {
        true => [near, far],
        false => [[0.0; 2]; 2],
    }
}

/// The sum of products of samples `lag` apart, the earlier one conjugated, for samples 1 to `end`.
#[inline(always)]
fn products((re, im): (&Row, &Row), lag: usize, end: usize) -> [f32; 2] {
    const WIDTH: usize = 8;
    let mut sums = [[0.0; WIDTH]; 2];
    let count = end - 1;
    let (re0, re1) = (&re[1..end], &re[1 + lag..end + lag]);
    let (im0, im1) = (&im[1..end], &im[1 + lag..end + lag]);
    let whole = count - count % WIDTH;
    for n in (0..whole).step_by(WIDTH) {
        let [real, imaginary] = &mut sums;
        for (lane, (real, imaginary)) in real.iter_mut().zip(imaginary).enumerate() {
            let at = n + lane;
            *real += re0[at] * re1[at] + im0[at] * im1[at];
            *imaginary += re0[at] * im1[at] - im0[at] * re1[at];
        }
    }
    for at in whole..count {
        sums[0][0] += re0[at] * re1[at] + im0[at] * im1[at];
        sums[1][0] += re0[at] * im1[at] - im0[at] * re1[at];
    }
    sums.map(|sums| sums.iter().sum())
}
