//! Exact positions from rounded time stamps, and where clusters lie: RFC 9559, section 5.1.5 (Cues).
//!
//! Time stamps are rounded, to 1 ms mostly, and positions are sums of packets' lengths, so that only
//! some of the frames near a time stamp can begin a packet: multiples of what the lengths have in
//! common. Of several packets the rounding evens out. Where that does not single out one frame, or
//! time stamps do not go with the lengths at all (live recordings), packets are counted from the start.

use super::cursor::CUES;
use super::ebml::{self, Element, each_child};
use super::{Counted, Mkv};
use crate::bytes::window::Window;
use crate::error::{ErrorKind, Result};

const CUE_POINT: u32 = 0xBB;
const CUE_TIME: u32 = 0xB3;
const CUE_TRACK_POSITIONS: u32 = 0xB7;
const CUE_CLUSTER_POSITION: u32 = 0xF1;

/// Files that have fewer bytes of clusters are read through: in less than a millisecond.
const SHORT_BYTES: u64 = 1 << 20;
/// Packets whose time stamps are evened out.
const SAMPLES: usize = 32;
/// Clusters tried in turn, each in front of the other.
const TRIES: usize = 4;

/// What the first packets from some byte on tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// By how many frames time stamps are ahead of the position, counted from the first packet.
    ahead: f64,
    /// What the packets' lengths have in common.
    step: u64,
    /// The first block of Vorbis.
    block: u64,
}

impl Mkv<'_> {
    /// Goes near frame `frame`, if time stamps lead there exactly; else to the start.
    pub(super) fn approach(&mut self, frame: i64) -> Result<()> {
        if !self.is_short()
            && let Some(anchor) = self.anchor()?
        {
            let behind_start = frame.saturating_sub(self.start) as f64;
            let ticks = (behind_start + anchor.ahead) / self.ticks_to_frames();
            let clusters = self.clusters()?;
            let behind = clusters.partition_point(|(time, _)| *time as f64 <= ticks + 1.0);
            for (_, at) in clusters.iter().take(behind).rev().take(TRIES) {
                match self.locate(*at)? {
                    Some(position) if position <= frame => return Ok(()),
                    Some(_) => {}
                    None => break,
                }
            }
        }
        self.rewind();
        Ok(())
    }

    /// Goes to the last cluster that has packets, if time stamps tell its position; else to the start.
    pub(super) fn approach_end(&mut self) -> Result<()> {
        if !self.is_short() && self.anchor()?.is_some() {
            let clusters = self.clusters()?;
            for (_, at) in clusters.iter().rev().take(TRIES) {
                if self.locate(*at)?.is_some() {
                    return Ok(());
                }
            }
        }
        self.rewind();
        Ok(())
    }

    fn is_short(&self) -> bool {
        let end = self.cursor.segment.end.min(self.cursor.window.len());
        end.saturating_sub(self.cursor.first) < SHORT_BYTES
    }

    pub(super) fn ticks_to_frames(&self) -> f64 {
        self.scale as f64 * f64::from(self.rate) / 1e9
    }

    /// Goes to the cluster at `at`, and tells the position of its first packet, if that is certain.
    fn locate(&mut self, at: u64) -> Result<Option<i64>> {
        let sample = self.sample(at)?;
        self.go_to(at, None);
        if self.first_number.is_some() {
            // The frames of FLAC have numbers.
            return self.peek();
        }
        let anchor = self.anchor()?;
        let position = anchor
            .zip(sample)
            .and_then(|(anchor, sample)| self.resolve(&anchor, &sample));
        self.go_to(at, position);
        Ok(position)
    }

    /// As [`Self::locate`] after damage: to the nearest frame where none is certain.
    pub(super) fn locate_roughly(&mut self, at: u64) -> Result<()> {
        if self.locate(at)?.is_none() {
            let (anchor, sample) = (self.anchor()?, self.sample(at)?);
            let near = anchor
                .zip(sample)
                .map(|(anchor, sample)| self.near(&anchor, &sample));
            self.go_to(at, near.map(|near| near.round() as i64));
        }
        Ok(())
    }

    /// The position of the next packet, which stays the next.
    fn peek(&mut self) -> Result<Option<i64>> {
        let next = self.count_next()?;
        let begin = next.and_then(|next| next.begin);
        self.pending.extend(next);
        Ok(begin)
    }

    /// Where the sample's first packet begins by its time stamps.
    fn near(&self, anchor: &Sample, sample: &Sample) -> f64 {
        sample.ahead - anchor.ahead + self.start as f64
    }

    /// The one frame near the sample's time stamps where its first packet can begin.
    fn resolve(&self, anchor: &Sample, sample: &Sample) -> Option<i64> {
        let step = gcd(anchor.step, sample.step) as i64;
        let tolerance = 0.6 * self.ticks_to_frames() + 1.0;
        if (step as f64) < 2.0 * tolerance {
            return None;
        }
        let base = self.start + (anchor.block + sample.block) as i64 / 4;
        let near = self.near(anchor, sample);
        let steps = ((near - base as f64) / step as f64).round() as i64;
        let position = steps.checked_mul(step)?.checked_add(base)?;
        let is_certain = (near - position as f64).abs() <= tolerance && position >= self.start;
        is_certain.then_some(position)
    }

    /// What the first packets of the track tell.
    fn anchor(&mut self) -> Result<Option<Sample>> {
        if self.anchor.is_none() {
            self.anchor = self.sample(self.cursor.first)?;
        }
        Ok(self.anchor)
    }

    /// What the packets from the cluster at `at` on tell; `None` where their time stamps contradict.
    fn sample(&mut self, at: u64) -> Result<Option<Sample>> {
        self.go_to(at, Some(0));
        let to_frames = self.ticks_to_frames();
        let (mut aheads, mut step, mut before, mut block) = (Vec::new(), 0, 0, 0);
        while aheads.len() < SAMPLES {
            let Some(Counted {
                frame,
                begin: Some(begin),
                frames: Some(frames),
            }) = damage_ends(self.count_next())?
            else {
                break;
            };
            // The last length may be that of a shorter packet.
            step = gcd(step, before);
            before = frames;
            if self.lengths.is_vorbis() && frames == 0 {
                let (size, steps) = self.lengths.overlap().unwrap_or_default();
                (block, step) = (u64::from(size), steps);
                continue;
            }
            if self.lengths.is_vorbis() {
                before = 0;
            }
            aheads.extend(
                frame
                    .time
                    .map(|time| time as f64 * to_frames - begin as f64),
            );
        }
        let least = aheads.iter().copied().fold(f64::INFINITY, f64::min);
        let most = aheads.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Rounded up and down, by whoever wrote them and by whoever copied them.
        let agree = !aheads.is_empty() && most - least <= 2.5 * to_frames + 1.0;
        Ok(agree.then(|| Sample {
            ahead: aheads.iter().sum::<f64>() / aheads.len() as f64,
            step,
            block,
        }))
    }

    /// Time and byte of clusters in order: by the Cues, or by passing over all.
    fn clusters(&mut self) -> Result<Vec<(u64, u64)>> {
        let cues = match self.cues {
            Some(at) => damage_ends(read_cues(&mut self.cursor.window, &self.cursor.segment, at))?,
            None => None,
        };
        Ok(match cues {
            Some(cues) if !cues.is_empty() => cues,
            _ => self.cursor.pass_over(),
        })
    }
}

/// `None` for damage: another way leads on.
pub(super) fn damage_ends<T>(result: Result<Option<T>>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::Io => Err(error),
        other => Ok(other.unwrap_or_default()),
    }
}

/// The clusters that the Cues at `at` name.
fn read_cues(
    window: &mut Window<'_>,
    segment: &Element,
    at: u64,
) -> Result<Option<Vec<(u64, u64)>>> {
    let ahead = window.len().saturating_sub(at);
    let cues = ebml::element(window, at, segment.end, ahead)?;
    let Some(cues) = cues.filter(|cues| cues.id == CUES && !cues.open) else {
        return Ok(None);
    };
    ebml::check_sum(window, &cues)?;
    let mut clusters = Vec::new();
    each_child(window, &cues, |window, point| {
        if point.id == CUE_POINT {
            clusters.extend(read_point(window, segment, point)?);
        }
        Ok(())
    })?;
    clusters.sort_unstable();
    clusters.dedup_by_key(|(_, at)| *at);
    Ok(Some(clusters))
}

fn read_point(
    window: &mut Window<'_>,
    segment: &Element,
    point: &Element,
) -> Result<Option<(u64, u64)>> {
    let (mut time, mut at) = (None, None);
    each_child(window, point, |window, field| {
        match field.id {
            CUE_TIME => time = Some(ebml::unsigned(window, field)?),
            CUE_TRACK_POSITIONS => each_child(window, field, |window, field| {
                if field.id == CUE_CLUSTER_POSITION {
                    at = segment.body.checked_add(ebml::unsigned(window, field)?);
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(time.zip(at))
}

fn gcd(one: u64, other: u64) -> u64 {
    match other {
        0 => one,
        _ => gcd(other, one % other),
    }
}
