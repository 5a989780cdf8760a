//! One plane from the rates that corpora have to the one that models want.

use divan::Bencher;
use divan::counter::ItemsCount;
use ossicle::resample::{Resampler, resample};

fn main() {
    divan::main();
}

const RATES: [u32; 6] = [8_000, 11_025, 22_050, 24_000, 44_100, 48_000];
const TARGET: u32 = 16_000;

fn sine(seconds: u32, sample_rate: u32) -> Vec<f32> {
    (0..seconds * sample_rate)
        .map(|index| (index as f32 * 0.05).sin())
        .collect()
}

fn to_16k(bencher: Bencher<'_, '_>, seconds: u32, rate: u32) {
    let plane = sine(seconds, rate);
    bencher
        .counter(ItemsCount::new(plane.len()))
        .bench(|| resample(&plane, rate, TARGET));
}

#[divan::bench(args = RATES)]
fn minute(bencher: Bencher<'_, '_>, rate: u32) {
    to_16k(bencher, 60, rate);
}

#[divan::bench(args = RATES)]
fn three_seconds(bencher: Bencher<'_, '_>, rate: u32) {
    to_16k(bencher, 3, rate);
}

/// What the first clip of a pair of rates pays.
#[divan::bench(args = RATES)]
fn plan(rate: u32) -> ossicle::Result<Resampler> {
    Resampler::new(rate, TARGET)
}
