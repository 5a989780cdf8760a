//! What is known of a clip before it is decoded.

use std::borrow::Cow;

use crate::guard::remark::Remark;

/// What is known of a clip before it is decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioInfo {
    /// Frames per second, in Hz.
    pub sample_rate: u32,
    /// Channels of the first audio track.
    pub channels: u32,
    /// Samples per channel that a whole decode gives, encoder delay and padding removed.
    pub frames: u64,
    /// The container, by FFmpeg's short name where there is one.
    pub container: Cow<'static, str>,
    /// The codec, by FFmpeg's short name where there is one.
    pub codec: Cow<'static, str>,
    /// Bits of one sample before it became a float; `None` for lossy codecs.
    pub bits_per_sample: Option<u32>,
    /// What is careless in the file and was read all the same, in the order of its bytes.
    pub remarks: Vec<Remark>,
}

impl AudioInfo {
    /// Length in seconds; by the first rate where the stream changes it, which is a remark.
    pub fn duration(&self) -> f64 {
        self.frames as f64 / f64::from(self.sample_rate)
    }
}
