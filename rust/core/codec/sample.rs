//! One stored number: its formats, and what each becomes as a float.
//!
//! The scales are those of FFmpeg: full scale is 1, and every integer up to 24 bits lands exactly on
//! its float.

use crate::error::Result;
use crate::signal::mix::Mixer;

// Powers of two, so that multiplying is exact.
pub(crate) const S16: f32 = 1.0 / 32_768.0;
const S32: f32 = 1.0 / 2_147_483_648.0;

/// Which end of a number comes first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    pub(crate) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    pub(crate) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}

/// One stored number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SampleFormat {
    Unsigned8,
    Signed8,
    Signed16,
    Signed24,
    Signed32,
    Float32,
    Float64,
    ALaw,
    MuLaw,
}

impl SampleFormat {
    /// The signed integer that holds `bits`; fewer than a whole byte's are stored left-justified.
    pub(crate) fn signed(bits: u32) -> Option<Self> {
        Some(match bits.div_ceil(8) {
            1 => Self::Signed8,
            2 => Self::Signed16,
            3 => Self::Signed24,
            4 => Self::Signed32,
            _ => return None,
        })
    }

    /// The float of `bits`.
    pub(crate) fn float(bits: u32) -> Option<Self> {
        Some(match bits {
            32 => Self::Float32,
            64 => Self::Float64,
            _ => return None,
        })
    }

    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::Unsigned8 | Self::Signed8 | Self::ALaw | Self::MuLaw => 1,
            Self::Signed16 => 2,
            Self::Signed24 => 3,
            Self::Signed32 | Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }

    /// FFmpeg's name.
    pub(crate) fn name(self, order: Order) -> &'static str {
        match (self, order) {
            (Self::Unsigned8, _) => "pcm_u8",
            (Self::Signed8, _) => "pcm_s8",
            (Self::Signed16, Order::Little) => "pcm_s16le",
            (Self::Signed16, Order::Big) => "pcm_s16be",
            (Self::Signed24, Order::Little) => "pcm_s24le",
            (Self::Signed24, Order::Big) => "pcm_s24be",
            (Self::Signed32, Order::Little) => "pcm_s32le",
            (Self::Signed32, Order::Big) => "pcm_s32be",
            (Self::Float32, Order::Little) => "pcm_f32le",
            (Self::Float32, Order::Big) => "pcm_f32be",
            (Self::Float64, Order::Little) => "pcm_f64le",
            (Self::Float64, Order::Big) => "pcm_f64be",
            (Self::ALaw, _) => "pcm_alaw",
            (Self::MuLaw, _) => "pcm_mulaw",
        }
    }

    /// Appends whole frames of these.
    pub(crate) fn push(self, bytes: &[u8], order: Order, mixer: &mut Mixer) -> Result<()> {
        match self {
            Self::Unsigned8 => {
                mixer.push_interleaved(bytes, |[b]: [u8; 1]| (f32::from(b) - 128.0) / 128.0)
            }
            Self::Signed8 => {
                mixer.push_interleaved(bytes, |b| f32::from(i8::from_le_bytes(b)) / 128.0)
            }
            Self::Signed16 if order == Order::Little && mixer.halves_stereo() => {
                mixer.push_means16(bytes)
            }
            Self::Signed16 => push_ordered(bytes, order, mixer, |b| {
                f32::from(i16::from_le_bytes(b)) * S16
            }),
            Self::Signed24 => push_ordered(bytes, order, mixer, |[a, b, c]: [u8; 3]| {
                i32::from_le_bytes([0, a, b, c]) as f32 * S32
            }),
            Self::Signed32 => {
                push_ordered(bytes, order, mixer, |b| i32::from_le_bytes(b) as f32 * S32)
            }
            Self::Float32 => push_ordered(bytes, order, mixer, f32::from_le_bytes),
            Self::Float64 => push_ordered(bytes, order, mixer, |b| f64::from_le_bytes(b) as f32),
            Self::ALaw => mixer.push_interleaved(bytes, |[b]: [u8; 1]| f32::from(a_law(b)) * S16),
            Self::MuLaw => mixer.push_interleaved(bytes, |[b]: [u8; 1]| f32::from(mu_law(b)) * S16),
        }
    }
}

/// `sample` converts a little-endian number.
fn push_ordered<const N: usize>(
    bytes: &[u8],
    order: Order,
    mixer: &mut Mixer,
    sample: impl Fn([u8; N]) -> f32 + Copy,
) -> Result<()> {
    match order {
        Order::Little => mixer.push_interleaved(bytes, sample),
        Order::Big => mixer.push_interleaved(bytes, move |mut number: [u8; N]| {
            number.reverse();
            sample(number)
        }),
    }
}

/// ITU-T G.711, scaled from 13 to 16 bits.
pub(crate) fn a_law(byte: u8) -> i16 {
    let byte = byte ^ 0x55;
    let (segment, step) = (byte >> 4 & 7, i16::from(byte & 15) * 2 + 1);
    let size = match segment {
        0 => step << 3,
        #[cfg(test)]
        7 if super::planted::has(super::planted::Bug::ALaw) => (step + 33) << 9,
        _ => (step + 32) << (segment + 2),
    };
    if byte & 0x80 != 0 { size } else { -size }
}

/// ITU-T G.711, scaled from 14 to 16 bits.
pub(crate) fn mu_law(byte: u8) -> i16 {
    let byte = !byte;
    let size = (((i16::from(byte & 15) << 3) + 0x84) << (byte >> 4 & 7)) - 0x84;
    if byte & 0x80 != 0 { -size } else { size }
}
