//! How to read a source that has no header: the words of the caller, which stand in for one.

use crate::error::{Error, Result};

/// What samples without a header can be, by FFmpeg's names.
pub const CODECS: [&str; 15] = [
    "pcm_u8",
    "pcm_s8",
    "pcm_s16le",
    "pcm_s16be",
    "pcm_s24le",
    "pcm_s24be",
    "pcm_s32le",
    "pcm_s32be",
    "pcm_f32le",
    "pcm_f32be",
    "pcm_f64le",
    "pcm_f64be",
    "pcm_alaw",
    "pcm_mulaw",
    "gsm",
];
const MAX_CHANNELS: u32 = 1024;

/// What a header would say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawFormat {
    pub(crate) codec: &'static str,
    pub(crate) sample_rate: u32,
    pub(crate) channels: u32,
    pub(crate) offset_bytes: u64,
}

impl RawFormat {
    /// Samples of `codec`, interleaved, from byte `offset_bytes` to the end.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument): a codec that is none of [`CODECS`], a rate of 0 Hz, no
    /// channels or too many.
    pub fn new(codec: &str, sample_rate: u32, channels: u32, offset_bytes: u64) -> Result<Self> {
        let known = CODECS.into_iter().find(|known| *known == codec);
        let Some(codec) = known else {
            let all = CODECS.join(", ");
            let reason = format!("the codec of a raw format must be one of {all}, not {codec:?}");
            return Err(Error::invalid(reason));
        };
        let most = if codec == "gsm" { 1 } else { MAX_CHANNELS };
        if !(1..=most).contains(&channels) {
            let reason =
                format!("{codec} has at most {most} channels, and at least 1, not {channels}");
            return Err(Error::invalid(reason));
        }
        if sample_rate == 0 {
            return Err(Error::invalid("the rate of a raw format must not be 0 Hz"));
        }
        Ok(Self {
            codec,
            sample_rate,
            channels,
            offset_bytes,
        })
    }
}
