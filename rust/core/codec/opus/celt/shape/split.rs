//! How the energy of a band is shared by its two halves, or by mid and side: RFC 6716,
//! section 4.3.4.4.

use super::super::tables::{EIGHTHS, LOG_WIDTHS};
use super::{Part, ShapeDecoder};

/// The angle that gives all to the second half.
pub(super) const HALF_TURN: i32 = 16384;
/// Bits of an angle, in eighths, of how many a bin gets: less for the two phases of two bins.
const ANGLE_OFFSET: i32 = 4;
const TWO_PHASE_OFFSET: i32 = 16;
/// One bit.
const BIT: i32 = 1 << EIGHTHS;

/// Two halves.
pub(super) struct Split {
    /// 0 gives all to the first half, [`HALF_TURN`] all to the second.
    pub(super) angle: i32,
    /// Amplitudes of the halves.
    pub(super) mid: f32,
    pub(super) side: f32,
    /// How many eighths more the second half needs.
    delta: i32,
    /// Whether the second channel is upside down.
    pub(super) is_inverted: bool,
}

impl Split {
    fn new(angle: i32, bins: usize, is_inverted: bool) -> Self {
        let (mid, side, delta) = match angle {
            0 => (32767, 0, -HALF_TURN),
            HALF_TURN => (0, 32767, HALF_TURN),
            _ => {
                let (mid, side) = (cosine(angle), cosine(HALF_TURN - angle));
                let freedom = (bins as i32 - 1) << 7;
                (mid, side, multiply(freedom, log_tangent(side, mid)))
            }
        };
        Self {
            angle,
            mid: mid as f32 / 32768.0,
            side: side as f32 / 32768.0,
            delta,
            is_inverted,
        }
    }

    /// Shifts bits to the half that masks the other in time.
    pub(super) fn tilt(&mut self, bins: usize, log_blocks: i32) {
        if self.angle % HALF_TURN == 0 {
            return;
        }
        if self.angle > HALF_TURN / 2 {
            self.delta -= self.delta >> (4 - log_blocks);
        } else {
            let shift = (bins as i32) << EIGHTHS >> (5 - log_blocks);
            self.delta = (self.delta + shift).min(0);
        }
    }

    /// Bits of both halves.
    pub(super) fn divide(&self, bits: i32) -> (i32, i32) {
        let first = bits.min((bits - self.delta) / 2).max(0);
        (first, bits - first)
    }
}

impl ShapeDecoder<'_, '_> {
    /// Decodes the angle between two halves of `bins` each, takes its bits from `part` and leaves of
    /// its mask what has energy. The whole has `blocks`.
    pub(super) fn split(
        &mut self,
        bins: usize,
        part: &mut Part<'_>,
        blocks: usize,
        is_stereo: bool,
    ) -> Split {
        let before = self.range.tell_eighths();
        let steps = self.steps(bins, part, is_stereo);
        let mut is_inverted = false;
        let mut angle = 0;
        if steps > 1 {
            let step = if is_stereo && bins > 2 {
                self.step_from_mid(steps)
            } else if blocks > 1 || is_stereo {
                self.range.uniform(steps as u32 + 1) as i32
            } else {
                self.triangular_step(steps)
            };
            angle = step * HALF_TURN / steps;
        } else if is_stereo && part.bits > 2 * BIT && self.remaining > 2 * BIT {
            is_inverted = self.range.bit(2) && self.may_invert;
        }
        let taken = self.range.tell_eighths() - before;
        part.bits -= taken;
        self.remaining -= taken;
        let all = (1 << part.blocks) - 1;
        match angle {
            0 => part.fill &= all,
            HALF_TURN => part.fill &= all << part.blocks,
            _ => (),
        }
        Split::new(angle, bins, is_inverted)
    }

    /// Steps of the angle from one half to the other: even, or 1.
    fn steps(&self, bins: usize, part: &Part<'_>, is_stereo: bool) -> i32 {
        /// Powers of 2 by eighths.
        const POWERS: [i32; 8] = [16384, 17866, 19483, 21247, 23170, 25267, 27554, 30048];
        if is_stereo && self.band >= self.intensity {
            return 1;
        }
        let is_two_phase = is_stereo && bins == 2;
        let width = LOG_WIDTHS[self.band] + (part.log_blocks << EIGHTHS);
        let offset = width / 2
            - if is_two_phase {
                TWO_PHASE_OFFSET
            } else {
                ANGLE_OFFSET
            };
        let freedom = 2 * bins as i32 - 1 - i32::from(is_two_phase);
        let bits = ((part.bits + freedom * offset) / freedom)
            .min(part.bits - width - 4 * BIT)
            .min(8 * BIT);
        if bits < BIT / 2 {
            return 1;
        }
        let steps = POWERS[(bits & 7) as usize] >> (14 - (bits >> EIGHTHS));
        (steps + 1) >> 1 << 1
    }

    /// A step that is thrice as likely on the side of the mid.
    fn step_from_mid(&mut self, steps: i32) -> i32 {
        const WEIGHT: u32 = 3;
        let half = steps as u32 / 2;
        let likely = WEIGHT * (half + 1);
        let total = likely + half;
        let at = self.range.decode(total);
        if at < likely {
            let step = at / WEIGHT;
            self.range.update(WEIGHT * step, WEIGHT * (step + 1), total);
            step as i32
        } else {
            self.range.update(at, at + 1, total);
            (at - likely + half + 1) as i32
        }
    }

    /// A step that is the more likely, the nearer it is to the middle.
    fn triangular_step(&mut self, steps: i32) -> i32 {
        let steps = steps as u32;
        let half = steps / 2;
        let total = (half + 1) * (half + 1);
        let at = self.range.decode(total);
        let (step, low, share) = if at < half * (half + 1) / 2 {
            let step = ((8 * at + 1).isqrt() - 1) / 2;
            (step, step * (step + 1) / 2, step + 1)
        } else {
            let step = (2 * (steps + 1) - (8 * (total - at - 1) + 1).isqrt()) / 2;
            let share = steps + 1 - step;
            (step, total - share * (share + 1) / 2, share)
        };
        self.range.update(low, low + share, total);
        step as i32
    }
}

/// A product of 15 fractional bits, rounded.
fn multiply(a: i32, b: i32) -> i32 {
    (16384 + a * b) >> 15
}

/// Cosine of a quarter turn times `angle / 16384`, of 15 fractional bits and the same everywhere.
fn cosine(angle: i32) -> i32 {
    let square = (4096 + angle * angle) >> 13;
    let series = multiply(square, 8277 + multiply(-626, square));
    1 + (32767 - square) + multiply(square, -7651 + series)
}

/// `log2` of the tangent, of 11 fractional bits and the same everywhere.
fn log_tangent(sine: i32, cosine: i32) -> i32 {
    let log = |value: i32| {
        let length = i32::BITS - value.leading_zeros();
        let mantissa = value << (15 - length);
        ((length as i32) << 11) + multiply(mantissa, 7932 + multiply(mantissa, -2597))
    };
    log(sine) - log(cosine)
}
