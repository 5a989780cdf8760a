//! Frames of Layers I and II: ISO/IEC 11172-3, sections 2.4.1.5, 2.4.1.6, 2.4.3.2 and 2.4.3.3; 13818-3
//! for the allocation of MPEG 2.
#![allow(
    clippy::needless_range_loop,
    reason = "loops over the same places of several rows"
)]

use std::sync::LazyLock;

use super::Plane;
use super::grid::SUBBANDS;
use super::header::{Header, too_short};
use crate::codec::bits::Bits;
use crate::codec::packet::damaged;
use crate::error::Result;
use crate::signal::mono;

/// Slots of one scale factor.
const PART: usize = 12;
/// Slots of a frame of Layer II.
const MOST: usize = 3 * PART;

/// How samples are written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Quantizer {
    /// 0 where there are none.
    levels: u32,
    /// Of one sample, or of three where `is_grouped`.
    bits: usize,
    is_grouped: bool,
}

/// Which row of [`LEVELS`] each subband has, by table B.2a to B.2d and that of 13818-3, B.1; what is
/// not there has no bits.
const ROWS: [&[u8]; 5] = [
    &[
        7, 7, 7, 6, 6, 6, 6, 6, 6, 6, 6, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0, 0, 0, 0,
    ],
    &[
        7, 7, 7, 6, 6, 6, 6, 6, 6, 6, 6, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 0, 0, 0, 0, 0, 0, 0,
    ],
    &[5, 5, 2, 2, 2, 2, 2, 2],
    &[5, 5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2],
    &[
        4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ],
];
/// The levels that an allocation stands for, as places in [`QUANTIZERS`]; each row has a power of two.
const LEVELS: [&[u8]; 8] = [
    &[0, 1, 2, 17],
    &[0, 1, 2, 4],
    &[0, 1, 2, 4, 5, 6, 7, 8],
    &[0, 1, 2, 3, 4, 5, 6, 17],
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    &[0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17],
    &[0, 1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17],
];
/// Table B.4: three, five, seven, nine and then 2^n - 1 levels.
const QUANTIZERS: [Quantizer; 18] = {
    let mut all = [Quantizer {
        levels: 0,
        bits: 0,
        is_grouped: false,
    }; 18];
    all[1] = grouped(3, 5);
    all[2] = grouped(5, 7);
    all[3] = plain(3);
    all[4] = grouped(9, 10);
    let mut bits = 4;
    while bits <= 16 {
        all[bits + 1] = plain(bits);
        bits += 1;
    }
    all
};
/// Table B.1: 2^(1 - n / 3). The last one is none, and some files have it.
static SCALE_FACTORS: LazyLock<[f32; 64]> = LazyLock::new(|| {
    std::array::from_fn(|n| match n {
        63 => 0.0,
        n => (1.0 - n as f64 / 3.0).exp2() as f32,
    })
});

const fn grouped(levels: u32, bits: usize) -> Quantizer {
    Quantizer {
        levels,
        bits,
        is_grouped: true,
    }
}

const fn plain(bits: usize) -> Quantizer {
    Quantizer {
        levels: (1 << bits) - 1,
        bits,
        is_grouped: false,
    }
}

/// A frame's fields, by channel and subband.
struct Frame {
    layer: u32,
    channels: usize,
    /// The first subband whose samples both channels share.
    bound: usize,
    quantizers: [[Quantizer; SUBBANDS]; 2],
    /// By part of the frame, too.
    factors: [[[f32; 3]; SUBBANDS]; 2],
}

/// Decodes a frame whose header and checksum are passed, to one plane, the mean of the channels, or
/// to one for each of them. An error leaves the planes as they were.
#[inline(always)]
pub(super) fn decode<const FUSED: bool>(
    header: Header,
    frame: &[u8],
    planes: &mut [Plane],
) -> Result<()> {
    let bits = &mut Bits::new(frame);
    let rate = kbits(header, frame.len());
    let frame = Frame::read(bits, header, rate)?;
    let slots = if frame.layer == 1 { PART } else { MOST };
    let mut samples = [[[0.0; SUBBANDS]; MOST]; 2];
    frame.read_samples(bits, &mut samples);
    bits.check().map_err(|_| too_short())?;
    if planes.len() < frame.channels {
        let [left, right] = &mut samples;
        let pairs = left.as_flattened_mut().iter_mut();
        for (left, right) in pairs.zip(right.as_flattened()) {
            *left = mono::of_pair(*left, *right);
        }
    }
    for (plane, samples) in planes.iter_mut().zip(&samples) {
        for part in samples[..slots].chunks(PART) {
            let synthesis = &mut plane.filters.synthesis;
            synthesis.run::<FUSED>(part, &mut plane.samples);
        }
    }
    Ok(())
}

impl Frame {
    /// Of a stream of `rate` kbit/s.
    fn read(bits: &mut Bits<'_>, header: Header, rate: u32) -> Result<Self> {
        let mut new = Self {
            layer: header.layer(),
            channels: header.channels(),
            bound: header.bound(),
            quantizers: [[Quantizer::default(); SUBBANDS]; 2],
            factors: [[[0.0; 3]; SUBBANDS]; 2],
        };
        match new.layer {
            1 => new.read_layer1(bits)?,
            _ => new.read_layer2(bits, ROWS[layer2_table(header, rate)]),
        }
        Ok(new)
    }

    fn read_layer1(&mut self, bits: &mut Bits<'_>) -> Result<()> {
        for subband in 0..SUBBANDS {
            for channel in 0..self.coded_channels(subband) {
                let quantizer = match bits.read(4) as usize {
                    0 => Quantizer::default(),
                    15 => {
                        return Err(damaged(
                            "the frame has a bit allocation that Layer I does not have",
                        ));
                    }
                    allocation => plain(allocation + 1),
                };
                self.allocate(subband, channel, quantizer);
            }
        }
        self.for_allocated(|factors| *factors = [SCALE_FACTORS[bits.read(6) as usize % 64]; 3]);
        Ok(())
    }

    fn read_layer2(&mut self, bits: &mut Bits<'_>, rows: &[u8]) {
        for (subband, row) in rows.iter().enumerate() {
            let levels = LEVELS[usize::from(*row)];
            for channel in 0..self.coded_channels(subband) {
                let allocation = bits.read(levels.len().trailing_zeros() as usize);
                let quantizer = QUANTIZERS[usize::from(levels[allocation as usize])];
                self.allocate(subband, channel, quantizer);
            }
        }
        // Which of the three parts have factors of their own comes first.
        let mut selections = Vec::with_capacity(2 * SUBBANDS);
        self.for_allocated(|_| selections.push(bits.read(2)));
        let mut selections = selections.into_iter();
        self.for_allocated(|factors| {
            let mut factor = || SCALE_FACTORS[bits.read(6) as usize % 64];
            let first = factor();
            *factors = match selections.next() {
                Some(0) => [first, factor(), factor()],
                Some(1) => [first, first, factor()],
                Some(3) => {
                    let rest = factor();
                    [first, rest, rest]
                }
                _ => [first; 3],
            };
        });
    }

    fn coded_channels(&self, subband: usize) -> usize {
        if subband < self.bound {
            self.channels
        } else {
            1
        }
    }

    fn allocate(&mut self, subband: usize, channel: usize, quantizer: Quantizer) {
        let is_shared = subband >= self.bound;
        for (to, quantizers) in self.quantizers.iter_mut().enumerate() {
            if to == channel || is_shared {
                quantizers[subband] = quantizer;
            }
        }
    }

    /// What has bits, subband by subband.
    fn for_allocated(&mut self, mut act: impl FnMut(&mut [f32; 3])) {
        for subband in 0..SUBBANDS {
            for channel in 0..self.channels {
                if self.quantizers[channel][subband].levels > 0 {
                    act(&mut self.factors[channel][subband]);
                }
            }
        }
    }

    #[inline(always)]
    fn read_samples(&self, bits: &mut Bits<'_>, samples: &mut [[[f32; SUBBANDS]; MOST]; 2]) {
        // Layer II has three samples of each subband in turn.
        let (turns, together) = if self.layer == 1 {
            (PART, 1)
        } else {
            (PART, 3)
        };
        for turn in 0..turns {
            let part = if self.layer == 1 { 0 } else { turn / 4 };
            for subband in 0..SUBBANDS {
                let coded = self.coded_channels(subband);
                for channel in 0..coded {
                    let quantizer = self.quantizers[channel][subband];
                    if quantizer.levels == 0 {
                        continue;
                    }
                    let group = quantizer.read(bits, together);
                    let last = if coded == 1 {
                        self.channels
                    } else {
                        channel + 1
                    };
                    for to in channel..last {
                        let factor = self.factors[to][subband][part];
                        let slots = samples[to][turn * together..].iter_mut();
                        for (slot, sample) in slots.zip(&group[..together]) {
                            slot[subband] = factor * sample;
                        }
                    }
                }
            }
        }
    }
}

impl Quantizer {
    /// One sample or three, from -1 to 1.
    #[inline(always)]
    fn read(self, bits: &mut Bits<'_>, count: usize) -> [f32; 3] {
        let middle = self.levels as f32 - 1.0;
        let value = |raw: u32| (2.0 * raw as f32 - middle) / self.levels as f32;
        if self.is_grouped {
            let group = bits.read(self.bits);
            let (first, rest) = (group % self.levels, group / self.levels);
            let last = rest / self.levels % self.levels;
            return [first, rest % self.levels, last].map(value);
        }
        let mut samples = [0.0; 3];
        for sample in &mut samples[..count] {
            *sample = value(bits.read(self.bits));
        }
        samples
    }
}

/// Kilobits per second; where the header says "free", by the length of the frame, of which `rest` bytes are
/// after its header and checksum: encoders choose their tables by it.
fn kbits(header: Header, rest: usize) -> u32 {
    let padding = (header.word() >> 9 & 1) as usize;
    let bytes = (Header::BYTES + header.checksum_bytes() + rest).saturating_sub(padding) as u64;
    match header.bit_rate() {
        0 => (8 * bytes * u64::from(header.sample_rate()) / 1000).div_ceil(header.frames()) as u32,
        told => told,
    }
}

/// Which allocation table of [`ROWS`] a frame uses: section 2.4.3.3.1. Some bit rates MPEG 1 does not
/// allow with one channel or with two: theirs is the table of their rate per channel, as in FFmpeg.
fn layer2_table(header: Header, rate: u32) -> usize {
    let rate = rate / header.channels() as u32;
    let hz = header.sample_rate();
    match (header.is_mpeg1(), rate) {
        (false, _) => 4,
        (_, ..=48) if hz == 32_000 => 3,
        (_, ..=48) => 2,
        (_, ..=80) => 0,
        _ if hz == 48_000 => 0,
        _ => 1,
    }
}
