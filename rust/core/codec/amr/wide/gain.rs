//! The gains of the pitch and of the pulses, as they are told and as they are made up for lost frames: 3GPP TS 26.190,
//! section 5.8.3, and 26.191.

use super::super::fixed::{
    add_product, high, log2, median, mult, pow2, product, round, shift_long,
};
use super::energy::{energy, inverse_sqrt_normal};
use super::gain_tables::{GAINS_6, GAINS_7};
use super::{Loss, Mode, Subframe};

/// The gains of a subframe.
#[derive(Clone, Copy)]
pub(super) struct Gains {
    /// Of the pitch, Q14.
    pub(super) pitch: i16,
    /// Of the pulses, Q16.
    pub(super) code: i32,
}

/// The last gains, from which the next are predicted and those of lost frames are made.
pub(super) struct History {
    /// Energies, the last one first.
    energies: [i16; 4],
    good_code: i16,
    pitch: [i16; 5],
    code: [i16; 5],
    /// Of good frames alone.
    pub(super) good_pitch: [i16; 5],
}

impl Default for History {
    fn default() -> Self {
        Self {
            energies: [-14336; 4],
            good_code: 0,
            pitch: [0; 5],
            code: [0; 5],
            good_pitch: [0; 5],
        }
    }
}

fn push(values: &mut [i16; 5], value: i16) {
    values.rotate_left(1);
    values[4] = value;
}

/// What a gain decays by in lost frames and in bad ones, Q15.
const PITCH_LOST: [i16; 7] = [32767, 31130, 29491, 24576, 7537, 1638, 328];
const PITCH_BAD: [i16; 7] = [32767, 32113, 31457, 24576, 7537, 1638, 328];
const CODE_LOST: [i16; 7] = [32767, 16384, 8192, 8192, 8192, 4915, 3277];
const CODE_BAD: [i16; 7] = [32767, 32113, 32113, 32113, 32113, 32113, 22938];

impl History {
    /// Decodes the gains that number `index` tells.
    pub(super) fn decode(
        &mut self,
        mode: Mode,
        index: i16,
        code: &Subframe,
        was_bad: bool,
    ) -> Gains {
        let table: &[i16] = if mode.is_low() { &GAINS_6 } else { &GAINS_7 };
        let number = |at: usize| table.get(2 * index as usize + at).copied().unwrap_or(0);
        let (pitch, correction) = (number(0), number(1));
        let (exponent, fraction) = self.predict();
        let gain = product(correction, pow2(14, fraction) as i16);
        let mut gain = shift_long(gain, i32::from(exponent) - 10);
        let most = product(self.good_code, 5120);
        if was_bad && gain > most && gain > 6_553_600 {
            gain = most;
        }
        self.good_code = round(shift_long(gain, 3));
        push(&mut self.code, self.good_code);
        push(&mut self.pitch, pitch);
        push(&mut self.good_pitch, pitch);
        self.push_energy(energy_of(correction));
        let gain = mul_32_16(
            high(gain),
            ((gain >> 1) & 0x7FFF) as i16,
            inverse_loudness(code),
        );
        Gains {
            pitch,
            code: shift_long(gain, 3),
        }
    }

    /// Makes up gains; `is_noise` where nothing but noise was heard of late.
    pub(super) fn conceal(
        &mut self,
        loss: Loss,
        losses: usize,
        is_noise: bool,
        code: &Subframe,
    ) -> Gains {
        let (pitch_decay, code_decay) = match loss {
            Loss::Lost => (PITCH_LOST, CODE_LOST),
            _ => (PITCH_BAD, CODE_BAD),
        };
        let decay = |decay: [i16; 7]| decay.get(losses).copied().unwrap_or(0);
        let pitch = median::<5>(&self.pitch).min(15565);
        let middle = median::<5>(&self.code);
        let gain = if is_noise {
            middle
        } else {
            mult(decay(code_decay), middle)
        };
        let sum: i32 = self.energies.iter().map(|energy| i32::from(*energy)).sum();
        self.push_energy(((sum >> 3) - 3072).max(-14336) as i16);
        push(&mut self.code, gain);
        push(&mut self.pitch, pitch);
        Gains {
            pitch: mult(decay(pitch_decay), pitch),
            code: product(gain, inverse_loudness(code)),
        }
    }

    /// A power of 2, whole part and fraction, by the energies before.
    fn predict(&self) -> (i16, i16) {
        const WEIGHTS: [i16; 4] = [4096, 3277, 2458, 1638];
        let pairs = self.energies.iter().zip(WEIGHTS);
        let sum = pairs.fold(30 << 24, |sum, (energy, weight)| {
            add_product(sum, weight, *energy)
        });
        let gain = (i32::from(high(sum)) * 5443) >> 7;
        (high(gain), ((gain >> 1) & 0x7FFF) as i16)
    }

    fn push_energy(&mut self, energy: i16) {
        self.energies.rotate_right(1);
        self.energies[0] = energy;
    }
}

/// What a correction (Q11) does to the energy, in decibels (Q10).
fn energy_of(correction: i16) -> i16 {
    let (exponent, fraction) = log2(i32::from(correction));
    (mul_32_16(exponent - 11, fraction, 24660) >> 3) as i16
}

/// A number in two parts of 16 and 15 bits, times one of 16.
fn mul_32_16(upper: i16, lower: i16, by: i16) -> i32 {
    let lower = (i32::from(lower) * i32::from(by)) >> 15;
    (i32::from(upper) * i32::from(by))
        .wrapping_add(lower)
        .wrapping_shl(1)
}

/// One over the root of the mean energy of pulses, Q12.
fn inverse_loudness(code: &Subframe) -> i16 {
    let (energy, exponent) = energy(code);
    let (root, exponent) = inverse_sqrt_normal(energy, exponent - 24);
    high(shift_long(root, exponent - 3))
}
