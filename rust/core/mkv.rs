//! What Matroska says of the frames to cut: the codec's delay in front and padding behind.
//!
//! Format: RFC 8794 (EBML) and RFC 9559 (Matroska), elements `CodecDelay` and `DiscardPadding`.
//! Symphonia shifts its time stamps by the one, drops the other, and trims neither.

use crate::error::Result;
use crate::source::Source;

const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const TRACKS: u32 = 0x1654_AE6B;
const TRACK_ENTRY: u32 = 0xAE;
const TRACK_NUMBER: u32 = 0xD7;
const TRACK_TYPE: u32 = 0x83;
const CODEC_DELAY: u32 = 0x56AA;
const CLUSTER: u32 = 0x1F43_B675;
const SIMPLE_BLOCK: u32 = 0xA3;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const DISCARD_PADDING: u32 = 0x75A2;
/// The type of an audio track.
const AUDIO: u64 = 2;
/// Headers read at most in one file: hours of a live stream, and about a second of work.
const MAX_HEADERS: u32 = 1 << 20;

/// What to cut from the first audio track.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cut {
    /// The track's number.
    pub(crate) track: u64,
    /// Nanoseconds in front.
    pub(crate) delay_ns: u64,
    /// Nanoseconds at the end.
    pub(crate) padding_ns: u64,
}

/// What to cut of the first audio track; `None` when this is no Matroska or has none.
pub(crate) fn read_cut(source: &mut Source<'_>) -> Result<Option<Cut>> {
    let mut walker = Walker {
        end: source.len(),
        source,
        headers_left: MAX_HEADERS,
    };
    let Some(head) = walker.element(0, walker.end)? else {
        return Ok(None);
    };
    if head.id != EBML {
        return Ok(None);
    }
    match walker.element(head.end, walker.end)? {
        Some(segment) if segment.id == SEGMENT => walker.segment(segment),
        _ => Ok(None),
    }
}

/// One element: its body lies at `at..end`.
#[derive(Clone, Copy)]
struct Element {
    id: u32,
    at: u64,
    end: u64,
    /// Live writers leave the size of segments and clusters open.
    open: bool,
}

struct Walker<'w, 'a> {
    source: &'w mut Source<'a>,
    end: u64,
    headers_left: u32,
}

impl Walker<'_, '_> {
    fn segment(&mut self, segment: Element) -> Result<Option<Cut>> {
        let (mut cut, mut clusters, mut at) = (None, Vec::new(), segment.at);
        while let Some(element) = self.element(at, segment.end)? {
            at = element.end;
            if element.id == TRACKS && cut.is_none() {
                cut = self.audio_track(element)?;
            }
            if element.id == CLUSTER {
                if element.open {
                    at = self.end_of_open_cluster(element)?;
                }
                clusters.push((element.at, at));
            }
        }
        let Some(mut cut) = cut else { return Ok(None) };
        // The padding stands with the last blocks of the track: one whole packet and part of another
        // in MP3. The last cluster may have none of them.
        for (start, end) in clusters.into_iter().rev() {
            let (padding_ns, ends_here) = self.trailing_padding(start, end, cut.track)?;
            cut.padding_ns = cut.padding_ns.saturating_add(padding_ns);
            if ends_here {
                break;
            }
        }
        Ok(Some(cut))
    }

    fn audio_track(&mut self, tracks: Element) -> Result<Option<Cut>> {
        let mut at = tracks.at;
        while let Some(entry) = self.element(at, tracks.end)? {
            at = entry.end;
            if entry.id != TRACK_ENTRY {
                continue;
            }
            let (mut cut, mut kind, mut inner) = (Cut::default(), 0, entry.at);
            while let Some(field) = self.element(inner, entry.end)? {
                inner = field.end;
                match field.id {
                    TRACK_NUMBER => cut.track = self.unsigned(field)?,
                    TRACK_TYPE => kind = self.unsigned(field)?,
                    CODEC_DELAY => cut.delay_ns = self.unsigned(field)?,
                    _ => {}
                }
            }
            if kind == AUDIO {
                return Ok(Some(cut));
            }
        }
        Ok(None)
    }

    /// A cluster without a size ends where an element begins that only a segment can hold.
    fn end_of_open_cluster(&mut self, cluster: Element) -> Result<u64> {
        let mut at = cluster.at;
        while let Some(element) = self.element(at, cluster.end)? {
            // All of these have identifiers of four bytes, and nothing in a cluster has.
            if element.id > 0xFF_FFFF {
                break;
            }
            at = element.end;
        }
        Ok(at)
    }

    /// The sum over the last blocks of a cluster that have padding, and whether one had none.
    fn trailing_padding(&mut self, start: u64, end: u64, track: u64) -> Result<(u64, bool)> {
        let (mut sum, mut ends_here, mut at) = (0u64, false, start);
        while let Some(element) = self.element(at, end)? {
            at = element.end;
            let padding = match element.id {
                SIMPLE_BLOCK => (self.block_track(element)? == track).then_some(0),
                BLOCK_GROUP => self.group_padding(element, track)?,
                _ => None,
            };
            match padding {
                Some(0) => (sum, ends_here) = (0, true),
                Some(padding) => sum = sum.saturating_add(padding),
                None => {}
            }
        }
        Ok((sum, ends_here))
    }

    fn group_padding(&mut self, group: Element, track: u64) -> Result<Option<u64>> {
        let (mut ours, mut padding, mut at) = (false, 0, group.at);
        while let Some(field) = self.element(at, group.end)? {
            at = field.end;
            match field.id {
                BLOCK => ours = self.block_track(field)? == track,
                // Signed; below zero it would cut in front, where it has no meaning at the end.
                DISCARD_PADDING => padding = self.signed(field)?.max(0) as u64,
                _ => {}
            }
        }
        Ok(ours.then_some(padding))
    }

    fn block_track(&mut self, block: Element) -> Result<u64> {
        let mut scratch = Vec::new();
        let bytes = self.source.bytes_at(block.at, 8, &mut scratch)?;
        Ok(vint(bytes).map_or(0, |(number, _)| number))
    }

    fn unsigned(&mut self, field: Element) -> Result<u64> {
        let mut scratch = Vec::new();
        let size = (field.end - field.at).min(8) as usize;
        let bytes = self.source.bytes_at(field.at, size, &mut scratch)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn signed(&mut self, field: Element) -> Result<i64> {
        let bits = 8 * (field.end - field.at).min(8) as u32;
        let value = self.unsigned(field)?;
        Ok(if bits == 0 {
            0
        } else {
            (value << (64 - bits)) as i64 >> (64 - bits)
        })
    }

    /// The element at `at`, cut at its parent's end; `None` where none fits or enough were read.
    fn element(&mut self, at: u64, end: u64) -> Result<Option<Element>> {
        if at >= end || self.headers_left == 0 {
            return Ok(None);
        }
        self.headers_left -= 1;
        let mut scratch = Vec::new();
        let head = self.source.bytes_at(at, 12, &mut scratch)?;
        let id_bytes = head.first().map_or(9, |byte| byte.leading_zeros() + 1) as usize;
        let Some((size, size_bytes)) = head.get(id_bytes..).and_then(vint) else {
            return Ok(None);
        };
        if id_bytes > 4 {
            return Ok(None);
        }
        let id = head[..id_bytes]
            .iter()
            .fold(0, |id, byte| id << 8 | u32::from(*byte));
        let body = at + (id_bytes + size_bytes) as u64;
        let open = size == (1 << (7 * size_bytes)) - 1;
        let body_end = if open { end } else { body.saturating_add(size) };
        Ok((body <= end).then_some(Element {
            id,
            at: body,
            end: body_end.min(end),
            open,
        }))
    }
}

/// A number of variable length, and its length.
fn vint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    let rest = bytes.get(1..length)?;
    let head = u64::from(first) & ((1 << (8 - length.min(8))) - 1);
    let value = rest
        .iter()
        .fold(head, |value, byte| value << 8 | u64::from(*byte));
    (length <= 8).then_some((value, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(id: &[u8], body: &[u8]) -> Vec<u8> {
        let size = (1u64 << 56 | body.len() as u64).to_be_bytes();
        [id, &size[..], body].concat()
    }

    fn open_element(id: &[u8], body: &[u8]) -> Vec<u8> {
        [id, &[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], body].concat()
    }

    fn file(wrap: fn(&[u8], &[u8]) -> Vec<u8>, groups: &[(u8, i32)]) -> Vec<u8> {
        let entry = |number: u8, kind: u8| {
            let fields = [
                element(&[0xD7], &[number]),
                element(&[0x83], &[kind]),
                element(&[0x56, 0xAA], &[0x01, 0x00]),
            ];
            element(&[0xAE], &fields.concat())
        };
        let tracks = [entry(1, 1), entry(2, 2)].concat();
        let mut segment = element(&[0x16, 0x54, 0xAE, 0x6B], &tracks);
        for (track, padding) in groups {
            let block = element(&[0xA1], &[0x80 | track, 0, 0, 0, 9, 9]);
            let discard = element(&[0x75, 0xA2], &padding.to_be_bytes());
            let group = element(&[0xA0], &[block, discard].concat());
            segment.extend(wrap(&[0x1F, 0x43, 0xB6, 0x75], &group));
        }
        [
            element(&[0x1A, 0x45, 0xDF, 0xA3], b"header"),
            wrap(&[0x18, 0x53, 0x80, 0x67], &segment),
        ]
        .concat()
    }

    fn cut_of(bytes: &[u8]) -> Option<Cut> {
        read_cut(&mut Source::from_bytes("test", bytes)).unwrap_or_default()
    }

    #[test]
    fn the_padding_is_that_of_the_tracks_last_blocks() {
        for wrap in [element, open_element] {
            let groups = [(2, 5), (2, 0), (2, 100), (1, 0), (2, 600), (1, 33)];
            let cut = cut_of(&file(wrap, &groups)).unwrap_or_default();
            let expected = Cut {
                track: 2,
                delay_ns: 256,
                padding_ns: 700,
            };
            assert_eq!(cut, expected);
        }
        let negative = cut_of(&file(element, &[(2, -700)])).unwrap_or_default();
        assert_eq!(negative.padding_ns, 0);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_survived() {
        let whole = file(element, &[(2, 5), (2, 700)]);
        for length in 0..whole.len() {
            cut_of(&whole[..length]);
            for value in [0, 0x01, 0x7F, 0x80, 0xFF] {
                let mut changed = whole.clone();
                changed[length] = value;
                cut_of(&changed);
            }
        }
    }
}
