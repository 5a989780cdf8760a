//! Comfort noise: under frames that are lost or left out lies noise like that of the last pauses.
//! libopus's method.

use super::excitation::MAX_FRAME;
use super::fixed::{mul_q16, random, sqrt};
use super::indices::Layout;
use super::lpc::{self, MAX_ORDER, Memory};

/// How fast spectrum and gain follow those of the pauses, about 0.25 and 0.07 in Q16; the first is
/// the reference's number.
const LSF_FOLLOWS_Q16: i32 = 16_348;
const GAIN_FOLLOWS_Q16: i32 = 4_634;
const FIRST_SEED: i32 = 3_176_576;

#[derive(Clone, Debug)]
pub(super) struct Comfort {
    khz: usize,
    /// Of the loudest subframes of the last pauses, in Q14.
    excitation: [i32; MAX_FRAME],
    lsf: [i16; MAX_ORDER],
    gain_q16: i32,
    memory: Memory,
    seed: i32,
}

impl Default for Comfort {
    fn default() -> Self {
        Self {
            khz: 0,
            excitation: [0; MAX_FRAME],
            lsf: [0; MAX_ORDER],
            gain_q16: 0,
            memory: [0; MAX_ORDER],
            seed: FIRST_SEED,
        }
    }
}

impl Comfort {
    /// Begins anew at another rate, with a flat spectrum.
    pub(super) fn prepare(&mut self, layout: Layout) {
        if self.khz == layout.khz {
            return;
        }
        self.khz = layout.khz;
        let order = layout.order();
        let step = i16::MAX / (order as i16 + 1);
        for (at, frequency) in (1..).zip(&mut self.lsf[..order]) {
            *frequency = at * step;
        }
        self.gain_q16 = 0;
        self.seed = FIRST_SEED;
    }

    /// Follows the noise of a pause.
    pub(super) fn learn(
        &mut self,
        layout: Layout,
        lsf: &[i16; MAX_ORDER],
        gains_q16: &[i32],
        excitation: &[i32; MAX_FRAME],
    ) {
        self.prepare(layout);
        for (to, from) in self.lsf[..layout.order()].iter_mut().zip(lsf) {
            let change = i32::from(*from) - i32::from(*to);
            *to = (i32::from(*to) + mul_q16(change, LSF_FOLLOWS_Q16)) as i16;
        }
        let mut loudest = 0;
        for (at, gain) in gains_q16.iter().enumerate() {
            if *gain > gains_q16[loudest] {
                loudest = at;
            }
            self.gain_q16 += mul_q16(gain - self.gain_q16, GAIN_FOLLOWS_Q16);
        }
        let subframe = layout.subframe();
        let kept = (layout.subframes - 1) * subframe;
        self.excitation.copy_within(..kept, subframe);
        self.excitation[..subframe].copy_from_slice(&excitation[loudest * subframe..][..subframe]);
    }

    /// Lets the filter come to rest while frames are good.
    pub(super) fn pause(&mut self, layout: Layout) {
        self.memory[..layout.order()].fill(0);
    }

    /// Adds noise to a lost frame that has noise of gain `other_q16` itself.
    pub(super) fn add(&mut self, layout: Layout, other_q16: i32, frame: &mut [i16]) {
        self.prepare(layout);
        let gain_q10 = self.missing_gain_q16(other_q16) >> 6;
        let mut mask = 255;
        while mask > frame.len() {
            mask >>= 1;
        }
        let mut excitation = [0; MAX_FRAME];
        let excitation = &mut excitation[..frame.len()];
        for value in excitation.iter_mut() {
            self.seed = random(self.seed);
            *value = self.excitation[(self.seed >> 24) as usize & mask];
        }
        let predictor = lpc::from_lsf(&self.lsf[..layout.order()]);
        let predictor = &predictor[..layout.order()];
        let mut noise = [0; MAX_FRAME];
        let noise = &mut noise[..frame.len()];
        lpc::synthesize(predictor, gain_q10, excitation, &mut self.memory, noise);
        for (sample, noise) in frame.iter_mut().zip(noise) {
            *sample = sample.saturating_add(*noise);
        }
    }

    /// The gain that brings the other noise's power to that of the pauses.
    fn missing_gain_q16(&self, other_q16: i32) -> i32 {
        let is_loud = other_q16 >= 1 << 21 || self.gain_q16 > 1 << 23;
        let (other, own) = if is_loud {
            ((other_q16 >> 16).pow(2), (self.gain_q16 >> 16).pow(2))
        } else {
            (
                mul_q16(other_q16, other_q16),
                mul_q16(self.gain_q16, self.gain_q16),
            )
        };
        let missing = own.wrapping_sub(other.wrapping_shl(5));
        sqrt(missing) << if is_loud { 16 } else { 8 }
    }
}
