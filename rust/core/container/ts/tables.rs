//! Which packets hold the first audio stream: the program tables, ISO/IEC 13818-1, section 2.4.4.
//!
//! A table whose checksum is wrong is not read: it comes again.

use std::collections::BTreeMap;

use super::packet::{Packet, Packets};
use crate::bytes::window::Window;
use crate::error::Result;

/// Bytes of a file in which the tables are searched: far more than there are between two copies of them.
const SEARCHED: u64 = 16 << 20;
/// Bytes of a section at most.
const LONGEST: usize = 3 + 0xFFF;
/// Kinds of tables.
const PROGRAMS: u8 = 0;
const STREAMS: u8 = 2;
/// Sections that are put together at once at most: a hostile table may name every packet a table.
const MOST_PROGRAMS: usize = 1024;

/// One elementary stream of a program.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stream {
    pub(super) pid: u16,
    /// Table 2-34 of the standard, and those of others from 0x80 on.
    pub(super) kind: u8,
    pub(super) descriptors: Vec<u8>,
}

/// Finds the first audio stream of the first program that has one; `None` where no table names one.
pub(super) fn first_audio(
    file: &mut Window<'_>,
    mut packets: Packets,
    is_audio: impl Fn(&Stream) -> bool,
) -> Result<Option<Stream>> {
    let mut tables = BTreeMap::from([(0, Section::default())]);
    while let Some(packet) = packets.next(file)?.filter(|packet| packet.at() < SEARCHED) {
        let Some(section) = tables.get_mut(&packet.pid()) else {
            continue;
        };
        for table in section.push(&packet) {
            match table.first() {
                Some(&PROGRAMS) if packet.pid() == 0 => {
                    let pids = programs(&table).take(MOST_PROGRAMS);
                    for pid in pids.filter(|pid| *pid > 0) {
                        tables.entry(pid).or_default();
                    }
                }
                Some(&STREAMS) if packet.pid() > 0 => {
                    if let Some(stream) = streams(&table).into_iter().find(&is_audio) {
                        return Ok(Some(stream));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(None)
}

/// A section that is put together from the packets of one number.
#[derive(Default)]
struct Section {
    bytes: Vec<u8>,
    /// Whether the beginning was met.
    has_begun: bool,
}

impl Section {
    /// Takes a packet; gives the sections that end in it and whose checksum is right.
    fn push(&mut self, packet: &Packet) -> Vec<Vec<u8>> {
        let whole = packet.is_whole() && !packet.is_scrambled();
        let Some((_, payload)) = packet.payload().filter(|_| whole) else {
            return Vec::new();
        };
        let mut done = Vec::new();
        let mut rest = payload;
        if packet.is_start() {
            let pointer = usize::from(payload.first().copied().unwrap_or(0));
            let rest_of_last = payload.get(1..=pointer).unwrap_or_default();
            self.bytes.extend_from_slice(rest_of_last);
            done.extend(self.take());
            rest = payload.get(1 + pointer..).unwrap_or_default();
            self.bytes.clear();
            self.has_begun = true;
        }
        if self.has_begun {
            self.bytes.extend_from_slice(rest);
        }
        while let Some(section) = self.take() {
            done.push(section);
        }
        done.retain(|section| crc(section) == 0);
        done
    }

    /// The section that is whole, if one is.
    fn take(&mut self) -> Option<Vec<u8>> {
        let [kind, high, low, ..] = *self.bytes.as_slice() else {
            return None;
        };
        let length = 3 + (usize::from(high & 0xF) << 8 | usize::from(low));
        if kind == 0xFF || length > LONGEST || self.bytes.len() < length {
            if kind == 0xFF {
                self.bytes.clear();
            }
            return None;
        }
        let rest = self.bytes.split_off(length);
        Some(std::mem::replace(&mut self.bytes, rest))
    }
}

/// The body of a table that is in force, without its checksum; `head` bytes of it are not looked at.
fn body(table: &[u8], head: usize) -> &[u8] {
    let is_current = table.get(5).is_some_and(|flags| flags & 1 == 1);
    let end = table.len().saturating_sub(4);
    let body = table.get(head..end).filter(|_| is_current);
    body.unwrap_or_default()
}

/// The numbers of the packets that hold the programs' tables.
fn programs(table: &[u8]) -> impl Iterator<Item = u16> {
    let (entries, _) = body(table, 8).as_chunks::<4>();
    let programs = entries.iter().filter(|[a, b, ..]| [*a, *b] != [0, 0]);
    programs.map(|[_, _, high, low]| u16::from(high & 0x1F) << 8 | u16::from(*low))
}

/// The streams of a program.
fn streams(table: &[u8]) -> Vec<Stream> {
    let length = |bytes: &[u8]| match bytes {
        [high, low, ..] => usize::from(high & 0xF) << 8 | usize::from(*low),
        _ => 0,
    };
    let all = body(table, 10);
    let mut rest = all.get(2 + length(all)..).unwrap_or_default();
    let mut streams = Vec::new();
    while let [kind, high, low, more @ ..] = rest {
        let end = 2 + length(more);
        streams.push(Stream {
            pid: u16::from(high & 0x1F) << 8 | u16::from(*low),
            kind: *kind,
            descriptors: more.get(2..end).unwrap_or_default().to_vec(),
        });
        rest = more.get(end..).unwrap_or_default();
    }
    streams
}

/// The checksum of sections, which is 0 of one that ends with its own: annex A.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            (crc << 1) ^ ((crc >> 31) * 0x04C1_1DB7)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc_32_mpeg_2() {
        // Its check value in the catalogues of CRCs.
        assert_eq!(crc(b"123456789"), 0x0376_E6E7);
    }
}
