//! Comfort noise: 3GPP TS 26.192 and 26.193.

use super::super::fixed::{
    add_product, divide, high, log2, mult, next_seed, norm_long, pow2, product, saturate, shift,
};
use super::super::frame::Kind;
use super::bits::Bits;
use super::energy::{energy, inverse_sqrt_normal};
use super::isf::{FIRST_LINES, Lines, noise_lines};
use super::{FRAME, ORDER};

/// Frames that noise is made from.
const FRAMES: usize = 8;
/// Frames without a silence descriptor, after which noise fades.
const MOST_WITHOUT: i16 = 50;
/// Frames of speech after which an encoder adds a hangover.
const ELAPSED: i16 = 30;
const HANGOVER: i16 = 7;
/// How near two frequencies come by chance.
const GAP: i16 = 448;

/// What a decoder is at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Speech,
    Silence,
    /// Silence for which nothing was received for long.
    Mute,
}

/// Makes noise.
pub(super) struct Noise {
    pub(super) state: State,
    since_last: i16,
    /// One over the frames between two silence descriptors, Q15.
    period_inverse: i16,
    /// Base 2 logarithms of the energy, Q7.
    level: i16,
    old_level: i16,
    seed: i16,
    lines: Lines,
    old_lines: Lines,
    lines_of: [Lines; FRAMES],
    levels: [i16; FRAMES],
    at: usize,
    hangover: i16,
    elapsed: i16,
    has_hangover: bool,
    is_descriptor: bool,
    has_numbers: bool,
    is_updated: bool,
    dither_seed: i16,
    is_dithered: bool,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            state: State::Speech,
            since_last: 0,
            period_inverse: 1 << 13,
            level: 3500,
            old_level: 3500,
            seed: 21845,
            lines: FIRST_LINES,
            old_lines: FIRST_LINES,
            lines_of: [FIRST_LINES; FRAMES],
            levels: [3500; FRAMES],
            at: 0,
            hangover: HANGOVER,
            elapsed: i16::MAX,
            has_hangover: false,
            is_descriptor: false,
            has_numbers: false,
            is_updated: false,
            dither_seed: 21845,
            is_dithered: false,
        }
    }
}

impl Noise {
    /// What the decoder is at with a frame of this kind.
    pub(super) fn receive(&mut self, kind: Kind) -> State {
        let state = self.next_state(kind);
        if !self.is_updated && kind == Kind::SilenceUpdate {
            self.elapsed = 0;
        }
        self.elapsed = self.elapsed.saturating_add(1);
        self.count_hangover(kind);
        if state != State::Speech {
            self.is_descriptor = kind.is_silence();
            self.has_numbers = kind == Kind::SilenceUpdate;
            self.has_hangover &= kind != Kind::BadSilence;
        }
        state
    }

    fn next_state(&mut self, kind: Kind) -> State {
        let is_silent = self.state != State::Speech;
        if !(kind.is_silence() || is_silent && kind != Kind::Speech) {
            self.since_last = 0;
            return State::Speech;
        }
        self.since_last = self.since_last.saturating_add(1);
        let is_told = matches!(kind, Kind::SilenceUpdate | Kind::BadSpeech);
        match self.state == State::Mute && !is_told || self.since_last > MOST_WITHOUT {
            true => State::Mute,
            false => State::Silence,
        }
    }

    fn count_hangover(&mut self, kind: Kind) {
        self.has_hangover = false;
        if !kind.is_silence() && kind != Kind::Nothing {
            self.hangover = HANGOVER;
        } else if self.elapsed > ELAPSED {
            (self.has_hangover, self.elapsed, self.hangover) = (true, 0, 0);
        } else if self.hangover == 0 {
            self.elapsed = 0;
        } else {
            self.hangover -= 1;
        }
    }

    /// Takes note of a frame of speech.
    pub(super) fn push_speech(&mut self, lines: &Lines, excitation: &[i16]) {
        self.at = (self.at + 1) % FRAMES;
        self.lines_of[self.at] = *lines;
        let energy = excitation
            .iter()
            .fold(0, |sum, value| add_product(sum, *value, *value));
        let (exponent, fraction) = log2(energy >> 1);
        self.levels[self.at] = shift(exponent, 7) + (fraction >> 8) - 1024;
    }

    /// Makes the excitation of a frame; gives its frequencies.
    pub(super) fn decode(
        &mut self,
        state: State,
        bits: &mut Bits<'_>,
        excitation: &mut [i16; FRAME],
    ) -> Lines {
        if self.has_hangover && self.is_descriptor {
            self.take_history();
        }
        if self.is_descriptor {
            self.take_descriptor(bits);
        }
        if self.is_descriptor && self.has_numbers {
            self.since_last = 0;
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
        let next = (self.at + 1) % FRAMES;
        self.lines_of[next] = self.lines_of[self.at];
        self.levels[next] = self.levels[self.at];
        let level = self
            .levels
            .iter()
            .fold(0i16, |sum, level| sum.saturating_add(*level));
        self.level = ((level >> 1) + 1024).max(0);
        for (at, line) in self.lines.iter_mut().enumerate() {
            *line = (self
                .lines_of
                .iter()
                .map(|lines| i32::from(lines[at]))
                .sum::<i32>()
                >> 3) as i16;
        }
    }

    fn take_descriptor(&mut self, bits: &mut Bits<'_>) {
        self.old_lines = self.lines;
        self.old_level = self.level;
        if !self.has_numbers {
            return;
        }
        self.period_inverse = match self.since_last.min(32) {
            period @ 2.. => divide(1 << 10, shift(period, 10)),
            _ => 1 << 14,
        };
        self.lines = noise_lines(bits);
        self.level = mult(shift(bits.take(6), 9), 12483);
        self.is_dithered = bits.take(1) != 0;
        if !self.is_updated || self.state == State::Speech {
            self.old_lines = self.lines;
            self.old_level = self.level;
        }
    }

    /// The level (Q25) and the frequencies between two descriptors.
    fn interpolate(&self) -> (i32, Lines) {
        let part = mult(shift(self.since_last, 10), self.period_inverse);
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
            let period = self.since_last.min(32);
            self.period_inverse = divide(1 << 10, shift(period, 10));
            self.since_last = 0;
            self.old_level = self.level;
            self.level = (self.level - 64).max(0);
        }
        if self.is_descriptor && (self.has_numbers || self.has_hangover) {
            self.since_last = 0;
            self.is_updated = true;
        }
    }
}
