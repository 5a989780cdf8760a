//! From SILK's rates to 48 kHz as the reference does it, to the bit: RFC 6716, section 4.2.9 leaves
//! the method open, and other decoders' output would differ from it.
//!
//! Two chains of all-pass filters double the rate, then an FIR filter of 8 taps interpolates.

use super::excitation::MAX_FRAME;
use super::fixed::{fill_with_noise, mul_q16, random, round_shift, saturate};

/// Coefficients (Q16) of the all-pass sections that give even samples, and odd ones.
const EVEN: [i32; 3] = [1_746, 14_986, 39_083];
const ODD: [i32; 3] = [6_854, 25_769, 55_542];
const TAPS: usize = 8;
/// Left halves of the interpolating filters (Q15) for odd 24ths of a sample.
const HALVES: [[i16; TAPS / 2]; 12] = [
    [189, -600, 617, 30567],
    [117, -159, -1070, 29704],
    [52, 221, -2392, 28276],
    [-4, 529, -3350, 26341],
    [-48, 758, -3956, 23973],
    [-80, 905, -4235, 21254],
    [-99, 972, -4222, 18278],
    [-107, 967, -3957, 15143],
    [-103, 896, -3487, 11950],
    [-91, 773, -2865, 8798],
    [-71, 611, -2143, 5784],
    [-46, 425, -1375, 2996],
];
/// The longest delay in samples.
const MAX_DELAY: usize = 8;

/// The filter at `phase` twelfths of a sample.
const fn filter(phase: usize) -> [i16; TAPS] {
    let (left, right) = (HALVES[phase], HALVES[11 - phase]);
    [
        left[0], left[1], left[2], left[3], right[3], right[2], right[1], right[0],
    ]
}

/// Filters at the phases that occur.
const PHASE_0: [i16; TAPS] = filter(0);
const PHASE_4: [i16; TAPS] = filter(4);
const PHASE_6: [i16; TAPS] = filter(6);
const PHASE_8: [i16; TAPS] = filter(8);

/// The state for one channel at one rate.
#[derive(Clone, Debug, Default)]
pub(super) struct Resampler {
    khz: usize,
    /// Samples held back so that all rates have one delay: table 54.
    delayed: [i16; MAX_DELAY],
    even: [i32; 3],
    odd: [i32; 3],
    /// The end of the doubled signal.
    doubled: [i16; TAPS],
}

impl Resampler {
    pub(super) fn new(khz: usize) -> Self {
        Self {
            khz,
            ..Self::default()
        }
    }

    /// Remembers noise.
    pub(super) fn disturb(&mut self, seed: &mut i32) {
        fill_with_noise(&mut self.delayed, seed);
        fill_with_noise(&mut self.doubled, seed);
        for state in self.even.iter_mut().chain(&mut self.odd) {
            *seed = random(*seed);
            *state = *seed >> 8;
        }
    }

    fn delay(&self) -> usize {
        match self.khz {
            12 => 4,
            16 => 7,
            _ => 0,
        }
    }

    /// Resamples up to 20 ms to `out`.
    pub(super) fn process(&mut self, samples: &[i16], out: &mut [i16]) {
        let mut doubled = [0; TAPS + 2 * MAX_FRAME];
        let doubled = &mut doubled[..TAPS + 2 * samples.len()];
        let (head, body) = doubled.split_at_mut(TAPS);
        head.copy_from_slice(&self.doubled);
        self.double(samples, body);
        self.doubled.copy_from_slice(&doubled[2 * samples.len()..]);
        match self.khz {
            8 => interpolate(doubled, [(0, PHASE_0), (0, PHASE_4), (0, PHASE_8)], 1, out),
            12 => interpolate(doubled, [(0, PHASE_0), (0, PHASE_6)], 1, out),
            _ => interpolate(doubled, [(0, PHASE_0), (0, PHASE_8), (1, PHASE_4)], 2, out),
        }
    }

    /// Doubles the rate of what was held back and of `samples` but for the end, which is held back.
    fn double(&mut self, samples: &[i16], out: &mut [i16]) {
        let delay = self.delay();
        let kept = samples.len() - delay;
        let input = self.delayed[..delay].iter().chain(&samples[..kept]);
        // In registers: through `self` each sample would be stored.
        let (mut evens, mut odds) = (self.even, self.odd);
        for (sample, [even, odd]) in input.zip(out.as_chunks_mut().0) {
            let sample = i32::from(*sample) << 10;
            *even = all_pass(sample, &EVEN, &mut evens);
            *odd = all_pass(sample, &ODD, &mut odds);
        }
        (self.even, self.odd) = (evens, odds);
        self.delayed[..delay].copy_from_slice(&samples[kept..]);
    }
}

/// A chain of three all-pass sections, in Q10.
#[inline(always)]
fn all_pass(mut sample: i32, coefficients: &[i32; 3], memory: &mut [i32; 3]) -> i16 {
    for (coefficient, memory) in coefficients.iter().zip(memory) {
        let change = mul_q16(sample - *memory, *coefficient);
        let out = *memory + change;
        *memory = sample + change;
        sample = out;
    }
    saturate(round_shift(sample, 10))
}

/// For every `step` samples, one output of each filter, which begins at its place.
#[inline(always)]
fn interpolate<const N: usize>(
    doubled: &[i16],
    filters: [(usize, [i16; TAPS]); N],
    step: usize,
    out: &mut [i16],
) {
    let windows = doubled.windows(TAPS + step - 1).step_by(step);
    for (window, out) in windows.zip(out.as_chunks_mut::<N>().0) {
        for (out, (start, filter)) in out.iter_mut().zip(&filters) {
            let samples = window[*start..*start + TAPS].iter().zip(filter);
            let sum: i32 = samples
                .map(|(sample, tap)| i32::from(*sample) * i32::from(*tap))
                .sum();
            *out = saturate(round_shift(sum, 15));
        }
    }
}
