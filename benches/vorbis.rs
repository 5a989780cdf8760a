//! Our Vorbis decoder beside symphonia's, in turns on one thread: the least of each, and the ratio.
//!
//! `cargo bench --bench vorbis -- FILE.ogg ...`; without files, the small one of the tests. Ours reads
//! Ogg too and mixes to mono; symphonia's is given its packets, and its planes are left as they are.

use std::time::{Duration, Instant};

use ossicle::{Decoder, Source};
use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::well_known::CODEC_ID_VORBIS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::packet::PacketRef;
use symphonia::core::units::{Duration as Ticks, Timestamp};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 25;
const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hostile/vorbis.ogg");

/// The packets of an Ogg file with one stream.
fn packets(bytes: &[u8]) -> Outcome<Vec<Vec<u8>>> {
    let (mut packets, mut packet, mut rest) = (Vec::new(), Vec::new(), bytes);
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

fn timed<T>(work: impl FnOnce() -> Outcome<T>, least: &mut Duration) -> Outcome<T> {
    let begin = Instant::now();
    let result = work()?;
    *least = begin.elapsed().min(*least);
    Ok(result)
}

fn decode_all(decoder: &mut dyn AudioDecoder, packets: &[Vec<u8>]) -> Outcome<usize> {
    let mut frames = 0;
    for packet in packets.iter().skip(3) {
        let packet = PacketRef::new(0, Timestamp::from(0), Ticks::from(0u64), packet);
        let GenericAudioBufferRef::F32(block) = decoder.decode_ref(&packet)? else {
            return Err("not the floats that symphonia gave so far".into());
        };
        frames += symphonia::core::audio::Audio::frames(block);
    }
    Ok(frames)
}

fn race(name: &str) -> Outcome<()> {
    let bytes = std::fs::read(name)?;
    let packets = packets(&bytes)?;
    let [mut made, mut theirs, mut all, mut mono] = [Duration::MAX; 4];
    let open = |bytes| -> Outcome<_> { Ok(Decoder::open(Source::from_bytes("clip", bytes))?) };
    for _ in 0..ROUNDS {
        let mut decoder = timed(|| symphonia(&packets), &mut made)?;
        timed(|| decode_all(&mut *decoder, &packets), &mut theirs)?;
        timed(|| Ok(open(&bytes)?.decode(0..u64::MAX, false)?), &mut all)?;
        timed(|| Ok(open(&bytes)?.decode(0..u64::MAX, true)?), &mut mono)?;
    }
    let ratio = |own: Duration| theirs.as_secs_f64() / own.as_secs_f64();
    println!("{name}: symphonia {theirs:.3?} and {made:.3?} for its headers");
    println!("  ours {all:.3?}, ratio {:.2}", ratio(all));
    println!("  to mono {mono:.3?}, ratio {:.2}", ratio(mono));
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments = std::env::args().skip(1);
    let files: Vec<String> = arguments.filter(|name| !name.starts_with("--")).collect();
    match files.is_empty() {
        true => race(SMALL),
        false => files.iter().try_for_each(|name| race(name)),
    }
}
