//! One channel of a packet: `individual_channel_stream`, ISO/IEC 14496-3, section 4.4.2.7.

use super::Fault;
use super::bands::Bands;
use super::huffman;
use super::pulse;
use super::tns::Shaping;
use super::windows::{MAX_BANDS, Windows};
use crate::codec::bits::Bits;

const ZERO: u8 = 0;
const RESERVED: u8 = 12;
pub(super) const NOISE: u8 = 13;
/// Intensity with the other sign, and with the same.
pub(super) const OUT_OF_PHASE: u8 = 14;
pub(super) const IN_PHASE: u8 = 15;

/// What a packet says of one channel, and its spectrum.
#[derive(Clone)]
pub(super) struct Channel {
    pub(super) windows: Windows,
    /// By the place of the band, as [`Group::first_band`](super::windows::Group) counts.
    pub(super) books: [u8; MAX_BANDS],
    /// What coefficients are multiplied by; of noise its amplitude, of intensity the ratio.
    pub(super) scales: [f32; MAX_BANDS],
    pub(super) spectrum: [f32; 1024],
    pub(super) shaping: Shaping,
}

impl Channel {
    pub(super) fn new() -> Self {
        Self {
            windows: Windows::default(),
            books: [ZERO; MAX_BANDS],
            scales: [0.0; MAX_BANDS],
            spectrum: [0.0; 1024],
            shaping: Shaping::default(),
        }
    }

    /// Reads the channel, noise and intensity left at 0; `shared` are the windows of a pair.
    pub(super) fn read(
        &mut self,
        bits: &mut Bits<'_>,
        bands: &Bands,
        shared: Option<&Windows>,
    ) -> Result<(), Fault> {
        let gain = bits.need(8)? as i32;
        self.windows = match shared {
            Some(windows) => windows.clone(),
            None => Windows::read(bits, bands)?,
        };
        self.read_sections(bits)?;
        self.read_scales(bits, gain)?;
        let pulses = bits
            .need_flag()?
            .then(|| pulse::Pulses::read(bits))
            .transpose()?;
        self.shaping.clear();
        if bits.need_flag()? {
            self.shaping.read(bits, &self.windows, bands)?;
        }
        if bits.need_flag()? {
            return Err(Fault::Damaged("an AAC-LC packet has gain control"));
        }
        self.read_spectrum(bits, bands)?;
        match pulses {
            Some(pulses) => {
                let layout = (&self.windows, bands);
                pulses.add(&mut self.spectrum, layout, &self.books, &self.scales)
            }
            None => Ok(()),
        }
    }

    /// `section_data`: bands in a row that share a code book.
    fn read_sections(&mut self, bits: &mut Bits<'_>) -> Result<(), Fault> {
        let length_bits = if self.windows.is_short() { 3 } else { 5 };
        let escape = (1 << length_bits) - 1;
        for group in self.windows.groups() {
            let mut begin = 0;
            while begin < self.windows.bands {
                let book = bits.need(4)? as u8;
                let mut end = begin;
                loop {
                    let length = bits.need(length_bits)?;
                    end += length as usize;
                    if length < escape {
                        break;
                    }
                }
                if book == RESERVED || end > self.windows.bands {
                    return Err(Fault::Damaged("an AAC packet has an invalid section"));
                }
                self.books[group.first_band + begin..group.first_band + end].fill(book);
                begin = end;
            }
        }
        Ok(())
    }

    /// `scale_factor_data`: each is coded as the difference to the last of its kind.
    fn read_scales(&mut self, bits: &mut Bits<'_>, gain: i32) -> Result<(), Fault> {
        const NOISE_OFFSET: i32 = 90 + 256;
        const SCALE_OFFSET: i32 = 100;
        let (mut scale, mut position, mut noise) = (gain, 0, None);
        for group in self.windows.groups() {
            for place in group.first_band..group.first_band + self.windows.bands {
                self.scales[place] = match self.books[place] {
                    ZERO => 0.0,
                    OUT_OF_PHASE | IN_PHASE => {
                        position += huffman::read_difference(bits)?;
                        quarter_power(-position.clamp(-155, 100))
                    }
                    NOISE => {
                        let energy = match noise {
                            Some(last) => last + huffman::read_difference(bits)?,
                            None => gain - NOISE_OFFSET + bits.need(9)? as i32,
                        };
                        noise = Some(energy);
                        quarter_power(energy.clamp(-100, 155))
                    }
                    _ => {
                        scale += huffman::read_difference(bits)?;
                        if !(0..256).contains(&scale) {
                            return Err(Fault::Damaged(
                                "an AAC packet has an invalid scale factor",
                            ));
                        }
                        quarter_power(scale - SCALE_OFFSET)
                    }
                };
            }
        }
        Ok(())
    }

    fn read_spectrum(&mut self, bits: &mut Bits<'_>, bands: &Bands) -> Result<(), Fault> {
        self.spectrum.fill(0.0);
        for_each_band(&self.windows, bands, |place, range| {
            match (
                huffman::book(self.books[place]),
                self.spectrum.get_mut(range),
            ) {
                (Some(book), Some(band)) => book.read(bits, self.scales[place], band),
                _ => Ok(()),
            }
        })
    }
}

/// Calls `each` with every band's place and its coefficients, in the order of the stream: windows of a
/// group take turns.
#[inline(always)]
pub(super) fn for_each_band(
    windows: &Windows,
    bands: &Bands,
    mut each: impl FnMut(usize, std::ops::Range<usize>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let begins = bands.of(windows.is_short());
    let length = bands.frame_length / 8;
    for group in windows.groups() {
        for (place, edges) in (group.first_band..).zip(begins.windows(2).take(windows.bands)) {
            for window in group.windows.clone() {
                let [begin, end] = [0, 1].map(|n| window * length + usize::from(edges[n]));
                each(place, begin..end)?;
            }
        }
    }
    Ok(())
}

/// 2 to the power of `n / 4`, for -400 to 400.
pub(super) fn quarter_power(n: i32) -> f32 {
    const QUARTERS: [f32; 4] = [1.0, 1.189_207_1, std::f32::consts::SQRT_2, 1.681_792_8];
    let whole = f32::from_bits(((127 + (n >> 2)) as u32) << 23);
    QUARTERS[(n & 3) as usize] * whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_of_powers_are_exact_enough() {
        for n in -400..400 {
            let exact = (f64::from(n) / 4.0).exp2();
            assert!(
                (f64::from(quarter_power(n)) / exact - 1.0).abs() < 1e-7,
                "{n}"
            );
        }
    }
}
