//! Small files of every container of PCM, each bit of them flipped and each cut made.

use ossicle::{Decoder, ErrorKind, Mix, Result, Source};
use proptest::prelude::*;

fn be(size: usize) -> [u8; 4] {
    (size as u32).to_be_bytes()
}

fn le(size: usize) -> [u8; 4] {
    (size as u32).to_le_bytes()
}

/// Numbers that are no silence, and small enough to be states of ADPCM where those stand.
fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 37 % 89) as u8).collect()
}

/// A format chunk's body from its fields, then the samples.
fn wav(magic: &[u8; 4], fields: [u16; 4], extension: &[u8], front: &[u8], data: &[u8]) -> Vec<u8> {
    let [tag, channels, block, bits] = fields;
    let mut format = [tag, channels].map(u16::to_le_bytes).concat();
    format.extend([le(8_000), le(8_000 * usize::from(block))].concat());
    format.extend([block, bits].map(u16::to_le_bytes).concat());
    format.extend(extension);
    let size = if magic == b"RIFF" {
        le(data.len())
    } else {
        [0xFF; 4]
    };
    let outer = 4 + front.len() + 8 + format.len() + 12 + 8 + data.len();
    let riff = if magic == b"RIFF" {
        le(outer)
    } else {
        [0xFF; 4]
    };
    [
        &magic[..],
        &riff,
        b"WAVE",
        front,
        b"fmt ",
        &le(format.len()),
        &format,
        b"LIST",
        &le(3),
        b"abc\0",
        b"data",
        &size,
        data,
    ]
    .concat()
}

fn wave64(data: &[u8]) -> Vec<u8> {
    let tail = b"\xF3\xAC\xD3\x11\x8C\xD1\0\xC0\x4F\x8E\xDB\x8A";
    let plain = wav(b"RIFF", [1, 2, 4, 16], &[], &[], data);
    let long = |size: usize| (size as u64).to_le_bytes();
    [
        &b"riff\x2E\x91\xCF\x11\xA5\xD6\x28\xDB\x04\xC1\0\0"[..],
        &long(40 + 40 + 24 + data.len()),
        b"wave",
        tail,
        b"fmt ",
        tail,
        &long(24 + 16),
        &plain[20..36],
        b"data",
        tail,
        &long(24 + data.len()),
        data,
    ]
    .concat()
}

fn aiff(tag: Option<&[u8; 4]>, channels: u16, bits: u16, data: &[u8]) -> Vec<u8> {
    let mut common = [&channels.to_be_bytes()[..], &be(9), &bits.to_be_bytes()].concat();
    common.extend(b"\x40\x0B\xFA\0\0\0\0\0\0\0");
    common.extend(tag.map_or(Vec::new(), |tag| [&tag[..], b"\0\0"].concat()));
    let form = if tag.is_some() { b"AIFC" } else { b"AIFF" };
    [
        &b"FORM"[..],
        &be(4 + 12 + 8 + common.len() + 8 + 8 + 2 + data.len()),
        form,
        b"NAME",
        &be(3),
        b"abc\0",
        b"COMM",
        &be(common.len()),
        &common,
        b"SSND",
        &be(8 + 2 + data.len()),
        &be(2),
        &be(0),
        b"xx",
        data,
    ]
    .concat()
}

fn au(encoding: usize, data: &[u8]) -> Vec<u8> {
    let header = [28, data.len(), encoding, 8_000, 2].map(be).concat();
    [b".snd", &header[..], b"abcd", data].concat()
}

fn caf(id: &[u8; 4], fields: [usize; 5], table: &[u8], data: &[u8]) -> Vec<u8> {
    let long = |size: usize| (size as u64).to_be_bytes();
    [
        &b"caff\0\x01\0\0desc"[..],
        &long(32),
        &8_000f64.to_be_bytes(),
        id,
        &fields.map(be).concat(),
        b"data",
        &long(4 + data.len()),
        &[0; 4],
        data,
        table,
    ]
    .concat()
}

/// Each with the frames that it holds.
fn files() -> Vec<(&'static str, u64, Vec<u8>)> {
    let extension = b"\x16\0\x14\0\x03\0\0\0\x01\0\0\0\0\0\x10\0\x80\0\0\xAA\0\x38\x9B\x71";
    let ds64 = [
        &b"ds64"[..],
        &le(24),
        &[132, 0, 0, 0, 0, 0, 0, 0],
        &[48, 0, 0, 0, 0, 0, 0, 0],
        &[0; 8],
    ]
    .concat();
    let table = [
        &b"pakt"[..],
        &[0, 0, 0, 0, 0, 0, 0, 24],
        &[0; 15],
        &[100],
        &be(20),
        &be(8),
    ];
    vec![
        (
            "wav",
            12,
            wav(b"RIFF", [1, 2, 4, 16], &[], &[], &payload(48)),
        ),
        (
            "extensible",
            8,
            wav(b"RIFF", [0xFFFE, 2, 6, 24], extension, &[], &payload(48)),
        ),
        (
            "rf64",
            6,
            wav(b"RF64", [3, 2, 8, 32], &[], &ds64, &payload(48)),
        ),
        (
            "microsoft",
            20 + 16,
            wav(b"RIFF", [2, 2, 32, 4], &[], &[], &{
                let mut data = payload(60);
                (data[0], data[1], data[32], data[33]) = (0, 6, 1, 2);
                data
            }),
        ),
        (
            "ima",
            49 + 33,
            wav(b"RIFF", [0x11, 1, 28, 4], &[], &[], &payload(48)),
        ),
        ("wave64", 12, wave64(&payload(48))),
        ("aiff", 8, aiff(None, 2, 20, &payload(48))),
        ("sowt", 24, aiff(Some(b"sowt"), 1, 16, &payload(48))),
        ("ima4", 64, aiff(Some(b"ima4"), 2, 16, &payload(70))),
        ("au", 12, au(3, &payload(48))),
        ("caf", 6, caf(b"lpcm", [3, 8, 1, 2, 32], &[], &payload(48))),
        (
            "caf-ima4",
            100,
            caf(b"ima4", [0, 34, 64, 1, 0], &table.concat(), &payload(68)),
        ),
    ]
}

fn open(bytes: &[u8]) -> Result<Decoder<'_>> {
    Decoder::open(Source::from_bytes("test", bytes))
}

/// Samples in number, or an error that says where; nothing stands between a panic and the test.
fn outcome(bytes: &[u8], what: &str) -> Result<u64> {
    let planes = open(bytes).and_then(|clip| clip.decode(0..u64::MAX, Mix::All));
    let info = open(bytes).and_then(Decoder::info);
    let _ = open(bytes).and_then(|clip| clip.decode(7..u64::MAX - 1, Mix::Mean));
    let frames = planes.map(|planes| {
        let frames = planes.first().map_or(0, Vec::len);
        assert!(frames * planes.len() <= 3 * bytes.len(), "{what}: {frames}");
        frames as u64
    });
    if let (Ok(frames), Ok(info)) = (&frames, info) {
        assert_eq!(*frames, info.frames, "{what}");
    }
    if let Err(error) = &frames {
        assert!(
            error
                .byte_offset()
                .is_none_or(|at| at <= bytes.len() as u64),
            "{what}: {error}"
        );
    }
    frames
}

#[test]
fn the_files_are_whole() -> Result<()> {
    for (name, frames, bytes) in files() {
        assert_eq!(outcome(&bytes, name)?, frames, "{name}");
    }
    Ok(())
}

#[test]
fn every_flipped_bit_is_survived() {
    for (name, _, bytes) in files() {
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let what = format!("{name}: bit {bit}");
            match outcome(&flipped, &what) {
                // What is no longer ours is symphonia's.
                Err(error) if !name.starts_with("caf") && bit >= 8 * 40 => {
                    assert!(error.byte_offset().is_some(), "{what}: {error}");
                }
                _ => {}
            }
        }
    }
}

#[test]
fn every_lie_of_four_bytes_is_survived() {
    for (name, _, bytes) in files() {
        for at in 0..bytes.len() - 4 {
            for lie in [
                [0; 4],
                [0xFF; 4],
                [0x7F, 0xFF, 0xFF, 0xFF],
                [0xFF, 0xFF, 0xFF, 0x7F],
            ] {
                let mut changed = bytes.clone();
                changed[at..at + 4].copy_from_slice(&lie);
                let _ = outcome(&changed, &format!("{name}: {lie:?} at {at}"));
            }
        }
    }
}

#[test]
fn every_cut_is_an_error() {
    for (name, frames, bytes) in files() {
        let table = if name == "caf-ima4" { 36 } else { 0 };
        for length in 1..bytes.len() {
            let cut = outcome(&bytes[..length], &format!("{name} cut at {length}"));
            match cut {
                // The packet table stands after the samples: without all of it, they are all taken.
                Ok(all) => assert!(
                    length >= bytes.len() - table && all >= frames,
                    "{name} cut at {length} went unseen"
                ),
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported),
                    "{name} cut at {length}: {error}"
                ),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn rubbish_behind_a_part_of_a_file_is_survived(
        file in prop::sample::select(files()),
        keep in 4usize..120,
        rubbish in prop::collection::vec(prop_oneof![Just(0u8), Just(0xFF), any::<u8>()], 0..400),
    ) {
        let (name, _, bytes) = file;
        let kept = &bytes[..keep.min(bytes.len())];
        let _ = outcome(&[kept, &rubbish].concat(), name);
    }
}
