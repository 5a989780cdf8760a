//! Gains of the subframes: RFC 6716, section 4.2.7.4.

use super::fixed::{exp2_q7, mul_q16};

const LEVELS: i32 = 64;
/// What is taken off a coded difference.
const DELTA_OFFSET: i32 = 4;
/// How far an independent gain may fall at most.
const MAX_FALL: i32 = 16;
/// The logarithm, in 1/128, of the lowest gain, and 2^16 times a level's.
const LOWEST_Q7: i32 = 2090;
const LEVEL_Q23: i32 = 0x1D_1C71;

/// Gains (Q16) of as many subframes as there are `indices`; `level` is the one before.
pub(super) fn dequantize(indices: &[u8], is_conditional: bool, level: &mut i32) -> [i32; 4] {
    let mut gains = [0; 4];
    for (at, (gain, index)) in gains.iter_mut().zip(indices).enumerate() {
        let index = i32::from(*index);
        *level = if at == 0 && !is_conditional {
            index.max(*level - MAX_FALL)
        } else {
            step(*level, index - DELTA_OFFSET)
        }
        .clamp(0, LEVELS - 1);
        *gain = exp2_q7(mul_q16(LEVEL_Q23, *level) + LOWEST_Q7);
    }
    gains
}

/// Large steps up count double.
fn step(level: i32, delta: i32) -> i32 {
    let threshold = 8 + level;
    if delta > threshold {
        level + 2 * delta - threshold
    } else {
        level + delta
    }
}
