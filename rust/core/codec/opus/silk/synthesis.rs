//! From the excitation to the signal: RFC 6716, section 4.2.7.9.

use super::channel::{Channel, PITCH_TAPS, Parameters, pitch_filter};
use super::excitation::MAX_FRAME;
use super::fixed::{divide, inverse, mul_q16};
use super::indices::{Indices, MAX_SUBFRAMES, NO_INTERPOLATION, Signal};
use super::lpc;

/// 1 in Q16.
const ONE_Q16: i32 = 1 << 16;
/// The middle tap after a lost voiced frame, a quarter in Q14.
const AFTER_LOSS_Q14: i16 = 1 << 12;

/// What the pitch filter made, in Q15 and units of the gain, after 20 ms that it looks back on.
struct PitchMemory {
    signal: [i32; 2 * MAX_FRAME],
    end: usize,
}

impl Channel {
    /// Filters the excitation to `out`; after a loss, voice goes on in the first half of the frame.
    pub(super) fn synthesize(
        &mut self,
        indices: &Indices,
        parameters: &mut Parameters,
        out: &mut [i16],
    ) {
        let layout = self.layout;
        let subframe = layout.subframe();
        let fades =
            self.losses > 0 && self.signal == Signal::Voiced && indices.signal != Signal::Voiced;
        let mut pitch = PitchMemory {
            signal: [0; 2 * MAX_FRAME],
            end: layout.memory(),
        };
        let mut residual = self.excitation;
        for at in 0..layout.subframes {
            let gain = parameters.gains_q16[at];
            let change = self.change_gain(gain);
            let fades = fades && at < MAX_SUBFRAMES / 2;
            if fades {
                let middle = &mut parameters.filters_q14[at];
                *middle = [0; PITCH_TAPS];
                middle[PITCH_TAPS / 2] = AFTER_LOSS_Q14;
                parameters.lags[at] = self.lag;
            }
            let (done, rest) = out.split_at_mut(at * subframe);
            let residual = &mut residual[at * subframe..][..subframe];
            if fades || indices.signal == Signal::Voiced {
                let restarts = at == 0 || at == 2 && indices.interpolation < NO_INTERPOLATION;
                if restarts {
                    self.look_back(at, parameters, done, &mut pitch);
                } else if change != ONE_Q16 {
                    pitch.rescale(parameters.lags[at], change);
                }
                pitch.filter(residual, parameters.lags[at], &parameters.filters_q14[at]);
            }
            let predictor = &parameters.predictors[at >> 1][..layout.order()];
            let rest = &mut rest[..subframe];
            lpc::synthesize(predictor, gain >> 6, residual, &mut self.memory, rest);
        }
    }

    /// Brings what the filter remembers to a new gain; by how much it changed (Q16).
    fn change_gain(&mut self, gain_q16: i32) -> i32 {
        if gain_q16 == self.gain_q16 {
            return ONE_Q16;
        }
        let change = divide(self.gain_q16, gain_q16, 16);
        for value in &mut self.memory {
            *value = mul_q16(*value, change);
        }
        self.gain_q16 = gain_q16;
        change
    }

    /// What the pitch filter would have made of the output before, by this subframe's predictor.
    fn look_back(
        &mut self,
        at: usize,
        parameters: &Parameters,
        done: &[i16],
        pitch: &mut PitchMemory,
    ) {
        let memory = self.layout.memory();
        self.history[memory..memory + done.len()].copy_from_slice(done);
        let order = self.layout.order();
        let length = parameters.lags[at] + PITCH_TAPS / 2;
        let end = memory + done.len();
        let past = &self.history[end - length - order..end];
        let mut scale_q31 = inverse(parameters.gains_q16[at], 47);
        if at == 0 {
            scale_q31 = mul_q16(scale_q31, parameters.scale_q14) << 2;
        }
        let predictor = &parameters.predictors[at >> 1][..order];
        let recent = pitch.recent(length).iter_mut();
        for (to, from) in recent.zip(lpc::whiten(past, predictor)) {
            *to = mul_q16(scale_q31, i32::from(from));
        }
    }
}

impl PitchMemory {
    fn recent(&mut self, length: usize) -> &mut [i32] {
        &mut self.signal[self.end - length..self.end]
    }

    fn rescale(&mut self, lag: usize, change: i32) {
        for value in self.recent(lag + PITCH_TAPS / 2) {
            *value = mul_q16(change, *value);
        }
    }

    /// Adds the pitch to an excitation: section 4.2.7.9.1.
    fn filter(&mut self, excitation: &mut [i32], lag: usize, taps: &[i16; PITCH_TAPS]) {
        for value in excitation {
            let predicted = pitch_filter(&self.signal[..self.end], lag, taps);
            *value = value.wrapping_add(predicted << 1);
            self.signal[self.end] = *value << 1;
            self.end += 1;
        }
    }
}
