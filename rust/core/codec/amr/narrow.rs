//! AMR-NB: 3GPP TS 26.090 to 26.093, with the whole numbers of TS 26.073.
//!
//! Every sample is the reference decoder's. Speech has 13 bits.

mod bit_tables;
mod filter;
mod gain;
mod gain_tables;
mod lsf;
mod lsf_tables;
mod lsf_tables_122;
mod lsf_tables_last;
mod noise;
mod pitch;
mod post;
mod pulses;
mod silence;
mod speech;

use self::gain::Energies;
use self::lsf::{FIRST_PAIRS, Filter, Lines, Spectrum};
use self::post::{HighPass, PostFilter};
use self::silence::{Noise, Shared};
use self::speech::{Speech, Told};
use super::fixed::{add_product, product, round};
use super::frame::Kind;
use super::silence::State;

/// Coefficients of a filter.
const ORDER: usize = 10;
/// Samples of a frame, and of the quarters that it is decoded in.
pub(super) const FRAME: usize = 160;
const SUBFRAME: usize = 40;
const LONGEST_LAG: i32 = 143;
/// Samples of the excitation before a subframe.
const PAST: usize = 154;
/// Numbers that a frame tells at most.
const MOST_NUMBERS: usize = 57;
/// The most that pulses are sharpened by, Q14.
const SHARPEST: i16 = 13017;

type Subframe = [i16; SUBFRAME];

/// The rates, by their bits a second in hundreds.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Mode {
    M475,
    M515,
    M59,
    M67,
    M74,
    M795,
    M102,
    M122,
}

impl Mode {
    const ALL: [Self; 8] = [
        Self::M475,
        Self::M515,
        Self::M59,
        Self::M67,
        Self::M74,
        Self::M795,
        Self::M102,
        Self::M122,
    ];

    /// The three lowest rates.
    fn is_low(self) -> bool {
        self <= Self::M59
    }
}

/// What is left of the frames before.
#[derive(Default)]
pub(super) struct Decoder {
    mode: Option<Mode>,
    speech: Speech,
    noise: Noise,
    /// What lasts through silence.
    lasting: Lasting,
    post_filter: PostFilter,
    high_pass: HighPass,
}

struct Lasting {
    memory: Lines,
    pairs: Lines,
    spectrum: Spectrum,
    energies: Energies,
    mean_lines: Lines,
    /// How loud the excitation of the last subframes was.
    levels: [i16; 9],
}

impl Default for Lasting {
    fn default() -> Self {
        Self {
            memory: [0; ORDER],
            pairs: FIRST_PAIRS,
            spectrum: Spectrum::default(),
            energies: Energies::default(),
            mean_lines: Spectrum::default().lines,
            levels: [0; 9],
        }
    }
}

impl Decoder {
    /// Decodes the bits of a frame of type `index`, whose quality is as its header says.
    pub(super) fn decode(&mut self, index: u8, is_good: bool, bits: &[u8]) -> [i16; FRAME] {
        let (kind, mode, numbers) = self.read(index, is_good, bits);
        self.mode = Some(mode);
        let mut speech = [0; FRAME];
        let filters = match self.noise.reception.receive(kind) {
            State::Speech => self.decode_speech(kind, mode, numbers, &mut speech),
            state => self.decode_silence(state, mode, &numbers, &mut speech),
        };
        self.post_filter.apply(mode, &filters, &mut speech);
        self.high_pass.apply(&mut speech);
        speech.map(|sample| sample & !7)
    }

    fn read(&self, index: u8, is_good: bool, bits: &[u8]) -> (Kind, Mode, [i16; MOST_NUMBERS]) {
        let last = self.mode.unwrap_or(Mode::M475);
        if let Some(mode) = Mode::ALL.get(usize::from(index)).copied() {
            let kind = if is_good {
                Kind::Speech
            } else {
                Kind::BadSpeech
            };
            return (kind, mode, numbers(index, bits));
        }
        if index != 8 {
            return (Kind::Nothing, last, [0; MOST_NUMBERS]);
        }
        let last_bits = bits.get(4).copied().unwrap_or(0);
        let mode = (last_bits >> 3 & 1) | (last_bits >> 2 & 1) << 1 | (last_bits >> 1 & 1) << 2;
        let mode = Mode::ALL.get(usize::from(mode)).copied().unwrap_or(last);
        let kind = match (is_good, last_bits >> 4 & 1) {
            (false, _) => Kind::BadSilence,
            (true, 0) => Kind::SilenceFirst,
            (true, _) => Kind::SilenceUpdate,
        };
        (kind, mode, numbers(index, bits))
    }

    fn decode_silence(
        &mut self,
        state: State,
        mode: Mode,
        numbers: &[i16],
        speech: &mut [i16; FRAME],
    ) -> [Filter; 4] {
        self.speech = Speech::default();
        let lasting = &mut self.lasting;
        // Told anew: only what is told of silence counts after it.
        lasting.spectrum = Spectrum::default();
        let shared = Shared {
            spectrum: &mut lasting.spectrum,
            energies: &mut lasting.energies,
            memory: &mut lasting.memory,
        };
        let filter = self.noise.decode(state, mode, numbers, shared, speech);
        self.speech.smoothing.unlike = 20;
        lasting.pairs = lsf::pairs(&lasting.spectrum.lines);
        lasting.update_mean();
        self.noise.reception.state = state;
        [filter; 4]
    }

    fn decode_speech(
        &mut self,
        kind: Kind,
        mode: Mode,
        mut numbers: [i16; MOST_NUMBERS],
        speech: &mut [i16; FRAME],
    ) -> [Filter; 4] {
        if kind == Kind::Nothing {
            numbers = self.speech.made_up_numbers(mode);
        }
        self.count_losses(kind != Kind::Speech);
        let before = self.lasting.spectrum.lines;
        let (filters, used) = self.filters(mode, &numbers);
        let mut reader = numbers.get(used..).unwrap_or_default().iter().copied();
        let mut pair_gain = 0;
        for (at, part) in speech.as_chunks_mut::<SUBFRAME>().0.iter_mut().enumerate() {
            let told = Told::read(mode, at, &mut reader, &mut pair_gain);
            let lines = between(&before, &self.lasting.spectrum.lines, at);
            self.speech
                .decode(&mut self.lasting, &told, &lines, &filters[at], part);
        }
        self.speech.background.update(speech);
        self.noise.push_speech(&self.lasting.spectrum.lines, speech);
        self.speech.concealment.was_bad = self.speech.concealment.is_bad;
        self.lasting.update_mean();
        self.noise.reception.state = State::Speech;
        filters
    }

    fn count_losses(&mut self, is_bad: bool) {
        let concealment = &mut self.speech.concealment;
        concealment.is_bad = is_bad;
        concealment.losses = match (is_bad, concealment.losses) {
            (true, losses) => (losses + 1).min(6),
            (false, 6) => 5,
            (false, _) => 0,
        };
        if self.noise.reception.state != State::Speech {
            concealment.losses = 5;
            concealment.was_bad = self.noise.reception.state == State::Mute;
        }
    }

    /// The filters of the subframes, and how many numbers told them.
    fn filters(&mut self, mode: Mode, numbers: &[i16]) -> ([Filter; 4], usize) {
        let lasting = &mut self.lasting;
        let is_bad = self.speech.concealment.is_bad;
        if mode != Mode::M122 {
            let new = match is_bad {
                true => lasting.spectrum.conceal_3(),
                false => lasting.spectrum.decode_3(mode, numbers),
            };
            let old = std::mem::replace(&mut lasting.pairs, new);
            return (lsf::filters_3(&old, &new), 3);
        }
        let (middle, new) = if is_bad {
            let new = lasting.spectrum.conceal_5();
            (new, new)
        } else {
            lasting.spectrum.decode_5(numbers)
        };
        let old = std::mem::replace(&mut lasting.pairs, new);
        (lsf::filters_5(&old, &middle, &new), 5)
    }
}

/// The numbers that the bits of a frame tell.
fn numbers(index: u8, bits: &[u8]) -> [i16; MOST_NUMBERS] {
    let mut serial = [0u8; 244];
    let bit = |at: usize| bits.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    match bit_tables::ORDER.get(usize::from(index)) {
        Some(order) => {
            for (at, place) in order.iter().enumerate() {
                serial[usize::from(*place)] = bit(at);
            }
        }
        None => {
            for (at, value) in serial.iter_mut().take(35).enumerate() {
                *value = bit(at);
            }
        }
    }
    let mut rest = serial.iter();
    let mut numbers = [0; MOST_NUMBERS];
    let widths = bit_tables::WIDTHS
        .get(usize::from(index))
        .copied()
        .unwrap_or_default();
    for (number, width) in numbers.iter_mut().zip(widths) {
        let bits = rest.by_ref().take(usize::from(*width));
        *number = bits.fold(0, |value, bit| value << 1 | i16::from(*bit));
    }
    numbers
}

/// The frequencies of subframe `at`, between those of two frames.
fn between(old: &Lines, new: &Lines, at: usize) -> Lines {
    let mut lines = *new;
    for (line, old) in lines.iter_mut().zip(old) {
        *line = match at {
            0 => (old - (old >> 2)).saturating_add(*line >> 2),
            1 => (old >> 1) + (*line >> 1),
            2 => (old >> 2).saturating_add(*line - (*line >> 2)),
            _ => *line,
        };
    }
    lines
}

impl Lasting {
    fn update_mean(&mut self) {
        for (mean, line) in self.mean_lines.iter_mut().zip(&self.spectrum.lines) {
            let sum = (i32::from(*mean) << 16).saturating_sub(product(5243, *mean));
            *mean = round(add_product(sum, 5243, *line));
        }
    }
}
