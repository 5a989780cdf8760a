//! What a stream says of its replication now and then: `sbr_header`, ISO/IEC 14496-3, section 4.4.2.8.

use super::super::Fault;
use crate::codec::bits::Bits;

/// What the tables of bands follow from: where it changes, replication begins anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spectrum {
    pub(super) start: usize,
    pub(super) stop: usize,
    pub(super) crossover: usize,
    pub(super) scale: u32,
    pub(super) is_altered: bool,
    pub(super) noise_bands: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Header {
    /// Levels in steps of 3 dB, not of 1.5 dB.
    pub(super) is_coarse: bool,
    pub(super) spectrum: Spectrum,
    /// Bands of the limiter in an octave, as a code.
    pub(super) limiter_bands: u32,
    pub(super) limiter_gain: usize,
    /// Whether energies are estimated for each band of the filter bank, not for each band of the envelope.
    pub(super) interpolates: bool,
    /// Whether gains are smoothed over time.
    pub(super) smooths: bool,
}

impl Header {
    pub(super) fn read(bits: &mut Bits<'_>) -> Result<Self, Fault> {
        let is_coarse = bits.need_flag()?;
        let mut spectrum = Spectrum {
            start: bits.need(4)? as usize,
            stop: bits.need(4)? as usize,
            crossover: bits.need(3)? as usize,
            scale: 2,
            is_altered: true,
            noise_bands: 2,
        };
        bits.skip(2)?;
        let (has_scale, has_limiter) = (bits.need_flag()?, bits.need_flag()?);
        if has_scale {
            spectrum.scale = bits.need(2)?;
            spectrum.is_altered = bits.need_flag()?;
            spectrum.noise_bands = bits.need(2)?;
        }
        let mut header = Self {
            is_coarse,
            spectrum,
            limiter_bands: 2,
            limiter_gain: 2,
            interpolates: true,
            smooths: false,
        };
        if has_limiter {
            header.limiter_bands = bits.need(2)?;
            header.limiter_gain = bits.need(2)? as usize;
            header.interpolates = bits.need_flag()?;
            header.smooths = !bits.need_flag()?;
        }
        Ok(header)
    }
}
