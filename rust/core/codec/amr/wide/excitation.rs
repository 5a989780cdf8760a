//! What the quarters of a frame are put together by: 3GPP TS 26.190, section 6.

use super::super::fixed::{add_product, high, mult, product, round, shift, shift_long};
use super::energy::level;
use super::isf::Lines;
use super::{FRAME, Mode, ORDER, PAST, SUBFRAME, Subframe};

pub(super) fn stability(old: &Lines, new: &Lines) -> i16 {
    let apart = old[..ORDER - 1]
        .iter()
        .zip(new)
        .map(|(old, new)| new.saturating_sub(*old));
    let sum = apart.fold(0, |sum, apart| add_product(sum, apart, apart));
    let apart = mult(high(shift_long(sum, 8)), 26214);
    shift(20480i16.saturating_sub(apart), 1).max(0)
}

pub(super) fn quarter(excitation: &[i16; PAST + FRAME + 1], at: usize) -> Subframe {
    let mut quarter = [0; SUBFRAME];
    quarter.copy_from_slice(&excitation[at..at + SUBFRAME]);
    quarter
}

/// Takes some of the high frequencies off a quarter.
pub(super) fn soften(excitation: &mut [i16; PAST + FRAME + 1], at: usize) {
    let mut soft = [0; SUBFRAME];
    for (to, window) in soft.iter_mut().zip(excitation[at - 1..].windows(3)) {
        let sides = (i32::from(window[0]) + i32::from(window[2])) * 5898;
        *to = round((sides + i32::from(window[1]) * 20972).saturating_mul(2));
    }
    excitation[at..at + SUBFRAME].copy_from_slice(&soft);
}

/// Scales by a power of 2, rounding down ones.
pub(super) fn rescale(samples: &mut [i16], up: i32) {
    match up {
        0 => {}
        1.. => samples
            .iter_mut()
            .for_each(|sample| *sample = round(shift_long(i32::from(*sample) << 16, up))),
        _ => {
            let down = up.unsigned_abs().min(15);
            let half = 1 << (down - 1);
            samples
                .iter_mut()
                .for_each(|sample| *sample = sample.saturating_add(half) >> down);
        }
    }
}

/// The sum of both parts of the excitation.
pub(super) fn sum(adaptive: &Subframe, code: &Subframe, pitch_gain: i16, gain: i16) -> Subframe {
    let mut sum = *adaptive;
    for (value, pulse) in sum.iter_mut().zip(code) {
        let total = add_product(shift_long(product(*pulse, gain), 5), *value, pitch_gain);
        *value = round(shift_long(total, 1));
    }
    sum
}

/// A number times one in Q15.
pub(super) fn times(value: i32, by: i16) -> i32 {
    (((i64::from(value) * i64::from(by)) >> 16) << 1) as i32
}

/// A gain that follows `gain` by 1.5 dB.
pub(super) fn next_gain(gain: i32, last: i32) -> i32 {
    match gain < last {
        true => gain.saturating_add(times(gain, 6226)).min(last),
        false => times(gain, 27536).max(last),
    }
}

/// The pitch again, where it is strong, at the two lowest rates.
pub(super) fn emphasised(mode: Mode, eighth: &Subframe, gain: i16, heard: Subframe) -> Subframe {
    let sharp = shift(gain, 1);
    if !mode.is_low() || sharp <= 16384 {
        return heard;
    }
    let mut excitation = heard;
    for (value, pitch) in excitation.iter_mut().zip(eighth) {
        let more = round(product(mult(*pitch, sharp), gain) >> 1);
        *value = value.saturating_add(more);
    }
    level(&heard, &mut excitation);
    excitation
}
