//! The samples that `moov` lists: ISO/IEC 14496-12, section 8.6 and 8.7.

use super::boxes::{Span, be32, be64, child};
use super::table::{Durations, Run, Sizes, Table};
use crate::bytes::window::Window;
use crate::error::{Error, Result};

/// One packet of the codec, or a row of frames of PCM.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) at: u64,
    pub(super) size: u64,
    /// In ticks of the media.
    pub(super) duration: u64,
    /// How many of the container's samples it is.
    pub(super) count: u64,
    /// The number of its entry in `stsd`, from 1.
    pub(super) description: u32,
}

/// One run of chunks that have alike numbers of samples.
#[derive(Clone, Copy, Debug, Default)]
struct Chunks {
    entry: u64,
    /// The first chunk, from 0, and its first sample.
    chunk: u64,
    sample: u64,
    /// The first chunk after the run.
    end: u64,
    each: u64,
    description: u32,
}

impl Chunks {
    /// The first sample after the run.
    fn sample_end(&self) -> u64 {
        let samples = (self.end - self.chunk).saturating_mul(self.each);
        self.sample.saturating_add(samples)
    }
}

/// A reader of the four tables, and where it stands.
#[derive(Debug)]
pub(super) struct Plain {
    pub(super) durations: Durations,
    pub(super) sizes: Sizes,
    chunks: Table,
    offsets: Table,
    wide: bool,
    run: Option<Chunks>,
    /// The next sample, the byte at which it lies, and how many are left in its chunk.
    pub(super) next: u64,
    at: u64,
    left: u64,
    /// The byte of `stbl`, for errors.
    start: u64,
}

impl Plain {
    /// # Errors
    /// A table that is missing, too long for its box, or of another length than its neighbours.
    pub(super) fn new(window: &mut Window<'_>, stbl: Span) -> Result<Self> {
        let mut table = |kinds: [&[u8; 4]; 2]| -> Result<Span> {
            for kind in kinds {
                if let Some(span) = child(window, stbl, kind)? {
                    return Ok(span);
                }
            }
            let name = String::from_utf8_lossy(kinds[0]).into_owned();
            Err(Error::corrupt(format!("the MP4 table {name} is missing")).at_byte(stbl.start))
        };
        let (stts, stsc) = (table([b"stts"; 2])?, table([b"stsc"; 2])?);
        let (sizes, offsets) = (table([b"stsz", b"stz2"])?, table([b"stco", b"co64"])?);
        let wide = &offsets.kind == b"co64";
        let mut plain = Self {
            durations: Durations::new(Table::counted(window, stts, 8)?),
            sizes: Sizes::new(window, sizes)?,
            chunks: Table::counted(window, stsc, 12)?,
            offsets: Table::counted(window, offsets, if wide { 8 } else { 4 })?,
            wide,
            run: None,
            next: 0,
            at: 0,
            left: 0,
            start: stbl.start,
        };
        let last = plain.durations.last(window)?;
        let (timed, sized) = (last.sample + last.count, plain.sizes.len());
        if timed != sized {
            let reason = format!("the MP4 track has {sized} samples, of which {timed} have a time");
            return Err(Error::corrupt(reason).at_byte(stts.start));
        }
        Ok(plain)
    }

    pub(super) fn len(&self) -> u64 {
        self.sizes.len()
    }

    /// The description of the first sample.
    pub(super) fn description(&mut self, window: &mut Window<'_>) -> Result<Option<u32>> {
        let entry = self.chunks.entry(window, 0)?;
        Ok(entry.and_then(|entry| be32(entry, 8)))
    }

    /// The run of the last samples' durations.
    pub(super) fn last_run(&mut self, window: &mut Window<'_>) -> Result<Run> {
        self.durations.last(window)
    }

    /// Moves to the sample `index`.
    pub(super) fn go_to(&mut self, index: u64) {
        if index != self.next {
            self.next = index;
            self.left = 0;
        }
    }

    /// The next sample, or as many as follow each other in the file up to `most`.
    ///
    /// # Errors
    /// Tables that lead nowhere: no further sample is given then.
    pub(super) fn next(&mut self, window: &mut Window<'_>, most: u64) -> Result<Option<Sample>> {
        if self.next >= self.len() {
            return Ok(None);
        }
        let sample = self.read(window, most);
        match &sample {
            Ok(sample) => {
                self.next += sample.count;
                self.left -= sample.count;
                self.at = sample.at.saturating_add(sample.size);
            }
            Err(_) => self.next = u64::MAX,
        }
        sample.map(Some)
    }

    fn read(&mut self, window: &mut Window<'_>, most: u64) -> Result<Sample> {
        if self.left == 0 {
            self.enter_chunk(window)?;
        }
        let count = if self.sizes.alike().is_some() {
            most.min(self.left).min(self.len() - self.next).max(1)
        } else {
            1
        };
        let run = self.durations.of_sample(window, self.next)?;
        Ok(Sample {
            at: self.at,
            size: self.sizes.sum(window, self.next, self.next + count)?,
            duration: run.delta.saturating_mul(count),
            count,
            description: self.run.map_or(1, |run| run.description),
        })
    }

    /// Passes over what is left of the chunk that was read last.
    pub(super) fn skip_chunk(&mut self) {
        self.next = self.next.saturating_add(self.left);
        self.left = 0;
    }

    fn enter_chunk(&mut self, window: &mut Window<'_>) -> Result<()> {
        let run = self.run_of(window, self.next)?;
        let inside = self.next - run.sample;
        let chunk = run.chunk + inside / run.each;
        let skip = inside % run.each;
        let entry = self.offsets.entry(window, chunk)?.unwrap_or_default();
        let offset = if self.wide {
            be64(entry, 0)
        } else {
            be32(entry, 0).map(u64::from)
        };
        let offset = offset.ok_or_else(|| self.broken())?;
        let before = self.sizes.sum(window, self.next - skip, self.next)?;
        self.at = offset.saturating_add(before);
        self.left = run.each - skip;
        self.run = Some(run);
        Ok(())
    }

    /// The run of chunks that `sample` is in.
    fn run_of(&mut self, window: &mut Window<'_>, sample: u64) -> Result<Chunks> {
        let known = self.run.filter(|run| run.sample <= sample);
        let mut run = match known {
            Some(run) => run,
            None => self.run_at(window, 0, 0)?,
        };
        while sample >= run.sample_end() {
            let samples = run.sample_end();
            let next = self.run_at(window, run.entry + 1, samples)?;
            if next.chunk != run.end {
                return Err(self.broken());
            }
            run = next;
        }
        Ok(run)
    }

    /// The run of an entry, whose first sample is `sample`.
    fn run_at(&mut self, window: &mut Window<'_>, entry: u64, sample: u64) -> Result<Chunks> {
        let all = self.offsets.len();
        let broken = self.broken();
        let first = |bytes: &[u8]| be32(bytes, 0).map(u64::from);
        let next = self.chunks.entry(window, entry + 1)?.and_then(first);
        let end = next.map_or(all, |next| next.saturating_sub(1)).min(all);
        let Some(bytes) = self.chunks.entry(window, entry)? else {
            return Err(broken);
        };
        let chunk = first(bytes).and_then(|first| first.checked_sub(1));
        let run = Chunks {
            entry,
            chunk: chunk.unwrap_or(0),
            sample,
            end,
            each: u64::from(be32(bytes, 4).unwrap_or(0)),
            description: be32(bytes, 8).unwrap_or(1),
        };
        if chunk.is_none_or(|chunk| chunk > end) {
            return Err(broken);
        }
        Ok(run)
    }

    fn broken(&self) -> Error {
        let reason = format!(
            "the MP4 tables do not give the place of sample {}",
            self.next
        );
        Error::corrupt(reason).at_byte(self.start)
    }
}
