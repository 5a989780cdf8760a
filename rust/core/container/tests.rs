//! Both demuxers over files that their own tests build: every bit changed, every length cut.

use super::demuxer::Packet;
use super::open_packets;
use crate::bytes::source::Source;
use crate::error::Error;

/// Packets and errors met in a file are no more than it has bytes.
fn read_through(bytes: &[u8]) -> Option<(Vec<Packet>, Vec<Error>)> {
    let mut reader = open_packets(Source::from_bytes("test", bytes)).ok()?;
    let (mut packets, mut errors) = (Vec::new(), Vec::new());
    for _ in 0..=2 * bytes.len() {
        match reader.next_packet() {
            Ok(Some(packet)) => packets.push(packet),
            Ok(None) => return Some((packets, errors)),
            Err(error) => errors.push(error),
        }
    }
    panic!("a reader that does not end");
}

/// What every file, whole or broken, has to bear; the packets and errors of those that open.
fn survive(bytes: &[u8]) -> Option<(Vec<Packet>, Vec<Error>)> {
    let (packets, errors) = read_through(bytes)?;
    let held: usize = packets.iter().map(|packet| packet.data.len()).sum();
    assert!(held <= 2 * bytes.len());
    for error in &errors {
        let at = error.byte_offset();
        assert!(at.is_some_and(|at| at <= bytes.len() as u64), "{error:?}");
    }
    if let Ok(mut reader) = open_packets(Source::from_bytes("test", bytes)) {
        let _ = reader.frames();
        for frame in [i64::MIN, -1, 0, 1000, 40_000, i64::MAX] {
            let _ = reader.seek(frame);
            let _ = reader.next_packet();
        }
    }
    Some((packets, errors))
}

/// The file with each of its bits changed, and each of its beginnings and ends.
pub(super) fn damaged(whole: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let changed = (0..8 * whole.len()).map(|bit| {
        let mut changed = whole.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    });
    let parts = |at: usize| [whole[..at].to_vec(), whole[at..].to_vec()];
    changed.chain((0..whole.len()).flat_map(parts))
}

/// Changes every bit, and cuts at every length.
pub(super) fn every_damage_is_survived(whole: &[u8]) {
    let clean = survive(whole);
    let (packets, errors) = clean.expect("it opens");
    assert!(errors.is_empty() && !packets.is_empty(), "{errors:?}");
    for file in damaged(whole) {
        survive(&file);
    }
}

/// A seek finds the packet that a walk finds, from the first frame to the last.
pub(super) fn seeks_agree_with_a_walk(whole: &[u8], frames: &[i64]) {
    let (packets, _) = read_through(whole).expect("it opens");
    let mut begin = 0;
    let placed: Vec<(i64, Packet)> = packets
        .into_iter()
        .map(|packet| {
            begin = packet.begin.unwrap_or(begin);
            let here = begin;
            begin += packet.frames.unwrap_or(0) as i64 - packet.padding as i64;
            (here, packet)
        })
        .collect();
    let mut reader = open_packets(Source::from_bytes("test", whole)).ok();
    let reader = reader.as_mut().expect("it opens");
    assert_eq!(reader.frames().ok(), Some(Some(begin.max(0) as u64)));
    for frame in frames {
        let expected = placed
            .iter()
            .rfind(|(at, _)| at <= frame)
            .or(placed.first());
        reader.seek(*frame).expect("it seeks");
        let mut found = reader.next_packet().expect("it reads").expect("a packet");
        if found.frames == Some(0) && *frame > placed[0].0 {
            found = reader.next_packet().expect("it reads").expect("a packet");
        }
        let (at, packet) = expected.expect("a packet");
        let at_byte = |packet: &Packet| (packet.at, packet.data.len());
        assert_eq!(
            (found.begin, at_byte(&found)),
            (Some(*at), at_byte(packet)),
            "{frame}"
        );
    }
}
