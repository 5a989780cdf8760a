//! Streams that are nothing but frames with headers: where each lies, and what lies between them.
//!
//! A frame tells its own length alone, so the way to a frame leads over all headers before it; where
//! they begin is kept for every [`MARK`]th.

mod seams;

use std::ops::Range;
use std::sync::Arc;

use super::demuxer::changes;
use super::{foreign, tags};
use crate::bytes::window::Window;
use crate::codec::params::Params;
use crate::error::{Error, ErrorKind, Result};
use crate::signal::mix::channels_change;
use seams::Thread;

/// Frames between two places that are kept.
const MARK: u64 = 1024;
/// Foreign bytes that may lie in front of the first frame, after the tags.
const MAX_RUBBISH: u64 = 64 * 1024;
/// Changes on the way of one stream at most: each costs a decoder.
const MAX_CHANGES: usize = 4096;
/// Bytes that are searched for a header at once.
const SEARCHED: usize = 64 * 1024;

/// The header of a frame.
pub(super) trait Header: Copy + Send {
    /// For messages.
    const NAME: &'static str;
    /// Bytes of it that are looked at.
    const BYTES: usize;
    /// Bytes of the longest frame.
    const LONGEST: usize;

    /// A header that tells its frame's length.
    fn parse(bytes: &[u8]) -> Option<Self>;

    /// The same in a stream that `like` is of, which may tell its frames' length where they do not.
    fn parse_like(bytes: &[u8], _like: &Self) -> Option<Self> {
        Self::parse(bytes)
    }

    /// Bytes of the whole frame.
    fn length(&self) -> usize;

    /// Samples of each channel in the frame.
    fn samples(&self) -> u64;

    /// Channels of the frame, or what stands for them.
    fn channels(&self) -> usize;

    /// Whether both can be of one stream, which one decoder takes.
    fn is_like(&self, other: &Self) -> bool;

    /// Whether one that fills a file is no chance.
    fn counts_alone(&self) -> bool;

    /// What a decoder of the stream is made from.
    ///
    /// # Errors
    /// A stream that is not decoded here.
    fn params(&self) -> Result<Params>;
}

/// One frame of a stream.
#[derive(Clone, Copy)]
pub(super) struct Frame<H> {
    pub(super) at: u64,
    pub(super) header: H,
    /// How many there are before it, and how many samples of each channel they hold.
    pub(super) index: u64,
    pub(super) begin: u64,
    /// How often the stream has changed before it.
    part: usize,
    thread: Thread,
}

/// What the frames have in common up to the next change of the stream: one decoder takes them.
struct Part {
    /// Samples before it.
    begin: u64,
    params: Arc<Params>,
}

/// How sure it must be that frames begin at some place.
#[derive(Clone, Copy)]
pub(super) struct Proof {
    /// Frames that follow each other, [`MOST_PROOF`] at most.
    pub(super) frames: usize,
    /// Frames that are enough where the file ends after them, or a tag follows.
    pub(super) at_end: usize,
}

/// Frames that are looked at for a proof at most.
const MOST_PROOF: usize = 4;

/// The frames of one stream.
pub(super) struct Frames<'a, H> {
    window: Window<'a>,
    first: Frame<H>,
    end: u64,
    /// Where it stands. The header is of the frame before, or of the one that comes.
    place: Frame<H>,
    /// The parts, once the stream has changed.
    parts: Vec<Part>,
    /// How many frames a header promises.
    promised: u64,
    /// The bytes of the frame that was met last.
    last: Range<u64>,
    /// Where the last of all frames that were met ends.
    last_end: u64,
    /// Every [`MARK`]th frame.
    marks: Vec<Frame<H>>,
    /// The last of all frames that were met.
    last_frame: Option<Frame<H>>,
    /// How many frames and samples there are, once all were passed.
    total: Option<(u64, u64)>,
    /// Where the tags at the end begin, once they were looked for.
    tail: Option<u64>,
}

/// Whether a file begins as one of a container or an archive does: the frames that may be found in
/// there are none of a bare stream.
pub(super) fn is_container(window: &mut Window<'_>) -> Result<bool> {
    const NAMES: [&[u8]; 9] = [
        b"RIFF",
        b"RIFX",
        b"RF64",
        b"BW64",
        b"FORM",
        b"OggS",
        b"fLaC",
        b"caff",
        // Matroska.
        &[0x1A, 0x45, 0xDF, 0xA3],
    ];
    const BOXES: [&[u8; 4]; 8] = [
        b"ftyp", b"moov", b"moof", b"mdat", b"styp", b"wide", b"free", b"skip",
    ];
    let head = window.at(0, foreign::HEAD_BYTES, u64::MAX)?;
    let is_box = |kind: &[u8]| BOXES.iter().any(|name| kind == *name);
    Ok(NAMES.iter().any(|name| head.starts_with(name))
        || head.get(4..8).is_some_and(is_box)
        || foreign::is_sure(head))
}

/// Where the first frame of a stream lies in `from..end`, foreign bytes in front of it passed over.
pub(super) fn find_first<H: Header>(
    window: &mut Window<'_>,
    from: u64,
    end: u64,
) -> Result<Option<(u64, H)>> {
    let from = from.min(end);
    let ahead = 3 * H::LONGEST + H::BYTES;
    let rest = window.reach(from, ahead)?.min(end - from);
    let bytes = until(window.at(from, ahead, u64::MAX)?, rest);
    let is_rest = bytes.len() as u64 == rest;
    let proof = Proof {
        frames: 3,
        at_end: 1,
    };
    if let Some(header) = run::<H>(bytes, None, proof, is_rest) {
        let pair = Proof { at_end: 2, ..proof };
        if header.counts_alone() || run::<H>(bytes, None, pair, is_rest).is_some() {
            return Ok(Some((from, header)));
        }
    }
    let proof = Proof {
        frames: 4,
        at_end: 2,
    };
    let to = end.min(from.saturating_add(MAX_RUBBISH));
    let accept = |bytes: &[u8], is_rest| run(bytes, None, proof, is_rest);
    find(window, from..to, end, accept)
}

/// The first place in `range` at which frames begin that `accept` takes, which is told whether the file ends
/// with the bytes it is given.
fn find<H: Header>(
    window: &mut Window<'_>,
    range: Range<u64>,
    end: u64,
    accept: impl Fn(&[u8], bool) -> Option<H>,
) -> Result<Option<(u64, H)>> {
    let ahead = MOST_PROOF * H::LONGEST + H::BYTES;
    let mut at = range.start;
    while at < range.end {
        let rest = window.reach(at, SEARCHED + ahead)?.min(end - at);
        if rest == 0 {
            break;
        }
        let bytes = until(window.at(at, SEARCHED + ahead, u64::MAX)?, rest);
        let is_rest = bytes.len() as u64 == rest;
        let searched = SEARCHED.min(bytes.len()).min((range.end - at) as usize);
        for place in 0..searched {
            let rest = bytes.get(place..).unwrap_or_default();
            if rest.first() == Some(&0xFF)
                && let Some(header) = accept(rest, is_rest)
            {
                return Ok(Some((at + place as u64, header)));
            }
        }
        at += SEARCHED as u64;
    }
    Ok(None)
}

/// The header that `bytes` begin with, if enough others follow it; `is_rest`: the file ends after.
pub(super) fn run<H: Header>(
    bytes: &[u8],
    like: Option<&H>,
    proof: Proof,
    is_rest: bool,
) -> Option<H> {
    let first = like.map_or_else(|| H::parse(bytes), |like| H::parse_like(bytes, like))?;
    if like.is_some_and(|like| !like.is_like(&first)) {
        return None;
    }
    let (mut at, mut frames) = (0, 0);
    while frames < proof.frames {
        let Some(rest) = bytes.get(at..) else {
            // The last one was cut: its header counts, and those before it.
            return (is_rest && frames > proof.at_end.max(1)).then_some(first);
        };
        match H::parse_like(rest, &first).filter(|header| header.is_like(&first)) {
            Some(header) => at += header.length(),
            None => {
                let is_end = is_rest && rest.is_empty() || is_tag(rest);
                return (is_end && frames >= proof.at_end).then_some(first);
            }
        }
        frames += 1;
    }
    Some(first)
}

fn is_tag(bytes: &[u8]) -> bool {
    [&b"TAG"[..], b"ID3", b"APETAGEX", b"LYRICSBEGIN"]
        .iter()
        .any(|name| bytes.starts_with(name))
}

fn until(bytes: &[u8], length: u64) -> &[u8] {
    let length = bytes.len().min(length.min(usize::MAX as u64) as usize);
    bytes.get(..length).unwrap_or_default()
}

impl<'a, H: Header> Frames<'a, H> {
    /// The stream whose first frame was found at `begin`, and that ends at `end` or before.
    pub(super) fn new(window: Window<'a>, begin: u64, end: u64, first: H) -> Self {
        let first = Frame {
            at: begin,
            header: first,
            index: 0,
            begin: 0,
            part: 0,
            thread: Thread::begin(begin),
        };
        Self {
            window,
            first,
            end,
            place: first,
            parts: Vec::new(),
            promised: 0,
            last: begin..begin,
            last_end: begin,
            marks: Vec::new(),
            last_frame: None,
            total: None,
            tail: None,
        }
    }

    /// The next frame; `None` after the last.
    ///
    /// # Errors
    /// Bytes between frames that are no tag, a frame that is cut where more are promised, and another
    /// stream after this one that is not decoded here. The next call continues after what was met.
    pub(super) fn next(&mut self) -> Result<Option<Frame<H>>> {
        while self.place.at < self.end() {
            let at = self.place.at;
            let bytes = self.window.at(at, H::BYTES, u64::MAX)?;
            let header = H::parse_like(until(bytes, self.end - at), &self.place.header);
            self.cross_seam()?;
            match header {
                Some(header) if !header.is_like(&self.place.header) => self.pass(Some(header))?,
                Some(header) if header.length() as u64 > self.left(header.length())? => {
                    self.meet_cut(header)?;
                }
                Some(header) => match self.torn(&header)? {
                    Some(seam) => self.resume(at..self.end(), seam.at)?,
                    None => return self.take(header).map(Some),
                },
                None => self.pass(None)?,
            }
        }
        self.place.at = self.end();
        self.cross_seam()?;
        self.total = Some((self.place.index, self.place.begin));
        Ok(None)
    }

    fn take(&mut self, header: H) -> Result<Frame<H>> {
        let (from, to) = (self.place.header.channels(), header.channels());
        if from != to {
            self.remark(channels_change(from, to).at_byte(self.place.at))?;
        }
        let frame = Frame {
            header,
            ..self.place
        };
        let index = frame.index;
        if index.is_multiple_of(MARK) && index / MARK == self.marks.len() as u64 {
            self.marks.push(frame);
        }
        if self.last_frame.is_none_or(|last| last.at <= frame.at) {
            self.last_frame = Some(frame);
        }
        self.place = Frame {
            at: frame.at + header.length() as u64,
            index: index + 1,
            begin: frame.begin + header.samples(),
            thread: self.thread_behind(frame.at, frame.begin),
            ..frame
        };
        self.last = frame.at..self.place.at;
        self.last_end = self.last_end.max(self.place.at);
        Ok(frame)
    }

    /// The last frame is not all there: damage if a header promises it, else a writer was stopped.
    fn meet_cut(&mut self, header: H) -> Result<()> {
        let (at, left) = (self.place.at, self.left(0)?);
        self.place.at = self.end();
        if self.place.index >= self.promised {
            let reason = format!("the last {} frame is cut short, and left out", H::NAME);
            return self.remark(Error::corrupt(reason).at_byte(at));
        }
        let reason = format!(
            "the last {} frame has {left} of {} bytes: the file was cut short",
            H::NAME,
            header.length()
        );
        Err(Error::corrupt(reason).at_byte(at))
    }

    /// Passes over what is no frame of this stream.
    fn pass(&mut self, header: Option<H>) -> Result<()> {
        let at = self.place.at;
        if let Some(behind) = tags::behind(&mut self.window, at)? {
            self.place.at = behind.min(self.end());
            return Ok(());
        }
        let tail = self.tail()?;
        if at >= tail || self.is_zero(at..tail)? {
            self.place.at = self.end();
            return Ok(());
        }
        match header {
            Some(header) if self.is_stream(at)? => self.change(header),
            _ => self.resume(at..tail, at + 1),
        }
    }

    /// Lets the stream go on as `header` says, which is of another one.
    fn change(&mut self, header: H) -> Result<()> {
        let before = self.place;
        let part = before.part + 1;
        let params = header.params().and_then(|params| match part {
            ..=MAX_CHANGES => Ok(params),
            _ => Err(Error::new(ErrorKind::Limit, "the stream changes too often")),
        });
        let params = params.map_err(|error| {
            self.place.at = self.end();
            error.at_byte(before.at)
        })?;
        for change in changes(&before.header.params()?, &params) {
            self.remark(change.at_byte(before.at))?;
        }
        if self.parts.is_empty() {
            let params = Arc::new(self.first.header.params()?);
            self.parts.push(Part { begin: 0, params });
        }
        if part == self.parts.len() {
            self.parts.push(Part {
                begin: before.begin,
                params: Arc::new(params),
            });
        }
        self.place = Frame {
            header,
            part,
            ..before
        };
        Ok(())
    }

    /// Goes on at the next frame after damage, which is searched from byte `from` on.
    fn resume(&mut self, damaged: Range<u64>, from: u64) -> Result<()> {
        let at = damaged.start;
        let place = self.place;
        let proof = |frames, at_end| Proof { frames, at_end };
        let accept = |bytes: &[u8], is_rest| {
            run(bytes, Some(&place.header), proof(2, 1), is_rest)
                .or_else(|| run(bytes, None, proof(4, 2), is_rest))
        };
        let found = find(&mut self.window, from..damaged.end, damaged.end, accept)?;
        let Some((next, _)) = found else {
            return self.give_up(at..damaged.end.min(self.end()));
        };
        let (seam, unseen) = self.seams_before(next);
        let lost = match self.lost_by_time(next)? {
            Some(lost) => lost,
            None => self.lost(at..next, unseen),
        };
        self.place.at = next;
        self.skip_frames(lost);
        if let Some(seam) = seam {
            return Err(seams::lost_at(&seam));
        }
        let bytes = next - at;
        let reason = format!(
            "{bytes} bytes between {} frames belong to no frame",
            H::NAME
        );
        Err(Error::corrupt(reason).at_byte(at))
    }

    /// Ends the stream where no frame follows `damaged`.
    fn give_up(&mut self, damaged: Range<u64>) -> Result<()> {
        let at = damaged.start;
        let mean = self.mean_length();
        self.place.at = self.end();
        if let (Some(seam), _) = self.seams_before(self.place.at) {
            return Err(seams::lost_at(&seam));
        }
        let rest = damaged.end.saturating_sub(at);
        // Some writers leave foreign bytes there; what is lost would be as long as a frame.
        if rest < mean.max(H::BYTES as u64) {
            return Ok(());
        }
        let reason = format!(
            "{rest} bytes after the last {} frame belong to no frame",
            H::NAME
        );
        Err(Error::corrupt(reason).at_byte(at))
    }

    /// Bytes of a frame, on an average of those so far.
    fn mean_length(&self) -> u64 {
        let bytes = self.place.at.saturating_sub(self.first.at);
        (bytes / self.place.index.max(1)).max(1)
    }

    /// Counts `lost` frames, as if they had been met.
    fn skip_frames(&mut self, lost: u64) {
        let place = &mut self.place;
        place.index = place.index.saturating_add(lost);
        let samples = lost.saturating_mul(place.header.samples());
        place.begin = place.begin.saturating_add(samples);
    }

    /// How many frames lay in the damage and in `unseen` bytes beside it, by their usual length: so those after it
    /// stay in place.
    fn lost(&self, damaged: Range<u64>, unseen: u64) -> u64 {
        let mean = self.mean_length();
        let round = |bytes: u64| (bytes + unseen + mean / 2) / mean;
        let length = self.last.end - self.last.start;
        // A frame of another length may be damaged itself: the next one does not begin after it.
        if self.last.end == damaged.start && 4 * length.abs_diff(mean) > mean {
            return round(damaged.end - self.last.start).saturating_sub(1);
        }
        round(damaged.end - damaged.start)
    }

    /// Whether another stream begins at `at`.
    fn is_stream(&mut self, at: u64) -> Result<bool> {
        let proof = Proof {
            frames: 3,
            at_end: 2,
        };
        let accept = |bytes: &[u8], is_rest| run::<H>(bytes, None, proof, is_rest);
        Ok(find(&mut self.window, at..at + 1, self.end, accept)?.is_some())
    }

    /// Whether there are only zeros in `range`.
    pub(super) fn is_zero(&mut self, range: Range<u64>) -> Result<bool> {
        let mut at = range.start;
        while at < range.end {
            let rest = self.window.reach(at, SEARCHED)?.min(range.end - at);
            let bytes = until(self.window.at(at, SEARCHED, u64::MAX)?, rest);
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            if bytes.is_empty() {
                break;
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    /// Where the tags at the end of the stream begin.
    pub(super) fn tail(&mut self) -> Result<u64> {
        let tail = match self.tail.filter(|_| !self.window.is_joined()) {
            Some(tail) => tail,
            // Tags are of files.
            None if self.end < self.window.len() || self.window.is_joined() => self.end(),
            None => tags::tail(&mut self.window)?,
        };
        self.tail = Some(tail);
        Ok(tail)
    }

    /// The bytes of `frame`.
    pub(super) fn bytes(&mut self, frame: &Frame<H>) -> Result<&[u8]> {
        let length = frame.header.length();
        let bytes = self.window.at(frame.at, length, u64::MAX)?;
        Ok(until(bytes, length as u64))
    }

    /// Lets the stream begin after `frame`, and have as many frames as a header in there promises.
    pub(super) fn begin_behind(&mut self, frame: &Frame<H>, promised: Option<u64>) {
        let at = (frame.at + frame.header.length() as u64).min(self.end());
        let thread = Thread::begin(at);
        self.first = Frame {
            at,
            thread,
            ..*frame
        };
        self.place = self.first;
        self.last_end = at;
        self.last = at..at;
        self.promised = promised.unwrap_or(0);
    }

    /// Notes what is careless in the stream.
    pub(super) fn remark(&self, carelessness: Error) -> Result<()> {
        self.window.remark(carelessness)
    }

    /// The window through which it looks at the stream.
    pub(super) fn window(&self) -> &Window<'a> {
        &self.window
    }

    /// The first frame of the stream.
    pub(super) fn first(&self) -> Frame<H> {
        self.first
    }

    /// The link of [`Packet::params`](super::Packet::params) that `frame` belongs to.
    pub(super) fn link(&self, frame: &Frame<H>) -> Option<Arc<Params>> {
        let part = self.parts.get(frame.part).filter(|_| frame.part > 0)?;
        Some(Arc::clone(&part.params))
    }

    /// Samples before the first frame of another rate than the stream's first, once one was met.
    pub(super) fn rate_change(&self) -> Option<u64> {
        let rate = |part: &Part| part.params.sample_rate;
        let first = self.parts.first().map(rate)?;
        let other = self.parts.iter().find(|part| rate(part) != first)?;
        Some(other.begin)
    }

    /// Where the stream ends at the latest.
    pub(super) fn end(&self) -> u64 {
        self.end.min(self.window.len())
    }

    /// How many of the `length` bytes that follow are there, or more.
    fn left(&mut self, length: usize) -> Result<u64> {
        let at = self.place.at;
        Ok(self
            .window
            .reach(at, length)?
            .min(self.end.saturating_sub(at)))
    }

    /// Where the last frame that was met ends.
    pub(super) fn last_end(&self) -> u64 {
        self.last_end
    }

    /// Moves in front of the frame that holds sample `sample`, or of the last one.
    pub(super) fn seek(&mut self, sample: u64) -> Result<()> {
        self.rewind(sample);
        while let Some(frame) = self.next()? {
            if self.place.begin > sample {
                self.place = frame;
                return Ok(());
            }
        }
        self.place = self.last_frame.unwrap_or(self.place);
        Ok(())
    }

    /// Moves to the last mark before `sample`, if the way from there is shorter.
    fn rewind(&mut self, sample: u64) {
        let behind = self.marks.partition_point(|mark| mark.begin <= sample);
        let mark = behind.checked_sub(1).and_then(|last| self.marks.get(last));
        let mark = mark.copied().unwrap_or(self.first);
        if self.place.begin > sample || self.place.begin < mark.begin {
            self.place = mark;
        }
    }

    /// How many frames there are, and how many samples they hold.
    pub(super) fn count(&mut self) -> Result<(u64, u64)> {
        if let Some(total) = self.total {
            return Ok(total);
        }
        self.rewind(u64::MAX);
        while self.next()?.is_some() {}
        Ok((self.place.index, self.place.begin))
    }
}
