//! Four bits a sample: Microsoft's ADPCM, and IMA's as WAV and as QuickTime lay it out.
//!
//! Every block begins with the decoder's whole state, so that a range begins at its block. That is why
//! the state is never carried from one block of QuickTime to the next, as FFmpeg does: its headers
//! have only the upper 9 bits of a sample, and libsndfile too takes them at their word.
//! Format: Microsoft's "Multimedia Data Standards Update" of 1994 and IMA's "Recommended Practices for
//! Enhancing Digital Audio Compatibility in Multimedia Systems", revision 3.00.

use crate::error::{Error, ErrorKind, Result};

/// Channels that FFmpeg decodes in IMA ADPCM, and anybody in Microsoft's.
pub(crate) const MAX_CHANNELS: u32 = 2;
/// Bytes and frames of a packet of QuickTime, for one channel.
pub(crate) const QT_BYTES: u64 = 34;
const QT_FRAMES: u64 = 64;

/// IMA: how the step follows from a code's size, and the steps.
const INDEX_CHANGE: [i32; 8] = [-1, -1, -1, -1, 2, 4, 6, 8];
const STEPS: [i32; 89] = [
    7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66,
    73, 80, 88, 97, 107, 118, 130, 143, 157, 173, 190, 209, 230, 253, 279, 307, 337, 371, 408, 449,
    494, 544, 598, 658, 724, 796, 876, 963, 1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066, 2272,
    2499, 2749, 3024, 3327, 3660, 4026, 4428, 4871, 5358, 5894, 6484, 7132, 7845, 8630, 9493,
    10442, 11487, 12635, 13899, 15289, 16818, 18500, 20350, 22385, 24623, 27086, 29794, 32767,
];

/// Microsoft: how the step follows from a code, and the predictors, all in 1/256.
const ADAPTATION: [i32; 16] = [
    230, 230, 230, 230, 307, 409, 512, 614, 768, 614, 512, 409, 307, 230, 230, 230,
];
const PREDICTORS: [(i32, i32); 7] = [
    (256, 0),
    (512, -256),
    (0, 0),
    (192, 64),
    (240, 0),
    (460, -208),
    (392, -232),
];

/// A layout of blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Adpcm {
    Microsoft,
    ImaWav,
    ImaQuickTime,
}

impl Adpcm {
    /// FFmpeg's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Microsoft => "adpcm_ms",
            Self::ImaWav => "adpcm_ima_wav",
            Self::ImaQuickTime => "adpcm_ima_qt",
        }
    }

    /// Frames in a block of `bytes`, which may be the short last one.
    pub(crate) fn frames(self, bytes: u64, channels: u64) -> u64 {
        let behind = |head: u64| bytes.checked_sub(head * channels);
        match self {
            Self::Microsoft => behind(7).map_or(0, |codes| 2 + codes * 2 / channels),
            Self::ImaWav => behind(4).map_or(0, |codes| 1 + codes / (4 * channels) * 8),
            Self::ImaQuickTime => behind(QT_BYTES).map_or(0, |_| QT_FRAMES),
        }
    }

    /// Decodes one block to interleaved 16-bit samples, in place of what `samples` held.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] when the header has a state that cannot be.
    pub(crate) fn decode(
        self,
        block: &[u8],
        channels: usize,
        samples: &mut Vec<i16>,
    ) -> Result<()> {
        let frames = self.frames(block.len() as u64, channels as u64) as usize;
        samples.clear();
        samples.resize(frames * channels, 0);
        match self {
            // What is too short for a header has no samples either.
            _ if frames == 0 => Ok(()),
            Self::Microsoft => microsoft(block, channels, samples),
            Self::ImaWav => ima_wav(block, channels, samples),
            Self::ImaQuickTime => ima_quicktime(block, channels, samples),
        }
    }
}

/// The samples of one channel.
fn channel_of(
    samples: &mut [i16],
    channel: usize,
    channels: usize,
) -> impl Iterator<Item = &mut i16> {
    samples.iter_mut().skip(channel).step_by(channels)
}

fn low_nibble_first(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().flat_map(|byte| [byte & 15, byte >> 4])
}

/// Heads of 4 bytes a channel, then 8 codes of each channel in turns.
fn ima_wav(block: &[u8], channels: usize, samples: &mut [i16]) -> Result<()> {
    let (heads, codes) = block.split_at_checked(4 * channels).unwrap_or((block, &[]));
    let (heads, _) = heads.as_chunks::<4>();
    let (groups, _) = codes.as_chunks::<4>();
    for (channel, [low, high, index, _]) in heads.iter().enumerate() {
        let mut state = Ima::new(i16::from_le_bytes([*low, *high]), *index)?;
        let mut out = channel_of(samples, channel, channels);
        if let Some(first) = out.next() {
            *first = state.sample as i16;
        }
        let own = groups.iter().skip(channel).step_by(channels);
        let codes = own.flat_map(|group| low_nibble_first(group));
        out.zip(codes)
            .for_each(|(sample, code)| *sample = state.next(code));
    }
    Ok(())
}

/// A packet of 64 samples for each channel: 9 bits of a sample, 7 of the step, the codes.
fn ima_quicktime(block: &[u8], channels: usize, samples: &mut [i16]) -> Result<()> {
    for (channel, packet) in block.chunks_exact(QT_BYTES as usize).enumerate() {
        let [high, low, codes @ ..] = packet else {
            continue;
        };
        let sample = i16::from_be_bytes([*high, low & 0x80]);
        let mut state = Ima::new(sample, low & 0x7F)?;
        let out = channel_of(samples, channel, channels);
        let codes = low_nibble_first(codes);
        out.zip(codes)
            .for_each(|(sample, code)| *sample = state.next(code));
    }
    Ok(())
}

struct Ima {
    sample: i32,
    index: usize,
}

impl Ima {
    fn new(sample: i16, index: u8) -> Result<Self> {
        let (sample, index) = (i32::from(sample), usize::from(index));
        if index < STEPS.len() {
            return Ok(Self { sample, index });
        }
        let reason = format!(
            "the ADPCM data are damaged: step {index} of {}",
            STEPS.len()
        );
        Err(Error::new(ErrorKind::Decode, reason))
    }

    fn next(&mut self, code: u8) -> i16 {
        let step = STEPS[self.index];
        // Each shift drops its own bits, as in the recommendation: one product would not.
        let bit = |mask: u8, part: i32| if code & mask != 0 { part } else { 0 };
        let size = (step >> 3) + bit(4, step) + bit(2, step >> 1) + bit(1, step >> 2);
        let sample = self.sample + if code & 8 != 0 { -size } else { size };
        self.sample = sample.clamp(i16::MIN.into(), i16::MAX.into());
        let index = self.index as i32 + INDEX_CHANGE[usize::from(code & 7)];
        self.index = index.clamp(0, STEPS.len() as i32 - 1) as usize;
        self.sample as i16
    }
}

/// Heads interleaved by field (predictor, step, the last sample, the one before), then codes in
/// turns, the upper nibble first.
fn microsoft(block: &[u8], channels: usize, samples: &mut [i16]) -> Result<()> {
    let word = |field: usize, channel: usize| {
        let at = channels + 2 * (field * channels + channel);
        let bytes = block
            .get(at..at + 2)
            .and_then(|bytes| bytes.try_into().ok());
        i32::from(bytes.map_or(0, i16::from_le_bytes))
    };
    let codes = block.get(7 * channels..).unwrap_or(&[]);
    for (channel, predictor) in block.iter().take(channels).enumerate() {
        let mut state = Microsoft {
            predictor: predictor_of(*predictor)?,
            step: word(0, channel),
            last: word(1, channel),
            before: word(2, channel),
        };
        let mut out = channel_of(samples, channel, channels);
        for first in [state.before, state.last] {
            if let Some(sample) = out.next() {
                *sample = first as i16;
            }
        }
        let all = codes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let codes = all.skip(channel).step_by(channels);
        out.zip(codes)
            .for_each(|(sample, code)| *sample = state.next(code));
    }
    Ok(())
}

fn predictor_of(index: u8) -> Result<(i32, i32)> {
    PREDICTORS.get(usize::from(index)).copied().ok_or_else(|| {
        let reason = format!(
            "the ADPCM data are damaged: predictor {index} of {}",
            PREDICTORS.len()
        );
        Error::new(ErrorKind::Decode, reason)
    })
}

struct Microsoft {
    predictor: (i32, i32),
    step: i32,
    last: i32,
    before: i32,
}

impl Microsoft {
    fn next(&mut self, code: u8) -> i16 {
        // Towards zero, as FFmpeg has it; libsndfile rounds down.
        let predicted = (self.last * self.predictor.0 + self.before * self.predictor.1) / 256;
        let signed = i32::from((code << 4) as i8 >> 4);
        let sample = predicted + signed * self.step;
        self.before = self.last;
        self.last = sample.clamp(i16::MIN.into(), i16::MAX.into());
        let step = self.step.saturating_mul(ADAPTATION[usize::from(code & 15)]) >> 8;
        // So that neither product can overflow.
        self.step = step.clamp(16, i32::MAX / 768);
        self.last as i16
    }
}
