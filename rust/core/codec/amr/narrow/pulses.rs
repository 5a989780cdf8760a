//! The pulses of the fixed codebook: 3GPP TS 26.090, section 5.7.

use super::{Mode, SUBFRAME, Subframe};

/// Gray code, backwards.
const UNGRAY: [i16; 8] = [0, 1, 3, 2, 5, 6, 4, 7];
/// A pulse, Q13.
const PLUS: i16 = 8191;
const MINUS: i16 = -8192;
/// The tracks of two pulses in each subframe, for both halves of the codebook.
const TRACKS: [i16; 16] = [0, 2, 0, 3, 0, 2, 0, 3, 1, 3, 2, 4, 1, 4, 1, 4];

/// How many numbers tell the pulses of a subframe.
pub(super) fn count(mode: Mode) -> usize {
    match mode {
        Mode::M122 => 10,
        Mode::M102 => 7,
        _ => 2,
    }
}

/// The pulses of subframe `index` of a frame.
pub(super) fn decode(mode: Mode, index: usize, numbers: &[i16]) -> Subframe {
    let mut code = [0; SUBFRAME];
    let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
    let (places, signs) = (number(0), number(1));
    match mode {
        Mode::M475 | Mode::M515 => put(&mut code, &places_of_9_bits(index, places), signs),
        Mode::M59 => put(&mut code, &places_of_11_bits(places), signs),
        Mode::M67 => put(&mut code, &places_of_14_bits(places), signs),
        Mode::M74 | Mode::M795 => put(&mut code, &places_of_17_bits(places), signs),
        Mode::M102 => put_8(&mut code, numbers),
        Mode::M122 => put_10(&mut code, numbers),
    }
    code
}

/// Puts a pulse at each place; a set bit of `signs`, the lowest first, is a positive one.
fn put(code: &mut Subframe, places: &[i16], signs: i16) {
    for (at, place) in places.iter().enumerate() {
        if let Some(to) = code.get_mut(*place as usize) {
            *to = if signs >> at & 1 == 1 { PLUS } else { MINUS };
        }
    }
}

fn places_of_9_bits(index: usize, places: i16) -> [i16; 2] {
    let half = if places & 64 == 0 { 0 } else { 8 };
    let track = |at: usize| TRACKS.get(2 * index + half + at).copied().unwrap_or(0);
    [
        (places & 7) * 5 + track(0),
        (places >> 3 & 7) * 5 + track(1),
    ]
}

fn places_of_11_bits(places: i16) -> [i16; 2] {
    let track = match places >> 4 & 3 {
        3 => 4,
        track => track,
    };
    let first = (places >> 1 & 7) * 5 + (places & 1) * 2 + 1;
    [first, (places >> 6 & 7) * 5 + track]
}

fn places_of_14_bits(places: i16) -> [i16; 3] {
    [
        (places & 7) * 5,
        (places >> 4 & 7) * 5 + (places >> 3 & 1) * 2 + 1,
        (places >> 8 & 7) * 5 + (places >> 7 & 1) * 2 + 2,
    ]
}

fn places_of_17_bits(places: i16) -> [i16; 4] {
    let place = |shift: i16| 5 * ungray(places >> shift);
    [
        place(0),
        place(3) + 1,
        place(6) + 2,
        place(10) + 3 + (places >> 9 & 1),
    ]
}

fn ungray(code: i16) -> i16 {
    UNGRAY.get(code as usize & 7).copied().unwrap_or(0)
}

/// Two pulses on each of five tracks, 12.2 kbit/s. Of two on one track the sign is told of the first; the other has
/// the same unless it is in front of it.
fn put_10(code: &mut Subframe, numbers: &[i16]) {
    let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
    for track in 0..5 {
        let (first, second) = (number(track), number(track + 5));
        let place = |code: i16| 5 * ungray(code) as usize + track;
        let sign = if first >> 3 & 1 == 0 { 4096 } else { -4096 };
        put_pair(code, (place(first), place(second)), sign);
    }
}

/// Two pulses on each of four tracks, 10.2 kbit/s.
fn put_8(code: &mut Subframe, numbers: &[i16]) {
    let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
    let [a, e, b] = unpack_10(number(4));
    let [c, g, f] = unpack_10(number(5));
    let [d, h] = unpack_7(number(6));
    let pairs = [(a, e), (b, f), (c, g), (d, h)];
    for (track, (first, second)) in pairs.iter().enumerate() {
        let place = |at: i16| 4 * at as usize + track;
        let sign = if number(track) == 0 { PLUS } else { -PLUS };
        put_pair(code, (place(*first), place(*second)), sign);
    }
}

fn put_pair(code: &mut Subframe, (first, second): (usize, usize), sign: i16) {
    if let Some(to) = code.get_mut(first) {
        *to = sign;
    }
    if let Some(to) = code.get_mut(second) {
        *to += if second < first { -sign } else { sign };
    }
}

/// Three places of 10 each in ten bits: their halves together, and their lowest bits.
fn unpack_10(code: i16) -> [i16; 3] {
    let (halves, low) = ((code >> 3).min(124), code & 7);
    let (upper, rest) = (halves / 25, halves % 25);
    [
        2 * (rest % 5) + (low & 1),
        2 * (rest / 5) + (low >> 1 & 1),
        2 * upper + (low >> 2),
    ]
}

/// Two places of 10 each in seven bits: their halves together along a line that turns at each end, and their lowest
/// bits.
fn unpack_7(code: i16) -> [i16; 2] {
    let (halves, low) = (((code >> 2) * 25 + 12) >> 5, code & 3);
    let (row, column) = (halves / 5, halves % 5);
    let column = if row & 1 == 1 { 4 - column } else { column };
    [2 * column + (low & 1), 2 * row + (low >> 1)]
}
