//! Two channels coded together: ISO/IEC 14496-3, sections 4.6.8.1 and 4.6.8.2.

use super::Fault;
use super::bands::Bands;
use super::channel::{Channel, IN_PHASE, NOISE, OUT_OF_PHASE, for_each_band};
use super::noise::Noise;
use super::windows::{MAX_BANDS, Windows};
use crate::codec::bits::Bits;

/// Which bands are coded as sum and difference.
struct Mask {
    /// Whether each band tells for itself.
    is_chosen: bool,
    bands: [bool; MAX_BANDS],
}

impl Mask {
    const NONE: Self = Self {
        is_chosen: false,
        bands: [false; MAX_BANDS],
    };

    fn read(bits: &mut Bits<'_>, windows: &Windows) -> Result<Self, Fault> {
        let mut mask = Self::NONE;
        match bits.need(2)? {
            0 => {}
            1 => {
                mask.is_chosen = true;
                for group in windows.groups() {
                    for place in group.first_band..group.first_band + windows.bands {
                        mask.bands[place] = bits.need_flag()?;
                    }
                }
            }
            2 => mask.bands.fill(true),
            _ => return Err(Fault::Damaged("an AAC packet has a reserved stereo mask")),
        }
        Ok(mask)
    }
}

/// Reads a `channel_pair_element` after its tag; `number` is that of its first channel.
pub(super) fn read(
    bits: &mut Bits<'_>,
    bands: &Bands,
    (left, right): (&mut Channel, &mut Channel),
    noise: Noise,
    number: usize,
) -> Result<(), Fault> {
    let shared = match bits.need_flag()? {
        true => Some(Windows::read(bits, bands)?),
        false => None,
    };
    let mask = match &shared {
        Some(windows) => Mask::read(bits, windows)?,
        None => Mask::NONE,
    };
    left.read(bits, bands, shared.as_ref())?;
    right.read(bits, bands, shared.as_ref())?;
    noise.fill(left, number, bands, |_| false);
    let books = left.books;
    noise.fill(right, number + 1, bands, |place| {
        mask.bands[place] && books[place] == NOISE
    });
    join(left, right, &mask, bands)
}

/// Makes left and right of sum and difference, and right of left where only its level is coded.
fn join(left: &mut Channel, right: &mut Channel, mask: &Mask, bands: &Bands) -> Result<(), Fault> {
    let (books, scales) = (&right.books, &right.scales);
    let (other_books, spectra) = (&left.books, (&mut left.spectrum, &mut right.spectrum));
    for_each_band(&right.windows, bands, |place, range| {
        let (Some(first), Some(second)) =
            (spectra.0.get_mut(range.clone()), spectra.1.get_mut(range))
        else {
            return Ok(());
        };
        let is_masked = mask.bands[place];
        match books[place] {
            book @ (OUT_OF_PHASE | IN_PHASE) => {
                let is_inverted = (book == OUT_OF_PHASE) != (mask.is_chosen && is_masked);
                let scale = if is_inverted {
                    -scales[place]
                } else {
                    scales[place]
                };
                for (from, to) in first.iter().zip(second) {
                    *to = scale * from;
                }
            }
            book if is_masked && book < NOISE && other_books[place] < NOISE => {
                for (sum, difference) in first.iter_mut().zip(second) {
                    (*sum, *difference) = (*sum + *difference, *sum - *difference);
                }
            }
            _ => {}
        }
        Ok(())
    })
}
