//! The indices that code a frame: RFC 6716, section 4.2.7.3 to 4.2.7.7.

use super::lsf::{Codebook, LsfIndices, NARROW, WIDE};
use super::tables as t;
use crate::codec::opus::range::RangeDecoder;

/// The most subframes, of 5 ms each.
pub(super) const MAX_SUBFRAMES: usize = 4;
/// LSFs of the whole frame, not mixed with those before.
pub(super) const NO_INTERPOLATION: i32 = 4;

/// The internal rate in kHz (8, 12 or 16) and the subframes (2 or 4) of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Layout {
    pub(super) khz: usize,
    pub(super) subframes: usize,
}

impl Layout {
    /// Samples of a subframe, of a frame, and of what the pitch filter looks back on.
    pub(super) fn subframe(self) -> usize {
        5 * self.khz
    }

    pub(super) fn frame(self) -> usize {
        self.subframes * self.subframe()
    }

    pub(super) fn memory(self) -> usize {
        20 * self.khz
    }

    pub(super) fn codebook(self) -> &'static Codebook {
        if self.khz == 16 { &WIDE } else { &NARROW }
    }

    pub(super) fn order(self) -> usize {
        self.codebook().order
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Signal {
    #[default]
    Inactive,
    Unvoiced,
    Voiced,
}

/// What a frame may refer to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Coding {
    Independent,
    /// As the one above, and what the pitch filter looks back on is known: it is not scaled.
    Unscaled,
    Conditional,
}

/// What the indices of the next frame refer to.
#[derive(Clone, Debug, Default)]
pub(super) struct Previous {
    signal: Signal,
    lag: i32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Indices {
    pub(super) signal: Signal,
    /// Which of the quantization offsets.
    pub(super) offset: usize,
    pub(super) gains: [u8; MAX_SUBFRAMES],
    pub(super) is_conditional: bool,
    pub(super) lsf: LsfIndices,
    /// Quarters of the way from the LSFs before to these, in the first half of the frame.
    pub(super) interpolation: i32,
    pub(super) pitch: PitchIndices,
    pub(super) seed: i32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct PitchIndices {
    /// Samples beyond the shortest lag.
    pub(super) lag: i32,
    pub(super) contour: usize,
    pub(super) periodicity: usize,
    pub(super) filters: [usize; MAX_SUBFRAMES],
    pub(super) scale: usize,
}

impl Indices {
    /// Reads those of a frame with voice activity or without.
    pub(super) fn read(
        range: &mut RangeDecoder<'_>,
        layout: Layout,
        is_active: bool,
        coding: Coding,
        previous: &mut Previous,
    ) -> Self {
        let frame_type = if is_active {
            range.symbol(&t::FRAME_TYPE_ACTIVE, 8) + 2
        } else {
            range.symbol(&t::FRAME_TYPE_INACTIVE, 8)
        };
        let signal = [Signal::Inactive, Signal::Unvoiced, Signal::Voiced][frame_type >> 1];
        let is_conditional = coding == Coding::Conditional;
        let mut indices = Self {
            signal,
            offset: frame_type & 1,
            gains: gains(range, layout, signal, is_conditional),
            is_conditional,
            lsf: layout.codebook().read(range, signal == Signal::Voiced),
            interpolation: NO_INTERPOLATION,
            ..Self::default()
        };
        if layout.subframes == MAX_SUBFRAMES {
            indices.interpolation = range.symbol(&t::LSF_INTERPOLATION, 8) as i32;
        }
        if signal == Signal::Voiced {
            indices.pitch = PitchIndices::read(range, layout, coding, previous);
        }
        previous.signal = signal;
        indices.seed = range.symbol(&t::UNIFORM_4, 8) as i32;
        indices
    }
}

/// Section 4.2.7.4.
fn gains(
    range: &mut RangeDecoder<'_>,
    layout: Layout,
    signal: Signal,
    is_conditional: bool,
) -> [u8; MAX_SUBFRAMES] {
    let mut gains = [0; MAX_SUBFRAMES];
    for (at, gain) in gains[..layout.subframes].iter_mut().enumerate() {
        *gain = if at > 0 || is_conditional {
            range.symbol(&t::GAIN_DELTA, 8) as u8
        } else {
            let high = range.symbol(&t::GAIN_HIGH[signal as usize], 8) as u8;
            high << 3 | range.symbol(&t::UNIFORM_8, 8) as u8
        };
    }
    gains
}

impl PitchIndices {
    /// Section 4.2.7.6.
    fn read(
        range: &mut RangeDecoder<'_>,
        layout: Layout,
        coding: Coding,
        previous: &mut Previous,
    ) -> Self {
        let lag = read_lag(range, layout, coding, previous);
        previous.lag = lag;
        let contour = range.symbol(contours(layout).0, 8);
        let periodicity = range.symbol(&t::PERIODICITY, 8);
        let mut filters = [0; MAX_SUBFRAMES];
        for filter in &mut filters[..layout.subframes] {
            *filter = match periodicity {
                0 => range.symbol(&t::FILTER_INDEX_0, 8),
                1 => range.symbol(&t::FILTER_INDEX_1, 8),
                _ => range.symbol(&t::FILTER_INDEX_2, 8),
            };
        }
        let scale = match coding {
            Coding::Independent => range.symbol(&t::PITCH_SCALE, 8),
            _ => 0,
        };
        Self {
            lag,
            contour,
            periodicity,
            filters,
            scale,
        }
    }

    /// The lag of a subframe in samples: section 4.2.7.6.1.
    pub(super) fn lag(&self, layout: Layout, subframe: usize) -> usize {
        let lags = contours(layout).1;
        let offset = lags[subframe * (lags.len() / layout.subframes) + self.contour];
        let khz = layout.khz as i32;
        (2 * khz + self.lag + i32::from(offset)).clamp(2 * khz, 18 * khz) as usize
    }

    /// The filter of a subframe, in Q7: section 4.2.7.6.2.
    pub(super) fn filter(&self, subframe: usize) -> [i8; 5] {
        let index = self.filters[subframe];
        match self.periodicity {
            0 => t::FILTERS_0_Q7[index],
            1 => t::FILTERS_1_Q7[index],
            _ => t::FILTERS_2_Q7[index],
        }
    }
}

fn read_lag(
    range: &mut RangeDecoder<'_>,
    layout: Layout,
    coding: Coding,
    previous: &Previous,
) -> i32 {
    if coding == Coding::Conditional && previous.signal == Signal::Voiced {
        let delta = range.symbol(&t::PITCH_DELTA, 8) as i32;
        if delta > 0 {
            return previous.lag + delta - 9;
        }
    }
    let low: &[u8] = match layout.khz {
        8 => &t::UNIFORM_4,
        12 => &t::UNIFORM_6,
        _ => &t::UNIFORM_8,
    };
    let high = range.symbol(&t::PITCH_HIGH, 8);
    (high * low.len() + range.symbol(low, 8)) as i32
}

/// The distribution of contours, and the lags of each, one subframe after the other.
fn contours(layout: Layout) -> (&'static [u8], &'static [i8]) {
    match (layout.khz == 8, layout.subframes == MAX_SUBFRAMES) {
        (true, false) => (
            &t::CONTOUR_NB_10_MS,
            t::CONTOUR_LAGS_NB_10_MS.as_flattened(),
        ),
        (true, true) => (
            &t::CONTOUR_NB_20_MS,
            t::CONTOUR_LAGS_NB_20_MS.as_flattened(),
        ),
        (false, false) => (&t::CONTOUR_10_MS, t::CONTOUR_LAGS_10_MS.as_flattened()),
        (false, true) => (&t::CONTOUR_20_MS, t::CONTOUR_LAGS_20_MS.as_flattened()),
    }
}
