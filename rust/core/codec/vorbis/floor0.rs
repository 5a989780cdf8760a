//! Floors of type 0: line spectral pairs over a scale of Bark. Section 6.

use std::f64::consts::PI;

use super::Fault;
use super::bits::{Bits, bit_length};
use super::codebook::Codebook;

/// Nepers in a decibel, as section 6.2.3 rounds them.
const NEPERS: f64 = 0.115_129_25;

#[derive(Debug)]
pub(super) struct Floor0 {
    order: usize,
    amplitude_bits: u32,
    /// In decibels.
    amplitude_offset: f64,
    books: Vec<usize>,
    /// By the bin of a short and of a long block: the cosine of the angle that it lies at.
    cosines: [Vec<f64>; 2],
}

#[derive(Debug, Default)]
pub(super) struct Curve0 {
    amplitude: u64,
    /// Cosines of the coefficients.
    pairs: Vec<f64>,
}

impl Floor0 {
    pub(super) fn parse(
        bits: &mut Bits<'_>,
        books: &[Codebook],
        halves: [usize; 2],
    ) -> Result<Self, Fault> {
        let order = bits.need(8)? as usize;
        let (rate, steps) = (bits.need(16)?, bits.need(16)?);
        let (amplitude_bits, offset) = (bits.need(6)?, bits.need(8)?);
        let count = bits.need(4)? + 1;
        let chosen = (0..count).map(|_| Ok(bits.need(8)? as usize));
        let chosen: Vec<usize> = chosen.collect::<Result<_, Fault>>()?;
        let is_good = |book: &usize| books.get(*book).is_some_and(Codebook::has_vectors);
        if order == 0 || rate == 0 || steps == 0 || !chosen.iter().all(is_good) {
            return Err(Fault("a floor of type 0 is impossible"));
        }
        Ok(Self {
            order,
            amplitude_bits,
            amplitude_offset: f64::from(offset),
            books: chosen,
            cosines: halves.map(|half| cosines(half, f64::from(rate), f64::from(steps))),
        })
    }

    /// Reads a curve: section 6.2.2.
    pub(super) fn read(
        &self,
        bits: &mut Bits<'_>,
        books: &[Codebook],
        curve: &mut Curve0,
    ) -> Option<()> {
        let low = bits.read(self.amplitude_bits.min(32))?;
        let high = bits.read(self.amplitude_bits.saturating_sub(32))?;
        curve.amplitude = u64::from(high) << 32 | u64::from(low);
        if curve.amplitude == 0 {
            return None;
        }
        let chosen = bits.read(bit_length(self.books.len() as u32))?;
        let book = books.get(*self.books.get(chosen as usize)?)?;
        curve.pairs.clear();
        let mut last = 0.0;
        while curve.pairs.len() < self.order {
            let vector = book
                .vector(bits)?
                .iter()
                .map(|value| f64::from(*value) + last);
            curve.pairs.extend(vector);
            last = curve.pairs.last().copied()?;
        }
        curve.pairs.truncate(self.order);
        for pair in &mut curve.pairs {
            *pair = pair.cos();
        }
        Some(())
    }

    /// The factors: section 6.2.3.
    pub(super) fn render(&self, curve: &Curve0, is_long: bool, gain: f32, factors: &mut [f32]) {
        let cosines = &self.cosines[usize::from(is_long)];
        let mut before = None;
        for (factor, cosine) in factors.iter_mut().zip(cosines) {
            // Many bins share an angle.
            let known = before.filter(|(other, _)| other == cosine);
            let value =
                known.map_or_else(|| self.factor(curve, *cosine) * gain, |(_, value)| value);
            before = Some((*cosine, value));
            *factor = value;
        }
    }

    fn factor(&self, curve: &Curve0, cosine: f64) -> f32 {
        let mut products = [1.0; 2];
        for (place, pair) in curve.pairs.iter().enumerate() {
            // Of the even places, and of the odd ones.
            products[place % 2] *= 4.0 * (pair - cosine) * (pair - cosine);
        }
        let [even, odd] = products;
        let sum = match self.order % 2 {
            1 => odd * (1.0 - cosine * cosine) + even / 4.0,
            _ => odd * (1.0 - cosine) / 2.0 + even * (1.0 + cosine) / 2.0,
        };
        let most = ((1u128 << self.amplitude_bits) - 1) as f64;
        let amplitude = curve.amplitude as f64 * self.amplitude_offset / (most * sum.sqrt());
        (NEPERS * (amplitude - self.amplitude_offset)).exp() as f32
    }
}

fn bark(frequency: f64) -> f64 {
    let squared = frequency * frequency;
    13.1 * (0.00074 * frequency).atan() + 2.24 * (1.85e-8 * squared).atan() + 1e-4 * frequency
}

/// Where the bins lie on a scale of so many `steps`, as cosines of angles from 0 to pi.
fn cosines(half: usize, rate: f64, steps: f64) -> Vec<f64> {
    let place = |bin: usize| {
        let frequency = rate * bin as f64 / (2 * half) as f64;
        let place = (bark(frequency) * steps / bark(rate / 2.0)).floor();
        place.min(steps - 1.0)
    };
    (0..half)
        .map(|bin| (PI * place(bin) / steps).cos())
        .collect()
}
