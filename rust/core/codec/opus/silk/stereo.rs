//! Mid and side to left and right: RFC 6716, sections 4.2.7.1 and 4.2.8.

use super::excitation::MAX_FRAME;
use super::fixed::{fill_with_noise, mul_q16, round_shift, saturate};
use super::tables as t;
use crate::codec::opus::range::RangeDecoder;

/// How long the weights move to those of the frame.
const INTERPOLATION_MS: usize = 8;
/// A tenth in Q16: half of a fifth of the way between two weights.
const TENTH_Q16: i32 = 6_554;

/// A frame, and in front of it the last two samples of the one before.
pub(super) type Framed = [i16; 2 + MAX_FRAME];

/// Weights (Q13) by which the mid channel predicts the side channel: filtered, and as it is.
pub(super) type Weights = [i32; 2];

/// Reads the weights: section 4.2.7.1.
pub(super) fn read_weights(range: &mut RangeDecoder<'_>) -> Weights {
    let joint = range.symbol(&t::STEREO_JOINT, 8);
    let weights = [joint / 5, joint % 5].map(|high| {
        let at = 3 * high + range.symbol(&t::UNIFORM_3, 8);
        let part = range.symbol(&t::UNIFORM_5, 8) as i32;
        let low = i32::from(t::STEREO_WEIGHTS_Q13[at]);
        let step = mul_q16(i32::from(t::STEREO_WEIGHTS_Q13[at + 1]) - low, TENTH_Q16);
        low + step * (2 * part + 1)
    });
    [weights[0] - weights[1], weights[1]]
}

/// Reads whether the side channel is left out: section 4.2.7.2.
pub(super) fn read_mid_only(range: &mut RangeDecoder<'_>) -> bool {
    range.symbol(&t::MID_ONLY, 8) == 1
}

/// What the next frame goes on from.
#[derive(Clone, Debug, Default)]
pub(super) struct Stereo {
    weights: [i16; 2],
    mid: [i16; 2],
    side: [i16; 2],
}

impl Stereo {
    /// The last frame's weights, for one that is lost.
    pub(super) fn weights(&self) -> Weights {
        self.weights.map(i32::from)
    }

    /// Remembers noise.
    pub(super) fn disturb(&mut self, seed: &mut i32) {
        fill_with_noise(&mut self.mid, seed);
        fill_with_noise(&mut self.side, seed);
    }

    /// As if no side channel had been before.
    pub(super) fn forget_side(&mut self) {
        self.weights = [0; 2];
        self.side = [0; 2];
    }

    /// Puts the mid channel's last samples before a frame of `length`.
    pub(super) fn join_mid(&mut self, mid: &mut Framed, length: usize) {
        join(&mut self.mid, mid, length);
    }

    /// Turns mid and side into left and right, from the second sample on: section 4.2.8.
    pub(super) fn separate(
        &mut self,
        mid: &mut Framed,
        side: &mut Framed,
        weights: Weights,
        khz: usize,
        length: usize,
    ) {
        join(&mut self.mid, mid, length);
        join(&mut self.side, side, length);
        let moving = INTERPOLATION_MS * khz;
        let mut current = self.weights();
        let steps = [0, 1].map(|at| {
            let change = i32::from((weights[at] - current[at]) as i16);
            round_shift(change * (65_536 / moving as i32), 16)
        });
        for at in 0..length {
            if at < moving {
                current = [current[0] + steps[0], current[1] + steps[1]];
            } else {
                current = weights;
            }
            side[at + 1] = predict(&mid[at..at + 3], side[at + 1], current);
        }
        self.weights = weights.map(|weight| weight as i16);
        for (mid, side) in mid.iter_mut().zip(side).skip(1).take(length) {
            let (left, right) = (mid.saturating_add(*side), mid.saturating_sub(*side));
            (*mid, *side) = (left, right);
        }
    }
}

fn join(last: &mut [i16; 2], frame: &mut Framed, length: usize) {
    frame[..2].copy_from_slice(last);
    last.copy_from_slice(&frame[length..length + 2]);
}

/// The side channel with what the mid channel says of it.
#[inline(always)]
fn predict(mid: &[i16], side: i16, weights: Weights) -> i16 {
    let [before, here, behind] = [0, 1, 2].map(|at| i32::from(mid[at]));
    let smooth = (before + behind + (here << 1)) << 9;
    let [first, second] = weights.map(|weight| i32::from(weight as i16));
    let sum = (i32::from(side) << 8) + mul_q16(smooth, first) + mul_q16(here << 11, second);
    saturate(round_shift(sum, 8))
}
