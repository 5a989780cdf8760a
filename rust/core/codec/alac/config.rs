//! What a decoder is made from: Apple's `ALACSpecificConfig`, which others call the magic cookie.

use crate::error::{Error, Result};

/// Channels at most: more have no order.
const MAX_CHANNELS: u8 = 8;
/// Frames of a packet at most; encoders write 4,096.
const MAX_FRAMES: u32 = 65_536;

/// The fields that decoding needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Config {
    /// Frames of every packet that does not tell its own.
    pub(super) frames: u32,
    /// Bits of a sample: 16, 20, 24 or 32.
    pub(super) bits: u32,
    /// Of Rice codes: how fast their mean moves, its first value, and the largest parameter.
    pub(super) pace: u32,
    pub(super) first_mean: u32,
    pub(super) most_bits: u32,
    pub(super) channels: usize,
    pub(super) sample_rate: u32,
}

impl Config {
    /// Reads the 24 bytes, after the atoms that QuickTime wraps them in or without. What may follow
    /// names a layout of channels, of which there is one for each number of them.
    ///
    /// # Errors
    /// When it is too short, or of a kind that no decoder knows.
    pub(super) fn parse(cookie: &[u8]) -> Result<Self> {
        let fields = alac_config(cookie).and_then(<[u8]>::first_chunk::<24>);
        let [
            f0,
            f1,
            f2,
            f3,
            version,
            bits,
            pace,
            mean,
            most,
            channels,
            ..,
            r0,
            r1,
            r2,
            r3,
        ] = *fields.ok_or_else(|| Error::corrupt("the ALAC configuration is broken"))?;
        let config = Self {
            frames: u32::from_be_bytes([f0, f1, f2, f3]),
            bits: bits.into(),
            pace: pace.into(),
            first_mean: mean.into(),
            most_bits: most.into(),
            channels: channels.into(),
            sample_rate: u32::from_be_bytes([r0, r1, r2, r3]),
        };
        if config.frames == 0 || channels == 0 || config.sample_rate == 0 {
            return Err(Error::corrupt("the ALAC configuration is empty"));
        }
        let refusal = match config {
            _ if version > 0 => format!("version {version}"),
            _ if channels > MAX_CHANNELS => format!("{channels} channels"),
            Self { frames, .. } if frames > MAX_FRAMES => format!("{frames} frames in a packet"),
            Self { bits, .. } if !matches!(bits, 16 | 20 | 24 | 32) => format!("{bits} bits"),
            config => return Ok(config),
        };
        Err(Error::unsupported(format!(
            "ALAC of {refusal} is not decoded here"
        )))
    }
}

/// Apple's `ALACSpecificConfig`, after the atoms that QuickTime wraps it in.
pub(crate) fn alac_config(mut config: &[u8]) -> Option<&[u8]> {
    for atom in [b"frma", b"alac"] {
        if config.get(4..8)? == atom {
            config = config.get(12..)?;
        }
    }
    Some(config)
}
