//! The quarters of a frame of speech: 3GPP TS 26.090, section 6, and 26.091.

use super::super::fixed::{
    add_product, divide, high, median, mult, next_seed, norm, product, round,
};
use super::super::fixed::{shift, shift_long, sqrt};
use super::filter::synthesise;
use super::gain::{self, Concealment, Energies};
use super::lsf::{Filter, Lines};
use super::noise::{Background, Dispersion, Smoothing};
use super::pitch::{self, Lag};
use super::post::gain_between;
use super::{
    LONGEST_LAG, Lasting, MOST_NUMBERS, Mode, PAST, SHARPEST, SUBFRAME, Subframe, bit_tables,
    pulses,
};

/// What begins anew after silence.
pub(super) struct Speech {
    /// The excitation before the subframe.
    past: [i16; PAST],
    sharpness: i16,
    lag: i32,
    pub(super) concealment: Concealment,
    pub(super) background: Background,
    pub(super) smoothing: Smoothing,
    dispersion: Dispersion,
    seed: i16,
}

impl Default for Speech {
    fn default() -> Self {
        Self {
            past: [0; PAST],
            sharpness: 0,
            lag: 40,
            concealment: Concealment::default(),
            background: Background::default(),
            smoothing: Smoothing::default(),
            dispersion: Dispersion::default(),
            seed: 21845,
        }
    }
}

/// What a frame tells of a subframe.
pub(super) struct Told {
    mode: Mode,
    /// Which of the four.
    at: usize,
    lag: i16,
    pulses: [i16; 10],
    /// The gains' numbers: of the pitch or both, and of the pulses.
    gain: usize,
    code_gain: usize,
}

impl Told {
    pub(super) fn read(
        mode: Mode,
        at: usize,
        numbers: &mut impl Iterator<Item = i16>,
        pair: &mut usize,
    ) -> Self {
        let mut next = || numbers.next().unwrap_or(0);
        let lag = next();
        let mut gain = 0;
        if mode == Mode::M122 {
            gain = next() as usize;
        }
        let mut pulses = [0; 10];
        for pulse in pulses.iter_mut().take(pulses::count(mode)) {
            *pulse = next();
        }
        let mut code_gain = 0;
        match mode {
            Mode::M475 if at % 2 == 1 => gain = *pair,
            Mode::M475 => {
                gain = next() as usize;
                *pair = gain;
            }
            Mode::M795 => (gain, code_gain) = (next() as usize, next() as usize),
            Mode::M122 => code_gain = next() as usize,
            _ => gain = next() as usize,
        }
        Self {
            mode,
            at,
            lag,
            pulses,
            gain,
            code_gain,
        }
    }

    /// Whether the lag is told by itself.
    fn is_lag_whole(&self) -> bool {
        self.at == 0 || self.at == 2 && !matches!(self.mode, Mode::M475 | Mode::M515)
    }
}

/// The gains of a subframe, Q14 and Q1.
struct Gains {
    pitch: i16,
    code: i16,
}

impl Speech {
    /// What stands for a frame of which nothing is known.
    pub(super) fn made_up_numbers(&mut self, mode: Mode) -> [i16; MOST_NUMBERS] {
        self.seed = next_seed(self.seed);
        let random = WINDOW
            .get((self.seed & 0x7F) as usize..)
            .unwrap_or_default();
        let widths = bit_tables::WIDTHS
            .get(mode as usize)
            .copied()
            .unwrap_or_default();
        let mut numbers = [0; MOST_NUMBERS];
        for ((number, width), random) in numbers.iter_mut().zip(widths).zip(random) {
            *number = random & ((1 << width) - 1);
        }
        numbers
    }

    pub(super) fn decode(
        &mut self,
        lasting: &mut Lasting,
        told: &Told,
        lines: &Lines,
        filter: &Filter,
        part: &mut Subframe,
    ) {
        let mode = told.mode;
        let lag = self.lag(told);
        let adaptive = pitch::predict(&self.past, lag);
        let mut code = pulses::decode(mode, told.at, &told.pulses);
        let gains = self.gains(lasting, told, lag.whole, &mut code);
        let sharp = self.sharpen(told, gains.pitch);
        let emphasis = emphasis(mode, &adaptive, sharp, gains.pitch);
        let pitch_gain = self.limit_pitch(mode, gains.pitch);
        let is_lost = (self.is_lost_in_noise(mode), self.background.voiceless > 1);
        let means = (lines, &lasting.mean_lines);
        let mixed = self.smoothing.smooth(mode, gains.code, means, is_lost);
        let excitation = total(mode, &adaptive, &code, pitch_gain, gains.code);
        let is_locked = mode.is_low()
            && self.background.voiceless > 3
            && self.background.is_noise
            && self.concealment.is_bad;
        let dispersion = &mut self.dispersion;
        dispersion.spread(mode, mixed, pitch_gain, is_locked, &mut code);
        let mut heard = total(mode, &adaptive, &code, pitch_gain, mixed);
        self.control_level(lasting, mode, &mut heard);
        self.push(&excitation);
        if synthesise_emphasised(&heard, emphasis, filter, part, &mut lasting.memory) {
            self.synthesise_quietly(&heard, filter, part, &mut lasting.memory);
        }
        self.lag = lag.whole;
    }

    fn lag(&mut self, told: &Told) -> Lag {
        let (index, is_whole) = (i32::from(told.lag), told.is_lag_whole());
        let is_bad = self.concealment.is_bad;
        if told.mode == Mode::M122 {
            let lag = pitch::lag_in_sixths(index, is_whole, self.lag);
            if !is_bad && (is_whole || index < 61) {
                return lag;
            }
            return Lag::whole(self.lag);
        }
        let lag = pitch::lag_in_thirds(told.mode, index, is_whole, self.lag);
        if !is_bad {
            return lag;
        }
        self.lag = (self.lag + 1).min(LONGEST_LAG);
        let is_noise = self.background.is_noise && self.background.voiceless > 4;
        Lag::whole(match is_noise && told.mode.is_low() {
            true => lag.whole,
            false => self.lag,
        })
    }

    /// The gains, and `code` with the pitch in it.
    fn gains(
        &mut self,
        lasting: &mut Lasting,
        told: &Told,
        lag: i32,
        code: &mut Subframe,
    ) -> Gains {
        let (mode, energies) = (told.mode, &mut lasting.energies);
        if mode == Mode::M122 {
            let pitch = self.concealment.pitch(gain::decode_pitch(mode, told.gain));
            repeat(code, lag, shift(pitch, 1));
            let code = self.code_gain(energies, told, code);
            return Gains { pitch, code };
        }
        repeat(code, lag, shift(self.sharpness, 1));
        if mode == Mode::M795 {
            let pitch = self.concealment.pitch(gain::decode_pitch(mode, told.gain));
            let code = self.code_gain(energies, told, code);
            return Gains { pitch, code };
        }
        if self.concealment.is_bad {
            let pitch = self.concealment.pitch(0);
            let code = self.concealment.made_up_code(energies);
            return Gains { pitch, code };
        }
        let is_even = told.at.is_multiple_of(2);
        let (pitch, gain) = gain::decode_both(energies, mode, told.gain, code, is_even);
        Gains {
            pitch: self.concealment.pitch(pitch),
            code: self.concealment.code(gain),
        }
    }

    fn code_gain(&mut self, energies: &mut Energies, told: &Told, code: &Subframe) -> i16 {
        if self.concealment.is_bad {
            return self.concealment.made_up_code(energies);
        }
        let gain = gain::decode_code(energies, told.mode, told.code_gain, code);
        self.concealment.code(gain)
    }

    /// How much the pitch is to be emphasised (Q15), and how sharp the next pulses are.
    fn sharpen(&mut self, told: &Told, gain: i16) -> i16 {
        let sharp = match told.mode {
            Mode::M122 => gain,
            Mode::M102 if self.lag > 45 => gain.min(SHARPEST) >> 2,
            _ => gain.min(SHARPEST),
        };
        if told.mode != Mode::M475 || told.at % 2 == 1 {
            self.sharpness = gain.min(SHARPEST);
        }
        shift(sharp, 1)
    }

    fn is_lost_in_noise(&self, mode: Mode) -> bool {
        let is_lost = self.concealment.is_bad || self.concealment.was_bad;
        is_lost && self.background.is_noise && mode.is_low()
    }

    /// The gain of the pitch, which in noise is less after a loss.
    fn limit_pitch(&mut self, mode: Mode, gain: i16) -> i16 {
        if !self.concealment.is_bad {
            self.background.push_pitch_gain(gain);
        }
        if !self.is_lost_in_noise(mode) {
            return gain;
        }
        let gain = if gain > 12288 {
            ((gain - 12288) >> 1) + 12288
        } else {
            gain
        };
        gain.min(14745)
    }

    /// Keeps the excitation of lost frames from being louder than noise before it.
    fn control_level(&mut self, lasting: &mut Lasting, mode: Mode, excitation: &mut Subframe) {
        let energy = excitation
            .iter()
            .fold(0, |sum, value| add_product(sum, *value, *value));
        let (root, exponent) = sqrt(energy >> 1);
        let level = (shift_long(root, -((exponent >> 1) + 15)) as i16) >> 2;
        let is_lost = self.concealment.is_bad || self.concealment.was_bad;
        let is_controlled = self.background.is_noise && is_lost && self.concealment.losses < 4;
        if is_controlled && mode.is_low() && self.background.voiceless > 5 {
            self.limit_level(&lasting.levels, level, excitation);
        }
        if !is_controlled {
            lasting.levels.rotate_left(1);
            lasting.levels[8] = level;
        }
    }

    fn limit_level(&self, levels: &[i16; 9], level: i16, excitation: &mut Subframe) {
        let average = median::<9>(levels);
        if level >= average || level <= 5 {
            return;
        }
        let before = ((i32::from(levels[7]) + i32::from(levels[8])) >> 1) as i16;
        let before = before.min(levels[8]);
        let most = shift(before, 2);
        let most = match self.background.voiceless < 7 || self.concealment.was_bad {
            true => most.saturating_sub(before),
            false => most,
        };
        let exponent = norm(level);
        let inverse = divide(16383, shift(level, exponent));
        let scale = shift_long(product(average.min(most), inverse), exponent - 20);
        let scale = scale.min(i32::from(i16::MAX)) as i16;
        for value in excitation {
            *value = shift_long(product(scale, *value), -11) as i16;
        }
    }

    fn push(&mut self, excitation: &Subframe) {
        self.past.copy_within(SUBFRAME.., 0);
        self.past[PAST - SUBFRAME..].copy_from_slice(excitation);
    }

    /// Once more with less of everything: the speech was too loud.
    fn synthesise_quietly(
        &mut self,
        heard: &Subframe,
        filter: &Filter,
        part: &mut Subframe,
        memory: &mut Lines,
    ) {
        for value in &mut self.past {
            *value >>= 2;
        }
        synthesise(filter, &heard.map(|value| value >> 2), part, memory);
    }
}

/// Adds to pulses what was there a lag before.
fn repeat(code: &mut Subframe, lag: i32, gain: i16) {
    for at in lag.max(1) as usize..SUBFRAME {
        code[at] = code[at].saturating_add(mult(code[at - lag as usize], gain));
    }
}

/// What is added to the excitation where the pitch is strong.
fn emphasis(mode: Mode, adaptive: &Subframe, sharp: i16, gain: i16) -> Option<Subframe> {
    let emphasised = |value: i16| {
        let value = product(mult(value, sharp), gain);
        round(if mode == Mode::M122 {
            value >> 1
        } else {
            value
        })
    };
    (sharp > 16384).then(|| adaptive.map(emphasised))
}

/// The sum of both parts of the excitation.
fn total(mode: Mode, adaptive: &Subframe, code: &Subframe, pitch_gain: i16, gain: i16) -> Subframe {
    let (pitch_gain, up) = match mode {
        Mode::M122 => (pitch_gain >> 1, 2),
        _ => (pitch_gain, 1),
    };
    let mut total = *adaptive;
    for (value, pulse) in total.iter_mut().zip(code) {
        let sum = add_product(product(*value, pitch_gain), *pulse, gain);
        *value = round(shift_long(sum, up));
    }
    total
}

/// Makes speech; whether it was too loud, and the memory is as before.
fn synthesise_emphasised(
    heard: &Subframe,
    emphasis: Option<Subframe>,
    filter: &Filter,
    part: &mut Subframe,
    memory: &mut Lines,
) -> bool {
    let mut excitation = emphasis.unwrap_or(*heard);
    if emphasis.is_some() {
        for (value, heard) in excitation.iter_mut().zip(heard) {
            *value = value.saturating_add(*heard);
        }
        if let Some(gain) = gain_between(heard, &excitation) {
            excitation = excitation.map(|value| high(shift_long(product(value, gain), 3)));
        }
    }
    let before = *memory;
    let is_loud = synthesise(filter, &excitation, part, memory);
    if is_loud {
        *memory = before;
    }
    is_loud
}

/// The window of the encoder's analysis, which serves as noise where nothing was received.
static WINDOW: [i16; 240] = [
    2621, 2623, 2629, 2638, 2651, 2668, 2689, 2713, 2741, 2772, 2808, 2847, 2890, 2936, 2986, 3040,
    3097, 3158, 3223, 3291, 3363, 3438, 3517, 3599, 3685, 3774, 3867, 3963, 4063, 4166, 4272, 4382,
    4495, 4611, 4731, 4853, 4979, 5108, 5240, 5376, 5514, 5655, 5800, 5947, 6097, 6250, 6406, 6565,
    6726, 6890, 7057, 7227, 7399, 7573, 7750, 7930, 8112, 8296, 8483, 8672, 8863, 9057, 9252, 9450,
    9650, 9852, 10055, 10261, 10468, 10677, 10888, 11101, 11315, 11531, 11748, 11967, 12187, 12409,
    12632, 12856, 13082, 13308, 13536, 13764, 13994, 14225, 14456, 14688, 14921, 15155, 15389,
    15624, 15859, 16095, 16331, 16568, 16805, 17042, 17279, 17516, 17754, 17991, 18228, 18465,
    18702, 18939, 19175, 19411, 19647, 19882, 20117, 20350, 20584, 20816, 21048, 21279, 21509,
    21738, 21967, 22194, 22420, 22644, 22868, 23090, 23311, 23531, 23749, 23965, 24181, 24394,
    24606, 24816, 25024, 25231, 25435, 25638, 25839, 26037, 26234, 26428, 26621, 26811, 26999,
    27184, 27368, 27548, 27727, 27903, 28076, 28247, 28415, 28581, 28743, 28903, 29061, 29215,
    29367, 29515, 29661, 29804, 29944, 30081, 30214, 30345, 30472, 30597, 30718, 30836, 30950,
    31062, 31170, 31274, 31376, 31474, 31568, 31659, 31747, 31831, 31911, 31988, 32062, 32132,
    32198, 32261, 32320, 32376, 32428, 32476, 32521, 32561, 32599, 32632, 32662, 32688, 32711,
    32729, 32744, 32755, 32763, 32767, 32767, 32741, 32665, 32537, 32359, 32129, 31850, 31521,
    31143, 30716, 30242, 29720, 29151, 28538, 27879, 27177, 26433, 25647, 24821, 23957, 23055,
    22117, 21145, 20139, 19102, 18036, 16941, 15820, 14674, 13505, 12315, 11106, 9879, 8637, 7381,
    6114, 4838, 3554, 2264, 971,
];
