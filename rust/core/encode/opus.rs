//! Opus in Ogg, by the encoder of `opus-pure`.

use opus_pure::{Application, MAX_PACKET_BYTES, OggOpusWriter, OpusEncoder, OpusHead, OpusTags};

use crate::error::{Error, Result};

/// Packets a second: of 20 ms, as RFC 6716 recommends.
const PACKETS: u32 = 50;
/// Opus counts at this rate, whatever it codes.
const TICKS: u32 = 48_000;

/// As `super::encode_opus`, of samples that are finite.
pub(super) fn encode(
    samples: &[f32],
    channels: usize,
    sample_rate: u32,
    bitrate: Option<u32>,
) -> Result<Vec<u8>> {
    let bitrate = checked(channels, sample_rate, bitrate)?;
    let mut encoder =
        OpusEncoder::new(sample_rate as i32, channels, Application::Audio).map_err(failed)?;
    encoder.bitrate_bps = bitrate;
    let head = OpusHead::for_encoder(&encoder, sample_rate);
    let pre_skip = u64::from(head.pre_skip);
    let mut tags = OpusTags::new();
    tags.push("ENCODER", concat!("ossicle ", env!("CARGO_PKG_VERSION")))
        .map_err(failed)?;
    // The same samples give the same file, others most likely another stream.
    let serial = crc32fast::hash(bytemuck::cast_slice(samples));
    let mut writer = OggOpusWriter::with_serial(Vec::new(), head, tags, serial).map_err(failed)?;

    let (frames, step) = (samples.len() / channels, (sample_rate / PACKETS) as usize);
    let ticks = u64::from(TICKS / sample_rate);
    // RFC 7845, 4.4: the last position ends the sound where the samples end. The encoder is behind by
    // the pre-skip, which is fed to it as silence.
    let end = pre_skip + frames as u64 * ticks;
    let packets = end.div_ceil(step as u64 * ticks) as usize;
    let (mut block, mut packet) = (vec![0.0; step * channels], vec![0; MAX_PACKET_BYTES]);
    for number in 0..packets {
        interleave(samples, frames, number * step, channels, &mut block);
        let size = encoder.encode(&block, step, &mut packet).map_err(failed)?;
        let left = end - number as u64 * step as u64 * ticks;
        let length = left.min(step as u64 * ticks) as u32;
        writer
            .write_packet_with_duration(&packet[..size], length)
            .map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

fn checked(channels: usize, sample_rate: u32, bitrate: Option<u32>) -> Result<i32> {
    if channels > 2 {
        return Err(Error::invalid(format!(
            "{channels} channels cannot be written as Opus: pass 1 or 2"
        )));
    }
    if ![8_000, 12_000, 16_000, 24_000, 48_000].contains(&sample_rate) {
        return Err(Error::invalid(format!(
            "{sample_rate} Hz cannot be written as Opus: resample to 8000, 12000, 16000, 24000 or 48000 Hz"
        )));
    }
    let bitrate = bitrate.unwrap_or(if channels == 1 { 64_000 } else { 96_000 });
    if !(6_000..=510_000).contains(&bitrate) {
        return Err(Error::invalid(format!(
            "bitrate={bitrate}: Opus has 6000 to 510000 bits a second"
        )));
    }
    Ok(bitrate as i32)
}

/// The frames of planes from `start` on, and silence after the last.
fn interleave(samples: &[f32], frames: usize, start: usize, channels: usize, block: &mut [f32]) {
    for (at, frame) in block.chunks_exact_mut(channels).enumerate() {
        for (channel, sample) in frame.iter_mut().enumerate() {
            let place = start + at;
            *sample = if place < frames {
                samples[channel * frames + place].clamp(-1.0, 1.0)
            } else {
                0.0
            };
        }
    }
}

fn failed(error: opus_pure::Error) -> Error {
    Error::invalid(format!("the Opus encoder failed: {error}"))
}
