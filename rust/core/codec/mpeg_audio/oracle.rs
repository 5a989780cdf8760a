//! Frames of random fields and random bits beside symphonia's decoder. Every code book is complete: any
//! bits are lines.

use proptest::prelude::*;
use symphonia::core::audio::{Audio, GenericAudioBufferRef};
use symphonia::core::codecs::audio::well_known as id;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::{Decoder, Plane};
use crate::codec::packet::PacketDecoder;

/// Between symphonia and ours, of the largest sample of a stream, or of full scale where that is more: what rounds are
/// lines and channels before they cancel, which a quiet output does not show. ISO/IEC 11172-4 allows 6.1e-5 of full scale.
const TOLERANCE: f32 = 1e-5;
/// Between two ways through our decoder.
const OWN_TOLERANCE: f32 = 1e-5;

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end.max(1) as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

#[derive(Default)]
struct Writer(Vec<u8>, usize);

impl Writer {
    fn put(&mut self, value: usize, count: usize) {
        for bit in (0..count).rev() {
            if self.1.is_multiple_of(8) {
                self.0.push(0);
            }
            *self.0.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (7 - self.1 % 8);
            self.1 += 1;
        }
    }
}

/// What of Layer III is drawn.
#[derive(Clone, Copy)]
struct Kind {
    /// 3, 2 and 0 stand for MPEG 1, 2 and 2.5.
    version: usize,
    rate: usize,
    mode: usize,
    /// Fields that symphonia reads in another way than the standard, or not at all.
    has_oddities: bool,
}

impl Kind {
    fn draw(random: &mut Random, has_oddities: bool) -> Self {
        Self {
            version: [3, 2, 0][random.below(3)],
            rate: random.below(3),
            mode: random.below(4),
            has_oddities,
        }
    }

    fn is_mpeg1(self) -> bool {
        self.version == 3
    }

    fn channels(self) -> usize {
        if self.mode == 3 { 1 } else { 2 }
    }

    /// The header of a frame of Layer III with the bit rate of index `rate`; its length in bytes.
    fn header(self, bit_rate: usize, extension: usize) -> (u32, usize) {
        const MPEG1: [usize; 15] = [
            0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
        ];
        const MPEG2: [usize; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
        let hz = [44_100, 48_000, 32_000][self.rate] >> [2, 0, 1, 0][self.version];
        let (kbits, samples) = match self.is_mpeg1() {
            true => (MPEG1[bit_rate], 144_000),
            false => (MPEG2[bit_rate], 72_000),
        };
        let word = 0xFFE0_0000
            | (self.version as u32) << 19
            | 1 << 17
            | 1 << 16
            | (bit_rate as u32) << 12
            | (self.rate as u32) << 10
            | (self.mode as u32) << 6
            | (extension as u32) << 4;
        (word, samples * kbits / hz)
    }

    /// One granule of one channel: its fields, and how many bits it is to have.
    fn granule(self, random: &mut Random, writer: &mut Writer, bits: usize, window: usize) {
        writer.put(bits, 12);
        writer.put(random.below(289), 9);
        writer.put(100 + random.below(60), 8);
        // Without places of intensity stereo that only symphonia takes.
        match self.is_mpeg1() {
            true => writer.put(random.below(16), 4),
            false => writer.put(random.below(if self.mode == 1 { 6 } else { 512 }), 9),
        }
        writer.put(usize::from(window > 0), 1);
        if window > 0 {
            writer.put(window, 2);
            writer.put(usize::from(self.has_oddities && random.one_in(3)), 1);
            writer.put(random.below(1 << 10), 10);
            writer.put(random.below(1 << 9), 9);
        } else {
            writer.put(random.below(1 << 15), 15);
            writer.put(random.below(1 << 7), 7);
        }
        writer.put(random.below(8), if self.is_mpeg1() { 3 } else { 2 });
    }

    /// A stream of legal frames whose bits reach back to frames before.
    fn stream(self, random: &mut Random, count: usize) -> Vec<Vec<u8>> {
        let mut unread = 0;
        let frame = |_| self.frame(random, &mut unread);
        (0..count).map(frame).collect()
    }

    fn frame(self, random: &mut Random, unread: &mut usize) -> Vec<u8> {
        // A stream may change between all modes of two channels.
        let mode = if self.mode == 3 { 3 } else { random.below(3) };
        Self { mode, ..self }.frame_of_mode(random, unread)
    }

    fn frame_of_mode(self, random: &mut Random, unread: &mut usize) -> Vec<u8> {
        let is_mpeg1 = self.is_mpeg1();
        let extension = if self.mode == 1 { random.below(4) } else { 0 };
        let (word, length) = self.header(4 + random.below(6), extension);
        let side_info = match (is_mpeg1, self.channels()) {
            (true, 1) | (false, 2) => 17,
            (true, _) => 32,
            (false, _) => 9,
        };
        let main = length - 4 - side_info;
        let reach = if is_mpeg1 { 511 } else { 255 };
        let begin = random.below((*unread).min(reach) + 1);
        let parts = self.channels() * if is_mpeg1 { 2 } else { 1 };
        let share = (8 * (main + begin) / parts).min(4095);
        let mut writer = Writer::default();
        writer.put(word as usize, 32);
        writer.put(begin, if is_mpeg1 { 9 } else { 8 });
        writer.put(
            0,
            match (is_mpeg1, self.channels()) {
                (true, 1) => 5,
                (true, _) => 3,
                (false, channels) => channels,
            },
        );
        if is_mpeg1 {
            writer.put(random.below(1 << 8), 4 * self.channels());
        }
        let mut used = 0;
        for _ in 0..parts / self.channels() {
            let window = random.below(4);
            for _ in 0..self.channels() {
                // More than the scale factors can take, or nothing.
                let bits = 160 + random.below(share.saturating_sub(160));
                let bits = if share < 200 { 0 } else { bits };
                // Sometimes fewer than the scale factors take.
                let is_short = self.has_oddities && random.one_in(40);
                let bits = if is_short { bits.min(20) } else { bits };
                used += bits;
                let is_free = self.has_oddities && random.one_in(2);
                let window = if is_free { random.below(4) } else { window };
                self.granule(random, &mut writer, bits, window);
            }
        }
        *unread = main + begin - used.div_ceil(8);
        writer.0.resize_with(length, || random.bits() as u8);
        writer.0
    }
}

/// A stream that may begin in the middle of another one.
fn draw(seed: u64, has_oddities: bool, count: usize) -> Vec<Vec<u8>> {
    let random = &mut Random(seed | 1);
    let kind = Kind::draw(random, has_oddities);
    kind.stream(random, count)
}

/// Samples by channel of each frame, or `None` for an error.
type Frames = Vec<Option<Vec<Vec<f32>>>>;

fn ours(frames: &[Vec<u8>], mono: bool) -> Frames {
    let mut decoder = Decoder::default();
    decoder.set_mono(mono);
    let decode = |frame: &Vec<u8>| Some(decoder.decode(frame).ok()?.planes.to_vec());
    frames.iter().map(decode).collect()
}

fn symphonias(frames: &[Vec<u8>]) -> Frames {
    let mut params = AudioCodecParameters::new();
    params.for_codec(match frames[0][1] >> 1 & 3 {
        1 => id::CODEC_ID_MP3,
        2 => id::CODEC_ID_MP2,
        _ => id::CODEC_ID_MP1,
    });
    let codecs = symphonia::default::get_codecs();
    let decoder = codecs.make_audio_decoder(&params, &AudioDecoderOptions::default());
    let mut decoder: Box<dyn AudioDecoder> = decoder.unwrap();
    let mut decode = |frame: &Vec<u8>| {
        let packet = PacketRef::new(0, Timestamp::from(0), Duration::from(0u64), frame);
        let Ok(GenericAudioBufferRef::F32(block)) = decoder.decode_ref(&packet) else {
            return None;
        };
        let planes = 0..block.num_planes();
        Some(planes.map(|at| block.plane(at).unwrap().to_vec()).collect())
    };
    frames.iter().map(&mut decode).collect()
}

fn peak(frames: &Frames) -> f32 {
    let samples = frames.iter().flatten().flatten().flatten();
    samples.fold(1e-3, |peak: f32, sample| peak.max(sample.abs()))
}

fn allowed(expected: &Frames) -> f32 {
    TOLERANCE * peak(expected).max(1.0)
}

/// The largest difference; where only one of both has samples, infinity.
fn distance(one: &Frames, other: &Frames) -> f32 {
    assert_eq!(one.len(), other.len());
    let mut most = 0f32;
    for pair in one.iter().zip(other) {
        match pair {
            (None, None) => {}
            (Some(one), Some(other)) if one.len() == other.len() => {
                for (one, other) in one.iter().flatten().zip(other.iter().flatten()) {
                    most = most.max((one - other).abs());
                }
            }
            _ => return f32::INFINITY,
        }
    }
    most
}

/// Without vectors and fused sums.
fn plain(frames: &[Vec<u8>]) -> Frames {
    let mut decoder = Decoder::default();
    let mut decode = |frame: &Vec<u8>| {
        let channels = if frame[3] >> 6 == 3 { 1 } else { 2 };
        decoder.planes.resize_with(channels, Plane::default);
        for plane in &mut decoder.planes {
            plane.samples.clear();
        }
        if decoder.decode_frame::<false>(frame).is_err() {
            decoder.planes.clear();
            return None;
        }
        let planes = decoder.planes.iter();
        Some(planes.map(|plane| plane.samples.clone()).collect())
    };
    frames.iter().map(&mut decode).collect()
}

proptest! {
    #[test]
    fn layer_3_is_that_of_symphonia(seed in any::<u64>(), skipped in 0usize..3) {
        let frames = draw(seed, false, 12);
        let mut expected = symphonias(&frames[skipped..]);
        let mut found = ours(&frames[skipped..], false);
        prop_assert!(expected.iter().any(Option::is_some));
        // Lines whose bits end after their granule are kept, as in FFmpeg; where they end after all
        // data that there are, symphonia refuses them.
        let mut pairs = expected.iter().zip(&found);
        let refused = pairs.position(|(theirs, own)| theirs.is_none() && own.is_some());
        let count = refused.unwrap_or(expected.len());
        expected.truncate(count);
        found.truncate(count);
        let distance = distance(&found, &expected);
        prop_assert!(distance <= allowed(&expected), "{distance} of {}", peak(&expected));
    }

    /// Few bits set where the allocation is, so that the frame has room for its samples.
    #[test]
    fn layers_1_and_2_are_those_of_symphonia(seed in any::<u64>()) {
        let random = &mut Random(seed | 1);
        let (version, mode) = ([3, 2][random.below(2)], random.below(4) as u32);
        let (layer, rate) = (1 + random.below(2), random.below(3));
        let hz = [44_100, 48_000, 32_000][rate] >> (3 - version);
        let bit_rate = 9 + random.below(if mode == 3 { 2 } else { 6 });
        let kbits = match (version, layer) {
            (3, 1) => 32 * bit_rate,
            (3, _) => [160, 160, 192, 224, 256, 320, 384][bit_rate - 8],
            (_, 1) => [128, 144, 160, 176, 192, 224, 256][bit_rate - 8],
            _ => [64, 80, 96, 112, 128, 144, 160][bit_rate - 8],
        };
        // Symphonia refuses some rates of Layer II.
        prop_assume!(layer == 1 || !(kbits == 80 && mode != 3));
        let length = match layer {
            1 => 12_000 * kbits / hz * 4,
            _ => 144_000 * kbits / hz,
        };
        let word = 0xFFE1_0000
            | (version as u32) << 19
            | (4 - layer as u32) << 17
            | (bit_rate as u32) << 12
            | (rate as u32) << 10
            | mode << 6;
        let frames: Vec<Vec<u8>> = (0..6)
            .map(|_| {
                let mut frame = (word | (random.below(4) as u32) << 4).to_be_bytes().to_vec();
                frame.resize_with(34, || (random.bits() & random.bits() & random.bits()) as u8);
                frame.resize_with(length, || random.bits() as u8);
                frame
            })
            .collect();
        // After an error symphonia's filters go on, and ours begin anew.
        let mut expected = symphonias(&frames);
        let good = expected.iter().position(Option::is_none);
        expected.truncate(good.map_or(frames.len(), |good| good + 1));
        let found = ours(&frames[..expected.len()], false);
        let distance = distance(&found, &expected);
        prop_assert!(distance <= allowed(&expected), "{distance} of {}", peak(&expected));
    }

    #[test]
    fn mono_is_the_mean_of_the_channels(seed in any::<u64>()) {
        let frames = draw(seed, true, 12);
        let channels = ours(&frames, false);
        let mean = |planes: &Vec<Vec<f32>>| match planes.as_slice() {
            [left, right] => {
                let pairs = left.iter().zip(right);
                vec![pairs.map(|(left, right)| (left + right) * 0.5).collect()]
            }
            _ => planes.clone(),
        };
        let expected = channels.iter().map(|planes| planes.as_ref().map(mean)).collect();
        let distance = distance(&ours(&frames, true), &expected);
        prop_assert!(distance <= OWN_TOLERANCE * peak(&channels), "{distance} of {}", peak(&channels));
    }

    #[test]
    fn vectors_change_next_to_nothing(seed in any::<u64>()) {
        let frames = draw(seed, true, 8);
        let expected = plain(&frames);
        let distance = distance(&ours(&frames, false), &expected);
        prop_assert!(distance <= OWN_TOLERANCE * peak(&expected), "{distance} of {}", peak(&expected));
    }

    /// 32 frames are what ranges are decoded ahead, whatever damage there is among them.
    #[test]
    fn samples_do_not_depend_on_where_decoding_began(
        seed in any::<u64>(),
        begin in 0usize..20,
        damage in prop::collection::vec((0usize..60, 4usize..60, any::<u8>()), 0..6),
        mono in any::<bool>(),
    ) {
        let mut frames = draw(seed, true, 60);
        for (frame, at, byte) in damage {
            if let Some(to) = frames[frame].get_mut(at) {
                *to = byte;
            }
        }
        let (whole, part) = (ours(&frames, mono), ours(&frames[begin..], mono));
        prop_assert!(whole[begin + 32..] == part[32..]);
    }

    #[test]
    fn any_bytes_are_samples_or_an_error(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 1..6),
        second in any::<u8>(),
        mono in any::<bool>(),
    ) {
        let mut decoder = Decoder::default();
        decoder.set_mono(mono);
        for mut frame in frames {
            if let [first, to, ..] = frame.as_mut_slice() {
                (*first, *to) = (0xFF, second | 0xE0);
            }
            if let Ok(block) = decoder.decode(&frame) {
                prop_assert!(matches!(block.frames(), 384 | 576 | 1152));
                prop_assert!(block.planes.iter().all(|plane| plane.len() == block.frames()));
            }
        }
    }
}
