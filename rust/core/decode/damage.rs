//! What to do about damage in the middle of a clip: stop there, or go on and say what is missing.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// Frames of silence put in for what is missing at most: more would be a lie about the length.
const MAX_SILENT_FRAMES: u64 = 1 << 22;

/// A part of the recording that could not be decoded.
#[derive(Debug)]
pub struct Gap {
    /// Its frames: silent in the result, or missing where they lie after the result's end.
    pub frames: Range<u64>,
    /// Why they are missing.
    pub error: Error,
}

/// Damage met so far, and whether to continue after it.
pub struct Damage {
    conceal: bool,
    gaps: Vec<Gap>,
    /// Met, and not yet known how much it costs.
    pending: Option<Error>,
}

impl Damage {
    /// The first damage is the end.
    pub fn raise() -> Self {
        Self::new(false)
    }

    /// Damage becomes a gap.
    pub fn conceal() -> Self {
        Self::new(true)
    }

    pub(crate) fn new(conceal: bool) -> Self {
        Self {
            conceal,
            gaps: Vec::new(),
            pending: None,
        }
    }

    /// The gaps, in order.
    pub fn into_gaps(self) -> Vec<Gap> {
        self.gaps
    }

    /// Takes an error if one continues after it.
    pub(crate) fn meet(&mut self, error: Error) -> Result<()> {
        if !error.is_damage() {
            return Err(error);
        }
        self.meet_packet(error)
    }

    /// The same for a packet that a decoder refuses: damaged bits may say that it is of another kind.
    pub(crate) fn meet_packet(&mut self, error: Error) -> Result<()> {
        let is_of_the_input = !matches!(error.kind(), ErrorKind::Limit | ErrorKind::Interrupted);
        if !self.conceal || !is_of_the_input {
            return Err(error);
        }
        self.pending.get_or_insert(error);
        Ok(())
    }

    /// The same way of meeting damage, for a part of the recording that is decoded by itself.
    pub(crate) fn of_a_part(&self) -> Self {
        Self::new(self.conceal)
    }

    /// Takes the gaps of a part whose frame `from` is frame `to` of the recording.
    pub(crate) fn append(&mut self, part: Self, from: u64, to: u64) {
        for gap in part.gaps {
            let place = |frame: u64| frame.saturating_sub(from).saturating_add(to);
            self.note(place(gap.frames.start)..place(gap.frames.end), gap.error);
        }
    }

    /// What was decoded so far is decoded once more.
    pub(crate) fn start_over(&mut self) {
        self.gaps.clear();
        self.pending = None;
    }

    /// What was met costs nothing of what is wanted.
    pub(crate) fn forget(&mut self) {
        self.pending = None;
    }

    /// Frames `missing` lie between what was decoded and what comes at byte `at`: so many of silence,
    /// if one goes on.
    pub(crate) fn fill(
        &mut self,
        missing: Range<u64>,
        at: u64,
        push_silence: impl FnOnce(usize) -> Result<()>,
    ) -> Result<()> {
        let lost = || {
            let Range { start, end } = &missing;
            let reason =
                format!("sample {start} is followed by sample {end}: the samples between are lost");
            Error::corrupt(reason).at_byte(at)
        };
        let met = self.pending.take();
        let Some(error) = met.or_else(|| (!missing.is_empty()).then(lost)) else {
            return Ok(());
        };
        let length = |frames: &Range<u64>| frames.end - frames.start;
        let before: u64 = self.gaps.iter().map(|gap| length(&gap.frames)).sum();
        if !self.conceal || before + length(&missing) > MAX_SILENT_FRAMES {
            return Err(error);
        }
        push_silence(length(&missing) as usize)?;
        self.note(missing, error);
        Ok(())
    }

    /// The recording should go on from where it ends, through frames `missing`.
    pub(crate) fn cut_short(&mut self, missing: Range<u64>, at: u64) -> Result<()> {
        let reason = || {
            let Range { start, end } = &missing;
            let reason =
                format!("the stream ends after {start} of {end} samples: it was cut short");
            Error::corrupt(reason).at_byte(at)
        };
        let met = self.pending.take();
        let Some(error) = met.or_else(|| (!missing.is_empty()).then(reason)) else {
            return Ok(());
        };
        if !self.conceal {
            return Err(error);
        }
        self.note(missing, error);
        Ok(())
    }

    fn note(&mut self, frames: Range<u64>, error: Error) {
        match self.gaps.last_mut() {
            Some(last) if last.frames.end == frames.start => last.frames.end = frames.end,
            _ => self.gaps.push(Gap { frames, error }),
        }
    }
}
