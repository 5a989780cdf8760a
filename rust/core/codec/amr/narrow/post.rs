//! What is done to the speech at last: 3GPP TS 26.090, section 6.2.2 and 6.3.

use super::super::fixed::{
    add_product, divide, high, inverse_sqrt, mult, norm_long, product, round, shift_long,
};
use super::filter::{residual, synthesise};
use super::lsf::{Filter, Lines};
use super::{FRAME, Mode, ORDER, SUBFRAME};

/// Powers of 0.7, 0.75 and 0.55, Q15.
const BY_70: Lines = [22938, 16057, 11240, 7868, 5508, 3856, 2699, 1889, 1322, 925];
const BY_75: Lines = [
    24576, 18432, 13824, 10368, 7776, 5832, 4374, 3281, 2461, 1846,
];
const BY_55: Lines = [18022, 9912, 5451, 2998, 1649, 907, 499, 274, 151, 83];
/// Samples of an impulse response.
const RESPONSE: usize = 22;

/// Raises formants, and keeps the loudness.
pub(super) struct PostFilter {
    memory: Lines,
    /// The end of the last frame.
    past: Lines,
    tilt: i16,
    gain: i16,
}

impl Default for PostFilter {
    fn default() -> Self {
        Self {
            memory: [0; ORDER],
            past: [0; ORDER],
            tilt: 0,
            gain: 4096,
        }
    }
}

impl PostFilter {
    /// Filters a frame by the filters of its subframes.
    pub(super) fn apply(&mut self, mode: Mode, filters: &[Filter; 4], speech: &mut [i16; FRAME]) {
        let powers = match mode {
            Mode::M122 | Mode::M102 => (&BY_70, &BY_75),
            _ => (&BY_55, &BY_70),
        };
        for (part, filter) in speech.as_chunks_mut::<SUBFRAME>().0.iter_mut().zip(filters) {
            self.apply_to(
                part,
                &weighted(filter, powers.0),
                &weighted(filter, powers.1),
            );
        }
    }

    fn apply_to(&mut self, part: &mut [i16; SUBFRAME], zeros: &Filter, poles: &Filter) {
        let mut input = [0; ORDER + SUBFRAME];
        input[..ORDER].copy_from_slice(&self.past);
        input[ORDER..].copy_from_slice(part);
        self.past.copy_from_slice(&input[SUBFRAME..]);
        let mut middle = residual(zeros, &input);
        self.flatten(&mut middle, tilt(zeros, poles));
        synthesise(poles, &middle, part, &mut self.memory);
        self.restore_level(&input[ORDER..], part);
    }

    /// Takes a tilt off.
    fn flatten(&mut self, samples: &mut [i16; SUBFRAME], tilt: i16) {
        for sample in samples {
            let before = std::mem::replace(&mut self.tilt, *sample);
            *sample = sample.saturating_sub(mult(tilt, before));
        }
    }

    /// Makes `part` as loud as `input`, step by step.
    fn restore_level(&mut self, input: &[i16], part: &mut [i16; SUBFRAME]) {
        let Some(gain) = gain_between(input, part) else {
            self.gain = 0;
            return;
        };
        let change = mult(gain, 32767 - 29491);
        for sample in part {
            self.gain = mult(self.gain, 29491).saturating_add(change);
            *sample = high(shift_long(product(*sample, self.gain), 3));
        }
    }
}

fn weighted(filter: &Filter, powers: &Lines) -> Filter {
    let mut weighted = *filter;
    for (weight, power) in weighted[1..].iter_mut().zip(powers) {
        *weight = round(product(*weight, *power));
    }
    weighted
}

/// How much a filter tilts the spectrum, if to low frequencies: 0.8 of its first reflection.
fn tilt(zeros: &Filter, poles: &Filter) -> i16 {
    let mut impulse = [0; RESPONSE];
    impulse[..=ORDER].copy_from_slice(zeros);
    let mut response = [0; RESPONSE];
    synthesise(poles, &impulse, &mut response, &mut [0; ORDER]);
    let energy = response
        .iter()
        .fold(0, |sum, value| add_product(sum, *value, *value));
    let pairs = response.iter().zip(&response[1..]);
    let slope = pairs.fold(0, |sum, (a, b)| add_product(sum, *a, *b));
    match high(slope) {
        ..=0 => 0,
        slope => divide(mult(slope, 26214), high(energy)),
    }
}

/// The gain that makes `output` as loud as `input`, Q12; `None` where it is silent.
pub(super) fn gain_between(input: &[i16], output: &[i16]) -> Option<i16> {
    let out = energy(output);
    if out == 0 {
        return None;
    }
    let exponent = norm_long(out) - 1;
    let loud_out = round(shift_long(out, exponent));
    let energy = energy(input);
    if energy == 0 {
        return Some(0);
    }
    let shifted = norm_long(energy);
    let loud_in = round(shift_long(energy, shifted));
    let ratio = i32::from(divide(loud_out, loud_in)) << 7;
    let ratio = shift_long(ratio, shifted - exponent);
    Some(round(shift_long(inverse_sqrt(ratio), 9)))
}

/// The energy of samples, over 16.
fn energy(samples: &[i16]) -> i32 {
    let sum = |shift: u32| {
        let samples = samples.iter().map(|sample| sample >> shift);
        samples.fold(0, |sum, sample| add_product(sum, sample, sample))
    };
    match sum(0) {
        i32::MAX => sum(2),
        sum => sum >> 4,
    }
}

/// Takes off what is below 60 Hz, and doubles the rest.
#[derive(Default)]
pub(super) struct HighPass {
    inputs: [i32; 2],
    /// Upper and lower halves of the last outputs.
    outputs: [(i32, i32); 2],
}

impl HighPass {
    pub(super) fn apply(&mut self, speech: &mut [i16; FRAME]) {
        for sample in speech {
            let input = i32::from(*sample);
            let [(a, a_low), (b, b_low)] = self.outputs;
            let sum = a * 15836 + ((a_low * 15836) >> 15) + b * -7667 + ((b_low * -7667) >> 15);
            let sum = sum
                .wrapping_add(input * 7699)
                .wrapping_add(self.inputs[0] * -15398)
                .wrapping_add(self.inputs[1] * 7699);
            let sum = shift_long(sum, 3);
            *sample = round(shift_long(sum, 1));
            self.inputs = [input, self.inputs[0]];
            self.outputs = [(sum >> 16, (sum >> 1) & 0x7FFF), self.outputs[0]];
        }
    }
}
