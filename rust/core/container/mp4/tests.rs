//! Files built here, read back in order and by seeks, and read when they are damaged.

use proptest::prelude::*;

use super::*;
use crate::bytes::source::Source;

/// One packet as it was written: its bytes, and its frames.
type Written = (Vec<u8>, u32);

fn atom(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let size = (8 + body.len() as u32).to_be_bytes();
    [&size[..], kind, &body].concat()
}

fn full(kind: &[u8; 4], version: u8, flags: u32, parts: &[&[u8]]) -> Vec<u8> {
    let word = (u32::from(version) << 24 | flags).to_be_bytes();
    atom(kind, &[&word, &parts.concat()])
}

fn words(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

/// How a file is laid out.
#[derive(Clone, Copy, Debug)]
struct Shape {
    moov_first: bool,
    wide: bool,
    small_sizes: bool,
    /// Packets in a chunk or in a fragment.
    each: usize,
    fragmented: bool,
    indexed: bool,
    delay: u32,
}

const RATE: u32 = 48_000;

/// The sample entry of FLAC at 48 kHz: its packets may have any length.
fn flac_entry() -> Vec<u8> {
    let mut info = [0u8; 34];
    info[10..18].copy_from_slice(&(u64::from(RATE) << 44 | 1 << 41 | 15 << 36).to_be_bytes());
    let dfla = full(b"dfLa", 0, 0, &[&[0x80, 0, 0, 34], &info]);
    let sound = [words(&[0, 1, 0, 0, 2 << 16 | 16, 0]), words(&[RATE << 16])].concat();
    atom(b"fLaC", &[&sound, &dfla])
}

fn table(kind: &[u8; 4], entries: &[u32], width: usize) -> Vec<u8> {
    let count = (entries.len() / width) as u32;
    full(kind, 0, 0, &[&words(&[count]), &words(entries)])
}

fn sizes(packets: &[Written], shape: Shape) -> Vec<u8> {
    let count = packets.len() as u32;
    if shape.small_sizes {
        let bytes: Vec<u8> = packets.iter().map(|(data, _)| data.len() as u8).collect();
        return full(b"stz2", 0, 0, &[&words(&[8, count]), &bytes]);
    }
    let each: Vec<u32> = packets.iter().map(|(data, _)| data.len() as u32).collect();
    full(b"stsz", 0, 0, &[&words(&[0, count]), &words(&each)])
}

/// `moov`, whose chunks lie at `offsets`.
fn moov(packets: &[Written], offsets: &[u64], shape: Shape) -> Vec<u8> {
    let empty: &[Written] = &[];
    let listed = if shape.fragmented { empty } else { packets };
    let durations: Vec<u32> = listed.iter().flat_map(|(_, frames)| [1, *frames]).collect();
    let mut chunks = vec![1, shape.each as u32, 1];
    let rest = listed.len() % shape.each;
    if rest > 0 {
        chunks.extend([offsets.len() as u32, rest as u32, 1]);
    }
    if listed.is_empty() || listed.len() < shape.each {
        chunks = chunks.split_off(3);
    }
    let offsets = if shape.wide {
        let bytes: Vec<u8> = offsets.iter().flat_map(|at| at.to_be_bytes()).collect();
        full(b"co64", 0, 0, &[&words(&[offsets.len() as u32]), &bytes])
    } else {
        let short: Vec<u32> = offsets.iter().map(|at| *at as u32).collect();
        table(b"stco", &short, 1)
    };
    let stsd = full(b"stsd", 0, 0, &[&words(&[1]), &flac_entry()]);
    let stbl = [
        stsd,
        table(b"stts", &durations, 2),
        table(b"stsc", &chunks, 3),
        sizes(listed, shape),
        offsets,
    ];
    let stbl = atom(b"stbl", &[&stbl.concat()]);
    let hdlr = full(b"hdlr", 0, 0, &[&words(&[0]), b"soun", &words(&[0, 0, 0])]);
    let mdhd = full(b"mdhd", 0, 0, &[&words(&[0, 0, RATE, 0, 0])]);
    let mdia = atom(b"mdia", &[&mdhd, &hdlr, &atom(b"minf", &[&stbl])]);
    let tkhd = full(b"tkhd", 0, 1, &[&words(&[0, 0, 7, 0, 0])]);
    let elst = table(b"elst", &[0, shape.delay, 1 << 16], 3);
    let edts = if shape.fragmented {
        vec![]
    } else {
        atom(b"edts", &[&elst])
    };
    let trak = atom(b"trak", &[&tkhd, &edts, &mdia]);
    let mvhd = full(b"mvhd", 0, 0, &[&words(&[0, 0, 1000, 0])]);
    let trex = full(b"trex", 0, 0, &[&words(&[7, 1, 0, 0, 0])]);
    let mvex = if shape.fragmented {
        atom(b"mvex", &[&trex])
    } else {
        vec![]
    };
    atom(b"moov", &[&mvhd, &trak, &mvex])
}

fn fragment(packets: &[Written], time: u64) -> Vec<u8> {
    let entries: Vec<u32> = packets
        .iter()
        .flat_map(|(data, frames)| [*frames, data.len() as u32])
        .collect();
    let build = |offset: u32| {
        let tfhd = full(b"tfhd", 0, 0x2_0000, &[&words(&[7])]);
        let tfdt = full(b"tfdt", 1, 0, &[&time.to_be_bytes()]);
        // Two runs, of which the second says no offset.
        let (one, two) = entries.split_at(entries.len() / 4 * 2);
        let run = |flags: u32, head: &[u32], part: &[u32]| {
            full(
                b"trun",
                0,
                flags,
                &[&words(&[part.len() as u32 / 2]), &words(head), &words(part)],
            )
        };
        let runs = [run(0x301, &[offset], one), run(0x300, &[], two)].concat();
        let mfhd = full(b"mfhd", 0, 0, &[&words(&[1])]);
        atom(b"moof", &[&mfhd, &atom(b"traf", &[&tfhd, &tfdt, &runs])])
    };
    let moof = build(8 + build(0).len() as u32);
    let data: Vec<u8> = packets.iter().flat_map(|(data, _)| data.clone()).collect();
    [moof, atom(b"mdat", &[&data])].concat()
}

fn file(packets: &[Written], shape: Shape) -> Vec<u8> {
    let ftyp = atom(b"ftyp", &[b"isom", &words(&[0])]);
    if shape.fragmented {
        let mut bytes = [ftyp, moov(packets, &[], shape)].concat();
        let (mut time, mut entries) = (1000u64, Vec::new());
        for part in packets.chunks(shape.each) {
            entries.extend([time as u32, bytes.len() as u32, 1, 1, 1]);
            bytes.extend(fragment(part, time));
            time += part
                .iter()
                .map(|(_, frames)| u64::from(*frames))
                .sum::<u64>();
        }
        if shape.indexed {
            // Numbers of four bytes: of the part, of the run and of the sample.
            let head = words(&[7, 0x3F, entries.len() as u32 / 5]);
            let entries = words(&entries);
            let tfra = full(b"tfra", 0, 0, &[&head, &entries]);
            let size = 8 + tfra.len() as u32 + 16;
            let mfro = full(b"mfro", 0, 0, &[&words(&[size])]);
            bytes.extend(atom(b"mfra", &[&tfra, &mfro]));
        }
        return bytes;
    }
    let data: Vec<u8> = packets.iter().flat_map(|(data, _)| data.clone()).collect();
    let place = |from: u64| -> Vec<u64> {
        let mut at = from;
        packets
            .chunks(shape.each)
            .map(|chunk| {
                let here = at;
                at += chunk.iter().map(|(data, _)| data.len() as u64).sum::<u64>();
                here
            })
            .collect()
    };
    let mdat = atom(b"mdat", &[&data]);
    if shape.moov_first {
        let length = (ftyp.len() + moov(packets, &place(0), shape).len()) as u64;
        [ftyp, moov(packets, &place(length + 8), shape), mdat].concat()
    } else {
        let from = ftyp.len() as u64 + 8;
        [ftyp, mdat, moov(packets, &place(from), shape)].concat()
    }
}

fn open(bytes: &[u8]) -> Result<Mp4<'_>> {
    let mut source = Source::from_bytes("test", bytes);
    sniff(&mut source)?;
    Mp4::open(source)
}

fn shapes() -> impl Strategy<Value = Shape> {
    let flags = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    (flags, 1usize..9, 0u32..3000).prop_map(|(flags, each, delay)| Shape {
        moov_first: flags.0,
        wide: flags.1,
        small_sizes: flags.2,
        each,
        fragmented: flags.3,
        indexed: flags.4,
        delay: if flags.3 { 0 } else { delay },
    })
}

fn packets() -> impl Strategy<Value = Vec<Written>> {
    let packet = (prop::collection::vec(any::<u8>(), 1..60), 1u32..5000);
    prop::collection::vec(packet, 1..40)
}

proptest! {
    #[test]
    fn every_packet_comes_back_in_order_and_by_seeks(
        packets in packets(),
        shape in shapes(),
        targets in prop::collection::vec(-4000i64..200_000, 8),
    ) {
        let bytes = file(&packets, shape);
        let mut mp4 = open(&bytes).unwrap_or_else(|error| panic!("{error}"));
        let total: u64 = packets.iter().map(|(_, frames)| u64::from(*frames)).sum();
        let frames = total.saturating_sub(u64::from(shape.delay));
        prop_assert_eq!(mp4.frames().ok(), Some(Some(frames)));
        mp4.seek(i64::MIN).unwrap_or_default();
        let mut begin = -i64::from(shape.delay);
        let mut begins = Vec::new();
        for (data, length) in &packets {
            if begin >= frames as i64 {
                break;
            }
            let packet = mp4.next_packet().unwrap_or_default().unwrap_or_default();
            prop_assert_eq!(&packet.data, data);
            prop_assert_eq!(&bytes[packet.at as usize..][..data.len()], &data[..]);
            prop_assert_eq!(packet.begin, Some(begin));
            prop_assert_eq!(packet.frames, Some(u64::from(*length)));
            begins.push(begin);
            begin += i64::from(*length);
        }
        prop_assert_eq!(mp4.next_packet().ok(), Some(None));
        for target in targets {
            mp4.seek(target).unwrap_or_default();
            let found = mp4.next_packet().unwrap_or_default();
            let last = begins.iter().rposition(|begin| *begin <= target).unwrap_or(0);
            if begins.is_empty() {
                prop_assert_eq!(found, None);
            } else {
                let found = found.unwrap_or_default();
                prop_assert_eq!(found.begin, begins.get(last).copied(), "{}", target);
                prop_assert_eq!(&found.data, &packets[last].0);
            }
        }
    }

    #[test]
    fn boxes_of_any_size_end(bytes in prop::collection::vec(any::<u8>(), 0..200), shape in shapes()) {
        let mut whole = file(&[(vec![1, 2, 3], 100), (vec![4], 50)], shape);
        let middle = whole.len() / 2;
        whole.splice(middle..middle, bytes);
        read_all(&whole);
    }

    #[test]
    fn lying_sizes_end(
        shape in shapes(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..4),
    ) {
        let mut whole = file(&[(vec![1, 2, 3], 100), (vec![4], 50), (vec![5], 1)], shape);
        for (place, value) in places {
            let at = place.index(whole.len() - 4);
            whole[at..at + 4].copy_from_slice(&value.to_be_bytes());
        }
        read_all(&whole);
    }
}

/// Reads all there is, by every call; the packets that came, and whether there was an error.
fn read_all(bytes: &[u8]) -> (Vec<Packet>, Option<Error>) {
    let mut mp4 = match open(bytes) {
        Ok(mp4) => mp4,
        Err(error) => return (vec![], Some(error)),
    };
    let (mut packets, mut first) = (Vec::new(), None);
    for target in [i64::MAX, 70, i64::MIN] {
        let counted = mp4.frames().err();
        let sought = mp4.seek(target).err();
        first = first.or(counted).or(sought);
        packets.clear();
        for call in 0.. {
            // No call gives less than a byte or an error, and no error comes without end.
            assert!(call <= 4 * bytes.len() + 64, "no end");
            match mp4.next_packet() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => first = first.or(Some(error)),
            }
        }
    }
    (packets, first)
}

fn samples() -> Vec<Vec<u8>> {
    let packets: Vec<Written> = (1..8u8)
        .map(|index| (vec![index; usize::from(index)], 100 + u32::from(index)))
        .collect();
    let plain = Shape {
        moov_first: true,
        wide: false,
        small_sizes: false,
        each: 3,
        fragmented: false,
        indexed: false,
        delay: 10,
    };
    let last = Shape {
        moov_first: false,
        wide: true,
        small_sizes: true,
        ..plain
    };
    let fragmented = Shape {
        fragmented: true,
        delay: 0,
        ..plain
    };
    let indexed = Shape {
        indexed: true,
        ..fragmented
    };
    [plain, last, fragmented, indexed]
        .map(|shape| file(&packets, shape))
        .to_vec()
}

#[test]
fn every_flipped_bit_is_survived() {
    for whole in samples() {
        let (packets, error) = read_all(&whole);
        assert_eq!((packets.len(), error.is_none()), (7, true));
        for bit in 0..8 * whole.len() {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            read_all(&changed);
        }
    }
}

/// Where the boxes of the file end that hold data.
fn ends_of_boxes(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    for (kind, body) in boxes::inside(bytes) {
        at += 8 + body.len();
        if &kind == b"mdat" {
            ends.push(at);
        }
    }
    ends
}

#[test]
fn every_cut_gives_what_is_there_and_then_an_error() {
    for whole in samples() {
        let (all, _) = read_all(&whole);
        // What lies after the last packet is no data, unless it is the header.
        let data_end = all
            .last()
            .map_or(0, |packet| packet.at as usize + packet.data.len());
        for length in 0..whole.len() {
            let (packets, error) = read_all(&whole[..length]);
            assert_eq!(packets, all[..packets.len()]);
            let fits = |packet: &&Packet| packet.at as usize + packet.data.len() <= length;
            if !packets.is_empty() {
                assert_eq!(packets.len(), all.iter().filter(fits).count());
            }
            // A file of fragments that ends with one of them is whole.
            let is_end = ends_of_boxes(&whole).contains(&length) && !packets.is_empty();
            if length < data_end && !is_end {
                let error = error.map(|error| (error.kind(), error.byte_offset().is_some()));
                assert_eq!(
                    error,
                    Some((crate::error::ErrorKind::Corrupt, true)),
                    "{length}"
                );
            }
        }
    }
}
