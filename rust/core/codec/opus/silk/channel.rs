//! The decoder of one channel, at its internal rate.

mod conceal;

use self::conceal::Concealment;
use super::comfort::Comfort;
use super::excitation::{MAX_FRAME, excite, read_pulses};
use super::fixed::{fill_with_noise, mul_q16, random};
use super::gains;
use super::indices::{
    Coding, Indices, Layout, MAX_SUBFRAMES, NO_INTERPOLATION, PitchIndices, Previous, Signal,
};
use super::lpc::{self, MAX_ORDER, Memory};
use super::resampler::Resampler;
use super::tables::PITCH_SCALES_Q14;
use crate::codec::opus::range::RangeDecoder;

/// Frames of 20 ms in the longest packet.
pub(super) const MAX_FRAMES: usize = 3;
/// Taps of the pitch filter.
pub(super) const PITCH_TAPS: usize = 5;
/// Output that the pitch filter looks back on: 20 ms, and half a frame that is being decoded.
pub(super) const MAX_HISTORY: usize = MAX_FRAME + MAX_FRAME / 2;
/// Where gains and lags begin after a reset.
const FIRST_LEVEL: i32 = 10;
const FIRST_LAG: usize = 100;
/// The loudest.
const LAST_LEVEL: i32 = 63;
/// By how much a predictor is widened after a loss, 0.97 in Q16.
const AFTER_LOSS_Q16: i32 = 63_570;

/// What a frame is made with: the decoded indices.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    pub(super) gains_q16: [i32; MAX_SUBFRAMES],
    /// Predictors of both halves of the frame.
    pub(super) predictors: [[i16; MAX_ORDER]; 2],
    pub(super) lags: [usize; MAX_SUBFRAMES],
    pub(super) filters_q14: [[i16; PITCH_TAPS]; MAX_SUBFRAMES],
    pub(super) scale_q14: i32,
}

#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) layout: Layout,
    /// For each frame of the packet, whether it has voice activity, and a redundant copy.
    pub(super) active: [bool; MAX_FRAMES],
    pub(super) redundant: [bool; MAX_FRAMES],
    pub(super) resampler: Resampler,
    previous: Previous,
    gain_level: i32,
    lsf: [i16; MAX_ORDER],
    /// Nothing was decoded since the rate changed.
    pub(super) is_fresh: bool,
    pub(super) signal: Signal,
    /// Frames lost since the last good one.
    pub(super) losses: usize,
    pub(super) lag: usize,
    pub(super) gain_q16: i32,
    /// Of the last frame, in Q14.
    pub(super) excitation: [i32; MAX_FRAME],
    pub(super) memory: Memory,
    /// The last 20 ms of output, and room after.
    pub(super) history: [i16; MAX_HISTORY],
    concealment: Concealment,
    pub(super) comfort: Comfort,
}

impl Channel {
    pub(super) fn new() -> Self {
        Self {
            layout: Layout::default(),
            active: [false; MAX_FRAMES],
            redundant: [false; MAX_FRAMES],
            resampler: Resampler::default(),
            previous: Previous::default(),
            gain_level: 0,
            lsf: [0; MAX_ORDER],
            is_fresh: true,
            signal: Signal::Inactive,
            losses: 0,
            lag: 0,
            gain_q16: 1 << 16,
            excitation: [0; MAX_FRAME],
            memory: [0; MAX_ORDER],
            history: [0; MAX_HISTORY],
            concealment: Concealment::default(),
            comfort: Comfort::default(),
        }
    }

    /// Prepares for packets of a layout; another rate forgets what was before.
    pub(super) fn set_layout(&mut self, layout: Layout) {
        if self.layout.khz != layout.khz {
            self.resampler = Resampler::new(layout.khz);
            self.forget();
        }
        self.layout = layout;
    }

    /// Forgets what was decoded, as at another rate or where the channel was left out.
    pub(super) fn forget(&mut self) {
        self.is_fresh = true;
        self.forget_gain();
        self.lag = FIRST_LAG;
        self.signal = Signal::Inactive;
        self.history = [0; MAX_HISTORY];
        self.memory = [0; MAX_ORDER];
    }

    /// Remembers noise, and that it was as loud as can be.
    pub(super) fn disturb(&mut self, seed: &mut i32) {
        fill_with_noise(&mut self.history[..self.layout.memory()], seed);
        for state in &mut self.memory {
            *seed = random(*seed);
            *state = *seed >> 5;
        }
        self.resampler.disturb(seed);
        self.gain_level = LAST_LEVEL;
    }

    pub(super) fn forget_gain(&mut self) {
        self.gain_level = FIRST_LEVEL;
    }

    /// Reads over the redundant copy of a frame of an earlier packet.
    pub(super) fn skip(&mut self, range: &mut RangeDecoder<'_>, coding: Coding) {
        let indices = Indices::read(range, self.layout, true, coding, &mut self.previous);
        read_pulses(range, self.layout, indices.signal, indices.offset);
    }

    /// Decodes frame `at` of the packet to `out`.
    pub(super) fn decode(
        &mut self,
        range: &mut RangeDecoder<'_>,
        at: usize,
        coding: Coding,
        out: &mut [i16],
    ) {
        let (layout, active) = (self.layout, self.active[at]);
        let mut indices = Indices::read(range, layout, active, coding, &mut self.previous);
        let pulses = read_pulses(range, layout, indices.signal, indices.offset);
        let mut parameters = self.parameters(&mut indices);
        excite(&indices, &pulses, &mut self.excitation[..layout.frame()]);
        self.synthesize(&indices, &mut parameters, out);
        self.concealment.update(layout, indices.signal, &parameters);
        self.losses = 0;
        self.signal = indices.signal;
        self.is_fresh = false;
        self.remember(out);
        if self.signal == Signal::Inactive {
            let gains = &parameters.gains_q16[..layout.subframes];
            self.comfort
                .learn(layout, &self.lsf, gains, &self.excitation);
        } else {
            self.comfort.prepare(layout);
        }
        self.comfort.pause(layout);
        self.concealment.join(out);
        self.lag = parameters.lags[layout.subframes - 1];
    }

    /// Makes up a frame that is lost.
    pub(super) fn conceal(&mut self, out: &mut [i16]) {
        self.lag = self.extrapolate(out);
        self.losses += 1;
        self.remember(out);
        let noise_q16 = self.concealment.noise_gain_q16();
        self.comfort.add(self.layout, noise_q16, out);
        self.concealment.part(out);
    }

    /// Puts a frame at the end of the history.
    fn remember(&mut self, frame: &[i16]) {
        let memory = self.layout.memory();
        self.history.copy_within(frame.len()..memory, 0);
        self.history[memory - frame.len()..memory].copy_from_slice(frame);
    }

    fn parameters(&mut self, indices: &mut Indices) -> Parameters {
        let layout = self.layout;
        let coded_gains = &indices.gains[..layout.subframes];
        let gains_q16 =
            gains::dequantize(coded_gains, indices.is_conditional, &mut self.gain_level);
        let mut parameters = Parameters {
            gains_q16,
            predictors: self.predictors(indices),
            lags: [0; MAX_SUBFRAMES],
            filters_q14: [[0; PITCH_TAPS]; MAX_SUBFRAMES],
            scale_q14: 0,
        };
        if indices.signal == Signal::Voiced {
            parameters.set_pitch(&indices.pitch, layout);
        }
        parameters
    }

    /// The predictors of both halves: section 4.2.7.5.5.
    fn predictors(&mut self, indices: &mut Indices) -> [[i16; MAX_ORDER]; 2] {
        let codebook = self.layout.codebook();
        let lsf = codebook.dequantize(&indices.lsf);
        let mut predictors = [lpc::from_lsf(&lsf[..codebook.order]); 2];
        if self.is_fresh {
            indices.interpolation = NO_INTERPOLATION;
        }
        if indices.interpolation < NO_INTERPOLATION {
            let mut mixed = self.lsf;
            for (mixed, new) in mixed.iter_mut().zip(&lsf) {
                let change = i32::from(*new) - i32::from(*mixed);
                *mixed = (i32::from(*mixed) + ((indices.interpolation * change) >> 2)) as i16;
            }
            predictors[0] = lpc::from_lsf(&mixed[..codebook.order]);
        }
        self.lsf = lsf;
        if self.losses > 0 {
            for predictor in &mut predictors {
                lpc::widen(&mut predictor[..codebook.order], AFTER_LOSS_Q16);
            }
        }
        predictors
    }
}

impl Parameters {
    fn set_pitch(&mut self, pitch: &PitchIndices, layout: Layout) {
        for at in 0..layout.subframes {
            self.lags[at] = pitch.lag(layout, at);
            self.filters_q14[at] = pitch.filter(at).map(|tap| i16::from(tap) << 7);
        }
        self.scale_q14 = i32::from(PITCH_SCALES_Q14[pitch.scale]);
    }
}

/// The output of a pitch filter (Q14 taps) that reads `lag` samples before the end of `signal`.
#[inline(always)]
pub(super) fn pitch_filter(signal: &[i32], lag: usize, taps: &[i16; PITCH_TAPS]) -> i32 {
    let start = signal.len() - lag - PITCH_TAPS / 2;
    let window = signal[start..start + PITCH_TAPS].iter().rev();
    window.zip(taps).fold(2i32, |sum, (sample, tap)| {
        sum.wrapping_add(mul_q16(*sample, i32::from(*tap)))
    })
}
