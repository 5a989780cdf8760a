//! From spectra to the samples of subbands: alias reduction, inverse MDCT, windows and overlap of
//! Layer III. ISO/IEC 11172-3, sections 2.4.3.4.10.1 to 2.4.3.4.10.4.
//!
//! All subbands pass each step together, as one row, which compilers turn into vectors. All is
//! linear: spectra of channels that are wanted as their mean are added into one state.
#![allow(
    clippy::needless_range_loop,
    reason = "loops over the same places of several rows"
)]

use std::f64::consts::PI;
use std::sync::LazyLock;

use super::grid::{SLOTS, SUBBANDS, Spectrum};
use super::side_info::{Granule, Window};
use super::simd::multiply_add as fma;

type Row = [f32; SUBBANDS];

/// Subbands that have a long window in a mixed block.
const MIXED: usize = 2;
const ZERO: Row = [0.0; SUBBANDS];

/// The samples of the next two granules, by slot and subband, as far as they are known.
#[derive(Clone)]
pub(super) struct Hybrid {
    slots: [Row; 2 * SLOTS],
}

impl Default for Hybrid {
    fn default() -> Self {
        Self {
            slots: [ZERO; 2 * SLOTS],
        }
    }
}

struct Constants {
    /// Cosines of the transform of 9 points: even and odd places of the input.
    nine_even: [[f32; 4]; 5],
    nine_odd: [[f32; 4]; 4],
    /// 1 / (2 cos) of the step from 9 points to 18.
    half_secants: [f32; 9],
    /// By [`Window`], with the signs and the factors of the last step of the transform.
    windows: [[f32; 2 * SLOTS]; 4],
    six: [[f32; 6]; 6],
    short_window: [f32; 12],
    /// Alias reduction: table B.9.
    cs: [f32; 8],
    ca: [f32; 8],
}

static CONSTANTS: LazyLock<Constants> = LazyLock::new(Constants::new);

impl Constants {
    fn new() -> Self {
        let nine = |j: usize, m: usize| (PI / 18.0 * (j * (2 * m + 1)) as f64).cos() as f32;
        let six = |m: usize, k: usize| (PI / 24.0 * ((2 * m + 1) * (2 * k + 1)) as f64).cos();
        let aliases: [f64; 8] = [
            -0.6, -0.535, -0.33, -0.185, -0.095, -0.041, -0.0142, -0.0037,
        ];
        let types = [Window::Long, Window::Start, Window::Short, Window::End];
        let sine = |i: usize| (PI / 12.0 * (i as f64 + 0.5)).sin();
        Self {
            nine_even: row_of(|m| row_of(|j| nine(2 * j + 2, m))),
            nine_odd: row_of(|m| row_of(|j| nine(2 * j + 1, m))),
            half_secants: row_of(|m| (0.5 / (PI / 36.0 * (2 * m + 1) as f64).cos()) as f32),
            windows: types.map(|window| row_of(|i| folded_window(window, i))),
            six: row_of(|m| row_of(|k| six(m, k) as f32)),
            short_window: row_of(|i| (sine(i) * if i < 3 { 1.0 } else { -1.0 }) as f32),
            cs: aliases.map(|c| (1.0 / (1.0 + c * c).sqrt()) as f32),
            ca: aliases.map(|c| (c / (1.0 + c * c).sqrt()) as f32),
        }
    }
}

fn row_of<T, const N: usize>(item: impl FnMut(usize) -> T) -> [T; N] {
    std::array::from_fn(item)
}

/// Section 2.4.3.4.10.3, with the factor by which [`eighteen`] leaves its output `i` too large.
fn folded_window(window: Window, i: usize) -> f32 {
    let x = i as f64 + 0.5;
    let long = (PI / 36.0 * x).sin();
    let shape = match (window, i) {
        (Window::Start, 18..24) | (Window::End, 12..18) => 1.0,
        (Window::Start, 24..30) => (PI / 12.0 * (x - 18.0)).sin(),
        (Window::End, 6..12) => (PI / 12.0 * (x - 6.0)).sin(),
        (Window::Start, 30..36) | (Window::End, 0..6) => 0.0,
        _ => long,
    };
    let (m, sign) = output(i, SLOTS);
    (shape * sign * 0.5 / (PI / 72.0 * (2 * m + 1) as f64).cos()) as f32
}

/// Which output of the DCT-IV of size `n`, and with which sign, is output `i` of the inverse MDCT.
fn output(i: usize, n: usize) -> (usize, f64) {
    if i < n / 2 {
        (i + n / 2, 1.0)
    } else if i < 3 * n / 2 {
        (3 * n / 2 - 1 - i, -1.0)
    } else {
        (i - 3 * n / 2, -1.0)
    }
}

impl Hybrid {
    /// Adds a granule's spectrum, of which only the lowest `subbands` subbands have lines.
    #[inline(always)]
    pub(super) fn add<const FUSED: bool>(
        &mut self,
        granule: &Granule,
        spectrum: &mut Spectrum,
        subbands: usize,
    ) {
        if subbands == 0 {
            return;
        }
        if !granule.is_mixed {
            return self.add_block::<FUSED>(granule.window, spectrum, subbands);
        }
        let boundaries = if granule.window == Window::Short {
            1
        } else {
            SUBBANDS - 1
        };
        reduce_aliases(spectrum, boundaries);
        let mut lowest = [ZERO; SLOTS];
        for (low, row) in lowest.iter_mut().zip(spectrum.iter_mut()) {
            low[..MIXED].copy_from_slice(&row[..MIXED]);
            row[..MIXED].fill(0.0);
        }
        self.add_long::<FUSED, 8>(Window::Long, &mut lowest);
        match granule.window {
            Window::Short => self.add_short::<FUSED>(spectrum),
            window => self.add_long::<FUSED, 32>(window, spectrum),
        }
    }

    #[inline(always)]
    fn add_block<const FUSED: bool>(
        &mut self,
        window: Window,
        spectrum: &mut Spectrum,
        subbands: usize,
    ) {
        if window == Window::Short {
            return self.add_short::<FUSED>(spectrum);
        }
        reduce_aliases(spectrum, subbands);
        // Aliases reach one subband further.
        match subbands + 1 {
            0..=8 => self.add_long::<FUSED, 8>(window, spectrum),
            9..=16 => self.add_long::<FUSED, 16>(window, spectrum),
            17..=24 => self.add_long::<FUSED, 24>(window, spectrum),
            _ => self.add_long::<FUSED, 32>(window, spectrum),
        }
    }

    /// One transform of 36 points of each of the lowest `WIDTH` subbands.
    #[inline(always)]
    fn add_long<const FUSED: bool, const WIDTH: usize>(
        &mut self,
        window: Window,
        spectrum: &mut Spectrum,
    ) {
        let constants = &*CONSTANTS;
        let window = &constants.windows[window as usize];
        let (even, odd) = eighteen::<FUSED, WIDTH>(spectrum, constants);
        for m in 0..9 {
            // Outputs m and 17 - m of the DCT-IV; each is two outputs of the inverse MDCT.
            for slot in [26 - m, 27 + m] {
                let (gain, slots) = (window[slot], &mut self.slots[slot]);
                for lane in 0..WIDTH {
                    let sum = even[m][lane] + odd[m][lane];
                    slots[lane] = fma::<FUSED>(sum, gain, slots[lane]);
                }
            }
            for slot in [8 - m, 9 + m] {
                let (gain, slots) = (window[slot], &mut self.slots[slot]);
                for lane in 0..WIDTH {
                    let difference = even[m][lane] - odd[m][lane];
                    slots[lane] = fma::<FUSED>(difference, gain, slots[lane]);
                }
            }
        }
    }

    /// Three transforms of 12 points of each subband.
    #[inline(always)]
    fn add_short<const FUSED: bool>(&mut self, spectrum: &Spectrum) {
        let constants = &*CONSTANTS;
        for block in 0..3 {
            for m in 0..6 {
                let mut sum = ZERO;
                for k in 0..6 {
                    let (line, cosine) = (&spectrum[3 * k + block], constants.six[m][k]);
                    for lane in 0..SUBBANDS {
                        sum[lane] = fma::<FUSED>(line[lane], cosine, sum[lane]);
                    }
                }
                // Both outputs of the inverse MDCT that this one is.
                let places = if m < 3 {
                    [8 - m, 9 + m]
                } else {
                    [m - 3, 8 - m]
                };
                for place in places {
                    let (gain, slots) = (
                        constants.short_window[place],
                        &mut self.slots[6 + 6 * block + place],
                    );
                    for lane in 0..SUBBANDS {
                        slots[lane] = fma::<FUSED>(sum[lane], gain, slots[lane]);
                    }
                }
            }
        }
    }

    /// The granule's samples, with every second one of every second subband negated, as the synthesis
    /// wants them. To be followed by [`Hybrid::advance`].
    #[inline(always)]
    pub(super) fn present(&mut self) -> &[Row] {
        let (present, _) = self.slots.split_at_mut(SLOTS);
        for slot in present.iter_mut().skip(1).step_by(2) {
            for pair in slot.as_chunks_mut::<2>().0 {
                pair[1] = -pair[1];
            }
        }
        present
    }

    /// Moves on to the next granule.
    #[inline(always)]
    pub(super) fn advance(&mut self) {
        let (present, next) = self.slots.split_at_mut(SLOTS);
        for (present, next) in present.iter_mut().zip(next) {
            *present = std::mem::replace(next, ZERO);
        }
    }
}

/// Section 2.4.3.4.10.1, across the lowest `boundaries` boundaries between subbands.
#[inline(always)]
fn reduce_aliases(spectrum: &mut Spectrum, boundaries: usize) {
    let constants = &*CONSTANTS;
    let boundaries = boundaries.min(SUBBANDS - 1);
    for i in 0..8 {
        let (cs, ca) = (constants.cs[i], constants.ca[i]);
        let (above, below) = spectrum.split_at_mut(SLOTS / 2);
        let above = &mut above[i][1..=boundaries];
        let below = &mut below[SLOTS / 2 - 1 - i][..boundaries];
        for (above, below) in above.iter_mut().zip(below) {
            (*below, *above) = (*below * cs - *above * ca, *above * cs + *below * ca);
        }
    }
}

type Nine = [Row; 9];

/// A DCT-IV of size 18 of each subband, up to the last step: output m is the sum of both rows m divided
/// by 2 cos(π (2m + 1) / 72), and output 17 - m their difference likewise.
///
/// 2 cos φ cos((2k + 1) φ) = cos(2k φ) + cos((2k + 2) φ) makes it a DCT-III, whose even half is one of 9
/// points; the same step makes its odd half another one.
#[inline(always)]
fn eighteen<const FUSED: bool, const WIDTH: usize>(
    x: &mut Spectrum,
    constants: &Constants,
) -> (Nine, Nine) {
    for k in (1..SLOTS).rev() {
        add_row::<WIDTH>(x, k, 1);
    }
    for k in (3..SLOTS).rev().step_by(2) {
        add_row::<WIDTH>(x, k, 2);
    }
    let even = nine::<FUSED, WIDTH>(x, 0, constants);
    let mut odd = nine::<FUSED, WIDTH>(x, 1, constants);
    for (row, secant) in odd.iter_mut().zip(constants.half_secants) {
        for lane in &mut row[..WIDTH] {
            *lane *= secant;
        }
    }
    (even, odd)
}

/// Adds the row `back` rows before row `k` to it.
#[inline(always)]
fn add_row<const WIDTH: usize>(x: &mut Spectrum, k: usize, back: usize) {
    let (before, rest) = x.split_at_mut(k);
    for lane in 0..WIDTH {
        rest[0][lane] += before[k - back][lane];
    }
}

/// A DCT-III of 9 points of every second row from `first` on.
#[inline(always)]
fn nine<const FUSED: bool, const WIDTH: usize>(
    x: &Spectrum,
    first: usize,
    constants: &Constants,
) -> Nine {
    let mut out = [ZERO; 9];
    let row = |j: usize| &x[2 * j + first];
    for m in 0..5 {
        let of = &constants.nine_even[m];
        for lane in 0..WIDTH {
            let mut sum = fma::<FUSED>(row(2)[lane], of[0], row(0)[lane]);
            sum = fma::<FUSED>(row(4)[lane], of[1], sum);
            sum = fma::<FUSED>(row(6)[lane], of[2], sum);
            out[m][lane] = fma::<FUSED>(row(8)[lane], of[3], sum);
        }
    }
    for m in 0..4 {
        let of = &constants.nine_odd[m];
        let (low, high) = out.split_at_mut(8 - m);
        for lane in 0..WIDTH {
            let mut sum = row(1)[lane] * of[0];
            sum = fma::<FUSED>(row(3)[lane], of[1], sum);
            sum = fma::<FUSED>(row(5)[lane], of[2], sum);
            sum = fma::<FUSED>(row(7)[lane], of[3], sum);
            (low[m][lane], high[0][lane]) = (low[m][lane] + sum, low[m][lane] - sum);
        }
    }
    out
}
