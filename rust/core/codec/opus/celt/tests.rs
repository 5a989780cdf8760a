//! Against libopus, as the crate `unsafe-libopus` has it in Rust.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::ops::Range;
use std::ptr;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use unsafe_libopus::*;

use super::super::range::RangeDecoder;
use super::Celt;
use super::shape::next_random;

/// libopus's decoder.
struct Oracle {
    decoder: *mut OpusDecoder,
    channels: usize,
}

impl Oracle {
    fn new(channels: usize) -> Self {
        let decoder = unsafe { opus_decoder_create(48000, channels as i32, ptr::null_mut()) };
        assert!(!decoder.is_null());
        Self { decoder, channels }
    }

    /// `samples` of each channel of a packet, or of a lost one. It may find fault with a frame and
    /// still decode it.
    fn decode(&mut self, packet: Option<&[u8]>, samples: usize) -> Vec<f32> {
        let mut pcm = vec![0.0; samples * self.channels];
        let (data, size) =
            packet.map_or((ptr::null(), 0), |packet| (packet.as_ptr(), packet.len()));
        let decoded = unsafe {
            opus_decode_float(
                &mut *self.decoder,
                data,
                size as i32,
                pcm.as_mut_ptr(),
                samples as i32,
                0,
            )
        };
        assert!(
            decoded == samples as i32 || decoded == OPUS_INTERNAL_ERROR,
            "{decoded}"
        );
        pcm
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        unsafe { opus_decoder_destroy(self.decoder) }
    }
}

/// What the first byte of a packet says of one CELT frame.
#[derive(Clone, Copy, Debug)]
struct Toc {
    /// Of NB, WB, SWB and FB.
    bandwidth: usize,
    log_blocks: usize,
    is_stereo: bool,
}

impl Toc {
    fn parse(byte: u8) -> Self {
        let config = usize::from(byte >> 3);
        assert!(config >= 16 && byte & 3 == 0, "{byte:08b}");
        Self {
            bandwidth: (config - 16) / 4,
            log_blocks: config % 4,
            is_stereo: byte & 4 != 0,
        }
    }

    fn byte(self) -> u8 {
        let config = 16 + 4 * self.bandwidth + self.log_blocks;
        (config << 3) as u8 | u8::from(self.is_stereo) << 2
    }

    fn samples(self) -> usize {
        120 << self.log_blocks
    }

    fn bands(self) -> Range<usize> {
        0..[13, 17, 19, 21][self.bandwidth]
    }
}

/// Both decoders of one stream.
struct Pair {
    oracle: Oracle,
    ours: Celt,
    last: Option<Toc>,
}

impl Pair {
    fn new(channels: usize) -> Self {
        Self {
            oracle: Oracle::new(channels),
            ours: Celt::new(channels),
            last: None,
        }
    }

    /// Largest difference in one packet, of the loudest sample or of 1.
    fn decode(&mut self, packet: &[u8]) -> f32 {
        let toc = Toc::parse(packet[0]);
        self.last = Some(toc);
        let expected = self.oracle.decode(Some(packet), toc.samples());
        let mut pcm = vec![0.0; expected.len()];
        let mut range = RangeDecoder::new(&packet[1..]);
        let channels = 1 + usize::from(toc.is_stereo);
        self.ours
            .decode(&mut range, channels, toc.bands(), &mut pcm, false);
        difference(&pcm, &expected)
    }

    fn lose(&mut self) -> f32 {
        let toc = self.last.unwrap();
        let expected = self.oracle.decode(None, toc.samples());
        let mut pcm = vec![0.0; expected.len()];
        let channels = 1 + usize::from(toc.is_stereo);
        self.ours.conceal(channels, toc.bands(), &mut pcm, false);
        difference(&pcm, &expected)
    }
}

fn difference(ours: &[f32], expected: &[f32]) -> f32 {
    assert!(ours.iter().all(|sample| sample.is_finite()));
    let scale = expected
        .iter()
        .fold(1.0_f32, |most, sample| most.max(sample.abs()));
    let differences = ours.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max) / scale
}

/// Settings of libopus's encoder.
#[derive(Clone, Copy, Debug)]
struct Settings {
    channels: usize,
    bitrate: i32,
    bandwidth: i32,
    log_blocks: usize,
    is_variable: bool,
    complexity: i32,
    /// Channels that are coded, where not left to the encoder.
    forced: i32,
}

/// CELT packets of one frame, from the first that has any bits on, of `signal`, which is interleaved.
fn encode(settings: &Settings, signal: &[f32]) -> Vec<Vec<u8>> {
    unsafe {
        let encoder = opus_encoder_create(
            48000,
            settings.channels as i32,
            OPUS_APPLICATION_RESTRICTED_LOWDELAY,
            ptr::null_mut(),
        );
        assert!(!encoder.is_null());
        opus_encoder_ctl!(encoder, OPUS_SET_BITRATE_REQUEST, settings.bitrate);
        opus_encoder_ctl!(encoder, OPUS_SET_BANDWIDTH_REQUEST, settings.bandwidth);
        opus_encoder_ctl!(
            encoder,
            OPUS_SET_VBR_REQUEST,
            i32::from(settings.is_variable)
        );
        opus_encoder_ctl!(encoder, OPUS_SET_COMPLEXITY_REQUEST, settings.complexity);
        opus_encoder_ctl!(encoder, OPUS_SET_FORCE_CHANNELS_REQUEST, settings.forced);
        let samples = 120 << settings.log_blocks;
        let packets = signal
            .chunks_exact(samples * settings.channels)
            .map(|frame| {
                let mut packet = vec![0; 1276];
                let (data, room) = (packet.as_mut_ptr(), packet.len() as i32);
                let size = opus_encode_float(encoder, frame.as_ptr(), samples as i32, data, room);
                assert!(size > 0, "{size}");
                packet.truncate(size as usize);
                packet
            })
            .filter(|packet| packet[0] & 3 == 0)
            .skip_while(|packet| packet.len() < 3)
            .collect();
        opus_encoder_destroy(encoder);
        packets
    }
}

/// A signal that changes its kind now and then: tones, noise, clicks, sweeps and silence.
fn signal(mut seed: u32, channels: usize, samples: usize) -> Vec<f32> {
    let mut random = move || {
        seed = next_random(seed);
        (seed >> 8) as f32 / (1 << 24) as f32
    };
    let mut signal = Vec::with_capacity(samples * channels);
    while signal.len() < samples * channels {
        let (kind, level, pitch) = ((random() * 6.0) as u32, random(), 40.0 + 8000.0 * random());
        let (side, pitch_low) = (random(), 60.0 + 300.0 * random());
        for at in 0..(1000.0 + 9000.0 * random()) as usize {
            let time = at as f32 / 48000.0;
            let turn = std::f32::consts::TAU * time;
            let left = level
                * match kind {
                    0 => 0.7 * (turn * pitch).sin(),
                    1 => random() - 0.5,
                    2 => f32::from(at % 2400 < 3),
                    3 => 0.7 * (turn * pitch * (1.0 + 10.0 * time)).sin(),
                    4 => {
                        (1..8)
                            .map(|n| (turn * pitch_low * n as f32).sin())
                            .sum::<f32>()
                            / 8.0
                    }
                    _ => 0.0,
                };
            signal.push(left);
            if channels == 2 {
                signal.push(side * left + (1.0 - side) * level * 0.2 * (random() - 0.5));
            }
        }
    }
    signal.truncate(samples * channels);
    signal
}

fn settings() -> impl Strategy<Value = Settings> {
    let bitrate = prop_oneof![6000..40_000, 40_000..510_000];
    let bandwidths = prop::sample::select(vec![
        OPUS_BANDWIDTH_NARROWBAND,
        OPUS_BANDWIDTH_WIDEBAND,
        OPUS_BANDWIDTH_SUPERWIDEBAND,
        OPUS_BANDWIDTH_FULLBAND,
    ]);
    let forced = prop::sample::select(vec![OPUS_AUTO, 1, 2]);
    (
        1..3_usize,
        bitrate,
        bandwidths,
        0..4_usize,
        any::<bool>(),
        0..11,
        forced,
    )
        .prop_map(
            |(channels, bitrate, bandwidth, log_blocks, is_variable, complexity, forced)| {
                Settings {
                    channels,
                    bitrate,
                    bandwidth,
                    log_blocks,
                    is_variable,
                    complexity,
                    forced: if channels == 1 { OPUS_AUTO } else { forced },
                }
            },
        )
}

fn toc() -> impl Strategy<Value = Toc> {
    (0..4_usize, 0..4_usize, any::<bool>()).prop_map(|(bandwidth, log_blocks, is_stereo)| Toc {
        bandwidth,
        log_blocks,
        is_stereo,
    })
}

fn garbage(toc: Toc, seed: u32, size: usize) -> Vec<u8> {
    let mut seed = seed;
    let mut next = || {
        seed = next_random(seed);
        (seed >> 24) as u8
    };
    std::iter::once(toc.byte())
        .chain((0..size).map(|_| next()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn encoded_signals_decode_as_in_libopus(
        settings in settings(), seed in any::<u32>(), outputs in 1..3_usize,
    ) {
        let packets = encode(&settings, &signal(seed, settings.channels, 19200));
        let mut pair = Pair::new(outputs);
        for (at, packet) in packets.iter().enumerate() {
            let difference = pair.decode(packet);
            prop_assert!(difference < 1e-5, "frame {at}: {difference}");
        }
    }

    #[test]
    fn garbage_decodes_as_in_libopus(
        tocs in prop::collection::vec((toc(), any::<u32>(), 2..1276_usize), 1..12), outputs in 1..3_usize,
    ) {
        let mut pair = Pair::new(outputs);
        for (at, (toc, seed, size)) in tocs.into_iter().enumerate() {
            let difference = pair.decode(&garbage(toc, seed, size));
            prop_assert!(difference < 1e-5, "frame {at}: {difference}");
        }
    }
}

/// Extrapolation multiplies what rounding leaves, the more the purer a tone is: noise 140 dB below
/// changes our own as much. So it is counted how many frames differ by how much.
#[test]
fn lost_frames_are_concealed_as_in_libopus() {
    let mut runner = TestRunner::deterministic();
    let mut exponents = [0_u32; 10];
    for seed in 0..300 {
        let settings = settings().new_tree(&mut runner).unwrap().current();
        let packets = encode(&settings, &signal(seed, settings.channels, 19200));
        let mut pair = Pair::new(1 + seed as usize % 2);
        for (at, packet) in packets.iter().enumerate() {
            let is_lost = next_random(seed ^ at as u32) >> 28 < 5 && at > 0;
            let difference = if is_lost {
                pair.lose()
            } else {
                pair.decode(packet)
            };
            exponents[-difference.max(1e-9).log10() as usize] += 1;
        }
    }
    let total: u32 = exponents.iter().sum();
    let above = |exponent: usize| exponents[..exponent].iter().sum::<u32>() as f32 / total as f32;
    println!("{exponents:?}");
    assert!(
        above(2) < 0.002 && above(3) < 0.01 && above(4) < 0.06,
        "{exponents:?}"
    );
}

#[test]
fn a_reset_decoder_is_as_new() {
    let settings = Settings {
        channels: 2,
        bitrate: 64_000,
        bandwidth: OPUS_BANDWIDTH_FULLBAND,
        log_blocks: 3,
        is_variable: true,
        complexity: 5,
        forced: OPUS_AUTO,
    };
    let packets = encode(&settings, &signal(1, 2, 48000));
    let decode = |celt: &mut Celt| -> Vec<f32> {
        let mut output = Vec::new();
        for (at, packet) in packets.iter().enumerate() {
            let mut pcm = vec![0.0; 1920];
            let mut range = RangeDecoder::new(&packet[1..]);
            match at % 7 {
                6 => celt.conceal(2, 0..21, &mut pcm, false),
                _ => celt.decode(&mut range, 2, 0..21, &mut pcm, false),
            }
            output.extend(pcm);
        }
        output
    };
    let mut celt = Celt::new(2);
    let first = decode(&mut celt);
    celt.reset();
    assert!(first == decode(&mut celt));
}

#[test]
fn accumulated_samples_are_added() {
    let packet = garbage(
        Toc {
            bandwidth: 3,
            log_blocks: 2,
            is_stereo: true,
        },
        5,
        200,
    );
    for channels in 1..3 {
        let decode = |pcm: &mut [f32], accumulate| {
            let mut range = RangeDecoder::new(&packet[1..]);
            Celt::new(channels).decode(&mut range, 2, 17..21, pcm, accumulate);
        };
        let (mut plain, mut added) = (vec![0.0; 480 * channels], vec![0.25; 480 * channels]);
        decode(&mut plain, false);
        decode(&mut added, true);
        assert!(plain.iter().any(|sample| *sample != 0.0));
        for (plain, added) in plain.iter().zip(&added) {
            assert!((plain + 0.25 - added).abs() <= 1e-6 * plain.abs().max(1.0));
        }
    }
}

/// Lost frames of all kinds between garbage, with bands from anywhere: nothing breaks.
#[test]
fn losses_between_garbage_stay_finite() {
    let mut seed = 1;
    let mut next = |below: u32| {
        seed = next_random(seed);
        (seed >> 10) % below
    };
    for case in 0..400 {
        let channels = 1 + case % 2;
        let mut celt = Celt::new(channels);
        for _ in 0..30 {
            let bands = [0, 17][next(2) as usize]..[19, 21][next(2) as usize];
            let mut pcm = vec![0.0; (channels * 120) << next(4)];
            let data: Vec<u8> = (0..next(80)).map(|_| next(256) as u8).collect();
            let (coded, accumulate) = (1 + next(2) as usize, next(2) == 0);
            if next(2) == 0 {
                celt.conceal(coded, bands, &mut pcm, accumulate);
            } else {
                celt.decode(
                    &mut RangeDecoder::new(&data),
                    coded,
                    bands,
                    &mut pcm,
                    accumulate,
                );
            }
            assert!(pcm.iter().all(|sample| sample.is_finite()));
        }
    }
}
