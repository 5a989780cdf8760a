//! MPEG audio streams (MP1, MP2, MP3), bare or in a WAV.
//!
//! A WAV of them has the format tags 0x50 and 0x55 (RFC 2361). Which end is trimmed by what is what
//! FFmpeg does: see [`info`].

mod header;
mod info;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests;

use super::frames::{Frame, Frames, find_first, is_container};
use super::{Demuxer, Packet, Track, tags};
use crate::error::{Error, Result};
use crate::params::{Codec, Params};
use crate::source::Source;
use crate::window::Window;
use header::{Header, are_alike, is_free_format};
use info::Info;

/// A stream of MPEG audio.
pub(crate) struct Mpeg<'a> {
    frames: Frames<'a, Header>,
    track: Track,
    trim: Trim,
    /// Where the audio ends by the header in front of it, and how many packets it says there are.
    declared: Option<Declared>,
    /// That the stream is shorter than declared was said.
    told: bool,
}

#[derive(Clone, Copy)]
struct Declared {
    packets: u64,
    end: Option<u64>,
}

/// Which of the decoded samples are none of the recording. Positions count from the first packet on.
#[derive(Clone, Copy, Default)]
struct Trim {
    per_packet: u64,
    delay: u64,
    /// Where the padding lies: in front of the end that the header tells.
    padding: (u64, u64),
}

impl Trim {
    fn new(header: Header, info: &Info, is_count_used: bool) -> Self {
        let per_packet = header.frames();
        let packets = info.packets.filter(|_| is_count_used).unwrap_or(0);
        let end = packets * per_packet;
        Self {
            per_packet,
            delay: info.delay,
            padding: (end.saturating_sub(info.padding), end),
        }
    }

    /// Samples of padding before position `raw`.
    fn padding_before(&self, raw: u64) -> u64 {
        raw.clamp(self.padding.0, self.padding.1) - self.padding.0
    }

    /// The frame of the recording with which packet `index` begins.
    fn begin(&self, index: u64) -> i64 {
        let raw = index.saturating_mul(self.per_packet);
        (raw - self.padding_before(raw)) as i64 - self.delay as i64
    }

    /// How much of packet `index` is padding.
    fn padding_in(&self, index: u64) -> u64 {
        let raw = index.saturating_mul(self.per_packet);
        self.padding_before(raw.saturating_add(self.per_packet)) - self.padding_before(raw)
    }

    /// The last packet that begins at `frame` or before it.
    fn packet_at(&self, frame: i64) -> u64 {
        let Ok(raw) = u64::try_from(frame.saturating_add(self.delay as i64)) else {
            return 0;
        };
        let behind = if raw >= self.padding.0 {
            self.padding.1 - self.padding.0
        } else {
            0
        };
        raw.saturating_add(behind) / self.per_packet.max(1)
    }
}

impl<'a> Mpeg<'a> {
    /// Finds the first frames and reads the header in front of the audio; gives the source back where
    /// there are none.
    ///
    /// # Errors
    /// A bit rate that is "free".
    pub(crate) fn open(source: Source<'a>) -> Result<std::result::Result<Self, Source<'a>>> {
        let mut window = Window::new(source);
        let Some(place) = find_stream(&mut window)? else {
            return Ok(Err(window.into_source()));
        };
        let end = place.end.min(window.len());
        match find_first::<Header>(&mut window, place.from, end)? {
            Some((at, header)) => Self::new(window, place.container, at, end, header).map(Ok),
            None if is_free(&mut window, place.from)? => {
                let reason = "MPEG audio of a free bit rate is not decoded here";
                Err(Error::unsupported(reason).at_byte(place.from))
            }
            None => Ok(Err(window.into_source())),
        }
    }

    fn new(
        window: Window<'a>,
        container: &'static str,
        at: u64,
        end: u64,
        header: Header,
    ) -> Result<Self> {
        let mut frames = Frames::new(window, at, end, header);
        let first = Frame {
            at,
            header,
            index: 0,
        };
        let info = Info::read(header, frames.bytes(&first)?);
        if info.is_some() {
            frames.begin_behind(&first);
        }
        let info = info.unwrap_or_default();
        let mut new = Self {
            track: Track {
                container,
                params: params(header),
                frames: None,
            },
            trim: Trim::default(),
            declared: None,
            told: false,
            frames,
        };
        new.use_info(header, at, &info)?;
        Ok(new)
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
        self.declared = info.packets.map(|packets| Declared { packets, end });
        let is_sure = info.is_sure && end == Some(tail);
        self.track.frames = info
            .packets
            .filter(|_| is_sure)
            .map(|packets| self.length(packets));
        Ok(())
    }

    /// Frames of the recording in so many packets.
    fn length(&self, packets: u64) -> u64 {
        self.trim.begin(packets).max(0) as u64
    }

    /// What the header in front of the audio promises and is not there.
    fn check_count(&self, packets: u64) -> Result<()> {
        let Some(declared) = self.declared.filter(|declared| packets < declared.packets) else {
            return Ok(());
        };
        let last = self.frames.last_end();
        let is_cut = match declared.end {
            Some(end) => last < end,
            // Some writers count the header's own frame.
            None => packets + 1 < declared.packets,
        };
        if !is_cut {
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
    let head = window.at(0, 12, u64::MAX)?;
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WAVE") {
        return find_in_wav(window);
    }
    if is_container(window)? {
        return Ok(None);
    }
    Ok(Some(Place {
        container: "mp3",
        from: tags::behind_id3v2(window, 0)?,
        end: u64::MAX,
    }))
}

/// The data of a WAV whose format is MPEG audio.
fn find_in_wav(window: &mut Window<'_>) -> Result<Option<Place>> {
    let (mut at, mut is_mpeg) = (12, false);
    while let Some(head) = window.at(at, 10, u64::MAX)?.first_chunk::<10>() {
        let [a, b, c, d, size @ .., low, high] = *head;
        let begin = at + 8;
        let size = u64::from(u32::from_le_bytes(size));
        match &[a, b, c, d] {
            b"fmt " => is_mpeg = matches!(u16::from_le_bytes([low, high]), 0x50 | 0x55),
            b"data" if is_mpeg => {
                // 0 and the largest number stand for "until the end", as in other WAVs.
                let is_open = matches!(size, 0 | 0xFFFF_FFFF);
                let end = if is_open { u64::MAX } else { begin + size };
                if end < u64::MAX && end > window.len() {
                    let (there, len) = (window.len() - begin, window.len());
                    let reason = format!(
                        "the WAV header promises {size} bytes of data and {there} are there"
                    );
                    return Err(Error::corrupt(reason).at_byte(len));
                }
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

/// Whether frames of a free bit rate begin at `at`: three headers at equal distances.
fn is_free(window: &mut Window<'_>, at: u64) -> Result<bool> {
    const LONGEST: usize = 8 * 1024;
    let bytes = window.at(at, 3 * LONGEST, u64::MAX)?;
    let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let Some(first) = word(0).filter(|word| is_free_format(*word)) else {
        return Ok(false);
    };
    let alike =
        |at: usize| word(at).is_some_and(|word| is_free_format(word) && are_alike(word, first));
    // A frame is as long as the others, or one slot longer.
    let slots = [0, 1, 4];
    let follows = |at: usize, length: usize| {
        slots
            .iter()
            .any(|slot| alike(at + length + slot) || alike((at + length).saturating_sub(*slot)))
    };
    Ok((24..LONGEST).any(|length| alike(length) && follows(length, length)))
}

fn params(header: Header) -> Params {
    let codec = match header.layer() {
        1 => Codec::Mp1,
        2 => Codec::Mp2,
        _ => Codec::Mp3,
    };
    let channels = Some(header.channels());
    Params::new(codec, header.sample_rate(), channels)
}

impl Demuxer for Mpeg<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let Some(frame) = self.frames.next()? else {
            let packets = self.frames.count()?;
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
            begin: Some(self.trim.begin(frame.index)),
            frames: Some(self.trim.per_packet),
            padding: self.trim.padding_in(frame.index),
            params: None,
        }))
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        self.frames.seek(self.trim.packet_at(frame))
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        let packets = self.frames.count()?;
        self.check_count(packets)?;
        Ok(Some(self.length(packets)))
    }
}
