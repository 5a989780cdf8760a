//! Two channels of two signals: ISO/IEC 14496-3, section 8.6.4.6.

use super::decorrelate::Shape;
use super::hybrid::Subbands;
use super::matrix::{Matrix, matrix, smooth_phase};
use super::spread;
use super::{MOST_BANDS, Parameters, SLOTS};

/// Matrices of all bands, by their four places.
type Matrices = [[f32; MOST_BANDS]; 4];

const NOTHING: Matrices = [[0.0; MOST_BANDS]; 4];

/// What goes from envelope to envelope.
#[derive(Clone)]
pub(super) struct Mixer {
    /// The real and the imaginary parts where the last envelope ended.
    re: Matrices,
    im: Matrices,
    /// The last phases of each band, three bits each: of the difference, and of both.
    phases: [[u16; 2]; 17],
    is_fine: bool,
}

impl Mixer {
    pub(super) fn new() -> Self {
        Self {
            re: NOTHING,
            im: NOTHING,
            phases: [[0; 2]; 17],
            is_fine: false,
        }
    }

    /// Makes left and right, in the places of both signals.
    #[inline(always)]
    pub(super) fn run(
        &mut self,
        parameters: &Parameters,
        first: &mut Subbands,
        second: &mut Subbands,
    ) {
        let is_fine = parameters.is_fine;
        if std::mem::replace(&mut self.is_fine, is_fine) != is_fine {
            for row in self.re.iter_mut().chain(&mut self.im) {
                spread::values(row, is_fine);
            }
            self.phases = [[0; 2]; 17];
        }
        let shape = Shape::of(is_fine);
        let mut begin = 0;
        for envelope in 0..parameters.envelopes {
            let (re, im) = self.targets(parameters, envelope, shape.bands);
            let end = (parameters.borders[envelope] + 1).min(SLOTS);
            if begin < end {
                let steps = [(&self.re, &re), (&self.im, &im)];
                let has_phases = parameters.has_phases;
                mix(
                    shape,
                    is_fine,
                    steps,
                    has_phases,
                    (first, second),
                    begin..end,
                );
            }
            begin = begin.max(end);
            (self.re, self.im) = (re, im);
        }
    }

    /// The matrices at the end of an envelope.
    fn targets(
        &mut self,
        parameters: &Parameters,
        envelope: usize,
        bands: usize,
    ) -> (Matrices, Matrices) {
        let mode = parameters.mode.unwrap_or_default();
        let is_fine = parameters.is_fine;
        let map = |track: &super::Track, count: usize| {
            spread::indices(&track.values[envelope], count, is_fine)
        };
        let intensity = map(&parameters.intensity, mode.intensity_bands());
        let coherence = map(&parameters.coherence, mode.coherence_bands());
        let phase = map(&parameters.phase, mode.phase_bands());
        let overall = map(&parameters.overall, mode.phase_bands());
        let (mut re, mut im) = (NOTHING, NOTHING);
        for band in 0..bands {
            let (steps, turns) = (mode.has_fine_steps(), mode.turns());
            let level = matrix(steps, turns, intensity[band], coherence[band]);
            let has_phase = parameters.has_phases && band < if is_fine { 17 } else { 11 };
            let [real, imaginary] = match (has_phase, self.phases.get_mut(band)) {
                (true, Some(last)) => turn(level, last, [phase[band], overall[band]]),
                _ => [level, [0.0; 4]],
            };
            for place in 0..4 {
                (re[place][band], im[place][band]) = (real[place], imaginary[place]);
            }
        }
        (re, im)
    }
}

/// Turns a matrix by the phases, which are smoothed.
fn turn(level: Matrix, last: &mut [u16; 2], phases: [i8; 2]) -> [Matrix; 2] {
    let mut smooth = [[0.0; 2]; 2];
    for ((last, phase), to) in last.iter_mut().zip(phases).zip(&mut smooth) {
        let history = (*last & 63) << 3 | phase as u16 & 7;
        *last = history;
        *to = smooth_phase(usize::from(history));
    }
    let [[phase_re, phase_im], [re, im]] = smooth;
    let right = [re * phase_re + im * phase_im, im * phase_re - re * phase_im];
    let turns = [[re, im], right, [re, im], right];
    [0, 1].map(|part| std::array::from_fn(|place| level[place] * turns[place][part]))
}

/// Mixes the samples of an envelope, from the matrices at its beginning to those at its end.
#[inline(always)]
fn mix(
    shape: &Shape,
    is_fine: bool,
    steps: [(&Matrices, &Matrices); 2],
    has_phases: bool,
    (first, second): (&mut Subbands, &mut Subbands),
    samples: std::ops::Range<usize>,
) {
    let width = 1.0 / samples.len() as f32;
    for (k, band) in shape.band_of.iter().enumerate().take(shape.subbands) {
        let band = usize::from(*band);
        let line = |(from, to): (&Matrices, &Matrices), sign: f32, place: usize| {
            let begin = sign * from[place][band];
            (begin, (to[place][band] - begin) * width)
        };
        let real: [(f32, f32); 4] = std::array::from_fn(|place| line(steps[0], 1.0, place));
        let rows = [
            &mut first.re[k][samples.clone()],
            &mut first.im[k][samples.clone()],
            &mut second.re[k][samples.clone()],
            &mut second.im[k][samples.clone()],
        ];
        if has_phases {
            // Sub-bands of negative frequencies turn the other way.
            let is_mirrored = if is_fine { (9..14).contains(&k) } else { k < 2 };
            let sign = if is_mirrored { -1.0 } else { 1.0 };
            let imaginary = std::array::from_fn(|place| line(steps[1], sign, place));
            mix_turned(rows, &real, &imaginary);
        } else {
            mix_real(rows, &real);
        }
    }
}

#[inline(always)]
fn mix_real(rows: [&mut [f32]; 4], [a, b, c, d]: &[(f32, f32); 4]) {
    let [first_re, first_im, second_re, second_im] = rows;
    let count = first_re.len();
    let (first_im, second_re, second_im) = (
        &mut first_im[..count],
        &mut second_re[..count],
        &mut second_im[..count],
    );
    for n in 0..count {
        let at = (n + 1) as f32;
        let [a, b, c, d] = [a, b, c, d].map(|(begin, step)| begin + step * at);
        let (s, t) = (first_re[n], second_re[n]);
        (first_re[n], second_re[n]) = (a * s + c * t, b * s + d * t);
        let (s, t) = (first_im[n], second_im[n]);
        (first_im[n], second_im[n]) = (a * s + c * t, b * s + d * t);
    }
}

#[inline(always)]
fn mix_turned(rows: [&mut [f32]; 4], real: &[(f32, f32); 4], imaginary: &[(f32, f32); 4]) {
    let [first_re, first_im, second_re, second_im] = rows;
    for n in 0..first_re.len() {
        let at = (n + 1) as f32;
        let [a, b, c, d] = real.map(|(begin, step)| begin + step * at);
        let [e, f, g, h] = imaginary.map(|(begin, step)| begin + step * at);
        let (s, t) = ([first_re[n], first_im[n]], [second_re[n], second_im[n]]);
        first_re[n] = a * s[0] + c * t[0] - e * s[1] - g * t[1];
        first_im[n] = a * s[1] + c * t[1] + e * s[0] + g * t[0];
        second_re[n] = b * s[0] + d * t[0] - f * s[1] - h * t[1];
        second_im[n] = b * s[1] + d * t[1] + f * s[0] + h * t[0];
    }
}
