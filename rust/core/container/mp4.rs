//! MP4, M4A and MOV, plain and in fragments: ISO/IEC 14496-12 and -14, and QuickTime.
//!
//! Of the tables only those parts are read that the wanted packets need.

pub(super) mod boxes;
mod edit;
pub(super) mod entry;
mod fragments;
mod index;
mod open;
mod plain;
mod table;
#[cfg(test)]
#[allow(clippy::panic)]
mod tests;
mod timing;

use self::edit::Scales;
use self::entry::{Lengths, PCM_FRAMES};
use self::fragments::Fragments;
use self::index::Index;
use self::plain::{Plain, Sample};
use super::demuxer::{Demuxer, Packet, Track};
use super::lengths;
use crate::bytes::window::Window;
use crate::codec::params::Codec;
use crate::error::{Error, Result};

pub(crate) use open::sniff;

/// Bytes of one packet at most, far above what a codec makes.
const MAX_PACKET: u64 = 1 << 24;
/// Beyond any recording, and small enough to be added to and taken from.
const FAR: u64 = 1 << 60;
/// Milliseconds that times are off by where they were rounded to one, in the file and in what it was copied from.
const ROUNDED_MS: u64 = 2;
/// Bytes of a packet that tell its length.
const PACKET_HEAD: u64 = lengths::HEAD_BYTES as u64;

/// A reader of the file's first audio track.
pub(crate) struct Mp4<'a> {
    window: Window<'a>,
    track: Track,
    lengths: Lengths,
    /// What packets say of their lengths.
    counter: lengths::Lengths,
    /// The byte of the table of times.
    stts: u64,
    scales: Scales,
    /// The sample entry that `track` was made from.
    description: u32,
    /// Frames in front of the recording.
    delay: u64,
    plain: Plain,
    /// Frames and ticks of `plain`, which fragments follow.
    before: (u64, u64),
    fragments: Option<Fragments>,
    index: Option<Index>,
    /// When the first fragment would begin if no sample were in front of it, in ticks.
    base: Option<u64>,
    in_fragments: bool,
    /// Where the next sample begins: in frames and in ticks from the first of all.
    frame: u64,
    tick: u64,
    /// What is left of a sample that was too long for one packet.
    rest: Option<Sample>,
    /// Whether the sample in front lies outside of the file.
    is_lost: bool,
}

impl Mp4<'_> {
    /// Whether frames are ticks.
    fn is_exact(&self) -> bool {
        self.scales.media == self.scales.rate
    }

    /// The next sample of the track; PCM in rows.
    fn next_sample(&mut self) -> Result<Option<Sample>> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest));
        }
        if !self.in_fragments {
            let most = match (self.lengths, self.plain.sizes.alike()) {
                (Lengths::Bytes(block), Some(size)) => (PCM_FRAMES * block / size.max(1)).max(1),
                _ => 1,
            };
            if let Some(sample) = self.plain.next(&mut self.window, most)? {
                return Ok(Some(sample));
            }
            self.enter_fragments();
        }
        while self.enter_row()? {
            if let Some(fragments) = &mut self.fragments {
                if let Some(sample) = fragments.next_of_row(&mut self.window)? {
                    return Ok(Some(sample));
                }
                fragments.leave_row();
            }
        }
        Ok(None)
    }

    /// Moves to the first fragment.
    fn enter_fragments(&mut self) {
        if let Some(fragments) = &mut self.fragments {
            fragments.rewind();
        }
        self.in_fragments = true;
        (self.frame, self.tick) = self.before;
    }

    /// Enters the next row of samples; a fragment's own time shows what is missing in front of it.
    fn enter_row(&mut self) -> Result<bool> {
        let Some(fragments) = &mut self.fragments else {
            return Ok(false);
        };
        if !fragments.enter_row(&mut self.window)? {
            return Ok(false);
        }
        if let Some(time) = fragments.begun() {
            let base = *self.base.get_or_insert(time.saturating_sub(self.tick));
            if self.is_exact() {
                self.reach(time.saturating_sub(base))?;
            }
        }
        Ok(true)
    }

    /// Moves to a fragment that begins at `time`, in ticks from the first of all. A step that is shorter than time
    /// stamps are exact is none.
    fn reach(&mut self, time: u64) -> Result<()> {
        let missing = time.saturating_sub(self.tick);
        let place = self.fragments.as_ref().map_or(0, Fragments::place);
        let is_rounding =
            missing.saturating_mul(1000) <= ROUNDED_MS.saturating_mul(self.scales.media);
        if missing > 0 && is_rounding && !self.has_index() {
            let reason =
                "the time of an MP4 fragment is rounded: its samples were joined to those before";
            self.window.remark(Error::corrupt(reason).at_byte(place))?;
            self.tick = time;
            return Ok(());
        }
        self.frame = self.frame.saturating_add(missing);
        self.tick = self.tick.saturating_add(missing);
        // By an index, positions are those of the times.
        if self.has_index() && self.frame != time {
            let reason = "the time of an MP4 fragment does not fit the samples before it";
            if let Some(fragments) = &mut self.fragments {
                fragments.stop(&self.window);
            }
            return Err(Error::corrupt(reason).at_byte(place));
        }
        Ok(())
    }

    /// Whether there is an index that leads to positions: where packets are counted, none does.
    fn has_index(&self) -> bool {
        self.index.is_some() && self.is_exact() && self.lengths != Lengths::Counted
    }

    /// Frames of a sample; the packet itself is looked at where nothing else tells.
    fn frames_of(&mut self, sample: &Sample) -> Result<u64> {
        Ok(match self.lengths {
            Lengths::Fixed(frames) => frames,
            Lengths::Bytes(block) => sample.size / block.max(1),
            Lengths::Ticks => sample.duration,
            Lengths::Counted => self.own_frames(sample)?.unwrap_or(0),
        })
    }

    /// Moves over a sample that was read; gives the frame at which it begins, and how many it has.
    fn pass(&mut self, sample: &Sample) -> Result<(u64, u64)> {
        let (begin, frames) = (self.frame, self.frames_of(sample)?);
        self.frame = begin.saturating_add(frames);
        self.tick = self.tick.saturating_add(sample.duration);
        Ok((begin, frames))
    }

    /// What of a sample is in one packet, and in the file.
    fn portion(&mut self, mut sample: Sample) -> Result<Option<Sample>> {
        let room = self.window.len().saturating_sub(sample.at);
        if let Lengths::Bytes(block) = self.lengths {
            let fits = (PCM_FRAMES * block).min(room / block * block);
            if fits > 0 && fits < sample.size {
                let rest = Sample {
                    at: sample.at + fits,
                    size: sample.size - fits,
                    duration: 0,
                    ..sample
                };
                sample.size = fits;
                self.rest = Some(rest);
            }
        }
        if sample.size > room {
            self.pass_lost(&sample)?;
            return Ok(None);
        }
        Ok(Some(sample))
    }

    /// Passes over a sample outside of the file, and over those that lie after it.
    fn pass_lost(&mut self, sample: &Sample) -> Result<()> {
        self.pass(sample)?;
        if !self.in_fragments {
            self.plain.skip_chunk();
            if let Some(frame) = self.plain_frame(self.plain.next)? {
                self.frame = frame;
            }
            return Ok(());
        }
        self.pass_row()
    }

    /// Passes over what is left of the row of samples.
    fn pass_row(&mut self) -> Result<()> {
        let Some(fragments) = &mut self.fragments else {
            return Ok(());
        };
        let by_bytes = matches!(self.lengths, Lengths::Bytes(_));
        let facts = fragments.row_facts(&mut self.window, by_bytes)?;
        fragments.leave_row();
        let frames = self.frames_of_row(facts);
        self.frame = self.frame.saturating_add(frames);
        self.tick = self.tick.saturating_add(facts.ticks);
        Ok(())
    }

    fn frames_of_row(&self, facts: fragments::RowFacts) -> u64 {
        match self.lengths {
            Lengths::Fixed(frames) => facts.count.saturating_mul(frames),
            Lengths::Bytes(block) => facts.bytes / block.max(1),
            Lengths::Ticks => facts.ticks,
            // Not reached: such rows are passed over sample by sample.
            Lengths::Counted => 0,
        }
    }

    fn read(&mut self, sample: &Sample) -> Result<Packet> {
        let (begin, frames) = self.pass(sample)?;
        if sample.description != self.description {
            let reason = "the sample description of the MP4 track changes in mid-track";
            return Err(Error::unsupported(reason).at_byte(sample.at));
        }
        if sample.size > MAX_PACKET {
            let reason = format!("an MP4 packet has {} bytes", sample.size);
            return Err(Error::corrupt(reason).at_byte(sample.at));
        }
        let size = sample.size as usize;
        let bytes = self.window.at(sample.at, size, u64::MAX)?;
        let data = bytes.get(..size).unwrap_or(bytes).to_vec();
        let begin = begin.min(FAR) as i64 - self.delay as i64;
        // The time of the last packet of Opus ends before what it decodes to.
        let opus = self.track.params.codec == Codec::Opus;
        let told = opus
            .then(|| self.track.params.packet_frames(&data))
            .flatten();
        if self.lengths == Lengths::Ticks && told.is_some_and(|told| told > frames) {
            self.check_last(sample)?;
        }
        let (frames, shown) = (told.unwrap_or(frames).min(FAR), frames.min(FAR));
        let end = self.track.frames.map_or(i64::MAX, |end| end as i64);
        let end = end.min(begin.saturating_add(shown as i64));
        let over = begin.saturating_add(frames as i64).saturating_sub(end);
        let over = (over.max(0) as u64).min(frames);
        // The last packet of ALAC is short itself.
        let is_short = self.track.params.codec == Codec::Alac;
        Ok(Packet {
            at: sample.at,
            data,
            begin: Some(begin),
            frames: Some(if is_short { frames - over } else { frames }),
            padding: if is_short { 0 } else { over },
            params: None,
        })
    }

    /// The error of a packet that is longer than its time where others follow, which would begin inside of it.
    fn check_last(&mut self, sample: &Sample) -> Result<()> {
        self.rest = self.next_sample()?;
        if self.rest.is_none() {
            return Ok(());
        }
        let reason = "an MP4 packet is longer than the time that its table gives it";
        Err(Error::corrupt(reason).at_byte(sample.at))
    }

    /// The frame at which the sample `index` of `moov` begins; `None` where only the samples tell.
    fn plain_frame(&mut self, index: u64) -> Result<Option<u64>> {
        Ok(match (self.lengths, self.plain.sizes.alike()) {
            (Lengths::Fixed(frames), _) => Some(index.saturating_mul(frames)),
            (Lengths::Bytes(block), Some(size)) => Some(index.saturating_mul(size / block.max(1))),
            (Lengths::Ticks, _) => {
                let run = self.plain.durations.of_sample(&mut self.window, index)?;
                let inside = index.saturating_sub(run.sample).saturating_mul(run.delta);
                Some(run.tick.saturating_add(inside))
            }
            _ => None,
        })
    }

    /// The last sample of `moov` that begins at `frame` or before it; `None` as above.
    fn plain_index(&mut self, frame: u64) -> Result<Option<u64>> {
        let last = self.plain.len().saturating_sub(1);
        let index = match (self.lengths, self.plain.sizes.alike()) {
            (Lengths::Fixed(frames), _) => frame / frames.max(1),
            (Lengths::Bytes(block), Some(size)) => frame / (size / block.max(1)).max(1),
            (Lengths::Ticks, _) => {
                let run = self.plain.durations.of_tick(&mut self.window, frame)?;
                let inside = frame.saturating_sub(run.tick) / run.delta.max(1);
                run.sample + inside.min(run.count.saturating_sub(1))
            }
            _ => return Ok(None),
        };
        Ok(Some(index.min(last)))
    }

    fn seek_plain(&mut self, frame: u64) -> Result<()> {
        self.in_fragments = false;
        if let Some(index) = self.plain_index(frame)? {
            self.frame = self.plain_frame(index)?.unwrap_or(0);
            self.plain.go_to(index);
            return Ok(());
        }
        (self.frame, self.tick) = (0, 0);
        self.plain.go_to(0);
        let mut last = (0, 0);
        loop {
            let index = self.plain.next;
            let sample = self.plain.next(&mut self.window, 1)?;
            // What lies outside of the file has no length: the reader of packets says so.
            let (begin, frames) = match sample.filter(|sample| self.is_there(sample)) {
                Some(sample) => self.pass(&sample)?,
                None => break,
            };
            last = (index, begin);
            if begin.saturating_add(frames) > frame {
                break;
            }
        }
        self.plain.go_to(last.0);
        self.frame = last.1;
        Ok(())
    }

    /// Moves to a fragment that begins at `frame` or before it: by the index, where it can be trusted.
    fn near_fragment(&mut self, frame: u64) -> Result<()> {
        self.enter_fragments();
        if !self.has_index() || !self.enter_row()? {
            return Ok(());
        }
        let (Some(base), Some(index), Some(fragments)) =
            (self.base, &mut self.index, &mut self.fragments)
        else {
            return Ok(());
        };
        let tick = frame.saturating_add(base);
        // An index counts from the recording's begin, a fragment from the delay in front of it.
        let Some(at) = index.find(&mut self.window, tick.saturating_sub(self.delay))? else {
            return Ok(());
        };
        fragments.go_to(at);
        let entered = fragments.enter_row(&mut self.window);
        let time = fragments
            .begun()
            .filter(|time| *time <= tick && *time > base);
        match (entered, time) {
            (Ok(true), Some(time)) => {
                (self.frame, self.tick) = (time - base, time - base);
            }
            _ => self.enter_fragments(),
        }
        Ok(())
    }

    /// Walks on to the last sample that begins at `frame` or before it; `false` at the end of all.
    fn walk_fragments(&mut self, frame: u64) -> Result<bool> {
        while self.enter_row()? {
            let Some(fragments) = &mut self.fragments else {
                break;
            };
            let by_bytes = matches!(self.lengths, Lengths::Bytes(_));
            let facts = fragments.row_facts(&mut self.window, by_bytes)?;
            let end = self.frame.saturating_add(self.frames_of_row(facts));
            if self.lengths != Lengths::Counted && end <= frame {
                self.pass_row()?;
            } else if self.walk_row(frame)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Walks on in the row; `false` at its end.
    fn walk_row(&mut self, frame: u64) -> Result<bool> {
        loop {
            let Some(fragments) = &mut self.fragments else {
                return Ok(false);
            };
            let Some(sample) = fragments.next_of_row(&mut self.window)? else {
                fragments.leave_row();
                return Ok(false);
            };
            let tick = self.tick;
            let (begin, frames) = self.pass(&sample)?;
            if begin.saturating_add(frames) > frame || !self.is_there(&sample) {
                (self.frame, self.tick) = (begin, tick);
                if let Some(fragments) = &mut self.fragments {
                    fragments.put_back(sample);
                }
                return Ok(true);
            }
        }
    }

    fn seek_fragments(&mut self, frame: u64) -> Result<()> {
        self.near_fragment(frame)?;
        if self.walk_fragments(frame)? {
            return Ok(());
        }
        // After the end of all: the last sample.
        let last = self.frame.saturating_sub(1);
        if last < self.before.0 {
            return self.seek_plain(last);
        }
        self.near_fragment(last)?;
        self.walk_fragments(last).map(drop)
    }
}

impl Demuxer for Mp4<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        loop {
            let sample = match self.next_sample() {
                Ok(Some(sample)) => sample,
                // What the file was cut in has been told.
                Err(_) if self.is_lost => return Ok(None),
                other => return other.map(|_| None),
            };
            let end = self.track.frames.unwrap_or(u64::MAX);
            if self.frame >= end.saturating_add(self.delay) {
                return Ok(None);
            }
            match self.portion(sample)? {
                Some(sample) => {
                    self.is_lost = false;
                    return self.read(&sample).map(Some);
                }
                None if !std::mem::replace(&mut self.is_lost, true) => {
                    return Err(table::cut(self.window.len()));
                }
                None => {}
            }
        }
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        (self.rest, self.is_lost) = (None, false);
        let target = frame.saturating_add(self.delay as i64).max(0) as u64;
        if self.plain.len() > 0 && (self.fragments.is_none() || target < self.before.0) {
            self.seek_plain(target)
        } else {
            self.seek_fragments(target)
        }
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        if self.track.frames.is_some() {
            return Ok(self.track.frames);
        }
        if self.fragments.is_some() {
            self.near_fragment(u64::MAX >> 1)?;
            self.walk_fragments(u64::MAX)?;
        } else {
            self.seek_plain(u64::MAX)?;
            if let Some(sample) = self.plain.next(&mut self.window, 1)? {
                self.pass(&sample)?;
            }
        }
        Ok(Some(self.frame.saturating_sub(self.delay)))
    }
}
