//! Whisper's features, of which only what is sound is computed.

use divan::Bencher;
use divan::counter::ItemsCount;
use ossicle::mel::{LogMel, SAMPLE_RATE, WHISPER_PADDED};

fn main() {
    divan::main();
}

const BANDS: [usize; 2] = [80, 128];

fn padded_to_30_s(bencher: Bencher<'_, '_>, seconds: usize, n_mels: usize) {
    let log_mel = LogMel::new(n_mels).ok();
    let noise = (0..seconds * SAMPLE_RATE as usize).map(|at| (at * 7919 % 1009) as f32 / 1009.0);
    let noise: Vec<f32> = noise.collect();
    let frames = LogMel::frames(WHISPER_PADDED);
    let mut out = vec![0.0; n_mels * frames];
    bencher
        .counter(ItemsCount::new(noise.len()))
        .bench_local(|| {
            let log_mel = log_mel.as_ref()?;
            let _ = log_mel.write(&noise, WHISPER_PADDED, &mut out, frames);
            Some(())
        });
}

#[divan::bench(args = BANDS)]
fn thirty_seconds(bencher: Bencher<'_, '_>, n_mels: usize) {
    padded_to_30_s(bencher, 30, n_mels)
}

#[divan::bench(args = BANDS)]
fn five_seconds(bencher: Bencher<'_, '_>, n_mels: usize) {
    padded_to_30_s(bencher, 5, n_mels)
}

/// What a new number of bands costs.
#[divan::bench(args = BANDS)]
fn plan(n_mels: usize) -> ossicle::Result<LogMel> {
    LogMel::new(n_mels)
}
