//! Decoded blocks in, planes of `f32` out: all channels, their mean, or one of them.
//!
//! The mean is taken, and other channels are left out, block by block as it is decoded, so a stereo file never
//! exists whole.

use std::ops::Range;

use super::{mono, plane};
use crate::error::{Error, Result};

/// What becomes of the channels of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mix {
    /// Their mean.
    #[default]
    Mean,
    /// All of them.
    All,
    /// One of them, counted from 0.
    One(usize),
}

impl Mix {
    /// What decoders of packets make, which know no single channels.
    pub(crate) fn of_packets(is_mono: bool) -> Self {
        if is_mono { Self::Mean } else { Self::All }
    }

    /// How many planes are made of `channels`.
    pub(crate) fn planes(self, channels: usize) -> usize {
        match self {
            Self::All => channels,
            Self::Mean | Self::One(_) => 1,
        }
    }

    /// Refuses a channel that a recording of `channels` lacks; 0 of them are not known yet.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), which says so.
    pub(crate) fn check(self, channels: usize) -> Result<()> {
        match self {
            Self::One(channel) if channels > 0 && channel >= channels => {
                let unit = if channels == 1 { "channel" } else { "channels" };
                let reason = format!(
                    "channel {channel} of a recording of {channels} {unit}, which are counted from 0"
                );
                Err(Error::invalid(reason))
            }
            _ => Ok(()),
        }
    }

    /// The channels that are kept of `count`, where they are not mixed.
    pub(crate) fn kept(self, count: usize) -> Range<usize> {
        match self {
            Self::One(channel) => channel..channel.saturating_add(1),
            Self::Mean | Self::All => 0..count,
        }
    }

    /// Whether the channels are mixed.
    pub(crate) fn is_mean(self) -> bool {
        self == Self::Mean
    }
}

/// Collects samples, one plane per channel that is kept or one plane for the mean of them.
pub(crate) struct Mixer {
    mix: Mix,
    channels: usize,
    planes: Vec<Vec<f32>>,
}

impl Mixer {
    /// A mixer for `channels` channels with room for `capacity` frames.
    ///
    /// # Errors
    /// As for [`Mix::check`], and [`Limit`](crate::ErrorKind::Limit) where memory cannot hold them; so do all that
    /// append.
    pub(crate) fn new(channels: usize, mix: Mix, capacity: usize) -> Result<Self> {
        mix.check(channels)?;
        Ok(Self {
            mix,
            channels,
            planes: plane::with_capacity(mix.planes(channels), capacity)?,
        })
    }

    /// The planes, each `(frames,)`.
    pub(crate) fn into_planes(self) -> Vec<Vec<f32>> {
        self.planes
    }

    /// What was collected so far; the mixer goes on with nothing.
    pub(crate) fn take_planes(&mut self) -> Vec<Vec<f32>> {
        self.planes.iter_mut().map(std::mem::take).collect()
    }

    /// Appends `frames` frames of silence.
    pub(crate) fn push_silence(&mut self, frames: usize) -> Result<()> {
        plane::push_silence(&mut self.planes, frames)
    }

    /// Whether the mean of two channels is what is collected.
    pub(crate) fn halves_stereo(&self) -> bool {
        self.mix.is_mean() && self.channels == 2
    }

    /// Appends the means of frames of two little-endian 16-bit samples to the one plane there is.
    pub(crate) fn push_means16(&mut self, bytes: &[u8]) -> Result<()> {
        let frames = bytes.as_chunks().0;
        plane::reserve(&mut self.planes, frames.len())?;
        plane::extend_means16(&mut self.planes[0], frames);
        Ok(())
    }

    /// Appends interleaved samples of `N` bytes each; `bytes` holds whole frames.
    pub(crate) fn push_interleaved<const N: usize>(
        &mut self,
        bytes: &[u8],
        sample: impl Fn([u8; N]) -> f32 + Copy,
    ) -> Result<()> {
        let (samples, _) = bytes.as_chunks::<N>();
        plane::reserve(&mut self.planes, samples.len() / self.channels.max(1))?;
        match (self.channels, self.mix) {
            (1, _) => self.planes[0].extend(samples.iter().map(|bytes| sample(*bytes))),
            (2, Mix::Mean) => {
                let (frames, _) = samples.as_chunks::<2>();
                let mean =
                    |[left, right]: &[[u8; N]; 2]| mono::of_pair(sample(*left), sample(*right));
                self.planes[0].extend(frames.iter().map(mean));
            }
            (2, mix) => {
                let (frames, _) = samples.as_chunks::<2>();
                // Twice over a piece that stays in the cache: strides that are known vectorise.
                for (plane, channel) in self.planes.iter_mut().zip(mix.kept(2)) {
                    match channel {
                        0 => plane.extend(frames.iter().map(|[left, _]| sample(*left))),
                        _ => plane.extend(frames.iter().map(|[_, right]| sample(*right))),
                    }
                }
            }
            (count, Mix::Mean) => {
                let mean = |frame: &[[u8; N]]| mono::of_frame(frame.iter().map(|s| sample(*s)));
                self.planes[0].extend(samples.chunks_exact(count).map(mean));
            }
            (count, mix) => {
                for (plane, channel) in self.planes.iter_mut().zip(mix.kept(count)) {
                    let samples = samples.iter().skip(channel).step_by(count);
                    plane.extend(samples.map(|s| sample(*s)));
                }
            }
        }
        Ok(())
    }

    /// Appends frames `range` of a decoded block of `channels` channels: what is kept of its planes, or the mean of
    /// them.
    ///
    /// # Errors
    /// When the stream changes its number of channels on the way, unless only their mean is collected.
    pub(crate) fn push_block(
        &mut self,
        channels: usize,
        planes: &[Vec<f32>],
        range: Range<usize>,
    ) -> Result<()> {
        self.learn(channels)?;
        if channels != self.channels && !self.mix.is_mean() {
            return Err(channels_change(self.channels, channels));
        }
        plane::reserve(&mut self.planes, range.len())?;
        self.push_planes(planes, range);
        Ok(())
    }

    /// Takes the number of channels from the stream, where the header leaves it to that.
    pub(crate) fn learn(&mut self, channels: usize) -> Result<()> {
        if self.channels == 0 {
            let silence = self.planes.first().map_or(0, Vec::len);
            *self = Self::new(channels, self.mix, silence)?;
            self.push_silence(silence)?;
        }
        Ok(())
    }

    fn push_planes(&mut self, planes: &[Vec<f32>], range: Range<usize>) {
        match (self.mix, planes, self.planes.as_mut_slice()) {
            (Mix::Mean, [left, right], [mean]) => {
                let pairs = left[range.clone()].iter().zip(&right[range]);
                mean.extend(pairs.map(|(left, right)| mono::of_pair(*left, *right)));
            }
            (Mix::Mean, [_, _, ..], [mean]) => {
                let length = range.len();
                let planes = planes.iter().map(|plane| &plane[range.clone()]);
                mono::extend(mean, planes, length, |sample| sample);
            }
            (mix, _, kept) => {
                let planes = planes.get(mix.kept(planes.len())).unwrap_or_default();
                for (to, from) in kept.iter_mut().zip(planes) {
                    to.extend_from_slice(&from[range.clone()]);
                }
            }
        }
    }
}

/// What is careless in a stream that has other channels from here on.
pub(crate) fn channels_change(from: usize, to: usize) -> Error {
    Error::unsupported(format!("the stream changes from {from} to {to} channels"))
}

/// The first sample that is NaN or infinite in any plane, if there is one.
pub(crate) fn first_nonfinite(planes: &[Vec<f32>]) -> Option<usize> {
    planes.iter().filter_map(|plane| nonfinite_at(plane)).min()
}

/// The first sample that is NaN or infinite, if there is one.
pub(crate) fn nonfinite_at(plane: &[f32]) -> Option<usize> {
    const EXPONENT: u32 = 0x7F80_0000;
    const BLOCK: usize = 4096;
    // Compared as integers: a sum of floats would keep its order, and so would not vectorise.
    let odd = |count: u32, s: &f32| count | u32::from(s.to_bits() & EXPONENT == EXPONENT);
    // The search runs only in the block that failed.
    let broken = plane
        .chunks(BLOCK)
        .position(|block| block.iter().fold(0, odd) != 0)?;
    let rest = plane.iter().skip(broken * BLOCK);
    rest.take(BLOCK)
        .position(|s| !s.is_finite())
        .map(|at| broken * BLOCK + at)
}
