//! Ogg with Vorbis, Opus or FLAC in it: pages, packets, exact seeking, and the length by the last page.
//!
//! Formats: RFC 3533 (pages), Vorbis I, appendix A, RFC 7845 (Opus) and RFC 9639, section 10.1 (FLAC). Of
//! chained streams the first is read, of multiplexed ones the first of audio.
//!
//! A page tells the position at the end of its last packet. The packets' lengths are known from
//! themselves, so that the first page tells where the stream begins and the last what to cut.

mod page;
mod seek;
mod stream;

use std::collections::VecDeque;

use self::page::{Page, Piece};
use self::stream::{MAX_PACKET_BYTES, Stream, page_at};
use super::lengths::{HEAD_BYTES, Lengths};
use super::{Demuxer, Packet, Track};
use crate::error::{Error, Result};
use crate::source::Source;
use crate::window::Window;

/// One stream.
pub(crate) struct Ogg<'a> {
    window: Window<'a>,
    track: Track,
    serial: u32,
    lengths: Lengths,
    /// Where the first page of audio begins, and how many of its pieces belong to headers.
    first_page: u64,
    skip: usize,
    pre_skip: i64,
    /// The granule position of the recording's first frame, without what is skipped.
    start: i64,
    /// Where the next page begins.
    next_page: u64,
    /// The granule position at which the next packet begins; `None`: its page tells.
    position: Option<i64>,
    /// The beginning of a packet that goes on on the next page, and its byte.
    partial: Option<(u64, Vec<u8>)>,
    packets: VecDeque<Packet>,
    has_ended: bool,
}

/// Whether `source` begins with a page.
pub(crate) fn sniff(source: &mut Source<'_>) -> Result<bool> {
    let mut scratch = Vec::new();
    Ok(source.bytes_at(0, 4, &mut scratch)? == b"OggS")
}

/// The first audio stream.
///
/// # Errors
/// Damage in front of any audio, no audio, or a codec that is not decoded here.
pub(crate) fn open(source: Source<'_>) -> Result<Ogg<'_>> {
    let mut window = Window::new(source);
    let stream = Stream::find(&mut window)?;
    let mut reader = Ogg {
        window,
        serial: stream.serial,
        lengths: Lengths::new(&stream.params),
        first_page: stream.first_page,
        skip: stream.skip,
        pre_skip: stream.pre_skip,
        start: 0,
        next_page: stream.first_page,
        position: None,
        partial: None,
        packets: VecDeque::new(),
        has_ended: false,
        track: Track {
            container: "ogg",
            params: stream.params,
            frames: None,
        },
    };
    reader.find_start();
    Ok(reader)
}

impl Ogg<'_> {
    /// Reads to the first page that tells a position; damage is met again where packets are read.
    fn find_start(&mut self) {
        while self.packets.is_empty() && !self.has_ended {
            if self.read_page().is_err() {
                break;
            }
        }
        // Without an offset the packets lie where the first page says.
        let begin = self.packets.front().and_then(|packet| packet.begin);
        let begin = begin.map_or(0, |begin| begin.saturating_add(self.pre_skip));
        // In Vorbis, what lies before 0 is to be cut: appendix A.2.
        self.start = if self.lengths.is_vorbis() {
            begin.max(0)
        } else {
            begin
        };
        self.rewind();
    }

    fn rewind(&mut self) {
        self.continue_at(self.first_page);
    }

    fn continue_at(&mut self, page: u64) {
        self.next_page = page;
        self.position = None;
        self.partial = None;
        self.packets.clear();
        self.lengths.reset();
        self.has_ended = false;
    }

    /// The stream's next page, whatever lies between.
    fn own_page(&mut self) -> Result<Page> {
        loop {
            let page = page_at(&mut self.window, self.next_page)?;
            self.next_page = page.end;
            if page.serial == self.serial {
                return Ok(page);
            }
            if page.is_first() {
                // Another link of a chain.
                self.next_page = page.at;
                let reason = "another Ogg stream begins before the end of this one";
                return Err(Error::corrupt(reason).at_byte(page.at));
            }
        }
    }

    /// Goes on behind damage with the next whole page, if there is one.
    fn pass_damage(&mut self) -> Result<()> {
        let from = self.next_page.saturating_add(1);
        let found = self.find_page(from, self.window.len());
        self.continue_at(self.next_page);
        match found? {
            Some(page) => self.next_page = page.at,
            None => self.has_ended = true,
        }
        Ok(())
    }

    /// Takes the packets that end on the next page.
    fn read_page(&mut self) -> Result<()> {
        let page = match self.own_page() {
            Ok(page) => page,
            Err(error) => {
                self.pass_damage()?;
                return Err(error);
            }
        };
        self.has_ended = page.is_last();
        let is_joined = self.partial.is_some() == page.continues();
        if !is_joined && (self.partial.is_some() || self.position.is_some()) {
            // What this page has goes on without what is missing.
            self.continue_at(page.at);
            return Err(Error::corrupt("Ogg pages are missing").at_byte(page.at));
        }
        let (packets, is_whole) = self.packets_of(&page)?;
        let misplaced = self.place(&page, packets);
        if !is_whole {
            let reason = "a packet in Ogg is too long";
            return Err(Error::corrupt(reason).at_byte(page.at));
        }
        misplaced
    }

    /// The packets that end on `page`, and whether none was too long.
    fn packets_of(&mut self, page: &Page) -> Result<(Vec<Packet>, bool)> {
        let is_first = page.at == self.first_page;
        let skip = if is_first { self.skip } else { 0 };
        // The end of a packet whose beginning is not known.
        let headless = page.continues() && self.partial.is_none() && !is_first;
        let (mut packets, mut is_whole) = (Vec::new(), true);
        for piece in page.pieces.iter().skip(skip.max(usize::from(headless))) {
            let Piece { at, size, ends } = *piece;
            let bytes = self.window.at(at, size, size as u64)?;
            let bytes = bytes.get(..size).unwrap_or(bytes);
            let (at, mut data) = self.partial.take().unwrap_or((at, Vec::new()));
            data.extend_from_slice(bytes);
            if data.len() > MAX_PACKET_BYTES {
                (data, is_whole) = (Vec::new(), false);
            }
            if ends && data.is_empty() {
                // Some writers end a stream with nothing.
                continue;
            }
            if ends {
                packets.push(Packet {
                    at,
                    data,
                    ..Packet::default()
                });
            } else {
                self.partial = Some((at, data));
            }
        }
        for packet in &mut packets {
            let head = packet.data.get(..HEAD_BYTES).unwrap_or(&packet.data);
            packet.frames = self.lengths.next(head, packet.data.len());
        }
        Ok((packets, is_whole))
    }

    /// Gives packets their places: behind those before, or in front of the page's position.
    fn place(&mut self, page: &Page, mut packets: Vec<Packet>) -> Result<()> {
        let lengths = packets.iter().map(|packet| packet.frames);
        let total = lengths.sum::<Option<u64>>().map(|total| total as i64);
        let from_end = page.position().zip(total);
        let from_end = from_end.map(|(end, total)| end.saturating_sub(total));
        let is_only = page.is_last() && page.at == self.first_page;
        let begin = match (self.position, from_end) {
            (Some(position), _) => Some(position),
            // One page is the first and the last: its position tells the end of the recording.
            (None, Some(begin)) if is_only => Some(begin.max(0)),
            (None, begin) => begin,
        };
        let end = begin
            .zip(total)
            .map(|(begin, total)| begin.saturating_add(total));
        let surplus = end.zip(page.position());
        let surplus = surplus.map_or(0, |(end, position)| end.saturating_sub(position));
        let is_trimmed = page.is_last() && (0..=total.unwrap_or(0)).contains(&surplus);
        let begin = if surplus == 0 || is_trimmed {
            begin
        } else {
            from_end
        };
        self.fill_in(&mut packets, begin);
        self.packets.extend(packets);
        if surplus == 0 {
            return Ok(());
        }
        if is_trimmed {
            self.trim(surplus as u64);
            return Ok(());
        }
        let reason = "the packets of an Ogg page are not as long as it says";
        Err(Error::corrupt(reason).at_byte(page.at))
    }

    fn fill_in(&mut self, packets: &mut [Packet], mut begin: Option<i64>) {
        let offset = self.start.saturating_add(self.pre_skip);
        for packet in packets.iter_mut() {
            packet.begin = begin.map(|begin| begin.saturating_sub(offset));
            let frames = packet.frames.map(|frames| frames as i64);
            begin = begin
                .zip(frames)
                .map(|(begin, frames)| begin.saturating_add(frames));
        }
        if !packets.is_empty() || begin.is_some() {
            self.position = begin;
        }
    }

    /// Marks the last frames as padding.
    fn trim(&mut self, mut surplus: u64) {
        for packet in self.packets.iter_mut().rev() {
            packet.padding = packet.frames.unwrap_or(0).min(surplus);
            surplus -= packet.padding;
        }
    }

    /// Frames from the first packets' places to the last page's.
    fn length(&self, last: i64) -> u64 {
        let offset = self.start.saturating_add(self.pre_skip);
        last.saturating_sub(offset).max(0) as u64
    }
}

impl Demuxer for Ogg<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Ok(Some(packet));
            }
            if self.has_ended {
                return Ok(None);
            }
            self.read_page()?;
        }
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        let offset = self.start.saturating_add(self.pre_skip);
        let page = match frame {
            ..=0 => None,
            _ => self.page_before(frame.saturating_add(offset))?,
        };
        self.continue_at(page.map_or(self.first_page, |page| page.at));
        if frame <= 0 {
            return Ok(());
        }
        let mut before = None;
        while let Some(packet) = self.next_packet()? {
            let end = packet.begin.zip(packet.frames);
            let end = end.map(|(begin, frames)| begin.saturating_add(frames as i64));
            if end.is_none_or(|end| end > frame) {
                self.packets.push_front(packet);
                break;
            }
            before = Some(packet);
        }
        // Vorbis has to be primed, and behind the last packet there is none.
        let is_wanted = self.packets.is_empty() || self.lengths.is_vorbis();
        if let Some(mut prime) = before.filter(|_| is_wanted) {
            if let Some(next) = self.packets.front() {
                prime.begin = next.begin;
                prime.frames = Some(0);
            }
            self.packets.push_front(prime);
        }
        Ok(())
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        if let Some(last) = self.last_position()? {
            return Ok(Some(self.length(last)));
        }
        // Another stream follows, or rubbish, or nothing tells: all pages are read.
        self.rewind();
        let mut end = Some(0);
        while let Some(packet) = self.next_packet()? {
            let begin = packet.begin.or(end);
            let frames = packet.frames.map(|frames| (frames - packet.padding) as i64);
            end = begin
                .zip(frames)
                .map(|(begin, frames)| begin.saturating_add(frames));
        }
        Ok(end.map(|end| end.max(0) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{every_damage_is_survived, seeks_agree_with_a_walk};
    use super::page::crc;
    use proptest::prelude::*;

    /// Pages of one stream as RFC 3533 lays them out, of the packets' lacing and bytes.
    struct Writer {
        bytes: Vec<u8>,
        number: u32,
        lacing: Vec<u8>,
        body: Vec<u8>,
        continued: bool,
        serial: u32,
    }

    impl Writer {
        fn new(serial: u32) -> Self {
            Self {
                bytes: Vec::new(),
                number: 0,
                lacing: Vec::new(),
                body: Vec::new(),
                continued: false,
                serial,
            }
        }

        /// Adds a packet, and a page whenever one has `most` lengths.
        fn packet(&mut self, data: &[u8], most: usize, before: i64) {
            for piece in 0..=data.len() / 255 {
                let bytes = &data[255 * piece..data.len().min(255 * (piece + 1))];
                if self.lacing.len() == most {
                    let ends = self.lacing.iter().any(|length| *length < 255);
                    self.page(0, if ends { before } else { -1 });
                    self.continued = piece > 0;
                }
                self.lacing.push(bytes.len() as u8);
                self.body.extend(bytes);
            }
        }

        fn page(&mut self, flags: u8, granule: i64) {
            let flags = flags | u8::from(std::mem::take(&mut self.continued));
            let lacing = std::mem::take(&mut self.lacing);
            let mut page = [b"OggS\0".as_slice(), &[flags], &granule.to_le_bytes()].concat();
            page.extend(self.serial.to_le_bytes());
            page.extend(self.number.to_le_bytes());
            page.extend([0, 0, 0, 0, lacing.len() as u8]);
            page.extend([lacing, std::mem::take(&mut self.body)].concat());
            let sum = crc(0, &page);
            page[22..26].copy_from_slice(&sum.to_le_bytes());
            self.bytes.extend(page);
            self.number += 1;
        }
    }

    /// Opus of packets with these sizes, of 20 ms each, on pages of `most` lengths.
    fn opus(sizes: &[usize], most: usize, start: i64, padding: i64) -> Vec<u8> {
        let mut file = Writer::new(7);
        file.packet(b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0", 255, 0);
        file.page(2, 0);
        file.packet(b"OpusTags\0\0\0\0\0\0\0\0", 255, 0);
        file.page(0, 0);
        let mut granule = start;
        for (index, size) in sizes.iter().enumerate() {
            // One frame of CELT.
            let mut data = vec![index as u8; *size];
            data.insert(0, 0b1111_1100);
            file.packet(&data, most, granule);
            granule += 960;
        }
        file.page(4, granule - padding);
        file.bytes
    }

    #[test]
    fn every_damage_to_a_small_file_is_survived() {
        every_damage_is_survived(&opus(&[20, 300, 30, 10, 40], 2, 0, 100));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn seeks_find_what_a_walk_finds(
            sizes in prop::collection::vec(0usize..2000, 5..400),
            most in 3usize..256,
            start in prop_oneof![Just(0i64), 0i64..100_000],
            padding in 0i64..900,
            targets in prop::collection::vec(-400i64..400_000, 1..9),
        ) {
            seeks_agree_with_a_walk(&opus(&sizes, most, start, padding), &targets);
        }
    }
}
