//! What is heard of the high bands: ISO/IEC 14496-3, section 4.6.18.7.5.

use super::super::qmf::{BANDS, Bands, Row, SLOTS};
use super::adjust::{Gains, is_transient};
use super::bands::{MOST_BANDS, Tables};
use super::generate::OFFSET;
use super::grid::MOST_ENVELOPES;
use super::noise::NOISE;
use super::payload::Channel;

/// Samples by which the envelopes of a packet may reach into the next.
pub(super) const TAIL: usize = 6;
/// Samples of a packet and its tail.
pub(super) const REACH: usize = SLOTS + TAIL;
/// Samples over which gains are smoothed, but for the newest.
const MEMORY: usize = 4;

/// The weights of smoothing, the newest first.
const WEIGHTS: [f32; MEMORY + 1] = [
    0.333_333_34,
    0.301_502_82,
    0.218_169_5,
    0.115_163_83,
    0.031_830_5,
];

/// The gains of the last samples, of each band.
#[derive(Clone)]
pub(super) struct Memory {
    gains: [[f32; MEMORY]; MOST_BANDS],
    noise: [[f32; MEMORY]; MOST_BANDS],
    is_empty: bool,
}

impl Memory {
    pub(super) const fn new() -> Self {
        Self {
            gains: [[0.0; MEMORY]; MOST_BANDS],
            noise: [[0.0; MEMORY]; MOST_BANDS],
            is_empty: true,
        }
    }

    /// The next gains follow upon nothing.
    pub(super) fn clear(&mut self) {
        self.is_empty = true;
    }
}

/// Shapes the copied bands; `slot` is the number of the packet's first sample in the stream.
#[inline(always)]
pub(super) fn assemble(
    high: &mut Bands<Row, BANDS>,
    tables: &Tables,
    channel: &Channel,
    gains: &[Gains; MOST_ENVELOPES],
    memory: &mut Memory,
    (slot, smooths): (u32, bool),
) {
    let count = channel.grid.envelopes;
    for m in 0..tables.count {
        let band = tables.first + m;
        let row = (&mut high.re[band], &mut high.im[band]);
        let of = |pick: fn(&Gains) -> &[f32; MOST_BANDS]| {
            std::array::from_fn(|envelope| pick(&gains[envelope])[m])
        };
        let mut curve = Curve::new(channel, of(|g| &g.gain), of(|g| &g.noise));
        if memory.is_empty {
            memory.gains[m] = [gains[0].gain[m]; MEMORY];
            memory.noise[m] = [gains[0].noise[m]; MEMORY];
        }
        curve.remember(
            (&mut memory.gains[m], &mut memory.noise[m]),
            channel,
            smooths,
        );
        let place = Place {
            number: slot
                .wrapping_mul(tables.count as u32)
                .wrapping_add(m as u32 + 1),
            step: tables.count,
            slot,
            is_odd: band % 2 == 1,
        };
        for (envelope, gains) in gains.iter().enumerate().take(count) {
            let slots = channel.grid.envelope(envelope);
            let samples = 2 * slots.start..2 * slots.end;
            let hisses = !is_transient(channel, envelope);
            shape(
                (&mut *row.0, &mut *row.1),
                &curve,
                &place,
                (gains.sine[m], hisses),
                samples,
            );
        }
    }
    memory.is_empty = false;
}

/// The gains of one band, sample by sample.
struct Curve {
    gain: [f32; MEMORY + REACH],
    noise: [f32; MEMORY + REACH],
}

impl Curve {
    #[inline(always)]
    fn new(channel: &Channel, gain: [f32; MOST_ENVELOPES], noise: [f32; MOST_ENVELOPES]) -> Self {
        let mut curve = Self {
            gain: [0.0; MEMORY + REACH],
            noise: [0.0; MEMORY + REACH],
        };
        for envelope in 0..channel.grid.envelopes {
            let slots = channel.grid.envelope(envelope);
            let samples = MEMORY + 2 * slots.start..MEMORY + 2 * slots.end;
            curve.gain[samples.clone()].fill(gain[envelope]);
            curve.noise[samples].fill(noise[envelope]);
        }
        curve
    }

    /// Puts the last gains in front, keeps the newest, and smooths all but transients.
    #[inline(always)]
    fn remember(
        &mut self,
        (gains, noise): (&mut [f32; MEMORY], &mut [f32; MEMORY]),
        channel: &Channel,
        smooths: bool,
    ) {
        let (begin, end) = (2 * channel.grid.begin(), 2 * channel.grid.end());
        for (curve, last) in [(&mut self.gain, gains), (&mut self.noise, noise)] {
            curve[begin..begin + MEMORY].copy_from_slice(last);
            last.copy_from_slice(&curve[end..end + MEMORY]);
            if !smooths {
                continue;
            }
            let rough = *curve;
            for envelope in 0..channel.grid.envelopes {
                if is_transient(channel, envelope) {
                    continue;
                }
                let slots = channel.grid.envelope(envelope);
                for at in MEMORY + 2 * slots.start..MEMORY + 2 * slots.end {
                    let terms = WEIGHTS.iter().enumerate();
                    curve[at] = terms.map(|(ago, weight)| weight * rough[at - ago]).sum();
                }
            }
        }
    }
}

/// What noise and sines of a band depend on: where in the stream its samples are, so that they are the same
/// wherever decoding began.
struct Place {
    /// Of the noise of the packet's first sample, and the step to the next.
    number: u32,
    step: usize,
    slot: u32,
    is_odd: bool,
}

/// Multiplies the samples of an envelope, and adds its sine, or noise unless a transient begins it.
#[inline(always)]
fn shape(
    (re, im): (&mut Row, &mut Row),
    curve: &Curve,
    place: &Place,
    (sine, hisses): (f32, bool),
    samples: std::ops::Range<usize>,
) {
    let rows = OFFSET + samples.start..OFFSET + samples.end;
    let (re, im) = (&mut re[rows.clone()], &mut im[rows]);
    let gains = &curve.gain[MEMORY + samples.start..MEMORY + samples.end];
    for ((re, im), gain) in re.iter_mut().zip(im.iter_mut()).zip(gains) {
        *re *= gain;
        *im *= gain;
    }
    let numbered = samples.clone().zip(re.iter_mut().zip(im.iter_mut()));
    if sine != 0.0 {
        let odd = if place.is_odd { -sine } else { sine };
        for (at, (re, im)) in numbered {
            match (place.slot.wrapping_add(at as u32)) & 3 {
                0 => *re += sine,
                1 => *im += odd,
                2 => *re -= sine,
                _ => *im -= odd,
            }
        }
    } else if hisses {
        let levels = &curve.noise[MEMORY + samples.start..MEMORY + samples.end];
        let first = place.number as usize + place.step * samples.start;
        let mut number = first & (NOISE.len() - 1);
        for (level, (_, (re, im))) in levels.iter().zip(numbered) {
            let [a, b] = NOISE[number];
            *re += level * a;
            *im += level * b;
            number = (number + place.step) & (NOISE.len() - 1);
        }
    }
}
