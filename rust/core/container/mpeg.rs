//! MPEG audio streams (MP1, MP2, MP3), bare or in a WAV.
//!
//! A WAV of them has the format tags 0x50 and 0x55 (RFC 2361). Which end is trimmed by what is what
//! FFmpeg does: see [`info`].

mod header;
mod info;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests;

use super::demuxer::{Demuxer, Packet, Track};
use super::extent::Declared;
use super::frames::{Frames, Header as _, Proof, find_first, is_container, run};
use super::pieces::Bare;
use super::tags;
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::error::{Error, Result};
use header::Header;
use info::Info;

/// Bytes of a frame of a free bit rate at most: 640 kbit/s at 8 kHz, and to spare.
const LONGEST_FREE: usize = 8 * 1024;

/// A stream of MPEG audio.
pub(crate) struct Mpeg<'a> {
    frames: Frames<'a, Header>,
    track: Track,
    trim: Trim,
    /// Where the audio ends by the header in front of it, and how many packets it says there are.
    declared: Option<Promised>,
    /// That the stream is shorter than declared was said.
    told: bool,
}

#[derive(Clone, Copy)]
struct Promised {
    packets: u64,
    end: Option<u64>,
}

/// Which of the decoded samples are none of the recording. Samples count from the first packet on.
#[derive(Clone, Copy, Default)]
struct Trim {
    delay: u64,
    /// Where the padding lies: in front of the end that the header tells.
    padding: (u64, u64),
}

impl Trim {
    fn new(header: Header, info: &Info, is_count_used: bool) -> Self {
        let packets = info.packets.filter(|_| is_count_used).unwrap_or(0);
        let end = packets * header.frames();
        Self {
            delay: info.delay,
            padding: (end.saturating_sub(info.padding), end),
        }
    }

    /// Samples of padding before sample `raw`.
    fn padding_before(&self, raw: u64) -> u64 {
        raw.clamp(self.padding.0, self.padding.1) - self.padding.0
    }

    /// The frame of the recording that sample `raw` is.
    fn begin(&self, raw: u64) -> i64 {
        (raw - self.padding_before(raw)) as i64 - self.delay as i64
    }

    /// How many of `samples` samples from `raw` on are padding.
    fn padding_in(&self, raw: u64, samples: u64) -> u64 {
        self.padding_before(raw.saturating_add(samples)) - self.padding_before(raw)
    }

    /// The sample that is frame `frame` of the recording, or the first one.
    fn sample_at(&self, frame: i64) -> u64 {
        let Ok(raw) = u64::try_from(frame.saturating_add(self.delay as i64)) else {
            return 0;
        };
        match raw >= self.padding.0 {
            true => raw.saturating_add(self.padding.1 - self.padding.0),
            false => raw,
        }
    }
}

impl<'a> Mpeg<'a> {
    /// Finds the first frames and reads the header in front of the audio; gives the source back where
    /// there are none.
    ///
    /// # Errors
    /// An ID3v2 tag after which there is nothing.
    pub(crate) fn open(source: Source<'a>) -> Result<std::result::Result<Self, Source<'a>>> {
        let mut window = Window::new(source);
        let Some(place) = find_stream(&mut window)? else {
            return Ok(Err(window.into_source()));
        };
        let end = place.end.min(window.len());
        let found = find_first::<Header>(&mut window, place.from, end)?;
        let found = match found {
            None => find_free(&mut window, place.from, end)?,
            found => found,
        };
        match found {
            Some((at, header)) => Self::tagged(window, place.container, at, end, header).map(Ok),
            None if place.from >= end && place.container == "mp3" => {
                let reason = "an ID3v2 tag reaches to the end of the file: no audio follows it";
                Err(Error::corrupt(reason).at_byte(end))
            }
            None => Ok(Err(window.into_source())),
        }
    }

    /// The same of a stream in another container: frames from the beginning to the end, of which none is a header.
    ///
    /// # Errors
    /// What reading fails with.
    pub(super) fn bare(mut window: Window<'a>, container: &'static str) -> Result<Option<Self>> {
        let end = window.len();
        let found = match find_first::<Header>(&mut window, 0, end)? {
            None => find_free(&mut window, 0, end)?,
            found => found,
        };
        let new = |(at, header)| {
            let frames = Frames::new(window, at, end, header);
            Self::new(frames, container, header)
        };
        found.map(new).transpose()
    }

    /// The stream that begins at `at`, whose first frame may be a header.
    fn tagged(
        window: Window<'a>,
        container: &'static str,
        at: u64,
        end: u64,
        header: Header,
    ) -> Result<Self> {
        let mut frames = Frames::new(window, at, end, header);
        let first = frames.first();
        let info = Info::read(header, frames.bytes(&first)?);
        if let Some(info) = &info {
            let has_more = info
                .bytes
                .is_some_and(|bytes| at.saturating_add(bytes) > end);
            let promised = info.packets.or(has_more.then_some(u64::MAX));
            frames.begin_behind(&first, promised);
        }
        let mut new = Self::new(frames, container, header)?;
        new.use_info(header, at, &info.unwrap_or_default())?;
        Ok(new)
    }

    fn new(frames: Frames<'a, Header>, container: &'static str, header: Header) -> Result<Self> {
        Ok(Self {
            track: Track {
                container,
                params: header.params()?,
                frames: None,
                parts: Vec::new(),
            },
            trim: Trim::default(),
            declared: None,
            told: false,
            frames,
        })
    }

    fn use_info(&mut self, header: Header, at: u64, info: &Info) -> Result<()> {
        let end = info.bytes.map(|bytes| at.saturating_add(bytes));
        let tail = match end {
            Some(end) if end != self.frames.end() => self.frames.tail()?,
            _ => self.frames.end(),
        };
        // A file that is far longer than its header says was put together from several: FFmpeg
        // takes the header's count for wrong then.
        let more = end.unwrap_or(tail).min(tail)..tail;
        let is_far = more.end - more.start > info.bytes.unwrap_or(0) >> 4;
        let is_count_used = !is_far || self.frames.is_zero(more)?;
        self.trim = Trim::new(header, info, is_count_used);
        self.declared = info.packets.map(|packets| Promised { packets, end });
        // A checksum and the right length in bytes: LAME wrote all of it in one go, at one rate. What changes on
        // the way of such a file is met by decoding alone.
        let is_sure = info.is_sure && end == Some(tail);
        self.track.frames = info
            .packets
            .filter(|_| is_sure)
            .map(|packets| self.length(packets.saturating_mul(header.frames())));
        Ok(())
    }

    /// Frames of the recording in so many samples.
    fn length(&self, samples: u64) -> u64 {
        self.trim.begin(samples).max(0) as u64
    }

    /// What the header in front of the audio promises and is not there, or does not know of.
    fn check_count(&self, packets: u64) -> Result<()> {
        let Some(declared) = self.declared else {
            return Ok(());
        };
        if packets > declared.packets {
            let at = declared.end.unwrap_or(self.frames.last_end());
            let reason = "the stream continues after the frames that its header counts";
            return self.frames.remark(Error::corrupt(reason).at_byte(at));
        }
        let last = self.frames.last_end();
        let is_cut = match declared.end {
            Some(end) => last < end,
            // Some writers count the header's own frame.
            None => packets + 1 < declared.packets,
        };
        if packets == declared.packets || !is_cut {
            return Ok(());
        }
        let reason = format!(
            "the stream ends after {packets} of {} packets: it was cut short",
            declared.packets
        );
        Err(Error::corrupt(reason).at_byte(last))
    }
}

/// Where MPEG audio may begin and must end.
struct Place {
    container: &'static str,
    from: u64,
    end: u64,
}

/// `None` where the file is of another format.
fn find_stream(window: &mut Window<'_>) -> Result<Option<Place>> {
    let from = tags::behind_id3v2(window, 0)?;
    let head = window.at(from, 12, u64::MAX)?;
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WAVE") {
        return find_in_wav(window, from);
    }
    if from == 0 && is_container(window)? {
        return Ok(None);
    }
    Ok(Some(Place {
        container: "mp3",
        from,
        end: u64::MAX,
    }))
}

/// The data of a WAV from byte `base` on whose format is MPEG audio.
fn find_in_wav(window: &mut Window<'_>, base: u64) -> Result<Option<Place>> {
    let number = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    let head = window.at(base, 12, u64::MAX)?;
    let size = head.get(4..).and_then(<[u8]>::first_chunk);
    let outer_end = size.map(|size| (base + 8).saturating_add(number(size)));
    let (mut at, mut is_mpeg) = (base + 12, false);
    while let Some(head) = window.at(at, 10, u64::MAX)?.first_chunk::<10>() {
        let [a, b, c, d, size @ .., low, high] = *head;
        let (begin, size) = (at + 8, number(&size));
        match &[a, b, c, d] {
            b"fmt " => is_mpeg = matches!(u16::from_le_bytes([low, high]), 0x50 | 0x55),
            b"data" if is_mpeg => {
                let end = end_of_data(window, begin, size, outer_end)?;
                return Ok(Some(Place {
                    container: "wav",
                    from: begin,
                    end,
                }));
            }
            b"data" => return Ok(None),
            _ => {}
        }
        at = begin + size + size % 2;
    }
    Ok(None)
}

/// Where `size` bytes of data end that begin at `begin`, judged as those of PCM are.
fn end_of_data(window: &Window<'_>, begin: u64, size: u64, outer_end: Option<u64>) -> Result<u64> {
    let len = window.len();
    let declared = Declared {
        container: "WAV",
        at: begin,
        size,
        // No MPEG audio is no recording: 0 is a placeholder.
        outer_end: outer_end.filter(|_| size > 0),
        block_bytes: 1,
    };
    if let Some(reason) = declared.carelessness(len) {
        window.remark(Error::corrupt(reason).at_byte(begin))?;
        return Ok(u64::MAX);
    }
    let there = len.saturating_sub(begin);
    if size > there {
        let reason =
            format!("the WAV header declares {size} bytes of data and the file has {there}");
        return Err(Error::corrupt(reason).at_byte(len));
    }
    Ok(begin + size)
}

/// The header at `from`, if frames of a free bit rate begin there: what comes after the second header has
/// to lie where the distance of the first two says.
fn find_free(window: &mut Window<'_>, from: u64, end: u64) -> Result<Option<(u64, Header)>> {
    let from = from.min(end);
    let rest = window.reach(from, 4 * LONGEST_FREE)?.min(end - from);
    let bytes = window.at(from, 4 * LONGEST_FREE, u64::MAX)?;
    let bytes = bytes.get(..rest.min(bytes.len() as u64) as usize);
    let bytes = bytes.unwrap_or_default();
    let is_rest = bytes.len() as u64 == rest;
    let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let proof = Proof {
        frames: 4,
        at_end: 2,
    };
    let header = (24..=LONGEST_FREE).find_map(|distance| {
        let header = Header::of_free(word(0)?, word(distance)?, distance)?;
        run(bytes, Some(&header), proof, is_rest)
    });
    Ok(header.map(|header| (from, header)))
}

impl Bare for Mpeg<'_> {
    fn in_file(&self, error: Error) -> Error {
        self.frames.window().in_file(error)
    }

    fn file_byte(&self, at: u64) -> u64 {
        self.frames.window().file_byte(at)
    }
}

impl Demuxer for Mpeg<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let Some(frame) = self.frames.next()? else {
            let (packets, _) = self.frames.count()?;
            let is_told = std::mem::replace(&mut self.told, true);
            return if is_told {
                Ok(None)
            } else {
                self.check_count(packets).map(|()| None)
            };
        };
        Ok(Some(Packet {
            at: frame.at,
            data: self.frames.bytes(&frame)?.to_vec(),
            begin: Some(self.trim.begin(frame.begin)),
            frames: Some(frame.header.frames()),
            padding: self.trim.padding_in(frame.begin, frame.header.frames()),
            params: self.frames.link(&frame),
        }))
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        self.frames.seek(self.trim.sample_at(frame))
    }

    fn rate_change(&self) -> Option<i64> {
        self.frames.rate_change().map(|raw| self.trim.begin(raw))
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        let (packets, samples) = self.frames.count()?;
        self.check_count(packets)?;
        Ok(Some(self.length(samples)))
    }
}
