//! From numbers to sound: pulses, the long-term and the short-term filter, de-emphasis.
//!
//! Sections are those of EN 300 961.

use super::FRAME_SAMPLES;
use super::frame::{Frame, Part};

const PART_SAMPLES: usize = 40;
/// The longest lag.
const PAST: usize = 120;
const LAGS: std::ops::RangeInclusive<u8> = 40..=120;
const FIRST_LAG: usize = 40;

/// Table 4.3b: gains of the long-term filter.
const GAINS: [i32; 4] = [3277, 11469, 21299, 32767];
/// Tables 4.1 and 4.2: the least code of each ratio, its offset, and its inverse step.
const LEAST: [i32; 8] = [-32, -32, -16, -16, -8, -8, -4, -4];
const OFFSETS: [i32; 8] = [0, 0, 2048, -2560, 94, -1792, -341, -1144];
const STEPS: [i32; 8] = [13107, 13107, 13107, 13107, 19223, 17476, 31454, 29708];
/// Table 4.6: mantissas of the largest pulse.
const MANTISSAS: [i32; 8] = [18431, 20479, 22527, 24575, 26623, 28671, 30719, 32767];
/// Where the ratios of a frame follow those of the frame before: samples, and quarters of each.
const STRETCHES: [(usize, i32); 4] = [(13, 1), (14, 2), (13, 3), (120, 4)];
const DE_EMPHASIS: i32 = 28_180;

/// What the decoder remembers.
pub(super) struct State {
    /// The residual of the past, and room for a frame.
    residual: [i16; PAST + FRAME_SAMPLES],
    lag: usize,
    ratios: [i32; 8],
    /// The lattice filter.
    lattice: [i32; 9],
    last: i32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            residual: [0; PAST + FRAME_SAMPLES],
            lag: FIRST_LAG,
            ratios: [0; 8],
            lattice: [0; 9],
            last: 0,
        }
    }
}

impl State {
    pub(super) fn decode(&mut self, frame: &Frame) -> [i16; FRAME_SAMPLES] {
        for (index, part) in frame.parts.iter().enumerate() {
            self.decode_part(part, PAST + index * PART_SAMPLES);
        }
        let mut samples = [0; FRAME_SAMPLES];
        self.filter(&frame.ratios, &mut samples);
        self.residual.copy_within(FRAME_SAMPLES.., 0);
        samples
    }

    /// Sections 5.3.1 and 5.3.2: pulses on the past of one lag ago.
    fn decode_part(&mut self, part: &Part, begin: usize) {
        if LAGS.contains(&part.lag) {
            self.lag = usize::from(part.lag);
        }
        let gain = GAINS[usize::from(part.gain & 3)];
        let mut pulses = [0; PART_SAMPLES];
        let places = pulses
            .iter_mut()
            .skip(usize::from(part.grid & 3))
            .step_by(3);
        for (place, code) in places.zip(part.pulses) {
            *place = pulse(part.largest, code);
        }
        let lag = self.lag.clamp(usize::from(*LAGS.start()), PAST);
        let (past, now) = self.residual.split_at_mut(begin);
        let past = past.get(begin - lag..).unwrap_or_default();
        for ((now, pulse), past) in now.iter_mut().zip(pulses).zip(past) {
            *now = saturated(pulse + product(gain, i32::from(*past))) as i16;
        }
    }

    /// Sections 5.3.3 to 5.3.5.
    fn filter(&mut self, codes: &[u8; 8], samples: &mut [i16; FRAME_SAMPLES]) {
        let ratios = ratios(codes);
        let before = std::mem::replace(&mut self.ratios, ratios);
        let residual = self.residual.get(PAST..).unwrap_or_default();
        let (mut residual, mut places) = (residual.iter(), samples.iter_mut());
        for (count, quarters) in STRETCHES {
            let mixed = |index: usize| mix(before[index], ratios[index], quarters);
            let reflections: [i32; 8] = std::array::from_fn(|index| reflection(mixed(index)));
            let pairs = residual.by_ref().zip(places.by_ref()).take(count);
            for (sample, place) in pairs {
                let sound = lattice(&mut self.lattice, &reflections, i32::from(*sample));
                self.last = saturated(sound + product(self.last, DE_EMPHASIS));
                *place = (saturated(2 * self.last) & !7) as i16;
            }
        }
    }
}

fn saturated(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// A product of fractions of 15 bits, rounded.
#[inline(always)]
fn product(left: i32, right: i32) -> i32 {
    (left * right + (1 << 14)) >> 15
}

/// Section 5.2.16: the value of a pulse.
fn pulse(largest: u8, code: u8) -> i32 {
    let (exponent, mantissa) = float(i32::from(largest & 63));
    let shift = 6 - exponent;
    let value = ((i32::from(code & 7) << 1) - 7) << 12;
    let value = product(MANTISSAS[mantissa & 7], value);
    saturated(value + (1 << shift >> 1)) >> shift
}

/// Section 5.2.15: exponent and mantissa of the largest pulse.
fn float(code: i32) -> (i32, usize) {
    let exponent = if code > 15 { (code >> 3) - 1 } else { 0 };
    let mantissa = code - (exponent << 3);
    match mantissa {
        0 => (-4, 7),
        _ => {
            let missing = 3 - mantissa.ilog2() as i32;
            let ones = (1 << missing) - 1;
            (
                exponent - missing,
                ((mantissa << missing | ones) - 8) as usize,
            )
        }
    }
}

/// Section 5.2.8.
fn ratios(codes: &[u8; 8]) -> [i32; 8] {
    std::array::from_fn(|index| {
        let code = i32::from(codes[index]) + LEAST[index];
        2 * product(STEPS[index], (code << 10) - 2 * OFFSETS[index])
    })
}

/// Section 5.2.9.1: so many quarters of the frame's own ratio, and the rest of the one before.
fn mix(before: i32, own: i32, quarters: i32) -> i32 {
    match quarters {
        1 => (before >> 2) + (own >> 2) + (before >> 1),
        2 => (before >> 1) + (own >> 1),
        3 => (before >> 2) + (own >> 2) + (own >> 1),
        _ => own,
    }
}

/// Section 5.2.9.2.
fn reflection(ratio: i32) -> i32 {
    let size = ratio.abs();
    let size = match size {
        ..11_059 => size << 1,
        11_059..20_070 => size + 11_059,
        _ => (size >> 2) + 26_112,
    };
    if ratio < 0 { -size } else { size }
}

/// Section 5.3.4: one sample through the lattice.
#[inline(always)]
fn lattice(state: &mut [i32; 9], reflections: &[i32; 8], sample: i32) -> i32 {
    let mut sample = sample;
    for index in (0..8).rev() {
        let (factor, past) = (reflections[index], state[index]);
        sample = saturated(sample - product(factor, past));
        state[index + 1] = saturated(past + product(factor, sample));
    }
    state[0] = sample;
    sample
}
