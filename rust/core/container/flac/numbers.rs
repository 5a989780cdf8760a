//! Where frames lie by their numbers: RFC 9639, section 9.1.5, and appendix B for the streams of old.
//!
//! A frame of a stream of fixed blocks carries its own number, one of variable blocks the number of its
//! first sample. Flake before the bit that tells them apart numbers samples all the same, and other writers
//! number frames where blocks vary. So the second frame decides, and what comes after it goes on likewise.

use crate::codec::flac::header::FrameHeader;

/// What numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Frames,
    Samples,
}

/// The numbers of frames, from where they begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    first: FrameHeader,
    /// The sample of the recording at which `first` begins.
    begin: u64,
    /// The frame before the next one; `None` where one has moved since.
    last: Option<FrameHeader>,
    unit: Option<Unit>,
    /// The last frame's block is of another size than the first one's.
    is_varied: bool,
}

impl Numbers {
    /// Numbers that begin with `first`, at sample `begin`.
    ///
    /// Without the bit that tells, only a STREAMINFO of blocks of several sizes lets numbers count samples.
    pub(super) fn new(first: FrameHeader, begin: u64, may_vary: bool) -> Self {
        let is_fixed = !first.variable && !may_vary;
        Self {
            first,
            begin,
            last: None,
            unit: is_fixed.then_some(Unit::Frames),
            is_varied: false,
        }
    }

    pub(super) fn first(&self) -> &FrameHeader {
        &self.first
    }

    /// The sample of the recording at which they begin.
    pub(crate) fn begin(&self) -> u64 {
        self.begin
    }

    /// What is counted, as far as is known.
    pub(super) fn unit(&self) -> Unit {
        let told = if self.first.variable {
            Unit::Samples
        } else {
            Unit::Frames
        };
        self.unit.unwrap_or(told)
    }

    /// The sample at which a frame begins, by its number.
    ///
    /// Of fixed blocks only the last may be shorter. STREAMINFO's smaller size is no help: some encoders
    /// count the last block among them, and some leave it at 0.
    pub(super) fn start(&self, header: &FrameHeader) -> u64 {
        let ahead = header.number.saturating_sub(self.first.number);
        let samples = match self.unit() {
            Unit::Samples => ahead,
            Unit::Frames => ahead.saturating_mul(u64::from(self.first.block_size)),
        };
        self.begin.saturating_add(samples)
    }

    /// Whether `header` is that of the frame that comes next, at sample `position`.
    pub(super) fn is_next(&self, header: &FrameHeader, position: u64) -> bool {
        if header.variable != self.first.variable {
            return false;
        }
        let Some(last) = self.last else {
            return self.start(header) == position;
        };
        match self.unit {
            Some(Unit::Frames) => counts_frames(&last, header),
            Some(Unit::Samples) => counts_samples(&last, header),
            None => counts_frames(&last, header) || counts_samples(&last, header),
        }
    }

    /// Goes on to the frame of `header`, which is the next one.
    pub(super) fn pass(&mut self, header: &FrameHeader) {
        if let Some(last) = self.last {
            self.is_varied |= last.block_size != self.first.block_size;
            let (frames, samples) = (counts_frames(&last, header), counts_samples(&last, header));
            self.unit = match (self.unit, frames, samples) {
                (None, true, false) => Some(Unit::Frames),
                (None, false, true) => Some(Unit::Samples),
                (unit, ..) => unit,
            };
        }
        self.last = Some(*header);
    }

    /// Says that the next frame is not the one after the last.
    pub(super) fn moved(&mut self) {
        self.last = None;
    }

    /// What is careless about the numbers so far.
    pub(super) fn carelessness(&self) -> Option<&'static str> {
        match self.unit? {
            Unit::Frames if self.first.variable => {
                Some("the FLAC stream declares sample numbers, and its frames have frame numbers")
            }
            Unit::Frames if self.is_varied => {
                Some("the FLAC stream declares a fixed block size, and its blocks vary")
            }
            _ => None,
        }
    }
}

fn counts_frames(last: &FrameHeader, next: &FrameHeader) -> bool {
    last.number.checked_add(1) == Some(next.number)
}

fn counts_samples(last: &FrameHeader, next: &FrameHeader) -> bool {
    last.number.checked_add(u64::from(last.block_size)) == Some(next.number)
}
