//! AIFF and AIFF-C.
//!
//! Format: Apple's "Audio Interchange File Format" 1.3 of 1989, "AIFF-C" draft of 1991, and the
//! compression types that QuickTime has added.

use super::chunk::{Chunk, HeaderReader, MAX_CHUNKS};
use super::extent::Declared;
use super::pcm::{Coding, Layout, Pcm};
use crate::codec::adpcm::{self, Adpcm};
use crate::codec::gsm::Packing;
use crate::codec::sample::{Order, SampleFormat};
use crate::error::{Error, Result};

/// Reads the header, which begins at `base`.
///
/// Sizes that cannot be right are judged as [`extent`](super::extent) says.
///
/// # Errors
/// When it is broken: no format or no samples, less of them than promised; or of another codec.
pub(crate) fn open(header: &mut HeaderReader<'_, '_>, base: u64) -> Result<Pcm> {
    let is_compressed = header.bytes(base + 8, 4)? == b"AIFC";
    let form = header.array(base + 4)?.map_or(0, u32::from_be_bytes);
    let form_end = base + 8 + u64::from(form);
    let (mut at, mut common, mut sound) = (base + 12, None, None);
    for _ in 0..MAX_CHUNKS {
        let Some(chunk) = header.chunk(at, Order::Big)? else {
            break;
        };
        match &chunk.id {
            b"COMM" => {
                let found = read_common(header, chunk, is_compressed);
                common = Some(found.map_err(|error| error.at_byte(chunk.at))?);
            }
            b"SSND" => sound = Some(chunk),
            _ => {}
        }
        if let (Some(common), Some(sound)) = (common, sound) {
            return finish(header, common, sound, form_end);
        }
        at = header.behind(chunk)?;
    }
    match common {
        // The chunk of samples may be missing where there are none.
        Some(Common { layout, frames: 0 }) => Pcm::new(header, layout, at, Some(0)),
        Some(_) => Err(header.broken(at, "the AIFF file ends before its samples")),
        None => Err(header.broken(at, "the AIFF file has no format chunk (COMM)")),
    }
}

#[derive(Clone, Copy)]
struct Common {
    layout: Layout,
    /// As declared: the samples that are there decide.
    frames: u32,
}

fn read_common(
    header: &mut HeaderReader<'_, '_>,
    chunk: Chunk,
    is_compressed: bool,
) -> Result<Common> {
    let body = header.bytes(chunk.at, chunk.size.min(22) as usize)?;
    let (Some(fixed), tag) = (body.first_chunk::<18>(), body.get(18..22)) else {
        return Err(header.broken(chunk.at, "the AIFF format chunk (COMM) is cut short"));
    };
    let [c0, c1, f0, f1, f2, f3, b0, b1, rate @ ..] = *fixed;
    let tag = match (is_compressed, tag) {
        (false, _) => *b"NONE",
        (true, Some(&[a, b, c, d])) => [a, b, c, d],
        // As FFmpeg and libsndfile.
        (true, _) => {
            let reason =
                "the AIFF-C format chunk (COMM) names no codec: the samples are read as PCM";
            header.remark(chunk.at, reason)?;
            *b"NONE"
        }
    };
    let layout = layout(tag, u32::from(u16::from_be_bytes([b0, b1])))?;
    let Some(rate) = extended(rate) else {
        return Err(header.broken(
            chunk.at + 8,
            "the AIFF header declares an impossible sample rate",
        ));
    };
    let channels = u32::from(u16::from_be_bytes([c0, c1]));
    if matches!(layout.coding, Coding::Adpcm(_)) && channels > adpcm::MAX_CHANNELS {
        let reason = format!("the codec adpcm_ima_qt of {channels} channels is not decoded here");
        return Err(Error::unsupported(reason));
    }
    let layout = match layout.coding {
        Coding::Gsm(packing) => Layout::gsm("aiff", packing, channels, rate)?,
        _ => layout.of(channels, rate),
    };
    Ok(Common {
        layout,
        frames: u32::from_be_bytes([f0, f1, f2, f3]),
    })
}

fn layout(tag: [u8; 4], bits: u32) -> Result<Layout> {
    let linear = |sample, order| Layout::linear("aiff", sample, order);
    let integer = |order| {
        let sample = SampleFormat::signed(bits).filter(|_| bits > 0);
        let reason = || Error::unsupported(format!("AIFF of {bits} bits is not decoded here"));
        let layout = linear(sample.ok_or_else(reason)?, order);
        Ok(Layout {
            bits: Some(bits),
            ..layout
        })
    };
    Ok(match &tag {
        b"NONE" | b"twos" => integer(Order::Big)?,
        b"sowt" | b"SOWT" => integer(Order::Little)?,
        b"raw " if bits == 8 => linear(SampleFormat::Unsigned8, Order::Big),
        b"in24" => linear(SampleFormat::Signed24, Order::Big),
        b"in32" => linear(SampleFormat::Signed32, Order::Big),
        // libsndfile's spelling of the first, and QuickTime's of both.
        b"42n1" | b"42ni" => linear(SampleFormat::Signed24, Order::Little),
        b"23ni" => linear(SampleFormat::Signed32, Order::Little),
        b"fl32" | b"FL32" => linear(SampleFormat::Float32, Order::Big),
        b"fl64" | b"FL64" => linear(SampleFormat::Float64, Order::Big),
        b"alaw" | b"ALAW" => linear(SampleFormat::ALaw, Order::Big),
        b"ulaw" | b"ULAW" => linear(SampleFormat::MuLaw, Order::Big),
        b"agsm" | b"GSM " => Layout::gsm("aiff", Packing::Plain, 1, 0)?,
        b"ima4" => Layout {
            coding: Coding::Adpcm(Adpcm::ImaQuickTime),
            bits: None,
            block_bytes: adpcm::QT_BYTES,
            ..linear(SampleFormat::Signed8, Order::Big)
        },
        _ => {
            let tag = String::from_utf8_lossy(&tag);
            let reason = format!(
                "the codec {:?} in AIFF-C is not decoded here",
                tag.trim_end()
            );
            return Err(Error::unsupported(reason));
        }
    })
}

/// An 80-bit float of IEEE 754 to the nearest whole number, where it is a rate.
fn extended(bytes: [u8; 10]) -> Option<u32> {
    let [e0, e1, mantissa @ ..] = bytes;
    // A set sign makes the exponent too large. The mantissa has 63 bits after its point.
    let exponent = u32::from(u16::from_be_bytes([e0, e1])).checked_sub(16_383)?;
    let shift = 63u32.checked_sub(exponent)?;
    let half = (1u128 << shift) >> 1;
    let rate = (u128::from(u64::from_be_bytes(mantissa)) + half) >> shift;
    u32::try_from(rate).ok()
}

/// The samples lie after two numbers, of which the first tells how far.
fn finish(
    header: &mut HeaderReader<'_, '_>,
    common: Common,
    sound: Chunk,
    form_end: u64,
) -> Result<Pcm> {
    let Some([offset, _block]) = header.array::<8>(sound.at)?.map(|head| {
        let [a, b, c, d, rest @ ..] = head;
        [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes(rest)]
    }) else {
        return Err(header.broken(sound.at, "the AIFF file ends before its samples"));
    };
    let layout = common.layout;
    let in_front = 8 + u64::from(offset);
    let at = sound.at.saturating_add(in_front).min(header.source_len());
    // An empty clip's chunk is of 8 bytes, not of none.
    let is_none = sound.size == 0;
    let size = match u64::from(sound.size).checked_sub(in_front) {
        None if !is_none => {
            return Err(header.broken(
                sound.at,
                "the AIFF samples begin after the end of their chunk",
            ));
        }
        size => size.unwrap_or(0),
    };
    let declared = Declared {
        container: "AIFF",
        at,
        size,
        outer_end: Some(form_end).filter(|_| !is_none),
        block_bytes: layout.block_bytes,
    };
    let size = declared.bytes(header, Some(Order::Big))?;
    let pcm = Pcm::new(header, layout, at, size)?;
    // As by all others, the chunk's own size is believed.
    let counted = u64::from(common.frames);
    if size.is_some() && matches!(layout.coding, Coding::Linear(..)) && counted != pcm.frames() {
        let reason = "the AIFF format chunk (COMM) and the sound chunk (SSND) have different numbers of frames: those of the sound chunk are read";
        header.remark(sound.at, reason)?;
    }
    Ok(pcm)
}

#[cfg(test)]
mod tests {
    use super::extended;

    #[test]
    fn rates_are_those_of_the_format() {
        // From Apple's numerics manual: 44,100 Hz is 0x400E AC44 shifted up.
        let rate = |exponent: u16, mantissa: u64| {
            let [a, b] = exponent.to_be_bytes();
            let [c, d, e, f, g, h, i, j] = mantissa.to_be_bytes();
            extended([a, b, c, d, e, f, g, h, i, j])
        };
        assert_eq!(rate(0x400E, 44_100 << 48), Some(44_100));
        assert_eq!(rate(0x400B, 8_000 << 51), Some(8_000));
        // 22,254.5454 Hz, the Macintosh's own.
        assert_eq!(rate(0x400D, (22_254 << 49) + (1 << 48) + 1), Some(22_255));
        assert_eq!(rate(0x3FFF, 1 << 63), Some(1));
        for exponent in [0, 0x3FFE, 0x403F, 0x7FFF, 0xC00E, 0xFFFF] {
            assert_eq!(rate(exponent, u64::MAX), None);
        }
    }
}
