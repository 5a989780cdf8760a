//! CAF with packets of a codec: Apple's Core Audio Format Specification 1.0.

pub(super) mod pcm;

use super::codec_headers;
use super::demuxer::{Demuxer, Packet, Track};
use super::lengths::alac_frames;
use super::mp4::boxes::{be32, be64};
use super::mp4::entry::{apply_aac_config, apply_alac_config, counted, stream_config};
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::codec::amr::{self, frame::Band};
use crate::codec::params::{Codec, Params};
use crate::error::{Error, ErrorKind, Result};

/// Chunks that are walked over; a file has about ten.
const MAX_CHUNKS: u32 = 65_536;
/// Bytes of the codec's own header that are read.
const MAX_COOKIE: u64 = 4096;
/// Bytes of one packet at most, far above what a codec makes.
const MAX_PACKET: u64 = 1 << 24;
/// Packets from one remembered place of the table to the next.
const MARK_EVERY: u64 = 1024;
/// Bytes of the table that are read at once.
const PAGE: u64 = 16 * 1024;
/// Beyond any recording, and small enough to be added to and taken from.
const FAR: u64 = 1 << 60;

/// What the chunk `desc` says.
#[derive(Clone, Copy, Debug, Default)]
struct Description {
    rate: f64,
    codec: [u8; 4],
    /// 0: they differ, and the packet table has them.
    packet_bytes: u64,
    packet_frames: u64,
    channels: u32,
}

/// A packet in the table and in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Place {
    packet: u64,
    /// Bytes into the table's entries, and into the data.
    entry: u64,
    at: u64,
    frame: u64,
}

/// A reader of the file's packets.
pub(crate) struct Caf<'a> {
    window: Window<'a>,
    track: Track,
    description: Description,
    /// Frames in front of the recording.
    priming: u64,
    data: (u64, u64),
    /// The entries of the packet table.
    table: (u64, u64),
    packets: u64,
    page: Vec<u8>,
    page_at: u64,
    next: Place,
    marks: Vec<Place>,
}

/// Whether the content is of this format, and no PCM, whose samples need no packets.
pub(crate) fn sniff(source: &mut Source<'_>) -> Result<bool> {
    let mut scratch = Vec::new();
    let head = source.bytes_at(0, 32, &mut scratch)?;
    let is_caf = head.get(..4) == Some(b"caff") && head.get(8..12) == Some(b"desc");
    let codec = head.get(28..32);
    let is_pcm =
        codec.is_some_and(|codec| matches!(codec, b"lpcm" | b"alaw" | b"ulaw" | b"ima4" | b"agsm"));
    Ok(is_caf && codec.is_some() && !is_pcm)
}

/// The chunks of the file.
#[derive(Default)]
struct Chunks {
    description: Option<Description>,
    cookie: Vec<u8>,
    data: Option<(u64, u64)>,
    table: Option<(u64, u64)>,
}

impl Chunks {
    fn read(window: &mut Window<'_>) -> Result<Self> {
        let (mut chunks, mut at, len) = (Self::default(), 8, window.len());
        for _ in 0..MAX_CHUNKS {
            let head = window.at(at, 12, 256)?;
            let (Some(kind), Some(size)) = (head.get(..4), be64(head, 4)) else {
                return Ok(chunks);
            };
            let kind = kind.to_vec();
            let body = at + 12;
            let open = kind == b"data" && size == u64::MAX;
            if size > i64::MAX as u64 && !open {
                return Err(Error::corrupt("a CAF chunk has a negative size").at_byte(at));
            }
            let end = body.saturating_add(size);
            chunks.take(window, &kind, (body, end))?;
            if end >= len {
                return Ok(chunks);
            }
            at = end;
        }
        Err(Error::new(ErrorKind::Limit, "the CAF file has too many chunks").at_byte(at))
    }

    fn take(&mut self, window: &mut Window<'_>, kind: &[u8], span: (u64, u64)) -> Result<()> {
        match kind {
            b"desc" => {
                self.description = self.description.or(describe(window.at(span.0, 32, 256)?))
            }
            // Its number of edits comes first.
            b"data" => self.data = self.data.or(Some((span.0 + 4, span.1))),
            b"pakt" => self.table = self.table.or(Some(span)),
            b"kuki" => {
                let length = (span.1 - span.0).min(MAX_COOKIE) as usize;
                let bytes = window.at(span.0, length, MAX_COOKIE)?;
                self.cookie = bytes.get(..length).unwrap_or(bytes).to_vec();
            }
            _ => {}
        }
        Ok(())
    }
}

fn describe(bytes: &[u8]) -> Option<Description> {
    Some(Description {
        rate: f64::from_bits(be64(bytes, 0)?),
        codec: bytes.get(8..12)?.try_into().ok()?,
        packet_bytes: u64::from(be32(bytes, 16)?),
        packet_frames: u64::from(be32(bytes, 20)?),
        channels: be32(bytes, 24)?,
    })
}

impl<'a> Caf<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// A file that is cut or broken in them, or a codec that is not decoded here.
    pub(crate) fn open(source: Source<'a>) -> Result<Self> {
        let mut window = Window::new(source);
        let chunks = Chunks::read(&mut window)?;
        let len = window.len();
        let missing = |what: &str| {
            let reason = format!("the CAF file has no {what}: it was cut short, or is broken");
            Error::corrupt(reason).at_byte(len)
        };
        let description = chunks.description.ok_or_else(|| missing("description"))?;
        let data = chunks.data.ok_or_else(|| missing("data"))?;
        let params = params(&mut window, description, &chunks.cookie, data.0)?;
        let mut caf = Self {
            window,
            track: Track {
                container: "caf",
                params,
                frames: None,
                parts: Vec::new(),
            },
            description,
            priming: 0,
            data,
            table: (0, 0),
            packets: 0,
            page: Vec::new(),
            page_at: 0,
            next: Place::default(),
            marks: Vec::new(),
        };
        match chunks.table {
            Some(table) => caf.read_table(table)?,
            None if description.packet_bytes > 0 && description.packet_frames > 0 => {
                caf.packets = data.1.min(len).saturating_sub(data.0) / description.packet_bytes;
                caf.track.frames = Some(caf.packets.saturating_mul(description.packet_frames));
            }
            None => return Err(missing("packet table")),
        }
        Ok(caf)
    }

    /// The table's head says what to cut, its entries how much there is.
    fn read_table(&mut self, table: (u64, u64)) -> Result<()> {
        let head = self.window.at(table.0, 24, 256)?;
        let fields = (be64(head, 0), be64(head, 8), be32(head, 16), be32(head, 20));
        let (Some(packets), Some(valid), Some(priming), Some(remainder)) = fields else {
            let error = Error::corrupt("the CAF packet table is cut short");
            return Err(error.at_byte(self.window.len()));
        };
        let positive = |field: u32| u64::from(field.min(i32::MAX as u32));
        self.table = (table.0 + 24, table.1);
        self.packets = packets.min(FAR);
        self.priming = positive(priming);
        let total = match self.description.packet_frames {
            0 => self.walk_to(u64::MAX)?,
            frames => self.packets.saturating_mul(frames).min(FAR),
        };
        self.go_to(Place::default());
        let declared = if (1..=i64::MAX as u64).contains(&valid) {
            valid
        } else {
            total.saturating_sub(self.priming + positive(remainder))
        };
        let most = total.saturating_sub(self.priming);
        // FFmpeg 5 counts the last packet of ALAC as a whole one.
        let filling = if declared >= most {
            self.filling_of_alac().unwrap_or(0)
        } else {
            0
        };
        self.track.frames = Some(declared.min(most).saturating_sub(filling));
        Ok(())
    }

    /// What the last packet lacks of a whole one, by its own header.
    fn filling_of_alac(&mut self) -> Option<u64> {
        if self.track.params.codec != Codec::Alac {
            return None;
        }
        let walked = self.walk_to(u64::MAX);
        let at = self.data.0.saturating_add(self.next.at);
        self.go_to(Place::default());
        walked.ok()?;
        let whole = self.description.packet_frames;
        let frames = alac_frames(self.window.at(at, 8, 64).ok()?, whole)?;
        whole.checked_sub(frames)
    }

    fn go_to(&mut self, place: Place) {
        self.next = place;
    }

    /// The byte of the table `entry` bytes into its entries.
    fn table_byte(&mut self, entry: u64) -> Result<u8> {
        let at = self.table.0.saturating_add(entry);
        if at >= self.table.1 || at >= self.window.len() {
            let reason = "the CAF packet table ends before its last packet";
            return Err(Error::corrupt(reason).at_byte(at));
        }
        let inside = at.checked_sub(self.page_at).map(|skip| skip as usize);
        if let Some(byte) = inside.and_then(|skip| self.page.get(skip)) {
            return Ok(*byte);
        }
        let length = (self.table.1 - at).min(PAGE) as usize;
        let mut scratch = std::mem::take(&mut self.page);
        self.page = self.window.aside(at, length, &mut scratch)?.to_vec();
        self.page_at = at;
        Ok(self.page.first().copied().unwrap_or(0))
    }

    /// A number of 7 bits a byte, the high ones first; moves `entry` over it.
    fn number(&mut self, entry: &mut u64) -> Result<u64> {
        let start = *entry;
        let mut value = 0u64;
        for _ in 0..9 {
            let byte = self.table_byte(*entry)?;
            *entry += 1;
            value = value << 7 | u64::from(byte & 0x7F);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        let error = Error::corrupt("a number in the CAF packet table does not end");
        Err(error.at_byte(self.table.0 + start))
    }

    /// The bytes of the next packet, and the place after it; `None` at the end.
    fn entry(&mut self) -> Result<Option<(u64, Place)>> {
        let here = self.next;
        if here.packet >= self.packets {
            return Ok(None);
        }
        let mut entry = here.entry;
        let (mut bytes, mut frames) = (
            self.description.packet_bytes,
            self.description.packet_frames,
        );
        if bytes == 0 {
            bytes = self.number(&mut entry)?;
        }
        if frames == 0 {
            frames = self.number(&mut entry)?;
        }
        if here.packet.is_multiple_of(MARK_EVERY)
            && self
                .marks
                .last()
                .is_none_or(|last| last.packet < here.packet)
        {
            self.marks.push(here);
        }
        let behind = Place {
            packet: here.packet + 1,
            entry,
            at: here.at.saturating_add(bytes),
            frame: here.frame.saturating_add(frames).min(FAR),
        };
        Ok(Some((bytes, behind)))
    }

    /// Walks on to the last packet that begins at `frame` or before it; gives the frames walked over.
    fn walk_to(&mut self, frame: u64) -> Result<u64> {
        let mut last = self.next;
        while let Some((_, behind)) = self.entry()? {
            if behind.frame > frame {
                return Ok(self.next.frame);
            }
            last = std::mem::replace(&mut self.next, behind);
        }
        let total = self.next.frame;
        self.next = last;
        Ok(total)
    }

    /// No further packet is given.
    fn stop(&mut self) {
        self.next.packet = self.packets;
    }

    fn read(&mut self, bytes: u64, behind: Place) -> Result<Packet> {
        let here = std::mem::replace(&mut self.next, behind);
        let at = self.data.0.saturating_add(here.at);
        let end = self.data.1.min(self.window.len());
        if at.saturating_add(bytes) > end {
            self.stop();
            let reason = "the CAF data end in the middle of a packet: the file was cut short";
            return Err(Error::corrupt(reason).at_byte(end));
        }
        if bytes > MAX_PACKET {
            return Err(Error::corrupt(format!("a CAF packet has {bytes} bytes")).at_byte(at));
        }
        let data = self.window.at(at, bytes as usize, u64::MAX)?;
        let data = data.get(..bytes as usize).unwrap_or(data).to_vec();
        let frames = behind.frame - here.frame;
        let begin = here.frame as i64 - self.priming as i64;
        let rest = self.track.frames.map_or(i64::MAX, |frames| frames as i64) - begin;
        let over = (frames as i64 - rest).clamp(0, frames as i64) as u64;
        // The last packet of ALAC is short itself.
        let is_short = self.track.params.codec == Codec::Alac;
        Ok(Packet {
            at,
            data,
            begin: Some(begin),
            frames: Some(if is_short { frames - over } else { frames }),
            padding: if is_short { 0 } else { over },
            params: None,
        })
    }
}

impl Demuxer for Caf<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let end = self
            .track
            .frames
            .unwrap_or(FAR)
            .saturating_add(self.priming);
        if self.next.frame >= end {
            return Ok(None);
        }
        match self.entry() {
            Ok(Some((bytes, behind))) => self.read(bytes, behind).map(Some),
            Ok(None) => Ok(None),
            Err(error) => {
                self.stop();
                Err(error)
            }
        }
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        let target = frame.saturating_add(self.priming as i64).max(0) as u64;
        let (bytes, frames) = (
            self.description.packet_bytes,
            self.description.packet_frames,
        );
        if bytes > 0 && frames > 0 {
            let packet = (target / frames).min(self.packets.saturating_sub(1));
            self.go_to(Place {
                packet,
                entry: 0,
                at: packet.saturating_mul(bytes),
                frame: packet.saturating_mul(frames).min(FAR),
            });
            return Ok(());
        }
        let before = self.marks.partition_point(|mark| mark.frame <= target);
        let mark = before.checked_sub(1).and_then(|at| self.marks.get(at));
        self.go_to(mark.copied().unwrap_or_default());
        self.walk_to(target).map(drop)
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        Ok(self.track.frames)
    }
}

/// What the decoder is made from.
fn params(
    window: &mut Window<'_>,
    description: Description,
    cookie: &[u8],
    data: u64,
) -> Result<Params> {
    if !(1.0..=f64::from(u32::MAX)).contains(&description.rate) {
        return Err(Error::corrupt(format!(
            "the CAF file declares a rate of {} Hz",
            description.rate
        )));
    }
    let plain = |codec| {
        Params::new(
            codec,
            description.rate as u32,
            counted(description.channels),
        )
    };
    Ok(match &description.codec {
        b"alac" => {
            let mut params = plain(Codec::Alac);
            apply_alac_config(&mut params, unwrapped(cookie))?;
            params
        }
        b"aac " => {
            let mut params = plain(Codec::Aac);
            // The descriptors of MP4, or what is in them.
            let described = stream_config(cookie).map(|(_, config)| config);
            apply_aac_config(&mut params, described.unwrap_or(cookie));
            params
        }
        b"flac" => {
            let head = window.at(data, 16, 256)?;
            codec_headers::flac(&streaminfo(head, description)?)?
        }
        b"samr" => amr::params(Band::Narrow),
        b".mp1" => plain(Codec::Mp1),
        b".mp2" => plain(Codec::Mp2),
        b".mp3" => plain(Codec::Mp3),
        other => {
            let name = match other {
                b"opus" => "Opus".into(),
                b"ac-3" => "ac3".into(),
                other => other.escape_ascii().to_string(),
            };
            return Err(Error::unsupported(format!(
                "{name} in CAF is not decoded here"
            )));
        }
    })
}

/// The cookie of ALAC without the atoms that QuickTime wraps it in.
fn unwrapped(mut cookie: &[u8]) -> &[u8] {
    for atom in [b"frma", b"alac"] {
        if cookie.get(4..8) == Some(atom) {
            cookie = cookie.get(12..).unwrap_or_default();
        }
    }
    cookie
}

/// A STREAMINFO (RFC 9639, section 8.2), which CAF has not, from the first frame's header (section 9.1).
fn streaminfo(frame: &[u8], description: Description) -> Result<[u8; 34]> {
    let code = frame.get(3).map(|byte| usize::from(byte >> 1 & 7));
    let bits = code.and_then(|code| [0, 8, 12, 0, 16, 20, 24, 32].get(code).copied());
    let bits = bits.filter(|bits| *bits > 0 && frame.first() == Some(&0xFF));
    let bits: u64 = bits.ok_or_else(|| Error::corrupt("the CAF file has no FLAC frame"))?;
    let channels = u64::from(description.channels.clamp(1, 8)) - 1;
    let word = (description.rate as u64) << 44 | channels << 41 | (bits - 1) << 36;
    let mut info = [0; 34];
    info[..4].copy_from_slice(&[0, 16, 0xFF, 0xFF]);
    info[10..18].copy_from_slice(&word.to_be_bytes());
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [kind, &(body.len() as u64).to_be_bytes()[..], body].concat()
    }

    /// Packets of 1 to 200 bytes, of as many frames as `frames` says, or of their own number.
    fn file(frames: u32) -> Vec<u8> {
        let desc = [&44_100f64.to_be_bytes()[..], b".mp3", &[0; 8]].concat();
        let desc = [
            desc,
            frames.to_be_bytes().to_vec(),
            vec![0, 0, 0, 2, 0, 0, 0, 0],
        ]
        .concat();
        let (mut table, mut data) = (Vec::new(), vec![0; 4]);
        for size in [1u8, 100, 200, 3] {
            table.extend(if size < 128 {
                vec![size]
            } else {
                vec![0x81, size & 0x7F]
            });
            if frames == 0 {
                table.push(50);
            }
            data.extend(vec![size; usize::from(size)]);
        }
        let numbers = [4u64.to_be_bytes(), 130u64.to_be_bytes()].concat();
        let head = [numbers, [40u32.to_be_bytes(), 30u32.to_be_bytes()].concat()].concat();
        let pakt = [head, table].concat();
        [
            b"caff\0\x01\0\0".to_vec(),
            chunk(b"desc", &desc),
            chunk(b"pakt", &pakt),
            chunk(b"data", &data),
        ]
        .concat()
    }

    /// The packets from `seek` on, until the end or an error.
    fn read(bytes: &[u8], seek: i64) -> Result<Vec<Packet>> {
        let mut source = Source::from_bytes("test", bytes);
        if !sniff(&mut source)? {
            return Err(Error::unsupported("no CAF"));
        }
        let mut caf = Caf::open(source)?;
        let (mut packets, mut error) = (Vec::new(), caf.seek(seek).err());
        for call in 0.. {
            assert!(call <= bytes.len(), "no end");
            match caf.next_packet() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(found) => error = error.or(Some(found)),
            }
        }
        error.map_or(Ok(packets), Err)
    }

    #[test]
    fn packets_lie_where_the_table_says() {
        for frames in [50, 0] {
            let bytes = file(frames);
            let all = read(&bytes, i64::MIN).unwrap_or_default();
            let sizes: Vec<usize> = all.iter().map(|packet| packet.data.len()).collect();
            let begins: Vec<Option<i64>> = all.iter().map(|packet| packet.begin).collect();
            assert_eq!(sizes, [1, 100, 200, 3]);
            assert_eq!(begins, [Some(-40), Some(10), Some(60), Some(110)]);
            assert_eq!(all.last().map(|packet| packet.padding), Some(30));
            for packet in &all {
                let there = &bytes[packet.at as usize..][..packet.data.len()];
                assert_eq!(there, &packet.data[..]);
                assert!(there.iter().all(|byte| usize::from(*byte) == there.len()));
            }
            for (target, skipped) in [(-41, 0), (9, 0), (10, 1), (109, 2), (110, 3), (9999, 3)] {
                let rest = read(&bytes, target).unwrap_or_default();
                assert_eq!(rest, all[skipped..], "{target}");
            }
        }
    }

    #[test]
    fn every_cut_is_an_error_and_every_flip_is_survived() {
        for whole in [file(50), file(0)] {
            for length in 0..whole.len() {
                assert!(read(&whole[..length], 0).is_err(), "{length}");
            }
            for bit in 0..8 * whole.len() {
                let mut changed = whole.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                for target in [i64::MIN, 60, i64::MAX] {
                    let _ = read(&changed, target);
                }
            }
        }
    }
}
