//! From quantized lines to a spectrum: ISO/IEC 11172-3, section 2.4.3.4.7, and the order of short
//! blocks, section 2.4.3.4.8.
#![allow(
    clippy::needless_range_loop,
    reason = "loops over the same places of several rows"
)]

use std::sync::LazyLock;

use super::bands::{LONG, LONG_EDGES, LONG_WIDTHS, SHORT, SHORT_WIDTHS};
use super::grid::{LINES, Lines, SLOTS, SUBBANDS, Spectrum};
use super::scale_factors::ScaleFactors;
use super::side_info::{Granule, Window};

/// Where in a [`Spectrum`] each line of the bit stream belongs.
pub(super) type Places = [u16; LINES];

const PREEMPHASIS: [u8; LONG] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 2, 0,
];
/// 2^(n / 4).
const QUARTERS: [f32; 4] = [1.0, 1.189_207_1, std::f32::consts::SQRT_2, 1.681_792_9];
/// Room for lines of 15 bits, sign included: they reach 8206.
const POWER_COUNT: usize = 1 << 15;
/// Signed lines to the power of 4/3, those below zero from the end.
static POWERS: LazyLock<Box<[f32; POWER_COUNT]>> = LazyLock::new(|| {
    let mut powers = vec![0.0; POWER_COUNT];
    for line in 1..=15 + (1 << 13) {
        let power = (line as f64).powf(4.0 / 3.0) as f32;
        (powers[line], powers[POWER_COUNT - line]) = (power, -power);
    }
    let powers = powers.try_into();
    powers.unwrap_or_else(|_| Box::new([0.0; POWER_COUNT]))
});

/// The place of line `line` when lines are in the order of frequency.
const fn place(line: usize) -> u16 {
    (line % SLOTS * SUBBANDS + line / SLOTS) as u16
}

const LONG_PLACES: Places = {
    let mut places = [0; LINES];
    let mut line = 0;
    while line < LINES {
        places[line] = place(line);
        line += 1;
    }
    places
};

/// By rate. A band's three windows stand end to end, and are to take turns.
static SHORT_PLACES: [Places; 9] = {
    let mut places = [[0; LINES]; 9];
    let mut rate = 0;
    while rate < 9 {
        let (mut band, mut begin) = (0, 0);
        while band < SHORT {
            let width = SHORT_WIDTHS[rate][band] as usize;
            let mut line = 0;
            while line < 3 * width {
                let (window, step) = (line / width, line % width);
                places[rate][begin + line] = place(begin + 3 * step + window);
                line += 1;
            }
            begin += 3 * width;
            band += 1;
        }
        rate += 1;
    }
    places
};

/// A band, or one window of a short band.
#[derive(Clone, Copy, Debug)]
pub(super) struct Band {
    pub(super) begin: usize,
    pub(super) end: usize,
    /// Place of its scale factor.
    pub(super) factor: usize,
    /// Of a short band: 0 to 2.
    pub(super) window: Option<usize>,
}

/// The bands of a granule in the order of the bit stream.
pub(super) fn bands(granule: &Granule, rate_index: usize) -> &'static [Band] {
    let blocks = match (granule.window, granule.is_mixed) {
        (Window::Short, false) => 1,
        (Window::Short, true) => 2,
        _ => 0,
    };
    &BANDS[rate_index][blocks]
}

/// By rate, and of long, short and mixed blocks.
static BANDS: LazyLock<[[Vec<Band>; 3]; 9]> = LazyLock::new(|| {
    let kinds = [
        (Window::Long, false),
        (Window::Short, false),
        (Window::Short, true),
    ];
    std::array::from_fn(|rate| kinds.map(|(window, is_mixed)| all_bands(window, is_mixed, rate)))
});

fn all_bands(window: Window, is_mixed: bool, rate_index: usize) -> Vec<Band> {
    let granule = Granule {
        window,
        is_mixed,
        ..Granule::default()
    };
    let longs = LONG_WIDTHS[rate_index].into_iter();
    let longs = longs.take(granule.long_bands(rate_index));
    let shorts = SHORT_WIDTHS[rate_index].into_iter();
    let windows = shorts
        .skip(granule.first_short_band())
        .flat_map(|width| (0..3).map(move |window| (width, Some(window))));
    let all = longs.map(|width| (width, None)).chain(windows);
    let mut begin = 0;
    all.enumerate()
        .map(|(factor, (width, window))| {
            let end = begin + usize::from(width);
            Band {
                begin: std::mem::replace(&mut begin, end),
                end,
                factor,
                window,
            }
        })
        .collect()
}

/// Where the lines of a granule go, the long ones first: up to which line, and both tables.
pub(super) struct Order {
    longs: usize,
    short: &'static Places,
}

impl Order {
    pub(super) fn new(granule: &Granule, rate_index: usize) -> Self {
        let longs = granule.long_bands(rate_index);
        Self {
            longs: usize::from(LONG_EDGES[rate_index][longs]),
            short: &SHORT_PLACES[rate_index],
        }
    }

    /// The places of a band's lines.
    pub(super) fn places(&self, band: &Band) -> &[u16] {
        let places = match band.begin < self.longs {
            true => &LONG_PLACES,
            false => self.short,
        };
        &places[band.begin..band.end]
    }
}

/// What a channel of a granule decodes to.
#[derive(Clone)]
pub(super) struct Coded {
    pub(super) granule: Granule,
    pub(super) factors: ScaleFactors,
    pub(super) lines: Box<Lines>,
    /// Lines from here on are zero, and not in `lines`.
    pub(super) end: usize,
}

impl Default for Coded {
    fn default() -> Self {
        Self {
            granule: Granule::default(),
            factors: [0; 39],
            lines: Box::new([0; LINES]),
            end: 0,
        }
    }
}

impl Coded {
    /// The gain of a band, of `quarters` quarters of an octave more.
    fn gain(&self, band: &Band, quarters: i32) -> f32 {
        let granule = &self.granule;
        let factor = self.factors.get(band.factor).copied().unwrap_or(0);
        let factor = match band.window {
            None if granule.has_preemphasis => factor + PREEMPHASIS[band.factor % LONG],
            _ => factor,
        };
        let block = band
            .window
            .map_or(0, |window| granule.subblock_gain[window % 3]);
        let exponent = granule.global_gain - 210 + quarters
            - 8 * block
            - (i32::from(factor) << granule.scale_shift);
        power_of_two(exponent)
    }

    /// Adds the lines to a spectrum, `quarters` quarters of an octave louder; tells how many of the
    /// lowest subbands have any.
    #[inline(always)]
    pub(super) fn add_to(
        &self,
        spectrum: &mut Spectrum,
        rate_index: usize,
        quarters: i32,
    ) -> usize {
        match self.granule.window {
            Window::Short => self.add_short_to(spectrum, rate_index, quarters),
            _ => self.add_long_to(spectrum, rate_index, quarters),
        }
    }

    #[inline(always)]
    fn add_long_to(&self, spectrum: &mut Spectrum, rate_index: usize, quarters: i32) -> usize {
        let powers = &**POWERS;
        let mut gains = [0.0; LINES];
        for band in bands(&self.granule, rate_index) {
            if band.begin >= self.end {
                break;
            }
            gains[band.begin..band.end].fill(self.gain(band, quarters));
        }
        let subbands = self.end.div_ceil(SLOTS).min(SUBBANDS);
        let lines = self.lines.as_chunks::<SLOTS>().0.iter();
        let gains = gains.as_chunks::<SLOTS>().0.iter();
        for (subband, (lines, gains)) in (0..subbands).zip(lines.zip(gains)) {
            for slot in 0..SLOTS {
                let power = powers[usize::from(lines[slot] as u16) % POWER_COUNT];
                spectrum[slot][subband % SUBBANDS] += power * gains[slot];
            }
        }
        subbands
    }

    #[inline(always)]
    fn add_short_to(&self, spectrum: &mut Spectrum, rate_index: usize, quarters: i32) -> usize {
        let powers = &**POWERS;
        let spectrum = spectrum.as_flattened_mut();
        let order = Order::new(&self.granule, rate_index);
        let mut last = 0;
        for band in bands(&self.granule, rate_index) {
            if band.begin >= self.end {
                break;
            }
            let gain = self.gain(band, quarters);
            let lines = &self.lines[band.begin..band.end.min(self.end)];
            for (line, place) in lines.iter().zip(order.places(band)) {
                let power = powers[usize::from(*line as u16) % POWER_COUNT];
                if let Some(to) = spectrum.get_mut(usize::from(*place)) {
                    *to += power * gain;
                }
            }
            // The windows of a band share its lines.
            last = match band.window {
                None => band.end,
                Some(window) => band.begin + (3 - window) * (band.end - band.begin),
            };
        }
        last.div_ceil(SLOTS)
    }
}

/// 2^(quarters / 4), for what the fields of a granule can say.
fn power_of_two(quarters: i32) -> f32 {
    let whole = (quarters >> 2).clamp(-126, 127);
    let whole = f32::from_bits(((whole + 127) as u32) << 23);
    whole * QUARTERS[(quarters & 3) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_are_powers_of_two() {
        for quarters in -450..60 {
            let expected = (f64::from(quarters) / 4.0).exp2();
            let found = f64::from(power_of_two(quarters));
            assert!((found / expected - 1.0).abs() < 1e-6, "{quarters}");
        }
    }

    #[test]
    fn bands_of_all_blocks_cover_all_lines_and_places() {
        for rate in 0..9 {
            for (window, is_mixed) in [
                (Window::Long, false),
                (Window::Short, false),
                (Window::Short, true),
            ] {
                let granule = Granule {
                    window,
                    is_mixed,
                    ..Granule::default()
                };
                let order = Order::new(&granule, rate);
                let mut places: Vec<u16> = Vec::new();
                for band in bands(&granule, rate) {
                    assert_eq!(band.begin, places.len());
                    places.extend(order.places(band));
                }
                places.sort_unstable();
                assert!(places.into_iter().eq(0..LINES as u16), "{rate} {window:?}");
            }
        }
    }
}
