//! NIST SPHERE, in which the LDC's corpora are: lines of text, and samples or a Shorten stream after them.
//!
//! Format: NIST's "SPeech HEader REsources (SPHERE)" 2.6, with the fields that its library reads and writes.

use super::chunk::HeaderReader;
use super::pcm::{Layout, Pcm};
use super::shorten::Facts;
use crate::codec::sample::{Order, SampleFormat};
use crate::error::{Error, Result};

pub(crate) const MAGIC: &[u8; 8] = b"NIST_1A\n";
/// FFmpeg's short name.
const CONTAINER: &str = "nistsphere";
/// The mark and the length of the header, with which it begins.
const FIRST_LINES: usize = 16;
/// A header is 1,024 bytes long, or a few times as long.
const MAX_HEADER: u64 = 1 << 20;

/// What follows a header.
pub(crate) enum Sphere {
    Pcm(Pcm),
    Shorten(Facts),
}

/// Reads the header.
///
/// # Errors
/// When it is broken, contradicts itself, or names a coding that is not decoded here.
pub(crate) fn open(header: &mut HeaderReader<'_, '_>) -> Result<Sphere> {
    let length = header_length(header)?;
    let text = header.bytes(0, length as usize)?;
    let text = String::from_utf8_lossy(text).into_owned();
    let fields = Fields::new(&text);
    let at = length.min(header.source_len());
    let coding = fields.text("sample_coding").unwrap_or("pcm");
    let sample_rate = sample_rate(header, &fields)?;
    let (coding, packed) = match coding.split_once(',') {
        Some((coding, packed)) => (coding.trim(), Some(packed.trim())),
        None => (coding, None),
    };
    match packed {
        None => stored(header, &fields, coding, sample_rate, at).map(Sphere::Pcm),
        Some(packed) if packed.starts_with("embedded-shorten") => Ok(Sphere::Shorten(Facts {
            container: CONTAINER,
            at,
            sample_rate,
            channels: fields.number("channel_count"),
            frames: fields.number("sample_count"),
        })),
        Some(packed) => Err(refused(packed)),
    }
}

fn header_length(header: &mut HeaderReader<'_, '_>) -> Result<u64> {
    let line = header.bytes(MAGIC.len() as u64, FIRST_LINES - MAGIC.len())?;
    let text = String::from_utf8_lossy(line);
    let length = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse().ok());
    let Some(length) = length.filter(|length| (FIRST_LINES as u64..=MAX_HEADER).contains(length))
    else {
        let reason = "the SPHERE header does not tell its own length";
        return Err(header.broken(MAGIC.len() as u64, reason));
    };
    if length > header.source_len() {
        return Err(header.broken(header.source_len(), "the SPHERE header is cut short"));
    }
    Ok(length)
}

/// The lines of a header: a name, a type and a value each.
struct Fields<'t>(Vec<(&'t str, &'t str)>);

impl<'t> Fields<'t> {
    fn new(text: &'t str) -> Self {
        let lines = text.lines().skip(2).map(str::trim);
        let lines = lines.take_while(|line| *line != "end_head");
        Self(lines.filter_map(field).collect())
    }

    /// The value of `name`; the last one where it is there more than once.
    fn text(&self, name: &str) -> Option<&'t str> {
        let mut found = self.0.iter().rev().filter(|(own, _)| *own == name);
        found.next().map(|(_, value)| *value)
    }

    fn number<T: TryFrom<u64>>(&self, name: &str) -> Option<T> {
        let number: u64 = self.text(name)?.parse().ok()?;
        T::try_from(number).ok()
    }
}

fn field(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once(char::is_whitespace)?;
    let (_type, value) = rest.trim_start().split_once(char::is_whitespace)?;
    Some((name, value.trim()))
}

/// A whole number or, of the type `-r`, a real one.
fn sample_rate(header: &HeaderReader<'_, '_>, fields: &Fields<'_>) -> Result<u32> {
    let rate = fields
        .text("sample_rate")
        .and_then(|text| text.parse().ok());
    let rate = rate.filter(|rate: &f64| *rate >= 0.5 && *rate < f64::from(u32::MAX));
    let told = rate.map(|rate| rate.round() as u32);
    told.ok_or_else(|| {
        let reason = "the SPHERE header has no sample_rate that could be";
        header.broken(0, reason)
    })
}

/// Samples as they are.
fn stored(
    header: &HeaderReader<'_, '_>,
    fields: &Fields<'_>,
    coding: &str,
    sample_rate: u32,
    at: u64,
) -> Result<Pcm> {
    let channels = fields.number("channel_count").unwrap_or(1u32);
    if fields.text("channel_count").is_none() {
        header.remark(
            0,
            "the SPHERE header has no channel_count: one channel is read",
        )?;
    }
    let is_apart = fields
        .text("channels_interleaved")
        .is_some_and(|text| text == "FALSE");
    if is_apart && channels > 1 {
        return Err(refused("channels that are not interleaved"));
    }
    let (sample, order) = sample_of(header, fields, coding)?;
    let layout = Layout::linear(CONTAINER, sample, order).of(channels, sample_rate);
    let told = fields.number("sample_sig_bits");
    let told = told.filter(|bits| (1..=8 * sample.bytes()).contains(bits));
    let layout = Layout {
        bits: told.or(layout.bits),
        ..layout
    };
    let size = size(header, fields, &layout, at)?;
    Pcm::new(header, layout, at, size)
}

fn sample_of(
    header: &HeaderReader<'_, '_>,
    fields: &Fields<'_>,
    coding: &str,
) -> Result<(SampleFormat, Order)> {
    let bytes: Option<u32> = fields.number("sample_n_bytes");
    match coding {
        "ulaw" | "mu-law" | "mulaw" => return Ok((SampleFormat::MuLaw, Order::Little)),
        "alaw" | "a-law" => return Ok((SampleFormat::ALaw, Order::Little)),
        "pcm" | "linear" | "raw" => {}
        _ => return Err(refused(coding)),
    }
    let Some(bytes) = bytes.filter(|bytes| (1..=4).contains(bytes)) else {
        let reason = "the SPHERE header has no sample_n_bytes of 1 to 4";
        return Err(header.broken(0, reason));
    };
    let sample = SampleFormat::signed(8 * bytes).unwrap_or(SampleFormat::Signed16);
    let order = match fields.text("sample_byte_format") {
        Some("01" | "012" | "0123") => Order::Little,
        Some("10" | "210" | "3210") => Order::Big,
        Some("0" | "1") if bytes == 1 => Order::Little,
        None if bytes == 1 => Order::Little,
        None => {
            let reason = "the SPHERE header has no sample_byte_format: the samples are read as little-endian";
            header.remark(0, reason)?;
            Order::Little
        }
        Some(other) => return Err(refused(&format!("of sample_byte_format {other}"))),
    };
    Ok((sample, order))
}

/// Bytes of samples, by the header's count or the file's end.
///
/// A count that is the sum over the channels is as careless as none; one that fits leaves what follows alone.
fn size(
    header: &HeaderReader<'_, '_>,
    fields: &Fields<'_>,
    layout: &Layout,
    at: u64,
) -> Result<Option<u64>> {
    let there = header.source_len() - at;
    let count = fields
        .number("sample_count")
        .filter(|count: &u64| *count > 0);
    let promised = count.map(|count| count.saturating_mul(layout.block_bytes));
    let is_sum = |bytes: u64| bytes / u64::from(layout.channels.max(1)) == there;
    match promised {
        Some(promised) if promised == there => Ok(Some(promised)),
        Some(promised) if promised < there => {
            let rest = there - promised;
            let reason = format!(
                "the SPHERE header counts fewer samples than the file has: its last bytes ({rest}) are not read"
            );
            header.remark(at + promised, reason)?;
            Ok(Some(promised))
        }
        Some(promised) if !is_sum(promised) => Ok(Some(promised)),
        None if there == 0 => Ok(None),
        _ => {
            let reason = "the SPHERE header does not count the samples of a channel: they are read to the end of the file";
            header.remark(0, reason)?;
            Ok(None)
        }
    }
}

fn refused(name: &str) -> Error {
    Error::unsupported(format!(
        "the coding {name} in NIST SPHERE is not decoded here"
    ))
}
