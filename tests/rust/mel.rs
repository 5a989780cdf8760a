//! Log-mel features against a transform summed term by term, and padding that changes nothing.

use std::f64::consts::PI;

use ossicle::mel::{HOP, LogMel, N_FFT, SAMPLE_RATE, WHISPER_PADDED};
use ossicle::{ErrorKind, Result};
use proptest::prelude::*;

const BINS: usize = N_FFT / 2 + 1;

fn features(wave: &[f32], n_mels: usize, padded: usize) -> Result<Vec<f32>> {
    let frames = LogMel::frames(padded);
    let mut out = vec![f32::MAX; n_mels * frames];
    LogMel::new(n_mels)?.write(wave, padded, &mut out, frames)?;
    Ok(out)
}

fn unpadded(wave: &[f32], n_mels: usize) -> Result<Vec<f32>> {
    let frames = wave.len().div_ceil(HOP);
    let mut out = vec![f32::MAX; n_mels * frames];
    LogMel::new(n_mels)?.write_unpadded(wave, &mut out, frames)?;
    Ok(out)
}

/// The definition, without any of the shortcuts.
fn naive(wave: &[f32], n_mels: usize, padded: usize) -> Vec<f32> {
    let frames = padded / HOP;
    let filters = filters(n_mels);
    let logs: Vec<Vec<f32>> = (0..frames)
        .map(|frame| logs(&power(wave, padded, frame), &filters))
        .collect();
    let max = logs.iter().flatten().fold(f32::MIN, |a, b| a.max(*b));
    let feature = |mel: usize, frame: usize| (logs[frame][mel].max(max - 8.0) + 4.0) / 4.0;
    (0..n_mels)
        .flat_map(|mel| (0..frames).map(move |frame| (mel, frame)))
        .map(|(mel, frame)| feature(mel, frame))
        .collect()
}

fn logs(power: &[f64], filters: &[Vec<f64>]) -> Vec<f32> {
    let band = |filter: &Vec<f64>| filter.iter().zip(power).map(|(w, p)| w * p).sum::<f64>();
    let log = |filter| band(filter).max(1e-10).log10() as f32;
    filters.iter().map(log).collect()
}

fn power(wave: &[f32], padded: usize, frame: usize) -> Vec<f64> {
    let begin = (frame * HOP) as i64 - (N_FFT / 2) as i64;
    let samples: Vec<f64> = (0..N_FFT)
        .map(|n| {
            let window = (PI * n as f64 / N_FFT as f64).sin().powi(2);
            let sample = wave.get(mirrored(begin + n as i64, padded as i64));
            window * f64::from(sample.copied().unwrap_or(0.0))
        })
        .collect();
    (0..BINS).map(|bin| bin_power(&samples, bin)).collect()
}

fn bin_power(samples: &[f64], bin: usize) -> f64 {
    let turn = |n: usize| 2.0 * PI * (n * bin % N_FFT) as f64 / N_FFT as f64;
    let sum = |part: fn(f64) -> f64| -> f64 {
        let terms = samples.iter().enumerate();
        terms.map(|(n, sample)| sample * part(turn(n))).sum()
    };
    sum(f64::cos).powi(2) + sum(f64::sin).powi(2)
}

/// Step by step, as one walks between two mirrors.
fn mirrored(mut at: i64, len: i64) -> usize {
    while len > 1 && !(0..len).contains(&at) {
        at = if at < 0 { -at } else { 2 * (len - 1) - at };
    }
    if len > 1 { at as usize } else { 0 }
}

/// Triangles over all bins, on Slaney's scale (Auditory Toolbox, 1998).
fn filters(n_mels: usize) -> Vec<Vec<f64>> {
    let step = 27.0 / 6.4f64.ln();
    let top = 15.0 + 8f64.ln() * step;
    let hertz = |index: usize| {
        let mel = top * index as f64 / (n_mels + 1) as f64;
        let above = 1000.0 * ((mel - 15.0) / step).exp();
        if mel < 15.0 { mel * 200.0 / 3.0 } else { above }
    };
    let triangle = |mel: usize| {
        let [low, peak, high] = [hertz(mel), hertz(mel + 1), hertz(mel + 2)];
        let height = move |hz: f64| ((hz - low) / (peak - low)).min((high - hz) / (high - peak));
        let weight = move |bin: usize| height(bin as f64 * 40.0).max(0.0) * 2.0 / (high - low);
        (0..BINS).map(weight).collect()
    };
    (0..n_mels).map(triangle).collect()
}

fn assert_near(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() < 3e-7,
            "{at}: {got} is not {expected}"
        );
    }
}

/// Noise, a tone, silence and clicks, so that some bands are far below others.
fn waveform(most: usize) -> impl Strategy<Value = Vec<f32>> {
    let sizes = prop_oneof![4 => 0..most, 1 => 0..420usize];
    let noise = sizes.prop_flat_map(|len| prop::collection::vec(-1.0f32..1.0, len));
    let scales = prop::sample::select(vec![0.0f32, 1e-6, 1e-3, 1.0, 1e3]);
    (noise, scales, 0.0f32..3.0, 0.0f32..1.0).prop_map(|(noise, scale, pitch, tone)| {
        let sample = |(at, noise): (usize, f32)| noise * scale + tone * (pitch * at as f32).sin();
        let keep = |(at, sample)| if at / 700 % 3 == 2 { 0.0 } else { sample };
        let samples = noise.into_iter().enumerate().map(sample);
        samples.enumerate().map(keep).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn features_are_those_of_the_definition(
        wave in waveform(4000),
        n_mels in prop::sample::select(vec![1usize, 40, 80, 128, 512]),
        padded in 0usize..5000,
    ) {
        assert_near(&features(&wave, n_mels, padded)?, &naive(&wave, n_mels, padded));
    }

    #[test]
    fn few_samples_are_mirrored_again_and_again(wave in waveform(400), padded in 160usize..420) {
        assert_near(&features(&wave, 80, padded)?, &naive(&wave, 80, padded));
    }

    #[test]
    fn silence_is_filled_in_as_it_would_be_computed(wave in waveform(6000), padded in 0usize..9000) {
        let mut whole = wave.clone();
        whole.resize(padded.max(wave.len()), 0.0);
        prop_assert_eq!(features(&wave, 80, padded)?, features(&whole, 80, padded)?);
    }

    #[test]
    fn unpadded_features_begin_the_padded_ones(wave in waveform(9000), n_mels in 1usize..130) {
        let padded = features(&wave, n_mels, WHISPER_PADDED)?;
        let frames = wave.len().div_ceil(HOP);
        let rows = padded.chunks_exact(LogMel::frames(WHISPER_PADDED));
        let begin: Vec<f32> = rows.flat_map(|row| &row[..frames]).copied().collect();
        prop_assert_eq!(unpadded(&wave, n_mels)?, begin);
    }

    #[test]
    fn rows_lie_where_the_stride_says(wave in waveform(3000), extra in 0usize..50, padded in 160usize..4000) {
        let (frames, n_mels) = (LogMel::frames(padded), 80);
        let mut out = vec![7.5; n_mels * (frames + extra)];
        LogMel::new(n_mels)?.write(&wave, padded, &mut out, frames + extra)?;
        let rows = || out.chunks_exact(frames + extra);
        let got: Vec<f32> = rows().flat_map(|row| &row[..frames]).copied().collect();
        prop_assert_eq!(got, features(&wave, n_mels, padded)?);
        prop_assert!(rows().flat_map(|row| &row[frames..]).all(|untouched| *untouched == 7.5));
    }

    #[test]
    fn a_sample_that_is_not_finite_is_seen_everywhere(
        mut wave in waveform(3000),
        place in 0.0f64..1.0,
        bad in prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
    ) {
        prop_assume!(!wave.is_empty());
        let at = (place * wave.len() as f64) as usize;
        wave[at] = bad;
        prop_assert!(features(&wave, 80, 4800)?.iter().all(|feature| feature.is_nan()));
        prop_assert!(unpadded(&wave, 80)?.iter().all(|feature| feature.is_nan()));
    }

    /// Frames that lie apart do not meet in any sum: moving the sound moves its features.
    #[test]
    fn frames_do_not_depend_on_their_neighbours(wave in waveform(3000), hops in 3usize..40) {
        let hops = hops.max(3);
        let mut later = vec![0.0; hops * HOP];
        later.extend(&wave);
        let frames = 80;
        let early = features(&wave, 80, frames * HOP)?;
        let late = features(&later, 80, frames * HOP)?;
        let interior = 2..frames - hops - 2;
        prop_assume!(early.iter().copied().fold(f32::MIN, f32::max) == late.iter().copied().fold(f32::MIN, f32::max));
        for (early, late) in early.chunks_exact(frames).zip(late.chunks_exact(frames)) {
            let moved = interior.start + hops..interior.end + hops;
            prop_assert_eq!(&early[interior.clone()], &late[moved]);
        }
    }
}

#[test]
fn unpadded_features_of_more_than_whisper_hears_end_in_silence() -> Result<()> {
    let wave: Vec<f32> = (0..WHISPER_PADDED + 1234)
        .map(|at| (at as f32 * 0.1).sin() * (at % 977) as f32)
        .collect();
    let frames = wave.len().div_ceil(HOP);
    let padded = features(&wave, 80, (frames + 70) * HOP)?;
    let rows = padded.chunks_exact(frames + 70);
    let begin: Vec<f32> = rows.flat_map(|row| &row[..frames]).copied().collect();
    assert_eq!(unpadded(&wave, 80)?, begin);
    Ok(())
}

#[test]
fn the_maximum_counts_frames_behind_the_end() -> Result<()> {
    // Loudest where only the frame after the last unpadded one has its centre.
    for len in [HOP * 10, HOP * 10 + 1, HOP * 11 - 1, WHISPER_PADDED] {
        let mut wave = vec![1e-3; len];
        wave[len - 1] = 1e3;
        let frames = len.div_ceil(HOP);
        let padded = features(&wave, 80, WHISPER_PADDED)?;
        let rows = padded.chunks_exact(LogMel::frames(WHISPER_PADDED));
        let begin: Vec<f32> = rows.flat_map(|row| &row[..frames]).copied().collect();
        assert_eq!(unpadded(&wave, 80)?, begin);
    }
    Ok(())
}

#[test]
fn silence_is_the_floor() -> Result<()> {
    for wave in [&[][..], &[0.0; 1000]] {
        let features = features(wave, 80, 10 * SAMPLE_RATE as usize)?;
        assert!(features.iter().all(|feature| *feature == -1.5));
    }
    Ok(())
}

#[test]
fn numbers_of_bands_that_make_no_sense_are_refused() {
    for n_mels in [0, 513, usize::MAX] {
        let refused = LogMel::new(n_mels)
            .map(|_| ())
            .map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::InvalidArgument));
    }
}
