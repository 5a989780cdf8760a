//! Our decoder of MPEG audio beside symphonia's, over the MP3 files of a folder.
//!
//! `OSSICLE_BENCH_CLIPS=DIR cargo bench --bench mp3`; `benches/peers.py clips DIR` fills the folder.

mod folder;

use divan::Bencher;
use ossicle::{Decoder, Mix, Source};
use symphonia::core::audio::{Audio, GenericAudioBufferRef};
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::formats::TrackType;
use symphonia::core::formats::probe::Hint;
use symphonia::core::io::MediaSourceStream;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() {
    divan::main();
}

fn ours(bencher: Bencher<'_, '_>, path: &str, mono: bool) {
    let bytes = std::fs::read(path).unwrap_or_default();
    let open = || Decoder::open(Source::from_bytes("clip", &bytes));
    bencher.bench(|| open()?.decode(0..u64::MAX, if mono { Mix::Mean } else { Mix::All }));
}

#[divan::bench(args = folder::clips("mp3"))]
fn ours_to_mono(bencher: Bencher<'_, '_>, path: &str) {
    ours(bencher, path, true);
}

#[divan::bench(args = folder::clips("mp3"))]
fn ours_to_all_channels(bencher: Bencher<'_, '_>, path: &str) {
    ours(bencher, path, false);
}

/// All channels, nothing trimmed.
fn decode(bytes: Vec<u8>) -> Outcome<Vec<Vec<f32>>> {
    let stream = MediaSourceStream::new(Box::new(std::io::Cursor::new(bytes)), Default::default());
    let probe = symphonia::default::get_probe();
    let mut format = probe.probe(&Hint::new(), stream, Default::default(), Default::default())?;
    let track = format.first_track(TrackType::Audio).ok_or("no track")?;
    let Some(CodecParameters::Audio(params)) = track.codec_params.clone() else {
        return Err("no audio".into());
    };
    let codecs = symphonia::default::get_codecs();
    let mut decoder = codecs.make_audio_decoder(&params, &AudioDecoderOptions::default())?;
    let mut planes = vec![Vec::new(); 2];
    while let Some(packet) = format.next_packet()? {
        let GenericAudioBufferRef::F32(block) = decoder.decode(&packet)? else {
            return Err("not the floats that symphonia gave so far".into());
        };
        for (plane, samples) in planes.iter_mut().zip(block.iter_planes()) {
            plane.extend_from_slice(samples);
        }
    }
    Ok(planes)
}

#[divan::bench(args = folder::clips("mp3"))]
fn symphonias_to_all_channels(bencher: Bencher<'_, '_>, path: &str) {
    let bytes = std::fs::read(path).unwrap_or_default();
    bencher
        .with_inputs(|| bytes.clone())
        .bench_values(|bytes| decode(bytes).map_err(|error| error.to_string()));
}
