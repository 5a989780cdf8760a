//! Pulses that are added to quantised coefficients: ISO/IEC 14496-3, section 4.6.3.3.

use super::Fault;
use super::bands::Bands;
use super::huffman;
use super::windows::{MAX_BANDS, Windows};
use crate::codec::bits::Bits;

/// `pulse_data`.
pub(super) struct Pulses {
    first_band: usize,
    /// Each with its distance from the last, and its height.
    pulses: [(u8, u8); 4],
    count: usize,
}

impl Pulses {
    pub(super) fn read(bits: &mut Bits<'_>) -> Result<Self, Fault> {
        let mut read = Self {
            count: 1 + bits.need(2)? as usize,
            first_band: bits.need(6)? as usize,
            pulses: [(0, 0); 4],
        };
        for pulse in read.pulses.iter_mut().take(read.count) {
            *pulse = (bits.need(5)? as u8, bits.need(4)? as u8);
        }
        Ok(read)
    }

    /// Adds the pulses where there are coefficients: they make these larger, and what is 0 negative.
    pub(super) fn add(
        &self,
        spectrum: &mut [f32; 1024],
        (windows, bands): (&Windows, &Bands),
        books: &[u8; MAX_BANDS],
        scales: &[f32; MAX_BANDS],
    ) -> Result<(), Fault> {
        const WRONG: Fault = Fault::Damaged("an AAC packet has pulses in the wrong place");
        let begins = bands.of(false);
        let last = begins.len() - 1;
        if windows.is_short() || self.first_band >= last {
            return Err(WRONG);
        }
        let mut at = usize::from(begins[self.first_band]);
        for (distance, height) in self.pulses.iter().take(self.count) {
            at += usize::from(*distance);
            if at >= bands.frame_length {
                return Err(WRONG);
            }
            let band = begins.partition_point(|begin| usize::from(*begin) <= at) - 1;
            if band < windows.bands && huffman::book(books[band]).is_some() {
                let coefficient = &mut spectrum[at];
                *coefficient = raise(*coefficient, scales[band], f32::from(*height));
            }
        }
        Ok(())
    }
}

/// A coefficient whose quantised value is `height` farther from 0.
fn raise(coefficient: f32, scale: f32, height: f32) -> f32 {
    let quantised = (coefficient.abs() / scale).powf(0.75).round();
    let magnitude = (quantised + height).powf(4.0 / 3.0) * scale;
    if coefficient > 0.0 {
        magnitude
    } else {
        -magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulses_add_to_what_was_quantised() {
        for value in -8191..=8191 {
            let value = value as f32;
            let power = |value: f32| value.abs().powf(4.0 / 3.0).copysign(value);
            let expected = if value > 0.0 {
                value + 7.0
            } else {
                value - 7.0
            };
            let raised = raise(power(value) * 3.0, 3.0, 7.0) / 3.0;
            assert!((raised / power(expected) - 1.0).abs() < 1e-5);
        }
    }
}
