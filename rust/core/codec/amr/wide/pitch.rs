//! The pitch: its lag, and what was a lag ago: 3GPP TS 26.190, sections 5.6 and 5.7, and 26.191.

use super::super::fixed::{dot_at, mult, next_seed, saturate};
use super::bits::Bits;
use super::{Loss, Mode};

const SHORTEST: i32 = 34;
const LONGEST: i32 = 231;
/// Lags from here on are told in halves, and in whole samples.
const HALVES: i32 = 128;
const WHOLE: i32 = 160;
/// The same at the two lowest rates, which have no quarters.
const WHOLE_LOW: i32 = 92;

/// A lag in samples, and its fraction in quarters.
#[derive(Clone, Copy)]
pub(super) struct Lag {
    pub(super) whole: i32,
    pub(super) fraction: i32,
}

impl Lag {
    /// In quarters from `base` on.
    fn quarters(base: i32, quarters: i32) -> Self {
        Self {
            whole: base + (quarters >> 2),
            fraction: quarters & 3,
        }
    }

    /// A lag that is told by itself.
    pub(super) fn whole(mode: Mode, bits: &mut Bits<'_>) -> Self {
        if mode.is_low() {
            let index = i32::from(bits.take(8));
            let halves = 2 * (WHOLE_LOW - SHORTEST);
            return match index < halves {
                true => Self::quarters(SHORTEST, 2 * index),
                false => Self::quarters(WHOLE_LOW, 4 * (index - halves)),
            };
        }
        let index = i32::from(bits.take(9));
        let quarters = 4 * (HALVES - SHORTEST);
        let halves = quarters + 2 * (WHOLE - HALVES);
        match index {
            _ if index < quarters => Self::quarters(SHORTEST, index),
            _ if index < halves => Self::quarters(HALVES, 2 * (index - quarters)),
            _ => Self::quarters(WHOLE, 4 * (index - halves)),
        }
    }

    /// The least of the lags that later subframes tell.
    pub(super) fn least(self) -> i32 {
        (self.whole - 8).clamp(SHORTEST, LONGEST - 15)
    }

    /// A lag that is told from `least` on.
    pub(super) fn near(mode: Mode, least: i32, bits: &mut Bits<'_>) -> Self {
        match mode.is_low() {
            true => Self::quarters(least, 2 * i32::from(bits.take(5))),
            false => Self::quarters(least, i32::from(bits.take(6))),
        }
    }
}

/// The lags of the last subframes.
pub(super) struct Lags {
    /// The last one first.
    last: [i16; 5],
    pub(super) old: i16,
    seed: i16,
}

impl Default for Lags {
    fn default() -> Self {
        Self {
            last: [64; 5],
            old: 64,
            seed: 21845,
        }
    }
}

impl Lags {
    pub(super) fn push(&mut self, lag: i32) {
        self.last.rotate_right(1);
        self.last[0] = lag as i16;
        self.old = lag as i16;
    }

    /// The lag of a lost or bad frame: the one that is told, if the last ones make it likely.
    pub(super) fn conceal(&mut self, loss: Loss, told: i32, gains: &[i16; 5]) -> i32 {
        let told = told as i16;
        if loss == Loss::Bad && self.is_likely(told, gains) {
            return i32::from(told);
        }
        let (least, most) = self.span();
        let is_steady = gains.iter().all(|gain| *gain > 8192) && most - least < 10;
        let lag = match (loss, is_steady) {
            (Loss::Lost, true) => self.old,
            (_, true) => self.last[0],
            _ if gains[4] > 8192 && gains[3] > 8192 => self.last[0],
            _ => self.by_chance(),
        };
        i32::from(lag.min(most).max(least))
    }

    fn span(&self) -> (i16, i16) {
        let last = self.last.iter().copied();
        (last.clone().min().unwrap_or(0), last.max().unwrap_or(0))
    }

    fn is_likely(&self, lag: i16, gains: &[i16; 5]) -> bool {
        let (least, most) = self.span();
        let sum: i16 = self.last.iter().sum();
        let mean = mult(sum, 6554);
        let weakest = gains.iter().copied().min().unwrap_or(0);
        let apart = lag - self.last[0];
        let is_inside = lag > least && lag < most;
        most - least < 10 && lag > least - 5 && lag - most < 5
            || gains[4] > 8192 && gains[3] > 8192 && apart > -10 && apart < 10
            || weakest < 6554 && gains[4] == weakest && is_inside
            || most - least < 70 && is_inside
            || lag > mean && lag < most
    }

    /// The mean of the three longest, give or take.
    fn by_chance(&mut self) -> i16 {
        let mut sorted = self.last;
        sorted.sort_unstable();
        let span = (sorted[4] - sorted[2]).min(40);
        self.seed = next_seed(self.seed);
        let change = mult(span >> 1, self.seed);
        let sum = sorted[2] + sorted[3] + sorted[4];
        mult(sum, 10923) + change
    }
}

/// Taps of the interpolation.
const TAPS: usize = 32;

/// Writes the excitation of a lag ago to `at..at + 65` of `excitation`.
pub(super) fn predict(excitation: &mut [i16], at: usize, lag: Lag) {
    let (mut from, mut phase) = (at as i32 - lag.whole, -lag.fraction);
    if phase < 0 {
        phase += 4;
        from -= 1;
    }
    let from = (from - 15).max(0) as usize;
    let taps = INTERPOLATION
        .get(3 - phase.clamp(0, 3) as usize)
        .unwrap_or(&INTERPOLATION[0]);
    for to in 0..=super::SUBFRAME {
        let sum = dot_at(excitation, from + to, taps);
        if let Some(sample) = excitation.get_mut(at + to) {
            *sample = saturate((sum + 0x2000) >> 14);
        }
    }
}

/// The interpolation filter for each fraction, Q14.
static INTERPOLATION: [[i16; TAPS]; 4] = [
    [
        0, -2, 4, -2, -10, 38, -88, 165, -275, 424, -619, 871, -1207, 1699, -2598, 5531, 14031,
        -2147, 780, -249, -16, 153, -213, 226, -209, 175, -133, 91, -55, 28, -10, 2,
    ],
    [
        1, -7, 19, -33, 47, -52, 43, -9, -60, 175, -355, 626, -1044, 1749, -3267, 10359, 10359,
        -3267, 1749, -1044, 626, -355, 175, -60, -9, 43, -52, 47, -33, 19, -7, 1,
    ],
    [
        2, -10, 28, -55, 91, -133, 175, -209, 226, -213, 153, -16, -249, 780, -2147, 14031, 5531,
        -2598, 1699, -1207, 871, -619, 424, -275, 165, -88, 38, -10, -2, 4, -2, 0,
    ],
    [
        1, -7, 22, -49, 92, -153, 231, -325, 431, -544, 656, -762, 853, -923, 968, 15401, 968,
        -923, 853, -762, 656, -544, 431, -325, 231, -153, 92, -49, 22, -7, 1, 0,
    ],
];
