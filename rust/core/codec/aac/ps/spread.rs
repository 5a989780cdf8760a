//! Parameters of few bands for many: ISO/IEC 14496-3, tables 8.45 to 8.49.

use super::MOST_BANDS;

/// By the number of the band of parameters that each sub-band belongs to, of 20 and of 34.
pub(super) const BAND_OF_20: [u8; 71] = [
    1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 14, 15, 15, 15, 16, 16, 16, 16, 17, 17,
    17, 17, 17, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 18, 19, 19, 19, 19, 19, 19, 19, 19, 19,
    19, 19, 19, 19, 19, 19, 19, 19, 19, 19, 19, 19, 19, 19, 19, 19, 19, 19, 19, 19,
];
pub(super) const BAND_OF_34: [u8; 91] = [
    0, 1, 2, 3, 4, 5, 6, 6, 7, 2, 1, 0, 10, 10, 4, 5, 6, 7, 8, 9, 10, 11, 12, 9, 14, 11, 12, 13,
    14, 15, 16, 13, 16, 17, 18, 19, 20, 21, 22, 22, 23, 23, 24, 24, 25, 25, 26, 26, 27, 27, 27, 28,
    28, 28, 29, 29, 29, 30, 30, 30, 31, 31, 31, 31, 32, 32, 32, 32, 33, 33, 33, 33, 33, 33, 33, 33,
    33, 33, 33, 33, 33, 33, 33, 33, 33, 33, 33, 33, 33, 33, 33,
];

/// The bands of 10 or 20 that each of 34 is: two where it is the mean of them.
const OF_10: [u8; MOST_BANDS] = [
    0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6, 7, 7, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9,
    9, 9,
];
const OF_20: [[u8; 2]; MOST_BANDS] = [
    [0, 0],
    [0, 1],
    [1, 1],
    [2, 2],
    [2, 3],
    [3, 3],
    [4, 4],
    [4, 4],
    [5, 5],
    [5, 5],
    [6, 6],
    [7, 7],
    [8, 8],
    [8, 8],
    [9, 9],
    [9, 9],
    [10, 10],
    [11, 11],
    [12, 12],
    [13, 13],
    [14, 14],
    [14, 14],
    [15, 15],
    [15, 15],
    [16, 16],
    [16, 16],
    [17, 17],
    [17, 17],
    [18, 18],
    [18, 18],
    [18, 18],
    [18, 18],
    [19, 19],
    [19, 19],
];
/// The bands of 34 that make each of 20: of as many as these are, the mean, the first or last of three twice.
const OF_34: [&[u8]; 20] = [
    &[0, 0, 1],
    &[1, 2, 2],
    &[3, 3, 4],
    &[4, 5, 5],
    &[6, 7],
    &[8, 9],
    &[10],
    &[11],
    &[12, 13],
    &[14, 15],
    &[16],
    &[17],
    &[18],
    &[19],
    &[20, 21],
    &[22, 23],
    &[24, 25],
    &[26, 27],
    &[28, 29, 30, 31],
    &[32, 33],
];

/// Indices of `count` bands as those of 20 or 34.
pub(super) fn indices(from: &[i8; MOST_BANDS], count: usize, is_fine: bool) -> [i8; MOST_BANDS] {
    let mut to = *from;
    match (is_fine, count) {
        (true, 34 | 17) | (false, 20 | 11) => {}
        (true, 10 | 5) => {
            for (to, band) in to.iter_mut().zip(OF_10) {
                *to = from[usize::from(band)];
            }
        }
        (true, _) => {
            for (to, bands) in to.iter_mut().zip(OF_20) {
                let [a, b] = bands.map(|band| from[usize::from(band)]);
                *to = (a + b) / 2;
            }
        }
        (false, 10 | 5) => {
            for (band, to) in to.iter_mut().enumerate().take(20) {
                *to = from[band / 2];
            }
        }
        (false, _) => {
            for (to, bands) in to.iter_mut().zip(OF_34) {
                let sum: i8 = bands.iter().map(|band| from[usize::from(*band)]).sum();
                *to = sum / bands.len() as i8;
            }
        }
    }
    // Phases are told of the lower half alone.
    let heard = match count {
        5 => {
            if is_fine {
                16
            } else {
                10
            }
        }
        11 | 17 => {
            if is_fine {
                17
            } else {
                11
            }
        }
        _ => MOST_BANDS,
    };
    to[heard..].fill(0);
    to
}

/// Values of 20 bands as those of 34, or back.
pub(super) fn values(from: &mut [f32; MOST_BANDS], is_fine: bool) {
    let before = *from;
    if is_fine {
        for (to, bands) in from.iter_mut().zip(OF_20) {
            let [a, b] = bands.map(|band| before[usize::from(band)]);
            *to = (a + b) * 0.5;
        }
    } else {
        for (to, bands) in from.iter_mut().zip(OF_34) {
            let sum: f32 = bands.iter().map(|band| before[usize::from(*band)]).sum();
            *to = sum / bands.len() as f32;
        }
    }
}
