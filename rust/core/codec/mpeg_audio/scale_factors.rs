//! Scale factors of Layer III: ISO/IEC 11172-3, section 2.4.2.7, and 13818-3, section 2.4.3.2.
#![allow(
    clippy::needless_range_loop,
    reason = "loops over the same places of several rows"
)]

use super::side_info::{Granule, Window};
use crate::codec::bits::Bits;

/// One for each band, long ones first, and for each window of a short band. The last band has none.
pub(super) type ScaleFactors = [u8; 39];

/// Bits for a factor of the lower and the upper bands, by `scalefac_compress`.
const MPEG1_WIDTHS: [(usize, usize); 16] = [
    (0, 0),
    (0, 1),
    (0, 2),
    (0, 3),
    (3, 0),
    (1, 1),
    (1, 2),
    (1, 3),
    (2, 1),
    (2, 2),
    (2, 3),
    (3, 1),
    (3, 2),
    (3, 3),
    (4, 2),
    (4, 3),
];
/// Where the groups of long bands begin and end that a granule can take over from the one before it.
const GROUPS: [usize; 5] = [0, 6, 11, 16, 21];
/// Factors of each width, by range of `scalefac_compress` and by long, short and mixed blocks; the
/// last three are those of the right channel with intensity stereo.
const MPEG2_COUNTS: [[[usize; 4]; 3]; 6] = [
    [[6, 5, 5, 5], [9, 9, 9, 9], [6, 9, 9, 9]],
    [[6, 5, 7, 3], [9, 9, 12, 6], [6, 9, 12, 6]],
    [[11, 10, 0, 0], [18, 18, 0, 0], [15, 18, 0, 0]],
    [[7, 7, 7, 0], [12, 12, 12, 0], [6, 15, 12, 0]],
    [[6, 6, 6, 3], [12, 9, 9, 6], [6, 12, 9, 6]],
    [[8, 8, 5, 0], [15, 12, 9, 0], [6, 18, 9, 0]],
];

/// Those of MPEG 1. `before` has those of the granule before it and tells which groups stay.
pub(super) fn read_mpeg1(
    bits: &mut Bits<'_>,
    granule: &Granule,
    before: Option<(&ScaleFactors, [bool; 4])>,
) -> ScaleFactors {
    let mut factors = [0; 39];
    let (low, high) = MPEG1_WIDTHS[granule.scale_compress as usize % 16];
    if granule.window == Window::Short {
        let lower = if granule.is_mixed { 17 } else { 18 };
        fill(bits, &mut factors[..lower], low);
        fill(bits, &mut factors[lower..lower + 18], high);
        return factors;
    }
    for group in 0..4 {
        let bands = GROUPS[group]..GROUPS[group + 1];
        let width = if group < 2 { low } else { high };
        match before {
            Some((before, shared)) if shared[group] => {
                factors[bands.clone()].copy_from_slice(&before[bands]);
            }
            _ => fill(bits, &mut factors[bands], width),
        }
    }
    factors
}

/// Those of MPEG 2, and whether there is preemphasis.
pub(super) fn read_mpeg2(
    bits: &mut Bits<'_>,
    granule: &Granule,
    is_intensity: bool,
) -> (ScaleFactors, bool) {
    let (range, widths) = mpeg2_widths(granule.scale_compress as usize, is_intensity);
    let blocks = match (granule.window, granule.is_mixed) {
        (Window::Short, true) => 2,
        (Window::Short, false) => 1,
        _ => 0,
    };
    let (mut factors, mut begin) = ([0; 39], 0);
    for (count, width) in MPEG2_COUNTS[range][blocks].into_iter().zip(widths) {
        fill(bits, &mut factors[begin..begin + count], width);
        begin += count;
    }
    (factors, range == 2)
}

fn mpeg2_widths(compress: usize, is_intensity: bool) -> (usize, [usize; 4]) {
    if is_intensity {
        return match compress / 2 {
            of @ 0..180 => (3, [of / 36, of % 36 / 6, of % 6, 0]),
            of @ 180..244 => {
                let of = of - 180;
                (4, [of / 16, of % 16 / 4, of % 4, 0])
            }
            of => (5, [(of - 244) / 3, (of - 244) % 3, 0, 0]),
        };
    }
    match compress {
        of @ 0..400 => (0, [of / 80, of / 16 % 5, of % 16 / 4, of % 4]),
        of @ 400..500 => {
            let of = of - 400;
            (1, [of / 20, of / 4 % 5, of % 4, 0])
        }
        of => (2, [(of - 500) / 3, (of - 500) % 3, 0, 0]),
    }
}

fn fill(bits: &mut Bits<'_>, factors: &mut [u8], width: usize) {
    if width > 0 {
        factors.fill_with(|| bits.read(width) as u8);
    }
}
