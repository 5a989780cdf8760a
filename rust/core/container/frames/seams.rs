//! Frames of a stream that lies in pieces: whether something is lost between two of them.
//!
//! What counts its pieces (the transport stream's continuity counter) may count wrong, and streams are put
//! together from others by joining the files. So a jump is damage only where the frames say so: one that spans it
//! does not end where another begins, or the timestamps of both sides are farther apart than their frames.

use super::{Frames, Header};
use crate::bytes::window::Seam;
use crate::error::{Error, Result};

/// Of timestamps, which wrap around at 33 bits.
const CLOCK: i128 = 90_000;
const WRAP: u64 = 1 << 33;
/// Seconds that may be lost: what is farther apart was joined.
const MOST_LOST: i128 = 30;

/// Frames that are passed over at most to find a timestamp.
const MOST_LOOKED_AT: usize = 64;

/// What is known of the pieces at a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Thread {
    /// Seams up to this byte have been judged.
    judged: u64,
    /// No frame begins between this byte and the frame's.
    bare_from: u64,
    /// The last frame whose time was told: the samples before it, and its timestamp.
    clock: Option<(u64, u64)>,
}

impl Thread {
    /// Of the frame with which a stream begins.
    pub(super) fn begin(at: u64) -> Self {
        Self {
            judged: at,
            bare_from: at,
            clock: None,
        }
    }
}

impl<H: Header> Frames<'_, H> {
    /// What is known after a frame was taken that begins at byte `at`, with `begin` samples before it.
    pub(super) fn thread_behind(&self, at: u64, begin: u64) -> Thread {
        let before = self.place.thread;
        let stamp = self.window.stamp(before.bare_from..at + 1);
        Thread {
            judged: before.judged.max(at),
            bare_from: at + 1,
            clock: stamp.map(|stamp| (begin, stamp)).or(before.clock),
        }
    }

    /// Judges a seam where the last frame ends.
    ///
    /// # Errors
    /// Frames that are lost there: what follows lies after them.
    pub(super) fn cross_seam(&mut self) -> Result<()> {
        let at = self.place.at;
        // At the beginning nothing that belongs to the stream is in front of it.
        let is_judged = at <= self.place.thread.judged;
        let Some(seam) = self.window.seam(at..at + 1).filter(|_| !is_judged) else {
            return Ok(());
        };
        self.place.thread.judged = at;
        let lost = match self.excess(at, self.place.thread.bare_from)? {
            Some(excess) if self.is_loss(excess) => self.frames_in(excess),
            Some(excess) if !seam.is_sure => return self.note_jump(&seam, excess),
            _ => round(seam.lost, self.mean_length()),
        };
        self.skip_frames(lost);
        Err(lost_at(&seam))
    }

    /// Judges the seams inside of the frame that the stream is in front of; the first that has lost some of it.
    ///
    /// # Errors
    /// As for [`Frames::next`].
    pub(super) fn torn(&mut self, header: &H) -> Result<Option<Seam>> {
        let end = self.place.at + header.length() as u64;
        while let Some(seam) = self.unjudged(end) {
            if seam.is_sure || !self.is_followed(header, end)? {
                return Ok(Some(seam));
            }
            self.note_harmless(&seam)?;
            self.place.thread.judged = seam.at;
        }
        Ok(None)
    }

    /// Whether the stream goes on at `end` after a frame with `header`, or ends there.
    fn is_followed(&mut self, header: &H, end: u64) -> Result<bool> {
        let bytes = self.window.at(end, H::BYTES, u64::MAX)?;
        Ok(bytes.is_empty()
            || H::parse_like(bytes, header).is_some_and(|next| next.is_like(header)))
    }

    /// The first seam after those that were judged, in front of byte `end`.
    fn unjudged(&self, end: u64) -> Option<Seam> {
        self.window.seam(self.place.thread.judged + 1..end)
    }

    /// A seam between the last frame and byte `to`, at which the next one begins; and what all of them lose. They
    /// are judged with that.
    pub(super) fn seams_before(&mut self, to: u64) -> (Option<Seam>, u64) {
        let (mut first, mut bytes) = (None, 0u64);
        while let Some(seam) = self.unjudged(to + 1) {
            bytes = bytes.saturating_add(seam.lost);
            self.place.thread.judged = seam.at;
            first.get_or_insert(seam);
        }
        (first, bytes)
    }

    /// How many frames lie between the last one and the one at `next`, by the timestamps of both.
    pub(super) fn lost_by_time(&mut self, next: u64) -> Result<Option<u64>> {
        let excess = self.excess(next, next)?;
        let excess = excess.filter(|excess| *excess == 0 || self.is_loss(*excess));
        Ok(excess.map(|excess| self.frames_in(excess)))
    }

    /// How many samples later than the frames say the stream goes on with the frame at `at`, by the next timestamp;
    /// no frame begins between byte `bare_from` and that one.
    fn excess(&mut self, at: u64, bare_from: u64) -> Result<Option<i128>> {
        let Some((begin, since)) = self.place.thread.clock else {
            return Ok(None);
        };
        let like = self.place.header;
        let (mut at, mut bare_from) = (at, bare_from);
        let mut heard = self.place.begin.saturating_sub(begin);
        for _ in 0..MOST_LOOKED_AT {
            let bytes = self.window.at(at, H::BYTES, u64::MAX)?;
            let header = H::parse_like(bytes, &like).filter(|header| header.is_like(&like));
            if let Some(stamp) = self.window.stamp(bare_from..at + 1) {
                return Ok(self.late(stamp, since, heard));
            }
            let Some(header) = header else { break };
            heard += header.samples();
            bare_from = at + 1;
            at += header.length() as u64;
            if self.window.seam(bare_from..at + 1).is_some() {
                break;
            }
        }
        Ok(None)
    }

    /// How many samples there are from one timestamp to another, less those that are `heard`.
    fn late(&self, stamp: u64, since: u64, heard: u64) -> Option<i128> {
        let rate = i128::from(self.place.header.params().ok()?.sample_rate);
        let told = stamp.wrapping_sub(since) % WRAP;
        let is_back = told >= WRAP / 2;
        let told = i128::from(told) - if is_back { i128::from(WRAP) } else { 0 };
        let excess = told * rate / CLOCK - i128::from(heard);
        // Timestamps are rounded, and some encoders are late by a part of a frame.
        let is_none = excess.abs() < i128::from(self.place.header.samples()) / 2;
        Some(if is_none { 0 } else { excess })
    }

    fn is_loss(&self, excess: i128) -> bool {
        let rate = self
            .place
            .header
            .params()
            .map_or(0, |params| params.sample_rate);
        (1..MOST_LOST * i128::from(rate)).contains(&excess)
    }

    fn frames_in(&self, samples: i128) -> u64 {
        let samples = u64::try_from(samples).unwrap_or(0);
        round(samples, self.place.header.samples())
    }

    fn note_harmless(&self, seam: &Seam) -> Result<()> {
        let reason = format!("{}, and nothing is lost", seam.reason);
        self.remark(Error::corrupt(reason).at_byte(seam.at))
    }

    fn note_jump(&mut self, seam: &Seam, excess: i128) -> Result<()> {
        if excess == 0 {
            return self.note_harmless(seam);
        }
        self.place.thread.clock = None;
        let reason = format!(
            "{}, and so do the timestamps: both parts are read end to end",
            seam.reason
        );
        self.remark(Error::corrupt(reason).at_byte(seam.at))
    }
}

/// The error of what is lost at `seam`.
pub(super) fn lost_at(seam: &Seam) -> Error {
    Error::corrupt(format!("audio is lost: {}", seam.reason)).at_byte(seam.at)
}

fn round(amount: u64, unit: u64) -> u64 {
    let unit = unit.max(1);
    amount.saturating_add(unit / 2) / unit
}
