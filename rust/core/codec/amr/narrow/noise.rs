//! What is done about background noise: whether there is any (3GPP TS 26.090, section 6.1, and 26.091), gains that do not
//! jump in it, and pulses that are spread.

use super::super::fixed::{
    add_product, divide, median, mult, norm, product, round, saturate, shift, shift_long,
};
use super::lsf::Lines;
use super::{Mode, Subframe};

/// Frames whose energies are kept.
const FRAMES: usize = 60;

/// Tells background noise.
pub(super) struct Background {
    energies: [i16; FRAMES],
    hangover: i16,
    /// Gains of the pitch of the last subframes.
    pub(super) pitch_gains: [i16; 9],
    pub(super) is_noise: bool,
    /// Frames since the last one with a voice, 10 at most.
    pub(super) voiceless: i16,
}

impl Default for Background {
    fn default() -> Self {
        Self {
            energies: [0; FRAMES],
            hangover: 0,
            pitch_gains: [0; 9],
            is_noise: false,
            voiceless: 0,
        }
    }
}

impl Background {
    pub(super) fn push_pitch_gain(&mut self, gain: i16) {
        self.pitch_gains.rotate_left(1);
        self.pitch_gains[8] = gain;
    }

    /// Takes note of a frame.
    pub(super) fn update(&mut self, speech: &[i16]) {
        let sum = speech
            .iter()
            .fold(0i32, |sum, sample| add_product(sum, *sample, *sample));
        let energy = saturate(sum >> 14);
        let floor = self.energies.iter().copied().min().unwrap_or(0);
        let floor = shift(floor, 4);
        let most = |energies: &[i16]| energies.iter().copied().max().unwrap_or(0);
        let early = most(self.energies.get(..FRAMES - 4).unwrap_or_default());
        let late = most(self.energies.get(2 * FRAMES / 3..).unwrap_or_default());
        let is_low = early > 20 && energy < 17578 && energy > 20 && (energy < floor || late < 1953);
        self.hangover = if is_low {
            (self.hangover + 1).min(30)
        } else {
            0
        };
        self.is_noise = self.hangover > 1;
        self.energies.rotate_left(1);
        self.energies[FRAMES - 1] = energy;
        self.voiceless = if self.has_voice() {
            0
        } else {
            (self.voiceless + 1).min(10)
        };
    }

    fn has_voice(&self) -> bool {
        let limit = match self.hangover {
            16.. => 16383,
            9.. => 15565,
            _ => 13926,
        };
        let middle = match self.hangover {
            21.. => median::<9>(&self.pitch_gains),
            _ => median::<5>(self.pitch_gains.get(4..).unwrap_or_default()),
        };
        middle > limit
    }
}

/// The gains of the pulses, smoothed where the spectrum stands still.
#[derive(Default)]
pub(super) struct Smoothing {
    gains: [i16; 7],
    /// Subframes in a row that are unlike the mean spectrum.
    pub(super) unlike: i16,
    pub(super) count: i16,
}

impl Smoothing {
    /// The gain to be used for `gain`, of a subframe whose spectrum is `lines`; `is_lost`: in noise at one of the low
    /// rates, and bad or after a bad one.
    pub(super) fn smooth(
        &mut self,
        mode: Mode,
        gain: i16,
        lines: (&Lines, &Lines),
        is_lost: (bool, bool),
    ) -> i16 {
        self.gains.rotate_left(1);
        self.gains[6] = gain;
        let difference = distance(lines.0, lines.1);
        self.unlike = if difference > 5325 {
            self.unlike.saturating_add(1)
        } else {
            0
        };
        if self.unlike > 10 {
            self.count = 0;
        }
        let smoothed = match mode {
            Mode::M74 | Mode::M795 | Mode::M122 => gain,
            _ => self.mix(gain, difference, is_lost),
        };
        self.count = self.count.saturating_add(1);
        smoothed
    }

    fn mix(&self, gain: i16, difference: i16, (is_lost, is_voiceless): (bool, bool)) -> i16 {
        let allowed = if is_lost && is_voiceless { 4506 } else { 3277 };
        let part = match difference.saturating_sub(allowed).max(0) {
            _ if self.count < 40 || difference > 5325 => 8192,
            2049.. => 8192,
            part => shift(part, 2),
        };
        let (weight, from) = if is_lost { (4681, 0) } else { (6554, 2) };
        let gains = self.gains.get(from..).unwrap_or_default();
        let mean = gains
            .iter()
            .fold(0, |sum, gain| add_product(sum, weight, *gain));
        let mean = round(mean);
        let sum = add_product(product(part, gain), 8192, mean);
        let sum = sum.saturating_sub(product(part, mean));
        round(shift_long(sum, 2))
    }
}

/// How far frequencies are from the mean ones, each in parts of the mean one, Q13.
fn distance(lines: &Lines, mean: &Lines) -> i16 {
    let parts = lines.iter().zip(mean).map(|(line, mean)| {
        let away = mean.saturating_sub(*line).saturating_abs();
        let (up, mean_up) = (norm(away) - 1, norm(*mean));
        let part = divide(shift(away, up), shift(*mean, mean_up));
        shift(part, mean_up - up - 2)
    });
    parts.fold(0i16, i16::saturating_add)
}

/// Spreads pulses where the pitch is weak: 3GPP TS 26.090, section 6.2.1.
#[derive(Default)]
pub(super) struct Dispersion {
    pitch_gains: [i16; 5],
    state: i16,
    gain: i16,
    onset: i16,
}

/// Gains of the pitch of 0.6 and 0.9, Q14.
const WEAK: i16 = 9830;
const STRONG: i16 = 14746;

impl Dispersion {
    /// How `code` is to be spread, if at all.
    pub(super) fn spread(
        &mut self,
        mode: Mode,
        gain: i16,
        pitch_gain: i16,
        is_locked: bool,
        code: &mut Subframe,
    ) {
        let state = self.next_state(gain, pitch_gain);
        self.state = if is_locked { 0 } else { state };
        self.gain = gain;
        let impulse = match (mode, self.state) {
            (Mode::M122 | Mode::M102 | Mode::M74, _) | (_, 2..) => return,
            (Mode::M795, ..=0) => &SPREAD_FAR_795,
            (_, ..=0) => &SPREAD_FAR,
            _ => &SPREAD_LESS,
        };
        convolve(code, impulse);
    }

    fn next_state(&mut self, gain: i16, pitch_gain: i16) -> i16 {
        self.pitch_gains.rotate_right(1);
        self.pitch_gains[0] = pitch_gain;
        let mut state = match pitch_gain {
            ..=WEAK => 0,
            STRONG.. => 2,
            _ => 1,
        };
        let twice = round(shift_long(product(self.gain, 16384), 2));
        self.onset = if gain > twice {
            2
        } else {
            (self.onset - 1).max(0)
        };
        if self.onset == 0 && self.pitch_gains.iter().filter(|gain| **gain < WEAK).count() > 2 {
            state = 0;
        }
        if self.onset == 0 && state > self.state + 1 {
            state -= 1;
        }
        if self.onset > 0 && state < 2 {
            state += 1;
        }
        if gain < 10 { 2 } else { state }
    }
}

/// Each pulse is replaced by `impulse` of its height, around the end of the subframe to its beginning.
fn convolve(code: &mut Subframe, impulse: &Subframe) {
    let pulses = std::mem::replace(code, [0; super::SUBFRAME]);
    for (place, pulse) in pulses.iter().enumerate().filter(|(_, pulse)| **pulse != 0) {
        for (at, height) in impulse.iter().enumerate() {
            let to = (place + at) % super::SUBFRAME;
            code[to] = code[to].saturating_add(mult(*pulse, *height));
        }
    }
}

/// Noise-like, Q15.
static SPREAD_FAR: Subframe = [
    14690, 11518, 1268, -2761, -5671, 7514, -35, -2807, -3040, 4823, 2952, -8424, 3785, 1455, 2179,
    -8637, 8051, -2103, -1454, 777, 1108, -2385, 2254, -363, -674, -2103, 6046, -5681, 1072, 3123,
    -5058, 5312, -2329, -3728, 6924, -3889, 675, -1775, 29, 10145,
];

/// The same at 7.95 kbit/s.
static SPREAD_FAR_795: Subframe = [
    26777, 801, 2505, -683, -1382, 582, 604, -1274, 3511, -5894, 4534, -499, -1940, 3011, -5058,
    5614, -1990, -1061, -1459, 4442, -700, -5335, 4609, 452, -589, -3352, 2953, 1267, -1212, -2590,
    1731, 3670, -4475, -975, 4391, -2537, 949, -1363, -979, 5734,
];

/// Half of the way.
static SPREAD_LESS: Subframe = [
    30274, 3831, -4036, 2972, -1048, -1002, 2477, -3043, 2815, -2231, 1753, -1611, 1714, -1775,
    1543, -1008, 429, -169, 472, -1264, 2176, -2706, 2523, -1621, 344, 826, -1529, 1724, -1657,
    1701, -2063, 2644, -3060, 2897, -1978, 557, 780, -1369, 842, 655,
];
