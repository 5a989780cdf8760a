//! What the comfort noise of both bands has in common: when there is silence, and the speech before it that noise is
//! made from. 3GPP TS 26.092 and 26.093 of AMR, 26.192 and 26.193 of AMR-WB.

use super::fixed::{divide, shift};
use super::frame::{Band, Kind};

/// Frames that noise is made from.
const FRAMES: usize = 8;
/// Frames without a silence descriptor, after which noise fades.
const MOST_WITHOUT: i16 = 50;
/// Frames of speech after which an encoder adds a hangover.
const ELAPSED: i16 = 30;
const HANGOVER: i16 = 7;

/// What a decoder is at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Speech,
    Silence,
    /// Silence for which nothing was received for long.
    Mute,
}

/// What was received of silences.
pub(super) struct Reception {
    band: Band,
    pub(super) state: State,
    /// Frames since the last description of silence.
    pub(super) since_last: i16,
    hangover: i16,
    elapsed: i16,
    /// Whether noise is made from the last frames of speech.
    pub(super) has_hangover: bool,
    pub(super) is_descriptor: bool,
    pub(super) has_numbers: bool,
    is_updated: bool,
}

impl Reception {
    pub(super) fn new(band: Band) -> Self {
        Self {
            band,
            state: match band {
                Band::Narrow => State::Silence,
                Band::Wide => State::Speech,
            },
            since_last: 0,
            hangover: HANGOVER,
            elapsed: i16::MAX,
            has_hangover: false,
            is_descriptor: false,
            has_numbers: false,
            is_updated: false,
        }
    }

    /// What the decoder is at with a frame of this kind.
    pub(super) fn receive(&mut self, kind: Kind) -> State {
        let state = self.next_state(kind);
        if !self.is_updated && kind == Kind::SilenceUpdate {
            self.elapsed = 0;
        }
        self.elapsed = self.elapsed.saturating_add(1);
        self.count_hangover(kind, state);
        if state != State::Speech {
            self.is_descriptor = kind.is_silence();
            self.has_numbers = kind == Kind::SilenceUpdate;
            self.has_hangover &= kind != Kind::BadSilence;
        }
        state
    }

    fn next_state(&mut self, kind: Kind) -> State {
        let is_silent = self.state != State::Speech;
        if kind == Kind::Speech || !(kind.is_silence() || is_silent) {
            self.since_last = 0;
            return State::Speech;
        }
        self.since_last = self.since_last.saturating_add(1);
        let is_told = matches!(kind, Kind::SilenceUpdate | Kind::BadSpeech);
        let may_be_late = self.band == Band::Wide || kind != Kind::SilenceUpdate;
        let is_late = may_be_late && self.since_last > MOST_WITHOUT;
        match self.state == State::Mute && !is_told || is_late {
            true => State::Mute,
            false => State::Silence,
        }
    }

    fn count_hangover(&mut self, kind: Kind, state: State) {
        self.has_hangover = false;
        let counts_nothing = self.band == Band::Wide || state != State::Speech;
        if !(kind.is_silence() || kind == Kind::Nothing && counts_nothing) {
            self.hangover = HANGOVER;
        } else if self.elapsed > ELAPSED {
            (self.has_hangover, self.elapsed, self.hangover) = (true, 0, 0);
        } else if self.hangover == 0 {
            self.elapsed = 0;
        } else {
            self.hangover -= 1;
        }
    }

    /// One over the frames between the last two descriptors, Q15; they are counted anew.
    pub(super) fn take_period(&mut self) -> i16 {
        match std::mem::take(&mut self.since_last).min(32) {
            period @ 2.. => inverse(period),
            _ => 1 << 14,
        }
    }

    /// Whether this description has none before it that noise could lead over from.
    pub(super) fn is_first(&self) -> bool {
        !self.is_updated || self.state == State::Speech
    }

    /// Ends a frame of noise.
    pub(super) fn finish(&mut self) {
        if self.is_descriptor && (self.has_numbers || self.has_hangover) {
            self.since_last = 0;
            self.is_updated = true;
        }
    }
}

/// One over so many frames, Q15.
pub(super) fn inverse(period: i16) -> i16 {
    divide(1 << 10, shift(period, 10))
}

/// The last frames of speech: their lines, `N` each, and the logarithms of their energies.
pub(super) struct History<const N: usize> {
    pub(super) lines: [[i16; N]; FRAMES],
    pub(super) levels: [i16; FRAMES],
    at: usize,
}

impl<const N: usize> History<N> {
    /// Frames with these lines.
    pub(super) fn new(lines: [i16; N]) -> Self {
        Self {
            lines: [lines; FRAMES],
            levels: [3500; FRAMES],
            at: 0,
        }
    }

    /// Takes note of a frame, in place of the oldest.
    pub(super) fn push(&mut self, lines: [i16; N], level: i16) {
        self.at = (self.at + 1) % FRAMES;
        self.lines[self.at] = lines;
        self.levels[self.at] = level;
    }

    /// Puts the newest frame in place of the oldest too, which the next frame takes; gives the mean of the lines.
    pub(super) fn double_last(&mut self) -> [i16; N] {
        let next = (self.at + 1) % FRAMES;
        self.lines[next] = self.lines[self.at];
        self.levels[next] = self.levels[self.at];
        std::array::from_fn(|at| {
            let sum: i32 = self.lines.iter().map(|lines| i32::from(lines[at])).sum();
            (sum >> 3) as i16
        })
    }
}
