//! Whole clips to mono: PCM WAV from memory, and whatever files a folder holds.
//!
//! `OSSICLE_BENCH_CLIPS=DIR cargo bench --bench decode`; `benches/peers.py clips DIR` fills the folder.

mod folder;

use divan::Bencher;
use divan::counter::ItemsCount;
use ossicle::{Request, Source, load};

fn main() {
    divan::main();
}

/// 16-bit PCM whose samples do not matter.
fn wav(seconds: u32, sample_rate: u32, channels: u16) -> Vec<u8> {
    let size = seconds * sample_rate * u32::from(channels) * 2;
    let mut bytes = Vec::with_capacity(44 + size as usize);
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&(36 + size).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0");
    bytes.extend_from_slice(&channels.to_le_bytes());
    bytes.extend_from_slice(&sample_rate.to_le_bytes());
    bytes.extend_from_slice(&(sample_rate * u32::from(channels) * 2).to_le_bytes());
    bytes.extend_from_slice(&(channels * 2).to_le_bytes());
    bytes.extend_from_slice(b"\x10\0data");
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend((0..size).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8));
    bytes
}

/// Seconds, rate and channels.
const SHAPES: [(u32, u32, u16); 4] = [
    (120, 44_100, 2),
    (15, 44_100, 2),
    (15, 16_000, 1),
    (1, 16_000, 1),
];

#[divan::bench(args = SHAPES)]
fn wav_from_memory(bencher: Bencher<'_, '_>, (seconds, sample_rate, channels): (u32, u32, u16)) {
    let bytes = wav(seconds, sample_rate, channels);
    bencher
        .counter(ItemsCount::new(seconds * sample_rate))
        .bench(|| load(Source::from_bytes("clip", &bytes), &Request::default()));
}

#[divan::bench(args = folder::clips(""))]
fn native(path: &str) -> ossicle::Result<ossicle::Clip> {
    load(Source::open(path.as_ref())?, &Request::default())
}

#[divan::bench(args = folder::clips(""))]
fn to_16k(path: &str) -> ossicle::Result<ossicle::Clip> {
    let request = Request {
        sample_rate: Some(16_000),
        ..Request::default()
    };
    load(Source::open(path.as_ref())?, &request)
}
