//! Samples to WAV, FLAC and Opus files in memory: for corpora, tests and what a user wants to hear.

#[cfg(feature = "opus-encoder")]
mod opus;

use flacenc::bitsink::ByteSink;
use flacenc::component::{BitRepr, Frame, Stream, StreamInfo};
use flacenc::config::Encoder;
use flacenc::encode_fixed_size_frame;
use flacenc::error::{Verified, Verify};
use flacenc::source::{Context, FrameBuf, MemSource, Source};

use crate::error::{Error, Result};

/// Frames in one FLAC block.
const BLOCK: usize = 4096;
/// More than the header of a frame and those of eight subframes take.
const FRAME_HEAD_BITS: usize = 512;

/// Writes `samples`, `channels` planes one after the other, as `"wav"` or `"flac"`.
///
/// Integers are rounded to the nearest step of `2^(1 - bits)` and clipped at full scale;
/// 32 bits in WAV are float and exact.
///
/// # Errors
/// A container, depth, rate or shape that cannot be written; samples that are not finite.
pub fn encode(
    samples: &[f32],
    channels: usize,
    sample_rate: u32,
    container: &str,
    bits: u32,
) -> Result<Vec<u8>> {
    check(samples, channels)?;
    match (container, bits) {
        ("wav", 16 | 24 | 32) => wav(samples, channels, sample_rate, bits),
        ("flac", 16 | 24) => flac(samples, channels, sample_rate, bits),
        _ => Err(Error::invalid(format!(
            "{container} of {bits} bits is not written here: pass wav with 16, 24 or 32 (float), flac with 16 or 24, or opus"
        ))),
    }
}

/// Writes `samples`, `channels` planes one after the other, as Opus in Ogg; what decodes is as long as
/// they are.
///
/// # Errors
/// A rate, shape or bitrate that cannot be written; samples that are not finite; a build without the
/// encoder.
pub fn encode_opus(
    samples: &[f32],
    channels: usize,
    sample_rate: u32,
    bitrate: Option<u32>,
) -> Result<Vec<u8>> {
    check(samples, channels)?;
    #[cfg(feature = "opus-encoder")]
    return opus::encode(samples, channels, sample_rate, bitrate);
    #[cfg(not(feature = "opus-encoder"))]
    {
        let _ = (sample_rate, bitrate);
        Err(Error::invalid("this build has no Opus encoder"))
    }
}

fn check(samples: &[f32], channels: usize) -> Result<()> {
    if channels == 0 || channels > 8 || !samples.len().is_multiple_of(channels) {
        return Err(Error::invalid(format!(
            "{channels} channels cannot be written: pass 1 to 8"
        )));
    }
    match samples.iter().position(|sample| !sample.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(format!(
            "sample {at} is not a finite number"
        ))),
    }
}

/// Frame by frame, the planes' samples as integers of `bits`.
fn interleaved(samples: &[f32], channels: usize, bits: u32) -> Vec<i32> {
    let frames = samples.len() / channels;
    let scale = f64::from(1u32 << (bits - 1));
    let quantise = |sample: f32| {
        (f64::from(sample) * scale)
            .round_ties_even()
            .clamp(-scale, scale - 1.0) as i32
    };
    (0..samples.len())
        .map(|at| quantise(samples[at % channels * frames + at / channels]))
        .collect()
}

fn wav(samples: &[f32], channels: usize, sample_rate: u32, bits: u32) -> Result<Vec<u8>> {
    let size = u32::try_from(samples.len() * (bits / 8) as usize)
        .ok()
        .filter(|size| *size < u32::MAX - 64)
        .ok_or_else(|| {
            Error::invalid("the samples do not fit into a WAV file, which holds less than 4 GiB")
        })?;
    let frame_bytes = channels as u32 * bits / 8;
    let (tag, channels_word) = (if bits == 32 { 3u16 } else { 1 }, channels as u16);
    let mut file = Vec::with_capacity(44 + size as usize + 1);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + size + size % 2).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt \x10\0\0\0");
    file.extend_from_slice(&tag.to_le_bytes());
    file.extend_from_slice(&channels_word.to_le_bytes());
    file.extend_from_slice(&sample_rate.to_le_bytes());
    file.extend_from_slice(&sample_rate.saturating_mul(frame_bytes).to_le_bytes());
    file.extend_from_slice(&(frame_bytes as u16).to_le_bytes());
    file.extend_from_slice(&(bits as u16).to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&size.to_le_bytes());
    write_samples(&mut file, samples, channels, bits);
    file.resize(file.len() + (size % 2) as usize, 0);
    Ok(file)
}

fn write_samples(file: &mut Vec<u8>, samples: &[f32], channels: usize, bits: u32) {
    let frames = samples.len() / channels;
    if bits == 32 {
        let order = (0..samples.len()).map(|at| samples[at % channels * frames + at / channels]);
        order.for_each(|sample| file.extend_from_slice(&sample.to_le_bytes()));
    } else {
        let bytes = (bits / 8) as usize;
        let order = interleaved(samples, channels, bits).into_iter();
        order.for_each(|sample| file.extend_from_slice(&sample.to_le_bytes()[..bytes]));
    }
}

fn flac(samples: &[f32], channels: usize, sample_rate: u32, bits: u32) -> Result<Vec<u8>> {
    let mut source = MemSource::from_samples(
        &interleaved(samples, channels, bits),
        channels,
        bits as usize,
        sample_rate as usize,
    );
    let mut stream = Stream::new(sample_rate as usize, channels, bits as usize).map_err(failed)?;
    // RFC 9639, section 8.2: the shorter last block does not count, and readers take two different
    // sizes for a stream of variable blocks.
    let info = stream.stream_info_mut();
    info.set_block_sizes(BLOCK, BLOCK).map_err(failed)?;
    let frames = FlacFrames::new()?;
    let block = FrameBuf::with_size(channels, BLOCK).map_err(failed)?;
    let mut read = (block, Context::new(bits as usize, channels));
    while source.read_samples(BLOCK, &mut read).map_err(failed)? > 0 {
        let number = read.1.current_frame_number().unwrap_or_default();
        stream.add_frame(frames.encode(&read.0, number, stream.stream_info())?);
    }
    let info = stream.stream_info_mut();
    info.set_md5_digest(&read.1.md5_digest());
    info.set_total_samples(samples.len() / channels);
    info.set_block_sizes(BLOCK, BLOCK).map_err(failed)?;
    let mut sink = ByteSink::new();
    stream.write(&mut sink).map_err(failed)?;
    Ok(sink.into_inner())
}

/// Encodes blocks, none of them longer than its samples are.
struct FlacFrames {
    shortest: Verified<Encoder>,
    stored: Verified<Encoder>,
}

impl FlacFrames {
    fn new() -> Result<Self> {
        let verified = |config: Encoder| config.into_verified().map_err(|(_, error)| failed(error));
        let mut stored = Encoder::default();
        stored.subframe_coding.use_fixed = false;
        stored.subframe_coding.use_lpc = false;
        Ok(Self {
            shortest: verified(Encoder::default())?,
            stored: verified(stored)?,
        })
    }

    fn encode(&self, block: &FrameBuf, number: usize, info: &StreamInfo) -> Result<Frame> {
        let encode = |config| encode_fixed_size_frame(config, block, number, info).map_err(failed);
        let frame = encode(&self.shortest)?;
        // The encoder adds up estimates in 32 bits: of loud noise they wrap around, and a parameter is
        // taken that makes megabytes of a frame, which no reader takes.
        let bits = block.filled_size() * info.channels() * (info.bits_per_sample() + 1);
        if frame.count_bits() > bits + FRAME_HEAD_BITS {
            return encode(&self.stored);
        }
        Ok(frame)
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::invalid(format!("the FLAC encoder failed: {error}"))
}
