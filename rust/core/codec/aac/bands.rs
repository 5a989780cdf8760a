//! Where the bands of scale factors begin, by sample rate: ISO/IEC 14496-3, tables 4.129 to 4.147.

/// The bands of a stream, and how far noise shaping reaches in them.
#[derive(Clone, Debug)]
pub(super) struct Bands {
    long: Vec<u16>,
    short: Vec<u16>,
    /// Bands that noise shaping may touch: table 4.155, of long and short windows.
    shaped: [u8; 2],
    /// Samples of a frame.
    pub(super) frame_length: usize,
}

impl Bands {
    pub(super) fn new(sample_rate: u32, frame_length: u32) -> Self {
        let frame_length = frame_length as usize;
        Self {
            long: cut(long(sample_rate), frame_length),
            short: cut(short(sample_rate), frame_length / 8),
            shaped: shaped(sample_rate),
            frame_length,
        }
    }

    /// First coefficients of the bands of a long or a short window, and the end of the last.
    pub(super) fn of(&self, is_short: bool) -> &[u16] {
        if is_short { &self.short } else { &self.long }
    }

    pub(super) fn shaped(&self, is_short: bool) -> usize {
        usize::from(self.shaped[usize::from(is_short)])
    }
}

/// Shorter frames have the same bands as far as they go.
fn cut(begins: &[u16], end: usize) -> Vec<u16> {
    let inside = begins.iter().take_while(|begin| usize::from(**begin) < end);
    inside.copied().chain([end as u16]).collect()
}

/// First coefficients of the bands of a long window, and the end of the last.
fn long(sample_rate: u32) -> &'static [u16] {
    match sample_rate {
        75_132.. => &LONG_96,
        55_426.. => &LONG_64,
        37_566.. => &LONG_48,
        27_713.. => &LONG_32,
        18_783.. => &LONG_24,
        9_391.. => &LONG_16,
        _ => &LONG_8,
    }
}

/// The same for one of eight short windows.
fn short(sample_rate: u32) -> &'static [u16] {
    match sample_rate {
        55_426.. => &SHORT_64,
        27_713.. => &SHORT_48,
        18_783.. => &SHORT_24,
        9_391.. => &SHORT_16,
        _ => &SHORT_8,
    }
}

fn shaped(sample_rate: u32) -> [u8; 2] {
    match sample_rate {
        75_132.. => [31, 9],
        55_426.. => [34, 10],
        46_009.. => [40, 14],
        37_566.. => [42, 14],
        27_713.. => [51, 14],
        18_783.. => [46, 14],
        9_391.. => [42, 14],
        _ => [39, 14],
    }
}

const LONG_48: [u16; 50] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 88, 96, 108, 120, 132, 144, 160,
    176, 196, 216, 240, 264, 292, 320, 352, 384, 416, 448, 480, 512, 544, 576, 608, 640, 672, 704,
    736, 768, 800, 832, 864, 896, 928, 1024,
];
const SHORT_48: [u16; 15] = [0, 4, 8, 12, 16, 20, 28, 36, 44, 56, 68, 80, 96, 112, 128];
const LONG_32: [u16; 52] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 88, 96, 108, 120, 132, 144, 160,
    176, 196, 216, 240, 264, 292, 320, 352, 384, 416, 448, 480, 512, 544, 576, 608, 640, 672, 704,
    736, 768, 800, 832, 864, 896, 928, 960, 992, 1024,
];
const LONG_8: [u16; 41] = [
    0, 12, 24, 36, 48, 60, 72, 84, 96, 108, 120, 132, 144, 156, 172, 188, 204, 220, 236, 252, 268,
    288, 308, 328, 348, 372, 396, 420, 448, 476, 508, 544, 580, 620, 664, 712, 764, 820, 880, 944,
    1024,
];
const SHORT_8: [u16; 16] = [
    0, 4, 8, 12, 16, 20, 24, 28, 36, 44, 52, 60, 72, 88, 108, 128,
];
const LONG_16: [u16; 44] = [
    0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 100, 112, 124, 136, 148, 160, 172, 184, 196, 212,
    228, 244, 260, 280, 300, 320, 344, 368, 396, 424, 456, 492, 532, 572, 616, 664, 716, 772, 832,
    896, 960, 1024,
];
const SHORT_16: [u16; 16] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 60, 72, 88, 108, 128,
];
const LONG_24: [u16; 48] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 52, 60, 68, 76, 84, 92, 100, 108, 116, 124, 136,
    148, 160, 172, 188, 204, 220, 240, 260, 284, 308, 336, 364, 396, 432, 468, 508, 552, 600, 652,
    704, 768, 832, 896, 960, 1024,
];
const SHORT_24: [u16; 16] = [
    0, 4, 8, 12, 16, 20, 24, 28, 36, 44, 52, 64, 76, 92, 108, 128,
];
const LONG_64: [u16; 48] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 64, 72, 80, 88, 100, 112, 124, 140,
    156, 172, 192, 216, 240, 268, 304, 344, 384, 424, 464, 504, 544, 584, 624, 664, 704, 744, 784,
    824, 864, 904, 944, 984, 1024,
];
const SHORT_64: [u16; 13] = [0, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 92, 128];
const LONG_96: [u16; 42] = [
    0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 64, 72, 80, 88, 96, 108, 120, 132,
    144, 156, 172, 188, 212, 240, 276, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024,
];
