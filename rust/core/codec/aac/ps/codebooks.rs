//! The Huffman codes of parametric stereo: ISO/IEC 14496-3, tables 8.B.1 to 8.B.10.

use super::super::codes::Codes;

/// All books.
#[cfg(test)]
pub(in super::super) const ALL: [&Codes; 10] = [
    &INTENSITY,
    &INTENSITY_TIME,
    &INTENSITY_FINE,
    &INTENSITY_FINE_TIME,
    &COHERENCE,
    &COHERENCE_TIME,
    &PHASE,
    &PHASE_TIME,
    &OVERALL,
    &OVERALL_TIME,
];

pub(super) const INTENSITY: Codes = Codes {
    lengths: &[
        1, 3, 3, 4, 4, 5, 5, 6, 6, 6, 7, 8, 9, 10, 11, 13, 13, 14, 14, 15, 15, 16, 17, 17, 17, 17,
        17, 18, 18,
    ],
    values: &[
        0, 1, -1, 2, -2, 3, -3, -4, 4, 5, -5, 6, -6, -7, 7, 8, -8, 9, 10, -9, 11, -10, -11, -14,
        -13, -12, 12, 13, 14,
    ],
};

pub(super) const INTENSITY_TIME: Codes = Codes {
    lengths: &[
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 17, 19, 19, 19, 19, 20, 20, 20, 20,
        20, 20, 20, 20,
    ],
    values: &[
        0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6, 7, -7, 8, -8, 9, -14, -13, -12, -11, -10, -9,
        10, 11, 12, 13, 14,
    ],
};

pub(super) const INTENSITY_FINE: Codes = Codes {
    lengths: &[
        4, 4, 3, 3, 5, 5, 6, 6, 7, 7, 8, 8, 9, 11, 12, 12, 10, 10, 17, 17, 17, 17, 16, 16, 14, 13,
        13, 14, 17, 17, 18, 18, 18, 18, 15, 11, 11, 15, 18, 18, 18, 18, 18, 18, 18, 18, 14, 14, 18,
        18, 18, 18, 18, 18, 18, 18, 16, 16, 12, 10, 1,
    ],
    values: &[
        -2, 2, -1, 1, -3, 3, -4, 4, -5, 5, -6, 6, 7, 10, -11, 11, -8, 8, -21, 21, -19, 19, -17, 17,
        -14, -12, 12, 14, -18, 18, -26, -25, -28, -27, -15, -9, 9, 15, -22, 22, -24, -23, 25, 26,
        23, 24, -13, 13, 29, 30, 27, 28, -30, -29, -20, 20, -16, 16, -10, -7, 0,
    ],
};

pub(super) const INTENSITY_FINE_TIME: Codes = Codes {
    lengths: &[
        2, 7, 7, 6, 6, 8, 9, 9, 11, 12, 15, 15, 15, 15, 13, 10, 10, 13, 15, 15, 16, 16, 16, 16, 16,
        16, 16, 16, 16, 16, 16, 16, 16, 16, 15, 14, 12, 12, 11, 11, 14, 15, 16, 16, 13, 13, 14, 14,
        16, 16, 15, 15, 16, 16, 13, 12, 9, 5, 5, 3, 1,
    ],
    values: &[
        1, -4, 4, -3, 3, 5, -6, 6, 9, 11, -21, -20, 18, 19, -13, -7, 7, 13, -19, -18, -26, 26, -28,
        -27, 29, 30, 27, 28, -30, -29, -25, 25, -24, 24, -17, -15, -10, 10, -8, 8, 15, 17, -23, 23,
        -12, 12, -14, 14, -22, 22, -16, 16, 20, 21, -11, -9, -5, -2, 2, -1, 0,
    ],
};

pub(super) const COHERENCE: Codes = Codes {
    lengths: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 14],
    values: &[0, 1, -1, 2, -2, 3, -3, 4, 5, -4, 6, -5, 7, -6, -7],
};

pub(super) const COHERENCE_TIME: Codes = Codes {
    lengths: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 14],
    values: &[0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, -7, 7],
};

pub(super) const PHASE: Codes = Codes {
    lengths: &[3, 4, 4, 4, 4, 4, 4, 1],
    values: &[1, 4, 5, 3, 6, 2, 7, 0],
};

pub(super) const PHASE_TIME: Codes = Codes {
    lengths: &[4, 5, 5, 4, 4, 3, 3, 1],
    values: &[5, 4, 3, 2, 6, 1, 7, 0],
};

pub(super) const OVERALL: Codes = Codes {
    lengths: &[3, 3, 4, 4, 4, 5, 5, 1],
    values: &[7, 1, 3, 6, 2, 5, 4, 0],
};

pub(super) const OVERALL_TIME: Codes = Codes {
    lengths: &[4, 4, 4, 5, 5, 3, 3, 1],
    values: &[5, 2, 6, 4, 3, 1, 7, 0],
};
