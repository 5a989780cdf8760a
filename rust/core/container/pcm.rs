//! Samples that are stored as they are, or in blocks of one size: any range is found by arithmetic.
//!
//! `wav`, `aiff`, `au` and `caf::pcm` read the headers and give what is described here.

pub(crate) mod packets;

use std::ops::Range;

use super::chunk::HeaderReader;
use crate::codec::adpcm::Adpcm;
use crate::codec::gsm::Packing;
use crate::codec::pcm::check_channels;
use crate::codec::sample::{Order, SampleFormat};
use crate::error::{Error, Result};
use crate::info::AudioInfo;

/// How the samples are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Coding {
    Linear(SampleFormat, Order),
    Adpcm(Adpcm),
    Gsm(Packing),
}

/// What a header says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// FFmpeg's short name of the container.
    pub(crate) container: &'static str,
    pub(crate) coding: Coding,
    pub(crate) channels: u32,
    pub(crate) sample_rate: u32,
    /// Bits of one sample that mean something; `None` for ADPCM and GSM.
    pub(crate) bits: Option<u32>,
    /// Bytes that are decoded as one: a frame, or a block of ADPCM or GSM.
    pub(crate) block_bytes: u64,
}

impl Layout {
    /// The layout of whole frames of `sample`.
    pub(crate) fn linear(container: &'static str, sample: SampleFormat, order: Order) -> Self {
        Self {
            container,
            coding: Coding::Linear(sample, order),
            channels: 0,
            sample_rate: 0,
            bits: Some(8 * sample.bytes()),
            block_bytes: u64::from(sample.bytes()),
        }
    }

    /// The layout of GSM 06.10, which has one channel.
    ///
    /// # Errors
    /// When the header declares another number.
    pub(crate) fn gsm(
        container: &'static str,
        packing: Packing,
        channels: u32,
        sample_rate: u32,
    ) -> Result<Self> {
        if channels != 1 {
            let name = packing.name();
            let reason = format!("the codec {name} of {channels} channels is not decoded here");
            return Err(Error::unsupported(reason));
        }
        Ok(Self {
            container,
            coding: Coding::Gsm(packing),
            channels,
            sample_rate,
            bits: None,
            block_bytes: packing.block_bytes(),
        })
    }

    /// For `channels` of what was described for one.
    pub(crate) fn of(mut self, channels: u32, sample_rate: u32) -> Self {
        self.channels = channels;
        self.sample_rate = sample_rate;
        self.block_bytes *= u64::from(channels);
        self
    }

    /// Frames in `bytes`, of which a last block may be short.
    pub(crate) fn frames(&self, bytes: u64) -> u64 {
        let (blocks, rest) = (bytes / self.block_bytes, bytes % self.block_bytes);
        // A header may promise anything.
        let whole = blocks.saturating_mul(self.block_frames());
        whole.saturating_add(self.frames_of_block(rest))
    }

    pub(crate) fn block_frames(&self) -> u64 {
        self.frames_of_block(self.block_bytes)
    }

    fn frames_of_block(&self, bytes: u64) -> u64 {
        match self.coding {
            Coding::Linear(..) => bytes / self.block_bytes,
            Coding::Adpcm(kind) => kind.frames(bytes, u64::from(self.channels)),
            Coding::Gsm(packing) => packing.frames(bytes),
        }
    }
}

/// An opened clip: what its header says, and where the samples lie.
#[derive(Clone, Debug)]
pub(crate) struct Pcm {
    pub(crate) layout: Layout,
    /// The bytes that are there.
    pub(crate) data: Range<u64>,
    /// How many the header promises.
    promised: u64,
    /// Frames of the promised data that are the recording.
    pub(crate) recording: Range<u64>,
}

impl Pcm {
    /// The clip whose samples begin at byte `at`; of `size` bytes, or up to the end of the source.
    ///
    /// # Errors
    /// When `layout` cannot be.
    pub(crate) fn new(
        header: &HeaderReader<'_, '_>,
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
    pub(crate) fn frames(&self) -> u64 {
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
            Coding::Gsm(packing) => packing.name(),
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

    /// Whether the header tells how much there is, be it there or not.
    pub(crate) fn is_promised(&self) -> bool {
        self.promised > self.data.end - self.data.start
    }

    pub(crate) fn check_end(&self) -> Result<()> {
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
            Coding::Linear(SampleFormat::Float32 | SampleFormat::Float64, _)
        )
    }
}

/// Refuses a layout that cannot be.
///
/// # Errors
/// No channels, no rate, or blocks that hold nothing.
pub(super) fn check(header: &HeaderReader<'_, '_>, layout: &Layout, at: u64) -> Result<()> {
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
