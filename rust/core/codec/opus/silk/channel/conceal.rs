//! Frames that are lost go on as the last ones did, and fade: libopus's method, since RFC 6716,
//! section 4.4 leaves it open.

use super::super::excitation::MAX_FRAME;
use super::super::fixed::{energy, inverse, mul_q16, random, round_shift, saturate, sqrt};
use super::super::indices::{Layout, Signal};
use super::super::lpc::{self, MAX_ORDER};
use super::{Channel, PITCH_TAPS, Parameters};

/// Bounds of the pitch's gain when a loss begins: 0.7 and 0.95 in Q14.
const LEAST_TAP_Q14: i32 = 11_469;
const MOST_TAP_Q14: i32 = 15_565;
/// What pitch and noise keep of their gain with each subframe (Q15), in the first lost frame and
/// after it.
const PITCH_KEEPS_Q15: [i32; 2] = [32_440, 31_130];
const VOICED_NOISE_KEEPS_Q15: [i32; 2] = [31_130, 26_214];
const NOISE_KEEPS_Q15: [i32; 2] = [32_440, 29_491];
/// The least noise under a voice: 0.2 in Q14.
const LEAST_NOISE_Q14: i16 = 3_277;
/// By how much the predictor is widened with each frame, 0.99 in Q16.
const WIDEN_Q16: i32 = 64_881;
/// How fast the pitch falls with each subframe, 0.01 in Q16.
const PITCH_DRIFT_Q16: i32 = 655;
/// Samples that the noise is drawn from.
const NOISE_SAMPLES: usize = 128;

/// What a lost frame goes on from.
#[derive(Clone, Debug, Default)]
pub(super) struct Concealment {
    layout: Layout,
    /// Samples of a subframe of the last good frame, and how many it had.
    subframe: usize,
    subframes: usize,
    lag_q8: i32,
    /// The one tap of the pitch filter.
    tap_q14: i16,
    scale_q14: i32,
    predictor: [i16; MAX_ORDER],
    /// Of the last two subframes.
    gains_q16: [i32; 2],
    noise_q14: i16,
    seed: i32,
    was_lost: bool,
    energy: i32,
    energy_shift: u32,
}

impl Concealment {
    fn set_layout(&mut self, layout: Layout) {
        if self.layout.khz != layout.khz {
            self.lag_q8 = (layout.frame() as i32) << 7;
            self.gains_q16 = [1 << 16; 2];
            self.subframe = 20;
            self.subframes = 2;
        }
        self.layout = layout;
    }

    /// Keeps what a good frame was made with.
    pub(super) fn update(&mut self, layout: Layout, signal: Signal, parameters: &Parameters) {
        self.set_layout(layout);
        if signal == Signal::Voiced {
            self.update_pitch(layout, parameters);
        } else {
            self.lag_q8 = (18 * layout.khz as i32) << 8;
            self.tap_q14 = 0;
        }
        self.predictor = parameters.predictors[1];
        self.scale_q14 = parameters.scale_q14;
        let last = layout.subframes - 1;
        self.gains_q16 = [parameters.gains_q16[last - 1], parameters.gains_q16[last]];
        (self.subframe, self.subframes) = (layout.subframe(), layout.subframes);
    }

    /// The strongest pitch of the last period.
    fn update_pitch(&mut self, layout: Layout, parameters: &Parameters) {
        let period = parameters.lags[layout.subframes - 1];
        let last = period.div_ceil(layout.subframe()).min(layout.subframes);
        let mut strongest = 0;
        for at in (layout.subframes - last..layout.subframes).rev() {
            let taps = parameters.filters_q14[at].iter();
            let gain = taps.map(|tap| i32::from(*tap)).sum::<i32>();
            if gain > strongest {
                strongest = gain;
                self.lag_q8 = (parameters.lags[at] as i32) << 8;
            }
        }
        let bound = |bound: i32, bits: u32| {
            let scale = ((bound << bits) / strongest.max(1)) as i16;
            ((i32::from(strongest as i16) * i32::from(scale)) >> bits) as i16
        };
        self.tap_q14 = match strongest {
            ..LEAST_TAP_Q14 => bound(LEAST_TAP_Q14, 10),
            LEAST_TAP_Q14..=MOST_TAP_Q14 => strongest as i16,
            _ => bound(MOST_TAP_Q14, 14),
        };
    }

    /// The gain of the noise in a lost frame.
    pub(super) fn noise_gain_q16(&self) -> i32 {
        mul_q16(i32::from(self.noise_q14), self.gains_q16[1])
    }

    /// Remembers the end of a lost frame.
    pub(super) fn part(&mut self, frame: &[i16]) {
        (self.energy, self.energy_shift) = energy(frame);
        self.was_lost = true;
    }

    /// Fades a good frame in after a lost one that was weaker.
    pub(super) fn join(&mut self, frame: &mut [i16]) {
        if !std::mem::take(&mut self.was_lost) {
            return;
        }
        let (energy, shift) = energy(frame);
        let before = self.energy >> shift.saturating_sub(self.energy_shift);
        let here = energy >> self.energy_shift.saturating_sub(shift);
        self.energy = before;
        if here <= before {
            return;
        }
        let room = before.leading_zeros() as i32 - 1;
        let here = here >> (24 - room).max(0);
        let ratio_q24 = (before << room) / here.max(1);
        let mut gain_q16 = sqrt(ratio_q24) << 4;
        let step = (((1 << 16) - gain_q16) / frame.len() as i32) << 2;
        for sample in frame {
            *sample = mul_q16(gain_q16, i32::from(*sample)) as i16;
            gain_q16 += step;
            if gain_q16 > 1 << 16 {
                break;
            }
        }
    }

    /// Where in the last excitation the noise is drawn from: the weaker of its last subframes.
    fn noise_start(&self, channel: &Channel) -> usize {
        let layout = channel.layout;
        let [first, second] = [0, 1].map(|at| {
            let start = (layout.subframes - 2 + at) * layout.subframe();
            let mut samples = [0; MAX_FRAME / 2];
            let samples = &mut samples[..layout.subframe()];
            for (to, from) in samples.iter_mut().zip(&channel.excitation[start..]) {
                *to = saturate(mul_q16(*from, self.gains_q16[at] >> 6) >> 8);
            }
            energy(samples)
        });
        let is_first_weaker = first.0 >> second.1 < second.0 >> first.1;
        let subframes = self.subframes - usize::from(is_first_weaker);
        (subframes * self.subframe).saturating_sub(NOISE_SAMPLES)
    }

    /// How much of the noise is kept with each subframe; begins a loss.
    fn begin(&mut self, signal: Signal, losses: usize, order: usize) -> i32 {
        let is_voiced = signal == Signal::Voiced;
        let keeps = if is_voiced {
            VOICED_NOISE_KEEPS_Q15
        } else {
            NOISE_KEEPS_Q15
        }[losses.min(1)];
        if losses > 0 {
            return keeps;
        }
        self.noise_q14 = 1 << 14;
        if is_voiced {
            let noise = self
                .noise_q14
                .wrapping_sub(self.tap_q14)
                .max(LEAST_NOISE_Q14);
            self.noise_q14 = ((i32::from(noise) * self.scale_q14) >> 14) as i16;
            return keeps;
        }
        let room = lpc::inverse_gain(&self.predictor[..order]).clamp(1 << 22, 1 << 27) << 3;
        mul_q16(room, keeps) >> 14
    }
}

impl Channel {
    /// Makes up a frame; returns the lag it ends with.
    pub(super) fn extrapolate(&mut self, out: &mut [i16]) -> usize {
        let (layout, order) = (self.layout, self.layout.order());
        self.concealment.set_layout(layout);
        if self.is_fresh {
            self.concealment.predictor = [0; MAX_ORDER];
        }
        let start = self.concealment.noise_start(self);
        lpc::widen(&mut self.concealment.predictor[..order], WIDEN_Q16);
        let noise_keeps = self.concealment.begin(self.signal, self.losses, order);
        let predictor = self.concealment.predictor;
        let gain = self.concealment.gains_q16[1];

        let memory = layout.memory();
        let mut signal = [0; 2 * MAX_FRAME];
        let lag = self.concealment.lag();
        let length = lag + PITCH_TAPS / 2;
        let past = &self.history[memory - length - order..memory];
        let scale_q30 = inverse(gain, 46).min(i32::MAX >> 1);
        let recent = signal[memory - length..memory].iter_mut();
        for (to, from) in recent.zip(lpc::whiten(past, &predictor[..order])) {
            *to = mul_q16(scale_q30, i32::from(from));
        }
        let noise = &self.excitation[start..start + NOISE_SAMPLES];
        self.concealment
            .excite(&mut signal, noise, self.signal, self.losses, noise_keeps);
        let excitation = &signal[memory..memory + layout.frame()];
        let predictor = &predictor[..order];
        lpc::synthesize(predictor, gain >> 6, excitation, &mut self.memory, out);
        self.concealment.lag()
    }
}

impl Concealment {
    fn lag(&self) -> usize {
        round_shift(self.lag_q8, 8) as usize
    }

    /// Puts pitch and noise (Q14) after what the pitch filter looks back on.
    fn excite(
        &mut self,
        signal: &mut [i32; 2 * MAX_FRAME],
        noise: &[i32],
        kind: Signal,
        losses: usize,
        noise_keeps: i32,
    ) {
        let layout = self.layout;
        let pitch_keeps = PITCH_KEEPS_Q15[losses.min(1)];
        let start = layout.memory();
        for at in 0..layout.subframes {
            let start = start + at * layout.subframe();
            let lag = self.lag();
            for at in start..start + layout.subframe() {
                self.seed = random(self.seed);
                let drawn = noise[(self.seed >> 25) as usize & (NOISE_SAMPLES - 1)];
                let pitch = 2 + mul_q16(signal[at - lag], i32::from(self.tap_q14));
                let sum = pitch.wrapping_add(mul_q16(drawn, i32::from(self.noise_q14)));
                signal[at] = sum << 2;
            }
            self.tap_q14 = ((pitch_keeps * i32::from(self.tap_q14)) >> 15) as i16;
            if kind != Signal::Inactive {
                self.noise_q14 = ((i32::from(self.noise_q14) * noise_keeps) >> 15) as i16;
            }
            let drifted = self.lag_q8 + mul_q16(self.lag_q8, PITCH_DRIFT_Q16);
            self.lag_q8 = drifted.min((18 * layout.khz as i32) << 8);
        }
    }
}
