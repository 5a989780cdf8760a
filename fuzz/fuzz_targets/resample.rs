//! Rates, lengths and samples of any kind: the exact length, finite, and a range is a slice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ossicle::resample::{MAX_RATE, Quality, Resampler, resample, resampled_frames};

/// Longer results take time without being another case.
const MAX_FRAMES: u64 = 1 << 18;
/// Hz: those of recordings, and some that only the arithmetic cares for.
const RATES: [u32; 12] = [
    1, 8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 768_000,
];

fuzz_target!(|input: (u32, u32, u8, u16, u16, Vec<f32>)| {
    let (from, to, quality, begin, length, plane) = input;
    let quality = Quality::ALL[usize::from(quality) % 3];
    // Rates with no common divisor are slow: they are met, but not all the time.
    let rate = |rate: u32| match rate % 64 {
        0 => rate,
        1 => rate % (MAX_RATE + 2),
        _ => RATES[(rate / 64) as usize % RATES.len()],
    };
    let (from, to) = (rate(from), rate(to));
    let allowed = (1..=MAX_RATE).contains(&from) && (1..=MAX_RATE).contains(&to);
    let frames = resampled_frames(plane.len() as u64, from, to);
    if allowed && frames > MAX_FRAMES {
        return;
    }
    let finite = plane.iter().all(|sample| sample.is_finite());
    let whole = match resample(&plane, from, to, quality) {
        Ok(whole) => whole,
        Err(error) => {
            assert!(!allowed || !finite, "{error}");
            return;
        }
    };
    assert!(allowed && finite);
    assert_eq!(whole.len() as u64, frames);
    if plane.iter().all(|sample| sample.abs() < 1e30) {
        assert!(whole.iter().all(|sample| sample.is_finite()));
    }
    if from == to {
        assert_eq!(whole, plane);
        return;
    }
    let begin = u64::from(begin).min(frames);
    let wanted = begin..(begin + u64::from(length)).min(frames);
    let Ok(mut resampler) = Resampler::new(from, to, quality) else {
        panic!("{from} Hz to {to} Hz went before");
    };
    let window = resampler.input_window(wanted.clone());
    let place = |frame: u64| frame.min(plane.len() as u64) as usize;
    let input = &plane[place(window.start)..place(window.end)];
    let part = if wanted.is_empty() || input.is_empty() {
        Vec::new()
    } else {
        resampler.process(input, wanted.clone()).unwrap_or_else(|error| panic!("{error}"))
    };
    let slice = &whole[wanted.start as usize..wanted.end as usize];
    assert!(
        bits(&part) == bits(slice),
        "{wanted:?} of {frames}, {from} Hz to {to} Hz"
    );
});

fn bits(plane: &[f32]) -> Vec<u32> {
    plane.iter().map(|sample| sample.to_bits()).collect()
}
