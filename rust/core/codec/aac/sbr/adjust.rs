//! How loud each high band is to be: ISO/IEC 14496-3, section 4.6.18.7.

use super::super::qmf::{BANDS, Bands, Row};
use super::bands::{MOST_BANDS, Tables};
use super::generate::OFFSET;
use super::grid::MOST_ENVELOPES;
use super::header::Header;
use super::payload::Channel;

/// Energies that a packet asks for, by bands of the envelope and of noise.
#[derive(Clone)]
pub(in super::super) struct Energies {
    pub(super) levels: [[f32; MOST_BANDS]; MOST_ENVELOPES],
    pub(super) noise: [[f32; super::bands::MOST_NOISE_BANDS]; 2],
}

/// What the bands of one envelope are multiplied by, and what is added.
#[derive(Clone, Copy)]
pub(super) struct Gains {
    pub(super) gain: [f32; MOST_BANDS],
    pub(super) noise: [f32; MOST_BANDS],
    pub(super) sine: [f32; MOST_BANDS],
}

impl Gains {
    pub(super) const NONE: Self = Self {
        gain: [0.0; MOST_BANDS],
        noise: [0.0; MOST_BANDS],
        sine: [0.0; MOST_BANDS],
    };
}

/// Sines of the envelope before, by bands of the filter bank.
pub(super) type Sines = [bool; MOST_BANDS];

/// The gains of each envelope; `sines` are those of the packet before, and then of this one.
#[inline(always)]
pub(super) fn gains(
    high: &Bands<Row, BANDS>,
    (header, tables): (&Header, &Tables),
    channel: &Channel,
    energies: &Energies,
    sines: &mut Sines,
) -> [Gains; MOST_ENVELOPES] {
    let mut gains = [Gains::NONE; MOST_ENVELOPES];
    let before = *sines;
    for (envelope, gains) in gains.iter_mut().enumerate().take(channel.grid.envelopes) {
        let is_fine = channel.grid.is_fine[envelope];
        *sines = place_sines(channel, tables, envelope, &before);
        let edges = tables.edges(is_fine);
        let floor = &energies.noise[channel.grid.noise_of(envelope)];
        let mut wanted = Wanted {
            level: spread(edges, &energies.levels[envelope]),
            noise: spread(&tables.noise, floor),
            has_sine: has_sines(edges, sines),
            is_sine: *sines,
            is_soft: !is_transient(channel, envelope),
        };
        let slots = channel.grid.envelope(envelope);
        let samples = 2 * slots.start + OFFSET..2 * slots.end + OFFSET;
        let found = estimate(high, edges, tables, header.interpolates, samples);
        for edges in tables.limiter.windows(2) {
            let bands = edges[0] - tables.first..edges[1] - tables.first;
            wanted.limit(&found, bands, header.limiter_gain, gains);
        }
    }
    gains
}

/// Whether an envelope begins with a transient, in this packet or at the end of the one before.
pub(super) fn is_transient(channel: &Channel, envelope: usize) -> bool {
    let last = &channel.last_grid;
    channel.grid.transient == Some(envelope)
        || envelope == 0 && last.envelopes > 0 && last.transient == Some(last.envelopes)
}

/// Sines begin at a transient, and go on from envelope to envelope.
fn place_sines(channel: &Channel, tables: &Tables, envelope: usize, before: &Sines) -> Sines {
    let mut sines = [false; MOST_BANDS];
    let Some(coded) = &channel.sines else {
        return sines;
    };
    let has_begun = channel
        .grid
        .transient
        .is_none_or(|transient| envelope >= transient);
    for (edges, coded) in tables.fine.windows(2).zip(coded) {
        let place = (edges[0] + edges[1]) / 2 - tables.first;
        sines[place] = *coded && (has_begun || before[place]);
    }
    sines
}

fn has_sines(edges: &[usize], sines: &Sines) -> Sines {
    let mut has = [false; MOST_BANDS];
    for two in edges.windows(2) {
        let bands = two[0] - edges[0]..two[1] - edges[0];
        if sines[bands.clone()].contains(&true) {
            has[bands].fill(true);
        }
    }
    has
}

/// The value of each band of the filter bank by those of wider bands.
fn spread(edges: &[usize], values: &[f32]) -> [f32; MOST_BANDS] {
    let mut all = [0.0; MOST_BANDS];
    for (two, value) in edges.windows(2).zip(values) {
        all[two[0] - edges[0]..two[1] - edges[0]].fill(*value);
    }
    all
}

/// The energy that the copied bands have.
#[inline(always)]
fn estimate(
    high: &Bands<Row, BANDS>,
    edges: &[usize],
    tables: &Tables,
    interpolates: bool,
    samples: std::ops::Range<usize>,
) -> [f32; MOST_BANDS] {
    let mut found = [0.0; MOST_BANDS];
    let count = samples.len() as f32;
    for (band, found) in (tables.first..).zip(found.iter_mut().take(tables.count)) {
        let squares = |row: &Row| square_sum(&row[samples.clone()]);
        *found = (squares(&high.re[band]) + squares(&high.im[band])) / count;
    }
    if !interpolates {
        for two in edges.windows(2) {
            let bands = &mut found[two[0] - tables.first..two[1] - tables.first];
            let mean = bands.iter().sum::<f32>() / bands.len() as f32;
            bands.fill(mean);
        }
    }
    found
}

#[inline(always)]
fn square_sum(samples: &[f32]) -> f32 {
    let (chunks, rest) = samples.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for chunk in chunks {
        for (sum, sample) in sums.iter_mut().zip(chunk) {
            *sum += sample * sample;
        }
    }
    let rest: f32 = rest.iter().map(|sample| sample * sample).sum();
    sums.iter().sum::<f32>() + rest
}

/// What an envelope asks for, by bands of the filter bank.
struct Wanted {
    level: [f32; MOST_BANDS],
    noise: [f32; MOST_BANDS],
    /// Whether the band of the envelope has a sine, and the band of the filter bank itself.
    has_sine: Sines,
    is_sine: Sines,
    /// Whether there is noise: not where a transient begins.
    is_soft: bool,
}

impl Wanted {
    /// The gains of one band of the limiter.
    #[inline(always)]
    fn limit(
        &mut self,
        found: &[f32; MOST_BANDS],
        bands: std::ops::Range<usize>,
        limit: usize,
        gains: &mut Gains,
    ) {
        const MOST_GAINS: [f32; 4] = [0.707_95, 1.0, 1.412_54, 1e10];
        const MOST_BOOST: f32 = 1.584_893_2;
        let (mut wanted, mut copied) = (f32::EPSILON, f32::EPSILON);
        for m in bands.clone() {
            wanted += self.level[m];
            copied += found[m];
        }
        let most = (MOST_GAINS[limit & 3] * (wanted / copied).sqrt()).min(100_000.0);
        let mut made = f32::EPSILON;
        for m in bands.clone() {
            let (level, noise) = (self.level[m], self.noise[m]);
            let share = level / (1.0 + noise);
            let mut hiss = (share * noise).sqrt();
            let sine = if self.is_sine[m] { share.sqrt() } else { 0.0 };
            let energy = 1.0 + found[m];
            let gain = match self.has_sine[m] {
                true => (share * noise / energy).sqrt(),
                false if self.is_soft => (share / energy).sqrt(),
                false => (level / energy).sqrt(),
            };
            if gain > most {
                hiss *= most / gain;
            }
            let gain = gain.min(most);
            made += found[m] * gain * gain + sine * sine;
            if self.is_soft && sine == 0.0 {
                made += hiss * hiss;
            }
            (gains.gain[m], gains.noise[m], gains.sine[m]) = (gain, hiss, sine);
        }
        let boost = (wanted / made).sqrt().min(MOST_BOOST);
        for m in bands {
            gains.gain[m] *= boost;
            gains.noise[m] *= boost;
            gains.sine[m] *= boost;
        }
    }
}
