//! Whether the times of the tables are the lengths of the packets.
//!
//! Packets of Opus, FLAC and ALAC tell how many frames they are, and so do the tables. Who copies packets from a container
//! with rounded time stamps (Matroska: milliseconds) writes what the rounding left: packets follow each other all the same.

use super::Mp4;
use super::edit::Cut;
use super::entry::Lengths;
use super::plain::Sample;
use crate::codec::params::Codec;
use crate::error::{Error, ErrorKind, Result};

/// How often the bytes of a file may be part of a packet.
const MAX_OVERLAP: u64 = 4;
/// Samples of the first fragments whose times are compared with their packets.
const MAX_COMPARED: u32 = 64;

/// Lengths of all samples in `moov`, by their packets.
#[derive(Default)]
struct Scan {
    frames: u64,
    ticks: u64,
    /// Whether all times but the last one's are those of the packets, as far as the unit of time says it.
    agrees: bool,
}

impl Mp4<'_> {
    /// Takes the packets' own lengths where the times of the tables are others; gives the frames of `moov` then.
    ///
    /// # Errors
    /// What a strict reading makes of times that are others.
    pub(super) fn settle_lengths(&mut self) -> Result<Option<u64>> {
        if let Lengths::Fixed(frames) = self.lengths
            && self.fragments.is_some()
            && self.is_exact()
        {
            let whole = self.plain.len().saturating_mul(frames);
            if self.plain_ticks()? != whole || !self.first_samples_agree()? {
                // It leads to times, which are no positions then.
                self.index = None;
                self.remark_joined()?;
            }
            return Ok(None);
        }
        if !matches!(self.lengths, Lengths::Ticks | Lengths::Counted) {
            return Ok(None);
        }
        if self.lengths == Lengths::Ticks && self.ticks_are_plausible()? {
            return Ok(None);
        }
        let is_exact = self.is_exact();
        let scan = self.scan()?;
        if is_exact && scan.agrees && self.fragments.is_none() {
            return Ok(None);
        }
        if !scan.agrees || (is_exact && self.fragments.is_some()) {
            self.remark_joined()?;
        }
        self.lengths = Lengths::Counted;
        Ok(Some(scan.frames))
    }

    fn remark_joined(&self) -> Result<()> {
        let reason =
            "the times of an MP4 track are not the lengths of its packets, which were joined";
        self.window
            .remark(Error::corrupt(reason).at_byte(self.stts))
    }

    /// Whether all times are alike but the last one, and those of the first and the last packet.
    fn ticks_are_plausible(&mut self) -> Result<bool> {
        if !self.tells_lengths() {
            return Ok(true);
        }
        if self.fragments.is_some() {
            return Ok(self.plain.len() == 0 && self.first_samples_agree()?);
        }
        let Some((delta, last)) = self.plain.durations.regular(&mut self.window)? else {
            return Ok(self.plain.len() == 0);
        };
        let count = self.plain.len();
        let own_first = self.own_frames_at(0)?;
        let own_last = self.own_frames_at(count.saturating_sub(1))?;
        let is_first = count == 1 || own_first.is_none_or(|frames| frames == delta);
        Ok(is_first && own_last.is_none_or(|own| self.may_last(last, own, delta)))
    }

    /// Whether the last packet of `own` frames may last `told`: some codecs fill it up. `most` is what a whole one has.
    fn may_last(&self, told: u64, own: u64, most: u64) -> bool {
        let is_filled = match self.track.params.codec {
            Codec::Flac => false,
            Codec::Alac => own >= most,
            _ => true,
        };
        told == own || (told < own && is_filled)
    }

    fn tells_lengths(&self) -> bool {
        let codec = self.track.params.codec;
        matches!(
            codec,
            Codec::Opus | Codec::Flac | Codec::Alac | Codec::Vorbis
        )
    }

    /// How many frames the packet of `sample` has by itself; `None` where it does not tell, or is not there.
    pub(super) fn own_frames(&mut self, sample: &Sample) -> Result<Option<u64>> {
        if !self.is_there(sample) {
            return Ok(None);
        }
        let most = self.counter.head_bytes() as u64;
        let size = sample.size.min(most) as usize;
        let bytes = self.window.at(sample.at, size, size as u64)?;
        let head = bytes.get(..size).unwrap_or(bytes);
        Ok(self.counter.next(head, sample.size as usize))
    }

    pub(super) fn is_there(&self, sample: &Sample) -> bool {
        sample.at.saturating_add(sample.size) <= self.window.len()
    }

    fn own_frames_at(&mut self, index: u64) -> Result<Option<u64>> {
        self.plain.go_to(index);
        let sample = self.plain.next(&mut self.window, 1);
        self.plain.go_to(0);
        match sample {
            Ok(Some(sample)) => self.own_frames(&sample),
            // Who reads the packet says so.
            _ => Ok(None),
        }
    }

    /// Reads the head of every packet in `moov`.
    fn scan(&mut self) -> Result<Scan> {
        let (mut scan, mut most, mut bytes) = (
            Scan {
                agrees: true,
                ..Scan::default()
            },
            0,
            0u64,
        );
        let tolerance = if self.is_exact() {
            0
        } else {
            self.scales.frames(1) + 1
        };
        let mut is_off = false;
        self.counter.reset();
        self.plain.go_to(0);
        while let Ok(Some(sample)) = self.plain.next(&mut self.window, 1) {
            // Another time is right for the last packet alone.
            scan.agrees &= !is_off;
            if !self.is_there(&sample) {
                break;
            }
            let told = self.scales.frames(sample.duration);
            let own = self.own_frames(&sample)?.unwrap_or(told);
            bytes = bytes.saturating_add(sample.size);
            if bytes / MAX_OVERLAP > self.window.len() {
                let reason = "the samples of the MP4 file overlap";
                return Err(Error::new(ErrorKind::Limit, reason).at_byte(self.stts));
            }
            most = own.max(most);
            scan.frames = scan.frames.saturating_add(own);
            scan.ticks = scan.ticks.saturating_add(sample.duration);
            let ahead = scan.frames.saturating_sub(self.scales.frames(scan.ticks));
            let behind = self.scales.frames(scan.ticks).saturating_sub(scan.frames);
            is_off = ahead.max(behind) > tolerance;
            scan.agrees &=
                behind <= tolerance && (!is_off || self.may_last(own - ahead.min(own), own, most));
        }
        // What the file was cut in has no length but that; who reads it says so.
        let missing = self.plain_ticks()?.saturating_sub(scan.ticks);
        scan.frames = scan.frames.saturating_add(self.scales.frames(missing));
        self.plain.go_to(0);
        self.counter.reset();
        Ok(scan)
    }

    /// Whether the first samples of the fragments last as long as their packets; one may be the last of all.
    fn first_samples_agree(&mut self) -> Result<bool> {
        let Some(mut fragments) = self.fragments.take() else {
            return Ok(true);
        };
        let (mut agrees, mut before) = (true, None);
        for _ in 0..MAX_COMPARED {
            // What is broken is told when it is read.
            let Ok(Some(sample)) = fragments.next(&mut self.window) else {
                break;
            };
            agrees &= before.is_none_or(|(own, told)| own == told);
            let own = self.own_frames(&sample)?;
            before = Some((own.unwrap_or(sample.duration), sample.duration));
        }
        agrees &= before.is_none_or(|(own, told)| told <= own);
        fragments.rewind();
        self.fragments = Some(fragments);
        self.counter.reset();
        Ok(agrees)
    }

    /// `cut` as it is meant where times are rounded: its end is that of a packet which ends within the rounding.
    pub(super) fn at_packet(&mut self, cut: Cut, total: u64) -> Result<Cut> {
        if self.lengths != Lengths::Counted || cut.padding == 0 {
            return Ok(cut);
        }
        let end = total.saturating_sub(cut.padding);
        self.seek_plain(end)?;
        let begin = self.frame;
        if let Some(sample) = self.plain.next(&mut self.window, 1)? {
            self.pass(&sample)?;
        }
        let near = self.scales.of_movie(1) + 1;
        let ends = [begin, self.frame];
        let nearest = ends.into_iter().min_by_key(|frame| frame.abs_diff(end));
        self.seek_plain(0)?;
        Ok(match nearest.filter(|frame| frame.abs_diff(end) <= near) {
            Some(frame) => Cut {
                padding: total.saturating_sub(frame),
                ..cut
            },
            None => cut,
        })
    }
}
