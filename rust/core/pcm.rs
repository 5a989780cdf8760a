//! Samples that are stored as they are, or in blocks of one size: any range is found by arithmetic.
//!
//! `wav`, `aiff`, `au` and `caf` read the headers; what they find is decoded here, all in one loop,
//! without a demuxer between file and array.

mod adpcm;
mod aiff;
mod au;
mod caf;
pub(crate) mod extent;
mod header;
mod packets;
mod sample;
mod wav;

pub(crate) use header::Order;
pub(crate) use packets::Packets;
pub(crate) use sample::Sample;

use std::cell::Cell;
use std::ops::Range;

use self::adpcm::Adpcm;
use self::header::Header;
use self::sample::S16;
use crate::damage::Damage;
use crate::decode::AudioInfo;
use crate::error::{Error, Result};
use crate::mix::Mixer;
use crate::source::Source;

/// Bytes per read: small enough for the cache, large enough to hide the system call.
const PIECE: u64 = 256 * 1024;
/// As libsndfile's: a header alone must not make us reserve a plane for each of billions.
const MAX_CHANNELS: u32 = 1024;

/// How the samples are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Coding {
    Linear(Sample, Order),
    Adpcm(Adpcm),
}

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// FFmpeg's short name of the container.
    pub(crate) container: &'static str,
    pub(crate) coding: Coding,
    pub(crate) channels: u32,
    pub(crate) sample_rate: u32,
    /// Bits of one sample that mean something; `None` for ADPCM.
    pub(crate) bits: Option<u32>,
    /// Bytes that are decoded as one: a frame, or a block of ADPCM.
    pub(crate) block_bytes: u64,
}

impl Layout {
    /// The layout of whole frames of `sample`.
    pub(crate) fn linear(container: &'static str, sample: Sample, order: Order) -> Self {
        Self {
            container,
            coding: Coding::Linear(sample, order),
            channels: 0,
            sample_rate: 0,
            bits: Some(8 * sample.bytes()),
            block_bytes: u64::from(sample.bytes()),
        }
    }

    /// For `channels` of what was described for one.
    pub(crate) fn of(mut self, channels: u32, sample_rate: u32) -> Self {
        self.channels = channels;
        self.sample_rate = sample_rate;
        self.block_bytes *= u64::from(channels);
        self
    }

    /// Frames in `bytes`, of which a last block may be short.
    fn frames(&self, bytes: u64) -> u64 {
        let (blocks, rest) = (bytes / self.block_bytes, bytes % self.block_bytes);
        // A header may promise anything.
        let whole = blocks.saturating_mul(self.block_frames());
        whole.saturating_add(self.frames_of_block(rest))
    }

    fn block_frames(&self) -> u64 {
        self.frames_of_block(self.block_bytes)
    }

    fn frames_of_block(&self, bytes: u64) -> u64 {
        match self.coding {
            Coding::Linear(..) => bytes / self.block_bytes,
            Coding::Adpcm(kind) => kind.frames(bytes, u64::from(self.channels)),
        }
    }
}

/// An opened clip: what its header says, and where the samples lie.
#[derive(Clone, Debug)]
pub(crate) struct Pcm {
    layout: Layout,
    /// The bytes that are there.
    data: Range<u64>,
    /// How many the header promises.
    promised: u64,
    /// Frames of the promised data that are the recording.
    recording: Range<u64>,
}

impl Pcm {
    /// Reads the header, at the start or behind an ID3 tag; `None` when this is no container of PCM, or
    /// another reader's codec in one.
    ///
    /// # Errors
    /// When the header is broken, or names a codec that is not decoded.
    pub(crate) fn open(source: &mut Source<'_>) -> Result<Option<Self>> {
        let mut header = Header::new(source);
        let base = header.behind_id3()?;
        let magic = header.bytes(base, 16)?;
        let found = match (magic.get(..4), magic.get(8..12)) {
            (Some(b"RIFF" | b"RIFX" | b"RF64" | b"BW64"), Some(b"WAVE")) => {
                wav::open(&mut header, base)
            }
            (Some(b"riff"), _) if magic == wav::WAVE64 => {
                wav::open_wave64(&mut header, base).map(Some)
            }
            (Some(b"FORM"), Some(b"AIFF" | b"AIFC")) => aiff::open(&mut header, base).map(Some),
            (Some(b".snd"), _) => au::open(&mut header, base).map(Some),
            (Some(b"caff"), _) => caf::open(&mut header, base),
            _ => Ok(None),
        }?;
        if base > 0 && found.is_some() {
            header.remark(0, "an ID3 tag comes before the header: it is skipped")?;
        }
        Ok(found)
    }

    /// The clip whose samples begin at byte `at`; of `size` bytes, or up to the end of the source.
    ///
    /// # Errors
    /// When `layout` cannot be.
    pub(crate) fn new(
        header: &Header<'_, '_>,
        layout: Layout,
        at: u64,
        size: Option<u64>,
    ) -> Result<Self> {
        let there = header.source_len().saturating_sub(at);
        let promised = size.unwrap_or(there);
        check(header, &layout, at)?;
        Ok(Self {
            layout,
            data: at..at + promised.min(there),
            promised,
            recording: 0..layout.frames(promised),
        })
    }

    /// Keeps `frames` frames from `delay` on; `None` when there are not as many.
    pub(crate) fn cut(mut self, delay: u64, frames: u64) -> Option<Self> {
        let end = delay.checked_add(frames)?;
        let fits = end <= self.recording.end;
        self.recording = delay..end;
        fits.then_some(self)
    }

    pub(crate) fn sample_rate(&self) -> u32 {
        self.layout.sample_rate
    }

    /// Frames of the recording, as the header promises them.
    fn frames(&self) -> u64 {
        self.recording.end - self.recording.start
    }

    /// What the header says.
    ///
    /// # Errors
    /// When it promises more than there is.
    pub(crate) fn info(&self) -> Result<AudioInfo> {
        self.check_end()?;
        let codec = match self.layout.coding {
            Coding::Linear(sample, order) => sample.name(order),
            Coding::Adpcm(kind) => kind.name(),
        };
        Ok(AudioInfo {
            sample_rate: self.layout.sample_rate,
            channels: self.layout.channels,
            frames: self.frames(),
            container: self.layout.container.into(),
            codec: codec.into(),
            bits_per_sample: self.layout.bits,
            remarks: Vec::new(),
        })
    }

    fn check_end(&self) -> Result<()> {
        let (promised, there) = (self.promised, self.data.end - self.data.start);
        if promised <= there {
            return Ok(());
        }
        let reason =
            format!("the header declares {promised} bytes of samples and the file has {there}");
        Err(Error::corrupt(reason).at_byte(self.data.end))
    }

    /// Whether its numbers cannot say NaN or infinity.
    pub(crate) fn is_finite(&self) -> bool {
        !matches!(
            self.layout.coding,
            Coding::Linear(Sample::Float32 | Sample::Float64, _)
        )
    }

    /// Decodes frames `range`, cut at the end of the recording.
    ///
    /// # Errors
    /// When the source cannot be read, is shorter than promised, or a block of ADPCM is damaged.
    pub(crate) fn decode(
        &self,
        source: &mut Source<'_>,
        range: Range<u64>,
        mono: bool,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        let origin = self.recording.start;
        let wanted = self.recording.end.min(range.end.saturating_add(origin));
        let there = self.layout.frames(self.data.end - self.data.start);
        let last = wanted.min(there.max(origin));
        let first = last.min(range.start.saturating_add(origin));
        self.check_end().or_else(|error| damage.meet(error))?;
        // A part of a frame may be all that is missing.
        if last < wanted || (wanted == self.recording.end && self.check_end().is_err()) {
            damage.cut_short(last - origin..wanted - origin, self.data.end)?;
        }
        let channels = self.layout.channels as usize;
        let mut mixer = Mixer::new(channels, mono, (last - first) as usize)?;
        match self.layout.coding {
            Coding::Linear(sample, order) => {
                self.read(source, first..last, |_, bytes| {
                    sample.push(bytes, order, &mut mixer)
                })?;
            }
            Coding::Adpcm(kind) => {
                let per_block = self.layout.block_frames();
                let mut block = first / per_block;
                let mut decoded = Vec::new();
                self.read(source, block..last.div_ceil(per_block), |at, bytes| {
                    let size = self.layout.block_bytes as usize;
                    for (index, part) in bytes.chunks(size).enumerate() {
                        kind.decode(part, channels, &mut decoded)
                            .map_err(|error| error.at_byte(at + (index * size) as u64))?;
                        let begin = block * per_block;
                        let inside = |frame: u64| frame.saturating_sub(begin) as usize * channels;
                        let part = inside(first)..inside(last).min(decoded.len());
                        push_block(decoded.get(part).unwrap_or(&[]), &mut mixer)?;
                        block += 1;
                    }
                    Ok(())
                })?;
            }
        }
        Ok(mixer.into_planes())
    }

    /// Hands blocks `blocks` to `take` in pieces, each with the byte where it lies.
    fn read(
        &self,
        source: &mut Source<'_>,
        blocks: Range<u64>,
        mut take: impl FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let place = |block: u64| {
            let offset = block.saturating_mul(self.layout.block_bytes);
            self.data.start.saturating_add(offset).min(self.data.end)
        };
        let (mut at, last) = (place(blocks.start), place(blocks.end));
        let piece = PIECE.next_multiple_of(self.layout.block_bytes);
        let mut scratch = SCRATCH.take();
        let mut work = || {
            while at < last {
                let size = piece.min(last - at) as usize;
                take(at, source.piece_at(at, size, &mut scratch)?)?;
                at += size as u64;
            }
            Ok(())
        };
        let result = work();
        SCRATCH.set(scratch);
        result
    }
}

thread_local! {
    /// What [`Pcm::read`] reads into: for a short file new memory is dearer than reading.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn check(header: &Header<'_, '_>, layout: &Layout, at: u64) -> Result<()> {
    if layout.channels == 0 || layout.sample_rate == 0 {
        let reason = "the header declares no channels or a rate of 0 Hz";
        return Err(header.broken(at, reason));
    }
    check_channels(layout.channels).map_err(|error| error.at_byte(at))?;
    if layout.block_bytes == 0 || layout.block_frames() == 0 {
        let reason = format!(
            "a block of {} bytes does not hold a sample of each channel",
            layout.block_bytes
        );
        return Err(header.broken(at, reason));
    }
    Ok(())
}

fn check_channels(channels: u32) -> Result<()> {
    if channels <= MAX_CHANNELS {
        return Ok(());
    }
    let reason = format!("{channels} channels are too many: at most {MAX_CHANNELS} are read");
    Err(Error::unsupported(reason))
}

fn push_block(samples: &[i16], mixer: &mut Mixer) -> Result<()> {
    let sample = |b| f32::from(i16::from_ne_bytes(b)) * S16;
    mixer.push_interleaved(bytemuck::cast_slice(samples), sample)
}
