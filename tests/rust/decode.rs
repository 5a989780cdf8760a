//! Decoding without the guard that turns panics into errors: there must be none to turn.

use ossicle::{Decoder, ErrorKind, Mix, Request, Result, Source, load};
use proptest::prelude::*;

fn wav(channels: u16, rate: u32, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    let block = channels * 2;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend((rate * u32::from(block)).to_le_bytes());
    file.extend(block.to_le_bytes());
    file.extend(16u16.to_le_bytes());
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

/// Opens, counts and decodes with nothing between a panic and the test.
fn unguarded(bytes: &[u8]) {
    if let Ok(decoder) = Decoder::open(Source::from_bytes("test", bytes)) {
        let _ = decoder.decode(0..u64::MAX, Mix::Mean);
    }
    if let Ok(decoder) = Decoder::open(Source::from_bytes("test", bytes)) {
        let _ = decoder.info();
    }
    if let Ok(decoder) = Decoder::open(Source::from_bytes("test", bytes)) {
        let _ = decoder.decode(30_000..30_001, Mix::All);
    }
}

/// Beginnings that lead into each demuxer.
const MAGIC: [&[u8]; 9] = [
    b"RIFF\0\0\0\0WAVEfmt ",
    b"RF64\xFF\xFF\xFF\xFFWAVEds64",
    b"fLaC\0\0\0\x22",
    b"OggS\0\x02",
    b"\0\0\0\x18ftypM4A \0\0\0\0\0\0\0\x08moov",
    b"FORM\0\0\0\0AIFFCOMM",
    b"caff\0\x01\0\0desc",
    b"\x1A\x45\xDF\xA3\x84\x42\x82\x81\x00\x18\x53\x80\x67\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
    b"\xFF\xFB\x90\x00",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_wav_gives_its_samples_and_their_mean(
        channels in 1u16..9,
        frames in 0usize..3_000,
        (begin, length) in (0u64..4_000, 0u64..4_000),
    ) {
        let count = usize::from(channels);
        let samples: Vec<i16> = (0..frames * count).map(|i| (i as i16).wrapping_mul(7919)).collect();
        let bytes = wav(channels, 16_000, &samples);
        let open = || Decoder::open(Source::from_bytes("test", &bytes));
        prop_assert_eq!(open()?.info()?.frames, frames as u64);

        let range = begin..begin + length;
        let wanted = (begin as usize).min(frames)..((begin + length) as usize).min(frames);
        let planes = open()?.decode(range.clone(), Mix::All)?;
        prop_assert_eq!(planes.len(), count);
        for (channel, plane) in planes.iter().enumerate() {
            let expected = wanted.clone().map(|i| f32::from(samples[i * count + channel]) / 32_768.0);
            prop_assert_eq!(plane, &expected.collect::<Vec<_>>());
        }
        for (channel, plane) in planes.iter().enumerate() {
            let one = open()?.decode(range.clone(), Mix::One(channel))?;
            prop_assert_eq!(&one[..], std::slice::from_ref(plane));
        }
        let lacking = open()?.decode(range.clone(), Mix::One(count)).map_err(|error| error.kind());
        prop_assert_eq!(lacking, Err(ErrorKind::InvalidArgument));
        let mono = open()?.decode(range, Mix::Mean)?;
        for (index, mean) in mono[0].iter().enumerate() {
            let sum: f64 = planes.iter().map(|plane| f64::from(plane[index])).sum();
            prop_assert!((f64::from(*mean) - sum / f64::from(channels)).abs() < 1e-6);
        }
    }

    #[test]
    fn rubbish_behind_a_magic_number_never_panics(
        magic in prop::sample::select(MAGIC.to_vec()),
        rubbish in prop::collection::vec(prop_oneof![Just(0u8), Just(0xFF), any::<u8>()], 0..400),
    ) {
        unguarded(&[magic, &rubbish].concat());
    }

    #[test]
    fn a_changed_wav_never_panics(changes in prop::collection::vec((0usize..60, any::<u8>()), 1..6), cut in 0usize..100) {
        let mut bytes = wav(2, 8_000, &[100; 28]);
        for (place, value) in changes {
            bytes[place] = value;
        }
        bytes.truncate(cut.max(1));
        unguarded(&bytes);
    }
}

#[test]
fn what_a_clip_says_of_itself() -> Result<()> {
    let bytes = wav(2, 8_000, &[0, 2, 4, 6]);
    let clip = load(
        Source::from_bytes("test", &bytes),
        &Request {
            sample_rate: Some(16_000),
            ..Request::default()
        },
    )?;
    assert_eq!((clip.sample_rate, clip.native_rate), (16_000, 8_000));
    assert_eq!(clip.planes.iter().map(Vec::len).collect::<Vec<_>>(), [4]);
    Ok(())
}
