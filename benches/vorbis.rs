//! Our Vorbis decoder beside symphonia's, over the Ogg files of a folder whose names begin with "vorbis".
//!
//! `OSSICLE_BENCH_CLIPS=DIR cargo bench --bench vorbis`; `benches/peers.py clips DIR` fills the folder.
//! Ours reads Ogg too, and has the headers' code books from the round before; symphonia's is given its
//! packets, builds them anew, and its planes are left as they are: what that takes has a bench of its own.

mod folder;

use divan::Bencher;
use ossicle::{Decoder, Mix, Source};
use symphonia::core::audio::{Audio, GenericAudioBufferRef};
use symphonia::core::codecs::audio::well_known::CODEC_ID_VORBIS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration, Timestamp};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() {
    divan::main();
}

fn ours(bencher: Bencher<'_, '_>, path: &str, mono: bool) {
    let bytes = std::fs::read(path).unwrap_or_default();
    let open = || Decoder::open(Source::from_bytes("clip", &bytes));
    bencher.bench(|| open()?.decode(0..u64::MAX, if mono { Mix::Mean } else { Mix::All }));
}

#[divan::bench(args = folder::clips("vorbis"))]
fn ours_to_mono(bencher: Bencher<'_, '_>, path: &str) {
    ours(bencher, path, true);
}

#[divan::bench(args = folder::clips("vorbis"))]
fn ours_to_all_channels(bencher: Bencher<'_, '_>, path: &str) {
    ours(bencher, path, false);
}

/// The packets of an Ogg file with one stream.
fn packets(path: &str) -> Outcome<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path)?;
    let (mut packets, mut packet, mut rest) = (Vec::new(), Vec::new(), bytes.as_slice());
    while let Some((header, behind)) = rest.split_at_checked(27) {
        let (lengths, mut data) = behind
            .split_at_checked(usize::from(header[26]))
            .ok_or("a page is cut")?;
        for length in lengths {
            let (piece, behind) = data
                .split_at_checked(usize::from(*length))
                .ok_or("a page is cut")?;
            packet.extend_from_slice(piece);
            data = behind;
            if *length < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        rest = data;
    }
    Ok(packets)
}

fn symphonia(packets: &[Vec<u8>]) -> Outcome<Box<dyn AudioDecoder>> {
    let [ident, _, setup, ..] = packets else {
        return Err("no headers".into());
    };
    let mut params = AudioCodecParameters::new();
    params
        .for_codec(CODEC_ID_VORBIS)
        .with_extra_data([&ident[..], setup].concat().into());
    let options = AudioDecoderOptions::default().gapless(false);
    Ok(symphonia::default::get_codecs().make_audio_decoder(&params, &options)?)
}

fn decode(packets: &[Vec<u8>]) -> Outcome<usize> {
    let mut decoder = symphonia(packets)?;
    let mut frames = 0;
    for packet in packets.iter().skip(3) {
        let packet = PacketRef::new(0, Timestamp::from(0), Duration::from(0u64), packet);
        let GenericAudioBufferRef::F32(block) = decoder.decode_ref(&packet)? else {
            return Err("not the floats that symphonia gave so far".into());
        };
        frames += block.frames();
    }
    Ok(frames)
}

#[divan::bench(args = folder::clips("vorbis"))]
fn symphonias_packets(bencher: Bencher<'_, '_>, path: &str) {
    let packets = packets(path).unwrap_or_default();
    bencher.bench(|| decode(&packets).map_err(|error| error.to_string()));
}

#[divan::bench(args = folder::clips("vorbis"))]
fn symphonias_headers(bencher: Bencher<'_, '_>, path: &str) {
    let packets = packets(path).unwrap_or_default();
    bencher.bench(|| symphonia(&packets).map_err(|error| error.to_string()));
}
