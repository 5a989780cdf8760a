//! The pulses of a frame and the excitation they make: RFC 6716, section 4.2.7.8.

use super::fixed::random;
use super::indices::{Indices, Layout, Signal};
use super::tables as t;
use crate::codec::opus::range::RangeDecoder;

/// Samples of a block of pulses.
const BLOCK: usize = 16;
/// The most samples of a frame, 20 ms at 16 kHz.
pub(super) const MAX_FRAME: usize = 320;
const MAX_BLOCKS: usize = MAX_FRAME / BLOCK;
/// The symbol that says: one low bit more.
const MORE_BITS: usize = 17;
/// After so many low bits that symbol is not coded any more.
const MAX_LOW_BITS: u32 = 10;
/// The rate level from the second count on.
const LAST_LEVEL: usize = 9;
/// Pulses are that much smaller than their number, in Q14.
const LEVEL_ADJUST_Q14: i32 = 80 << 4;

pub(super) type Pulses = [i16; MAX_FRAME];

/// Reads the pulses of a frame.
pub(super) fn read_pulses(
    range: &mut RangeDecoder<'_>,
    layout: Layout,
    signal: Signal,
    offset: usize,
) -> Pulses {
    let level = range.symbol(&t::RATE_LEVEL[usize::from(signal == Signal::Voiced)], 8);
    let mut counts = [(0, 0); MAX_BLOCKS];
    let counts = &mut counts[..layout.frame().div_ceil(BLOCK)];
    for count in counts.iter_mut() {
        *count = read_count(range, level);
    }
    let mut pulses = [0; MAX_FRAME];
    let (blocks, _) = pulses.as_chunks_mut::<BLOCK>();
    for (block, (count, _)) in blocks.iter_mut().zip(&*counts) {
        split(range, block, *count);
    }
    for (block, (_, low_bits)) in blocks.iter_mut().zip(&*counts) {
        if *low_bits > 0 {
            block
                .iter_mut()
                .for_each(|pulse| read_low_bits(range, pulse, *low_bits));
        }
    }
    let signs = &t::SIGN[signal as usize][offset];
    for (block, (count, low_bits)) in blocks.iter_mut().zip(&*counts) {
        if *count > 0 || *low_bits > 0 {
            read_signs(range, block, signs[(*count).min(6)]);
        }
    }
    pulses
}

/// The pulses of a block, and the low bits that each has: section 4.2.7.8.2.
fn read_count(range: &mut RangeDecoder<'_>, level: usize) -> (usize, u32) {
    let mut low_bits = 0;
    let mut count = range.symbol(&t::PULSE_COUNT[level], 8);
    while count == MORE_BITS {
        low_bits += 1;
        let first = usize::from(low_bits == MAX_LOW_BITS);
        count = range.symbol(&t::PULSE_COUNT[LAST_LEVEL][first..], 8);
    }
    (count, low_bits)
}

/// Where `count` pulses lie, by halving: section 4.2.7.8.3.
fn split(range: &mut RangeDecoder<'_>, block: &mut [i16], count: usize) {
    if count == 0 {
        return;
    }
    let table = match block.len() {
        1 => {
            block[0] = count as i16;
            return;
        }
        2 => &t::SPLIT_2,
        4 => &t::SPLIT_4,
        8 => &t::SPLIT_8,
        _ => &t::SPLIT_16,
    };
    let first = range.symbol(&table[(count - 1) * (count + 2) / 2..], 8);
    let (left, right) = block.split_at_mut(block.len() / 2);
    split(range, left, first);
    split(range, right, count.saturating_sub(first));
}

/// Section 4.2.7.8.4.
fn read_low_bits(range: &mut RangeDecoder<'_>, pulse: &mut i16, low_bits: u32) {
    for _ in 0..low_bits {
        *pulse = *pulse << 1 | range.symbol(&t::LSB, 8) as i16;
    }
}

/// Section 4.2.7.8.5.
fn read_signs(range: &mut RangeDecoder<'_>, block: &mut [i16; BLOCK], negative: u8) {
    for pulse in block.iter_mut().filter(|pulse| **pulse > 0) {
        if range.symbol(&[negative, 0], 8) == 0 {
            *pulse = -*pulse;
        }
    }
}

/// The excitation (Q14): section 4.2.7.8.6.
pub(super) fn excite(indices: &Indices, pulses: &Pulses, excitation: &mut [i32]) {
    let is_voiced = usize::from(indices.signal == Signal::Voiced);
    let offset = t::QUANTIZATION_OFFSETS_Q10[is_voiced][indices.offset] << 4;
    let mut seed = indices.seed;
    for (excitation, pulse) in excitation.iter_mut().zip(pulses) {
        seed = random(seed);
        let pulse = i32::from(*pulse);
        let value = (pulse << 14) - pulse.signum() * LEVEL_ADJUST_Q14 + offset;
        *excitation = if seed < 0 { -value } else { value };
        seed = seed.wrapping_add(pulse);
    }
}
