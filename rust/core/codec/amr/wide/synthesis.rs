//! From the excitation to speech: the lower band, brought to 16 kHz, and an upper band of shaped noise: 3GPP TS 26.190,
//! sections 6.2 and 6.3.

use super::super::fixed::{
    add_product, divide, dot_at, high, mult, next_seed, norm_long, round, saturate, shift,
    shift_long,
};
use super::energy::{energy, inverse_sqrt_normal};
use super::high_band::{high_pairs, high_pass_400};
use super::isf::{Filter, HIGH_ORDER, Lines, high_filter};
use super::{ORDER, SUBFRAME, Subframe};

/// Samples of a quarter at 16 kHz.
pub(super) const HIGH_SUBFRAME: usize = 80;
/// Taps of the filters of the upper band, less one.
const TAPS: usize = 30;
/// Taps that bring the lower band to 16 kHz.
const UP_TAPS: usize = 24;

/// What shapes the noise of a quarter's upper band.
#[derive(Clone, Copy)]
pub(super) enum Upper<'l> {
    /// By the frequencies of 6.6 kbit/s.
    Extended(&'l Lines),
    /// By the lower band's filter.
    Plain,
    /// The same, and a gain is told: 23.85 kbit/s.
    Told(i16),
}

/// What is left of the quarters before.
pub(super) struct Synthesis {
    /// The last samples, Q12.
    memory: [i32; ORDER],
    emphasis: i16,
    high_pass: HighPass,
    high_pass_400: high_pass_400::HighPass,
    up: [i16; UP_TAPS],
    seed: i16,
    pub(super) high_memory: [i16; HIGH_ORDER],
    band_pass: [i16; TAPS],
    low_pass: [i16; TAPS],
}

impl Default for Synthesis {
    fn default() -> Self {
        Self {
            memory: [0; ORDER],
            emphasis: 0,
            high_pass: HighPass::default(),
            high_pass_400: high_pass_400::HighPass::default(),
            up: [0; UP_TAPS],
            seed: 21845,
            high_memory: [0; HIGH_ORDER],
            band_pass: [0; TAPS],
            low_pass: [0; TAPS],
        }
    }
}

/// A quarter's excitation, and the exponent that it has.
pub(super) struct Excitation<'e> {
    pub(super) samples: &'e Subframe,
    pub(super) exponent: i32,
}

impl Synthesis {
    /// Writes a quarter; `is_noise`: nothing but noise was heard of late; `has_low_pass` at 23.85 kbit/s.
    pub(super) fn run(
        &mut self,
        filter: &Filter,
        excitation: &Excitation<'_>,
        upper: Upper<'_>,
        (is_noise, has_low_pass): (bool, bool),
        speech: &mut [i16; HIGH_SUBFRAME],
    ) {
        let mut low = self.synthesise(filter, excitation);
        self.high_pass.apply(&mut low);
        self.bring_up(&low, speech);
        let mut noise = self.noise(excitation);
        self.high_pass_400.apply(&mut low);
        scale(&mut noise, &low, upper, is_noise);
        self.shape(filter, upper, &mut noise);
        let mut noise = filtered(
            &mut self.band_pass,
            &noise.map(|value| value >> 2),
            &BAND_PASS,
        );
        if has_low_pass {
            noise = filtered(&mut self.low_pass, &noise, &LOW_PASS);
        }
        for (sample, noise) in speech.iter_mut().zip(&noise) {
            *sample = sample.saturating_add(*noise);
        }
    }

    /// The lower band, with the emphasis of high frequencies taken off.
    fn synthesise(&mut self, filter: &Filter, excitation: &Excitation<'_>) -> Subframe {
        let first = i32::from(filter[0] >> (4 + excitation.exponent).clamp(0, 15));
        let mut weights = [0i64; ORDER];
        for (to, weight) in weights.iter_mut().zip(filter[1..].iter().rev()) {
            *to = i64::from(*weight);
        }
        let mut past = [0i64; ORDER + SUBFRAME];
        for (to, from) in past.iter_mut().zip(&self.memory) {
            *to = i64::from(*from);
        }
        let mut low = [0; SUBFRAME];
        for (at, (to, sample)) in low.iter_mut().zip(excitation.samples).enumerate() {
            let window = past[at..].first_chunk::<ORDER>().unwrap_or(&[0; ORDER]);
            let sum: i64 = window
                .iter()
                .zip(&weights)
                .map(|(past, weight)| past * weight)
                .sum();
            let value = (-sum >> 11) + 2 * i64::from(i32::from(*sample) * first);
            let value = saturate_long(8 * value) >> 4;
            past[ORDER + at] = i64::from(value);
            *to = self.deemphasise(value << 4);
        }
        for (to, from) in self.memory.iter_mut().zip(&past[SUBFRAME..]) {
            *to = *from as i32;
        }
        low
    }

    fn deemphasise(&mut self, value: i32) -> i16 {
        let value = shift_long(value, 3).saturating_add(i32::from(self.emphasis) * 22282);
        self.emphasis = round(shift_long(value, 1));
        self.emphasis
    }

    /// Five samples for each four.
    fn bring_up(&mut self, low: &Subframe, speech: &mut [i16; HIGH_SUBFRAME]) {
        let mut samples = [0; UP_TAPS + SUBFRAME];
        samples[..UP_TAPS].copy_from_slice(&self.up);
        samples[UP_TAPS..].copy_from_slice(low);
        self.up.copy_from_slice(&samples[SUBFRAME..]);
        for (at, group) in speech.as_chunks_mut::<5>().0.iter_mut().enumerate() {
            group[0] = samples[UP_TAPS / 2 + 4 * at];
            for (to, (part, taps)) in group[1..].iter_mut().zip(UP.iter().enumerate()) {
                let sum = dot_at(&samples, 4 * at + part + 1, taps);
                *to = high(shift_long(sum + 0x2000, 2));
            }
        }
    }

    /// White noise as loud as the excitation.
    fn noise(&mut self, excitation: &Excitation<'_>) -> [i16; HIGH_SUBFRAME] {
        let mut noise = [0; HIGH_SUBFRAME];
        for value in &mut noise {
            self.seed = next_seed(self.seed);
            *value = self.seed >> 3;
        }
        let scaled = excitation.samples.map(|value| value.saturating_add(4) >> 3);
        let (wanted, wanted_exponent) = energy(&scaled);
        let (wanted, wanted_exponent) = (
            high(wanted),
            wanted_exponent - 2 * (excitation.exponent - 3),
        );
        let (own, mut exponent) = energy(&noise);
        let mut own = high(own);
        if own > wanted {
            own >>= 1;
            exponent += 1;
        }
        let ratio = i32::from(divide(own, wanted)) << 16;
        let (root, exponent) = inverse_sqrt_normal(ratio, exponent - wanted_exponent);
        let gain = i32::from(high(shift_long(root, exponent + 1)));
        noise.map(|value| ((i32::from(value) * gain) >> 15) as i16)
    }

    fn shape(&mut self, filter: &Filter, upper: Upper<'_>, noise: &mut [i16; HIGH_SUBFRAME]) {
        if let Upper::Extended(lines) = upper {
            let filter = weighted(&high_filter(&high_pairs(lines)), 29491);
            return synthesise_high::<HIGH_ORDER>(&filter, noise, &mut self.high_memory);
        }
        let filter = weighted(filter, 19661);
        synthesise_high::<ORDER>(&filter, noise, &mut self.high_memory[HIGH_ORDER - ORDER..]);
    }
}

fn saturate_long(value: i64) -> i32 {
    value.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// Brings noise to the height of the upper band: as it is told, or by how much the lower band falls.
fn scale(noise: &mut [i16; HIGH_SUBFRAME], low: &Subframe, upper: Upper<'_>, is_noise: bool) {
    if let Upper::Told(index) = upper {
        let gain = GAINS.get(index as usize & 15).copied().unwrap_or(0);
        *noise = noise.map(|value| shift(mult(value, gain), 1));
        return;
    }
    let energy = low
        .iter()
        .fold(1, |sum, value| add_product(sum, *value, *value));
    let pairs = low[1..].iter().zip(low);
    let slope = pairs.fold(1, |sum, (a, b)| add_product(sum, *a, *b));
    let up = norm_long(energy);
    let tilt = match high(slope << up) {
        ..=0 => 0,
        slope => divide(slope, high(energy << up)),
    };
    let gain = 32767 - tilt;
    let gain = if is_noise {
        shift(mult(gain, 20480), 1)
    } else {
        gain
    };
    let gain = if gain == 1 { 0 } else { gain };
    *noise = noise.map(|value| mult(value, gain.max(3277)));
}

/// A filter whose poles are drawn in by `gamma`.
fn weighted<const N: usize>(filter: &[i16; N], gamma: i16) -> [i16; N] {
    let times = |a: i16, b: i16| ((i32::from(a) * i32::from(b) + 0x4000) >> 15) as i16;
    let mut factor = gamma;
    let mut weighted = *filter;
    for weight in &mut weighted[1..] {
        *weight = times(*weight, factor);
        factor = times(factor, gamma);
    }
    weighted
}

/// Filters noise by one over a filter, half as loud; the memory is of as many samples as the filter has poles.
fn synthesise_high<const N: usize>(
    filter: &[i16],
    noise: &mut [i16; HIGH_SUBFRAME],
    memory: &mut [i16],
) {
    let first = filter.first().map_or(0, |first| i64::from(first >> 1));
    let mut weights = [0i64; N];
    for (to, weight) in weights.iter_mut().rev().zip(filter.iter().skip(1)) {
        *to = i64::from(*weight);
    }
    let mut past = [0i64; HIGH_ORDER + HIGH_SUBFRAME];
    for (to, from) in past.iter_mut().zip(memory.iter()) {
        *to = i64::from(*from);
    }
    for (at, value) in noise.iter_mut().enumerate() {
        let window = past[at..].first_chunk::<N>().unwrap_or(&[0; N]);
        let sum: i64 = window
            .iter()
            .zip(&weights)
            .map(|(past, weight)| past * weight)
            .sum();
        *value = round(saturate_long((i64::from(*value) * first - sum) << 4));
        past[N + at] = i64::from(*value);
    }
    for (to, from) in memory.iter_mut().zip(&past[HIGH_SUBFRAME..]) {
        *to = *from as i16;
    }
}

/// Filters by 31 taps (and one of 0), after the samples that `memory` has.
fn filtered(
    memory: &mut [i16; TAPS],
    input: &[i16; HIGH_SUBFRAME],
    taps: &[i16; TAPS + 2],
) -> [i16; HIGH_SUBFRAME] {
    let mut samples = [0; TAPS + HIGH_SUBFRAME + 1];
    samples[..TAPS].copy_from_slice(memory);
    samples[TAPS..TAPS + HIGH_SUBFRAME].copy_from_slice(input);
    memory.copy_from_slice(&samples[HIGH_SUBFRAME..TAPS + HIGH_SUBFRAME]);
    let mut output = [0; HIGH_SUBFRAME];
    for (at, to) in output.iter_mut().enumerate() {
        *to = saturate((dot_at(&samples, at, taps) + 0x4000) >> 15);
    }
    output
}

/// Takes off what is below 50 Hz.
#[derive(Default)]
struct HighPass {
    inputs: [i32; 2],
    /// Upper and lower halves of the last outputs.
    outputs: [(i32, i32); 2],
}

impl HighPass {
    fn apply(&mut self, samples: &mut Subframe) {
        for sample in samples {
            let input = i32::from(*sample);
            let [(a, a_low), (b, b_low)] = self.outputs;
            let low = (8192 + a_low * 16211 - b_low * 8021) >> 14;
            let sum = (a * 32422)
                .wrapping_sub(b * 16042)
                .wrapping_add(self.inputs[1] * 8106)
                .wrapping_sub(self.inputs[0] * 16212)
                .wrapping_add(input * 8106);
            let sum = low.wrapping_add(sum).wrapping_shl(2);
            *sample = round(sum.saturating_mul(2));
            self.inputs = [input, self.inputs[0]];
            self.outputs = [(sum >> 16, (sum >> 1) & 0x7FFF), self.outputs[0]];
        }
    }
}

/// The gains of the upper band that are told, Q14.
static GAINS: [i16; 16] = [
    3624, 4673, 5597, 6479, 7425, 8378, 9324, 10264, 11210, 12206, 13391, 14844, 16770, 19655,
    24289, 32728,
];

/// From 6 to 7 kHz, Q15.
static BAND_PASS: [i16; TAPS + 2] = [
    -32, 47, 32, -27, -369, 1122, -1421, 0, 3798, -8880, 12349, -10984, 3548, 7766, -18001, 22118,
    -18001, 7766, 3548, -10984, 12349, -8880, 3798, 0, -1421, 1122, -369, -27, 32, 47, -32, 0,
];

/// Up to 7 kHz, Q15.
static LOW_PASS: [i16; TAPS + 2] = [
    -21, 47, -89, 146, -203, 229, -177, 0, 335, -839, 1485, -2211, 2931, -3542, 3953, 28682, 3953,
    -3542, 2931, -2211, 1485, -839, 335, 0, -177, 229, -203, 146, -89, 47, -21, 0,
];

/// Between two samples, at each fifth, Q14.
static UP: [[i16; UP_TAPS]; 4] = [
    [
        -1, 12, -33, 68, -119, 191, -291, 430, -634, 963, -1616, 3792, 15317, -2496, 1288, -809,
        542, -369, 247, -160, 96, -52, 23, -6,
    ],
    [
        -4, 24, -62, 124, -213, 338, -510, 752, -1111, 1708, -2974, 8219, 12368, -3432, 1881,
        -1204, 812, -552, 368, -235, 139, -73, 30, -7,
    ],
    [
        -7, 30, -73, 139, -235, 368, -552, 812, -1204, 1881, -3432, 12368, 8219, -2974, 1708,
        -1111, 752, -510, 338, -213, 124, -62, 24, -4,
    ],
    [
        -6, 23, -52, 96, -160, 247, -369, 542, -809, 1288, -2496, 15317, 3792, -1616, 963, -634,
        430, -291, 191, -119, 68, -33, 12, -1,
    ],
];
