//! What follows the samples that a stream's header tells: more of them, another stream, tags, foreign bytes.
//!
//! Streams of one rate and number of channels that follow one another are one recording: `cat a.flac b.flac`
//! with a header in the middle, or FFmpeg's `concat` with `-c copy`, where the numbers of frames begin again
//! without one. Bytes between whole frames that go on are nothing of the recording. Each is a remark, for no
//! sample is lost; a stream that ends before its header's count of samples was cut short, which is an error.

use super::Flac;
use super::header;
use super::numbers::Numbers;
use crate::codec::flac::Fault;
use crate::codec::flac::frame::FrameDecoder;
use crate::codec::flac::header::{FrameHeader, MAX_HEADER_BYTES};
use crate::codec::flac::stream_info::StreamInfo;
use crate::error::{Error, Result};

/// What STREAMINFO begins with after the mark: it is the first block, or all of them.
const STREAM_MARKS: [&[u8; 8]; 2] = [b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22"];
/// Bytes that are searched at once.
const PIECE: usize = 64 * 1024;

/// One stream of a chain.
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) info: StreamInfo,
    /// The byte of its mark.
    pub(crate) at: u64,
    /// Its first sample in the recording.
    pub(crate) begin: u64,
    /// Samples that its header counts and that lie before its first frame: it was cut out of another.
    pub(crate) cut: u64,
    /// Where the numbers of frames began again before all samples had come.
    early: Option<u64>,
}

impl Stream {
    pub(crate) fn new(info: StreamInfo, at: u64, begin: u64) -> Self {
        Self {
            info,
            at,
            begin,
            cut: 0,
            early: None,
        }
    }

    /// Where it ends in the recording, if its header tells.
    pub(crate) fn end(&self) -> Option<u64> {
        let frames = self.info.frames.saturating_sub(self.cut);
        let is_told = self.info.frames > 0;
        is_told.then(|| self.begin.saturating_add(frames))
    }

    /// Whether blocks may be of several sizes though no bit says so.
    fn may_vary(&self) -> bool {
        self.info.min_block != self.info.max_block
    }
}

/// What a search for the next whole thing has found.
enum Found {
    Frame(u64, FrameHeader),
    Stream(u64),
}

impl Flac<'_> {
    /// Numbers that begin with the frame of `header`, here.
    pub(super) fn numbers_from(&self, header: FrameHeader, begin: u64) -> Numbers {
        Numbers::new(header, begin, self.stream.may_vary())
    }

    /// Takes the first frame of a stream.
    pub(super) fn begin_numbers(&mut self, header: FrameHeader) -> Result<()> {
        let mut numbers = self.numbers_from(header, self.position);
        if header.number > 0 {
            let reason = "the first FLAC frame is not number 0: the recording begins there";
            self.remark(self.at, reason)?;
            let from_zero = FrameHeader {
                number: 0,
                ..header
            };
            self.stream.cut = self.numbers_from(from_zero, 0).start(&header);
        }
        numbers.pass(&header);
        self.numbers = Some(numbers);
        Ok(())
    }

    /// Goes on to the next frame by its number.
    pub(super) fn step(&mut self, header: FrameHeader) -> Result<()> {
        let Some(numbers) = &mut self.numbers else {
            return Ok(());
        };
        numbers.pass(&header);
        match numbers.carelessness() {
            Some(reason) => self.remark(self.at, reason),
            None => Ok(()),
        }
    }

    /// Whether the numbers of frames may begin again at `header`.
    pub(super) fn may_restart(&self, header: &FrameHeader) -> bool {
        header.number == 0 || Some(self.position) == self.declared()
    }

    /// The numbers of frames begin again.
    pub(super) fn restart(&mut self, header: FrameHeader) -> Result<()> {
        let reason =
            "the numbers of the FLAC frames begin again: the parts are read as one recording";
        self.remark(self.at, reason)?;
        if self.declared().is_some_and(|end| self.position < end) {
            self.stream.early.get_or_insert(self.at);
        }
        let mut numbers = self.numbers_from(header, self.position);
        numbers.pass(&header);
        self.numbers = Some(numbers);
        Ok(())
    }

    /// Notes, if so, that more samples have come than the header counts.
    pub(super) fn check_count(&mut self) -> Result<()> {
        if self.declared().is_some_and(|end| self.position > end) {
            let reason = "the FLAC header counts fewer samples than the file has: all are read";
            self.remark(self.stream.at, reason)?;
        }
        Ok(())
    }

    /// Whether anything follows the samples that the header counts; moves there.
    pub(super) fn goes_on(&mut self) -> Result<bool> {
        let need = MAX_HEADER_BYTES;
        let bytes = self.window.at(self.at, need, need as u64)?;
        if bytes.is_empty() {
            return self.finish().map(|()| false);
        }
        if FrameHeader::parse(bytes).is_ok() {
            return Ok(true);
        }
        match self.find_next()? {
            Some(Found::Stream(at)) => self.join(at)?,
            Some(Found::Frame(at, _)) => self.pass_rubbish(at)?,
            None => return self.finish().map(|()| false),
        }
        Ok(true)
    }

    /// Moves over what is no frame of this stream to where the recording goes on; `false` where it ends.
    ///
    /// # Errors
    /// `fault`, where it does not: something is lost.
    pub(super) fn pass_fault(&mut self, fault: Fault) -> Result<bool> {
        let may_end = self.declared().is_none_or(|end| self.position >= end);
        if let Fault::Damaged(_) = fault {
            match self.find_next()? {
                Some(Found::Stream(at)) if may_end => return self.join(at).map(|()| true),
                Some(Found::Frame(at, header)) if self.is_next(&header, may_end) => {
                    return self.pass_rubbish(at).map(|()| true);
                }
                _ => {}
            }
        }
        if self.declared().is_none() && self.only_tags_follow()? {
            return self.finish().map(|()| false);
        }
        Err(self.at_frame(fault))
    }

    /// Whether a frame with foreign bytes in front is one that goes on, or begins again where that may be.
    fn is_next(&self, header: &FrameHeader, may_end: bool) -> bool {
        match &self.numbers {
            Some(numbers) if numbers.is_next(header, self.position) => true,
            Some(_) => may_end && header.number == 0,
            None => header.number == 0,
        }
    }

    fn pass_rubbish(&mut self, to: u64) -> Result<()> {
        let reason = "bytes between FLAC frames belong to no frame: they are skipped";
        self.remark(self.at, reason)?;
        self.at = to;
        Ok(())
    }

    /// Checks at a stream's end that it is whole.
    fn finish(&mut self) -> Result<()> {
        match self.stream.early {
            Some(byte) if Some(self.position) != self.declared() => {
                let reason = "the numbers of the FLAC frames begin again before the last sample that the header counts";
                Err(Error::corrupt(reason)
                    .with_source(self.name.clone())
                    .at_byte(byte))
            }
            _ => Ok(()),
        }
    }

    /// Goes on with the stream whose mark stands at `at`.
    pub(super) fn join(&mut self, at: u64) -> Result<()> {
        self.finish()?;
        let (info, first_byte) = header::read(self.window.source(), at)?;
        let (old, new) = (&self.stream.info, &info);
        if (old.sample_rate, old.channels) != (new.sample_rate, new.channels) {
            let reason = format!(
                "a FLAC stream of {} Hz and {} channels is followed by one of {} Hz and {}: only streams with the same rate and channels are read as one",
                old.sample_rate, old.channels, new.sample_rate, new.channels
            );
            return Err(Error::unsupported(reason)
                .with_source(self.name.clone())
                .at_byte(at));
        }
        self.remark(
            at,
            "several FLAC streams follow one another: they are read as one recording",
        )?;
        self.stream = Stream::new(info, at, self.position);
        self.decoder = FrameDecoder::new(&info);
        (self.at, self.numbers, self.next_stream) = (first_byte, None, None);
        Ok(())
    }

    /// The next stream or whole frame from here on.
    fn find_next(&mut self) -> Result<Option<Found>> {
        let stream = self.find_stream()?;
        let (mut from, end) = (self.at, stream.unwrap_or(self.window.len()));
        while let Some(point) = self.find_frame(from, end, None)? {
            if self.frame_end(point)?.is_some() {
                return Ok(Some(Found::Frame(point.byte, point.header)));
            }
            from = point.byte + 1;
        }
        Ok(stream.map(Found::Stream))
    }

    /// The byte of the next stream's mark from here on. It is looked for once: damage may be everywhere.
    pub(super) fn find_stream(&mut self) -> Result<Option<u64>> {
        if let Some(known) = self.next_stream {
            return Ok(known);
        }
        let mut at = self.at;
        let mut found = None;
        while at < self.window.len() && found.is_none() {
            let bytes = self.window.at(at, PIECE, PIECE as u64)?;
            let is_mark = |word: &[u8]| {
                word.first() == Some(&b'f') && STREAM_MARKS.iter().any(|mark| *mark == word)
            };
            found = bytes
                .windows(8)
                .position(is_mark)
                .map(|place| at + place as u64);
            // A mark may lie across the border.
            at += (bytes.len() as u64).saturating_sub(7).max(1);
        }
        self.next_stream = Some(found);
        Ok(found)
    }

    pub(super) fn remark(&self, at: u64, reason: &str) -> Result<()> {
        let carelessness = Error::corrupt(reason).with_source(self.name.clone());
        self.window.remark(carelessness.at_byte(at))
    }
}
