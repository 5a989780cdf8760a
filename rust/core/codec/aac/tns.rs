//! Temporal noise shaping: filters along the frequency, ISO/IEC 14496-3, section 4.6.9.

use std::f32::consts::PI;

use super::Fault;
use super::bands::Bands;
use super::windows::Windows;
use crate::codec::bits::Bits;

/// Coefficients of a filter at most, in the LC profile.
const MAX_ORDER: usize = 12;
/// Three of one long window, or one of each of eight short ones.
const MAX_FILTERS: usize = 8;
/// Samples of such size are no sound: they come of damage, and would grow beyond all numbers.
const LARGEST: f32 = 1e25;

/// The filters of one channel.
#[derive(Clone, Default)]
pub(super) struct Shaping {
    filters: [Filter; MAX_FILTERS],
    count: usize,
}

#[derive(Clone, Copy, Default)]
struct Filter {
    /// The coefficients that it goes over.
    begin: usize,
    end: usize,
    goes_down: bool,
    factors: [f32; MAX_ORDER],
}

impl Shaping {
    /// No filter.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// `tns_data`.
    pub(super) fn read(
        &mut self,
        bits: &mut Bits<'_>,
        windows: &Windows,
        bands: &Bands,
    ) -> Result<(), Fault> {
        let is_short = windows.is_short();
        let (count, filter_bits) = if is_short { (8, 1) } else { (1, 2) };
        for window in 0..count {
            let filters = bits.need(filter_bits)?;
            if filters == 0 {
                continue;
            }
            let resolution = 3 + bits.need(1)? as usize;
            let mut top = bands.of(is_short).len() - 1;
            for _ in 0..filters {
                top = self.read_filter(bits, windows, bands, resolution, (window, top))?;
            }
        }
        Ok(())
    }

    /// Reads a filter that ends at a band of a window; tells the band where it begins.
    fn read_filter(
        &mut self,
        bits: &mut Bits<'_>,
        windows: &Windows,
        bands: &Bands,
        resolution: usize,
        (window, top): (usize, usize),
    ) -> Result<usize, Fault> {
        let is_short = windows.is_short();
        let (length_bits, order_bits, most) = match is_short {
            true => (4, 3, 7),
            false => (6, 5, MAX_ORDER),
        };
        let bottom = top.saturating_sub(bits.need(length_bits)? as usize);
        let order = bits.need(order_bits)? as usize;
        if order > most {
            return Err(Fault::Damaged(
                "an AAC packet has a filter of too high an order",
            ));
        }
        if order == 0 {
            return Ok(bottom);
        }
        let begins = bands.of(is_short);
        let highest = bands.shaped(is_short).min(windows.bands);
        let place = |band: usize| {
            let inside = begins.get(band.min(highest)).copied().unwrap_or_default();
            window * bands.frame_length / 8 + usize::from(inside)
        };
        let goes_down = bits.need_flag()?;
        let width = resolution - bits.need(1)? as usize;
        let mut reflections = [0.0; MAX_ORDER];
        for reflection in reflections.iter_mut().take(order) {
            *reflection = dequantize(bits.need(width)?, width, resolution);
        }
        if let Some(filter) = self.filters.get_mut(self.count) {
            *filter = Filter {
                begin: place(bottom),
                end: place(top),
                goes_down,
                factors: direct(&reflections[..order]),
            };
            self.count += 1;
        }
        Ok(bottom)
    }

    /// Filters `spectrum`.
    ///
    /// # Errors
    /// It grows beyond what sound has.
    pub(super) fn apply(&self, spectrum: &mut [f32]) -> Result<(), Fault> {
        for filter in self.filters.iter().take(self.count) {
            let Some(part) = spectrum.get_mut(filter.begin..filter.end) else {
                continue;
            };
            match filter.goes_down {
                true => run(&filter.factors, part.iter_mut().rev()),
                false => run(&filter.factors, part.iter_mut()),
            }
            if !part.iter().all(|value| value.abs() < LARGEST) {
                return Err(Fault::Damaged("an AAC packet has an unstable filter"));
            }
        }
        Ok(())
    }
}

/// An angle in so many steps to a quarter of a circle, and its sine.
fn dequantize(code: u32, width: usize, resolution: usize) -> f32 {
    let shift = 32 - width;
    let value = ((code << shift) as i32 >> shift) as f32;
    let half = if value < 0.0 { 0.5 } else { -0.5 };
    let steps = (1 << (resolution - 1)) as f32 + half;
    (value * PI / 2.0 / steps).sin()
}

/// The factors of the direct form from the reflection coefficients of a lattice.
fn direct(reflections: &[f32]) -> [f32; MAX_ORDER] {
    let mut factors = [0.0; MAX_ORDER];
    for (order, reflection) in reflections.iter().enumerate() {
        let before = factors;
        for place in 0..order {
            factors[place] = before[place] + reflection * before[order - 1 - place];
        }
        factors[order] = *reflection;
    }
    factors
}

/// `y[n] = x[n] - sum of factors[k] * y[n - 1 - k]`, in the form whose sums do not wait for each other.
fn run<'s>(factors: &[f32; MAX_ORDER], samples: impl Iterator<Item = &'s mut f32>) {
    let mut state = [0.0; MAX_ORDER + 1];
    for sample in samples {
        *sample += state[0];
        let output = *sample;
        for (place, factor) in factors.iter().enumerate() {
            state[place] = state[place + 1] - factor * output;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A lattice with its coefficients between -1 and 1 is undone by the one that made it.
        #[test]
        fn the_filter_is_that_of_the_formula(
            reflections in prop::collection::vec(-0.9f32..0.9, 0..=MAX_ORDER),
            samples in prop::collection::vec(-1.0f32..1.0, 0..60),
        ) {
            let factors = direct(&reflections);
            let mut ours = samples.clone();
            run(&factors, ours.iter_mut());
            let mut theirs: Vec<f64> = Vec::new();
            for (n, sample) in samples.iter().enumerate() {
                let past = (0..n.min(MAX_ORDER)).map(|k| f64::from(factors[k]) * theirs[n - 1 - k]);
                theirs.push(f64::from(*sample) - past.sum::<f64>());
            }
            let largest = theirs.iter().fold(1.0f64, |most, value| most.max(value.abs()));
            for (ours, theirs) in ours.iter().zip(theirs) {
                prop_assert!((f64::from(*ours) - theirs).abs() < 1e-3 * largest);
            }
        }
    }

    #[test]
    fn reflections_are_sines_of_equal_steps() {
        let steps: Vec<f32> = (0..16).map(|code| dequantize(code, 4, 4).asin()).collect();
        for (code, angle) in steps.iter().enumerate().take(8) {
            assert!((angle - code as f32 * PI / 15.0).abs() < 1e-5);
        }
        for (code, angle) in steps.iter().enumerate().skip(8) {
            assert!((angle - (code as f32 - 16.0) * PI / 17.0).abs() < 1e-5);
        }
        assert_eq!(dequantize(7, 3, 4), dequantize(15, 4, 4));
    }
}
