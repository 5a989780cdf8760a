//! AMR-WB: 3GPP TS 26.190 to 26.193 (ITU-T G.722.2), with the whole numbers of TS 26.173.
//!
//! Every sample is the reference decoder's. Speech has 14 bits. Up to 6.4 kHz it is coded; above that noise is shaped.

mod bit_tables;
mod bits;
mod dispersion;
mod energy;
mod excitation;
mod gain;
mod gain_tables;
mod high_band;
mod isf;
mod isf_tables;
mod isf_tables_fine;
mod noise_tables;
mod pitch;
mod pulses;
mod silence;
mod synthesis;

use self::bits::{Bits, Ordered};
use self::dispersion::Dispersion;
use self::energy::voicing;
use self::excitation::{emphasised, next_gain, quarter, rescale, soften, stability, sum, times};
use self::gain::{Gains, History};
use self::isf::{FIRST_PAIRS, Filter, Lines, Spectrum};
use self::pitch::{Lag, Lags};
use self::silence::Noise;
use self::synthesis::{Excitation, HIGH_SUBFRAME, Synthesis, Upper};
use super::fixed::{add_product, high, mult, next_seed, norm, round, shift_long, sub_product};
use super::frame::Kind;
use super::silence::State;

/// Coefficients of a filter.
const ORDER: usize = 16;
/// Samples of a frame at 16 kHz.
pub(super) const SPEECH: usize = 320;
/// Samples of a frame at 12.8 kHz, and of the quarters that it is decoded in.
const FRAME: usize = 256;
const SUBFRAME: usize = 64;
/// Samples of the excitation before a frame.
const PAST: usize = 248;
/// Where the frequencies of each quarter are between those of two frames, Q15.
const QUARTERS: [i16; 4] = [14746, 26214, 31457, 32767];
/// How far the excitation is scaled up at most, in bits.
const MOST_UP: i32 = 8;

type Subframe = [i16; SUBFRAME];

/// The rates, by their bits a second in tens.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Mode {
    M660,
    M885,
    M1265,
    M1425,
    M1585,
    M1825,
    M1985,
    M2305,
    M2385,
}

impl Mode {
    const ALL: [Self; 9] = [
        Self::M660,
        Self::M885,
        Self::M1265,
        Self::M1425,
        Self::M1585,
        Self::M1825,
        Self::M1985,
        Self::M2305,
        Self::M2385,
    ];

    /// The two lowest rates.
    fn is_low(self) -> bool {
        self <= Self::M885
    }
}

/// What has become of a frame of speech.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    None,
    /// Its bits have errors.
    Bad,
    Lost,
}

/// What is left of the frames before.
#[derive(Default)]
pub(super) struct Decoder {
    mode: Option<Mode>,
    speech: Speech,
    lasting: Lasting,
    noise: Noise,
    synthesis: Synthesis,
}

/// What begins anew after silence.
struct Speech {
    past: [i16; PAST],
    /// The pairs at the end of the last frame; `None` before the first.
    has_pairs: bool,
    smooth_gain: i32,
    tilt: i16,
    dispersion: Dispersion,
    /// How far the excitation is scaled up, and how far those of the last quarters could be.
    up: i32,
    ups: [i32; 4],
}

impl Default for Speech {
    fn default() -> Self {
        Self {
            past: [0; PAST],
            has_pairs: false,
            smooth_gain: 0,
            tilt: 0,
            dispersion: Dispersion::default(),
            up: MOST_UP,
            ups: [MOST_UP; 4],
        }
    }
}

/// What lasts through silence.
struct Lasting {
    pairs: Lines,
    spectrum: Spectrum,
    gains: History,
    lags: Lags,
    seed: i16,
    /// Of late: 0 to 6.
    losses: usize,
    was_bad: bool,
    /// Frames of noise in a row.
    noises: i16,
}

impl Default for Lasting {
    fn default() -> Self {
        Self {
            pairs: FIRST_PAIRS,
            spectrum: Spectrum::default(),
            gains: History::default(),
            lags: Lags::default(),
            seed: 21845,
            losses: 0,
            was_bad: false,
            noises: 0,
        }
    }
}

/// What the quarters of a frame have in common.
struct Frame {
    mode: Mode,
    loss: Loss,
    old: Lines,
    new: Lines,
    filters: [Filter; 4],
    /// How alike the frequencies are to those before, Q15.
    stability: i16,
}

impl Decoder {
    /// Decodes the bits of a frame of type `index`, whose quality is as its header says.
    pub(super) fn decode(&mut self, index: u8, is_good: bool, stored: &[u8]) -> [i16; SPEECH] {
        let last = self.mode.unwrap_or(Mode::M660);
        let mode = Mode::ALL.get(usize::from(index)).copied().unwrap_or(last);
        self.mode = Some(mode);
        let ordered = Ordered::new(index, stored);
        let mut bits = ordered.bits();
        let kind = kind(index, is_good, stored);
        let loss = match kind {
            Kind::BadSpeech => Loss::Bad,
            Kind::Nothing | Kind::LostSpeech => Loss::Lost,
            _ => Loss::None,
        };
        let mut speech = [0; SPEECH];
        let state = self.noise.reception.receive(kind);
        self.count_losses(loss != Loss::None);
        match state {
            State::Speech => self.decode_speech(mode, loss, &mut bits, &mut speech),
            state => self.decode_silence(state, mode, loss, &mut bits, &mut speech),
        }
        self.noise.reception.state = state;
        self.lasting.was_bad = loss != Loss::None;
        speech.map(|sample| sample & !3)
    }

    fn count_losses(&mut self, is_bad: bool) {
        let lasting = &mut self.lasting;
        lasting.losses = match is_bad {
            true => (lasting.losses + 1).min(6),
            false => lasting.losses / 2,
        };
        if self.noise.reception.state != State::Speech {
            lasting.losses = 5;
            lasting.was_bad = self.noise.reception.state == State::Mute;
        }
    }

    fn decode_silence(
        &mut self,
        state: State,
        mode: Mode,
        loss: Loss,
        bits: &mut Bits<'_>,
        speech: &mut [i16; SPEECH],
    ) {
        let mut excitation = [0; FRAME];
        let lines = self.noise.decode(state, bits, &mut excitation);
        let filter = isf::filter_that_fits(&isf::pairs(&lines));
        let upper = match loss {
            Loss::None if mode == Mode::M2385 => Upper::Told(1),
            _ => Upper::Plain,
        };
        let is_noise = (self.lasting.noises > 0, mode == Mode::M2385);
        let parts = speech.as_chunks_mut::<HIGH_SUBFRAME>().0.iter_mut();
        for (samples, part) in excitation.as_chunks::<SUBFRAME>().0.iter().zip(parts) {
            let excitation = Excitation {
                samples,
                exponent: 0,
            };
            self.synthesis
                .run(&filter, &excitation, upper, is_noise, part);
        }
        self.speech = Speech::default();
        self.lasting.lags.old = 64;
        self.lasting.spectrum.residual = [0; ORDER];
        self.lasting.spectrum.lines = lines;
    }

    fn decode_speech(
        &mut self,
        mode: Mode,
        loss: Loss,
        bits: &mut Bits<'_>,
        speech: &mut [i16; SPEECH],
    ) {
        let has_voice = bits.take(1) != 0;
        if loss == Loss::None {
            let noises = self.lasting.noises.saturating_add(1);
            self.lasting.noises = if has_voice { 0 } else { noises };
        }
        let frame = self.read_frame(mode, loss, bits);
        let mut excitation = [0; PAST + FRAME + 1];
        excitation[..PAST].copy_from_slice(&self.speech.past);
        let mut least = 0;
        for (at, part) in speech
            .as_chunks_mut::<HIGH_SUBFRAME>()
            .0
            .iter_mut()
            .enumerate()
        {
            let lag = self.lag(&frame, at, &mut least, bits);
            self.decode_quarter(&frame, at, lag, bits, &mut excitation, part);
        }
        self.speech
            .past
            .copy_from_slice(&excitation[FRAME..PAST + FRAME]);
        let heard = &mut excitation[PAST..PAST + FRAME];
        rescale(heard, -self.speech.up);
        self.noise.push_speech(&frame.new, heard);
    }

    fn read_frame(&mut self, mode: Mode, loss: Loss, bits: &mut Bits<'_>) -> Frame {
        let lasting = &mut self.lasting;
        let old = lasting.spectrum.lines;
        let new = lasting
            .spectrum
            .decode(mode == Mode::M660, loss != Loss::None, bits);
        let pairs = isf::pairs(&new);
        if !self.speech.has_pairs {
            (self.speech.has_pairs, lasting.pairs) = (true, pairs);
        }
        let filters = isf::filters(&lasting.pairs, &pairs);
        lasting.pairs = pairs;
        lasting.spectrum.lines = new;
        Frame {
            mode,
            loss,
            old,
            new,
            filters,
            stability: stability(&old, &new),
        }
    }

    /// The lag of quarter `at`, told by itself or from `least` on.
    fn lag(&mut self, frame: &Frame, at: usize, least: &mut i32, bits: &mut Bits<'_>) -> Lag {
        let is_whole = at == 0 || at == 2 && frame.mode != Mode::M660;
        let lag = match is_whole {
            true => Lag::whole(frame.mode, bits),
            false => Lag::near(frame.mode, *least, bits),
        };
        if is_whole {
            *least = lag.least();
        }
        if frame.loss == Loss::None {
            return lag;
        }
        let lasting = &mut self.lasting;
        let gains = &lasting.gains.good_pitch;
        Lag {
            whole: lasting.lags.conceal(frame.loss, lag.whole, gains),
            fraction: 0,
        }
    }

    fn decode_quarter(
        &mut self,
        frame: &Frame,
        at: usize,
        lag: Lag,
        bits: &mut Bits<'_>,
        excitation: &mut [i16; PAST + FRAME + 1],
        part: &mut [i16; HIGH_SUBFRAME],
    ) {
        let here = PAST + SUBFRAME * at;
        pitch::predict(excitation, here, lag);
        if frame.loss != Loss::Lost && (frame.mode.is_low() || bits.take(1) == 0) {
            soften(excitation, here);
        }
        let code = self.pulses(frame, lag, bits);
        let gains = self.gains(frame, &code, bits);
        let gain = self.scale(gains.code, &mut excitation[here - PAST..here + SUBFRAME]);
        if frame.loss == Loss::None {
            self.lasting.lags.push(lag.whole);
        }
        let adaptive = quarter(excitation, here);
        let total = self.total(&adaptive, &code, gains.pitch, gain);
        excitation[here..here + SUBFRAME].copy_from_slice(&total);
        let eighth =
            adaptive.map(|value| value.saturating_add(if value == i16::MAX { 0 } else { 4 }) >> 3);
        let voicing = voicing(&eighth, gains.pitch, &code, gain);
        self.speech.tilt = (voicing >> 2) + 8192;
        let heard = self.enhanced(frame, &adaptive, code, gains, voicing);
        let heard = emphasised(frame.mode, &eighth, gains.pitch, heard);
        self.synthesise(frame, at, &heard, bits, part);
    }

    /// The pulses of a quarter, or noise where nothing is known of them.
    fn pulses(&mut self, frame: &Frame, lag: Lag, bits: &mut Bits<'_>) -> Subframe {
        let mut code = [0; SUBFRAME];
        if frame.loss == Loss::Lost {
            for value in &mut code {
                self.lasting.seed = next_seed(self.lasting.seed);
                *value = self.lasting.seed >> 3;
            }
        } else {
            code = pulses::decode(frame.mode, bits);
        }
        for at in (1..SUBFRAME).rev() {
            let value = i32::from(code[at]) << 16;
            code[at] = round(sub_product(value, code[at - 1], self.speech.tilt));
        }
        let lag = (lag.whole + i32::from(lag.fraction > 2)).max(1) as usize;
        for at in lag..SUBFRAME {
            let value = i32::from(code[at]) << 16;
            code[at] = round(add_product(value, code[at - lag], 27853));
        }
        code
    }

    fn gains(&mut self, frame: &Frame, code: &Subframe, bits: &mut Bits<'_>) -> Gains {
        let index = bits.take(if frame.mode.is_low() { 6 } else { 7 });
        let lasting = &mut self.lasting;
        match frame.loss {
            Loss::None => lasting
                .gains
                .decode(frame.mode, index, code, lasting.was_bad),
            loss => lasting
                .gains
                .conceal(loss, lasting.losses, lasting.noises > 2, code),
        }
    }

    /// Scales the excitation up as far as it goes; gives the gain of the pulses so scaled.
    fn scale(&mut self, gain: i32, excitation: &mut [i16]) -> i16 {
        let speech = &mut self.speech;
        let most = speech.ups.iter().copied().min().unwrap_or(0).min(MOST_UP);
        let (mut up, mut gain) = (0, gain);
        while gain < 0x0800_0000 && up < most {
            gain <<= 1;
            up += 1;
        }
        rescale(excitation, up - speech.up);
        speech.up = up;
        round(gain)
    }

    /// The sum of both parts of the excitation.
    fn total(
        &mut self,
        adaptive: &Subframe,
        code: &Subframe,
        pitch_gain: i16,
        gain: i16,
    ) -> Subframe {
        let total = sum(adaptive, code, pitch_gain, gain);
        let most = total
            .iter()
            .fold(1, |most, value| most | value.saturating_abs());
        let speech = &mut self.speech;
        speech.ups.rotate_right(1);
        speech.ups[0] = norm(most) + speech.up - 1;
        total
    }

    /// The excitation that speech is made from: smooth gains where the spectrum is, and pulses that are spread and
    /// sharper where there is a voice.
    fn enhanced(
        &mut self,
        frame: &Frame,
        adaptive: &Subframe,
        mut code: Subframe,
        gains: Gains,
        voicing: i16,
    ) -> Subframe {
        let speech = &mut self.speech;
        let mut spread = std::mem::take(&mut speech.dispersion);
        spread.spread(frame.mode, high(gains.code), gains.pitch, &mut code);
        speech.dispersion = spread;
        let part = mult(frame.stability, 16384 - (voicing >> 1));
        speech.smooth_gain = next_gain(gains.code, speech.smooth_gain);
        let gain =
            times(gains.code, i16::MAX - part).saturating_add(times(speech.smooth_gain, part));
        let gain = round(shift_long(gain, speech.up));
        let factor = (voicing >> 3) + 4096;
        let mut sharp = code;
        for (at, value) in sharp.iter_mut().enumerate() {
            let beside = |at: Option<usize>| at.and_then(|at| code.get(at)).copied().unwrap_or(0);
            let sides = beside(Some(at + 1)).wrapping_add(beside(at.checked_sub(1)));
            *value = round(sub_product(i32::from(*value) << 16, sides, factor));
        }
        sum(adaptive, &sharp, gains.pitch, gain)
    }

    fn synthesise(
        &mut self,
        frame: &Frame,
        at: usize,
        heard: &Subframe,
        bits: &mut Bits<'_>,
        part: &mut [i16; HIGH_SUBFRAME],
    ) {
        let lines = isf::between(&frame.old, &frame.new, at);
        let is_highest = frame.mode == Mode::M2385;
        let told = if is_highest { bits.take(4) } else { 0 };
        let upper = match frame.mode {
            Mode::M660 => Upper::Extended(&lines),
            Mode::M2385 if frame.loss == Loss::None => Upper::Told(told),
            _ => Upper::Plain,
        };
        if frame.mode != Mode::M660 {
            self.synthesis.high_memory[..isf::HIGH_ORDER - ORDER].fill(0);
        }
        let excitation = Excitation {
            samples: heard,
            exponent: self.speech.up,
        };
        let flags = (self.lasting.noises > 0, is_highest);
        self.synthesis
            .run(&frame.filters[at], &excitation, upper, flags, part);
    }
}

fn kind(index: u8, is_good: bool, stored: &[u8]) -> Kind {
    let is_update = stored.get(4).is_some_and(|byte| byte >> 4 & 1 == 1);
    match (index, is_good, is_update) {
        (0..9, true, _) => Kind::Speech,
        (0..9, false, _) => Kind::BadSpeech,
        (9, true, true) => Kind::SilenceUpdate,
        (9, true, false) => Kind::SilenceFirst,
        (9, false, _) => Kind::BadSilence,
        (14, ..) => Kind::LostSpeech,
        _ => Kind::Nothing,
    }
}
