//! FLAC (RFC 9639), decoded here: every depth and block size, and every checksum compared.
//!
//! Symphonia's decoder takes twice the time, refuses 32 bits and streams whose header tells a
//! smallest block of 0, and passes over damaged frames.

pub(crate) mod bits;
mod crc;
mod frame;
mod header;
mod info;
mod output;
mod packets;
mod predict;
mod seek;
mod subframe;

use std::ops::Range;

use crate::damage::Damage;
use crate::decode::AudioInfo;
use crate::error::{Error, Name, Result};
use crate::source::Source;

use self::frame::{Frame, FrameDecoder};
pub(crate) use self::header::FrameHeader;
use self::header::MAX_HEADER_BYTES;
use self::info::StreamInfo;
use self::output::{Checksum, Output};
pub(crate) use self::packets::Packets;
use crate::window::Window;

/// Samples reserved at most on the header's word, of all planes together: three minutes of mono.
const MAX_RESERVED: u64 = 8 << 20;
/// No frame is longer: 8 channels of 65,535 plain samples are half of it.
const MAX_FRAME_BYTES: usize = 4 << 20;
/// How far one looks for the end of a frame at first, where nothing is known of their sizes.
const FIRST_FRAME_BYTES: usize = 16 * 1024;

/// What is wrong with a frame's bytes; where they lie is known further up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They end too early.
    Short,
    Damaged(&'static str),
    /// They are of another kind than the stream: `from` and `to` in units of `what`.
    Changed {
        what: &'static str,
        from: u32,
        to: u32,
    },
}

/// An opened stream, and where it is read.
pub(crate) struct Flac<'a> {
    name: Name,
    info: StreamInfo,
    window: Window<'a>,
    decoder: FrameDecoder,
    /// Where the first frame begins, and its header; `None` where there is no frame.
    first_byte: u64,
    first: Option<FrameHeader>,
    /// The next frame: its byte and its first sample.
    at: u64,
    position: u64,
    /// Bytes to look at for a frame: more than most have.
    frame_bytes: usize,
}

impl<'a> Flac<'a> {
    /// Where `fLaC` stands; `None` when this is no native FLAC.
    pub(crate) fn sniff(source: &mut Source<'_>) -> Result<Option<u64>> {
        info::sniff(source)
    }

    /// Reads the headers of the stream whose `fLaC` stands at `at`.
    pub(crate) fn open(mut source: Source<'a>, at: u64) -> Result<Self> {
        let (info, first_byte) = info::read(&mut source, at)?;
        let most = (info.max_frame_bytes as usize).min(MAX_FRAME_BYTES);
        Ok(Self {
            name: source.name().to_owned(),
            info,
            window: Window::new(source),
            decoder: FrameDecoder::new(&info),
            first_byte,
            first: None,
            at: first_byte,
            position: 0,
            frame_bytes: if most > 0 { most } else { FIRST_FRAME_BYTES },
        })
    }

    pub(crate) fn sample_rate(&self) -> u32 {
        self.info.sample_rate
    }

    /// Samples per channel, where the header tells them.
    fn declared(&self) -> Option<u64> {
        Some(self.info.frames).filter(|frames| *frames > 0)
    }

    /// The header's facts; where it does not tell the length, the last frame does.
    pub(crate) fn info(mut self) -> Result<AudioInfo> {
        let frames = match self.declared() {
            Some(frames) => frames,
            None => self.frames_by_the_last()?,
        };
        Ok(AudioInfo {
            sample_rate: self.info.sample_rate,
            channels: self.info.channels,
            frames,
            container: "flac".into(),
            codec: "flac".into(),
            bits_per_sample: Some(self.info.bits),
            remarks: Vec::new(),
        })
    }

    /// Decodes samples `range`, cut at the end of the recording.
    pub(crate) fn decode(
        &mut self,
        range: Range<u64>,
        mono: bool,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        let end = range.end.min(self.declared().unwrap_or(u64::MAX));
        let start = range.start.min(end);
        let mut output = self.output(start..end, mono)?;
        if start == end {
            return Ok(output.into_planes());
        }
        self.seek(start)?;
        let wanted = start..end;
        while self.position < end {
            let begin = self.position;
            match self.next_frame(end) {
                Ok(Some(frame)) => {
                    let part = inside(&wanted, begin, frame.header.block_size);
                    output.push(&self.decoder.block(), part)?;
                }
                Ok(None) => break,
                Err(error) => {
                    damage.meet(error)?;
                    if !self.pass_damage(&wanted, &mut output, damage)? {
                        break;
                    }
                }
            }
        }
        if self.position >= end && Some(end) == self.declared() {
            self.check_nothing_follows()?;
        }
        Ok(output.into_planes())
    }

    /// Moves behind damage, and puts silence for what it costs; whether the stream goes on.
    fn pass_damage(
        &mut self,
        wanted: &Range<u64>,
        output: &mut Output,
        damage: &mut Damage,
    ) -> Result<bool> {
        let place = |sample: u64| sample.clamp(wanted.start, wanted.end);
        let begin = self.position;
        if !self.resync()? {
            let end = self.declared().map_or(begin, |frames| frames.max(begin));
            damage.cut_short(place(begin)..place(end), self.at)?;
            return Ok(false);
        }
        let missing = place(begin)..place(self.position);
        if missing.is_empty() && begin < wanted.start {
            damage.forget();
        } else {
            damage.fill(missing, self.at, |frames| output.push_silence(frames))?;
        }
        Ok(true)
    }

    /// The same; all of the stream is decoded, and its MD5 compared with the header's, if that has one.
    pub(crate) fn decode_verified(
        &mut self,
        range: Range<u64>,
        mono: bool,
    ) -> Result<Vec<Vec<f32>>> {
        let end = self.declared().unwrap_or(u64::MAX);
        let wanted = range.start.min(end)..range.end.min(end);
        let mut output = self.output(wanted.clone(), mono)?;
        let mut checksum = Checksum::new(&self.info);
        while self.position < end {
            let begin = self.position;
            let Some(frame) = self.next_frame(end)? else {
                break;
            };
            let block = self.decoder.block();
            let whole = inside(&(0..end), begin, frame.header.block_size);
            checksum.push(&block, whole.len());
            output.push(&block, inside(&wanted, begin, frame.header.block_size))?;
        }
        self.check_nothing_follows()?;
        let is_told = self.info.md5 != [0; 16];
        if is_told && checksum.finish() != self.info.md5 {
            return Err(
                Error::corrupt("the MD5 of the samples is not the one in the FLAC header")
                    .with_source(self.name.clone())
                    .at_byte(self.first_byte),
            );
        }
        Ok(output.into_planes())
    }

    fn output(&self, wanted: Range<u64>, mono: bool) -> Result<Output> {
        let planes = if mono { 1 } else { self.info.channels };
        let most = MAX_RESERVED / u64::from(planes);
        let room = wanted.end - wanted.start.min(wanted.end);
        Output::with_capacity(
            &self.info,
            mono,
            room.min(self.info.frames).min(most) as usize,
        )
    }

    /// Decodes the next frame; `None` where a stream of unknown length ends.
    ///
    /// Reads about as far ahead as sample `end`.
    fn next_frame(&mut self, end: u64) -> Result<Option<Frame>> {
        let expected = self.bytes_until(end);
        let mut need = self.frame_bytes;
        let decoded = loop {
            let bytes = self.window.at(self.at, need, expected)?;
            let seen = bytes.len().min(MAX_FRAME_BYTES);
            match self.decoder.decode(bytes.get(..seen).unwrap_or_default()) {
                Err(Fault::Short) if seen == MAX_FRAME_BYTES => {
                    break Err(Fault::Damaged("a frame is longer than any can be"));
                }
                Err(Fault::Short) if self.at + (seen as u64) < self.window.len() => {
                    need = (2 * seen.max(need)).min(MAX_FRAME_BYTES);
                }
                result => break result,
            }
        };
        match decoded {
            Ok(frame) => self.pass(frame).map(Some),
            Err(_) if self.declared().is_none() && self.only_tags_follow()? => Ok(None),
            Err(fault) => Err(self.at_frame(fault)),
        }
    }

    /// Moves behind a frame that was decoded, if it is the one that had to come.
    fn pass(&mut self, frame: Frame) -> Result<Frame> {
        let first = *self.first.get_or_insert(frame.header);
        let start = frame.header.start(first.block_size);
        if start != self.position || frame.header.variable != first.variable {
            let reason = format!(
                "damaged FLAC frames: sample {} is followed by {start}",
                self.position
            );
            return Err(self.located(Error::corrupt(reason)));
        }
        self.at += frame.bytes as u64;
        self.position += u64::from(frame.header.block_size);
        // Room to spare: a frame that does not fit is decoded twice.
        self.frame_bytes = self.frame_bytes.max(frame.bytes + frame.bytes / 4);
        Ok(frame)
    }

    /// About how many bytes it is from here to sample `end`, and a frame more.
    fn bytes_until(&self, end: u64) -> u64 {
        let (bytes, samples) = (self.window.len() - self.first_byte, self.info.frames);
        if samples == 0 {
            return bytes;
        }
        let wanted = u128::from(end.min(samples).saturating_sub(self.position));
        let estimate = wanted * u128::from(bytes) / u128::from(samples);
        u64::try_from(estimate).unwrap_or(bytes) + self.frame_bytes as u64
    }

    /// More frames than the header tells would be lost without a word.
    fn check_nothing_follows(&mut self) -> Result<()> {
        let Some(declared) = self.declared() else {
            return Ok(());
        };
        let bytes = self
            .window
            .at(self.at, MAX_HEADER_BYTES, MAX_HEADER_BYTES as u64)?;
        let more = FrameHeader::parse(bytes).is_ok_and(|header| {
            let first = self.first.unwrap_or(header);
            header.check(&self.info).is_ok() && header.start(first.block_size) == self.position
        });
        if more || self.position > declared {
            let reason = format!("the FLAC header promises {declared} samples and more follow");
            return Err(self.located(Error::corrupt(reason)));
        }
        Ok(())
    }

    /// Whether the rest is nothing, zeros, or a tag that others put behind the stream.
    fn only_tags_follow(&mut self) -> Result<bool> {
        let rest = self.window.at(self.at, 64, 64)?;
        let tags: [&[u8]; 4] = [b"TAG", b"APETAGEX", b"ID3", b"LYRICSBEGIN"];
        let is_tag = tags.iter().any(|tag| rest.starts_with(tag));
        Ok(is_tag || rest.iter().all(|byte| *byte == 0))
    }

    fn at_frame(&self, fault: Fault) -> Error {
        let position = self.position;
        let error = match (fault, self.declared()) {
            (Fault::Short, Some(frames)) => Error::corrupt(format!(
                "the stream ends after {position} of {frames} samples: it was cut short"
            )),
            (Fault::Short, None) => Error::corrupt(format!(
                "the stream ends inside of the frame of sample {position}: it was cut short"
            )),
            (Fault::Damaged(reason), _) => {
                Error::corrupt(format!("damaged FLAC frame of sample {position}: {reason}"))
            }
            (Fault::Changed { what, from, to }, _) => Error::unsupported(format!(
                "the header says {from} {what} and the stream {to} {what} from sample {position} on"
            )),
        };
        self.located(error)
    }

    fn located(&self, error: Error) -> Error {
        error.with_source(self.name.clone()).at_byte(self.at)
    }
}

/// The samples of a frame of `length` that begins at sample `begin` and are wanted.
fn inside(wanted: &Range<u64>, begin: u64, length: u32) -> Range<usize> {
    let length = u64::from(length);
    let place = |sample: u64| sample.saturating_sub(begin).min(length) as usize;
    place(wanted.start)..place(wanted.end)
}
