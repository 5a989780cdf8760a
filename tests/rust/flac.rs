//! Native FLAC against symphonia's decoder, and against every flipped bit and every cut.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use flacenc::bitsink::ByteSink;
use flacenc::component::BitRepr;
use flacenc::error::Verify;
use flacenc::source::MemSource;
use ossicle::{Decoder, ErrorKind, Mix, Result, Source};
use proptest::prelude::*;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::formats::TrackType;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::MediaSourceStream;

/// `samples` are interleaved integers of `bits`.
fn encode(samples: &[i32], channels: usize, bits: usize, block: usize) -> Vec<u8> {
    let config = flacenc::config::Encoder::default();
    let config = config.into_verified().map_err(|(_, error)| error).unwrap();
    let source = MemSource::from_samples(samples, channels, bits, 16_000);
    let mut stream = flacenc::encode_with_fixed_block_size(&config, source, block).unwrap();
    stream
        .stream_info_mut()
        .set_block_sizes(block, block)
        .unwrap();
    let mut sink = ByteSink::new();
    stream.write(&mut sink).unwrap();
    sink.into_inner()
}

fn open(bytes: &[u8]) -> Result<Decoder<'_>> {
    Decoder::open(Source::from_bytes("test", bytes))
}

fn decode(bytes: &[u8]) -> Result<Vec<Vec<f32>>> {
    open(bytes)?.decode(0..u64::MAX, Mix::All)
}

/// The planes that symphonia gives.
fn symphonia(bytes: &[u8]) -> Vec<Vec<f32>> {
    let stream = MediaSourceStream::new(
        Box::new(std::io::Cursor::new(bytes.to_vec())),
        Default::default(),
    );
    let probe = symphonia::default::get_probe();
    let mut format = probe
        .probe(&Hint::new(), stream, Default::default(), Default::default())
        .unwrap();
    let track = format.first_track(TrackType::Audio).unwrap();
    let Some(CodecParameters::Audio(params)) = track.codec_params.clone() else {
        return Vec::new();
    };
    let codecs = symphonia::default::get_codecs();
    let mut decoder = codecs
        .make_audio_decoder(&params, &AudioDecoderOptions::default())
        .unwrap();
    let mut planes = vec![Vec::new(); params.channels.unwrap().count()];
    while let Some(packet) = format.next_packet().unwrap() {
        let block = decoder.decode(&packet).unwrap();
        let mut fresh: Vec<Vec<f32>> = Vec::new();
        block.copy_to_vecs_planar(&mut fresh);
        for (plane, fresh) in planes.iter_mut().zip(fresh) {
            plane.extend(fresh);
        }
    }
    planes
}

/// A walk that stays within `bits`, with silence and full scale in between.
fn signal(steps: &[i32], bits: usize) -> Vec<i32> {
    let top = 1i32 << (bits - 1);
    let mut value = 0i32;
    let walk = steps.iter().map(|step| {
        value = match step % 97 {
            0 => 0,
            1 => top - 1,
            2 => -top,
            _ => (value + step % (1 << (bits / 2))).clamp(-top, top - 1),
        };
        value
    });
    walk.collect()
}

fn planes(samples: &[i32], channels: usize, bits: usize) -> Vec<Vec<f32>> {
    let scale = 1.0 / (1u32 << (bits - 1)) as f32;
    let plane = |channel| {
        let own = samples.iter().skip(channel).step_by(channels);
        own.map(|sample| *sample as f32 * scale).collect()
    };
    (0..channels).map(plane).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_was_encoded_comes_back(
        steps in prop::collection::vec(any::<i32>(), 1..20_000),
        channels in 1usize..9,
        bits in prop::sample::select(vec![8usize, 16, 20, 24]),
        block in prop::sample::select(vec![64usize, 192, 576, 1000, 4096]),
        cuts in prop::collection::vec((0.0f64..1.1, 0.0f64..0.5), 4),
    ) {
        let frames = steps.len() / channels;
        let samples = signal(&steps[..frames * channels], bits);
        let bytes = encode(&samples, channels, bits, block);
        let expected = planes(&samples, channels, bits);
        prop_assert_eq!(open(&bytes)?.info()?.frames, frames as u64);
        prop_assert_eq!(&decode(&bytes)?, &expected);
        prop_assert_eq!(&open(&bytes)?.decode_verified(0..u64::MAX, Mix::All)?, &expected);
        if frames > 0 {
            prop_assert_eq!(&symphonia(&bytes), &expected);
        }
        for (begin, length) in cuts {
            let begin = (begin * frames as f64) as usize;
            let end = begin + (length * frames as f64) as usize;
            let part = open(&bytes)?.decode(begin as u64..end as u64, Mix::All)?;
            for (part, whole) in part.iter().zip(&expected) {
                prop_assert_eq!(part, &whole[begin.min(frames)..end.min(frames)]);
            }
        }
    }
}

fn small(channels: usize, bits: usize) -> (Vec<u8>, Vec<Vec<f32>>) {
    let steps: Vec<i32> = (0..700i32)
        .map(|i| i.wrapping_mul(-1_640_531_527))
        .collect();
    let samples = signal(&steps[..700 / channels * channels], bits);
    let bytes = encode(&samples, channels, bits, 128);
    (bytes, planes(&samples, channels, bits))
}

const SMALL: [(usize, usize); 3] = [(1, 16), (2, 16), (3, 24)];

/// STREAMINFO and the blocks after it have no checksum of their own.
fn first_frame(bytes: &[u8]) -> usize {
    let starts = bytes.windows(2).position(|pair| pair == [0xFF, 0xF8]);
    starts.unwrap()
}

#[test]
fn every_flipped_bit_of_a_frame_is_an_error_and_says_where() {
    for (bytes, expected) in SMALL.map(|(channels, bits)| small(channels, bits)) {
        assert_eq!(decode(&bytes).unwrap(), expected);
        let first = first_frame(&bytes);
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            let result = decode(&flipped);
            if bit / 8 < first {
                // A wrong STREAMINFO: what it promises must be there, or it is an error.
                let info = open(&flipped).and_then(Decoder::info);
                if let (Ok(planes), Ok(info)) = (result, info) {
                    assert_eq!(planes[0].len() as u64, info.frames);
                }
                continue;
            }
            let error = result.unwrap_err();
            let at = error.byte_offset().unwrap() as usize;
            assert!(at <= bit / 8, "{error} where bit {bit} is flipped");
            assert!(bytes[at..].starts_with(&[0xFF, 0xF8]), "{error}");
            assert_eq!(error.source_name(), Some("test"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
    }
}

#[test]
fn every_flipped_bit_is_survived_by_counting_and_by_ranges() {
    for (bytes, expected) in SMALL.map(|(channels, bits)| small(channels, bits)) {
        for told in [true, false] {
            for bit in 0..8 * bytes.len() {
                let mut flipped = bytes.clone();
                if !told {
                    flipped[21] &= 0xF0;
                    flipped[22..26].fill(0);
                }
                flipped[bit / 8] ^= 0x80 >> (bit % 8);
                let _ = open(&flipped).and_then(Decoder::info);
                let part = open(&flipped).and_then(|decoder| decoder.decode(150..160, Mix::All));
                if bit / 8 < first_frame(&bytes) {
                    continue;
                }
                for (part, whole) in part.into_iter().flatten().zip(&expected) {
                    assert_eq!(part, &whole[150..160]);
                }
            }
        }
    }
}

#[test]
fn every_cut_is_an_error() {
    for (bytes, _) in SMALL.map(|(channels, bits)| small(channels, bits)) {
        for length in 0..bytes.len() {
            let error = decode(&bytes[..length]).unwrap_err();
            let at = error.byte_offset();
            assert!(at.is_none_or(|at| at as usize <= length), "{error}");
            if length >= 42 {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(error.reason().contains("cut short"), "{error}");
            }
        }
    }
}

#[test]
fn a_wrong_checksum_of_the_samples_is_an_error() {
    let (mut bytes, expected) = small(2, 16);
    assert_eq!(
        open(&bytes)
            .unwrap()
            .decode_verified(10..20, Mix::All)
            .unwrap()[1],
        expected[1][10..20]
    );
    bytes[30] ^= 1;
    assert!(decode(&bytes).is_ok());
    let error = open(&bytes)
        .unwrap()
        .decode_verified(10..20, Mix::Mean)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // Without one there is nothing to compare, but all of the clip is decoded.
    bytes[26..42].fill(0);
    assert!(
        open(&bytes)
            .unwrap()
            .decode_verified(10..20, Mix::Mean)
            .is_ok()
    );
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(
        open(&bytes)
            .unwrap()
            .decode_verified(10..20, Mix::Mean)
            .is_err()
    );
}
