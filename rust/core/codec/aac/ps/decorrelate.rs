//! A second signal that is as loud as the first and yet unlike it: ISO/IEC 14496-3, section 8.6.4.5.

use std::f64::consts::PI;
use std::sync::LazyLock;

use super::hybrid::{SUBBANDS, Subbands};
use super::spread::{BAND_OF_20, BAND_OF_34};
use super::{MOST_BANDS, SLOTS};

const LINKS: usize = 3;
/// Samples that each link of the all-pass filter delays by.
const DELAYS: [usize; LINKS] = [3, 4, 5];
const LONGEST: usize = 5;
/// Delays in front of the all-pass filters, of the bands above them, and of those above these.
const BEFORE: usize = 2;
const LONG: usize = 14;
const SHORT: usize = 1;

/// Numbers that go with 20 or with 34 bands.
pub(super) struct Shape {
    pub(super) bands: usize,
    pub(super) subbands: usize,
    pub(super) band_of: &'static [u8],
    /// Sub-bands with all-pass filters, and where the short delay begins.
    filtered: usize,
    short_from: usize,
    /// Of each sub-band with a filter: the turn before it, those of its links, and how strong it is.
    turns: Vec<[[f32; 2]; LINKS + 1]>,
    strengths: Vec<f32>,
}

impl Shape {
    pub(super) fn of(is_fine: bool) -> &'static Self {
        static SHAPES: LazyLock<[Shape; 2]> = LazyLock::new(|| [Shape::coarse(), Shape::fine()]);
        &SHAPES[usize::from(is_fine)]
    }

    fn coarse() -> Self {
        const CENTERS: [f64; 10] = [-3.0, -1.0, 1.0, 3.0, 5.0, 7.0, 10.0, 14.0, 18.0, 22.0];
        let center = |k: usize| CENTERS.get(k).map_or(k as f64 - 6.5, |center| center / 8.0);
        Self {
            bands: 20,
            subbands: 71,
            band_of: &BAND_OF_20,
            filtered: 30,
            short_from: 42,
            turns: (0..30).map(|k| turns(center(k))).collect(),
            strengths: strengths(30, 10),
        }
    }

    fn fine() -> Self {
        const CENTERS: [f64; 32] = [
            2.0, 6.0, 10.0, 14.0, 18.0, 22.0, 26.0, 30.0, 34.0, -10.0, -6.0, -2.0, 51.0, 57.0,
            15.0, 21.0, 27.0, 33.0, 39.0, 45.0, 54.0, 66.0, 78.0, 42.0, 102.0, 66.0, 78.0, 90.0,
            102.0, 114.0, 126.0, 90.0,
        ];
        let center = |k: usize| {
            CENTERS
                .get(k)
                .map_or(k as f64 - 26.5, |center| center / 24.0)
        };
        Self {
            bands: 34,
            subbands: 91,
            band_of: &BAND_OF_34,
            filtered: 50,
            short_from: 62,
            turns: (0..50).map(|k| turns(center(k))).collect(),
            strengths: strengths(50, 32),
        }
    }
}

fn turns(center: f64) -> [[f32; 2]; LINKS + 1] {
    [0.39, 0.43, 0.75, 0.347].map(|fraction| {
        let angle = -PI * fraction * center;
        [angle.cos() as f32, angle.sin() as f32]
    })
}

fn strengths(count: usize, cutoff: usize) -> Vec<f32> {
    let above = |k: usize| k.saturating_sub(cutoff) as f32;
    (0..count)
        .map(|k| (1.0 - 0.05 * above(k)).max(0.0))
        .collect()
}

/// Complex samples before a packet.
type Past<const N: usize> = [[f32; N]; 2];

/// What goes from packet to packet.
#[derive(Clone)]
pub(super) struct Decorrelator {
    delays: Box<[Past<LONG>; SUBBANDS]>,
    links: Box<[[Past<LONGEST>; LINKS]; 50]>,
    followers: [Follower; MOST_BANDS],
    is_fine: bool,
}

/// Follows the power of a band: it finds what fades.
#[derive(Clone, Copy, Default)]
struct Follower {
    peak: f32,
    power: f32,
    difference: f32,
}

impl Follower {
    /// Replaces the powers of a packet by what the second signal is multiplied by.
    fn run(&mut self, powers: &mut [f32; SLOTS]) {
        const FADING: f32 = 0.765_928_3;
        /// Nothing that is heard, and slow to reckon with.
        const NOTHING: f32 = 1e-30;
        for power in powers {
            self.peak = (FADING * self.peak).max(*power);
            self.power += 0.25 * (*power - self.power);
            self.difference += 0.25 * (self.peak - *power - self.difference);
            let most = 1.5 * self.difference;
            *power = if most > self.power {
                self.power / most
            } else {
                1.0
            };
        }
        for value in [&mut self.peak, &mut self.power, &mut self.difference] {
            if *value < NOTHING {
                *value = 0.0;
            }
        }
    }
}

impl Decorrelator {
    pub(super) fn new() -> Self {
        Self {
            delays: Box::new([[[0.0; LONG]; 2]; SUBBANDS]),
            links: Box::new([[[[0.0; LONGEST]; 2]; LINKS]; 50]),
            followers: [Follower::default(); MOST_BANDS],
            is_fine: false,
        }
    }

    /// Makes `to` of `from`, whose sub-bands from `top` on are silent.
    #[inline(always)]
    pub(super) fn run(&mut self, from: &Subbands, to: &mut Subbands, is_fine: bool, top: usize) {
        if std::mem::replace(&mut self.is_fine, is_fine) != is_fine {
            *self = Self {
                is_fine,
                ..Self::new()
            };
        }
        let shape = Shape::of(is_fine);
        self.silence(top);
        let gains = self.gains(from, shape);
        for k in 0..shape.subbands {
            let gain = &gains[usize::from(shape.band_of[k])];
            let delay = match k {
                k if k < shape.filtered => BEFORE,
                k if k < shape.short_from => LONG,
                _ => SHORT,
            };
            let mut rows = [&from.re[k], &from.im[k]].map(|row| *row);
            for (row, past) in rows.iter_mut().zip(&mut self.delays[k]) {
                hold_back(row, past, delay);
            }
            if let (Some(turns), Some(links)) = (shape.turns.get(k), self.links.get_mut(k)) {
                pass(&mut rows, links, turns, shape.strengths[k]);
            }
            for (row, to) in rows.iter().zip([&mut to.re[k], &mut to.im[k]]) {
                for ((to, sample), gain) in to.iter_mut().zip(row).zip(gain) {
                    *to = sample * gain;
                }
            }
        }
    }

    fn silence(&mut self, top: usize) {
        for delay in self.delays.iter_mut().skip(top) {
            *delay = [[0.0; LONG]; 2];
        }
        for links in self.links.iter_mut().skip(top) {
            *links = [[[0.0; LONGEST]; 2]; LINKS];
        }
    }

    /// What each band is multiplied by, so that nothing fades for longer than the first signal does.
    #[inline(always)]
    fn gains(&mut self, from: &Subbands, shape: &Shape) -> [[f32; SLOTS]; MOST_BANDS] {
        let mut powers = [[0.0; SLOTS]; MOST_BANDS];
        for (k, band) in shape.band_of.iter().enumerate() {
            let power = &mut powers[usize::from(*band)];
            for (power, (re, im)) in power.iter_mut().zip(from.re[k].iter().zip(&from.im[k])) {
                *power += re * re + im * im;
            }
        }
        let followers = self.followers.iter_mut().zip(&mut powers);
        for (follower, powers) in followers.take(shape.bands) {
            follower.run(powers);
        }
        powers
    }
}

/// Delays a row by `delay` samples.
#[inline(always)]
fn hold_back(row: &mut [f32; SLOTS], past: &mut [f32; LONG], delay: usize) {
    let now = *row;
    row[..delay].copy_from_slice(&past[LONG - delay..]);
    row[delay..].copy_from_slice(&now[..SLOTS - delay]);
    past.copy_from_slice(&now[SLOTS - LONG..]);
}

/// Three all-pass filters in a row.
#[inline(always)]
fn pass(
    [re, im]: &mut [[f32; SLOTS]; 2],
    links: &mut [Past<LONGEST>; LINKS],
    turns: &[[f32; 2]; LINKS + 1],
    strength: f32,
) {
    const GAINS: [f32; LINKS] = [0.651_439_1, 0.564_718_1, 0.489_541_65];
    let [a, b] = turns[0];
    for (re, im) in re.iter_mut().zip(im.iter_mut()) {
        (*re, *im) = (*re * a - *im * b, *re * b + *im * a);
    }
    for (link, past) in links.iter_mut().enumerate() {
        let (gain, [a, b]) = (GAINS[link] * strength, turns[link + 1]);
        let delay = DELAYS[link];
        let mut kept = [[0.0; LONGEST + SLOTS]; 2];
        let [kept_re, kept_im] = &mut kept;
        kept_re[..LONGEST].copy_from_slice(&past[0]);
        kept_im[..LONGEST].copy_from_slice(&past[1]);
        for n in 0..SLOTS {
            let (old_re, old_im) = (kept_re[n + LONGEST - delay], kept_im[n + LONGEST - delay]);
            let (in_re, in_im) = (re[n], im[n]);
            re[n] = old_re * a - old_im * b - gain * in_re;
            im[n] = old_re * b + old_im * a - gain * in_im;
            kept_re[n + LONGEST] = in_re + gain * re[n];
            kept_im[n + LONGEST] = in_im + gain * im[n];
        }
        past[0].copy_from_slice(&kept_re[SLOTS..]);
        past[1].copy_from_slice(&kept_im[SLOTS..]);
    }
}
