//! Files end to end: each segment is a link of one recording, as radio and `cat` leave them.

use std::sync::Arc;

use super::cursor::EBML;
use super::{Mkv, Opening};
use crate::codec::params::Params;
use crate::container::demuxer::{Demuxer, Packet, Track, changes};
use crate::error::{Error, Result};

/// A link, as far as it is known.
#[derive(Clone)]
struct Link {
    /// The byte of its header.
    at: u64,
    /// Where it begins, in frames of the recording.
    begin: i64,
    /// What its packets are decoded by; `None`: the first one's.
    params: Option<Arc<Params>>,
}

/// All links of a file: the segment that is read, and where those lie that are known.
pub(crate) struct Chain<'a> {
    segment: Mkv<'a>,
    track: Track,
    links: Vec<Link>,
    /// The one that is read.
    current: usize,
    /// The header of the next one is broken: nothing follows.
    is_broken: bool,
    rate_change: Option<i64>,
}

impl<'a> Chain<'a> {
    pub(super) fn new(segment: Mkv<'a>) -> Self {
        let track = segment.track.clone();
        let first = Link {
            at: 0,
            begin: 0,
            params: None,
        };
        Self {
            segment,
            track,
            links: vec![first],
            current: 0,
            is_broken: false,
            rate_change: None,
        }
    }

    fn link(&self) -> Option<&Link> {
        self.links.get(self.current)
    }

    fn begin(&self) -> i64 {
        self.link().map_or(0, |link| link.begin)
    }

    /// Moves to the beginning of a link that is known.
    fn go_to(&mut self, index: usize) -> Result<()> {
        if self.current != index
            && let Some(link) = self.links.get(index)
        {
            let opening = Opening::read(&mut self.segment.cursor.window, link.at)?;
            self.segment.reopen(opening)?;
            self.current = index;
        }
        self.segment.rewind();
        Ok(())
    }

    /// Moves on after the packets of a link, of which all were counted; `false` where no link follows.
    fn enter_next(&mut self) -> Result<bool> {
        let Some(at) = self.segment.next_header()?.filter(|_| !self.is_broken) else {
            return Ok(false);
        };
        self.is_broken = true;
        let end = self.segment.position.ok_or_else(|| {
            let reason = "a Matroska file follows another of unknown length";
            Error::corrupt(reason).at_byte(at)
        })?;
        let opening = Opening::read(&mut self.segment.cursor.window, at)?;
        let before = self.segment.track.params.clone();
        self.segment.reopen(opening)?;
        self.is_broken = false;
        self.current += 1;
        let begin = self
            .links
            .get(self.current - 1)
            .map_or(0, |link| link.begin)
            + end.max(0);
        if self.links.len() == self.current {
            self.learn(at, begin, &before)?;
        }
        Ok(true)
    }

    /// Keeps the link that was entered, and says what it has that the one in front of it had not.
    fn learn(&mut self, at: u64, begin: i64, before: &Params) -> Result<()> {
        let params = &self.segment.track.params;
        if params.sample_rate != self.track.params.sample_rate {
            self.rate_change.get_or_insert(begin);
        }
        let params = Some(Arc::new(params.clone()));
        self.links.push(Link { at, begin, params });
        for change in changes(before, &self.segment.track.params) {
            self.segment.cursor.window.remark(change.at_byte(at))?;
        }
        Ok(())
    }
}

impl Demuxer for Chain<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn rate_change(&self) -> Option<i64> {
        self.rate_change
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        loop {
            if let Some(packet) = self.segment.next_packet()? {
                let begin = self.begin();
                return Ok(Some(Packet {
                    begin: packet.begin.map(|at| at.saturating_add(begin)),
                    params: self.link().and_then(|link| link.params.clone()),
                    ..packet
                }));
            }
            if !self.enter_next()? {
                return Ok(None);
            }
        }
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        self.is_broken = false;
        let known = self.links.partition_point(|link| link.begin <= frame);
        self.go_to(known.saturating_sub(1))?;
        // What lies after the last link that is known may be in the next one.
        while self.current + 1 == self.links.len() && self.segment.next_header()?.is_some() {
            let frames = self.segment.frames()?;
            let end = frames.map(|frames| self.begin().saturating_add(frames as i64));
            if end.is_none_or(|end| frame < end) || !self.enter_next()? {
                break;
            }
        }
        let inside = frame.saturating_sub(self.begin());
        self.segment.seek(inside)
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        self.is_broken = false;
        self.go_to(self.links.len() - 1)?;
        loop {
            let frames = self.segment.frames()?;
            if !self.enter_next()? {
                let begin = self.begin().max(0) as u64;
                return Ok(frames.map(|frames| frames.saturating_add(begin)));
            }
        }
    }
}

impl Mkv<'_> {
    /// The byte at which another file follows this segment, where one does that is known of: after a segment whose
    /// size is open, once all of it was read.
    fn next_header(&mut self) -> Result<Option<u64>> {
        let segment = &self.cursor.segment;
        let at = match segment.open {
            true if self.cursor.has_ended => self.cursor.at,
            true => return Ok(None),
            false => segment.end,
        };
        let bytes = self.cursor.window.at(at, 4, 64)?;
        Ok((bytes.get(..4) == Some(&EBML.to_be_bytes())).then_some(at))
    }
}
