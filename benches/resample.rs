//! One plane from the rates that corpora have to the one that models want.

use divan::Bencher;
use divan::counter::ItemsCount;
use ossicle::Result;
use ossicle::resample::{Quality, Resampler, Stream, resample};

fn main() {
    divan::main();
}

const RATES: [u32; 6] = [8_000, 11_025, 22_050, 24_000, 44_100, 48_000];
const TARGET: u32 = 16_000;
/// Samples of a chunk: a fiftieth of a second of 48 kHz.
const CHUNK: usize = 960;

fn sine(seconds: u32, sample_rate: u32) -> Vec<f32> {
    (0..seconds * sample_rate)
        .map(|index| (index as f32 * 0.05).sin())
        .collect()
}

fn run(bencher: Bencher<'_, '_>, seconds: u32, (from, to): (u32, u32), quality: Quality) {
    let plane = sine(seconds, from);
    bencher
        .counter(ItemsCount::new(plane.len()))
        .bench(|| resample(&plane, from, to, quality));
}

#[divan::bench(args = RATES)]
fn minute(bencher: Bencher<'_, '_>, rate: u32) {
    run(bencher, 60, (rate, TARGET), Quality::High);
}

#[divan::bench(args = RATES)]
fn three_seconds_fast(bencher: Bencher<'_, '_>, rate: u32) {
    run(bencher, 3, (rate, TARGET), Quality::Fast);
}

#[divan::bench(args = RATES)]
fn three_seconds(bencher: Bencher<'_, '_>, rate: u32) {
    run(bencher, 3, (rate, TARGET), Quality::High);
}

#[divan::bench(args = RATES)]
fn three_seconds_best(bencher: Bencher<'_, '_>, rate: u32) {
    run(bencher, 3, (rate, TARGET), Quality::Best);
}

/// Rates without a common divisor.
#[divan::bench(args = [(44_100, 16_001), (15_999, 16_000), (767_999, 16_000), (8_000, 47_999)])]
fn three_seconds_odd(bencher: Bencher<'_, '_>, rates: (u32, u32)) {
    run(bencher, 3, rates, Quality::High);
}

/// Three seconds, chunk by chunk.
#[divan::bench(args = RATES)]
fn stream(bencher: Bencher<'_, '_>, rate: u32) {
    let plane = sine(3, rate);
    let streamed = || -> Result<usize> {
        let mut stream = Stream::new(rate, TARGET, Quality::High, 1)?;
        let mut made = 0;
        for chunk in plane.chunks(CHUNK) {
            made += stream.push(chunk)?.len();
        }
        Ok(made + stream.flush()?.len())
    };
    bencher
        .counter(ItemsCount::new(plane.len()))
        .bench(streamed);
}

/// What the first clip of a pair of rates pays.
#[divan::bench(args = RATES)]
fn plan(rate: u32) -> Result<Resampler> {
    Resampler::new(rate, TARGET, Quality::High)
}
