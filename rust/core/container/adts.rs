//! AAC in ADTS: ISO/IEC 14496-3, section 1.A.2.2, and 13818-7, section 6.2.
//!
//! Nothing is trimmed, as FFmpeg does it: nothing in the stream tells how late its encoder is.

use super::demuxer::{Demuxer, Packet, Track};
use super::frames::{self, Frame, Frames, Header as _, find_first, is_container};
use super::pieces::Bare;
use super::tags;
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::codec::aac::{self, AacConfig};
use crate::codec::params::{Codec, Params};
use crate::error::{Error, Result};

/// The fixed header and the length, 56 bits.
#[derive(Clone, Copy)]
struct Header(u64);

impl Header {
    /// `count` bits from bit `at` on, counted from the first.
    fn bits(self, at: u32, count: u32) -> u32 {
        (self.0 >> (56 - at - count)) as u32 & ((1 << count) - 1)
    }

    fn profile(self) -> u32 {
        self.bits(16, 2)
    }

    fn rate_index(self) -> u32 {
        self.bits(18, 4)
    }

    fn channel_configuration(self) -> u32 {
        self.bits(23, 3)
    }

    /// Bytes in front of the raw data block: a checksum is there unless its bit is set.
    fn head(self) -> usize {
        if self.bits(15, 1) == 1 { 7 } else { 9 }
    }

    fn has_one_block(self) -> bool {
        self.bits(54, 2) == 0
    }

    /// What MP4 has in the place of this header.
    fn audio_specific_config(self) -> Vec<u8> {
        let (kind, rate) = (self.profile() + 1, self.rate_index());
        let word = kind << 11 | rate << 7 | self.channel_configuration() << 3;
        (word as u16).to_be_bytes().to_vec()
    }

    fn config(self) -> Result<AacConfig> {
        aac::check_adts(
            self.profile(),
            self.rate_index(),
            self.channel_configuration(),
        )
    }
}

impl frames::Header for Header {
    const NAME: &'static str = "ADTS";
    const BYTES: usize = 7;
    const LONGEST: usize = 8191;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let fixed = bytes.first_chunk::<7>()?;
        let header = Self(
            fixed
                .iter()
                .fold(0, |bits, byte| bits << 8 | u64::from(*byte)),
        );
        // The sync word, and a layer that MPEG audio never has.
        let is_synced = header.bits(0, 12) == 0xFFF && header.bits(13, 2) == 0;
        let is_legal = header.rate_index() < 13 && frames::Header::length(&header) > header.head();
        (is_synced && is_legal).then_some(header)
    }

    fn length(&self) -> usize {
        self.bits(30, 13) as usize
    }

    fn is_like(&self, other: &Self) -> bool {
        let blocks = |header: &Self| header.bits(54, 2);
        let stream = |header: &Self| {
            let channels = header.channel_configuration();
            (
                header.profile(),
                header.rate_index(),
                channels,
                blocks(header),
            )
        };
        stream(self) == stream(other)
    }

    fn counts_alone(&self) -> bool {
        true
    }

    fn samples(&self) -> u64 {
        1024
    }

    fn channels(&self) -> usize {
        self.channel_configuration() as usize
    }

    fn params(&self) -> Result<Params> {
        if !self.has_one_block() {
            let reason = "ADTS with several AAC packets in a frame is not decoded here";
            return Err(Error::unsupported(reason));
        }
        let config = self.config()?;
        let params = Params::new(Codec::Aac, config.sample_rate(), config.channels());
        // Without channels in it, the packets tell them.
        let header = (config.channels().is_some()).then(|| self.audio_specific_config());
        Ok(Params {
            header: header.unwrap_or_default(),
            ..params
        })
    }
}

/// A stream of AAC in ADTS.
pub(crate) struct Adts<'a> {
    frames: Frames<'a, Header>,
    track: Track,
}

impl<'a> Adts<'a> {
    /// Finds the first frames; gives the source back where there are none.
    ///
    /// # Errors
    /// Another profile than LC, and AAC in ADIF or LOAS, all by name.
    pub(crate) fn open(source: Source<'a>) -> Result<std::result::Result<Self, Source<'a>>> {
        let mut window = Window::new(source);
        let from = tags::behind_id3v2(&mut window, 0)?;
        if let Some(other) = other_stream(&mut window, from)? {
            let reason = format!("AAC in {other} is not read here");
            return Err(Error::unsupported(reason).at_byte(from));
        }
        if is_container(&mut window)? {
            return Ok(Err(window.into_source()));
        }
        let end = window.len();
        match find_first::<Header>(&mut window, from, end)? {
            Some((at, header)) => Self::new(window, "aac", at, header).map(Ok),
            None => Ok(Err(window.into_source())),
        }
    }

    /// The same of a stream in another container.
    ///
    /// # Errors
    /// Another profile than LC.
    pub(super) fn bare(mut window: Window<'a>, container: &'static str) -> Result<Option<Self>> {
        let end = window.len();
        let found = find_first::<Header>(&mut window, 0, end)?;
        let new = |(at, header)| Self::new(window, container, at, header);
        found.map(new).transpose()
    }

    fn new(window: Window<'a>, container: &'static str, at: u64, header: Header) -> Result<Self> {
        let params = header.params().map_err(|error| error.at_byte(at))?;
        let end = window.len();
        Ok(Self {
            frames: Frames::new(window, at, end, header),
            track: Track {
                container,
                params,
                frames: None,
                parts: Vec::new(),
            },
        })
    }
}

/// The raw data block of `frame`.
fn block<'f>(frames: &'f mut Frames<'_, Header>, frame: &Frame<Header>) -> Result<&'f [u8]> {
    let bytes = frames.bytes(frame)?;
    Ok(bytes.get(frame.header.head()..).unwrap_or_default())
}

/// A stream of AAC that is no ADTS, by its name: ISO/IEC 14496-3, sections 1.A.2.1 and 1.7.2.
fn other_stream(window: &mut Window<'_>, at: u64) -> Result<Option<&'static str>> {
    const LOAS_FRAMES: usize = 4;
    match window.at(at, 4, u64::MAX)? {
        [b'A', b'D', b'I', b'F', ..] => return Ok(Some("ADIF")),
        [0x56, ..] => {}
        _ => return Ok(None),
    }
    let mut rest = window.at(at, LOAS_FRAMES * (8191 + 3), u64::MAX)?;
    for _ in 0..LOAS_FRAMES {
        let [0x56, second, third, behind @ ..] = rest else {
            return Ok(None);
        };
        let length = usize::from(second & 0x1F) << 8 | usize::from(*third);
        match behind.get(length..) {
            Some(next) if second >> 5 == 7 && length > 0 => rest = next,
            _ => return Ok(None),
        }
    }
    Ok(Some("LOAS"))
}

impl Bare for Adts<'_> {
    fn in_file(&self, error: Error) -> Error {
        self.frames.window().in_file(error)
    }

    fn file_byte(&self, at: u64) -> u64 {
        self.frames.window().file_byte(at)
    }
}

impl Demuxer for Adts<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let Some(frame) = self.frames.next()? else {
            return Ok(None);
        };
        Ok(Some(Packet {
            at: frame.at,
            data: block(&mut self.frames, &frame)?.to_vec(),
            begin: Some(frame.begin as i64),
            frames: Some(frame.header.samples()),
            padding: 0,
            params: self.frames.link(&frame),
        }))
    }

    fn rate_change(&self) -> Option<i64> {
        self.frames.rate_change().map(|sample| sample as i64)
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        self.frames.seek(frame.max(0) as u64)
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        Ok(Some(self.frames.count()?.1))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::container::{self, tests::damaged};
    use crate::error::ErrorKind;

    /// A frame of AAC-LC, 44.1 kHz, stereo, with a block of so many bytes.
    fn frame(block: usize, has_crc: bool) -> Vec<u8> {
        let head = if has_crc { 9 } else { 7 };
        let fixed = [0xFF, if has_crc { 0xF0 } else { 0xF1 }, 0x50, 0x80];
        let bits = (0xFFF1_5080_u64 << 24) | ((head + block) as u64) << 13 | 0x7FF << 2;
        let rest = &bits.to_be_bytes()[4..];
        let crc: &[u8] = if has_crc { &[1, 2] } else { &[] };
        [
            &fixed[..3],
            &[fixed[3] | rest[0]],
            &rest[1..],
            crc,
            &vec![0x21; block],
        ]
        .concat()
    }

    fn open(bytes: &[u8]) -> Box<dyn Demuxer + '_> {
        container::open_packets(Source::from_bytes("test", bytes)).unwrap()
    }

    fn survives(bytes: &[u8]) {
        let Ok(mut demuxer) = container::open_packets(Source::from_bytes("test", bytes)) else {
            return;
        };
        let mut calls = 0..2 * bytes.len() + 10;
        loop {
            assert!(calls.next().is_some(), "it does not end");
            match demuxer.next_packet() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => assert!(error.byte_offset().unwrap() <= bytes.len() as u64),
            }
        }
        for target in [0, 3_000, i64::MAX, i64::MIN] {
            let _ = demuxer.seek(target);
            let _ = demuxer.next_packet();
        }
        let _ = demuxer.frames();
    }

    proptest! {
        #[test]
        fn every_block_is_a_packet(
            blocks in prop::collection::vec((1usize..2_000, any::<bool>()), 4..60),
            targets in prop::collection::vec(-2_000i64..80_000, 1..8),
        ) {
            let bytes: Vec<u8> = blocks.iter().flat_map(|(size, crc)| frame(*size, *crc)).collect();
            let mut demuxer = open(&bytes);
            prop_assert_eq!(demuxer.frames().unwrap(), Some(1024 * blocks.len() as u64));
            demuxer.seek(i64::MIN).unwrap();
            for (n, (size, _)) in blocks.iter().enumerate() {
                let packet = demuxer.next_packet().unwrap().unwrap();
                prop_assert_eq!(packet.data, vec![0x21; *size]);
                prop_assert_eq!(packet.begin, Some(1024 * n as i64));
            }
            prop_assert_eq!(demuxer.next_packet().unwrap(), None);
            for target in targets {
                demuxer.seek(target).unwrap();
                let expected = (target.max(0) / 1024).min(blocks.len() as i64 - 1);
                let packet = demuxer.next_packet().unwrap().unwrap();
                prop_assert_eq!(packet.begin, Some(1024 * expected));
            }
        }
    }

    #[test]
    fn every_flip_and_every_cut_is_survived() {
        let blocks = [
            (40, false),
            (60, false),
            (50, true),
            (45, false),
            (70, true),
        ];
        let file: Vec<u8> = blocks
            .iter()
            .flat_map(|(size, crc)| frame(*size, *crc))
            .collect();
        for damaged in damaged(&file) {
            survives(&damaged);
        }
    }

    #[test]
    fn damage_leaves_the_packets_behind_it_in_place() {
        let mut file: Vec<u8> = (0..20).flat_map(|_| frame(93, false)).collect();
        file[800..1_300].fill(9);
        let mut demuxer = open(&file);
        let begins = |demuxer: &mut dyn Demuxer| {
            let packets = std::iter::from_fn(|| demuxer.next_packet().transpose());
            let begins = packets.map(|packet| packet.map(|packet| packet.begin.unwrap() / 1024));
            begins.collect::<Vec<_>>()
        };
        let met = begins(&mut *demuxer);
        let error = met.iter().find_map(|met| met.as_ref().err()).unwrap();
        assert_eq!(
            (error.kind(), error.byte_offset()),
            (ErrorKind::Corrupt, Some(800))
        );
        let good: Vec<i64> = met.into_iter().filter_map(Result::ok).collect();
        assert_eq!(good, (0..8).chain(13..20).collect::<Vec<i64>>());
    }
}
