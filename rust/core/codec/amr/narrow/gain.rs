//! The gains of the pitch and of the pulses, as they are told and as they are made up for lost frames: 3GPP TS 26.090,
//! section 5.8, and 26.091.

use super::super::fixed::{
    add_product, high, log2, log2_normal, median, mult, norm_long, pow2, product, round,
};
use super::super::fixed::{shift, shift_long, shift_right_rounded};
use super::gain_tables::{CODE_GAINS, HIGH_GAINS, LOW_GAINS, PAIR_GAINS, PITCH_GAINS};
use super::{Mode, Subframe};

/// The energies that the next is predicted from, the last one first, in decibels (Q10) and as a logarithm to the base
/// of 2 for 12.2 kbit/s (Q10).
pub(super) struct Energies {
    pub(super) decibels: [i16; 4],
    pub(super) log2: [i16; 4],
}

/// The least energies: -14 dB.
const LEAST_DECIBELS: i16 = -14336;
const LEAST_LOG2: i16 = -2381;

impl Default for Energies {
    fn default() -> Self {
        Self {
            decibels: [LEAST_DECIBELS; 4],
            log2: [LEAST_LOG2; 4],
        }
    }
}

impl Energies {
    fn push(&mut self, log2: i16, decibels: i16) {
        self.log2.rotate_right(1);
        self.log2[0] = log2;
        self.decibels.rotate_right(1);
        self.decibels[0] = decibels;
    }

    /// What a lost frame's energy is taken for: the mean.
    fn push_mean(&mut self) {
        let mean = |energies: &[i16; 4]| {
            let sum = energies
                .iter()
                .fold(0i16, |sum, energy| sum.saturating_add(*energy));
            sum >> 2
        };
        let log2 = mean(&self.log2).max(LEAST_LOG2);
        self.push(log2, mean(&self.decibels).max(LEAST_DECIBELS));
    }

    /// The gain of `code` by the energies before: a power of 2, whole part and fraction.
    fn predict(&self, mode: Mode, code: &Subframe) -> (i16, i16) {
        let energy = code
            .iter()
            .fold(0, |sum, pulse| add_product(sum, *pulse, *pulse));
        match mode {
            Mode::M122 => self.predict_log2(energy),
            _ => self.predict_decibels(mode, energy),
        }
    }

    fn predict_log2(&self, energy: i32) -> (i16, i16) {
        const WEIGHTS: [i16; 4] = [44, 37, 22, 12];
        let (exponent, fraction) = log2(product(round(energy), 26214));
        let energy = (i32::from(exponent - 30) << 16) + (i32::from(fraction) << 1);
        let pairs = self.log2.iter().zip(WEIGHTS);
        let mean = pairs.fold(783_741, |sum, (energy, weight)| {
            add_product(sum, *energy, weight)
        });
        split(mean.saturating_sub(energy) >> 1)
    }

    fn predict_decibels(&self, mode: Mode, energy: i32) -> (i16, i16) {
        const WEIGHTS: [i16; 4] = [5571, 4751, 2785, 1556];
        let shifted = norm_long(energy);
        let (exponent, fraction) = log2_normal(energy << shifted, shifted);
        let mean = match mode {
            Mode::M795 => 17062 << 7,
            Mode::M74 => 32588 << 6,
            Mode::M67 => 32268 << 6,
            _ => 16678 << 7,
        };
        let sum = mul_32_16(exponent, fraction, -24660).saturating_add(mean);
        let pairs = self.decibels.iter().zip(WEIGHTS);
        let sum = pairs.fold(shift_long(sum, 10), |sum, (energy, weight)| {
            add_product(sum, *energy, weight)
        });
        let scale = if mode == Mode::M74 { 5439 } else { 5443 };
        split(product(high(sum), scale) >> 8)
    }
}

/// The halves of a number in Q16.
fn split(value: i32) -> (i16, i16) {
    (high(value), ((value >> 1) & 0x7FFF) as i16)
}

/// A number of 31 bits in two parts, times one of 16.
fn mul_32_16(upper: i16, lower: i16, by: i16) -> i32 {
    add_product(product(upper, by), mult(lower, by), 1)
}

/// Decodes both gains where one number tells them; `is_even` for the first subframe of a pair at 4.75 kbit/s.
pub(super) fn decode_both(
    energies: &mut Energies,
    mode: Mode,
    index: usize,
    code: &Subframe,
    is_even: bool,
) -> (i16, i16) {
    let table: &[i16] = match mode {
        Mode::M102 | Mode::M74 | Mode::M67 => &HIGH_GAINS,
        Mode::M475 => &PAIR_GAINS,
        _ => &LOW_GAINS,
    };
    let place = 4 * index + if mode == Mode::M475 && !is_even { 2 } else { 0 };
    let number = |at: usize| table.get(place + at).copied().unwrap_or(0);
    let (pitch, correction) = (number(0), number(1));
    let (log2, decibels) = match mode {
        Mode::M475 => energy_of(correction),
        _ => (number(2), number(3)),
    };
    let (exponent, fraction) = energies.predict(mode, code);
    let gain = product(correction, pow2(14, fraction) as i16);
    let gain = high(shift_long(gain, i32::from(exponent) - 10));
    energies.push(log2, decibels);
    (pitch, gain)
}

/// What a correction of the gain (Q12) does to the energy, as a logarithm to the base of 2 and in decibels.
fn energy_of(correction: i16) -> (i16, i16) {
    let (exponent, fraction) = log2(i32::from(correction));
    let exponent = exponent - 12;
    let log2 =
        (shift_right_rounded(i32::from(fraction), 5) as i16).saturating_add(shift(exponent, 10));
    let decibels = round(shift_long(mul_32_16(exponent, fraction, 24660), 13));
    (log2, decibels)
}

/// Decodes the gain of the pulses where a number of its own tells it.
pub(super) fn decode_code(
    energies: &mut Energies,
    mode: Mode,
    index: usize,
    code: &Subframe,
) -> i16 {
    let number = |at: usize| CODE_GAINS.get(3 * (index & 31) + at).copied().unwrap_or(0);
    let (exponent, fraction) = energies.predict(mode, code);
    let gain = match mode {
        Mode::M122 => {
            let predicted = shift(pow2(i32::from(exponent), fraction) as i16, 4);
            shift(mult(predicted, number(0)), 1)
        }
        _ => {
            let gain = product(number(0), pow2(14, fraction) as i16);
            high(shift_long(gain, i32::from(exponent) - 9))
        }
    };
    energies.push(number(1), number(2));
    gain
}

/// The gain of the pitch where a number of its own tells it.
pub(super) fn decode_pitch(mode: Mode, index: usize) -> i16 {
    let gain = PITCH_GAINS.get(index & 15).copied().unwrap_or(0);
    if mode == Mode::M122 { gain & !3 } else { gain }
}

/// The last gains of one kind, from which those of lost frames are made.
pub(super) struct History {
    last: [i16; 5],
    past: i16,
    /// The last one of a frame that was whole.
    good: i16,
    most: i16,
    decay: [i16; 7],
}

impl History {
    pub(super) fn pitch() -> Self {
        Self {
            last: [1640; 5],
            past: 0,
            good: 16384,
            most: 16384,
            decay: [32767, 32112, 32112, 26214, 9830, 6553, 6553],
        }
    }

    pub(super) fn code() -> Self {
        Self {
            last: [1; 5],
            past: 0,
            good: 1,
            most: i16::MAX,
            decay: [32767, 32112, 32112, 32112, 32112, 32112, 22937],
        }
    }

    /// A gain for a lost frame, the `losses`th of late.
    fn conceal(&self, losses: usize) -> i16 {
        let decay = self.decay.get(losses).copied().unwrap_or(0);
        mult(median::<5>(&self.last).min(self.past), decay)
    }

    /// Takes note of a gain, which after a loss is no more than before it.
    fn update(&mut self, gain: &mut i16, is_bad: bool, was_bad: bool) {
        if !is_bad {
            if was_bad {
                *gain = (*gain).min(self.good);
            }
            self.good = *gain;
        }
        self.past = (*gain).min(self.most);
        self.last.rotate_left(1);
        self.last[4] = self.past;
    }
}

/// Both histories, and how bad things are.
pub(super) struct Concealment {
    pub(super) pitch: History,
    pub(super) code: History,
    /// From 0 to 6.
    pub(super) losses: usize,
    pub(super) is_bad: bool,
    pub(super) was_bad: bool,
}

impl Default for Concealment {
    fn default() -> Self {
        Self {
            pitch: History::pitch(),
            code: History::code(),
            losses: 0,
            is_bad: false,
            was_bad: false,
        }
    }
}

impl Concealment {
    /// The gain of the pitch, `told` unless the frame is bad.
    pub(super) fn pitch(&mut self, told: i16) -> i16 {
        let mut gain = if self.is_bad {
            self.pitch.conceal(self.losses)
        } else {
            told
        };
        self.pitch.update(&mut gain, self.is_bad, self.was_bad);
        gain
    }

    /// The gain of the pulses of a good frame.
    pub(super) fn code(&mut self, told: i16) -> i16 {
        let mut gain = told;
        self.code.update(&mut gain, self.is_bad, self.was_bad);
        gain
    }

    /// The same of a bad one.
    pub(super) fn made_up_code(&mut self, energies: &mut Energies) -> i16 {
        let mut gain = self.code.conceal(self.losses);
        energies.push_mean();
        self.code.update(&mut gain, self.is_bad, self.was_bad);
        gain
    }
}
