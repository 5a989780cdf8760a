//! Our ALAC decoder beside symphonia's, over the M4A files of a folder whose names begin with "alac".
//!
//! `OSSICLE_BENCH_CLIPS=DIR cargo bench --bench alac`; `benches/peers.py clips DIR` fills the folder.

mod folder;

use divan::Bencher;
use ossicle::{Request, Source, load};
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::formats::TrackType;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::MediaSourceStream;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() {
    divan::main();
}

#[divan::bench(args = folder::clips("alac"))]
fn ours(bencher: Bencher<'_, '_>, path: &str) {
    let bytes = std::fs::read(path).unwrap_or_default();
    bencher.bench(|| load(Source::from_bytes("clip", &bytes), &Request::default()));
}

/// To mono, as ours.
fn mean(bytes: Vec<u8>) -> Outcome<Vec<f32>> {
    let stream = MediaSourceStream::new(Box::new(std::io::Cursor::new(bytes)), Default::default());
    let probe = symphonia::default::get_probe();
    let mut format = probe.probe(&Hint::new(), stream, Default::default(), Default::default())?;
    let track = format.first_track(TrackType::Audio).ok_or("no track")?;
    let Some(CodecParameters::Audio(params)) = track.codec_params.clone() else {
        return Err("no audio".into());
    };
    let codecs = symphonia::default::get_codecs();
    let mut decoder = codecs.make_audio_decoder(&params, &AudioDecoderOptions::default())?;
    let (mut mean, mut planes) = (Vec::new(), Vec::<Vec<f32>>::new());
    while let Some(packet) = format.next_packet()? {
        decoder.decode(&packet)?.copy_to_vecs_planar(&mut planes);
        match planes.as_slice() {
            [left, right] => {
                let pairs = left.iter().zip(right);
                mean.extend(pairs.map(|(left, right)| (left + right) * 0.5));
            }
            [only] => mean.extend_from_slice(only),
            _ => return Err("clips of one or two channels are compared".into()),
        }
    }
    Ok(mean)
}

#[divan::bench(args = folder::clips("alac"))]
fn symphonias(bencher: Bencher<'_, '_>, path: &str) {
    let bytes = std::fs::read(path).unwrap_or_default();
    bencher
        .with_inputs(|| bytes.clone())
        .bench_values(|bytes| mean(bytes).map_err(|error| error.to_string()));
}
