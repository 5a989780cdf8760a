//! Matroska and WebM: RFC 8794 (EBML) and RFC 9559.
//!
//! Packets are counted, as time stamps are rounded: a position is the sum of the lengths before it, from
//! the codec's delay on. The checksums of clusters are compared where their packets are read.

mod block;
mod chain;
mod cursor;
mod ebml;
mod seek;
mod track;

use std::collections::VecDeque;

use self::chain::Chain;
use self::cursor::{CUES, Cursor, EBML, Frame, INFO, SEEK_HEAD, TRACKS};
use self::ebml::{CLUSTER, Element, SEGMENT, each_child};
use self::seek::{Sample, damage_ends};
use self::track::{Entry, Tracks};
use super::demuxer::{Demuxer, Packet, Track};
use super::lengths::{HEAD_BYTES, Lengths};
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::codec::flac::header::FrameHeader;
use crate::codec::opus;
use crate::codec::params::{Codec, Params};
use crate::error::{Error, Result};

const DOC_TYPE: u32 = 0x4282;
const MAX_ID_LENGTH: u32 = 0x42F2;
const MAX_SIZE_LENGTH: u32 = 0x42F3;
const TIMESTAMP_SCALE: u32 = 0x2AD7B1;
const SEEK: u32 = 0x4DBB;
const SEEK_ID: u32 = 0x53AB;
const SEEK_POSITION: u32 = 0x53AC;

/// A packet that is counted, and not read yet.
#[derive(Clone, Copy, Debug)]
struct Counted {
    frame: Frame,
    begin: Option<i64>,
    frames: Option<u64>,
}

/// One track of a segment.
pub(crate) struct Mkv<'a> {
    cursor: Cursor<'a>,
    track: Track,
    /// What all packets begin with, and has been left away.
    prefix: Vec<u8>,
    lengths: Lengths,
    rate: u32,
    /// Nanoseconds of one tick.
    scale: u64,
    cues: Option<u64>,
    /// Where the first packet begins.
    start: i64,
    /// Where the next packet begins; `None`: where only decoding the one before tells.
    position: Option<i64>,
    /// Samples of the first frame of FLAC and the number of its first sample.
    first_number: Option<(u64, u64)>,
    anchor: Option<Sample>,
    /// Counted already.
    pending: VecDeque<Counted>,
    /// Damage was met: the next cluster tells the position.
    is_lost: bool,
}

/// Whether `source` begins as EBML does.
pub(crate) fn sniff(source: &mut Source<'_>) -> Result<bool> {
    let mut scratch = Vec::new();
    Ok(source.bytes_at(0, 4, &mut scratch)? == EBML.to_be_bytes())
}

/// The first audio track.
///
/// # Errors
/// A broken header, no audio, or a codec that is not decoded here.
pub(crate) fn open(source: Source<'_>) -> Result<Chain<'_>> {
    let mut window = Window::new(source);
    let opening = Opening::read(&mut window, 0)?;
    Mkv::new(window, opening).map(Chain::new)
}

/// What the headers of one segment say.
struct Opening {
    segment: Element,
    /// Where the first cluster begins, or the segment ends.
    first: u64,
    /// The numbers of all tracks.
    numbers: Vec<u64>,
    entry: Entry,
    scale: u64,
    cues: Option<u64>,
}

impl Opening {
    /// Reads the headers of the file that begins at `at`.
    fn read(window: &mut Window<'_>, at: u64) -> Result<Self> {
        let (header, segment) = find_segment(window, at)?;
        check_header(window, &header)?;
        let front = Front::read(window, &segment)?;
        let entry = front.tracks.audio;
        let entry = entry
            .ok_or_else(|| Error::unsupported("the file has no audio track that can be read"))?;
        Ok(Self {
            segment,
            first: front.first.unwrap_or(segment.end),
            numbers: front.tracks.numbers,
            entry,
            scale: front.scale,
            cues: front.cues,
        })
    }
}

fn find_segment(window: &mut Window<'_>, start: u64) -> Result<(Element, Element)> {
    let (mut header, mut at, end) = (None, start, u64::MAX);
    loop {
        // The file may end wherever a segment of no size does.
        let ahead = window.len();
        let Some(mut element) = ebml::element(window, at, end, ahead)? else {
            let at = at.min(window.len());
            return Err(Error::corrupt("the Matroska file has no segment").at_byte(at));
        };
        match (element.id, header) {
            (EBML, None) => header = Some(element),
            (SEGMENT, Some(header)) => {
                if element.open {
                    element.end = window.len();
                }
                return Ok((header, element));
            }
            (ebml::VOID, _) => {}
            _ => return Err(Error::corrupt("the Matroska file has no segment").at_byte(at)),
        }
        at = element.end;
    }
}

fn check_header(window: &mut Window<'_>, header: &Element) -> Result<()> {
    each_child(window, header, |window, field| match field.id {
        DOC_TYPE => {
            let name = ebml::body(window, field)?;
            let name = String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name));
            if matches!(&*name, "matroska" | "webm") {
                return Ok(());
            }
            let name: String = name.chars().take(16).collect();
            Err(Error::unsupported(format!(
                "EBML of type {name:?} is not read here"
            )))
        }
        MAX_ID_LENGTH if ebml::unsigned(window, field)? > 4 => Err(Error::unsupported(
            "Matroska with identifiers of more than 4 bytes is not read here",
        )),
        MAX_SIZE_LENGTH if ebml::unsigned(window, field)? > 8 => Err(Error::unsupported(
            "Matroska with sizes of more than 8 bytes is not read here",
        )),
        _ => Ok(()),
    })
}

/// What stands in front of the first cluster, or is pointed to from there.
struct Front {
    tracks: Tracks,
    scale: u64,
    cues: Option<u64>,
    first: Option<u64>,
}

impl Front {
    fn read(window: &mut Window<'_>, segment: &Element) -> Result<Self> {
        let (mut tracks, mut front) = (None, Self::empty());
        let (mut at, mut tracks_at) = (segment.body, None);
        while let Some(element) = ebml::element(window, at, segment.end, segment.end - at)? {
            match element.id {
                CLUSTER => {
                    front.first = Some(element.start);
                    break;
                }
                _ if element.open => {
                    return Err(Error::corrupt("the Matroska element has no size").at_byte(at));
                }
                SEEK_HEAD => {
                    // Where it is broken, the elements are still in their places.
                    let read = read_seek_head(window, segment, &element).map(Some);
                    let found = damage_ends(read)?.unwrap_or_default();
                    (tracks_at, front.cues) = (tracks_at.or(found.0), front.cues.or(found.1));
                }
                INFO => front.scale = read_scale(window, &element)?,
                TRACKS if tracks.is_none() => tracks = Some(Tracks::read(window, &element)?),
                CUES => front.cues = Some(element.start),
                id if cursor::is_top_level(id) => {}
                _ => {
                    let reason = "the Matroska element is unknown";
                    return Err(Error::corrupt(reason).at_byte(at));
                }
            }
            at = element.end;
        }
        if tracks.is_none()
            && let Some(at) = tracks_at
        {
            let element = ebml::element(window, at, segment.end, segment.end.saturating_sub(at))?;
            if let Some(element) = element.filter(|element| element.id == TRACKS) {
                tracks = Some(Tracks::read(window, &element)?);
            }
        }
        front.tracks = tracks.ok_or_else(|| {
            Error::corrupt("the Matroska file has no tracks before its data").at_byte(at)
        })?;
        Ok(front)
    }

    fn empty() -> Self {
        Self {
            tracks: Tracks::default(),
            // The default of RFC 9559, section 5.1.2.9.
            scale: 1_000_000,
            cues: None,
            first: None,
        }
    }
}

/// Where the tracks and the Cues are.
fn read_seek_head(
    window: &mut Window<'_>,
    segment: &Element,
    seek_head: &Element,
) -> Result<(Option<u64>, Option<u64>)> {
    let (mut tracks, mut cues) = (None, None);
    each_child(window, seek_head, |window, seek| {
        let (mut kind, mut at) = (0, None);
        if seek.id != SEEK {
            return Ok(());
        }
        each_child(window, seek, |window, field| {
            match field.id {
                SEEK_ID => kind = ebml::unsigned(window, field)?,
                SEEK_POSITION => at = segment.body.checked_add(ebml::unsigned(window, field)?),
                _ => {}
            }
            Ok(())
        })?;
        match u32::try_from(kind) {
            Ok(TRACKS) => tracks = at,
            Ok(CUES) => cues = at,
            _ => {}
        }
        Ok(())
    })?;
    Ok((tracks, cues))
}

fn read_scale(window: &mut Window<'_>, info: &Element) -> Result<u64> {
    ebml::check_sum(window, info)?;
    let mut scale = Front::empty().scale;
    each_child(window, info, |window, field| {
        if field.id == TIMESTAMP_SCALE {
            scale = ebml::unsigned(window, field)?;
        }
        Ok(())
    })?;
    Ok(scale)
}

/// Nanoseconds in frames, to the nearest: they were rounded when they were written.
fn frames_of(nanoseconds: u64, rate: u32) -> u64 {
    let product = u128::from(nanoseconds) * u128::from(rate) + 500_000_000;
    // Beyond any recording, and small enough to be added to and taken from.
    (product / 1_000_000_000).min(1 << 48) as u64
}

/// Frames in front of the recording.
fn delay(params: &Params, entry: &Entry) -> u64 {
    match params.codec {
        // The header of Opus says it to the frame.
        Codec::Opus => u64::from(opus::pre_skip(params)),
        // Its first packet gives nothing here: FFmpeg counts that as the delay.
        Codec::Vorbis => 0,
        _ => frames_of(entry.delay_ns, params.sample_rate.max(1)),
    }
}

impl<'a> Mkv<'a> {
    fn new(window: Window<'a>, opening: Opening) -> Result<Self> {
        let Opening {
            segment,
            first,
            numbers,
            entry,
            scale,
            cues,
        } = opening;
        let params = entry.params()?;
        let start = -(delay(&params, &entry) as i64);
        Ok(Self {
            cursor: Cursor::new(window, segment, first, numbers, entry.number),
            prefix: entry.prefix,
            lengths: Lengths::new(&params),
            rate: params.sample_rate.max(1),
            scale,
            cues,
            start,
            position: Some(start),
            first_number: None,
            anchor: None,
            pending: VecDeque::new(),
            is_lost: false,
            track: Track {
                container: "matroska",
                params,
                frames: None,
                parts: Vec::new(),
            },
        })
    }

    /// Goes on with another segment of the same file.
    fn reopen(&mut self, opening: Opening) -> Result<()> {
        let params = opening.entry.params()?;
        self.cursor.enter_segment(
            opening.segment,
            opening.first,
            opening.numbers,
            opening.entry.number,
        );
        self.start = -(delay(&params, &opening.entry) as i64);
        self.prefix = opening.entry.prefix;
        self.lengths = Lengths::new(&params);
        self.rate = params.sample_rate.max(1);
        (self.scale, self.cues) = (opening.scale, opening.cues);
        (self.first_number, self.anchor) = (None, None);
        self.track.params = params;
        self.rewind();
        Ok(())
    }

    /// Goes on with the cluster at `at`, whose first packet begins at `position`.
    fn go_to(&mut self, at: u64, position: Option<i64>) {
        self.cursor.go_to(at);
        self.lengths.reset();
        self.pending.clear();
        self.position = position;
        self.is_lost = false;
    }

    fn rewind(&mut self) {
        self.go_to(self.cursor.first, Some(self.start));
    }

    /// The next packet's place and length, by its first bytes.
    fn count_next(&mut self) -> Result<Option<Counted>> {
        if let Some(counted) = self.pending.pop_front() {
            return Ok(Some(counted));
        }
        if std::mem::take(&mut self.is_lost) && !self.cursor.has_ended {
            self.locate_roughly(self.cursor.at)?;
        }
        let next = self.cursor.next();
        self.is_lost = next.is_err();
        let Some(frame) = next? else {
            return Ok(None);
        };
        let bytes =
            self.cursor
                .window
                .at(frame.at, frame.size.min(HEAD_BYTES), frame.size as u64)?;
        let stripped = self
            .prefix
            .iter()
            .chain(bytes)
            .take(HEAD_BYTES.min(self.prefix.len() + frame.size));
        let head: Vec<u8> = stripped.copied().collect();
        let frames = self.lengths.next(&head, self.prefix.len() + frame.size);
        if let Some(number) = self.numbered(&head) {
            self.position = Some(number);
        }
        let begin = self.position;
        let padding = frames_of(frame.padding_ns, self.rate);
        self.position = begin
            .zip(frames)
            .map(|(begin, frames)| begin.saturating_add(frames.saturating_sub(padding) as i64));
        Ok(Some(Counted {
            frame,
            begin,
            frames,
        }))
    }

    /// Where a frame of FLAC begins, by its number.
    fn numbered(&mut self, head: &[u8]) -> Option<i64> {
        if self.track.params.codec != Codec::Flac {
            return None;
        }
        let header = FrameHeader::parse(head).ok()?;
        let fixed = u64::from(header.block_size);
        let number = |fixed: u64| match header.variable {
            true => header.number,
            false => header.number.saturating_mul(fixed),
        };
        // A part of a longer recording has kept its numbers.
        let (fixed, first) = *self.first_number.get_or_insert((fixed, number(fixed)));
        i64::try_from(number(fixed))
            .ok()?
            .checked_sub(first as i64)?
            .checked_add(self.start)
    }

    /// The bytes of a packet.
    fn read(&mut self, counted: &Counted) -> Result<Packet> {
        let Counted {
            frame,
            begin,
            frames,
        } = counted;
        let bytes = self
            .cursor
            .window
            .at(frame.at, frame.size, frame.size as u64)?;
        let bytes = bytes.get(..frame.size).unwrap_or(bytes);
        let padding = frames_of(frame.padding_ns, self.rate);
        Ok(Packet {
            at: frame.at,
            data: [&self.prefix, bytes].concat(),
            begin: *begin,
            frames: *frames,
            padding: padding.min(frames.unwrap_or(padding)),
            params: None,
        })
    }
}

impl Demuxer for Mkv<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let Some(counted) = self.count_next()? else {
            return Ok(None);
        };
        if let Err(error) = self.cursor.check() {
            // Most packets of the cluster are whole: they come next.
            self.pending.push_front(counted);
            return Err(error);
        }
        self.read(&counted).map(Some)
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        if frame <= self.start {
            self.rewind();
            return Ok(());
        }
        self.approach(frame)?;
        let mut before: Option<Counted> = None;
        while let Some(counted) = self.count_next()? {
            let end = counted.begin.zip(counted.frames);
            let end = end.map(|(begin, frames)| begin.saturating_add(frames as i64));
            if end.is_none_or(|end| end > frame) {
                self.pending.push_front(counted);
                break;
            }
            before = Some(counted);
        }
        // Vorbis has to be primed, and after the last packet there is none.
        let is_wanted = self.pending.is_empty() || self.lengths.is_vorbis();
        if let Some(mut prime) = before.filter(|_| is_wanted) {
            if let Some(next) = self.pending.front() {
                prime.begin = next.begin;
                prime.frames = Some(0);
            }
            self.pending.push_front(prime);
        }
        Ok(())
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        self.approach_end()?;
        while self.count_next()?.is_some() {}
        Ok(self.position.map(|position| position.max(0) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{every_damage_is_survived, seeks_agree_with_a_walk};
    use super::*;
    use proptest::prelude::*;

    fn element(id: u32, body: &[u8]) -> Vec<u8> {
        let bytes = id.to_be_bytes();
        let id = &bytes[id.leading_zeros() as usize / 8..];
        let size = (1u64 << 56 | body.len() as u64).to_be_bytes();
        [id, &size[..], body].concat()
    }

    fn open_element(id: u32, body: &[u8]) -> Vec<u8> {
        let head = element(id, &[]);
        let id = &head[..head.len() - 8];
        [id, &[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], body].concat()
    }

    fn with_sum(body: &[u8]) -> Vec<u8> {
        let sum = crc32fast::hash(body).to_le_bytes();
        [&[0xBF, 0x84], &sum[..], body].concat()
    }

    fn tracks(encoding: &[u8]) -> Vec<u8> {
        let head = b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0";
        let video = [element(0xD7, &[1]), element(0x83, &[1])].concat();
        let audio = [
            element(0xE1, &[]),
            element(0xD7, &[2]),
            element(0x83, &[2]),
            element(0x86, b"A_OPUS"),
            element(0x63A2, head),
            encoding.to_vec(),
        ];
        let entries = [element(0xAE, &video), element(0xAE, &audio.concat())];
        element(0x1654_AE6B, &with_sum(&entries.concat()))
    }

    /// Clusters of packets with these sizes, of 20 ms each, `each` in a cluster.
    fn file(sizes: &[usize], each: usize, is_open: bool, shift: u64) -> Vec<u8> {
        let wrap = if is_open { open_element } else { element };
        let (mut segment, mut cues) = (tracks(&[]), Vec::new());
        for (index, cluster) in sizes.chunks(each).enumerate() {
            let first = index * each;
            let time = 20 * first as u64 + shift;
            let mut body = element(0xE7, &time.to_be_bytes());
            for (place, size) in cluster.iter().enumerate() {
                let [high, low] = (20 * place as i16).to_be_bytes();
                // One frame of CELT, after the track, the time and the flags.
                let mut block = vec![0x82, high, low, 0x80, 0b1111_1100];
                block.extend(vec![place as u8; *size]);
                let is_last = first + place + 1 == sizes.len();
                body.extend(match is_last {
                    true => element(
                        0xA0,
                        &[
                            element(0xA1, &block),
                            element(0x75A2, &2_000_000u32.to_be_bytes()),
                        ]
                        .concat(),
                    ),
                    false => element(0xA3, &block),
                });
                let video = [0x81, 0, 0, 0, 1, 2, 3];
                body.extend(element(0xA3, &video));
            }
            let at = (segment.len() as u64).to_be_bytes();
            let place = element(0xB7, &element(0xF1, &at));
            cues.extend(element(
                0xBB,
                &[element(0xB3, &time.to_be_bytes()), place].concat(),
            ));
            let body = if is_open { body } else { with_sum(&body) };
            segment.extend(wrap(0x1F43_B675, &body));
        }
        segment.extend(element(0x1C53_BB6B, &with_sum(&cues)));
        let header = element(0x1A45_DFA3, &element(0x4282, b"webm"));
        [header, wrap(0x1853_8067, &segment)].concat()
    }

    #[test]
    fn every_damage_to_a_small_file_is_survived() {
        for is_open in [false, true] {
            every_damage_is_survived(&file(&[3, 30, 1, 9], 2, is_open, 0));
        }
    }

    /// One block of a packet that begins with `head`.
    fn packet_of(encoding: &[u8], head: &[u8]) -> Result<Packet> {
        let block = [&[0x82, 0, 0, 0x80], head, &[9; 20]].concat();
        let cluster = [element(0xE7, &[0]), element(0xA3, &block)].concat();
        let segment = [tracks(encoding), element(0x1F43_B675, &cluster)].concat();
        let header = element(0x1A45_DFA3, &element(0x4282, b"matroska"));
        let file = [header, element(0x1853_8067, &segment)].concat();
        let mut reader = open(Source::from_bytes("test", &file))?;
        Ok(reader.next_packet()?.unwrap_or_default())
    }

    fn encoding(algorithm: u8, settings: &[u8]) -> Vec<u8> {
        let fields = [element(0x4254, &[algorithm]), element(0x4255, settings)];
        let compression = element(0x5034, &fields.concat());
        element(0x6D80, &element(0x6240, &compression))
    }

    #[test]
    fn stripped_headers_are_put_back_and_other_compression_is_refused_by_name() {
        let plain = packet_of(&[], &[0xFC, 1, 2]).unwrap_or_default();
        let stripped = packet_of(&encoding(3, &[0xFC, 1]), &[2]).unwrap_or_default();
        assert_eq!((plain.data.len(), plain.frames), (23, Some(960)));
        assert_eq!((stripped.data, stripped.frames), (plain.data, plain.frames));
        let refused = packet_of(&encoding(0, &[]), &[0xFC]).err();
        assert!(refused.is_some_and(|error| error.reason().contains("zlib")));
    }

    #[test]
    fn seeks_by_passing_over_clusters_find_what_a_walk_finds() {
        for (is_open, shift) in [(false, 0), (false, 5000), (true, 0)] {
            let whole = file(&[2500; 900], 50, is_open, shift);
            seeks_agree_with_a_walk(&whole, &[-1, 0, 1, 400_000, 600_007, 863_000, 900_000]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn seeks_find_what_a_walk_finds(
            sizes in prop::collection::vec(0usize..9000, 5..300),
            each in 1usize..100,
            is_open: bool,
            targets in prop::collection::vec(-400i64..300_000, 1..9),
        ) {
            seeks_agree_with_a_walk(&file(&sizes, each, is_open, 0), &targets);
        }
    }
}
