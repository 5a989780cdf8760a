//! Packets drawn at random from all that the syntax allows, decoded here and by symphonia.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use symphonia::core::codecs::audio::well_known::CODEC_ID_ALAC;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoderOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::Decoder;
use crate::codec::packet::PacketDecoder;
use crate::codec::params::{Codec, Params};

const FRAMES: u32 = 300;
/// Elements by the number of channels: 0 a channel, 1 a pair, 3 the low frequencies.
const ELEMENTS: [&[u32]; 8] = [
    &[0],
    &[1],
    &[0, 1],
    &[0, 1, 0],
    &[0, 1, 1],
    &[0, 1, 1, 3],
    &[0, 1, 1, 0, 3],
    &[0, 1, 1, 1, 3],
];

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        ((self.0 >> 33) % u64::from(end)) as u32
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }

    /// Within `size` of 0.
    fn around(&mut self, size: u32) -> i32 {
        self.below(2 * size + 1) as i32 - size as i32
    }
}

/// An encoder of one stream.
struct Writer {
    random: Random,
    channels: usize,
    bits: u32,
    bytes: Vec<u8>,
    /// Bits that are written.
    len: usize,
}

impl Writer {
    fn new(seed: u64, channels: usize, bits: u32) -> Self {
        Self {
            random: Random(seed),
            channels,
            bits,
            bytes: Vec::new(),
            len: 0,
        }
    }

    fn put(&mut self, value: u32, bits: u32) {
        for bit in (0..bits).rev() {
            if self.len.is_multiple_of(8) {
                self.bytes.push(0);
            }
            self.bytes[self.len / 8] |= ((value >> bit & 1) as u8) << (7 - self.len % 8);
            self.len += 1;
        }
    }

    fn params(&self) -> Params {
        let mut header = FRAMES.to_be_bytes().to_vec();
        header.extend([0, self.bits as u8, 40, 10, 14, self.channels as u8]);
        header.extend([0; 10]);
        header.extend(44_100u32.to_be_bytes());
        let mut params = Params::new(Codec::Alac, 44_100, Some(self.channels));
        params.header = header;
        params
    }

    fn packet(mut self) -> Vec<u8> {
        let frames = match self.random.below(3) {
            0 => 1 + self.random.below(FRAMES),
            _ => FRAMES,
        };
        for kind in ELEMENTS[self.channels - 1] {
            self.no_audio();
            self.put(*kind, 3);
            self.element(if *kind == 1 { 2 } else { 1 }, frames);
        }
        self.put(7, 3);
        self.bytes
    }

    /// What may stand between: data and filling.
    fn no_audio(&mut self) {
        if self.random.one_in(8) {
            let count = self.random.below(20);
            self.put(6, 3);
            self.put(count.min(15), 4);
            if count >= 15 {
                self.put(count - 14, 8);
            }
            (0..count).for_each(|_| self.put(0xA5, 8));
        }
        if self.random.one_in(8) {
            let count = self.random.below(9);
            let is_aligned = self.random.one_in(2);
            self.put(4 << 4, 7);
            self.put(u32::from(is_aligned), 1);
            self.put(count, 8);
            while is_aligned && !self.len.is_multiple_of(8) {
                self.put(1, 1);
            }
            (0..count).for_each(|_| self.put(0x5A, 8));
        }
    }

    fn element(&mut self, width: u32, frames: u32) {
        self.put(0, 16);
        let tells = frames != FRAMES || self.random.one_in(4);
        let is_plain = self.random.one_in(6);
        let mut low = if is_plain { 0 } else { self.random.below(3) };
        // A pair of 32 bits has to leave some to themselves.
        if !is_plain && self.bits + width - 1 > 32 {
            low = low.max(1);
        }
        if 8 * low >= self.bits {
            low = 0;
        }
        self.put(u32::from(tells), 1);
        self.put(low, 2);
        self.put(u32::from(is_plain), 1);
        if tells {
            self.put(frames, 32);
        }
        if is_plain {
            for _ in 0..frames * width {
                let sample = self.random.below(1 << 31) << 1;
                self.put(sample >> (32 - self.bits), self.bits);
            }
        } else {
            self.coded(width, frames, 8 * low);
        }
    }

    fn coded(&mut self, width: u32, frames: u32, low_bits: u32) {
        let depth = self.bits - low_bits + width - 1;
        let weight = if width == 2 { self.random.around(4) } else { 0 };
        let mixed = self.random.below(8);
        self.put(if width == 2 { mixed } else { 0 }, 8);
        self.put(weight as u32 & 0xFF, 8);
        let paces: Vec<u32> = (0..width).map(|_| self.predictor()).collect();
        for _ in 0..frames * width {
            if low_bits > 0 {
                let bits = self.random.below(1 << low_bits);
                self.put(bits, low_bits);
            }
        }
        for pace in paces {
            let residuals = self.residuals(frames, depth);
            self.rice(&residuals, pace * 40 / 4, depth);
        }
    }

    fn predictor(&mut self) -> u32 {
        let shift = self.random.below(16);
        let (pace, order) = (self.random.below(8), self.random.below(31));
        let order = if self.random.one_in(2) {
            order % 9
        } else {
            order
        };
        // Of no coefficients symphonia leaves out the differences as well.
        let is_double = order > 0 && self.random.one_in(8);
        self.put(if is_double { 15 } else { 0 }, 4);
        self.put(shift, 4);
        self.put(pace, 3);
        self.put(order, 5);
        let largest = [200, 2000, 30_000][self.random.below(3) as usize];
        for _ in 0..order {
            let coefficient = self.random.around(largest);
            self.put(coefficient as u32 & 0xFFFF, 16);
        }
        pace
    }

    fn residuals(&mut self, frames: u32, depth: u32) -> Vec<i32> {
        let largest = (1u32 << (depth - 1).min(30)) - 1;
        let usual = largest.min([0, 1, 30, 1000, 100_000][self.random.below(5) as usize]);
        let rare = [5, 50, 1000][self.random.below(3) as usize];
        (0..frames)
            .map(|_| match self.random.one_in(rare) {
                true => self.random.around(largest),
                false => self.random.around(usual),
            })
            .collect()
    }

    fn rice(&mut self, residuals: &[i32], pace: u32, depth: u32) {
        let zigzag = |number: i32| (number << 1 ^ number >> 31) as u32;
        let (mut mean, mut bias, mut rest) = (10u32, 0, residuals);
        while let [first, behind @ ..] = rest {
            rest = behind;
            let number = zigzag(*first);
            let parameter = ((mean >> 9) + 3).ilog2().min(14);
            self.code(number - bias, parameter, depth);
            bias = 0;
            mean = match number {
                0x1_0000.. => 0xFFFF,
                _ => mean + number * pace - ((mean * pace) >> 9),
            };
            if mean < 128 && !rest.is_empty() {
                let run = rest.iter().take_while(|number| **number == 0).count();
                let parameter = mean.leading_zeros() - 24 + ((mean + 16) >> 6);
                self.code(run as u32, parameter, 16);
                rest = &rest[run..];
                (mean, bias) = (0, 1);
            }
        }
    }

    fn code(&mut self, number: u32, parameter: u32, depth: u32) {
        let step = (1 << parameter) - 1;
        let (ones, rest) = (number / step, number % step);
        if ones > 8 {
            self.put(0x1FF, 9);
            return self.put(number, depth);
        }
        self.put((1 << (ones + 1)) - 2, ones + 1);
        match (parameter, rest) {
            (1, _) => {}
            (_, 0) => self.put(0, parameter - 1),
            _ => self.put(rest + 1, parameter),
        }
    }
}

/// `None` where its sums overflow.
fn symphonia(params: &Params, packet: &[u8]) -> Option<Vec<Vec<f32>>> {
    let mut theirs = AudioCodecParameters::new();
    theirs
        .for_codec(CODEC_ID_ALAC)
        .with_extra_data(params.header.clone().into());
    let codecs = symphonia::default::get_codecs();
    let options = AudioDecoderOptions::default();
    let mut decoder = codecs.make_audio_decoder(&theirs, &options).unwrap();
    let packet = PacketRef::new(0, Timestamp::from(0), Duration::from(0u64), packet);
    let mut planes: Vec<Vec<f32>> = Vec::new();
    catch_unwind(AssertUnwindSafe(|| {
        let block = decoder.decode_ref(&packet).unwrap();
        block.copy_to_vecs_planar(&mut planes);
    }))
    .ok()?;
    // It takes the surround channels for side ones, which come after those in the back.
    match planes.len() {
        7 => planes[4..].rotate_left(1),
        8 => planes[4..].rotate_left(2),
        _ => {}
    }
    Some(planes)
}

/// As the mixer has it.
fn mean(planes: &[Vec<f32>]) -> Vec<f32> {
    let sum = |at: usize| planes.iter().fold(0.0, |sum, plane| sum + plane[at]);
    (0..planes[0].len())
        .map(|at| match planes {
            [_] => sum(at),
            [_, _] => sum(at) * 0.5,
            _ => sum(at) / planes.len() as f32,
        })
        .collect()
}

fn stream() -> impl Strategy<Value = (u64, usize, u32)> {
    let bits = prop::sample::select(vec![16, 20, 24, 32]);
    (any::<u64>(), 1..=8usize, bits)
}

proptest! {
    #[test]
    fn packets_are_as_symphonia_has_them((seed, channels, bits) in stream()) {
        let writer = Writer::new(seed, channels, bits);
        let params = writer.params();
        let packet = writer.packet();
        let mut decoder = Decoder::new(&params).unwrap();
        let planes = decoder.decode(&packet).unwrap().planes.to_vec();
        if let Some(expected) = symphonia(&params, &packet) {
            prop_assert_eq!(&planes, &expected);
        }
        decoder.set_mono(true);
        let block = decoder.decode(&packet).unwrap();
        prop_assert_eq!(block.channels, channels);
        prop_assert_eq!(block.planes, &[mean(&planes)][..]);
    }

    #[test]
    fn damaged_packets_give_samples_or_an_error(
        (seed, channels, bits) in stream(),
        flips in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let writer = Writer::new(seed, channels, bits);
        let params = writer.params();
        let mut packet = writer.packet();
        let mut decoder = Decoder::new(&params).unwrap();
        let whole = decoder.decode(&packet).unwrap().planes.to_vec();
        // The end after the last sample is not waited for.
        let short = &packet[..cut.index(packet.len() - 1)];
        prop_assert!(decoder.decode(short).is_err());
        for flip in flips {
            let bit = flip.index(8 * packet.len());
            packet[bit / 8] ^= 1 << (bit % 8);
        }
        if let Ok(block) = decoder.decode(&packet) {
            prop_assert!(block.frames() <= FRAMES as usize);
            prop_assert!(block.planes.iter().all(|plane| plane.len() == block.frames()));
        }
        // Nothing of it is left.
        decoder.reset();
        let again = Writer::new(seed, channels, bits).packet();
        prop_assert_eq!(decoder.decode(&again).unwrap().planes, &whole[..]);
    }

    #[test]
    fn no_bytes_and_no_header_are_too_much(
        header in prop::collection::vec(any::<u8>(), 0..60),
        fields in any::<[u8; 8]>(),
        packet in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut params = Writer::new(1, 2, 16).params();
        for (place, byte) in fields.iter().enumerate().filter(|(_, byte)| **byte < 64) {
            params.header[4 + place] = *byte;
        }
        for header in [header, params.header.clone()] {
            params.header = header;
            if let Ok(mut decoder) = Decoder::new(&params) {
                let _ = decoder.decode(&packet);
            }
        }
    }
}

/// Symphonia runs a filter of 31 coefficients besides; Apple's decoder and FFmpeg sum up.
#[test]
fn order_31_are_plain_differences() {
    let mut writer = Writer::new(0, 1, 16);
    let residuals: Vec<i32> = (0..FRAMES as i32).map(|at| at * 37 % 101 - 50).collect();
    // A channel as it is coded: the whole frame, without low bits, mixing or modes.
    for bits in [3, 4 + 12, 1 + 2 + 1, 8 + 8, 4] {
        writer.put(0, bits);
    }
    writer.put(9, 4);
    writer.put(4, 3);
    writer.put(31, 5);
    (0..31).for_each(|_| writer.put(1234, 16));
    writer.rice(&residuals, 40, 16);
    let mut decoder = Decoder::new(&writer.params()).unwrap();
    let planes = decoder.decode(&writer.bytes).unwrap().planes.to_vec();
    let sums = residuals.iter().scan(0, |sum, residual| {
        *sum += residual;
        Some(*sum as f32 / 32_768.0)
    });
    assert_eq!(planes, [sums.collect::<Vec<_>>()]);
}
