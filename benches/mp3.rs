//! Our decoder of MPEG audio beside symphonia's, in turns on one thread: the least of each, and the ratio,
//! for all channels and for the mean of them.
//!
//! `cargo bench --bench mp3 -- FILE.mp3 ...`; there is no encoder here.

use std::time::{Duration, Instant};

use ossicle::{Decoder, Source};
use symphonia::core::audio::{Audio, GenericAudioBufferRef};
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::formats::TrackType;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::{MediaSource, MediaSourceStream};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
type Planes = Vec<Vec<f32>>;

const ROUNDS: usize = 25;

fn symphonia(bytes: &'static [u8], mono: bool) -> Outcome<Planes> {
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
    let mut planes: Planes = Vec::new();
    while let Some(packet) = format.next_packet()? {
        let GenericAudioBufferRef::F32(block) = decoder.decode(&packet)? else {
            return Err("no floats".into());
        };
        planes.resize_with(if mono { 1 } else { block.num_planes() }, Vec::new);
        match (mono, block.plane(0), block.plane(1)) {
            (true, Some(left), Some(right)) => {
                let pairs = left.iter().zip(right);
                planes[0].extend(pairs.map(|(left, right)| (left + right) * 0.5));
            }
            _ => {
                for (at, plane) in planes.iter_mut().enumerate() {
                    plane.extend_from_slice(block.plane(at).unwrap_or_default());
                }
            }
        }
    }
    Ok(planes)
}

fn ours(bytes: &'static [u8], mono: bool) -> Outcome<Planes> {
    let decoder = Decoder::open(Source::from_bytes("clip", bytes))?;
    Ok(decoder.decode(0..u64::MAX, mono)?)
}

fn timed(work: impl Fn() -> Outcome<Planes>, least: &mut Duration) -> Outcome<()> {
    let begin = Instant::now();
    std::hint::black_box(work()?);
    *least = begin.elapsed().min(*least);
    Ok(())
}

fn race(name: &str, bytes: &'static [u8], mono: bool) -> Outcome<()> {
    let (mut theirs, mut own) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        timed(|| symphonia(bytes, mono), &mut theirs)?;
        timed(|| ours(bytes, mono), &mut own)?;
    }
    let ratio = theirs.as_secs_f64() / own.as_secs_f64();
    let wanted = if mono { "the mean" } else { "all channels" };
    println!("{name}, {wanted}: symphonia {theirs:.3?}, ours {own:.3?}, ratio {ratio:.2}");
    Ok(())
}

fn main() -> Outcome<()> {
    for name in std::env::args()
        .skip(1)
        .filter(|name| !name.starts_with("--"))
    {
        let bytes = Vec::leak(std::fs::read(&name)?);
        for mono in [false, true] {
            race(&name, bytes, mono)?;
        }
    }
    Ok(())
}
