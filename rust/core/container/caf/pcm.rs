//! PCM, G.711 and IMA ADPCM in Apple's Core Audio Format.
//!
//! Format: Apple's "Core Audio Format Specification 1.0".

use super::super::chunk::{HeaderReader, MAX_CHUNKS};
use super::super::extent::Declared;
use super::super::pcm::{Coding, Layout, Pcm};
use crate::codec::adpcm::{self, Adpcm};
use crate::codec::gsm::{FRAME_SAMPLES, Packing};
use crate::codec::sample::{Order, SampleFormat};
use crate::error::{Error, Result};

/// The size of samples that a writer cannot know, by the format's own text.
const UNKNOWN: u64 = u64::MAX;
/// In front of the samples stands a counter of edits.
const EDIT_COUNT: u64 = 4;
const IS_FLOAT: u32 = 1;
const IS_LITTLE: u32 = 2;

/// Reads the header, which begins at `base`; `None` when its codec comes in packets.
///
/// # Errors
/// When the header is broken: no description or no samples, less of them than promised.
pub(crate) fn open(header: &mut HeaderReader<'_, '_>, base: u64) -> Result<Option<Pcm>> {
    let (mut at, mut layout, mut table, mut samples) = (base + 8, None, None, None);
    for _ in 0..MAX_CHUNKS {
        let Some([a, b, c, d, size @ ..]) = header.array::<12>(at)? else {
            break;
        };
        at += 12;
        let size = u64::from_be_bytes(size);
        match &[a, b, c, d] {
            b"desc" => match read_description(header, at).map_err(|error| error.at_byte(at))? {
                Some(found) => layout = Some(found),
                None => return Ok(None),
            },
            b"pakt" => table = read_table(header, at)?,
            b"data" => samples = Some((at, size)),
            _ => {}
        }
        let is_last = samples.is_some() && matches!(size, 0 | UNKNOWN);
        if is_last || (samples.is_some() && is_done(layout, table)) {
            break;
        }
        at = at.saturating_add(size);
    }
    match (layout, samples) {
        (Some(layout), Some(samples)) => finish(header, layout, table, samples).map(Some),
        (None, _) => Err(header.broken(at, "the CAF description (desc) is missing")),
        (_, None) => Err(header.broken(at, "the CAF file ends before its samples")),
    }
}

/// Only packets of several frames need the table, which may stand after the samples.
fn is_done(layout: Option<Layout>, table: Option<Table>) -> bool {
    match layout.map(|layout| layout.coding) {
        Some(Coding::Linear(..)) => true,
        Some(Coding::Adpcm(_) | Coding::Gsm(_)) => table.is_some(),
        None => false,
    }
}

fn read_description(header: &mut HeaderReader<'_, '_>, at: u64) -> Result<Option<Layout>> {
    let Some([rate @ .., i0, i1, i2, i3]) = header.array::<12>(at)? else {
        return Err(header.broken(at, "the CAF description (desc) is cut short"));
    };
    let Some(rest) = header.array::<20>(at + 12)? else {
        return Err(header.broken(at, "the CAF description (desc) is cut short"));
    };
    let (fields, _) = rest.as_chunks::<4>();
    let [flags, packet_bytes, packet_frames, channels, bits] =
        [0, 1, 2, 3, 4].map(|at| fields.get(at).copied().map_or(0, u32::from_be_bytes));
    let Some(layout) = layout([i0, i1, i2, i3], flags, bits, channels)? else {
        return Ok(None);
    };
    let rate = f64::from_be_bytes(rate).round();
    if !(1.0..=f64::from(u32::MAX)).contains(&rate) {
        return Err(header.broken(at, format!("the CAF header declares a rate of {rate} Hz")));
    }
    let layout = match layout.coding {
        Coding::Gsm(packing) => Layout::gsm("caf", packing, channels, rate as u32)?,
        _ => layout.of(channels, rate as u32),
    };
    let frames = match layout.coding {
        Coding::Linear(..) => 1,
        Coding::Adpcm(_) => 64,
        Coding::Gsm(_) => FRAME_SAMPLES as u32,
    };
    if (u64::from(packet_bytes), packet_frames) != (layout.block_bytes, frames) {
        let reason = format!(
            "the CAF header's packets of {packet_bytes} bytes and {packet_frames} frames contradict its codec"
        );
        return Err(header.broken(at + 16, reason));
    }
    Ok(Some(layout))
}

fn layout(id: [u8; 4], flags: u32, bits: u32, channels: u32) -> Result<Option<Layout>> {
    let order = match flags & IS_LITTLE {
        0 => Order::Big,
        _ => Order::Little,
    };
    let linear = |sample| Layout::linear("caf", sample, order);
    Ok(Some(match &id {
        b"lpcm" => {
            let sample = match flags & IS_FLOAT {
                0 => SampleFormat::signed(bits).filter(|_| bits > 0),
                _ => SampleFormat::float(bits),
            };
            let reason = || Error::unsupported(format!("CAF of {bits} bits is not decoded here"));
            let layout = linear(sample.ok_or_else(reason)?);
            Layout {
                bits: Some(bits),
                ..layout
            }
        }
        b"alaw" => linear(SampleFormat::ALaw),
        b"ulaw" => linear(SampleFormat::MuLaw),
        b"agsm" => Layout::gsm("caf", Packing::Plain, 1, 0)?,
        b"ima4" if channels <= adpcm::MAX_CHANNELS => Layout {
            coding: Coding::Adpcm(Adpcm::ImaQuickTime),
            bits: None,
            block_bytes: adpcm::QT_BYTES,
            ..linear(SampleFormat::Signed8)
        },
        b"ima4" => {
            let reason =
                format!("the codec adpcm_ima_qt of {channels} channels is not decoded here");
            return Err(Error::unsupported(reason));
        }
        _ => return Ok(None),
    }))
}

/// Which of the decoded frames are the recording.
#[derive(Clone, Copy)]
struct Table {
    at: u64,
    frames: u64,
    priming: u32,
}

fn read_table(header: &mut HeaderReader<'_, '_>, at: u64) -> Result<Option<Table>> {
    let Some(
        [
            _packets @ ..,
            f0,
            f1,
            f2,
            f3,
            f4,
            f5,
            f6,
            f7,
            p0,
            p1,
            p2,
            p3,
        ],
    ) = header.array::<20>(at)?
    else {
        return Err(header.broken(at, "the CAF packet table (pakt) is cut short"));
    };
    let frames = u64::from_be_bytes([f0, f1, f2, f3, f4, f5, f6, f7]);
    let priming = u32::from_be_bytes([p0, p1, p2, p3]);
    // A writer that could not seek back left no frames.
    let table = Table {
        at,
        frames,
        priming,
    };
    Ok((frames > 0).then_some(table))
}

fn finish(
    header: &mut HeaderReader<'_, '_>,
    layout: Layout,
    table: Option<Table>,
    (at, size): (u64, u64),
) -> Result<Pcm> {
    let begin = at.saturating_add(EDIT_COUNT).min(header.source_len());
    let declared = Declared {
        container: "CAF",
        at: begin,
        size: size.saturating_sub(EDIT_COUNT),
        outer_end: None,
        block_bytes: layout.block_bytes,
    };
    let size = match size {
        UNKNOWN => None,
        // An empty clip's size is that of the counter.
        EDIT_COUNT => Some(0),
        _ => declared.bytes(header, None)?,
    };
    let pcm = Pcm::new(header, layout, begin, size)?;
    let Some(table) = table else {
        return Ok(pcm);
    };
    let cut = pcm.cut(u64::from(table.priming), table.frames);
    cut.ok_or_else(|| {
        let reason = format!(
            "the CAF packet table declares {} frames after {}, and the file has fewer",
            table.frames, table.priming
        );
        header.broken(table.at, reason)
    })
}
