//! Slaney's triangular mel filters, without the zeros between them.

use super::{N_FFT, SAMPLE_RATE};

/// Of the transform of a real frame, from 0 Hz to half the sample rate.
pub(super) const BINS: usize = N_FFT / 2 + 1;

/// One triangle: its weights of the bins from `first` on.
pub(super) struct Filter {
    pub(super) first: usize,
    pub(super) weights: Vec<f64>,
}

/// Filters from 0 Hz to half the sample rate, even on Slaney's mel scale, each of unit area.
///
/// The arithmetic is that of transformers' `mel_filter_bank` (`norm` and `mel_scale` "slaney"), in
/// its order, so that the weights are the same up to the last bits of `exp`.
pub(super) fn filters(n_mels: usize) -> Vec<Filter> {
    let top = hertz_to_mel(f64::from(SAMPLE_RATE / 2));
    let step = top / (n_mels + 1) as f64;
    let hertz = |index: usize| mel_to_hertz(index as f64 * step);
    (0..n_mels)
        .map(|mel| triangle(hertz(mel), hertz(mel + 1), hertz(mel + 2)))
        .collect()
}

/// Rises from `low` to `peak` and falls to `high`, all in Hz.
fn triangle(low: f64, peak: f64, high: f64) -> Filter {
    let spacing = f64::from(SAMPLE_RATE) / N_FFT as f64;
    let area = 2.0 / (high - low);
    let weight = |bin: usize| {
        let hertz = bin as f64 * spacing;
        let height = ((hertz - low) / (peak - low)).min((high - hertz) / (high - peak));
        height.max(0.0) * area
    };
    let above = |bin: &usize| weight(*bin) > 0.0;
    let first = (0..BINS).find(above).unwrap_or(0);
    let weights = (first..BINS).take_while(above).map(weight).collect();
    Filter { first, weights }
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
