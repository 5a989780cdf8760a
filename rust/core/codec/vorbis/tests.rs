//! Packets drawn at random over headers that have all the format has: decoded here and by symphonia,
//! to the mean and to channels, from the start and from the middle, whole and broken.

use proptest::prelude::*;
use symphonia::core::audio::{Audio, GenericAudioBufferRef};
use symphonia::core::codecs::audio::well_known::CODEC_ID_VORBIS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

use super::craft::{Design, Random, headers};
use super::setup::Setup;
use super::{Blocks, Decoder};
use crate::codec::packet::PacketDecoder as _;

fn designs(channels: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = Design> {
    let blocks = prop::sample::select(vec![[6, 6], [6, 8], [7, 9], [8, 11]]);
    let floors = [0u32..2, 0..2];
    let residues = [0u32..3, 0..3];
    let drawn = (
        channels,
        blocks,
        floors,
        residues,
        any::<bool>(),
        any::<u64>(),
    );
    drawn.prop_map(
        |(channels, blocks, floors, residues, is_coupled, seed)| Design {
            channels,
            blocks,
            floors,
            residues,
            is_coupled,
            seed,
        },
    )
}

/// Packets of audio, in either mode, and too short for all that they promise as often as not.
fn packets(seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random(seed ^ 77);
    let packet = |_| {
        let length = 1 + random.below(200) as usize;
        let mut packet = random.bytes(length);
        packet[0] &= !1;
        packet
    };
    (0..12).map(packet).collect()
}

fn decode(decoder: &mut Decoder, packet: &[u8]) -> Vec<Vec<f32>> {
    decoder
        .decode(packet)
        .map_or(Vec::new(), |block| block.planes.to_vec())
}

fn symphonia(headers: &[u8]) -> Option<Box<dyn AudioDecoder>> {
    let mut params = AudioCodecParameters::new();
    params
        .for_codec(CODEC_ID_VORBIS)
        .with_extra_data(headers.into());
    let options = AudioDecoderOptions::default().gapless(false);
    symphonia::default::get_codecs()
        .make_audio_decoder(&params, &options)
        .ok()
}

fn farthest(ours: &[f32], theirs: &[f32]) -> f32 {
    let pairs = ours.iter().zip(theirs);
    pairs
        .map(|(ours, theirs)| (ours - theirs).abs())
        .fold(0.0, f32::max)
}

fn peak(samples: &[f32]) -> f32 {
    samples
        .iter()
        .fold(1.0, |peak, sample| sample.abs().max(peak))
}

/// Equal also where they are not numbers, as a floor at random can make them.
fn bits(planes: &[Vec<f32>]) -> Vec<Vec<u32>> {
    let bits = |plane: &Vec<f32>| plane.iter().map(|sample| sample.to_bits()).collect();
    planes.iter().map(bits).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn samples_are_those_of_symphonia(design in designs(1..=2)) {
        let headers = headers(&design);
        let mut theirs = symphonia(&headers).ok_or(TestCaseError::fail("symphonia refuses it"))?;
        let mut ours = Decoder::new(&headers).map_err(|error| TestCaseError::fail(error.to_string()))?;
        // Single precision is not much where pairs of frequencies lie close.
        let tolerance = if design.floors.contains(&0) { 1e-3 } else { 1e-6 };
        for (at, packet) in packets(design.seed).iter().enumerate() {
            let place = PacketRef::new(0, Timestamp::from(0), Duration::from(0u64), packet);
            let planes = decode(&mut ours, packet);
            let block = match theirs.decode_ref(&place) {
                Ok(block) => block,
                // A floor's book that is not there: symphonia takes another one.
                Err(_) if design.floors.contains(&0) => return Ok(()),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            let GenericAudioBufferRef::F32(block) = block else {
                return Err(TestCaseError::fail("not of floats"));
            };
            prop_assert_eq!(planes.len(), block.num_planes());
            for (number, plane) in planes.iter().enumerate() {
                let expected = block.plane(number).unwrap_or_default();
                if at == 0 {
                    prop_assert!(plane.is_empty());
                    continue;
                }
                prop_assert_eq!(plane.len(), expected.len());
                let (distance, peak) = (farthest(plane, expected), peak(expected));
                // Where they all but meet, the curve is many times full scale, and its last digits noise.
                let tolerance = if peak > 1e3 { 10.0 * tolerance } else { tolerance };
                prop_assert!(distance <= tolerance * peak, "{distance} of {peak}");
            }
        }
    }

    #[test]
    fn the_mean_of_the_spectra_is_that_of_the_samples(design in designs(1..=9)) {
        let headers = headers(&design);
        let (mut all, mut mono) = (Decoder::new(&headers).ok(), Decoder::new(&headers).ok());
        mono.iter_mut().for_each(|decoder| decoder.set_mono(true));
        let (Some(all), Some(mono)) = (&mut all, &mut mono) else {
            return Err(TestCaseError::fail("refused"));
        };
        for packet in packets(design.seed) {
            let (planes, mean) = (decode(all, &packet), decode(mono, &packet));
            prop_assert_eq!(mean.len(), 1);
            let count = planes.len() as f32;
            let sum = |at: usize| planes.iter().map(|plane| plane[at]).sum::<f32>();
            let expected: Vec<f32> = (0..planes[0].len()).map(|at| sum(at) / count).collect();
            prop_assert_eq!(mean[0].len(), expected.len());
            let highest = planes.iter().map(|plane| peak(plane)).fold(0.0, f32::max);
            prop_assert!(farthest(&mean[0], &expected) <= 1e-6 * highest);
        }
    }

    #[test]
    fn one_packet_in_front_is_enough(design in designs(1..=3), at in 0..12usize, is_damaged in any::<bool>()) {
        let headers = headers(&design);
        let (Ok(mut whole), Ok(mut late)) = (Decoder::new(&headers), Decoder::new(&headers)) else {
            return Err(TestCaseError::fail("refused"));
        };
        let packets = packets(design.seed);
        let blocks = Blocks::parse(&headers).ok_or(TestCaseError::fail("no blocks"))?;
        let mut before: Option<u32> = None;
        for (number, packet) in packets.iter().enumerate() {
            if number == at {
                before = None;
                match is_damaged {
                    true => prop_assert!(whole.decode(&[1, 2, 3]).is_err()),
                    false => whole.reset(),
                }
            }
            let planes = decode(&mut whole, packet);
            let size = blocks.size(packet).ok_or(TestCaseError::fail("no size"))?;
            let count = before.replace(size).map_or(0, |before| (before + size) / 4);
            prop_assert!(planes.iter().all(|plane| plane.len() == count as usize));
            if number >= at {
                prop_assert_eq!(bits(&planes), bits(&decode(&mut late, packet)));
            }
        }
    }

    #[test]
    fn broken_headers_and_packets_are_survived(
        design in designs(1..=3),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        is_cut in prop::bool::weighted(0.1),
    ) {
        let mut headers = headers(&design);
        for (place, value) in damage {
            let place = place.index(headers.len());
            headers[place] ^= value;
        }
        if is_cut {
            headers.truncate(cut.index(headers.len()));
        }
        let _ = Blocks::parse(&headers);
        if let Ok(mut decoder) = Decoder::new(&headers) {
            let mut random = Random(design.seed);
            for mut packet in packets(design.seed).into_iter().take(5) {
                packet[0] |= random.below(8) as u8 / 7;
                let _ = decoder.decode(&packet);
                let _ = decoder.decode(&[]);
            }
        }
    }
}

#[test]
fn books_larger_than_any_encoder_makes_them_are_refused() {
    let mut headers = headers(&Design {
        channels: 2,
        blocks: [8, 11],
        floors: [1, 1],
        residues: [2, 2],
        is_coupled: true,
        seed: 1,
    });
    assert!(Setup::parse(&headers).is_ok());
    // The first book: 65535 values in each of 2^24 - 1 entries.
    let book = 30 + 7 + 1 + 3;
    headers[book..book + 5].fill(0xFF);
    let fault = Setup::parse(&headers).err();
    assert!(fault.is_some_and(|fault| fault.0.contains("too large")));
}
