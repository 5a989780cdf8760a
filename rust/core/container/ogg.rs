//! Ogg with Vorbis, Opus or FLAC in it: pages, packets, links of a chain, exact seeking, exact lengths.
//!
//! Formats: RFC 3533 (pages), Vorbis I, appendix A, RFC 7845 (Opus) and RFC 9639, section 10.1 (FLAC). Of
//! multiplexed streams the first of audio is read, of chained ones each: one recording.
//!
//! A page tells the position at the end of its last packet, its granule position. The packets' lengths are known
//! from themselves, so that the first page tells where the stream begins and the last what to cut. In between,
//! positions only show that nothing is missing: packets are as long as they are.

mod chain;
mod link;
mod page;
mod pages;
mod seek;
mod stream;

use std::collections::VecDeque;

use self::chain::Chain;
use self::link::Link;
use self::page::{Page, Piece};
use self::pages::{NO_PAGE, Pages};
use self::stream::{MAX_PACKET_BYTES, Stream, begins_audio};
use super::demuxer::{Demuxer, Packet, Track, changes};
use super::lengths::{HEAD_BYTES, Lengths};
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::codec::params::{Codec, Params};
use crate::error::{Error, Result};

/// The first audio stream of each link.
pub(crate) struct Ogg<'a> {
    pages: Pages<'a>,
    track: Track,
    chain: Chain,
    link: Link,
    lengths: Lengths,
    /// Where the next page begins.
    next_page: u64,
    /// The number of the link's page that was read last.
    number: Option<u32>,
    /// The granule position at which the next packet begins; `None`: its page tells.
    position: Option<i64>,
    /// The same by the word of the pages alone, where that is careless.
    told: Option<i64>,
    /// The frame of the recording with which the packets end that were read.
    end: i64,
    /// The beginning of a packet that goes on on the next page, and its byte.
    partial: Option<(u64, Vec<u8>)>,
    packets: VecDeque<Packet>,
    /// A page of the link said that it is the last, and none of it follows.
    is_last_read: bool,
    /// A page's granule position left open which packets are in front of it.
    is_unsure: bool,
    has_ended: bool,
}

/// What comes next.
enum Step {
    /// A page of the link was read.
    Page,
    /// The next link begins with a page at this byte.
    Link(u64),
    End,
}

/// How the position of a page and the lengths of its packets go together.
enum Fit {
    Exact,
    /// The last page cuts so many frames.
    Trim(u64),
    /// The position is careless.
    Careless,
    Wrong,
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
    let mut pages = Pages::new(Window::new(source));
    let stream = Stream::find(&mut pages, 0)?;
    let link = Link::new(0, &stream, None, 0);
    let mut reader = Ogg {
        chain: Chain::new(stream.others),
        lengths: Lengths::new(&stream.params),
        next_page: link.first_page,
        number: link.number,
        position: None,
        told: None,
        end: 0,
        partial: None,
        packets: VecDeque::new(),
        is_last_read: false,
        is_unsure: false,
        has_ended: false,
        track: Track {
            container: "ogg",
            params: stream.params,
            frames: None,
            parts: Vec::new(),
        },
        pages,
        link,
    };
    reader.begin();
    reader.chain.add(&reader.link);
    Ok(reader)
}

impl Ogg<'_> {
    /// Reads the link to the first page that tells a position: where it begins. Damage is met again where
    /// packets are read.
    fn begin(&mut self) {
        self.rewind();
        while self.packets.is_empty() && matches!(self.read_page(), Ok(Step::Page)) {}
        let first = self.packets.front();
        let begin = first.and_then(|packet| packet.begin).unwrap_or(0);
        let block = first.and_then(|packet| self.lengths.block(&packet.data));
        // In Vorbis, what lies before 0 is to be cut: appendix A.2. In Opus packets lie where the first page says.
        let origin = if self.lengths.is_vorbis() {
            begin.max(0)
        } else {
            begin.saturating_add(self.link.pre_skip)
        };
        self.link.place(begin, origin, block);
        self.rewind();
    }

    /// The parameters of the link.
    fn params(&self) -> &Params {
        self.link.params.as_deref().unwrap_or(&self.track.params)
    }

    /// Back to the link's first packet.
    fn rewind(&mut self) {
        self.continue_at(self.link.first_page);
        self.number = self.link.number;
        self.end = self.link.base;
    }

    fn continue_at(&mut self, page: u64) {
        self.next_page = page;
        self.number = None;
        self.position = None;
        self.told = None;
        self.partial = None;
        self.packets.clear();
        self.lengths.reset();
        self.is_last_read = false;
        self.has_ended = false;
    }

    /// Goes to the beginning of a link that is known.
    fn enter(&mut self, link: Link) {
        let params = link.params.as_deref().unwrap_or(&self.track.params);
        self.lengths = Lengths::new(params);
        self.link = link;
        self.rewind();
    }

    /// Goes to the beginning of the link whose first page is at byte `at`.
    fn begin_link(&mut self, at: u64) -> Result<()> {
        if let Some(link) = self.chain.link_at(at) {
            self.enter(link);
            return Ok(());
        }
        let base = self.end;
        let before = self.params().clone();
        match Stream::find(&mut self.pages, at) {
            Ok(stream) => {
                self.lengths = Lengths::new(&stream.params);
                let rate = stream.params.sample_rate;
                self.link = Link::new(at, &stream, Some(stream.params.clone()), base);
                self.begin();
                self.chain.add(&self.link);
                if rate != self.track.params.sample_rate {
                    self.chain.note_rate_change(base);
                }
                let changes = changes(&before, &stream.params);
                let mut changes = changes.into_iter();
                changes.try_for_each(|change| self.pages.note(change.at_byte(at)))
            }
            Err(error) => {
                // Its pages are passed over: nothing of it can be decoded.
                self.link.is_lost = true;
                Err(error)
            }
        }
    }

    /// The next page of the link, or how it ends, whatever lies between.
    fn own_page(&mut self) -> Result<std::result::Result<Page, Step>> {
        loop {
            if self.next_page >= self.pages.len() {
                return Ok(Err(Step::End));
            }
            let Some(page) = self.page_here()? else {
                return Ok(Err(Step::End));
            };
            self.next_page = page.end;
            if begins_audio(&mut self.pages, &page)? {
                return Ok(Err(Step::Link(page.at)));
            }
            if page.serial == self.link.serial && !self.link.is_lost {
                return Ok(Ok(page));
            }
        }
    }

    /// The page at the next place, or after what is none there; `None`: nothing but that follows the last page.
    fn page_here(&mut self) -> Result<Option<Page>> {
        let (at, serial) = (self.next_page, self.link.serial);
        if !self.is_last_read {
            return self.pages.next(at, serial, self.number).map(Some);
        }
        let error = match self.pages.at(at) {
            Ok(page) => return Ok(Some(page)),
            Err(error) => error,
        };
        if !error.is_damage() || self.pages.resembles_page(at, serial)? {
            return Err(error);
        }
        self.pages.remark(NO_PAGE, at)?;
        let next = self.pages.find(at, self.pages.len(), Page::is_first)?;
        self.next_page = self.pages.len();
        Ok(next)
    }

    /// Takes it that the link ends here, with its last page or without one.
    fn end_link(&mut self, step: &Step) -> Result<()> {
        self.has_ended |= matches!(step, Step::End);
        if std::mem::replace(&mut self.is_last_read, true) || self.link.is_lost {
            return Ok(());
        }
        let at = match step {
            Step::Link(at) => *at,
            _ => self.pages.len(),
        };
        self.next_page = at;
        let params = self.params();
        let declared = declared_frames(params).unwrap_or(0) as i64;
        let is_short = self.link.first_page >= at || self.end - self.link.base < declared;
        if self.partial.take().is_some() || is_short {
            let reason = "the file ends in the middle of its data: it was cut short";
            return Err(Error::corrupt(reason).at_byte(at));
        }
        let reason = "no Ogg page has the end-of-stream flag";
        self.pages.remark(reason, at)
    }

    /// Goes on after damage with the next whole page, if there is one.
    fn pass_damage(&mut self) -> Result<()> {
        let from = self.next_page.saturating_add(1);
        let found = self.find_page(from, self.pages.len());
        self.continue_at(self.next_page);
        match found? {
            Some(page) => self.next_page = page.at,
            None => self.has_ended = true,
        }
        Ok(())
    }

    /// Takes the packets that end on the next page.
    fn read_page(&mut self) -> Result<Step> {
        let page = match self.own_page() {
            Ok(Ok(page)) => page,
            Ok(Err(step)) => {
                self.end_link(&step)?;
                return Ok(step);
            }
            Err(error) => {
                self.pass_damage()?;
                return Err(error);
            }
        };
        let is_joined = self.partial.is_some() == page.continues();
        if !is_joined && (self.partial.is_some() || self.position.is_some()) {
            // What this page has goes on without what is missing.
            self.continue_at(page.at);
            return Err(Error::corrupt("Ogg pages are missing").at_byte(page.at));
        }
        self.number = Some(page.number);
        let (packets, is_whole) = self.packets_of(&page)?;
        let misplaced = self.place(&page, packets);
        if !is_whole {
            let reason = "an Ogg packet is too long";
            return Err(Error::corrupt(reason).at_byte(page.at));
        }
        misplaced.map(|()| Step::Page)
    }

    /// The packets that end on `page`, and whether none was too long.
    fn packets_of(&mut self, page: &Page) -> Result<(Vec<Packet>, bool)> {
        let is_first = page.at == self.link.first_page;
        let skip = if is_first { self.link.skip } else { 0 };
        // The end of a packet whose beginning is not known.
        let headless = page.continues() && self.partial.is_none() && !is_first;
        let (mut packets, mut is_whole) = (Vec::new(), true);
        for piece in page.pieces.iter().skip(skip.max(usize::from(headless))) {
            let Piece { at, ends, .. } = *piece;
            let bytes = self.pages.bytes(piece)?;
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
                    params: self.link.params.clone(),
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

    /// Gives packets their places: after those before, or in front of the page's position.
    fn place(&mut self, page: &Page, mut packets: Vec<Packet>) -> Result<()> {
        let is_over = page.is_last() && self.is_over(page)?;
        let lengths = packets.iter().map(|packet| packet.frames);
        let total = lengths.sum::<Option<u64>>().map(|total| total as i64);
        let is_only = is_over && page.at == self.link.first_page;
        let from_end = page.position().zip(total);
        let from_end = from_end.map(|(end, total)| (end.saturating_sub(total), end));
        let begin = match (self.position, from_end) {
            (Some(position), _) => Some(position),
            // One page is the first and the last: its position tells the end of the recording.
            (None, Some((begin, _))) if is_only => Some(begin.max(0)),
            (None, Some((begin, end))) => Some(self.resolve(begin, end)),
            (None, None) => None,
        };
        let fit = self.fit(page, begin, total.unwrap_or(0), is_over)?;
        let begin = match (&fit, from_end) {
            (Fit::Wrong, Some((begin, end))) => Some(self.resolve(begin, end)),
            _ => begin,
        };
        let told = self.told.zip(total);
        let told = told.map(|(told, total)| told.saturating_add(total));
        self.told = page.position().or(told);
        self.fill_in(&mut packets, begin);
        self.packets.extend(packets);
        self.is_last_read = is_over;
        self.settle(page, is_over, &fit)
    }

    /// How packets of `total` frames that lie at `begin` go together with the position of their page.
    fn fit(&mut self, page: &Page, begin: Option<i64>, total: i64, is_over: bool) -> Result<Fit> {
        let surplus = |begin: i64| {
            let end = begin.saturating_add(total);
            page.position().map_or(0, |told| end.saturating_sub(told))
        };
        let is_less = |surplus: i64| (1..=total).contains(&surplus);
        // FLAC tells its length in its header, and nothing of it is cut.
        let params = self.params();
        let cuts = is_over && params.codec != Codec::Flac;
        let cut = if cuts { self.told.or(begin) } else { None };
        let cut = cut.map(surplus).filter(|cut| is_less(*cut));
        if let Some(cut) = cut {
            // From the page before on, as libvorbis, libopusfile and FFmpeg count it.
            return Ok(Fit::Trim(cut as u64));
        }
        Ok(match begin.map_or(0, surplus) {
            0 => Fit::Exact,
            // Only a page that says that it is the last cuts: RFC 7845, section 4.4. That none does is said at the end.
            beside if is_less(beside) && !page.is_last() && self.is_over(page)? => Fit::Exact,
            beside if beside.saturating_abs() <= self.tolerance() => Fit::Careless,
            beside if is_less(beside) && is_over => Fit::Careless,
            _ => Fit::Wrong,
        })
    }

    /// Says what `fit` means.
    fn settle(&mut self, page: &Page, is_over: bool, fit: &Fit) -> Result<()> {
        if page.is_last() && !is_over {
            let reason = "an Ogg page has the end-of-stream flag, and the stream continues";
            self.pages.remark(reason, page.at)?;
        }
        match fit {
            Fit::Exact => Ok(()),
            Fit::Trim(surplus) => {
                self.trim(*surplus);
                Ok(())
            }
            Fit::Careless => {
                let reason = "granule positions of Ogg pages are not those of their packets";
                self.pages.remark(reason, page.at)
            }
            Fit::Wrong => {
                let reason = "the packets of an Ogg page contradict its position";
                Err(Error::corrupt(reason).at_byte(page.at))
            }
        }
    }

    /// Whether no page of the link follows `page`.
    fn is_over(&mut self, page: &Page) -> Result<bool> {
        let serial = self.link.serial;
        let wanted = |page: &Page| page.serial == serial || page.is_first();
        let next = self.pages.find(page.end, self.pages.len(), wanted)?;
        Ok(next.is_none_or(|page| page.is_first()))
    }

    /// Tells packets their frames of the recording.
    fn fill_in(&mut self, packets: &mut [Packet], mut begin: Option<i64>) {
        for packet in packets.iter_mut() {
            packet.begin = begin.map(|begin| self.link.frame(begin));
            let frames = packet.frames.map(|frames| frames as i64);
            begin = begin
                .zip(frames)
                .map(|(begin, frames)| begin.saturating_add(frames));
        }
        if !packets.is_empty() || begin.is_some() {
            self.position = begin;
        }
        if let Some(end) = self.position.or(self.told) {
            self.end = self.link.frame(end).max(self.link.base);
        }
    }

    /// Marks the last frames as padding.
    fn trim(&mut self, mut surplus: u64) {
        self.end = self.end.saturating_sub(surplus as i64).max(self.link.base);
        for packet in self.packets.iter_mut().rev() {
            packet.padding = packet.frames.unwrap_or(0).min(surplus);
            surplus -= packet.padding;
        }
    }
}

/// How long a link is by its header, which FLAC alone tells: RFC 9639, section 8.2.
fn declared_frames(params: &Params) -> Option<u64> {
    let field = params
        .header
        .get(10..18)
        .filter(|_| params.codec == Codec::Flac)?;
    let packed = u64::from_be_bytes(*field.first_chunk()?);
    Some(packed & 0xF_FFFF_FFFF)
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
            if let Step::Link(at) = self.read_page()? {
                self.begin_link(at)?;
            }
        }
    }

    fn rate_change(&self) -> Option<i64> {
        self.chain.rate_change()
    }

    fn link_start(&self) -> i64 {
        self.link.base
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        let link = self.link_with(frame)?;
        self.enter(link.clone());
        if frame <= link.base {
            return Ok(());
        }
        if let Some(page) = self.page_before(frame)? {
            self.continue_at(page.at);
        }
        self.is_unsure = false;
        self.pass_to(frame)?;
        if self.is_unsure {
            // The pages here do not tell where their packets lie: counted from the first they do.
            self.enter(link);
            self.pass_to(frame)?;
        }
        Ok(())
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        if let Some(frames) = self.frames_by_the_last_pages()? {
            return Ok(Some(frames));
        }
        let first = self.chain.first();
        self.enter(first);
        self.frames_from_here()
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
