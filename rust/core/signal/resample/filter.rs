//! The low-pass filter of all engines: a sinc in a Kaiser window.
//!
//! Length and shape by Kaiser's estimates (Oppenheim and Schafer, Discrete-Time Signal Processing, 7.5).

use std::f64::consts::PI;

/// What a filter lets through and what it stops, in cycles per sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Band {
    /// Up to here signals are kept.
    pub(super) pass: f64,
    /// From here on they are rejected.
    pub(super) stop: f64,
    /// By so many dB.
    pub(super) rejection: f64,
    /// The longer side of a transform has at least so many samples: below, calls outweigh work.
    pub(super) block: usize,
}

impl Band {
    /// Taps on either side of the middle one.
    pub(super) fn half_taps(&self) -> usize {
        let width = self.stop - self.pass;
        ((self.rejection - 7.95) / (14.36 * width) / 2.0).ceil() as usize
    }

    /// With the rejection that so many taps on either side can have.
    pub(super) fn reaching(self, half_taps: f64) -> Self {
        let width = self.stop - self.pass;
        Self {
            rejection: 7.95 + 14.36 * width * 2.0 * half_taps,
            ..self
        }
    }

    /// The filter at `place` samples from its middle, nothing from `reach` on; not scaled.
    pub(super) fn tap(&self, place: f64, reach: f64) -> f64 {
        let beta = 0.1102 * (self.rejection - 8.7);
        let window = (1.0 - (place / reach).powi(2)).max(0.0).sqrt();
        sinc((self.pass + self.stop) * place) * bessel(beta * window)
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

/// The modified Bessel function of the first kind and order 0, by its power series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..200 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    sum
}
