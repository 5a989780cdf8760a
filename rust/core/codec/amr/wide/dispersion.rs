//! Pulses are spread where the pitch is weak, at the two lowest rates: 3GPP TS 26.190, section 6.1.

use super::super::fixed::{saturate, shift};
use super::{Mode, SUBFRAME, Subframe};

/// Gains of the pitch of 0.6 and 0.9, Q14.
const WEAK: i16 = 9830;
const STRONG: i16 = 14746;

#[derive(Default)]
pub(super) struct Dispersion {
    state: i16,
    gain: i16,
    pitch_gains: [i16; 6],
}

impl Dispersion {
    pub(super) fn spread(&mut self, mode: Mode, gain: i16, pitch_gain: i16, code: &mut Subframe) {
        let state = self.next_state(gain, pitch_gain);
        (self.state, self.gain) = (state, gain);
        let less = match mode {
            Mode::M660 => 0,
            Mode::M885 => 1,
            _ => 2,
        };
        match state + less {
            0 => convolve(code, &SPREAD_FAR),
            1 => convolve(code, &SPREAD_LESS),
            _ => {}
        }
    }

    fn next_state(&mut self, gain: i16, pitch_gain: i16) -> i16 {
        self.pitch_gains.rotate_right(1);
        self.pitch_gains[0] = pitch_gain;
        let mut state = match pitch_gain {
            ..WEAK => 0,
            STRONG.. => 2,
            _ => 1,
        };
        if gain.saturating_sub(self.gain) > shift(self.gain, 1) {
            return (state + 1).min(2);
        }
        if self.pitch_gains.iter().filter(|gain| **gain < WEAK).count() > 2 {
            state = 0;
        }
        if state > self.state + 1 {
            state -= 1;
        }
        state
    }
}

/// Each pulse is replaced by `impulse` of its height, around the end of the subframe to its beginning.
fn convolve(code: &mut Subframe, impulse: &Subframe) {
    let mut spread = [0i16; 2 * SUBFRAME];
    for (place, pulse) in code.iter().enumerate().filter(|(_, pulse)| **pulse != 0) {
        for (to, height) in spread[place..].iter_mut().zip(impulse) {
            let product = (i32::from(*pulse) * i32::from(*height) + 0x4000) >> 15;
            *to = to.saturating_add(saturate(product));
        }
    }
    let (first, second) = spread.split_at(SUBFRAME);
    for ((to, first), second) in code.iter_mut().zip(first).zip(second) {
        *to = first.saturating_add(*second);
    }
}

/// Noise-like, Q15.
static SPREAD_FAR: Subframe = [
    20182, 9693, 3270, -3437, 2864, -5240, 1589, -1357, 600, 3893, -1497, -698, 1203, -5249, 1199,
    5371, -1488, -705, -2887, 1976, 898, 721, -3876, 4227, -5112, 6400, -1032, -4725, 4093, -4352,
    3205, 2130, -1996, -1835, 2648, -1786, -406, 573, 2484, -3608, 3139, -1363, -2566, 3808, -639,
    -2051, -541, 2376, 3932, -6262, 1432, -3601, 4889, 370, 567, -1163, -2854, 1914, 39, -2418,
    3454, 2975, -4021, 3431,
];

/// Half of the way.
static SPREAD_LESS: Subframe = [
    24098, 10460, -5263, -763, 2048, -927, 1753, -3323, 2212, 652, -2146, 2487, -3539, 4109, -2107,
    -374, -626, 4270, -5485, 2235, 1858, -2769, 744, 1140, -763, -1615, 4060, -4574, 2982, -1163,
    731, -1098, 803, 167, -714, 606, -560, 639, 43, -1766, 3228, -2782, 665, 763, 233, -2002, 1291,
    1871, -3470, 1032, 2710, -4040, 3624, -4214, 5292, -4270, 1563, 108, -580, 1642, -2458, 957,
    544, 2540,
];
