//! Comfort noise: 3GPP TS 26.092 and 26.093.

use super::super::fixed::{add_product, divide, log2, mult, norm_long, pow2, product, round};
use super::super::fixed::{shift, shift_right_rounded, sub_product};
use super::super::frame::Band;
use super::super::silence::{History, Reception, State, inverse};
use super::filter::synthesise;
use super::gain::Energies;
use super::lsf::{FIRST_PAIRS, Filter, Lines, Spectrum, filter, lines, pairs, spread};
use super::{FRAME, Mode, ORDER, SUBFRAME, Subframe};

/// How much louder an encoder's noise is than ours, for each mode.
const ADJUSTMENT: [i16; 8] = [-1023, -878, -732, -586, -440, -294, -148, 0];
/// How much of a line's variation is in the noise, Q15.
const VARIATION: Lines = [20000, 20000, 20000, 20000, 20000, 18000, 16384, 8192, 0, 0];
/// The mean frequencies, from which the history begins.
const FIRST_LINES: Lines = [
    1384, 2077, 3420, 5108, 6742, 8122, 9863, 11092, 12714, 13701,
];

/// Makes noise.
pub(super) struct Noise {
    pub(super) reception: Reception,
    /// One over the frames between two silence descriptors, Q15.
    period_inverse: i16,
    /// Base 2 logarithms of the energy, Q11.
    level: i16,
    old_level: i16,
    adjustment: i16,
    seed: u32,
    pairs: Lines,
    old_pairs: Lines,
    history: History<ORDER>,
    variation: [Lines; 8],
    /// The mean gain of the filter, Q12.
    gain: i16,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            reception: Reception::new(Band::Narrow),
            period_inverse: 1 << 13,
            level: 3500,
            old_level: 3500,
            adjustment: 0,
            seed: 0x7081_6958,
            pairs: FIRST_PAIRS,
            old_pairs: FIRST_PAIRS,
            history: History::new(FIRST_LINES),
            variation: [[0; ORDER]; 8],
            gain: 0,
        }
    }
}

/// What is taken from the decoder of speech, and left to it.
pub(super) struct Shared<'s> {
    pub(super) spectrum: &'s mut Spectrum,
    pub(super) energies: &'s mut Energies,
    pub(super) memory: &'s mut Lines,
}

impl Noise {
    /// Takes note of a frame of speech.
    pub(super) fn push_speech(&mut self, lines: &Lines, speech: &[i16]) {
        let energy = speech
            .iter()
            .fold(0, |sum, sample| add_product(sum, *sample, *sample));
        let (exponent, fraction) = log2(energy);
        let level = shift(exponent, 10) + (fraction >> 5) - 8521;
        self.history.push(*lines, level);
    }

    /// Makes a frame; gives its filter.
    pub(super) fn decode(
        &mut self,
        state: State,
        mode: Mode,
        numbers: &[i16],
        shared: Shared<'_>,
        speech: &mut [i16; FRAME],
    ) -> Filter {
        let adjustment = ADJUSTMENT.get(mode as usize).copied().unwrap_or(0);
        if self.reception.has_hangover && self.reception.is_descriptor {
            self.adjustment = adjustment;
            self.take_history();
        }
        if self.reception.is_descriptor {
            self.take_descriptor(numbers, shared.spectrum);
            self.predict_energies(shared.energies);
        }
        let change = mult(shift(adjustment, 5), 3277) >> 5;
        self.adjustment = mult(self.adjustment, 29491).saturating_add(change);
        let (level, now) = self.interpolate();
        let (plain, varied) = self.filters(now, shared.spectrum);
        let level = self.loudness(level, &plain);
        self.synthesise(level, &varied, shared.memory, speech);
        self.finish(state);
        plain
    }

    /// Takes the mean of the last frames of speech, and how they vary around it.
    fn take_history(&mut self) {
        let mean = self.history.double_last();
        let levels = self.history.levels.iter().rev();
        let level = levels.fold(0i16, |sum, level| sum.saturating_add(level >> 3));
        self.level = level.saturating_sub(self.adjustment);
        self.pairs = pairs(&mean);
        self.variation = self.history.lines.map(|mut lines| {
            for ((line, mean), scale) in lines.iter_mut().zip(mean).zip(VARIATION) {
                *line = limited(mult(line.saturating_sub(mean), scale));
            }
            lines
        });
    }

    fn take_descriptor(&mut self, numbers: &[i16], spectrum: &mut Spectrum) {
        self.old_pairs = self.pairs;
        self.old_level = self.level;
        if !self.reception.has_numbers {
            return;
        }
        self.period_inverse = self.reception.take_period();
        self.pairs = spectrum.decode_silence(numbers);
        self.level = match numbers.get(4) {
            None | Some(0) => i16::MIN,
            Some(level) => shift(*level, 9) - 5120,
        };
        if self.reception.is_first() {
            self.old_pairs = self.pairs;
            self.old_level = self.level;
        }
    }

    /// What the gains after the silence are predicted from.
    fn predict_energies(&self, energies: &mut Energies) {
        let decibels = (self.level >> 1).saturating_sub(9000).clamp(-14436, 0);
        energies.decibels = [decibels; 4];
        energies.log2 = [mult(decibels, 5443); 4];
    }

    /// The level (Q26) and the pairs between two descriptors.
    fn interpolate(&self) -> (i32, Lines) {
        let part = mult(
            shift(self.reception.since_last.saturating_add(1), 10),
            self.period_inverse,
        );
        let part = shift(part.min(1024), 4);
        let rest = 16384 - part;
        let level = add_product(product(part, self.level), rest, self.old_level);
        let mut pairs = self.pairs;
        for (pair, old) in pairs.iter_mut().zip(&self.old_pairs) {
            *pair = shift(mult(part, *pair).saturating_add(mult(rest, *old)), 1);
        }
        (level, pairs)
    }

    /// The filter of `now`, and one that varies by chance as the speech before did.
    fn filters(&mut self, now: Lines, spectrum: &mut Spectrum) -> (Filter, Filter) {
        let factor = 4096 - i32::from(mult(self.gain - 2457, 9830));
        let factor = match factor {
            4096.. => i16::MAX,
            factor => (factor.max(0) << 3) as i16,
        };
        let which = self.random(3) as usize % self.variation.len();
        let mut plain = lines(&now);
        let mut varied = plain;
        for (line, variation) in varied.iter_mut().zip(&self.variation[which]) {
            *line = line.saturating_add(mult(factor, *variation));
        }
        spread(&mut plain);
        spread(&mut varied);
        spectrum.lines = plain;
        (filter(&pairs(&plain)), filter(&pairs(&varied)))
    }

    /// The height of the pulses, by the gain of the filter that they go through.
    fn loudness(&mut self, level: i32, filter: &Filter) -> i16 {
        let error = reflections(filter)
            .iter()
            .fold(i16::MAX, |error, reflection| {
                let rest =
                    i32::from(i16::MAX) - ((i32::from(*reflection) * i32::from(*reflection)) >> 15);
                mult(error, rest.max(0) as i16)
            });
        let (exponent, fraction) = log2(i32::from(error));
        let gain = shift(exponent - 15, 12).saturating_add(fraction >> 3);
        let gain = 0i16.saturating_sub(gain) >> 1;
        self.gain = mult(29491, self.gain).saturating_add(mult(3277, gain));
        let level = (level >> 10)
            .saturating_add(4 << 16)
            .saturating_sub(i32::from(gain) << 4)
            .saturating_add(i32::from(self.adjustment) << 5);
        pow2(level >> 16, ((level & 0xFFFF) >> 1) as i16) as i16
    }

    fn synthesise(
        &mut self,
        level: i16,
        filter: &Filter,
        memory: &mut Lines,
        speech: &mut [i16; FRAME],
    ) {
        for part in speech.as_chunks_mut::<SUBFRAME>().0 {
            let mut pulses = self.pulses();
            for pulse in &mut pulses {
                *pulse = mult(level, *pulse);
            }
            synthesise(filter, &pulses, part, memory);
        }
    }

    /// Ten pulses of either sign, one in each four samples.
    fn pulses(&mut self) -> Subframe {
        let mut pulses = [0; SUBFRAME];
        for at in 0..10 {
            let place = 10 * self.random(2) as usize + at;
            pulses[place] = if self.random(1) > 0 { 4096 } else { -4096 };
        }
        pulses
    }

    /// So many bits of a shift register with 31.
    fn random(&mut self, bits: u32) -> u32 {
        (0..bits).fold(0, |value, _| {
            let bit = self.seed & 1;
            let next = bit ^ (self.seed >> 28 & 1);
            self.seed = self.seed >> 1 | next << 30;
            value << 1 | bit
        })
    }

    fn finish(&mut self, state: State) {
        if state == State::Mute {
            let period = match self.reception.since_last.min(32) {
                ..=0 => 8,
                period => period,
            };
            self.period_inverse = inverse(period);
            self.reception.since_last = 0;
            self.old_pairs = self.pairs;
            self.old_level = self.level;
            self.level = self.level.saturating_sub(256).max(0);
        }
        self.reception.finish();
    }
}

/// A variation, of which little is left where it is large.
fn limited(variation: i16) -> i16 {
    let size = variation.saturating_abs();
    let size = if size > 655 {
        655 + ((size - 655) >> 2)
    } else {
        size
    };
    let size = size.min(1310);
    if variation < 0 { -size } else { size }
}

/// The reflection coefficients of a filter, Q15; none where it is not stable.
fn reflections(filter: &Filter) -> Lines {
    let mut state: Lines = [0; ORDER];
    state.copy_from_slice(&filter[1..]);
    let mut found = [0; ORDER];
    for at in (0..ORDER).rev() {
        if state[at].saturating_abs() >= 4096 {
            return [0; ORDER];
        }
        found[at] = shift(state[at], 3);
        match step_down(&state, at, found[at]) {
            Some(next) => state = next,
            None => return [0; ORDER],
        }
    }
    found
}

/// The filter of one order less than `at + 1`.
fn step_down(state: &Lines, at: usize, reflection: i16) -> Option<Lines> {
    let rest = i32::MAX.saturating_sub(product(reflection, reflection));
    let shifted = norm_long(rest);
    let inverse = divide(16384, round(rest << shifted));
    let mut next = *state;
    for (to, value) in next.iter_mut().take(at).enumerate() {
        let sum = sub_product(i32::from(state[to]) << 16, reflection, state[at - to - 1]);
        let scaled = shift_right_rounded(product(inverse, round(sum)), 15 - shifted);
        *value = i16::try_from(scaled).ok()?;
    }
    Some(next)
}
