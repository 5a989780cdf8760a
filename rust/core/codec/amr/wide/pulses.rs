//! The pulses of the fixed codebook: 3GPP TS 26.190, section 5.8.

use super::bits::Bits;
use super::{Mode, SUBFRAME, Subframe};

/// The height of a pulse.
const HEIGHT: i16 = 512;
/// Marks a negative pulse among the places of a track.
const MINUS: i32 = 16;

/// The pulses of a subframe.
pub(super) fn decode(mode: Mode, bits: &mut Bits<'_>) -> Subframe {
    let mut code = [0; SUBFRAME];
    if mode == Mode::M660 {
        put_2(&mut code, i32::from(bits.take(12)));
        return code;
    }
    let counts = counts(mode);
    let widths = counts.map(width);
    let mut indices = [0i32; 4];
    // Of long numbers the upper parts come first, those of all tracks.
    for (index, width) in indices.iter_mut().zip(widths) {
        *index = i32::from(bits.take(width.0));
    }
    for (index, width) in indices.iter_mut().zip(widths) {
        *index = *index << width.1 | i32::from(bits.take(width.1));
    }
    for (track, (index, count)) in indices.into_iter().zip(counts).enumerate() {
        for place in places(count, index).into_iter().take(count) {
            let to = &mut code[((place & 15) * 4) as usize + track];
            *to += if place & MINUS == 0 { HEIGHT } else { -HEIGHT };
        }
    }
    code
}

/// Pulses on each track.
fn counts(mode: Mode) -> [usize; 4] {
    match mode {
        Mode::M660 | Mode::M885 => [1; 4],
        Mode::M1265 => [2; 4],
        Mode::M1425 => [3, 3, 2, 2],
        Mode::M1585 => [3; 4],
        Mode::M1825 => [4; 4],
        Mode::M1985 => [5, 5, 4, 4],
        Mode::M2305 | Mode::M2385 => [6; 4],
    }
}

/// Bits of the upper and the lower part of a track's number.
fn width(count: usize) -> (usize, usize) {
    match count {
        1 => (5, 0),
        2 => (9, 0),
        3 => (13, 0),
        4 => (2, 14),
        5 => (10, 10),
        _ => (11, 11),
    }
}

/// One pulse on each of two tracks, of 32 places.
fn put_2(code: &mut Subframe, index: i32) {
    let sign = |bit: i32| {
        if index >> bit & 1 == 0 {
            HEIGHT
        } else {
            -HEIGHT
        }
    };
    code[((index >> 6 & 31) * 2) as usize] = sign(11);
    code[((index & 31) * 2 + 1) as usize] = sign(5);
}

type Places = [i32; 6];

/// The places of `count` pulses on a track of 16.
fn places(count: usize, index: i32) -> Places {
    let mut places = [0; 6];
    match count {
        1 => one(index, 4, 0, &mut places),
        2 => two(index, 4, 0, &mut places),
        3 => three(index, 4, 0, &mut places),
        4 => four(index, 4, 0, &mut places),
        5 => five(index, 4, 0, &mut places),
        _ => six(index, 4, 0, &mut places),
    }
    places
}

/// One among `2^bits` places from `from` on.
fn one(index: i32, bits: i32, from: i32, places: &mut [i32]) {
    let place = (index & ((1 << bits) - 1)) + from;
    let sign = if index >> bits & 1 == 1 { MINUS } else { 0 };
    put(places, &[place + sign]);
}

/// Two: the sign is told of the first; the other has the same if it is not in front of it.
fn two(index: i32, bits: i32, from: i32, places: &mut [i32]) {
    let mask = (1 << bits) - 1;
    let first = (index >> bits & mask) + from;
    let second = (index & mask) + from;
    let sign = if index >> (2 * bits) & 1 == 1 {
        MINUS
    } else {
        0
    };
    let other = if second < first { MINUS - sign } else { sign };
    put(places, &[first + sign, second + other]);
}

/// Two in one half, and one anywhere.
fn three(index: i32, bits: i32, from: i32, places: &mut [i32]) {
    let half = half(index >> (2 * bits - 1), bits, from);
    two(index & ((1 << (2 * bits - 1)) - 1), bits - 1, half, places);
    let rest = index >> (2 * bits) & ((1 << (bits + 1)) - 1);
    one(rest, bits, from, places.get_mut(2..).unwrap_or_default());
}

/// Two in one half, and two anywhere.
fn four_anywhere(index: i32, bits: i32, from: i32, places: &mut [i32]) {
    let half = half(index >> (2 * bits - 1), bits, from);
    two(index & ((1 << (2 * bits - 1)) - 1), bits - 1, half, places);
    let rest = index >> (2 * bits) & ((1 << (2 * bits + 1)) - 1);
    two(rest, bits, from, places.get_mut(2..).unwrap_or_default());
}

/// Where the half begins that the lowest bit of `which` says.
fn half(which: i32, bits: i32, from: i32) -> i32 {
    from + if which & 1 == 1 { 1 << (bits - 1) } else { 0 }
}

/// Four: how many are in which half comes first.
fn four(index: i32, bits: i32, from: i32, places: &mut [i32]) {
    let low = bits - 1;
    let upper = half(1, bits, from);
    match index >> (4 * bits - 2) & 3 {
        0 => {
            let half = half(index >> (4 * low + 1), bits, from);
            four_anywhere(index, low, half, places);
        }
        1 => {
            one(index >> (3 * low + 1), low, from, places);
            three(index, low, upper, places.get_mut(1..).unwrap_or_default());
        }
        2 => {
            two(index >> (2 * low + 1), low, from, places);
            two(index, low, upper, places.get_mut(2..).unwrap_or_default());
        }
        _ => {
            three(index >> (low + 1), low, from, places);
            one(index, low, upper, places.get_mut(3..).unwrap_or_default());
        }
    }
}

/// Three in one half, and two anywhere.
fn five(index: i32, bits: i32, from: i32, places: &mut [i32]) {
    let half = half(index >> (5 * bits - 1), bits, from);
    three(index >> (2 * bits + 1), bits - 1, half, places);
    two(index, bits, from, places.get_mut(3..).unwrap_or_default());
}

/// Six: how many are in the half with more of them comes first.
fn six(index: i32, bits: i32, from: i32, places: &mut [i32]) {
    let low = bits - 1;
    let which = index >> (6 * bits - 5);
    let (more, less) = (half(which, bits, from), half(which + 1, bits, from));
    match index >> (6 * bits - 4) & 3 {
        0 => {
            five(index >> bits, low, more, places);
            one(index, low, more, places.get_mut(5..).unwrap_or_default());
        }
        1 => {
            five(index >> bits, low, more, places);
            one(index, low, less, places.get_mut(5..).unwrap_or_default());
        }
        2 => {
            four(index >> (2 * low + 1), low, more, places);
            two(index, low, less, places.get_mut(4..).unwrap_or_default());
        }
        _ => {
            three(index >> (3 * low + 1), low, from, places);
            three(
                index,
                low,
                half(1, bits, from),
                places.get_mut(3..).unwrap_or_default(),
            );
        }
    }
}

fn put(places: &mut [i32], found: &[i32]) {
    for (to, from) in places.iter_mut().zip(found) {
        *to = *from;
    }
}
