//! Blocks of integers to planes of `f32`, to their mean or to one of them, straight from where they were decoded.

use std::ops::Range;

use md5::{Digest, Md5};

use super::frame::{Block, samples};
use super::header::Stereo;
use super::stream_info::StreamInfo;
use crate::error::Result;
use crate::signal::mix::Mix;
use crate::signal::{mono, plane};

/// Collects samples, one plane per channel that is kept or one plane for the mean of them.
pub(crate) struct Output {
    mix: Mix,
    scale: f32,
    planes: Vec<Vec<f32>>,
}

impl Output {
    pub(crate) fn new(info: &StreamInfo, mix: Mix) -> Self {
        Self {
            mix,
            scale: scale(info.bits),
            planes: vec![Vec::new(); mix.planes(info.channels as usize)],
        }
    }

    /// The same with room for `capacity` samples a plane.
    ///
    /// # Errors
    /// As for [`Mix::check`], and [`Limit`](crate::ErrorKind::Limit) where memory cannot hold them; so do all that
    /// append.
    pub(crate) fn with_capacity(info: &StreamInfo, mix: Mix, capacity: usize) -> Result<Self> {
        mix.check(info.channels as usize)?;
        let mut output = Self::new(info, mix);
        output.planes = plane::with_capacity(output.planes.len(), capacity)?;
        Ok(output)
    }

    /// The blocks that follow are of `bits` a sample.
    pub(crate) fn set_depth(&mut self, bits: u32) {
        self.scale = scale(bits);
    }

    /// The planes, each `(frames,)`.
    pub(crate) fn into_planes(self) -> Vec<Vec<f32>> {
        self.planes
    }

    /// What was collected since the last [`Output::clear`].
    pub(crate) fn planes(&self) -> &[Vec<f32>] {
        &self.planes
    }

    /// Drops what was collected.
    pub(crate) fn clear(&mut self) {
        self.planes.iter_mut().for_each(Vec::clear);
    }

    /// Appends `frames` samples of silence.
    pub(crate) fn push_silence(&mut self, frames: usize) -> Result<()> {
        plane::push_silence(&mut self.planes, frames)
    }

    /// Appends samples `part` of a block.
    pub(crate) fn push(&mut self, block: &Block<'_>, part: Range<usize>) -> Result<()> {
        plane::reserve(&mut self.planes, part.len())?;
        match block {
            Block::Channels(channels) => self.push_channels(channels, part),
            Block::Pair(stereo, first, second) => {
                let first = first.get(part.clone()).unwrap_or_default();
                let second = second.get(part).unwrap_or_default();
                // One loop for each: the choice does not belong inside of it.
                match stereo {
                    Stereo::LeftSide => {
                        self.pairs(first, second, |a, b| Stereo::LeftSide.join(a, b))
                    }
                    Stereo::SideRight => {
                        self.pairs(first, second, |a, b| Stereo::SideRight.join(a, b))
                    }
                    _ => self.pairs(first, second, |a, b| Stereo::MidSide.join(a, b)),
                }
            }
            Block::WidePair(stereo, other, side) => {
                let other = other.get(part.clone()).unwrap_or_default();
                let side = side.get(part).unwrap_or_default();
                self.pairs(other, side, |other, side| stereo.join_wide(other, side));
            }
        }
        #[cfg(test)]
        self.plant();
        Ok(())
    }

    #[cfg(test)]
    fn plant(&mut self) {
        use crate::codec::planted::{Bug, has};

        let last = self.planes.last_mut().and_then(|plane| plane.last_mut());
        if let Some(last) = last.filter(|_| has(Bug::FlacOutput)) {
            *last += self.scale;
        }
    }

    fn push_channels(&mut self, channels: &[Vec<i32>], part: Range<usize>) {
        let scale = self.scale;
        match (channels, self.mix, self.planes.as_mut_slice()) {
            ([left, right], Mix::Mean, _) => {
                let left = samples(left).get(part.clone()).unwrap_or_default();
                let right = samples(right).get(part).unwrap_or_default();
                self.pairs(left, right, |left, right| (left, right));
            }
            ([_, _, ..], Mix::Mean, [mean]) => {
                let length = part.len();
                let channels = channels
                    .iter()
                    .map(|channel| samples(channel).get(part.clone()).unwrap_or_default());
                mono::extend(mean, channels, length, |sample| sample as f32 * scale);
            }
            (_, mix, planes) => {
                let channels = channels.get(mix.kept(channels.len())).unwrap_or_default();
                for (plane, channel) in planes.iter_mut().zip(channels) {
                    let channel = samples(channel).get(part.clone()).unwrap_or_default();
                    plane.extend(channel.iter().map(|sample| *sample as f32 * scale));
                }
            }
        }
    }

    #[inline(always)]
    fn pairs<S: Copy>(&mut self, first: &[i32], second: &[S], join: impl Fn(i32, S) -> (i32, i32)) {
        let scale = self.scale;
        let pairs = first.iter().zip(second).map(|(a, b)| join(*a, *b));
        if let (Mix::Mean, [mean]) = (self.mix, self.planes.as_mut_slice()) {
            let of_pair = |(left, right)| mono::of_pair(left as f32 * scale, right as f32 * scale);
            return mean.extend(pairs.map(of_pair));
        }
        for (plane, channel) in self.planes.iter_mut().zip(self.mix.kept(2)) {
            match channel {
                0 => plane.extend(pairs.clone().map(|(left, _)| left as f32 * scale)),
                _ => plane.extend(pairs.clone().map(|(_, right)| right as f32 * scale)),
            }
        }
    }
}

/// A power of two: every integer up to 24 bits lands exactly on its float.
fn scale(bits: u32) -> f32 {
    1.0 / (1u64 << bits.saturating_sub(1)) as f32
}

/// The checksum of STREAMINFO: section 8.2, over interleaved little-endian samples of whole bytes.
pub(crate) struct Checksum {
    md5: Md5,
    sample_bytes: usize,
    buffer: Vec<u8>,
}

impl Checksum {
    pub(crate) fn new(info: &StreamInfo) -> Self {
        Self {
            md5: Md5::new(),
            sample_bytes: info.bits.div_ceil(8) as usize,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, block: &Block<'_>, frames: usize) {
        self.buffer.clear();
        for at in 0..frames {
            match block {
                Block::Channels(channels) => {
                    let here = channels.iter().map(|plane| samples(plane).get(at));
                    here.flatten().for_each(|sample| self.put(*sample));
                }
                Block::Pair(stereo, first, second) => {
                    if let (Some(first), Some(second)) = (first.get(at), second.get(at)) {
                        self.put_pair(stereo.join(*first, *second));
                    }
                }
                Block::WidePair(stereo, other, side) => {
                    if let (Some(other), Some(side)) = (other.get(at), side.get(at)) {
                        self.put_pair(stereo.join_wide(*other, *side));
                    }
                }
            }
        }
        self.md5.update(&self.buffer);
    }

    fn put(&mut self, sample: i32) {
        let bytes = sample.to_le_bytes();
        self.buffer.extend(bytes.iter().take(self.sample_bytes));
    }

    fn put_pair(&mut self, (left, right): (i32, i32)) {
        self.put(left);
        self.put(right);
    }

    /// Whether it is `md5` so far.
    pub(crate) fn is(&self, md5: &[u8; 16]) -> bool {
        self.md5.clone().finalize().as_slice() == md5
    }
}
