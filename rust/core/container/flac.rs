//! Native FLAC (RFC 9639): where its frames lie, each proven by all of its checksums.
//!
//! Symphonia's reader refuses streams whose header tells a smallest block of 0, and passes over damaged
//! frames.

mod chain;
mod header;
mod numbers;
pub(crate) mod packets;
mod seek;

pub(crate) use self::chain::Stream;
pub(crate) use self::header::sniff;
use self::numbers::Numbers;
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::codec::flac::Fault;
use crate::codec::flac::frame::{Frame, FrameDecoder};
use crate::codec::flac::stream_info::StreamInfo;
use crate::error::{Error, Name, Result};
use crate::info::AudioInfo;

/// No frame is longer: 8 channels of 65,535 plain samples are half of it.
const MAX_FRAME_BYTES: usize = 4 << 20;
/// How far one looks for the end of a frame at first, where nothing is known of their sizes.
const FIRST_FRAME_BYTES: usize = 16 * 1024;

/// An opened recording, and where it is read.
pub(crate) struct Flac<'a> {
    pub(crate) name: Name,
    /// The first stream's header, which is that of the recording.
    pub(crate) info: StreamInfo,
    window: Window<'a>,
    /// The stream that is read; nearly always the only one.
    pub(crate) stream: Stream,
    pub(crate) decoder: FrameDecoder,
    /// Where the first frame of all begins.
    first_byte: u64,
    /// Of the frames of this stream; `None` before the first one.
    pub(crate) numbers: Option<Numbers>,
    /// The next frame: its byte and its first sample.
    pub(crate) at: u64,
    pub(crate) position: u64,
    /// Bytes to look at for a frame: more than most have.
    frame_bytes: usize,
    /// Where the next stream begins, if any does; `None`: it was not looked for.
    next_stream: Option<Option<u64>>,
}

impl<'a> Flac<'a> {
    /// Reads the headers of the stream that begins at `at`.
    pub(crate) fn open(mut source: Source<'a>, at: u64) -> Result<Self> {
        let (info, first_byte) = header::read(&mut source, at)?;
        let most = (info.max_frame_bytes as usize).min(MAX_FRAME_BYTES);
        Ok(Self {
            name: source.name().to_owned(),
            info,
            window: Window::new(source),
            stream: Stream::new(info, at, 0),
            decoder: FrameDecoder::new(&info),
            first_byte,
            numbers: None,
            at: first_byte,
            position: 0,
            frame_bytes: if most > 0 { most } else { FIRST_FRAME_BYTES },
            next_stream: None,
        })
    }

    pub(crate) fn sample_rate(&self) -> u32 {
        self.info.sample_rate
    }

    /// Where the stream ends in the recording, if its header tells that.
    pub(crate) fn declared(&self) -> Option<u64> {
        self.stream.end()
    }

    /// The header's facts. The last frame tells the length, or whether it is what the header says; where it
    /// or those in between do not agree, all are decoded.
    pub(crate) fn info(mut self) -> Result<AudioInfo> {
        Ok(AudioInfo {
            sample_rate: self.info.sample_rate,
            channels: self.info.channels,
            frames: self.length()?,
            container: "flac".into(),
            codec: "flac".into(),
            bits_per_sample: Some(self.info.bits),
            remarks: Vec::new(),
        })
    }

    fn length(&mut self) -> Result<u64> {
        let declared = self.declared();
        match (self.trusted_end()?, declared) {
            (Some(_), Some(declared)) => return Ok(declared),
            (Some(end), None) => {
                (self.at, self.position) = (end.byte, end.sample);
                if self.only_tags_follow()? {
                    return Ok(end.sample);
                }
            }
            // What is missing, decoding tells.
            (None, Some(declared)) if self.is_cut()? => return Ok(declared),
            (None, _) => {}
        }
        match (self.walk(), declared) {
            (Err(error), Some(declared)) if error.is_damage() => Ok(declared),
            (walked, _) => walked,
        }
    }

    /// The length, by decoding all of it.
    fn walk(&mut self) -> Result<u64> {
        self.rewind();
        while self.next_frame(u64::MAX)?.is_some() {}
        Ok(self.position)
    }

    fn rewind(&mut self) {
        (self.at, self.position, self.numbers) = (self.first_byte, 0, None);
    }

    /// Decodes the next frame; `None` where the recording ends.
    ///
    /// Reads about as far ahead as sample `end`.
    pub(crate) fn next_frame(&mut self, end: u64) -> Result<Option<Frame>> {
        // Each turn but the last moves on in the file.
        loop {
            let is_told = self.declared().is_some_and(|end| self.position >= end);
            if is_told && !self.goes_on()? {
                return Ok(None);
            }
            match self.decode_here(end)? {
                Ok(frame) => return self.pass(frame).map(Some),
                Err(fault) if !self.pass_fault(fault)? => return Ok(None),
                Err(_) => {}
            }
        }
    }

    /// Decodes the frame that begins here, if one does.
    fn decode_here(&mut self, end: u64) -> Result<std::result::Result<Frame, Fault>> {
        let expected = self.bytes_until(end);
        let mut need = self.frame_bytes;
        loop {
            let bytes = self.window.at(self.at, need, expected)?;
            let seen = bytes.len().min(MAX_FRAME_BYTES);
            match self.decoder.decode(bytes.get(..seen).unwrap_or_default()) {
                Err(Fault::Short) if seen == MAX_FRAME_BYTES => {
                    return Ok(Err(Fault::Damaged("a frame is impossibly long")));
                }
                Err(Fault::Short) if self.at + (seen as u64) < self.window.len() => {
                    need = (2 * seen.max(need)).min(MAX_FRAME_BYTES);
                }
                result => return Ok(result),
            }
        }
    }

    /// Moves after a frame that was decoded, if it is the one that had to come.
    fn pass(&mut self, frame: Frame) -> Result<Frame> {
        let header = frame.header;
        match self.numbers {
            None => self.begin_numbers(header)?,
            Some(numbers) if numbers.is_next(&header, self.position) => self.step(header)?,
            Some(_) if self.may_restart(&header) => self.restart(header)?,
            Some(numbers) => {
                let (position, start) = (self.position, numbers.start(&header));
                let reason =
                    format!("damaged FLAC frames: sample {position} is followed by sample {start}");
                return Err(self.located(Error::corrupt(reason)));
            }
        }
        self.at += frame.bytes as u64;
        self.position += u64::from(header.block_size);
        // Room to spare: a frame that does not fit is decoded twice.
        self.frame_bytes = self.frame_bytes.max(frame.bytes + frame.bytes / 4);
        self.check_count()?;
        Ok(frame)
    }

    /// About how many bytes it is from here to sample `end`, and a frame more.
    fn bytes_until(&self, end: u64) -> u64 {
        let (bytes, samples) = (self.window.len() - self.first_byte, self.info.frames);
        if samples <= self.position {
            return bytes;
        }
        let wanted = u128::from(end.min(samples).saturating_sub(self.position));
        let estimate = wanted * u128::from(bytes) / u128::from(samples);
        u64::try_from(estimate).unwrap_or(bytes) + self.frame_bytes as u64
    }

    /// Whether the rest is nothing, zeros, or a tag that others put after the stream.
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
                "the stream ends inside the frame of sample {position}: it was cut short"
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
