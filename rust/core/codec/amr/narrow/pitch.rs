//! The pitch: its lag, and what was a lag ago: 3GPP TS 26.090, sections 5.6 and 6.1.

use super::super::fixed::{dot_at, saturate};
use super::{LONGEST_LAG, Mode, PAST, SUBFRAME, Subframe};

/// A lag in samples, and its fraction in sixths.
#[derive(Clone, Copy)]
pub(super) struct Lag {
    pub(super) whole: i32,
    pub(super) fraction: i32,
}

impl Lag {
    pub(super) fn whole(whole: i32) -> Self {
        Self { whole, fraction: 0 }
    }

    fn thirds(whole: i32, thirds: i32) -> Self {
        Self {
            whole,
            fraction: 2 * thirds,
        }
    }
}

/// A lag that is told by itself, or by how it differs from the subframe before, in all modes but 12.2 kbit/s.
pub(super) fn lag_in_thirds(mode: Mode, index: i32, is_first: bool, last: i32) -> Lag {
    if is_first {
        let whole = (index + 2) / 3 + 19;
        return match index {
            ..197 => Lag::thirds(whole, index - 3 * whole + 58),
            _ => Lag::whole(index - 112),
        };
    }
    let (below, span) = if mode == Mode::M795 { (10, 19) } else { (5, 9) };
    let least = (last - below).clamp(20, LONGEST_LAG - span);
    match mode {
        Mode::M475 | Mode::M515 | Mode::M59 | Mode::M67 => lag_of_4_bits(index, least),
        _ => {
            let whole = (index + 2) / 3 - 1;
            Lag::thirds(whole + least, index - 2 - 3 * whole)
        }
    }
}

/// Thirds in the middle of ten lags, whole samples around it.
fn lag_of_4_bits(index: i32, least: i32) -> Lag {
    match index {
        ..4 => Lag::whole(least + index),
        4..12 => {
            let whole = (index - 2) / 3;
            Lag::thirds(whole + least + 3, index - 3 - 3 * whole)
        }
        _ => Lag::whole(least + index - 6),
    }
}

/// The same at 12.2 kbit/s, in sixths.
pub(super) fn lag_in_sixths(index: i32, is_first: bool, last: i32) -> Lag {
    if is_first {
        let whole = (index + 5) / 6 + 17;
        return match index {
            ..463 => Lag {
                whole,
                fraction: index - 6 * whole + 105,
            },
            _ => Lag::whole(index - 368),
        };
    }
    let least = (last - 5).clamp(18, LONGEST_LAG - 9);
    let whole = (index + 5) / 6 - 1;
    Lag {
        whole: whole + least,
        fraction: index - 3 - 6 * whole,
    }
}

/// Taps of the interpolation.
const TAPS: usize = 20;

/// The excitation of a lag ago.
pub(super) fn predict(past: &[i16; PAST], lag: Lag) -> Subframe {
    let mut excitation = [0; PAST + SUBFRAME];
    excitation[..PAST].copy_from_slice(past);
    let (mut from, mut phase) = (PAST as i32 - lag.whole, -lag.fraction);
    if phase < 0 {
        phase += 6;
        from -= 1;
    }
    let taps = taps(phase.clamp(0, 5) as usize);
    let from = (from - 9).clamp(0, (PAST - TAPS) as i32) as usize;
    for at in 0..SUBFRAME {
        let sum = dot_at(&excitation, from + at, &taps);
        excitation[PAST + at] = saturate((sum + 0x4000) >> 15);
    }
    let mut predicted = [0; SUBFRAME];
    predicted.copy_from_slice(&excitation[PAST..]);
    predicted
}

/// The taps of a fraction in sixths, the oldest sample's first.
fn taps(phase: usize) -> [i16; TAPS] {
    let mut taps = [0; TAPS];
    for at in 0..10 {
        let of = |place: usize| INTERPOLATION.get(place).copied().unwrap_or(0);
        taps[9 - at] = of(phase + 6 * at);
        taps[10 + at] = of(6 - phase + 6 * at);
    }
    taps
}

/// Half of the interpolation filter, in sixths of a sample, Q15.
static INTERPOLATION: [i16; 61] = [
    29443, 28346, 25207, 20449, 14701, 8693, 3143, -1352, -4402, -5865, -5850, -4673, -2783, -672,
    1211, 2536, 3130, 2991, 2259, 1170, 0, -1001, -1652, -1868, -1666, -1147, -464, 218, 756, 1060,
    1099, 904, 550, 135, -245, -514, -634, -602, -451, -231, 0, 191, 308, 340, 296, 198, 78, -36,
    -120, -163, -165, -132, -79, -19, 34, 73, 91, 89, 70, 38, 0,
];
