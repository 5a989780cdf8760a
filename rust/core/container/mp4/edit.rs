//! Which part of the samples is the recording: the edit list, or iTunes' own note where there is none.
//!
//! Format: ISO/IEC 14496-12, section 8.6.6. The rules for the end are those that FFmpeg's output shows.

use super::FAR;
use super::boxes::{Span, be32, be64, body, children, descend, find};
use super::table::Table;
use crate::bytes::window::Window;
use crate::container::demuxer::Part;
use crate::error::Result;

/// Entries of an edit list that are read; all but one or two are an error.
const MAX_EDITS: u64 = 512;

/// The part of the media that an edit list plays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edit {
    /// Its length, in ticks of the movie.
    segment: u64,
    /// Where it begins, in ticks of the media.
    media_time: u64,
}

/// What is cut off a track, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cut {
    pub(super) delay: u64,
    pub(super) padding: u64,
}

/// Units of time, per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scales {
    pub(super) movie: u64,
    pub(super) media: u64,
    pub(super) rate: u64,
}

impl Scales {
    /// Ticks of the media in frames, to the nearest.
    pub(super) fn frames(&self, ticks: u64) -> u64 {
        let product = u128::from(ticks) * u128::from(self.rate) + u128::from(self.media / 2);
        bounded(product / u128::from(self.media.max(1)))
    }

    /// Frames in a tick of the movie.
    fn movie_tick(&self) -> u64 {
        (self.rate / self.movie.max(1)).max(1)
    }

    /// Ticks of the movie in frames, to the nearest.
    pub(super) fn of_movie(&self, ticks: u64) -> u64 {
        let product = u128::from(ticks) * u128::from(self.rate) + u128::from(self.movie / 2);
        bounded(product / u128::from(self.movie.max(1)))
    }
}

fn bounded(frames: u128) -> u64 {
    frames.min(u128::from(FAR)) as u64
}

/// One entry of an edit list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Entry {
    Plays(Edit),
    /// A negative media time: silence, in ticks of the movie.
    Pauses(u64),
}

impl Entry {
    fn parse(entry: &[u8], long: bool) -> Option<Self> {
        let (segment, media_time) = if long {
            (be64(entry, 0)?, be64(entry, 8)? as i64)
        } else {
            (
                u64::from(be32(entry, 0)?),
                i64::from(be32(entry, 4)? as i32),
            )
        };
        Some(match u64::try_from(media_time) {
            Ok(media_time) => Self::Plays(Edit {
                segment,
                media_time,
            }),
            Err(_) => Self::Pauses(segment),
        })
    }
}

/// The entries of a track's edit list, and the byte at which it begins. Parts that follow each other in the media are
/// one; pauses in front of all and after all are left out, as FFmpeg does.
pub(super) fn read(
    window: &mut Window<'_>,
    trak: Span,
    scales: Scales,
) -> Result<(Vec<Entry>, u64)> {
    let Some(elst) = descend(window, trak, &[b"edts", b"elst"])? else {
        return Ok((Vec::new(), trak.start));
    };
    let long = body(window, elst, 1)?.first() == Some(&1);
    let mut table = Table::counted(window, elst, if long { 20 } else { 12 })?;
    let mut entries = Vec::new();
    for index in 0..table.len().min(MAX_EDITS) {
        let entry = table.entry(window, index)?.unwrap_or_default();
        if let Some(entry) = Entry::parse(entry, long) {
            append(&mut entries, entry, scales);
        }
    }
    while let Some(Entry::Pauses(_)) = entries.last() {
        entries.pop();
    }
    Ok((entries, elst.start))
}

fn append(entries: &mut Vec<Entry>, entry: Entry, scales: Scales) {
    match (entries.last_mut(), entry) {
        (None, Entry::Pauses(_)) => {}
        (Some(Entry::Pauses(before)), Entry::Pauses(more)) => {
            *before = before.saturating_add(more);
        }
        (Some(Entry::Plays(before)), Entry::Plays(edit)) => match before.joined(edit, scales) {
            Some(both) => *before = both,
            None => entries.push(entry),
        },
        _ => entries.push(entry),
    }
}

/// The recording that several entries put together from `total` frames of media; `None` where one of them does not say how
/// long it is.
pub(super) fn parts(entries: &[Entry], scales: Scales, total: u64) -> Option<Vec<Part>> {
    let begins = entries.iter().filter_map(|entry| match entry {
        Entry::Plays(edit) => Some(edit.delay(scales)),
        Entry::Pauses(_) => None,
    });
    // Segments are rounded to ticks of the movie: an end that is as near to a begin, or to the end of all, is there.
    let places: Vec<u64> = begins.chain([total]).collect();
    let part = |entry: &Entry| match entry {
        Entry::Pauses(ticks) => Some(Part::Pause(scales.of_movie(*ticks))),
        Entry::Plays(edit) if edit.segment == 0 => None,
        Entry::Plays(edit) => {
            let begin = edit.delay(scales).min(total);
            let end = begin.saturating_add(scales.of_movie(edit.segment));
            let is_near = |place: &&u64| end.abs_diff(**place) <= scales.movie_tick();
            let end = places.iter().find(is_near).map_or(end, |place| *place);
            Some(Part::Media(begin..end.clamp(begin, total)))
        }
    };
    entries.iter().map(part).collect()
}

impl Edit {
    /// This and the next as one, where that begins where this ends, to the tick of the movie.
    fn joined(self, next: Self, scales: Scales) -> Option<Self> {
        let end = scales.frames(self.media_time) + scales.of_movie(self.segment);
        let apart = end.abs_diff(scales.frames(next.media_time));
        (apart <= scales.movie_tick() && self.segment > 0).then_some(Self {
            segment: self.segment.saturating_add(next.segment),
            ..self
        })
    }

    /// Frames in front of the part.
    pub(super) fn delay(&self, scales: Scales) -> u64 {
        scales.frames(self.media_time)
    }

    /// What to cut off a track of `total` frames.
    pub(super) fn cut(&self, scales: Scales, total: u64) -> Cut {
        let delay = self.delay(scales);
        let valid = total.saturating_sub(delay);
        // The segment is in ticks of the movie, often milliseconds: it cuts only where it cuts clearly.
        let is_clear = self.segment > 0 && scales.of_movie(self.segment.saturating_add(1)) < valid;
        let frames = if is_clear {
            scales.of_movie(self.segment)
        } else {
            valid
        };
        Cut {
            delay,
            padding: valid - frames,
        }
    }
}

/// Delay and padding in iTunes' `iTunSMPB`: numbers in base 16, the second and the third.
pub(super) fn itunes_cut(window: &mut Window<'_>, moov: Span) -> Result<Option<Cut>> {
    let Some(meta) = descend(window, moov, &[b"udta", b"meta"])? else {
        return Ok(None);
    };
    // QuickTime's has no version and flags.
    let is_full = body(window, meta, 8)?.get(4..8) != Some(b"hdlr");
    let meta = meta.inner(if is_full { 4 } else { 0 });
    let Some(ilst) = descend(window, meta, &[b"ilst"])? else {
        return Ok(None);
    };
    for item in children(window, ilst)? {
        if &item.kind != b"----" {
            continue;
        }
        let bytes = body(window, item, 1024)?;
        let name = find(&bytes, b"name").and_then(|name| name.get(4..));
        let text = find(&bytes, b"data").and_then(|data| data.get(8..));
        if name == Some(b"iTunSMPB") {
            return Ok(text.and_then(parse_itunes));
        }
    }
    Ok(None)
}

fn parse_itunes(text: &[u8]) -> Option<Cut> {
    let text = std::str::from_utf8(text).ok()?;
    let mut numbers = text.split_ascii_whitespace().skip(1);
    let mut number = || u32::from_str_radix(numbers.next()?, 16).ok().map(u64::from);
    Some(Cut {
        delay: number()?,
        padding: number()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cuts_only_where_it_cuts_clearly() {
        let scales = Scales {
            movie: 1000,
            media: 44_100,
            rate: 44_100,
        };
        let edit = |segment| Edit {
            segment,
            media_time: 1024,
        };
        let total = 1024 + 44_100;
        // 1000 ms say 44,100 frames, and so may 999 to 1001.
        for segment in [0, 999, 1000, 1001, u64::MAX] {
            let cut = edit(segment).cut(scales, total);
            assert_eq!(
                cut,
                Cut {
                    delay: 1024,
                    padding: 0
                },
                "{segment}"
            );
        }
        assert_eq!(edit(500).cut(scales, total).padding, 22_050);
        assert_eq!(edit(500).cut(scales, 3).padding, 0);
    }

    #[test]
    fn parts_that_follow_each_other_are_one() {
        let scales = Scales {
            movie: 1000,
            media: 48_000,
            rate: 48_000,
        };
        let edit = |segment, media_time| Edit {
            segment,
            media_time,
        };
        let joined = edit(500, 312).joined(edit(250, 24_312), scales);
        assert_eq!(joined, Some(edit(750, 312)));
        assert_eq!(edit(500, 312).joined(edit(250, 24_500), scales), None);
        assert_eq!(edit(0, 0).joined(edit(250, 0), scales), None);
    }

    #[test]
    fn itunes_writes_delay_and_padding_in_base_16() {
        let text = b" 00000000 00000840 000001CA 00000000003F31F6 00000000";
        let cut = Cut {
            delay: 2112,
            padding: 458,
        };
        assert_eq!(parse_itunes(text), Some(cut));
        assert_eq!(parse_itunes(b" 00000000 0000084"), None);
        assert_eq!(parse_itunes(b""), None);
    }
}
