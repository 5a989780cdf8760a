//! Our FLAC decoder beside symphonia's, in turns on one thread: the least of each, and the ratio.
//!
//! `cargo bench --bench flac [-- FILE.flac ...]`; without files, clips that flacenc writes.

use std::time::{Duration, Instant};

use ossicle::{Decoder, Mix, Source};
use symphonia::core::audio::conv::FromSample;
use symphonia::core::audio::{Audio, GenericAudioBufferRef};
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::formats::TrackType;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::{MediaSource, MediaSourceStream};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 25;

/// To mono, as [`Decoder`] does it.
fn symphonia(bytes: &'static [u8]) -> Outcome<Vec<f32>> {
    let cursor: Box<dyn MediaSource> = Box::new(std::io::Cursor::new(bytes));
    let stream = MediaSourceStream::new(cursor, Default::default());
    let probe = symphonia::default::get_probe();
    let mut format = probe.probe(&Hint::new(), stream, Default::default(), Default::default())?;
    let track = format.first_track(TrackType::Audio).ok_or("no track")?;
    let Some(CodecParameters::Audio(params)) = track.codec_params.clone() else {
        return Err("no audio".into());
    };
    let codecs = symphonia::default::get_codecs();
    let mut decoder = codecs.make_audio_decoder(&params, &AudioDecoderOptions::default())?;
    let mut mean = Vec::new();
    while let Some(packet) = format.next_packet()? {
        let GenericAudioBufferRef::S32(block) = decoder.decode(&packet)? else {
            return Err("not the integers that symphonia gave so far".into());
        };
        let float = |sample: &i32| f32::from_sample(*sample);
        match (block.plane(0), block.plane(1)) {
            (Some(left), Some(right)) => {
                let pairs = left.iter().zip(right);
                mean.extend(pairs.map(|(left, right)| (float(left) + float(right)) * 0.5));
            }
            (only, _) => mean.extend(only.unwrap_or_default().iter().map(float)),
        }
    }
    Ok(mean)
}

fn ours(bytes: &'static [u8]) -> Outcome<Vec<f32>> {
    let decoder = Decoder::open(Source::from_bytes("clip", bytes))?;
    let planes = decoder.decode(0..u64::MAX, Mix::Mean)?;
    Ok(planes.into_iter().next().unwrap_or_default())
}

fn timed(work: impl Fn() -> Outcome<Vec<f32>>, least: &mut Duration) -> Outcome<Vec<f32>> {
    let begin = Instant::now();
    let samples = work()?;
    *least = begin.elapsed().min(*least);
    Ok(samples)
}

fn race(name: &str, bytes: Vec<u8>) -> Outcome<()> {
    let bytes: &'static [u8] = Vec::leak(bytes);
    let (mut theirs, mut own) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let expected = timed(|| symphonia(bytes), &mut theirs)?;
        if timed(|| ours(bytes), &mut own)? != expected {
            return Err(format!("{name}: not the samples of symphonia").into());
        }
    }
    let ratio = theirs.as_secs_f64() / own.as_secs_f64();
    println!("{name}: symphonia {theirs:.3?}, ours {own:.3?}, ratio {ratio:.2}");
    Ok(())
}

/// Gliding tones and a little noise.
fn clip(seconds: u32, rate: u32, channels: usize, bits: u32) -> Outcome<Vec<u8>> {
    let frames = (seconds * rate) as usize;
    let mut noise = 1u32;
    let samples: Vec<f32> = (0..frames * channels)
        .map(|at| {
            let time = (at % frames) as f32 / rate as f32;
            let pitch = 200.0 + 90.0 * (at / frames) as f32;
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let phase = pitch * time + 5.0 * (0.7 * time).sin();
            let turn = std::f32::consts::TAU * phase.fract();
            let tone = turn.sin() + 0.4 * (3.0 * turn).sin();
            0.4 * tone + (noise >> 8) as f32 / 2f32.powi(24) * 0.01
        })
        .collect();
    Ok(ossicle::encode::encode(
        &samples, channels, rate, "flac", bits,
    )?)
}

fn main() -> Outcome<()> {
    let files: Vec<String> = std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with("--"))
        .collect();
    for name in &files {
        race(name, std::fs::read(name)?)?;
    }
    if files.is_empty() {
        race("120 s 44.1k stereo 16 bits", clip(120, 44_100, 2, 16)?)?;
        race("60 s 48k stereo 24 bits", clip(60, 48_000, 2, 24)?)?;
        race("15 s 16k mono 16 bits", clip(15, 16_000, 1, 16)?)?;
    }
    Ok(())
}
