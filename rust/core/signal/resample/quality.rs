//! The named profiles: what each keeps, what it rejects, and in which precision it works.

use std::str::FromStr;

use super::filter::Band;
use crate::error::{Error, Result};

/// How well to convert; each profile's figures are measured in docs/resampling.md.
///
/// A change of any of its samples is a change of its version in
/// [`PIPELINE_VERSION`](crate::store::cache::PIPELINE_VERSION).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quality {
    /// A narrower band and 100 dB, which is more than 16 bits hold; the cheapest.
    Fast,
    /// Beyond soxr's VHQ.
    #[default]
    High,
    /// As good as `f32` samples can be: worked out in `f64`.
    Best,
}

impl Quality {
    /// All of them, from the cheapest to the dearest.
    pub const ALL: [Self; 3] = [Self::Fast, Self::High, Self::Best];

    /// As Python and the command line know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::High => "high",
            Self::Best => "best",
        }
    }

    /// Where the pass band ends, as a part of the lower rate's Nyquist frequency.
    pub fn pass_band(self) -> f64 {
        match self {
            Self::Fast => 0.9,
            Self::High => 0.95,
            Self::Best => 0.98,
        }
    }

    /// Where the stop band begins, as a part of the lower rate's Nyquist frequency: nothing folds.
    pub fn stop_band(self) -> f64 {
        1.0
    }

    /// What the filter is designed for, in dB; beyond what samples of `f32` show.
    pub fn rejection(self) -> f64 {
        match self {
            Self::Fast => 105.0,
            Self::High => 140.0,
            Self::Best => 160.0,
        }
    }

    /// Samples of a transform at least; the shorter filter leaves more of a short one.
    pub(super) fn block(self) -> usize {
        match self {
            Self::Fast => 2048,
            Self::High | Self::Best => 4096,
        }
    }

    /// The filter for rates reduced to `from` and `to`.
    pub(super) fn band(self, from: usize, to: usize) -> Band {
        let nyquist = 0.5 * from.min(to) as f64 / from as f64;
        Band {
            pass: self.pass_band() * nyquist,
            stop: self.stop_band() * nyquist,
            rejection: self.rejection(),
            block: self.block(),
        }
    }
}

impl FromStr for Quality {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| {
            let reason = format!(r#"quality must be "fast", "high" or "best", not {name:?}"#);
            Error::invalid(reason)
        })
    }
}
