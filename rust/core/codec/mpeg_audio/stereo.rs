//! Both channels from what they share: ISO/IEC 11172-3, section 2.4.3.4.9, and 13818-3, section
//! 2.4.3.2.

use std::f32::consts::FRAC_1_SQRT_2;
use std::sync::LazyLock;

use super::grid::Spectrum;
use super::header::Header;
use super::requantize::{Band, Coded, Order, bands};

/// The gains of both channels by place, of MPEG 1 first, then of MPEG 2 with both of its steps. Places
/// from the table's end on stand for no intensity. MPEG 2 could code places beyond 15; FFmpeg, too,
/// takes them for illegal.
static GAINS: LazyLock<[Vec<[f32; 2]>; 3]> = LazyLock::new(|| {
    let mpeg1 = |place: i32| {
        // tan(90°) is infinite.
        let turn = f64::from(place) * std::f64::consts::PI / 12.0;
        let (left, right) = (turn.sin(), turn.cos());
        [left, right].map(|gain| (gain / (left + right)) as f32)
    };
    let mpeg2 = |place: i32, step: f64| {
        let lower = (-step * f64::from((place + 1) / 2)).exp2() as f32;
        if place % 2 == 1 {
            [lower, 1.0]
        } else {
            [1.0, lower]
        }
    };
    [
        (0..7).map(mpeg1).collect(),
        (0..16).map(|place| mpeg2(place, 0.25)).collect(),
        (0..16).map(|place| mpeg2(place, 0.5)).collect(),
    ]
});

/// Sum and difference of two channels, whose gain has been seen to, to the channels.
#[inline(always)]
pub(super) fn mid_side([mid, side]: &mut [Spectrum; 2]) {
    for (mid, side) in mid.iter_mut().zip(side.iter_mut()) {
        for (mid, side) in mid.iter_mut().zip(side) {
            (*mid, *side) = (*mid + *side, *mid - *side);
        }
    }
    #[cfg(test)]
    planted(side);
}

#[cfg(test)]
fn planted(side: &mut Spectrum) {
    use crate::codec::planted::{Bug, has};

    if has(Bug::MidSide) {
        side[0][0] = -side[0][0];
    }
}

/// Intensity stereo where the right channel has nothing, and above; sum and difference elsewhere
/// where the header says so.
pub(super) fn intensity(header: Header, coded: &[Coded; 2], spectra: &mut [Spectrum; 2]) {
    let right = &coded[1];
    let rate_index = header.rate_index();
    let table = match header.is_mpeg1() {
        true => 0,
        false => 1 + (right.granule.scale_compress & 1) as usize,
    };
    let order = Order::new(&right.granule, rate_index);
    let all = bands(&right.granule, rate_index);
    // Whether a higher band of the same window has lines.
    let mut has_lines = [false; 3];
    for (index, band) in all.iter().enumerate().rev() {
        let found = has_lines_in(right, band);
        let is_above = match band.window {
            Some(window) => {
                has_lines[window] |= found;
                !has_lines[window]
            }
            None => {
                has_lines = [has_lines.iter().any(|has| *has) || found; 3];
                !has_lines[0]
            }
        };
        let is_last = all
            .get(index + 1 + 2 * usize::from(band.window.is_some()))
            .is_none();
        let factor = place_factor(band, is_last);
        let gains = GAINS[table].get(usize::from(right.factors[factor % 39]));
        match gains.filter(|_| is_above) {
            Some(gains) => share(order.places(band), spectra, *gains),
            None if header.has_mid_side() => unmix(order.places(band), spectra),
            None => {}
        }
    }
}

/// The last band has no factor of its own, and takes that of the band below.
fn place_factor(band: &Band, is_last: bool) -> usize {
    let back = match (is_last, band.window) {
        (false, _) => 0,
        (true, None) => 1,
        (true, Some(_)) => 3,
    };
    band.factor.saturating_sub(back)
}

fn has_lines_in(coded: &Coded, band: &Band) -> bool {
    let end = band.end.min(coded.end);
    let lines = coded.lines.get(band.begin..end).unwrap_or_default();
    lines.iter().any(|line| *line != 0)
}

fn share(places: &[u16], [left, right]: &mut [Spectrum; 2], gains: [f32; 2]) {
    let (left, right) = (left.as_flattened_mut(), right.as_flattened_mut());
    for place in places.iter().map(|place| usize::from(*place)) {
        (left[place], right[place]) = (left[place] * gains[0], left[place] * gains[1]);
    }
}

fn unmix(places: &[u16], [left, right]: &mut [Spectrum; 2]) {
    let (left, right) = (left.as_flattened_mut(), right.as_flattened_mut());
    for place in places.iter().map(|place| usize::from(*place)) {
        let (mid, side) = (left[place] * FRAC_1_SQRT_2, right[place] * FRAC_1_SQRT_2);
        (left[place], right[place]) = (mid + side, mid - side);
    }
}
