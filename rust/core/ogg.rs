//! Ogg with Opus in it: pages, packets, exact seeking, and the length that the last page tells.
//!
//! Formats: RFC 3533 (pages) and RFC 7845 (granule positions of Opus, pre-skip, end trimming).
//! Symphonia's reader passes over damaged pages, knows neither mapping family 255 nor packets of more
//! than 31 frames, and takes granule positions for frame numbers.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::errors::{
    Error as SymphoniaError, Result as SymphoniaResult, SeekErrorKind, decode_error, limit_error,
    seek_error,
};
use symphonia::core::formats::well_known::FORMAT_ID_OGG;
use symphonia::core::formats::{
    FormatInfo, FormatReader, MediaInfo, SeekMode, SeekTo, SeekedTo, Track,
};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::{Metadata, MetadataLog};
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, TimeBase, Timestamp};

use crate::error::Result;
use crate::opus::{self, Head};
use crate::source::Source;

const HEADER_BYTES: usize = 27;
/// The most that one page takes.
const MAX_PAGE_BYTES: u64 = (HEADER_BYTES + 255 + 255 * 255) as u64;
/// No packet of 255 streams is longer.
const MAX_PACKET_BYTES: usize = 1 << 20;
/// Streams that may begin side by side.
const MAX_STREAMS: u32 = 64;
/// Below this distance pages are read one by one.
const LINEAR_BYTES: u64 = 2 * MAX_PAGE_BYTES;
/// How the first packets of the other audio codecs begin.
const OTHER_AUDIO: [&[u8]; 4] = [b"\x01vorbis", b"\x7FFLAC", b"Speex   ", b"fLaC"];

const INFO: FormatInfo = FormatInfo {
    format: FORMAT_ID_OGG,
    short_name: "ogg",
    long_name: "Ogg",
};

/// One page: RFC 3533, section 6.
struct Page {
    at: u64,
    end: u64,
    flags: u8,
    granule: i64,
    serial: u32,
    /// Lengths of the pieces, of which each below 255 ends a packet.
    lacing: Vec<u8>,
    body: Vec<u8>,
}

impl Page {
    fn continues(&self) -> bool {
        self.flags & 1 != 0
    }

    fn is_first(&self) -> bool {
        self.flags & 2 != 0
    }

    fn is_last(&self) -> bool {
        self.flags & 4 != 0
    }

    /// The pieces of packets, and whether each ends its packet.
    fn pieces(&self) -> Vec<(&[u8], bool)> {
        let (mut pieces, mut start, mut end) = (Vec::new(), 0, 0);
        for (index, length) in self.lacing.iter().enumerate() {
            end += usize::from(*length);
            let ends = *length < 255;
            if ends || index + 1 == self.lacing.len() {
                pieces.push((&self.body[start..end], ends));
                start = end;
            }
        }
        pieces
    }

    /// The granule position, where a packet ends on the page.
    fn position(&self) -> Option<i64> {
        let ends = self.lacing.iter().any(|length| *length < 255);
        (ends && self.granule != -1).then_some(self.granule)
    }
}

/// Why there is no page.
enum NoPage {
    End,
    Damaged,
    Io(io::Error),
}

impl From<NoPage> for SymphoniaError {
    fn from(reason: NoPage) -> Self {
        match reason {
            NoPage::End => Self::IoError(io::ErrorKind::UnexpectedEof.into()),
            NoPage::Damaged => Self::DecodeError("a broken Ogg page"),
            NoPage::Io(error) => Self::IoError(error),
        }
    }
}

fn read_page(source: &mut Source<'_>, at: u64) -> std::result::Result<Page, NoPage> {
    let read = |source: &mut Source<'_>, buffer: &mut [u8]| {
        source
            .read_exact(buffer)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => NoPage::End,
                _ => NoPage::Io(error),
            })
    };
    source.seek(SeekFrom::Start(at)).map_err(NoPage::Io)?;
    let mut header = [0; HEADER_BYTES];
    read(source, &mut header)?;
    if !header.starts_with(b"OggS\0") {
        return Err(NoPage::Damaged);
    }
    let mut lacing = vec![0; usize::from(header[26])];
    read(source, &mut lacing)?;
    let mut body = vec![0; lacing.iter().map(|length| usize::from(*length)).sum()];
    read(source, &mut body)?;
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|index| header[at + index]));
    let declared = word(22);
    let granule = i64::from(word(6)) | i64::from(word(10)) << 32;
    let serial = word(14);
    let flags = header[5];
    header[22..26].fill(0);
    let sum = [&header[..], &lacing, &body]
        .iter()
        .fold(0, |sum, part| crc(sum, part));
    if sum != declared {
        return Err(NoPage::Damaged);
    }
    Ok(Page {
        at,
        end: at + (HEADER_BYTES + lacing.len() + body.len()) as u64,
        flags,
        granule,
        serial,
        lacing,
        body,
    })
}

/// The checksum of pages: polynomial 0x04C11DB7, highest bit first, from 0.
fn crc(sum: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let (mut table, mut index) = ([0; 256], 0);
        while index < 256 {
            let (mut value, mut bit) = ((index as u32) << 24, 0);
            while bit < 8 {
                value = value << 1 ^ if value >> 31 == 1 { 0x04C1_1DB7 } else { 0 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    bytes.iter().fold(sum, |sum, byte| {
        sum << 8 ^ TABLE[(sum >> 24) as usize ^ usize::from(*byte)]
    })
}

/// A stream of Opus, as its first page has it.
pub(crate) struct OpusStream {
    serial: u32,
    head: Head,
    head_bytes: Vec<u8>,
}

/// The first audio stream, where that is Opus.
///
/// # Errors
/// A header that is broken or not known.
pub(crate) fn find_opus(source: &mut Source<'_>) -> Result<Option<OpusStream>> {
    let mut scratch = Vec::new();
    if source.bytes_at(0, 4, &mut scratch)? != b"OggS" {
        return Ok(None);
    }
    let mut at = 0;
    for _ in 0..MAX_STREAMS {
        // What is broken or cut is symphonia's to complain of.
        let Ok(page) = read_page(source, at) else {
            break;
        };
        let is_other = OTHER_AUDIO.iter().any(|start| page.body.starts_with(start));
        if !page.is_first() || is_other {
            break;
        }
        if page.body.starts_with(b"OpusHead") {
            let head = Head::parse(&page.body).map_err(|error| error.at_byte(page.at))?;
            return Ok(Some(OpusStream {
                serial: page.serial,
                head,
                head_bytes: page.body,
            }));
        }
        at = page.end;
    }
    Ok(None)
}

/// The packets of one Opus stream; time stamps count frames of the recording.
pub(crate) struct OpusReader<'a> {
    source: Source<'a>,
    serial: u32,
    pre_skip: i64,
    track: Track,
    media: MediaInfo,
    metadata: MetadataLog,
    /// Where the first page of audio begins.
    first_page: u64,
    /// Where the next page begins.
    next_page: u64,
    /// The granule position at which the first packet begins.
    start: i64,
    /// That at which the next packet begins; not known before the first page.
    position: Option<i64>,
    /// The beginning of a packet that goes on on the next page.
    partial: Option<Vec<u8>>,
    packets: VecDeque<Packet>,
    has_ended: bool,
}

impl<'a> OpusReader<'a> {
    /// Reads the first page of audio, and the last.
    ///
    /// # Errors
    /// Broken or missing pages in front of any audio.
    pub(crate) fn open(source: Source<'a>, stream: OpusStream) -> SymphoniaResult<Self> {
        let OpusStream { serial, head, .. } = stream;
        let mut params = AudioCodecParameters::new();
        params
            .for_codec(CODEC_ID_OPUS)
            .with_sample_rate(opus::SAMPLE_RATE)
            .with_channels(head.layout())
            .with_extra_data(stream.head_bytes.into());
        let mut track = Track::new(serial);
        track
            .with_codec_params(CodecParameters::Audio(params))
            .with_delay(u32::from(head.pre_skip));
        if let Some(time_base) = TimeBase::try_from_recip(opus::SAMPLE_RATE) {
            track.with_time_base(time_base);
        }
        let reader = Self {
            source,
            serial,
            pre_skip: i64::from(head.pre_skip),
            track,
            media: MediaInfo::default(),
            metadata: MetadataLog::default(),
            first_page: 0,
            next_page: 0,
            start: 0,
            position: None,
            partial: None,
            packets: VecDeque::new(),
            has_ended: false,
        };
        reader.prepared()
    }

    fn prepared(mut self) -> SymphoniaResult<Self> {
        self.skip_headers()?;
        self.first_page = self.next_page;
        while self.packets.is_empty() && !self.has_ended {
            self.read_packets()?;
        }
        self.start = self
            .packets
            .front()
            .map_or(0, |packet| packet.pts.get() + self.pre_skip);
        // The first time stamps were counted from a start of 0.
        self.rewind();
        if let Some(last) = self.last_position()? {
            let frames = last
                .saturating_sub(self.start)
                .saturating_sub(self.pre_skip);
            self.track.with_num_frames(frames.max(0) as u64);
        }
        Ok(self)
    }

    /// Goes behind the pages of the two headers, which end with pages of their own.
    fn skip_headers(&mut self) -> SymphoniaResult<()> {
        let mut headers = 0;
        while headers < 2 {
            let page = self.own_page()?;
            headers += page.pieces().iter().filter(|(_, ends)| *ends).count();
        }
        Ok(())
    }

    /// The stream's next page, whatever lies between.
    fn own_page(&mut self) -> SymphoniaResult<Page> {
        loop {
            let page = match read_page(&mut self.source, self.next_page) {
                Ok(page) => page,
                Err(reason) => {
                    if matches!(reason, NoPage::Damaged) {
                        // So that the error names this byte.
                        self.source.seek(SeekFrom::Start(self.next_page))?;
                    }
                    return Err(reason.into());
                }
            };
            self.next_page = page.end;
            if page.serial == self.serial {
                return Ok(page);
            }
        }
    }

    /// Takes the packets that end on the next page.
    fn read_packets(&mut self) -> SymphoniaResult<()> {
        let page = self.own_page()?;
        let mut finished = Vec::new();
        if self.partial.is_some() != page.continues() {
            return decode_error("Ogg pages are missing");
        }
        for (piece, ends) in page.pieces() {
            let mut packet = self.partial.take().unwrap_or_default();
            packet.extend_from_slice(piece);
            if packet.len() > MAX_PACKET_BYTES {
                return limit_error("an Opus packet of more than 1 MiB");
            }
            if ends {
                finished.push(packet);
            } else {
                self.partial = Some(packet);
            }
        }
        let mut lengths = Vec::with_capacity(finished.len());
        for packet in &finished {
            match opus::packet_frames(packet) {
                Some(frames) => lengths.push(frames as i64),
                None => return decode_error("an Opus packet of no or of more than 120 ms"),
            }
        }
        let total: i64 = lengths.iter().sum();
        let mut position = match (self.position, page.position()) {
            (Some(position), _) => position,
            // The first page: where it is the last as well, its position tells the end of the recording.
            (None, Some(end)) if page.is_last() => end.saturating_sub(total).max(0),
            (None, Some(end)) => end.saturating_sub(total),
            (None, None) => 0,
        };
        for (packet, frames) in finished.into_iter().zip(lengths) {
            let pts = Timestamp::from(position - self.start - self.pre_skip);
            let duration = Duration::from(frames as u64);
            self.packets
                .push_back(Packet::new(self.serial, pts, duration, packet));
            position = position.saturating_add(frames);
        }
        if let Some(end) = page.position()
            && (end > position || (end < position && !page.is_last()))
        {
            self.source.seek(SeekFrom::Start(page.at))?;
            self.packets.clear();
            return decode_error("the packets of an Ogg page are not as long as it says");
        }
        self.position = (total > 0 || self.position.is_some()).then_some(position);
        self.has_ended = page.is_last();
        Ok(())
    }

    fn rewind(&mut self) {
        self.continue_at(self.first_page, None);
    }

    fn continue_at(&mut self, page: u64, position: Option<i64>) {
        self.next_page = page;
        self.position = position;
        self.partial = None;
        self.packets.clear();
        self.has_ended = false;
    }

    /// The granule position at the end of the stream: from its last page, where that is in place.
    fn last_position(&mut self) -> SymphoniaResult<Option<i64>> {
        let from = self.source.len().saturating_sub(2 * MAX_PAGE_BYTES);
        if let Some(page) = self.last_page(from.max(self.first_page))? {
            return Ok(page.position());
        }
        // Another stream follows, or pages of another one, or rubbish: look at all pages.
        let mut at = self.first_page;
        while let Ok(page) = read_page(&mut self.source, at) {
            if page.serial == self.serial && page.is_last() {
                return Ok(page.position());
            }
            at = page.end;
        }
        Ok(None)
    }

    /// The stream's last page, if that begins behind `from`.
    fn last_page(&mut self, from: u64) -> SymphoniaResult<Option<Page>> {
        let mut at = from;
        while let Some(page) = self.find_page(at, self.source.len())? {
            if page.is_last() {
                return Ok(Some(page));
            }
            at = page.end;
        }
        Ok(None)
    }

    /// The first whole page of the stream that begins in `from..to`.
    fn find_page(&mut self, from: u64, to: u64) -> SymphoniaResult<Option<Page>> {
        let mut at = from;
        while at < to {
            match read_page(&mut self.source, at) {
                Ok(page) if page.serial == self.serial => return Ok(Some(page)),
                Ok(page) => at = page.end,
                Err(NoPage::Io(error)) => return Err(error.into()),
                Err(_) => match self.find_mark(at + 1, to)? {
                    Some(found) => at = found,
                    None => break,
                },
            }
        }
        Ok(None)
    }

    /// Where the next page may begin.
    fn find_mark(&mut self, from: u64, to: u64) -> SymphoniaResult<Option<u64>> {
        let mut scratch = Vec::new();
        let length = to.saturating_sub(from).min(MAX_PAGE_BYTES + 4) as usize;
        let bytes = self
            .source
            .bytes_at(from, length, &mut scratch)
            .map_err(|error| SymphoniaError::IoError(io::Error::other(error)))?;
        let found = bytes.windows(4).position(|window| window == b"OggS");
        Ok(found.map(|found| from + found as u64))
    }

    /// The last page found that ends before granule position `target`.
    fn page_before(&mut self, target: i64) -> SymphoniaResult<Option<Page>> {
        let (mut low, mut high, mut best) = (self.first_page, self.source.len(), None);
        while high.saturating_sub(low) > LINEAR_BYTES {
            let middle = low + (high - low) / 2;
            match self.positioned_page(middle, high)? {
                Some((page, position)) if position < target => {
                    low = page.end;
                    best = Some(page);
                }
                _ => high = middle,
            }
        }
        while let Some((page, position)) = self.positioned_page(low, high)? {
            if position >= target {
                break;
            }
            low = page.end;
            best = Some(page);
        }
        Ok(best)
    }

    /// The first page that begins in `from..to` and on which a packet ends, and its position.
    fn positioned_page(&mut self, from: u64, to: u64) -> SymphoniaResult<Option<(Page, i64)>> {
        let mut at = from;
        while let Some(page) = self.find_page(at, to)? {
            if let Some(position) = page.position() {
                return Ok(Some((page, position)));
            }
            at = page.end;
        }
        Ok(None)
    }
}

impl FormatReader for OpusReader<'_> {
    fn format_info(&self) -> &FormatInfo {
        &INFO
    }

    fn media_info(&self) -> &MediaInfo {
        &self.media
    }

    fn metadata(&mut self) -> Metadata<'_> {
        self.metadata.metadata()
    }

    fn tracks(&self) -> &[Track] {
        std::slice::from_ref(&self.track)
    }

    fn next_packet(&mut self) -> SymphoniaResult<Option<Packet>> {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Ok(Some(packet));
            }
            if self.has_ended {
                return Ok(None);
            }
            self.read_packets()?;
        }
    }

    fn seek(&mut self, _: SeekMode, to: SeekTo) -> SymphoniaResult<SeekedTo> {
        let SeekTo::Timestamp { ts, track_id } = to else {
            return seek_error(SeekErrorKind::Unseekable);
        };
        let target = ts
            .get()
            .saturating_add(self.start)
            .saturating_add(self.pre_skip);
        match self.page_before(target)? {
            Some(page) if !page.is_last() => {
                let pieces = page.pieces();
                let partial = pieces.last().filter(|(_, ends)| !ends);
                let partial = partial.map(|(piece, _)| piece.to_vec());
                self.continue_at(page.end, page.position());
                self.partial = partial;
            }
            Some(_) => return seek_error(SeekErrorKind::OutOfRange),
            None => self.rewind(),
        }
        let position = self.position.unwrap_or(self.start);
        Ok(SeekedTo {
            track_id,
            required_ts: ts,
            actual_ts: Timestamp::from(position - self.start - self.pre_skip),
        })
    }

    fn into_inner<'s>(self: Box<Self>) -> MediaSourceStream<'s>
    where
        Self: 's,
    {
        MediaSourceStream::new(Box::new(self.source), Default::default())
    }
}
