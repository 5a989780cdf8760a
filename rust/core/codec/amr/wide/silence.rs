//! Comfort noise: 3GPP TS 26.192 and 26.193.

use super::super::fixed::{
    add_product, high, log2, mult, next_seed, norm_long, pow2, product, saturate, shift,
};
use super::super::frame::Band;
use super::super::silence::{History, Reception, State, inverse};
use super::bits::Bits;
use super::energy::{energy, inverse_sqrt_normal};
use super::isf::{FIRST_LINES, Lines, noise_lines};
use super::{FRAME, ORDER};

/// How near two frequencies come by chance.
const GAP: i16 = 448;

/// Makes noise.
pub(super) struct Noise {
    pub(super) reception: Reception,
    /// One over the frames between two silence descriptors, Q15.
    period_inverse: i16,
    /// Base 2 logarithms of the energy, Q7.
    level: i16,
    old_level: i16,
    seed: i16,
    lines: Lines,
    old_lines: Lines,
    history: History<ORDER>,
    dither_seed: i16,
    is_dithered: bool,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            reception: Reception::new(Band::Wide),
            period_inverse: 1 << 13,
            level: 3500,
            old_level: 3500,
            seed: 21845,
            lines: FIRST_LINES,
            old_lines: FIRST_LINES,
            history: History::new(FIRST_LINES),
            dither_seed: 21845,
            is_dithered: false,
        }
    }
}

impl Noise {
    /// Takes note of a frame of speech.
    pub(super) fn push_speech(&mut self, lines: &Lines, excitation: &[i16]) {
        let energy = excitation
            .iter()
            .fold(0, |sum, value| add_product(sum, *value, *value));
        let (exponent, fraction) = log2(energy >> 1);
        let level = shift(exponent, 7) + (fraction >> 8) - 1024;
        self.history.push(*lines, level);
    }

    /// Makes the excitation of a frame; gives its frequencies.
    pub(super) fn decode(
        &mut self,
        state: State,
        bits: &mut Bits<'_>,
        excitation: &mut [i16; FRAME],
    ) -> Lines {
        if self.reception.has_hangover && self.reception.is_descriptor {
            self.take_history();
        }
        if self.reception.is_descriptor {
            self.take_descriptor(bits);
        }
        let (mut level, mut lines) = self.interpolate();
        if self.is_dithered {
            self.dither(&mut level, &mut lines);
        }
        self.excite(level, excitation);
        self.finish(state);
        lines
    }

    /// Takes the mean of the last frames of speech.
    fn take_history(&mut self) {
        self.lines = self.history.double_last();
        let levels = self.history.levels.iter();
        let level = levels.fold(0i16, |sum, level| sum.saturating_add(*level));
        self.level = ((level >> 1) + 1024).max(0);
    }

    fn take_descriptor(&mut self, bits: &mut Bits<'_>) {
        self.old_lines = self.lines;
        self.old_level = self.level;
        if !self.reception.has_numbers {
            return;
        }
        self.period_inverse = self.reception.take_period();
        self.lines = noise_lines(bits);
        self.level = mult(shift(bits.take(6), 9), 12483);
        self.is_dithered = bits.take(1) != 0;
        if self.reception.is_first() {
            self.old_lines = self.lines;
            self.old_level = self.level;
        }
    }

    /// The level (Q25) and the frequencies between two descriptors.
    fn interpolate(&self) -> (i32, Lines) {
        let part = mult(shift(self.reception.since_last, 10), self.period_inverse);
        let part = shift(part.min(1024), 4);
        let rest = 16384 - part;
        let level = add_product(product(part, self.level), rest, self.old_level);
        let mut lines = self.lines;
        for (line, old) in lines.iter_mut().zip(&self.old_lines) {
            *line = shift(mult(part, *line).saturating_add(mult(rest, *old)), 1);
        }
        (level, lines)
    }

    /// Changes level and frequencies by chance.
    fn dither(&mut self, level: &mut i32, lines: &mut Lines) {
        let change = self.triangular();
        *level = add_product(*level, change, 75).max(0);
        let mut factor = 256;
        let mut least = 128;
        for line in &mut lines[..ORDER - 1] {
            let change = (i32::from(self.triangular()) * factor + 0x4000) >> 15;
            *line = line.saturating_add(saturate(change)).max(least);
            least = line.saturating_add(GAP);
            factor += 2;
        }
        lines[ORDER - 2] = lines[ORDER - 2].min(16384);
    }

    /// The sum of two numbers of chance.
    fn triangular(&mut self) -> i16 {
        let first = next_seed(self.dither_seed);
        self.dither_seed = next_seed(first);
        (first >> 1) + (self.dither_seed >> 1)
    }

    /// White noise of an energy.
    fn excite(&mut self, level: i32, excitation: &mut [i16; FRAME]) {
        let level = level >> 9;
        let level = pow2((level >> 16) + 15, ((level & 0xFFFF) >> 1) as i16);
        let up = norm_long(level);
        let loudness = high(level << up);
        for value in excitation.iter_mut() {
            self.seed = next_seed(self.seed);
            *value = self.seed >> 4;
        }
        let (energy, exponent) = energy(excitation);
        let (root, exponent) = inverse_sqrt_normal(energy, exponent);
        let gain = mult(loudness, high(root));
        for value in excitation {
            *value = shift(mult(*value, gain), exponent + 15 - up + 4);
        }
    }

    fn finish(&mut self, state: State) {
        if state == State::Mute {
            let period = self.reception.since_last.min(32);
            self.period_inverse = inverse(period);
            self.reception.since_last = 0;
            self.old_level = self.level;
            self.level = (self.level - 64).max(0);
        }
        self.reception.finish();
    }
}
