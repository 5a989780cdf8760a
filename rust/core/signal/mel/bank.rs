//! Slaney's triangular mel filters, without the zeros between them.

use super::butterfly::SHORT;
use super::log::log10;
use super::transform::{LANES, Lanes, place_of_bin};
use super::{FLOOR, N_FFT, SAMPLE_RATE};

/// Of the transform of a real frame, from 0 Hz to half the sample rate.
pub(super) const BINS: usize = N_FFT / 2 + 1;

/// Logarithms of `LANES` frames, band by band.
pub(super) type Tile = [[f32; LANES]];

/// Filters from 0 Hz to half the sample rate, even on Slaney's mel scale, each of unit area.
///
/// The arithmetic is that of transformers' `mel_filter_bank` (`norm` and `mel_scale` "slaney"), in
/// its order, so that the weights are the same up to the last bits of `exp`.
pub(super) struct Bank {
    /// How many weights each has.
    filters: Vec<usize>,
    /// Of all filters, one after the other: where the bin's power is found, and its weight.
    weights: Vec<(usize, f64)>,
}

impl Bank {
    pub(super) fn new(n_mels: usize) -> Self {
        let step = hertz_to_mel(f64::from(SAMPLE_RATE / 2)) / (n_mels + 1) as f64;
        let corners = (0..n_mels + 2).map(|index| mel_to_hertz(index as f64 * step));
        let corners: Vec<f64> = corners.collect();
        let mut bank = Self {
            filters: Vec::with_capacity(n_mels),
            weights: Vec::with_capacity(2 * BINS),
        };
        for corners in corners.windows(3) {
            bank.push(corners[0], corners[1], corners[2]);
        }
        bank
    }

    pub(super) fn n_mels(&self) -> usize {
        self.filters.len()
    }

    /// Logarithms of the power under each filter, and the largest of each frame.
    #[inline(always)]
    pub(super) fn logs(&self, power: &[[Lanes; SHORT]], tile: &mut Tile) -> [f32; LANES] {
        let mut peaks = [f32::MIN; LANES];
        let power = power.as_flattened();
        let mut rest = &self.weights[..];
        for (count, logs) in self.filters.iter().zip(tile) {
            let (weights, behind) = rest.split_at(*count);
            rest = behind;
            let mut sum = [0.0; LANES];
            for (place, weight) in weights {
                let power = &power[*place].0;
                for lane in 0..LANES {
                    sum[lane] += power[lane] * weight;
                }
            }
            for lane in 0..LANES {
                logs[lane] = log10(if FLOOR > sum[lane] { FLOOR } else { sum[lane] });
                peaks[lane] = if logs[lane] > peaks[lane] {
                    logs[lane]
                } else {
                    peaks[lane]
                };
            }
        }
        peaks
    }

    /// Adds a filter that rises from `low` to `peak` and falls to `high`, all in Hz.
    fn push(&mut self, low: f64, peak: f64, high: f64) {
        let spacing = f64::from(SAMPLE_RATE) / N_FFT as f64;
        let area = 2.0 / (high - low);
        let weight = |bin: usize| {
            let hertz = bin as f64 * spacing;
            let height = ((hertz - low) / (peak - low)).min((high - hertz) / (high - peak));
            (bin, height.max(0.0) * area)
        };
        let near = (low / spacing) as usize..BINS.min((high / spacing) as usize + 2);
        let weights = near.map(weight).filter(|(_, weight)| *weight > 0.0);
        let before = self.weights.len();
        let placed = weights.map(|(bin, weight)| (place_of_bin(bin), weight));
        self.weights.extend(placed);
        self.filters.push(self.weights.len() - before);
    }
}

/// Slaney's scale is linear up to 1 kHz, which is 15 mels, and logarithmic above: 27 mels for a
/// factor of 6.4 (Auditory Toolbox, 1998).
fn hertz_to_mel(hertz: f64) -> f64 {
    if hertz < 1000.0 {
        return 3.0 * hertz / 200.0;
    }
    15.0 + (hertz / 1000.0).ln() * (27.0 / 6.4f64.ln())
}

fn mel_to_hertz(mel: f64) -> f64 {
    if mel < 15.0 {
        return 200.0 * mel / 3.0;
    }
    1000.0 * ((6.4f64.ln() / 27.0) * (mel - 15.0)).exp()
}
