//! Streams put together from frames, tags and foreign bytes: what is read must be what was put in.

use proptest::prelude::*;

use super::*;
use crate::container::frames::Header as _;
use crate::container::{self, tests::damaged};
use crate::error::ErrorKind;

/// Headers of one stream of VBR: MPEG 1 Layer III, 44.1 kHz, stereo, without and with padding.
const WORDS: [u32; 4] = [0xFFFB_5064, 0xFFFB_9064, 0xFFFB_9264, 0xFFFB_E064];

fn frame(word: u32, salt: usize) -> Vec<u8> {
    let header = Header::parse(&word.to_be_bytes()).unwrap();
    let body = (4..header.length()).map(|at| ((at * 31 + salt * 7) % 251) as u8);
    word.to_be_bytes().into_iter().chain(body).collect()
}

fn id3v2(size: usize, has_footer: bool) -> Vec<u8> {
    let flags = if has_footer { 0x10 } else { 0 };
    let size_bytes = [size >> 21, size >> 14, size >> 7, size].map(|byte| byte as u8 & 0x7F);
    let head = [&[4, 0, flags][..], &size_bytes].concat();
    // A picture in there may look like frames.
    let body: Vec<u8> = frame(WORDS[1], 3).into_iter().cycle().take(size).collect();
    let foot = if has_footer {
        [b"3DI", &head[..]].concat()
    } else {
        Vec::new()
    };
    [b"ID3", &head[..], &body, &foot].concat()
}

fn ape(size: u32, has_header: bool) -> Vec<u8> {
    let mark = |flags: u32| {
        let words = [2000, size + 32, 1, flags, 0, 0].map(u32::to_le_bytes);
        [b"APETAGEX", &words.concat()[..]].concat()
    };
    let body = vec![b'x'; size as usize];
    match has_header {
        true => [mark(0xA000_0000), body, mark(0x8000_0000)].concat(),
        false => [body, mark(0)].concat(),
    }
}

fn id3v1() -> Vec<u8> {
    [&b"TAG"[..], &[b' '; 125]].concat()
}

fn lyrics(version: u32) -> Vec<u8> {
    let text = [&b"LYRICSBEGIN"[..], &[b'l'; 300]].concat();
    match version {
        1 => [&text[..], b"LYRICSEND"].concat(),
        _ => [&text[..], b"000311LYRICS200"].concat(),
    }
}

fn source(bytes: &[u8], is_stream: bool) -> Source<'_> {
    if is_stream {
        Source::from_stream("test", Box::new(std::io::Cursor::new(bytes))).unwrap()
    } else {
        Source::from_bytes("test", bytes)
    }
}

fn open(bytes: &[u8], is_stream: bool) -> Option<Box<dyn Demuxer + '_>> {
    container::open_packets(source(bytes, is_stream)).ok()
}

/// All packets, and the damage between them.
fn read(demuxer: &mut dyn Demuxer, most: usize) -> (Vec<Packet>, Vec<Error>) {
    let (mut packets, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..most {
        match demuxer.next_packet() {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => return (packets, errors),
            Err(error) => errors.push(error),
        }
    }
    unreachable!("it does not end");
}

fn front() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        (0usize..40_000, any::<bool>()).prop_map(|(size, footer)| id3v2(size, footer)),
        (0usize..900, 0usize..3_000)
            .prop_map(|(one, two)| [id3v2(one, false), id3v2(two, true)].concat()),
        // Foreign bytes, sync words among it.
        (prop::collection::vec(any::<u8>(), 0..3_000), 0usize..100).prop_map(|(bytes, size)| [
            id3v2(size, false),
            vec![0],
            bytes,
            vec![0; 8]
        ]
        .concat()),
    ]
}

fn back() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![
        Just(Vec::new()),
        Just(id3v1()),
        (0u32..500, any::<bool>()).prop_map(|(size, header)| ape(size, header)),
        (1u32..3).prop_map(lyrics),
        Just([lyrics(2), id3v1()].concat()),
        Just([ape(100, false), id3v1()].concat()),
        (0usize..500).prop_map(|size| id3v2(size, true)),
    ];
    (0usize..3_000, tag).prop_map(|(zeros, tag)| [vec![0; zeros], tag].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_frame_is_a_packet_whatever_stands_around_them(
        front in front(),
        words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 6..60),
        middle in prop_oneof![Just(Vec::new()), Just(id3v1()), Just([id3v1(), id3v2(700, false)].concat())],
        split in 3usize..60,
        back in back(),
        is_stream in any::<bool>(),
        targets in prop::collection::vec(-2_000i64..80_000, 1..8),
    ) {
        let frames: Vec<Vec<u8>> = words.iter().enumerate().map(|(n, word)| frame(*word, n)).collect();
        let split = split.min(frames.len());
        let bytes = [&front[..], &frames[..split].concat(), &middle, &frames[split..].concat(), &back].concat();
        let mut demuxer = open(&bytes, is_stream).unwrap();
        let length = 1152 * frames.len() as u64;
        prop_assert_eq!(demuxer.frames().unwrap(), Some(length));
        demuxer.seek(i64::MIN).unwrap();
        let (packets, errors) = read(&mut *demuxer, 1_000);
        prop_assert!(errors.is_empty(), "{:?}", errors);
        prop_assert_eq!(packets.len(), frames.len());
        for (n, (packet, frame)) in packets.iter().zip(&frames).enumerate() {
            prop_assert_eq!(&packet.data, frame);
            prop_assert_eq!(packet.begin, Some(1152 * n as i64));
            prop_assert_eq!(&bytes[packet.at as usize..][..frame.len()], &frame[..]);
        }
        for target in targets {
            demuxer.seek(target).unwrap();
            let expected = (target.max(0) / 1152).min(frames.len() as i64 - 1);
            let packet = demuxer.next_packet().unwrap().unwrap();
            prop_assert_eq!(&packet, &packets[expected as usize]);
        }
    }

    #[test]
    fn damage_is_an_error_and_the_packets_around_it_stay_in_place(
        count in 8usize..40,
        damaged in 1usize..38,
        length in 1usize..5,
        is_stream in any::<bool>(),
    ) {
        let damaged = damaged.min(count - 2);
        let until = (damaged + length).min(count - 1);
        let mut bytes: Vec<u8> = (0..count).flat_map(|n| frame(WORDS[1], n)).collect();
        let size = bytes.len() / count;
        bytes[damaged * size..until * size].fill(7);
        let mut demuxer = open(&bytes, is_stream).unwrap();
        let (packets, errors) = read(&mut *demuxer, 1_000);
        // Damage in front of which too few frames stand counts as foreign bytes.
        if damaged >= 3 {
            prop_assert_eq!(errors.len(), 1);
            prop_assert_eq!(errors[0].kind(), ErrorKind::Corrupt);
            prop_assert_eq!(errors[0].byte_offset(), Some((damaged * size) as u64));
            let begins: Vec<i64> = packets.iter().map(|packet| packet.begin.unwrap() / 1152).collect();
            let expected: Vec<i64> = (0..damaged).chain(until..count).map(|n| n as i64).collect();
            prop_assert_eq!(begins, expected);
            prop_assert!(open(&bytes, is_stream).unwrap().frames().is_err());
        }
    }

    #[test]
    fn what_is_no_audio_is_given_back(
        bytes in prop::collection::vec(prop_oneof![1 => Just(0xFFu8), 8 => any::<u8>()], 0..5_000),
        text in "[ -~\n]{0,3000}",
    ) {
        prop_assert!(open(&bytes, false).is_none());
        prop_assert!(open(text.as_bytes(), true).is_none());
        let utf16: Vec<u8> = [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        prop_assert!(open(&utf16, false).is_none());
    }

    #[test]
    fn trimming_leaves_neither_holes_nor_overlaps(
        delay in 0u64..5_000,
        padding in 0u64..4_096,
        packets in 1u64..40,
        more in 0u64..10,
        frame in -6_000i64..60_000,
    ) {
        let header = Header::parse(&WORDS[1].to_be_bytes()).unwrap();
        let info = Info { packets: Some(packets), delay, padding, ..Info::default() };
        let trim = Trim::new(header, &info, true);
        for index in 0..packets + more {
            let kept = 1152 - trim.padding_in(1152 * index, 1152);
            prop_assert_eq!(trim.begin(1152 * index) + kept as i64, trim.begin(1152 * (index + 1)));
        }
        let cut = padding.min(1152 * packets);
        prop_assert_eq!(trim.begin(1152 * (packets + more)), (1152 * (packets + more) - cut) as i64 - delay as i64);
        let index = trim.sample_at(frame) / 1152;
        prop_assert!(trim.begin(1152 * index) <= frame || index == 0);
        prop_assert!(trim.begin(1152 * (index + 1)) > frame);
    }
}

/// Reads all of it in every way: no panic, an end, and errors that say where.
fn survives(bytes: &[u8]) {
    let Ok(mut demuxer) = container::open_packets(Source::from_bytes("test", bytes)) else {
        return;
    };
    let check = |error: &Error| assert!(error.byte_offset().unwrap() <= bytes.len() as u64);
    let (_, errors) = read(&mut *demuxer, 2 * bytes.len() + 10);
    errors.iter().for_each(check);
    for target in [0, 3_000, i64::MAX, i64::MIN] {
        if let Err(error) = demuxer.seek(target) {
            check(&error);
        }
        let _ = demuxer.next_packet();
    }
    if let Err(error) = demuxer.frames() {
        check(&error);
    }
}

fn with_info() -> Vec<u8> {
    let mut first = frame(WORDS[1], 0);
    first[4..].fill(0);
    let fields = [
        &b"Info"[..],
        &15u32.to_be_bytes(),
        &4u32.to_be_bytes(),
        &1500u32.to_be_bytes(),
    ];
    first[36..52].copy_from_slice(&fields.concat());
    first[156..160].copy_from_slice(b"LAME");
    first[177..180].copy_from_slice(&[0x24, 0x05, 0x7C]);
    let frames: Vec<u8> = (0..4).flat_map(|n| frame(WORDS[0], n)).collect();
    [id3v2(40, false), first, frames, id3v1()].concat()
}

#[test]
fn every_flip_and_every_cut_is_survived() {
    let file = with_info();
    let (packets, errors) = read(&mut *open(&file, true).unwrap(), 100);
    assert_eq!((packets.len(), errors.len()), (4, 0));
    assert_eq!(packets[0].begin, Some(-1105));
    assert_eq!(packets[3].padding, 0x57C - 529);
    for damaged in damaged(&file) {
        survives(&damaged);
    }
}

#[test]
fn a_cut_is_an_error_where_more_is_promised() {
    let file = [frame(WORDS[1], 0), frame(WORDS[1], 1), frame(WORDS[1], 2)].concat();
    for length in 900..file.len() {
        let source = source(&file[..length], false);
        let remarks = source.remarks();
        let (packets, errors) = read(&mut *container::open_packets(source).unwrap(), 100);
        assert_eq!((packets.len(), errors.len()), (2, 0), "{length}");
        assert!(remarks.list()[0].reason.contains("cut short"));
    }
    let counted = with_info();
    let cut = &counted[..counted.len() - 128 - 5];
    let (packets, errors) = read(&mut *open(cut, false).unwrap(), 100);
    assert_eq!((packets.len(), errors.len()), (3, 2));
    assert!(errors[0].reason().contains("cut short"));
    // Between two frames only the count in front of them tells.
    let counted = with_info();
    let cut = &counted[..counted.len() - 128 - frame(WORDS[0], 0).len()];
    let (packets, errors) = read(&mut *open(cut, false).unwrap(), 100);
    assert_eq!((packets.len(), errors.len()), (3, 1));
    assert!(errors[0].reason().contains("3 of 4 packets"));
}

#[test]
fn a_lone_frame_is_read() {
    for tail in [Vec::new(), id3v1()] {
        let file = [frame(WORDS[1], 0), tail].concat();
        assert_eq!(read(&mut *open(&file, false).unwrap(), 10).0.len(), 1);
    }
}

#[test]
fn a_stream_in_an_archive_is_none() {
    let frames: Vec<u8> = (0..20).flat_map(|n| frame(WORDS[1], n)).collect();
    assert!(open(&[&[0; 512][..], &frames].concat(), false).is_some());
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    assert!(open(&[tar, frames.clone()].concat(), false).is_none());
    assert!(open(&[&b"PK\x03\x04name.mp3"[..], &frames].concat(), false).is_none());
}

#[test]
fn another_stream_behind_is_a_part_of_its_own() {
    // 44.1 kHz, then 48 kHz, 32 kHz, 22.05 kHz, another layer, and mono.
    for (word, samples, is_link) in [
        (0xFFFB_9464_u32, 1152, true),
        (0xFFFB_9864, 1152, true),
        (0xFFF3_9064, 576, true),
        (0xFFFD_9064, 1152, true),
        (0xFFFB_90C4, 1152, false),
    ] {
        let some = |word| (0..4).flat_map(|n| frame(word, n)).collect::<Vec<u8>>();
        let file = [some(WORDS[1]), id3v2(50, false), some(word), some(WORDS[1])].concat();
        let source = source(&file, false);
        let remarks = source.remarks();
        let mut demuxer = container::open_packets(source).unwrap();
        let (packets, errors) = read(&mut *demuxer, 100);
        assert_eq!((packets.len(), errors.len()), (12, 0));
        let link = |index: usize| packets[index].params.as_ref().map(std::sync::Arc::as_ptr);
        assert_eq!(link(3), None);
        assert_eq!((link(4).is_some(), link(4) == link(7)), (is_link, true));
        assert_eq!(link(8) == link(7), !is_link);
        assert!(
            remarks
                .list()
                .iter()
                .all(|remark| remark.reason.contains("changes from"))
        );
        assert_eq!(remarks.list().len(), 2);
        let begins: Vec<i64> = packets.iter().map(|packet| packet.begin.unwrap()).collect();
        let length = |index: i64| {
            1152 * index.min(4) + samples * (index - 4).clamp(0, 4) + 1152 * (index - 8).max(0)
        };
        assert_eq!(begins, (0..12).map(length).collect::<Vec<i64>>());
        assert_eq!(demuxer.frames().unwrap(), Some(length(12) as u64));
        let is_rate = word >> 10 & 3 != 0 || samples == 576;
        assert_eq!(demuxer.rate_change(), is_rate.then_some(4 * 1152));
        for frame in (0..length(12) / 100).rev().map(|step| 100 * step) {
            demuxer.seek(frame).unwrap();
            let packet = demuxer.next_packet().unwrap().unwrap();
            let index = begins.iter().rposition(|begin| *begin <= frame).unwrap();
            assert_eq!(packet, packets[index]);
        }
    }
}

#[test]
fn frames_of_a_free_bit_rate_are_as_long_as_the_first() {
    let paddings = [0u32, 1, 1, 0, 1, 0, 0, 1, 0, 0];
    // Layers III, II and I, whose slots have four bytes.
    for (word, slot) in [(0xFFFB_0064_u32, 1), (0xFFFD_0064, 1), (0xFFFF_0064, 4)] {
        for first in 0..2 {
            let of = |(salt, padding): (usize, &u32)| {
                let body =
                    (0..500 + slot * *padding as usize).map(move |at| (at * 7 + salt) as u8 & 0x7F);
                (word | padding << 9)
                    .to_be_bytes()
                    .into_iter()
                    .chain(body)
                    .collect::<Vec<u8>>()
            };
            let frames: Vec<Vec<u8>> = paddings[first..].iter().enumerate().map(of).collect();
            let file = [id3v2(30, false), frames.concat(), id3v1()].concat();
            let mut demuxer = open(&file, true).unwrap();
            let (packets, errors) = read(&mut *demuxer, 100);
            assert_eq!(errors.len(), 0);
            let data: Vec<Vec<u8>> = packets.into_iter().map(|packet| packet.data).collect();
            assert_eq!(data, frames);
            for damaged in damaged(&file) {
                survives(&damaged);
            }
        }
    }
}

#[test]
fn the_data_of_a_wav_is_a_stream() {
    let frames: Vec<u8> = (0..5).flat_map(|n| frame(WORDS[1], n)).collect();
    let chunk =
        |name: &[u8], body: &[u8]| [name, &(body.len() as u32).to_le_bytes(), body].concat();
    let fmt = [&[0x55, 0, 2, 0][..], &44_100u32.to_le_bytes(), &[0; 22]].concat();
    let body = [
        &b"WAVE"[..],
        &chunk(b"fmt ", &fmt),
        &chunk(b"data", &frames),
        &chunk(b"LIST", &[9; 50]),
    ]
    .concat();
    let file = chunk(b"RIFF", &body);
    let mut demuxer = open(&file, true).unwrap();
    let (packets, errors) = read(&mut *demuxer, 100);
    assert_eq!((packets.len(), errors.len()), (5, 0));
    assert_eq!(demuxer.track().container, "wav");
    let at = file.len() - 70;
    assert!(container::open_packets(source(&file[..at], false)).is_err());
}
