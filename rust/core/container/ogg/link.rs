//! One link of a chain: a stream with headers of its own, and its place in the recording.

use std::sync::Arc;

use super::Ogg;
use super::stream::Stream;
use crate::codec::params::Params;

#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Where its first page begins.
    pub(super) at: u64,
    pub(super) serial: u32,
    /// `None`: as the track says.
    pub(super) params: Option<Arc<Params>>,
    /// Where the first page of audio begins, and how many of its pieces belong to headers.
    pub(super) first_page: u64,
    pub(super) skip: usize,
    /// The number of the page in front of it.
    pub(super) number: Option<u32>,
    pub(super) pre_skip: i64,
    /// The frame of the recording at which the link's own recording begins.
    pub(super) base: i64,
    /// The headers of another link are broken: this one's pages are over.
    pub(super) is_lost: bool,
    /// The granule position of the base.
    origin: i64,
    /// Where its first packet begins, and the block of that where packets overlap; `None`: not known yet.
    first: Option<(i64, Option<u32>)>,
}

impl Link {
    /// A link that begins at byte `at` and frame `base`.
    pub(super) fn new(at: u64, stream: &Stream, params: Option<Params>, base: i64) -> Self {
        Self {
            at,
            serial: stream.serial,
            params: params.map(Arc::new),
            first_page: stream.first_page,
            skip: stream.skip,
            number: stream.number,
            pre_skip: stream.pre_skip,
            base,
            is_lost: false,
            origin: 0,
            first: None,
        }
    }

    /// Its first packet, of a block of so many samples, begins at granule position `first`, its recording at `origin`.
    pub(super) fn place(&mut self, first: i64, origin: i64, block: Option<u32>) {
        self.first = Some((first, block));
        self.origin = origin;
    }

    /// The frame of the recording at a granule position; a granule position as long as the link has no place.
    pub(super) fn frame(&self, granule: i64) -> i64 {
        match self.first {
            Some(_) => granule
                .saturating_sub(self.origin)
                .saturating_add(self.base),
            None => granule,
        }
    }

    /// The granule position of a frame of the recording.
    pub(super) fn granule(&self, frame: i64) -> i64 {
        frame.saturating_sub(self.base).saturating_add(self.origin)
    }
}

impl Ogg<'_> {
    /// How far a granule position may lie beside the packets' own count and mean the same place.
    ///
    /// What comes from containers with times in milliseconds has positions that are sums of two rounded times, and so
    /// is that of the first page, from which is counted: two milliseconds together, and a frame or two of other
    /// roundings. A lost packet is longer than that; where it may not be, the nearest place decides.
    pub(super) fn tolerance(&self) -> i64 {
        let params = self.params();
        let rounding = i64::from(params.sample_rate) / 500 + 2;
        let nearest = |(step, _)| (step as i64 - 1) / 2;
        self.lengths.step().map_or(0, nearest).min(rounding)
    }

    /// Where packets begin that their page says lie from `begin` to `end`: at the nearest place at which packets of
    /// this stream can.
    pub(super) fn resolve(&mut self, begin: i64, end: i64) -> i64 {
        let Some(beside) = self.beside(begin, end) else {
            return begin;
        };
        if beside.abs() > self.tolerance() {
            self.is_unsure = true;
            return begin;
        }
        begin.saturating_sub(beside)
    }

    /// How far after the nearest such place they lie; `None` where it is not known.
    fn beside(&self, begin: i64, end: i64) -> Option<i64> {
        let (first, first_block) = self.link.first?;
        let (step, is_regular) = self.lengths.step()?;
        let step = i64::try_from(step)
            .ok()
            .filter(|step| is_regular && *step > 0)?;
        let (place, outer) = match (self.lengths.overlap(), first_block) {
            // Of a sum of quarters of blocks all but the outer ones come twice.
            (Some((last, _)), Some(first)) => (end, i64::from((last + first) / 4)),
            _ => (begin, 0),
        };
        let beside = place
            .checked_sub(first)?
            .checked_sub(outer)?
            .rem_euclid(step);
        Some(if 2 * beside > step {
            beside - step
        } else {
            beside
        })
    }
}
