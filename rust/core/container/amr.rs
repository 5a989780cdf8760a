//! The storage format of AMR: RFC 4867, section 5.
//!
//! A magic, and frames end to end, each of which tells its length by one byte. There are no checksums and no marks: what
//! is damaged shows where a frame begins with a byte that is none.

use super::demuxer::{Demuxer, Packet, Track};
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::codec::amr::frame::{Band, Header, LONGEST};
use crate::codec::amr::params;
use crate::error::{Error, Result};

const NARROW: &[u8] = b"#!AMR\n";
const WIDE: &[u8] = b"#!AMR-WB\n";
/// Frames that follow each other before a place counts as the first one's.
const PROOF: usize = 6;
/// Bytes that are searched at once.
const SEARCHED: usize = 64 * 1024;

/// The codec, where the source is a file of it.
pub(super) fn sniff(source: &mut Source<'_>) -> Result<Option<Band>> {
    let mut scratch = Vec::new();
    let head = source.bytes_at(0, WIDE.len(), &mut scratch)?;
    Ok(match head {
        head if head.starts_with(NARROW) => Some(Band::Narrow),
        head if head.starts_with(WIDE) => Some(Band::Wide),
        _ => None,
    })
}

/// One file, and where it stands.
pub(super) struct Amr<'a> {
    window: Window<'a>,
    track: Track,
    band: Band,
    start: u64,
    at: u64,
    /// Frames before that place.
    index: u64,
    /// Bytes of the last frame.
    last: usize,
}

impl<'a> Amr<'a> {
    pub(super) fn open(source: Source<'a>, band: Band) -> Result<Self> {
        let magic = match band {
            Band::Narrow => NARROW,
            Band::Wide => WIDE,
        };
        let start = magic.len() as u64;
        Ok(Self {
            window: Window::new(source),
            track: Track {
                container: "amr",
                params: params(band),
                frames: None,
                parts: Vec::new(),
            },
            band,
            start,
            at: start,
            index: 0,
            last: LONGEST,
        })
    }

    /// The header of the next frame, which lies whole in the file; `None` at the end.
    fn next_header(&mut self) -> Result<Option<Header>> {
        let (at, end) = (self.at, self.window.len());
        if at >= end {
            return Ok(None);
        }
        let bytes = self.window.at(at, (PROOF + 1) * LONGEST, u64::MAX)?;
        let header = bytes
            .first()
            .and_then(|byte| Header::parse(self.band, *byte));
        let Some(header) = header.filter(|header| is_believable(self.band, *header, bytes)) else {
            return Err(self.pass_damage()?);
        };
        if header.padding() != 0 {
            let reason = "bits of an AMR frame's header that are to be 0 are not";
            self.window.remark(Error::corrupt(reason).at_byte(at))?;
        }
        if at + header.length() as u64 > end {
            self.at = end;
            let reason = "the last AMR frame is cut short, and left out";
            self.window.remark(Error::corrupt(reason).at_byte(at))?;
            return Ok(None);
        }
        Ok(Some(header))
    }

    fn pass(&mut self, header: Header) {
        self.at += header.length() as u64;
        self.index += 1;
        self.last = header.length();
    }

    /// Moves over bytes that are no frame; gives the error that says so. What is lost counts as many frames as there
    /// would be of the last one's length.
    fn pass_damage(&mut self) -> Result<Error> {
        let (from, end) = (self.at, self.window.len());
        let next = self.find_frames(from + 1)?.unwrap_or(end);
        let lost = next - from;
        let length = self.last as u64;
        self.index += (lost + length / 2) / length;
        self.at = next;
        let reason = format!("{lost} bytes are no AMR frame: its type does not exist");
        Ok(Error::corrupt(reason).at_byte(from))
    }

    /// The first place from `from` on at which frames begin.
    fn find_frames(&mut self, from: u64) -> Result<Option<u64>> {
        let mut at = from;
        let end = self.window.len();
        while at < end {
            let bytes = self.window.at(at, SEARCHED + PROOF * LONGEST, u64::MAX)?;
            let places = 0..SEARCHED.min(bytes.len());
            let found = places.into_iter().find(|place| {
                let rest = bytes.get(*place..).unwrap_or_default();
                is_start(self.band, rest)
            });
            if let Some(place) = found {
                return Ok(Some(at + place as u64));
            }
            at += SEARCHED as u64;
        }
        Ok(None)
    }
}

/// What frames lie end to end.
enum Run {
    /// [`PROOF`] of them.
    Long,
    /// Fewer, up to the end of the bytes.
    ToEnd { count: usize, is_whole: bool },
    /// Something else comes after them.
    Broken,
}

/// The frames that `bytes` begin with, whose padding is 0 or `padding`.
fn run(band: Band, bytes: &[u8], padding: u8) -> Run {
    let mut at = 0;
    for count in 0..PROOF {
        let Some(byte) = bytes.get(at) else {
            let is_whole = at == bytes.len();
            return Run::ToEnd { count, is_whole };
        };
        match Header::parse(band, *byte) {
            Some(header) if [0, padding].contains(&header.padding()) => at += header.length(),
            _ => return Run::Broken,
        }
    }
    Run::Long
}

/// Whether frames begin here, after damage. Of frames without bits each last byte of damage may be one.
fn is_start(band: Band, bytes: &[u8]) -> bool {
    let first = bytes.first().and_then(|byte| Header::parse(band, *byte));
    if first.is_none_or(|first| first.length() == 1) {
        return false;
    }
    match run(band, bytes, 0) {
        Run::Long => true,
        Run::ToEnd { count, is_whole } => count > 1 && is_whole,
        Run::Broken => false,
    }
}

/// Whether a header may have bits set that are to be 0: if those after it are as they should be, or have the same.
fn is_believable(band: Band, header: Header, bytes: &[u8]) -> bool {
    let rest = bytes.get(header.length()..).unwrap_or_default();
    header.padding() == 0 || !matches!(run(band, rest, header.padding()), Run::Broken)
}

impl Demuxer for Amr<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let Some(header) = self.next_header()? else {
            return Ok(None);
        };
        let samples = self.band.frame_samples();
        let (at, length) = (self.at, header.length());
        let bytes = self.window.at(at, length, u64::MAX)?;
        let packet = Packet {
            at,
            data: bytes.get(..length).unwrap_or_default().to_vec(),
            begin: Some(self.index.saturating_mul(samples) as i64),
            frames: Some(samples),
            ..Packet::default()
        };
        self.pass(header);
        Ok(Some(packet))
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        let wanted = frame.max(0) as u64 / self.band.frame_samples();
        if wanted < self.index || self.at >= self.window.len() {
            (self.at, self.index, self.last) = (self.start, 0, LONGEST);
        }
        let mut before = (self.at, self.index, self.last);
        while self.index < wanted
            && let Some(header) = self.next_header()?
        {
            before = (self.at, self.index, self.last);
            self.pass(header);
        }
        // To the last frame, where the recording ends before the one that is wanted.
        if self.at >= self.window.len() || self.index > wanted {
            (self.at, self.index, self.last) = before;
        }
        Ok(())
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        self.seek(i64::MIN)?;
        while let Some(header) = self.next_header()? {
            self.pass(header);
        }
        Ok(Some(self.index * self.band.frame_samples()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::container::{open_packets, tests::every_damage_is_survived};
    use crate::error::ErrorKind;

    const TYPES: [(u8, usize); 6] = [(0, 13), (3, 18), (7, 32), (8, 6), (15, 1), (2, 16)];

    fn file(types: &[usize]) -> Vec<u8> {
        let frames = types.iter().map(|index| {
            let (kind, length) = TYPES[*index];
            let mut frame = vec![0xFF; length];
            frame[0] = kind << 3 | 4;
            frame
        });
        [NARROW.to_vec()]
            .into_iter()
            .chain(frames)
            .flatten()
            .collect()
    }

    fn open(bytes: &[u8]) -> Box<dyn Demuxer + '_> {
        open_packets(Source::from_bytes("test", bytes)).unwrap()
    }

    proptest! {
        #[test]
        fn every_frame_is_a_packet(
            types in prop::collection::vec(0..TYPES.len(), 1..40),
            targets in prop::collection::vec(-500i64..8_000, 1..8),
        ) {
            let bytes = file(&types);
            let mut demuxer = open(&bytes);
            prop_assert_eq!(demuxer.frames().unwrap(), Some(160 * types.len() as u64));
            for target in targets {
                demuxer.seek(target).unwrap();
                let from = (target.max(0) as usize / 160).min(types.len() - 1);
                for (at, index) in types.iter().enumerate().skip(from) {
                    let packet = demuxer.next_packet().unwrap().unwrap();
                    prop_assert_eq!(packet.begin, Some(160 * at as i64));
                    prop_assert_eq!(packet.data.len(), TYPES[*index].1);
                }
                prop_assert_eq!(demuxer.next_packet().unwrap(), None);
            }
        }
    }

    #[test]
    fn every_flip_and_every_cut_is_survived() {
        every_damage_is_survived(&file(&[0, 3, 5, 2, 1, 4, 4, 0, 2]));
    }

    #[test]
    fn frames_after_damage_keep_their_places() {
        let mut bytes = file(&[5; 30]);
        let start = NARROW.len() + 16 * 10;
        bytes[start..start + 48].fill(0x6B);
        let mut demuxer = open(&bytes);
        let met = std::iter::from_fn(|| demuxer.next_packet().transpose());
        let met: Vec<_> = met
            .map(|packet| packet.map(|packet| packet.begin.unwrap() / 160))
            .collect();
        let error = met[10].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.byte_offset(), Some(start as u64));
        let good: Vec<i64> = met.into_iter().filter_map(Result::ok).collect();
        assert_eq!(good, (0..10).chain(13..30).collect::<Vec<i64>>());
    }
}
