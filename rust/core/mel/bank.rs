//! Slaney's triangular mel filters, without the zeros between them.

use super::butterfly::SHORT;
use super::log::log10;
use super::transform::{LANES, Lanes, place_of_bin};
use super::{FLOOR, N_FFT, SAMPLE_RATE};

/// Of the transform of a real frame, from 0 Hz to half the sample rate.
pub(super) const BINS: usize = N_FFT / 2 + 1;

/// Filters from 0 Hz to half the sample rate, even on Slaney's mel scale, each of unit area.
///
/// The arithmetic is that of transformers' `mel_filter_bank` (`norm` and `mel_scale` "slaney"), in
/// its order, so that the weights are the same up to the last bits of `exp`.
pub(super) struct Bank {
    filters: Vec<Filter>,
    /// Of all filters, one after the other: where the bin's power is found, and its weight.
    weights: Vec<(usize, f64)>,
}

/// One triangle: the bins under it.
struct Filter {
    bins: usize,
}

impl Bank {
    pub(super) fn new(n_mels: usize) -> Self {
        let top = hertz_to_mel(f64::from(SAMPLE_RATE / 2));
        let step = top / (n_mels + 1) as f64;
        let hertz = |index: usize| mel_to_hertz(index as f64 * step);
        let mut bank = Self {
            filters: Vec::with_capacity(n_mels),
            weights: Vec::with_capacity(2 * BINS),
        };
        for mel in 0..n_mels {
            bank.push(hertz(mel), hertz(mel + 1), hertz(mel + 2));
        }
        bank
    }

    pub(super) fn n_mels(&self) -> usize {
        self.filters.len()
    }

    /// Logarithms of the power under each filter, and the largest of each frame.
    #[inline(always)]
    pub(super) fn logs(&self, power: &[[Lanes; SHORT]], tile: &mut [[f32; LANES]]) -> [f32; LANES] {
        let mut peaks = [f32::MIN; LANES];
        let power = power.as_flattened();
        let mut rest = &self.weights[..];
        for (filter, logs) in self.filters.iter().zip(tile) {
            let (weights, behind) = rest.split_at(filter.bins);
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
                peaks[lane] = if logs[lane] > peaks[lane] { logs[lane] } else { peaks[lane] };
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
            height.max(0.0) * area
        };
        let above = |bin: &usize| weight(*bin) > 0.0;
        let first = (0..BINS).find(above).unwrap_or(0);
        let before = self.weights.len();
        self.weights.extend(
            (first..BINS)
                .take_while(above)
                .map(|bin| (place_of_bin(bin), weight(bin))),
        );
        let bins = self.weights.len() - before;
        self.filters.push(Filter { bins });
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
