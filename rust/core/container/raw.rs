//! Samples without a header, as the caller describes them.

use super::chunk::HeaderReader;
use super::pcm::{Layout, Pcm};
use crate::bytes::raw::RawFormat;
use crate::codec::gsm::Packing;
use crate::codec::sample::{Order, SampleFormat};
use crate::error::Result;

const SAMPLES: [SampleFormat; 9] = [
    SampleFormat::Unsigned8,
    SampleFormat::Signed8,
    SampleFormat::Signed16,
    SampleFormat::Signed24,
    SampleFormat::Signed32,
    SampleFormat::Float32,
    SampleFormat::Float64,
    SampleFormat::ALaw,
    SampleFormat::MuLaw,
];

/// The samples from the format's offset to the end of the source. A part of a frame at the end is a remark.
///
/// # Errors
/// When the source ends before the offset.
pub(crate) fn open(header: &HeaderReader<'_, '_>, format: &RawFormat) -> Result<Pcm> {
    let layout = layout(format)?;
    let at = start_of(header, format)?;
    let rest = (header.source_len() - at) % layout.block_bytes;
    if rest > 0 {
        let reason = format!(
            "the file ends after {rest} of the {} bytes of a frame: whole frames are read",
            layout.block_bytes
        );
        header.remark(header.source_len() - rest, reason)?;
    }
    Pcm::new(header, layout, at, None)
}

fn layout(format: &RawFormat) -> Result<Layout> {
    let (channels, rate) = (format.channels, format.sample_rate);
    match sample_of(format.codec) {
        Some((sample, order)) => Ok(Layout::linear("raw", sample, order).of(channels, rate)),
        None => Layout::gsm("raw", Packing::Plain, channels, rate),
    }
}

/// The byte at which the samples begin.
fn start_of(header: &HeaderReader<'_, '_>, format: &RawFormat) -> Result<u64> {
    let (at, len) = (format.offset_bytes, header.source_len());
    if at <= len {
        return Ok(at);
    }
    let reason =
        format!("the samples begin at byte {at} by the raw format, and the file has {len}");
    Err(header.broken(len, reason))
}

fn sample_of(codec: &str) -> Option<(SampleFormat, Order)> {
    let all = SAMPLES.into_iter().flat_map(|sample| {
        let of = move |order| (sample, order);
        [Order::Little, Order::Big].map(of)
    });
    all.into_iter()
        .find(|(sample, order)| sample.name(*order) == codec)
}

#[cfg(test)]
mod tests {
    use super::sample_of;
    use crate::bytes::raw::CODECS;

    #[test]
    fn every_name_of_stored_samples_is_known() {
        let known = |codec: &&str| sample_of(codec).is_some() == codec.starts_with("pcm_");
        assert!(CODECS.iter().all(known));
        assert!(CODECS.contains(&"gsm"));
    }
}
