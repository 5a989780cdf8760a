//! Packets drawn at random from all that the syntax allows, decoded here and by symphonia.

use proptest::prelude::*;
use symphonia::core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use crate::codec::packet::PacketDecoder as _;
use crate::codec::params::{Codec, Params};

use super::bands::Bands;
use super::codebooks::{Codes, SPECTRUM};
use super::config::tests::pack;
use super::{Decoder, SAMPLE_RATES};

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
}

/// A packet in mid-stream: fields of bits.
struct Writer {
    random: Random,
    bands: Bands,
    fields: Vec<(u32, usize)>,
    /// With noise, which no two decoders make alike, pulses, and filters that make much of rounding.
    is_free: bool,
}

/// Windows as `ics_info` tells of them.
#[derive(Clone)]
struct Shape {
    is_short: bool,
    bands: usize,
    /// Windows in each group.
    groups: Vec<usize>,
}

impl Writer {
    fn put(&mut self, value: u32, bits: usize) {
        self.fields.push((value, bits));
    }

    fn draw(&mut self, bits: usize) -> u32 {
        let value = self.random.below(1 << bits);
        self.put(value, bits);
        value
    }

    fn skip(&mut self, bits: usize) {
        self.draw(bits);
    }

    fn windows(&mut self) -> Shape {
        self.put(0, 1);
        let is_short = self.draw(2) == 2;
        self.draw(1);
        let most = self.bands.of(is_short).len() as u32;
        let bands = self.random.below(most);
        let mut groups = vec![1];
        if is_short {
            self.put(bands, 4);
            for _ in 1..8 {
                match (self.draw(1), groups.last_mut()) {
                    (1, Some(last)) => *last += 1,
                    _ => groups.push(1),
                }
            }
        } else {
            self.put(bands, 6);
            self.put(0, 1);
        }
        Shape {
            is_short,
            bands: bands as usize,
            groups,
        }
    }

    fn channel(&mut self, shared: Option<&Shape>, may_lean: bool) {
        let gain = 110 + self.random.below(40);
        self.put(gain, 8);
        let shape = match shared {
            Some(shape) => shape.clone(),
            None => self.windows(),
        };
        let books = self.sections(&shape, may_lean);
        let mut had_noise = false;
        for book in books.iter().flatten().filter(|book| **book > 0) {
            if *book == 13 && !std::mem::replace(&mut had_noise, true) {
                self.draw(9);
                continue;
            }
            // Table 4.A.1: differences of 0, -1 and 1.
            let (code, bits) = [(0, 1), (0b100, 3), (0b1010, 4)][self.random.below(3) as usize];
            self.put(code, bits);
        }
        self.pulses(&shape);
        self.shaping(&shape);
        self.put(0, 1);
        self.spectrum(&shape, &books);
    }

    fn sections(&mut self, shape: &Shape, may_lean: bool) -> Vec<Vec<u32>> {
        let (bits, escape) = if shape.is_short { (3, 7) } else { (5, 31) };
        let mut books = Vec::new();
        for _ in &shape.groups {
            let mut group = Vec::new();
            while group.len() < shape.bands {
                let book = match self.random.below(15) {
                    12 if self.is_free => 13,
                    13 | 14 if may_lean => self.random.below(2) + 14,
                    other => other % 12,
                };
                let mut length = self.random.below((shape.bands - group.len()) as u32 + 1);
                self.put(book, 4);
                group.resize(group.len() + length as usize, book);
                while length >= escape {
                    self.put(escape, bits);
                    length -= escape;
                }
                self.put(length, bits);
            }
            books.push(group);
        }
        books
    }

    fn pulses(&mut self, shape: &Shape) {
        // Symphonia adds pulses to what is not quantised.
        let has_pulses = self.is_free && !shape.is_short && self.random.one_in(4);
        self.put(u32::from(has_pulses), 1);
        if has_pulses {
            let count = 1 + self.draw(2);
            let first = self.random.below(20);
            self.put(first, 6);
            (0..count).for_each(|_| self.skip(9));
        }
    }

    fn shaping(&mut self, shape: &Shape) {
        let has_shaping = self.random.one_in(3);
        self.put(u32::from(has_shaping), 1);
        if !has_shaping {
            return;
        }
        let (windows, filter_bits, length_bits, order_bits, most) = match shape.is_short {
            true => (8, 1, 4, 3, 8),
            false => (1, 2, 6, 5, 13),
        };
        let most = if self.is_free { most } else { 5 };
        for _ in 0..windows {
            let filters = self.draw(filter_bits);
            let resolution = if filters > 0 { 3 + self.draw(1) } else { 0 };
            for _ in 0..filters {
                self.draw(length_bits);
                let order = self.random.below(most);
                self.put(order, order_bits);
                if order > 0 {
                    self.draw(1);
                    let width = resolution - self.draw(1);
                    (0..order).for_each(|_| self.skip(width as usize));
                }
            }
        }
    }

    fn spectrum(&mut self, shape: &Shape, books: &[Vec<u32>]) {
        let begins = self.bands.of(shape.is_short).to_vec();
        for (windows, books) in shape.groups.iter().zip(books) {
            for (edges, book) in begins.windows(2).zip(books) {
                let width = windows * usize::from(edges[1] - edges[0]);
                if (1..12).contains(book) {
                    let dimension = if *book < 5 { 4 } else { 2 };
                    (0..width / dimension).for_each(|_| self.code(*book as usize));
                }
            }
        }
    }

    /// A code of the book, its signs and escapes.
    fn code(&mut self, book: usize) {
        let codes = &SPECTRUM[book - 1];
        // Short codes are near the front.
        let end = 1 + self.random.below(codes.indices.len() as u32);
        let rank = self.random.below(end) as usize;
        let (code, bits) = nth(codes, rank);
        self.put(code, bits);
        let (base, dimension) = match book {
            3 | 4 => (3, 4),
            7 | 8 => (8, 2),
            9 | 10 => (13, 2),
            11 => (17, 2),
            _ => return,
        };
        let index = u32::from(codes.indices[rank]);
        let digits = (0..dimension)
            .rev()
            .map(|place| index / u32::pow(base, place) % base);
        let digits: Vec<u32> = digits.collect();
        for digit in &digits {
            if *digit > 0 {
                self.draw(1);
            }
        }
        for _ in digits.iter().filter(|digit| **digit == 16 && book == 11) {
            let ones = self.random.below(5) as usize;
            self.put((1 << (ones + 1)) - 2, ones + 1);
            self.draw(ones + 4);
        }
    }

    fn packet(mut self, channels: usize) -> Vec<u8> {
        self.put(channels as u32 - 1, 3);
        self.put(0, 4);
        if channels == 1 {
            self.channel(None, false);
        } else {
            self.pair();
        }
        self.put(7, 3);
        pack(&self.fields)
    }

    fn pair(&mut self) {
        let is_shared = !self.random.one_in(4);
        self.put(u32::from(is_shared), 1);
        let shape = is_shared.then(|| self.windows());
        if let Some(shape) = &shape {
            let mask = self.random.below(3);
            self.put(mask, 2);
            if mask == 1 {
                (0..shape.groups.len() * shape.bands).for_each(|_| self.skip(1));
            }
        }
        self.channel(shape.as_ref(), false);
        self.channel(shape.as_ref(), is_shared);
    }
}

/// The code of this rank, counted up from the one before as canonical codes are.
fn nth(codes: &Codes, rank: usize) -> (u32, usize) {
    let (mut code, mut before) = (0, 0);
    for (bits, count) in (1..).zip(codes.counts) {
        let count = usize::from(*count);
        if rank < before + count {
            return (code + (rank - before) as u32, bits);
        }
        code = (code + count as u32) << 1;
        before += count;
    }
    unreachable!("no such code");
}

fn params(rate: u32, channels: usize) -> Params {
    Params::new(Codec::Aac, rate, Some(channels))
}

fn their_params(rate: u32, channels: usize) -> AudioCodecParameters {
    let mut params = AudioCodecParameters::new();
    params.for_codec(CODEC_ID_AAC).with_sample_rate(rate);
    params.with_channels(match channels {
        1 => symphonia::core::audio::layouts::CHANNEL_LAYOUT_MONO,
        _ => symphonia::core::audio::layouts::CHANNEL_LAYOUT_STEREO,
    });
    params
}

/// What a decoder gives for a packet, channel after channel.
fn decode(decoder: &mut Decoder, packet: &[u8]) -> Result<Vec<f32>, String> {
    let block = decoder.decode(packet).map_err(|error| error.to_string())?;
    Ok(block.planes.concat())
}

/// The same of symphonia's.
fn decode_theirs(decoder: &mut dyn AudioDecoder, packet: &[u8]) -> Result<Vec<f32>, String> {
    let packet = PacketRef::new(0, Timestamp::from(0), Duration::from(1024u64), packet);
    let block = decoder
        .decode_ref(&packet)
        .map_err(|error| error.to_string())?;
    let mut planes: Vec<Vec<f32>> = Vec::new();
    block.copy_to_vecs_planar(&mut planes);
    Ok(planes.concat())
}

fn packets(rate: u32, channels: usize, seed: u64, is_free: bool) -> Vec<Vec<u8>> {
    let packet = |n: u64| {
        let mut random = Random(seed ^ n << 40);
        random.below(2);
        let writer = Writer {
            random,
            bands: Bands::new(rate, 1024),
            fields: Vec::new(),
            is_free,
        };
        writer.packet(channels)
    };
    (0..6).map(packet).collect()
}

fn rates() -> impl Strategy<Value = u32> {
    prop::sample::select(SAMPLE_RATES.to_vec())
}

proptest! {
    #[test]
    fn packets_of_all_kinds_are_decoded_as_symphonia_does(
        rate in rates(), channels in 1usize..3, seed: u64,
    ) {
        let mut ours = Decoder::new(&params(rate, channels)).unwrap();
        let options = AudioDecoderOptions::default();
        let params = their_params(rate, channels);
        let theirs = symphonia::default::get_codecs().make_audio_decoder(&params, &options);
        let mut theirs = theirs.unwrap();
        for packet in packets(rate, channels, seed, false) {
            let expected = decode_theirs(&mut *theirs, &packet);
            let decoded = decode(&mut ours, &packet);
            let (decoded, expected) = (decoded.unwrap(), expected.unwrap());
            prop_assert_eq!(decoded.len(), expected.len());
            let largest = expected.iter().fold(1e-3f32, |most, sample| most.max(sample.abs()));
            for (at, (ours, theirs)) in decoded.iter().zip(&expected).enumerate() {
                prop_assert!((ours - theirs).abs() < 1e-3 * largest, "{at}: {ours} {theirs}");
            }
        }
    }

    /// Only one packet in front is needed, with noise too, and nothing but its overlap is kept.
    #[test]
    fn a_packet_depends_on_the_one_before_it_only(
        rate in rates(), channels in 1usize..3, seed: u64, from in 0usize..5,
    ) {
        let packets = packets(rate, channels, seed, true);
        let params = params(rate, channels);
        let mut whole = Decoder::new(&params).unwrap();
        let all: Vec<_> = packets.iter().map(|packet| decode(&mut whole, packet)).collect();
        whole.reset();
        let later = packets[from..].iter().map(|packet| decode(&mut whole, packet));
        for (later, expected) in later.zip(&all[from..]).skip(1) {
            prop_assert_eq!(&later, expected);
        }
    }

    #[test]
    fn damage_gives_samples_or_errors(
        rate in rates(), channels in 1usize..3, seed: u64,
        flips in prop::collection::vec((0usize..6, any::<prop::sample::Index>()), 0..9),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut packets = packets(rate, channels, seed, true);
        for (packet, bit) in flips {
            let packet = &mut packets[packet];
            let bit = bit.index(8 * packet.len());
            packet[bit / 8] ^= 128 >> (bit % 8);
        }
        let last = &mut packets[5];
        last.truncate(cut.index(last.len() + 1));
        let mut decoder = Decoder::new(&params(rate, channels)).unwrap();
        for packet in packets {
            if let Ok(samples) = decode(&mut decoder, &packet) {
                prop_assert!(samples.iter().all(|sample| sample.is_finite()));
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(
        rate in rates(), channels in 0usize..9,
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..4),
    ) {
        let mut decoder = Decoder::new(&params(rate, channels)).unwrap();
        for packet in packets {
            if let Ok(samples) = decode(&mut decoder, &packet) {
                prop_assert!(samples.iter().all(|sample| sample.is_finite()));
            }
        }
    }
}

/// A packet of silence in one channel with this payload of replication, of 13 bytes or more.
fn silence_with(payload: &[u8]) -> Vec<u8> {
    let escape = (payload.len() - 13) as u8;
    let head = [0, 0xC8, 0, 6, 0xF0 | escape >> 4, escape << 4 | 0xD];
    [&head[..], payload, &[0x0E]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Headers and levels of all kinds, mostly legal as far as they go.
    #[test]
    fn any_replication_is_survived(
        rate in rates(), is_mono: bool,
        header in any::<[u8; 3]>(),
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 13..200), 1..12),
    ) {
        let params = Params { is_replicated: true, ..params(rate, 1) };
        let mut decoder = Decoder::new(&Params { sample_rate: 2 * rate, ..params }).unwrap();
        decoder.set_mono(is_mono);
        for (n, mut payload) in payloads.into_iter().enumerate() {
            // A header in the first packet, which has none of the rarer fields.
            payload[0] = if n == 0 { 0x80 | header[0] >> 1 } else { payload[0] & 0x7F };
            payload[1] = if n == 0 { header[1] } else { payload[1] };
            payload[2] = if n == 0 { 0 } else { payload[2] };
            if let Ok(samples) = decode(&mut decoder, &silence_with(&payload)) {
                prop_assert!(samples.iter().all(|sample| sample.is_finite()));
            }
        }
    }
}

#[test]
fn every_bit_of_a_packet_may_be_flipped() {
    for packet in packets(44_100, 2, 7, true).iter().take(3) {
        let mut decoder = Decoder::new(&params(44_100, 2)).unwrap();
        for bit in 0..8 * packet.len().min(400) {
            let mut flipped = packet.clone();
            flipped[bit / 8] ^= 128 >> (bit % 8);
            if let Ok(samples) = decode(&mut decoder, &flipped) {
                assert!(samples.iter().all(|sample| sample.is_finite()));
            }
        }
    }
}

#[test]
fn a_packet_that_is_cut_is_an_error() {
    let packet = &packets(44_100, 2, 3, true)[0];
    let mut decoder = Decoder::new(&params(44_100, 2)).unwrap();
    assert!(decode(&mut decoder, packet).is_ok());
    for length in 0..packet.len() - 1 {
        let error = decode(&mut decoder, &packet[..length]).unwrap_err();
        assert!(error.contains("ends too early"), "{error}");
    }
}
