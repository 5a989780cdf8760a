//! Positions of HE-AAC in a container that counts what AAC-LC makes: twice as many frames at twice the rate.
//!
//! Where a header says that the stream is HE-AAC, containers heed it. Where only packets show it, a few of them are read
//! first, and all that the container tells is doubled.

use std::sync::Arc;

use super::demuxer::{Demuxer, Packet, Part, Track};
use crate::codec::aac::{self, AacConfig, Replicated};
use crate::codec::params::{Codec, Params};
use crate::error::Result;

/// A demuxer of which all positions are doubled.
struct Doubled<'a> {
    inner: Box<dyn Demuxer + 'a>,
    track: Track,
    /// The link that was met last, as it is told and as it is passed on.
    link: Option<(Arc<Params>, Arc<Params>)>,
    /// 2, or 1 where the container counts what comes out already.
    factor: u64,
}

impl Doubled<'_> {
    fn times(&self, frames: u64) -> u64 {
        frames.saturating_mul(self.factor)
    }

    fn place(&self, frame: i64) -> i64 {
        frame.saturating_mul(self.factor as i64)
    }
}

/// The same demuxer, or one that doubles its positions if the first packets show replication.
pub(crate) fn heed<'a>(mut inner: Box<dyn Demuxer + 'a>) -> Result<Box<dyn Demuxer + 'a>> {
    let track = inner.track();
    let params = &track.params;
    if params.codec != Codec::Aac || params.is_replicated || params.sample_rate == 0 {
        return Ok(inner);
    }
    // What is not decoded here is refused by its decoder.
    let Ok(config) = AacConfig::of_params(params) else {
        return Ok(inner);
    };
    // CAF tells how many frames it counts for a packet, whatever the header says.
    let is_bare = matches!(track.container, "aac" | "mpegts");
    let counts = track.container == "caf";
    if config.replicated != Replicated::Unknown && !(counts && config.is_doubled()) {
        return Ok(inner);
    }
    let shown = shown(&mut *inner, &config, is_bare);
    inner.seek(i64::MIN)?;
    let Some(frames) = shown else {
        return Ok(inner);
    };
    let factor = if frames > config.core_frames() { 1 } else { 2 };
    let mut track = inner.track().clone();
    track.params = doubled(&track.params);
    let times = |frames: u64| frames.saturating_mul(factor);
    track.frames = track.frames.map(times);
    for part in &mut track.parts {
        *part = match part {
            Part::Media(frames) => Part::Media(times(frames.start)..times(frames.end)),
            Part::Pause(frames) => Part::Pause(times(*frames)),
        };
    }
    Ok(Box::new(Doubled {
        inner,
        track,
        link: None,
        factor,
    }))
}

/// The frames that the container counts for a packet, if one of the first shows replication: of a bare stream, more are
/// looked at, as it may begin anywhere.
fn shown(demuxer: &mut dyn Demuxer, config: &AacConfig, is_bare: bool) -> Option<u64> {
    let count = if is_bare { 8 } else { aac::PACKETS_SHOWING_SBR };
    for _ in 0..count {
        // What is damaged is met again, and says so.
        let Ok(Some(packet)) = demuxer.next_packet() else {
            return None;
        };
        if aac::has_sbr(config, &packet.data) == Some(true) {
            return Some(packet.frames.unwrap_or(0));
        }
    }
    None
}

/// A link as it is once replicated.
fn doubled(params: &Params) -> Params {
    let config = AacConfig::of_params(params);
    let mut params = params.clone();
    params.is_replicated = true;
    if let Ok(config) = config.map(AacConfig::shown_replicated) {
        params.sample_rate = config.sample_rate();
        params.channels = config.channels().or(params.channels);
    }
    params
}

impl Demuxer for Doubled<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let Some(mut packet) = self.inner.next_packet()? else {
            return Ok(None);
        };
        packet.begin = packet.begin.map(|begin| self.place(begin));
        packet.frames = packet.frames.map(|frames| self.times(frames));
        packet.padding = self.times(packet.padding);
        packet.params = packet.params.map(|told| match &self.link {
            Some((last, passed)) if Arc::ptr_eq(last, &told) => passed.clone(),
            _ => {
                let passed = Arc::new(doubled(&told));
                self.link = Some((told, passed.clone()));
                passed
            }
        });
        Ok(Some(packet))
    }

    fn rate_change(&self) -> Option<i64> {
        self.inner.rate_change().map(|frame| self.place(frame))
    }

    fn link_start(&self) -> i64 {
        self.place(self.inner.link_start())
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        self.inner.seek(frame.div_euclid(self.factor as i64))
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        let frames = self.inner.frames()?;
        Ok(frames.map(|frames| self.times(frames)))
    }
}
