//! The samples of movie fragments: ISO/IEC 14496-12, section 8.8.
//!
//! Nothing of a fragment is kept but where its reader stands, whatever number of samples it claims.

use super::boxes::{Span, be32, be64, body, child, fragment_inside, header};
use super::plain::Sample;
use super::table::{Table, cut};
use crate::bytes::window::Window;
use crate::error::{Error, ErrorKind, Result};

/// Boxes in a row without a sample before a file counts as stuck.
const MAX_BARREN: u32 = 65_536;

/// What is said of a box of size 0 that others follow.
pub(super) const UNSIZED: &str = "an MP4 box without a size is followed by others, which were read";

/// What a track's samples have where a fragment does not say: `trex`, and then `tfhd`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Defaults {
    pub(super) track: u32,
    pub(super) description: u32,
    pub(super) duration: u32,
    pub(super) size: u32,
}

impl Defaults {
    /// None but the track's first description.
    pub(super) fn of(track: u32) -> Self {
        Self {
            track,
            description: 1,
            ..Self::default()
        }
    }

    /// Those of the `trex` of a track.
    pub(super) fn read(window: &mut Window<'_>, trex: Span) -> Result<Option<Self>> {
        let bytes = body(window, trex, 24)?;
        let field = |at| be32(&bytes, at);
        let read = || {
            Some(Self {
                track: field(4)?,
                description: field(8)?,
                duration: field(12)?,
                size: field(16)?,
            })
        };
        Ok(read())
    }
}

/// The track's part of one fragment.
#[derive(Clone, Copy, Debug)]
struct Part {
    span: Span,
    /// The next box in it.
    at: u64,
    defaults: Defaults,
    /// What offsets of data count from.
    base: u64,
    /// When its first sample begins, in ticks, where it says.
    time: Option<u64>,
}

/// Samples that follow each other in the file.
#[derive(Debug)]
struct Row {
    table: Table,
    fields: u32,
    defaults: Defaults,
    count: u64,
    next: u64,
    at: u64,
}

/// What to know of a row without its samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RowFacts {
    pub(super) count: u64,
    pub(super) ticks: u64,
    pub(super) bytes: u64,
}

/// A reader of the fragments, and where it stands.
#[derive(Debug)]
pub(super) struct Fragments {
    defaults: Defaults,
    /// The byte of the first fragment.
    first: u64,
    /// The next box of the file.
    at: u64,
    /// The fragment, and the next box in it.
    moof: Option<(Span, u64)>,
    part: Option<Part>,
    row: Option<Row>,
    /// The row in front of it: its data may end where the next ones begin.
    left: Option<Row>,
    /// When the part that was entered last begins, until it is asked for.
    begun: Option<u64>,
    barren: u32,
}

impl Fragments {
    /// `first` is the byte of the first `moof`.
    pub(super) fn new(defaults: Defaults, first: u64) -> Self {
        Self {
            defaults,
            first,
            at: first,
            moof: None,
            part: None,
            row: None,
            left: None,
            begun: None,
            barren: 0,
        }
    }

    pub(super) fn rewind(&mut self) {
        self.go_to(self.first);
    }

    /// Moves to the fragment that begins at the byte `at`, or to the first one after it.
    pub(super) fn go_to(&mut self, at: u64) {
        *self = Self::new(self.defaults, self.first);
        self.at = at;
    }

    /// When the fragment begins that was entered since this was asked for last, in ticks.
    pub(super) fn begun(&mut self) -> Option<u64> {
        self.begun.take()
    }

    /// The next sample of the row; `None` at its end.
    pub(super) fn next_of_row(&mut self, window: &mut Window<'_>) -> Result<Option<Sample>> {
        match &mut self.row {
            Some(row) => row.next(window),
            None => Ok(None),
        }
    }

    /// The next sample of all; `None` at the end of the file.
    pub(super) fn next(&mut self, window: &mut Window<'_>) -> Result<Option<Sample>> {
        while self.enter_row(window)? {
            if let Some(sample) = self.next_of_row(window)? {
                return Ok(Some(sample));
            }
            self.leave_row();
        }
        Ok(None)
    }

    /// The byte of the fragment.
    pub(super) fn place(&self) -> u64 {
        self.moof.map_or(self.at, |(moof, _)| moof.start)
    }

    /// Enters the next row that has samples left; `false` where there is none.
    ///
    /// # Errors
    /// Boxes that are broken or cut: no further sample is given then.
    pub(super) fn enter_row(&mut self, window: &mut Window<'_>) -> Result<bool> {
        while self.row.is_none() {
            let moved = self.advance(window);
            if !matches!(moved, Ok(true)) {
                self.stop(window);
            }
            if !moved? {
                return Ok(false);
            }
        }
        self.barren = 0;
        Ok(true)
    }

    /// Takes back the sample that `next` gave last.
    pub(super) fn put_back(&mut self, sample: Sample) {
        if let Some(row) = &mut self.row {
            row.next = row.next.saturating_sub(1);
            row.at = sample.at;
        }
    }

    /// Samples, ticks and bytes that are left in the row.
    pub(super) fn row_facts(&mut self, window: &mut Window<'_>, sizes: bool) -> Result<RowFacts> {
        match &mut self.row {
            Some(row) => row.facts(window, sizes),
            None => Ok(RowFacts {
                count: 0,
                ticks: 0,
                bytes: 0,
            }),
        }
    }

    /// Passes over what is left of the row.
    pub(super) fn leave_row(&mut self) {
        if let Some(row) = self.row.take() {
            self.left = Some(row);
        }
    }

    /// Moves to the end of the file.
    pub(super) fn stop(&mut self, window: &Window<'_>) {
        *self = Self::new(self.defaults, self.first);
        self.at = window.len();
    }

    /// One box onwards; `false` at the end of the file.
    fn advance(&mut self, window: &mut Window<'_>) -> Result<bool> {
        self.barren += 1;
        if self.barren > MAX_BARREN {
            let reason = "the file has too many MP4 boxes in a row without a sample";
            return Err(Error::new(ErrorKind::Limit, reason).at_byte(self.at));
        }
        if let Some(part) = self.part {
            return self.advance_in_part(window, part).map(|()| true);
        }
        if let Some((moof, at)) = self.moof {
            return self.advance_in_moof(window, moof, at).map(|()| true);
        }
        self.advance_in_file(window)
    }

    fn advance_in_file(&mut self, window: &mut Window<'_>) -> Result<bool> {
        let len = window.len();
        let Some(found) = header(window, self.at, len)? else {
            // A few bytes of a header are all that was written of a box.
            return if self.at < len {
                Err(cut(len))
            } else {
                Ok(false)
            };
        };
        self.at = found.end;
        if matches!(&found.kind, b"moof" | b"mdat") && found.end > len {
            return Err(cut(len));
        }
        if !is_name(found.kind) {
            // What else there is would be passed over silently.
            let reason = "no MP4 box begins where the previous one ends";
            return Err(Error::corrupt(reason).at_byte(found.start));
        }
        if &found.kind == b"moof" {
            self.moof = Some((found, found.at));
        }
        if &found.kind == b"mdat"
            && found.open
            && let Some(at) = fragment_inside(window, found)?
        {
            window.remark(Error::corrupt(UNSIZED).at_byte(found.start))?;
            self.at = at;
        }
        Ok(true)
    }

    fn advance_in_moof(&mut self, window: &mut Window<'_>, moof: Span, at: u64) -> Result<()> {
        let Some(found) = header(window, at, moof.end)? else {
            self.moof = None;
            return Ok(());
        };
        if is_of_file(found.kind) {
            return self.leave_moof(window, moof, at);
        }
        let end = found.end.min(moof.end);
        self.moof = Some((moof, end));
        if &found.kind == b"traf" {
            let is_first = at == moof.at || self.part_is_first(window, moof, at)?;
            self.left = None;
            self.part = self.enter_part(window, Span { end, ..found }, moof, is_first)?;
            self.begun = self.part.and_then(|part| part.time).or(self.begun);
        }
        Ok(())
    }

    /// Goes on at `at` with what lies after a fragment whose size is 0.
    fn leave_moof(&mut self, window: &Window<'_>, moof: Span, at: u64) -> Result<()> {
        if !moof.open {
            let reason = "an MP4 fragment contains boxes that belong after it";
            return Err(Error::corrupt(reason).at_byte(at));
        }
        window.remark(Error::corrupt(UNSIZED).at_byte(moof.start))?;
        (self.moof, self.at) = (None, at);
        Ok(())
    }

    fn part_is_first(&self, window: &mut Window<'_>, moof: Span, at: u64) -> Result<bool> {
        let first = child(window, moof, b"traf")?;
        Ok(first.is_some_and(|first| first.start == at))
    }

    /// Reads `tfhd` and `tfdt`; `None` where the part is another track's.
    fn enter_part(
        &self,
        window: &mut Window<'_>,
        traf: Span,
        moof: Span,
        is_first: bool,
    ) -> Result<Option<Part>> {
        let Some(tfhd) = child(window, traf, b"tfhd")? else {
            let error = Error::corrupt("an MP4 fragment does not name its track");
            return Err(error.at_byte(traf.start));
        };
        let bytes = body(window, tfhd, 40)?;
        if be32(&bytes, 4) != Some(self.defaults.track) {
            return Ok(None);
        }
        let flags = be32(&bytes, 0).unwrap_or(0);
        let mut at = 8;
        let mut field = |flag: u32, width: usize| {
            let value = (flags & flag != 0).then_some(at);
            at += if flags & flag != 0 { width } else { 0 };
            value
        };
        let offset = field(0x1, 8).and_then(|at| be64(&bytes, at));
        let mut short = |flag| field(flag, 4).and_then(|at| be32(&bytes, at));
        let mut defaults = self.defaults;
        defaults.description = short(0x2).unwrap_or(defaults.description);
        defaults.duration = short(0x8).unwrap_or(defaults.duration);
        defaults.size = short(0x10).unwrap_or(defaults.size);
        let base = match offset {
            Some(offset) => offset,
            None if is_first || flags & 0x2_0000 != 0 => moof.start,
            None => {
                let reason =
                    "an MP4 fragment of several tracks does not give the place of its data";
                return Err(Error::unsupported(reason).at_byte(tfhd.start));
            }
        };
        let time = match child(window, traf, b"tfdt")? {
            Some(tfdt) => {
                let bytes = body(window, tfdt, 12)?;
                let long = bytes.first() == Some(&1);
                if long {
                    be64(&bytes, 4)
                } else {
                    be32(&bytes, 4).map(u64::from)
                }
            }
            None => None,
        };
        Ok(Some(Part {
            span: traf,
            at: traf.at,
            defaults,
            base,
            time,
        }))
    }

    fn advance_in_part(&mut self, window: &mut Window<'_>, mut part: Part) -> Result<()> {
        let Some(found) = header(window, part.at, part.span.end)? else {
            self.part = None;
            return Ok(());
        };
        let end = found.end.min(part.span.end);
        part.at = end;
        if &found.kind == b"trun" {
            let follow = self.left.as_mut();
            let row = Row::read(window, Span { end, ..found }, &part, follow)?;
            // What follows an empty row begins where that does.
            let place = if row.count > 0 {
                &mut self.row
            } else {
                &mut self.left
            };
            *place = Some(row);
        }
        self.part = Some(part);
        Ok(())
    }
}

/// Whether such a box lies in the file, and never in a fragment.
fn is_of_file(kind: [u8; 4]) -> bool {
    matches!(
        &kind,
        b"mdat" | b"moof" | b"moov" | b"styp" | b"sidx" | b"mfra"
    )
}

/// Whether a box can be called so: zeros are padding after the last one.
fn is_name(kind: [u8; 4]) -> bool {
    kind == [0; 4] || kind.iter().all(|byte| (0x20..0x7F).contains(byte))
}

impl Row {
    /// Reads a `trun`, whose data may follow those of the row in front of it.
    fn read(
        window: &mut Window<'_>,
        trun: Span,
        part: &Part,
        before: Option<&mut Self>,
    ) -> Result<Self> {
        let bytes = body(window, trun, 16)?;
        let (flags, count) = (be32(&bytes, 0).unwrap_or(0), be32(&bytes, 4).unwrap_or(0));
        let offset = be32(&bytes, 8).filter(|_| flags & 0x1 != 0);
        let at = match (offset, before) {
            (Some(offset), _) => part.base.checked_add_signed(i64::from(offset as i32)),
            (None, None) => Some(part.base),
            (None, Some(before)) => {
                let bytes = before.facts(window, true)?.bytes;
                before.at.checked_add(bytes)
            }
        };
        let Some(at) = at else {
            let reason = "a run of MP4 samples does not give the place of its data";
            return Err(Error::corrupt(reason).at_byte(trun.start));
        };
        let skip = 8 + 4 * u64::from((flags & 0x5).count_ones());
        let fields = flags & 0xF00;
        if fields & 0x200 == 0 && part.defaults.size == 0 && count > 0 {
            let error = Error::corrupt("a run of MP4 samples has no sizes");
            return Err(error.at_byte(trun.start));
        }
        let width = 4 * u64::from(fields.count_ones());
        Ok(Self {
            table: Table::new(trun, skip, u64::from(count), width)?,
            fields,
            defaults: part.defaults,
            count: u64::from(count),
            next: 0,
            at,
        })
    }

    /// Duration and size of a sample.
    fn fields(&mut self, window: &mut Window<'_>, index: u64) -> Result<(u64, u64)> {
        let (duration, size) = (self.fields & 0x100 != 0, self.fields & 0x200 != 0);
        let mut found = (self.defaults.duration, self.defaults.size);
        if duration || size {
            let bytes = self.table.entry(window, index)?.unwrap_or_default();
            if duration {
                found.0 = be32(bytes, 0).unwrap_or(0);
            }
            if size {
                found.1 = be32(bytes, if duration { 4 } else { 0 }).unwrap_or(0);
            }
        }
        Ok((u64::from(found.0), u64::from(found.1)))
    }

    fn next(&mut self, window: &mut Window<'_>) -> Result<Option<Sample>> {
        if self.next >= self.count {
            return Ok(None);
        }
        let (duration, size) = self.fields(window, self.next)?;
        let sample = Sample {
            at: self.at,
            size,
            duration,
            count: 1,
            description: self.defaults.description,
        };
        self.next += 1;
        self.at = self.at.saturating_add(size);
        Ok(Some(sample))
    }

    fn facts(&mut self, window: &mut Window<'_>, sizes: bool) -> Result<RowFacts> {
        let count = self.count - self.next;
        let mut facts = RowFacts {
            count,
            ticks: count.saturating_mul(u64::from(self.defaults.duration)),
            bytes: count.saturating_mul(u64::from(self.defaults.size)),
        };
        let needed = self.fields & 0x100 | if sizes { self.fields & 0x200 } else { 0 };
        if needed != 0 {
            (facts.ticks, facts.bytes) = (0, 0);
            for index in self.next..self.count {
                let (duration, size) = self.fields(window, index)?;
                facts.ticks = facts.ticks.saturating_add(duration);
                facts.bytes = facts.bytes.saturating_add(size);
            }
        }
        Ok(facts)
    }
}
