//! ALAC, Apple's lossless codec, with the channels in the order of WAV.
//!
//! Format: Apple's "ALACMagicCookieDescription" and reference encoder, as FFmpeg reads them.

mod config;
mod element;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod oracle;
mod predict;
mod rice;

use crate::codec::flac::bits::Bits;
use crate::codec::packet::{Block, PacketDecoder, damaged};
use crate::codec::params::Params;
use crate::error::Result;
use crate::signal::mono;

use self::config::Config;
pub(crate) use self::config::alac_config;

/// Where the channels stand that a packet has one after the other, by their number: the order of WAV.
const PLACES: [&[usize]; 8] = [
    &[0],
    &[0, 1],
    // Center, left, right, and so on: the layouts of Apple's specification.
    &[2, 0, 1],
    &[2, 0, 1, 3],
    &[2, 0, 1, 3, 4],
    &[2, 0, 1, 4, 5, 3],
    &[2, 0, 1, 4, 5, 6, 3],
    &[2, 6, 7, 0, 1, 4, 5, 3],
];

/// Full scale of 32 bits: a power of two, so that multiplying is exact.
const SCALE: f32 = 1.0 / 2_147_483_648.0;

/// One packet after the other, none of which depends on another.
pub(crate) struct Decoder {
    config: Config,
    is_mono: bool,
    /// One element's samples.
    integers: [Vec<i32>; 2],
    planes: Vec<Vec<f32>>,
    mean: Vec<f32>,
}

impl Decoder {
    /// A decoder for the track that `params` describe: an `ALACSpecificConfig` is its header.
    ///
    /// # Errors
    /// When it is broken, or of a kind that is not decoded.
    pub(crate) fn new(params: &Params) -> Result<Self> {
        let config = Config::parse(&params.header)?;
        Ok(Self {
            config,
            is_mono: false,
            integers: [Vec::new(), Vec::new()],
            planes: vec![Vec::new(); config.channels],
            mean: Vec::new(),
        })
    }

    /// Decodes one packet into the planes.
    fn read(&mut self, packet: &[u8]) -> Result<()> {
        let mut bits = Bits::new(packet);
        let places = PLACES.get(self.config.channels - 1).copied();
        let mut places = places.unwrap_or_default();
        let mut frames = None;
        while !places.is_empty() {
            let width = match bits.read(3) {
                // A channel, or the one of low frequencies.
                0 | 3 => 1,
                1 => 2,
                4 => {
                    skip_data(&mut bits);
                    continue;
                }
                6 => {
                    skip_filling(&mut bits);
                    continue;
                }
                7 => return Err(damaged("a packet ends without all of its channels")),
                _ => return Err(damaged("an element has a type that ALAC does not have")),
            };
            let (here, rest) = places
                .split_at_checked(width)
                .ok_or_else(|| damaged("a packet has more channels than the header"))?;
            places = rest;
            let integers = self.integers.get_mut(..width).unwrap_or_default();
            let length = element::decode(&mut bits, &self.config, integers)?;
            if *frames.get_or_insert(length) != length {
                return Err(damaged("the channels of a packet are of different lengths"));
            }
            self.put(here);
        }
        Ok(())
    }

    /// Makes floats of the element's samples, for the planes `places`.
    fn put(&mut self, places: &[usize]) {
        let above = 32 - self.config.bits;
        for (integers, place) in self.integers.iter().zip(places) {
            if let Some(plane) = self.planes.get_mut(*place) {
                plane.clear();
                plane.extend(
                    integers
                        .iter()
                        .map(|sample| (sample << above) as f32 * SCALE),
                );
            }
        }
    }

    fn mix(&mut self) {
        let mean = &mut self.mean;
        mean.clear();
        match self.planes.as_slice() {
            [left, right] => {
                let pairs = left.iter().zip(right);
                mean.extend(pairs.map(|(left, right)| mono::of_pair(*left, *right)));
            }
            planes => {
                let length = planes.first().map_or(0, Vec::len);
                let planes = planes.iter().map(Vec::as_slice);
                mono::extend(mean, planes, length, |sample| sample);
            }
        }
    }
}

impl PacketDecoder for Decoder {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        self.read(packet)?;
        if self.is_mono {
            self.mix();
        }
        let planes = match self.is_mono {
            true => std::slice::from_ref(&self.mean),
            false => self.planes.as_slice(),
        };
        Ok(Block {
            sample_rate: self.config.sample_rate,
            channels: self.config.channels,
            planes,
        })
    }

    /// No packet depends on another.
    fn reset(&mut self) {}

    fn channels(&self) -> Option<usize> {
        Some(self.config.channels)
    }

    fn set_mono(&mut self, mono: bool) {
        self.is_mono = mono;
    }
}

/// A data stream element: its number, whether it begins at a byte, and bytes that are no audio.
fn skip_data(bits: &mut Bits<'_>) {
    bits.read(4);
    let is_aligned = bits.read(1) == 1;
    let mut count = bits.read(8);
    if count == 255 {
        count += bits.read(8);
    }
    if is_aligned {
        bits.pass_to_byte();
    }
    skip_bytes(bits, count);
}

fn skip_filling(bits: &mut Bits<'_>) {
    let mut count = bits.read(4);
    if count == 15 {
        count = 14 + bits.read(8);
    }
    skip_bytes(bits, count);
}

fn skip_bytes(bits: &mut Bits<'_>, count: u64) {
    for _ in 0..count {
        bits.read(8);
    }
}
