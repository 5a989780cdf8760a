//! The resampler against sums of sines worked out in f64, and ranges against the whole.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::f64::consts::PI;

use ossicle::resample::{MAX_RATE, Quality, Resampler, Stream, resample, resampled_frames};
use ossicle::{ErrorKind, Result};
use proptest::prelude::*;

/// Swells and fades, so that the ends of the clip are no part of the question.
fn pulse(rate: u32, tones: &[f64]) -> Vec<f64> {
    let sample = |index: u32| {
        let time = f64::from(index) / f64::from(rate);
        let sum: f64 = tones.iter().map(|hz| (2.0 * PI * hz * time).sin()).sum();
        (PI * time).sin().powi(4) * sum / tones.len() as f64
    };
    (0..rate).map(sample).collect()
}

fn single(plane: &[f64]) -> Vec<f32> {
    plane.iter().map(|sample| *sample as f32).collect()
}

fn decibels(got: &[f32], expected: &[f64]) -> f64 {
    let power = |samples: &mut dyn Iterator<Item = f64>| samples.map(|s| s * s).sum::<f64>();
    let pairs = got.iter().zip(expected);
    let noise = power(&mut pairs.map(|(got, expected)| f64::from(*got) - expected));
    10.0 * (noise / power(&mut expected.iter().copied())).log10()
}

fn rates() -> impl Strategy<Value = (u32, u32)> {
    let common = prop::sample::select(vec![
        8_000u32, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
    ]);
    let any = prop_oneof![3 => common, 1 => 4_000u32..50_000];
    (any.clone(), any)
}

fn qualities() -> impl Strategy<Value = Quality> {
    prop::sample::select(Quality::ALL.to_vec())
}

/// How far from the ideal a profile may be, in dB: what `f32` leaves of its design.
fn promised(quality: Quality) -> f64 {
    match quality {
        Quality::Fast => -95.0,
        Quality::High => -118.0,
        Quality::Best => -135.0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn tones_are_the_same_at_the_other_rate(
        (from, to) in rates(),
        quality in qualities(),
        places in prop::collection::vec(0.02f64..0.99, 1..6),
    ) {
        let nyquist = f64::from(from.min(to)) / 2.0;
        let tones: Vec<f64> = places.iter().map(|place| place * quality.pass_band() * nyquist).collect();
        let got = resample(&single(&pulse(from, &tones)), from, to, quality)?;
        prop_assert_eq!(got.len(), to as usize);
        prop_assert!(decibels(&got, &pulse(to, &tones)) < promised(quality));
    }

    #[test]
    fn a_range_is_a_slice_of_the_whole_to_the_last_bit(
        (from, to) in rates(),
        quality in qualities(),
        frames in 1usize..30_000,
        (begin, end) in (0.0f64..1.1, 0.0f64..1.1),
    ) {
        let plane: Vec<f32> = (0..frames).map(|i| ((i * 7919) % 1009) as f32 / 1009.0).collect();
        let whole = resample(&plane, from, to, quality)?;
        let place = |share: f64| ((share * whole.len() as f64) as u64).min(whole.len() as u64);
        let wanted = place(begin.min(end))..place(begin.max(end));
        prop_assume!(from != to && !wanted.is_empty());

        let mut resampler = Resampler::new(from, to, quality)?;
        let window = resampler.input_window(wanted.clone());
        let bounded = |at: u64| (at as usize).min(plane.len());
        let input = &plane[bounded(window.start)..bounded(window.end)];
        let part = resampler.process(input, wanted.clone()).unwrap();
        prop_assert_eq!(&part[..], &whole[wanted.start as usize..wanted.end as usize]);
    }

    #[test]
    fn lengths_are_the_ratio_rounded_up(frames in any::<u32>(), from in 1..=MAX_RATE, to in 1..=MAX_RATE) {
        let got = u128::from(resampled_frames(u64::from(frames), from, to));
        let (frames, from, to) = (u128::from(frames), u128::from(from), u128::from(to));
        prop_assert!(got * from >= frames * to);
        prop_assert!(got == 0 || (got - 1) * from < frames * to);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Rates that no recording has, but a header may: primes, 1 Hz, and as far apart as can be.
    #[test]
    fn any_rates_give_a_length_and_finite_samples(
        from in prop_oneof![1..=MAX_RATE, prop::sample::select(vec![1, 2, 7, 4_001, 767_957, MAX_RATE])],
        to in prop_oneof![1..=MAX_RATE, prop::sample::select(vec![1, 3, 8_191, 767_951, MAX_RATE])],
        quality in qualities(),
        frames in 0u64..20_000,
        bad in prop::option::weighted(0.2, 0u64..20_000),
    ) {
        // As many as give a megasample at most.
        let frames = frames.min((1 << 20) * u64::from(from) / u64::from(to));
        let mut plane: Vec<f32> = (0..frames).map(|i| (i * 7_919 % 1_009) as f32 / 1_009.0).collect();
        let bad = bad.filter(|bad| *bad < frames);
        if let Some(bad) = bad {
            plane[bad as usize] = f32::INFINITY;
        }
        match resample(&plane, from, to, quality) {
            Ok(got) => {
                prop_assert_eq!(got.len() as u64, resampled_frames(frames, from, to));
                prop_assert!(bad.is_none() && got.iter().all(|sample| sample.is_finite()));
            }
            Err(error) => prop_assert_eq!(error.sample_index(), bad),
        }
    }
}

#[test]
fn what_memory_cannot_hold_is_an_error() -> Result<()> {
    let plane = vec![0.0; 1 << 20];
    for to in [MAX_RATE, MAX_RATE - 1] {
        let kind = resample(&plane, 1, to, Quality::High).map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::Limit));
        let mut resampler = Resampler::new(1, to, Quality::High)?;
        for end in [1 << 33, 1 << 60, u64::MAX] {
            let kind = resampler
                .process(&plane, 0..end)
                .map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::Limit));
        }
        let mut stream = Stream::new(1, to, Quality::High, 1)?;
        let kind = stream.push(&plane).map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::Limit));
    }
    Ok(())
}

#[test]
fn an_impulse_stays_where_it_was() -> Result<()> {
    for (from, to) in [
        (44_100, 16_000),
        (48_000, 16_000),
        (8_000, 16_000),
        (22_050, 16_000),
    ] {
        // Samples 441 k and 160 k stand at the same time, and so on.
        let mut plane = vec![0.0; from as usize / 5];
        plane[from as usize / 10] = 1.0;
        let got = resample(&plane, from, to, Quality::High)?;
        let centre = to as usize / 10;
        for distance in 1..centre {
            let (before, after) = (got[centre - distance], got[centre + distance]);
            assert!(
                (before - after).abs() < 2e-6,
                "{from} to {to}, {distance} off"
            );
            assert!(before.abs() < got[centre]);
        }
    }
    Ok(())
}

#[test]
fn what_makes_no_sense_is_an_error() {
    for (from, to) in [(0, 16_000), (16_000, 0), (MAX_RATE + 1, 16_000), (0, 0)] {
        let kind = resample(&[0.0; 10], from, to, Quality::High).map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::InvalidArgument));
    }
    for value in [f32::NAN, f32::INFINITY] {
        let index = resample(&[0.0, 0.0, value], 8_000, 16_000, Quality::High)
            .map_err(|error| error.sample_index());
        assert_eq!(index, Err(Some(2)));
    }
}

#[test]
fn samples_that_are_no_numbers_spoil_only_their_surroundings() -> Result<()> {
    let mut plane = vec![0.25f32; 100_000];
    let clean = resample(&plane, 44_100, 16_000, Quality::High)?;
    plane[50_000] = f32::NAN;
    let mut resampler = Resampler::new(44_100, 16_000, Quality::High)?;
    let got = resampler.process(&plane, 0..clean.len() as u64).unwrap();
    let spoilt = got.iter().filter(|sample| sample.is_nan()).count();
    assert!(got[18_141].is_nan() && spoilt < 10_000);
    assert!(
        got.iter()
            .zip(&clean)
            .all(|(got, clean)| got.is_nan() || got == clean)
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Far apart and without a common divisor: what a header of a few bytes can ask for.
    #[test]
    fn rates_that_are_far_apart_keep_tones_and_slices(
        from in 100_000u32..768_000,
        to in 4_000u32..24_000,
        quality in qualities(),
        place in 0.02f64..0.99,
        begin in 0u64..900,
    ) {
        let tones = [place * quality.pass_band() * f64::from(to) / 2.0];
        let plane = single(&pulse(from, &tones));
        let whole = resample(&plane, from, to, quality)?;
        prop_assert!(decibels(&whole, &pulse(to, &tones)) < promised(quality));

        let wanted = begin..begin + 500;
        let mut resampler = Resampler::new(from, to, quality)?;
        let window = resampler.input_window(wanted.clone());
        let bounded = |at: u64| (at as usize).min(plane.len());
        let input = &plane[bounded(window.start)..bounded(window.end)];
        let part = resampler.process(input, wanted.clone()).unwrap();
        prop_assert_eq!(&part[..], &whole[begin as usize..begin as usize + 500]);
    }

    #[test]
    fn chunks_of_a_stream_join_to_the_bits_of_the_whole(
        (from, to) in rates(),
        quality in qualities(),
        channels in 1usize..3,
        chunks in prop::collection::vec(0usize..9_000, 0..12),
    ) {
        let mut stream = Stream::new(from, to, quality, channels)?;
        for _ in 0..2 {
            let (given, got) = streamed(&mut stream, channels, &chunks)?;
            for (given, got) in given.iter().zip(&got) {
                prop_assert_eq!(&resample(given, from, to, quality)?, got);
            }
            prop_assert!(stream.push(&[]).is_err() && stream.flush().is_err());
            stream.reset();
        }
    }
}

type Planes = Vec<Vec<f32>>;

/// What a stream was given in chunks of these lengths, and what it gave; it lags no more than it says.
fn streamed(stream: &mut Stream, channels: usize, chunks: &[usize]) -> Result<(Planes, Planes)> {
    let (mut given, mut got) = (vec![Vec::new(); channels], vec![Vec::new(); channels]);
    let append = |planes: &mut Planes, samples: &[f32]| {
        let frames = samples.len() / channels;
        for (plane, samples) in planes.iter_mut().zip(samples.chunks(frames.max(1))) {
            plane.extend_from_slice(samples);
        }
    };
    for (number, frames) in chunks.iter().enumerate() {
        let sample = |i: usize| (((number * 9_001 + i) * 7_919) % 1_009) as f32 / 1_009.0 - 0.5;
        let chunk: Vec<f32> = (0..frames * channels).map(sample).collect();
        append(&mut given, &chunk);
        append(&mut got, &stream.push(&chunk)?);
        let due = resampled_frames(given[0].len() as u64, stream.rates().0, stream.rates().1);
        assert!(got[0].len() as u64 + stream.latency() >= due);
    }
    append(&mut got, &stream.flush()?);
    Ok((given, got))
}

#[test]
fn a_stream_refuses_what_it_cannot_take_and_goes_on() -> Result<()> {
    let mut stream = Stream::new(44_100, 16_000, Quality::High, 2)?;
    stream.push(&[0.5; 20])?;
    let index = stream
        .push(&[0.0, f32::NAN])
        .map_err(|error| error.sample_index());
    assert_eq!(index, Err(Some(10)));
    assert!(stream.push(&[0.0; 3]).is_err());
    assert_eq!(stream.flush()?.len(), 2 * 4);
    Ok(())
}

#[test]
fn names_are_those_of_the_profiles() {
    for quality in Quality::ALL {
        assert_eq!(quality.name().parse::<Quality>().ok(), Some(quality));
    }
    let text = "good".parse::<Quality>().map_err(|error| error.to_string());
    assert!(text.is_err_and(|text| Quality::ALL.iter().all(|known| text.contains(known.name()))));
}
