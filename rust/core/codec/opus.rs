//! Opus: its header, the framing of its packets, and the decoder of all streams of a track.
//!
//! Formats: RFC 6716 (packets: section 3, self-delimiting ones: appendix B), RFC 7845 (header,
//! channel mapping, gain) and "Encapsulation of Opus in ISO Base Media File Format" (`dOps`).
//!
//! Packets are taken apart here, and each stream's decoder gets single frames. Everything is our own, and
//! safe: of the crates that decode Opus one wraps C, one is C translated into unsafe Rust (and makes noise
//! of left-out frames), and those in safe Rust are wrong in some modes or take a hundred times as long.

mod celt;
mod range;
mod silk;
mod stream;

use crate::codec::packet::{Block, PacketDecoder, damaged};
use crate::codec::params::{Codec, Params};
use crate::error::{Error, Result};
use stream::Stream;

/// Opus is always decoded at this rate, whatever the rate of what was encoded.
pub(crate) const SAMPLE_RATE: u32 = 48_000;
/// The most that one packet holds: 120 ms.
const MAX_PACKET_FRAMES: usize = 5_760;
/// The most bytes that one frame holds: section 3.2.1.
const MAX_FRAME_BYTES: usize = 1_275;
/// The mapping's number for a channel that is silent.
const SILENT: u8 = 255;

/// The identification header: RFC 7845, section 5.1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) channels: u8,
    /// Frames in front of the recording.
    pub(crate) pre_skip: u16,
    /// In 1/256 of a decibel.
    gain: i16,
    streams: u8,
    /// How many of the streams are stereo; they come first.
    coupled: u8,
    /// For each channel in WAV order, which decoded channel it is, or [`SILENT`].
    mapping: Vec<u8>,
}

impl Head {
    /// Reads an `OpusHead`. Of version 0, of drafts, the fields are those of version 1.
    ///
    /// # Errors
    /// A header that is broken, or of a version or mapping that is not known.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let broken = || Error::corrupt("the Opus header is broken");
        let body = bytes.strip_prefix(b"OpusHead").ok_or_else(broken)?;
        let [
            version,
            channels,
            s0,
            s1,
            _,
            _,
            _,
            _,
            g0,
            g1,
            family,
            rest @ ..,
        ] = body
        else {
            return Err(broken());
        };
        if *version > 15 {
            return Err(Error::unsupported(format!(
                "Opus of version {version} is not decoded here"
            )));
        }
        let pre_skip = u16::from_le_bytes([*s0, *s1]);
        let gain = i16::from_le_bytes([*g0, *g1]);
        let count = usize::from(*channels);
        let (streams, coupled, mapping) = match (family, rest) {
            (0, _) if matches!(count, 1 | 2) => (1, *channels - 1, (0..*channels).collect()),
            (1 | 255, [streams, coupled, mapping @ ..]) if mapping.len() >= count => {
                (*streams, *coupled, mapping[..count].to_vec())
            }
            (0 | 1 | 255, _) => return Err(broken()),
            // 2 and 3 are ambisonics: spherical components, not loudspeakers.
            _ => {
                return Err(Error::unsupported(format!(
                    "Opus of mapping family {family} is not decoded here"
                )));
            }
        };
        let decoded = u16::from(streams) + u16::from(coupled);
        let fits = |slot: &u8| *slot == SILENT || u16::from(*slot) < decoded;
        let valid = count > 0 && streams > 0 && coupled <= streams && decoded <= 255;
        if !valid || !mapping.iter().all(fits) || (*family == 1 && count > 8) {
            return Err(broken());
        }
        let mapping = if *family == 1 {
            wav_order(count).iter().map(|at| mapping[*at]).collect()
        } else {
            mapping
        };
        Ok(Self {
            channels: *channels,
            pre_skip,
            gain,
            streams,
            coupled,
            mapping,
        })
    }

    /// The header of a stream that has none: mono or stereo.
    pub(crate) fn plain(channels: usize) -> Option<Self> {
        let channels = u8::try_from(channels).ok().filter(|n| matches!(n, 1 | 2))?;
        Some(Self {
            channels,
            pre_skip: 0,
            gain: 0,
            streams: 1,
            coupled: channels - 1,
            mapping: (0..channels).collect(),
        })
    }

    /// That of a track, whose container may have none.
    fn of(params: &Params) -> Result<Self> {
        match (params.header.as_slice(), params.channels) {
            ([], Some(channels)) => {
                Self::plain(channels).ok_or_else(|| Error::corrupt("the Opus header is missing"))
            }
            (header, _) => Self::parse(header),
        }
    }

    /// What a decoder is made from; `header` is what this was read from.
    pub(crate) fn params(&self, header: &[u8]) -> Params {
        Params {
            header: header.to_vec(),
            ..Params::new(Codec::Opus, SAMPLE_RATE, Some(usize::from(self.channels)))
        }
    }
}

/// The `OpusHead` that says what a `dOps` of MP4 does, whose fields are big-endian.
pub(crate) fn head_of_dops(dops: &[u8]) -> Vec<u8> {
    let mut head = [b"OpusHead\x01", dops.get(1..).unwrap_or_default()].concat();
    for field in [10..12, 12..16, 16..18] {
        if let Some(field) = head.get_mut(field) {
            field.reverse();
        }
    }
    head
}

/// Frames in front of the recording, by the header of a track.
pub(crate) fn pre_skip(params: &Params) -> u16 {
    Head::of(params).map_or(0, |head| head.pre_skip)
}

/// Where in the order of Vorbis each channel of WAV's order stands: RFC 7845, section 5.1.1.2.
fn wav_order(channels: usize) -> &'static [usize] {
    match channels {
        3 => &[0, 2, 1],
        5 => &[0, 2, 1, 3, 4],
        6 => &[0, 2, 1, 5, 3, 4],
        // The one in the back comes in front of those at the sides.
        7 => &[0, 2, 1, 6, 5, 3, 4],
        8 => &[0, 2, 1, 7, 5, 6, 3, 4],
        plain => &[0, 1, 2, 3][..plain.min(4)],
    }
}

/// Frames of one packet at 48 kHz; `None` where its head is broken.
pub(crate) fn packet_frames(data: &[u8]) -> Option<u64> {
    let toc = *data.first()?;
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(data.get(1)? & 63),
    };
    let frames = count * frame_size(toc);
    (1..=MAX_PACKET_FRAMES)
        .contains(&frames)
        .then_some(frames as u64)
}

/// Whether a packet has nothing of SILK: section 3.1, table 2.
pub(crate) fn is_celt(data: &[u8]) -> bool {
    data.first().is_some_and(|toc| toc & 0x80 != 0)
}

/// Samples of one frame at 48 kHz: section 3.1, table 2.
fn frame_size(toc: u8) -> usize {
    let config = usize::from(toc >> 3);
    match config {
        0..=11 => [480, 960, 1920, 2880][config & 3],
        12..=15 => [480, 960][config & 1],
        _ => 120 << (config & 3),
    }
}

/// One packet of one stream, taken apart: section 3.2.
#[derive(Debug, PartialEq)]
struct Frames<'a> {
    toc: u8,
    frames: Vec<&'a [u8]>,
}

/// The next packet of a stream, and what follows it where it says its own length.
fn split(
    data: &[u8],
    self_delimited: bool,
) -> std::result::Result<(Frames<'_>, &[u8]), &'static str> {
    const SHORT: &str = "an Opus packet ends too early";
    let (&toc, mut rest) = data.split_first().ok_or("an Opus packet is empty")?;
    let code = toc & 3;
    let (mut count, mut variable, mut padding) = (1 + usize::from(code != 0), code == 2, 0);
    if code == 3 {
        let (&flags, behind) = rest.split_first().ok_or(SHORT)?;
        rest = behind;
        (count, variable) = (usize::from(flags & 63), flags & 0x80 != 0);
        if flags & 0x40 != 0 {
            (padding, rest) = padding_of(rest).ok_or(SHORT)?;
        }
    }
    if count == 0 || count * frame_size(toc) > MAX_PACKET_FRAMES {
        return Err("an Opus packet holds no samples or more than 120 ms");
    }
    let mut sizes = Vec::with_capacity(count);
    // The last size follows from the packet's, where that is known; alike ones have one size.
    let told = if variable { count - 1 } else { 0 } + usize::from(self_delimited);
    for _ in 0..told {
        let (size, behind) = size_of(rest).ok_or(SHORT)?;
        sizes.push(size);
        rest = behind;
    }
    if !variable && self_delimited {
        sizes = vec![sizes[0]; count];
    } else if !self_delimited {
        let left = rest.len().checked_sub(padding).ok_or(SHORT)?;
        if variable {
            let last = left.checked_sub(sizes.iter().sum()).ok_or(SHORT)?;
            sizes.push(last);
        } else if left % count != 0 {
            return Err("the frames of an Opus packet differ in size");
        } else {
            sizes = vec![left / count; count];
        }
    }
    let mut frames = Vec::with_capacity(count);
    for size in sizes {
        let (frame, behind) = rest.split_at_checked(size).ok_or(SHORT)?;
        if size > MAX_FRAME_BYTES {
            return Err("an Opus frame has more than 1275 bytes");
        }
        frames.push(frame);
        rest = behind;
    }
    let rest = rest.get(padding..).ok_or(SHORT)?;
    Ok((Frames { toc, frames }, rest))
}

/// The length of a frame: section 3.2.1.
fn size_of(data: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = data.split_first()?;
    if first < 252 {
        return Some((usize::from(first), rest));
    }
    let (&second, rest) = rest.split_first()?;
    Some((usize::from(second) * 4 + usize::from(first), rest))
}

/// The length of the padding at the end: section 3.2.5.
fn padding_of(mut data: &[u8]) -> Option<(usize, &[u8])> {
    let mut total = 0;
    loop {
        let (&byte, rest) = data.split_first()?;
        data = rest;
        if byte < 255 {
            return Some((total + usize::from(byte), data));
        }
        total += 254;
    }
}

/// All streams of a track.
pub(crate) struct Decoder {
    head: Head,
    streams: Vec<Stream>,
    gain: f32,
    /// One packet of one stream, interleaved.
    pcm: Vec<f32>,
    planes: Vec<Vec<f32>>,
}

impl Decoder {
    /// A decoder for the track that `params` describe.
    ///
    /// # Errors
    /// A broken header.
    pub(crate) fn new(params: &Params) -> Result<Self> {
        let head = Head::of(params)?;
        Ok(Self {
            streams: fresh(&head),
            gain: 10f32.powf(f32::from(head.gain) / (20.0 * 256.0)),
            pcm: vec![0.0; 2 * MAX_PACKET_FRAMES],
            planes: vec![Vec::new(); usize::from(head.channels)],
            head,
        })
    }

    /// Puts noise at full scale in the place of all that is remembered of the signal; `seed` says which.
    pub(crate) fn disturb(&mut self, seed: i32) {
        for stream in &mut self.streams {
            stream.disturb(seed);
        }
    }

    fn decode_packet(&mut self, mut data: &[u8]) -> Result<()> {
        let frames = packet_frames(data).unwrap_or(0) as usize;
        for plane in &mut self.planes {
            plane.clear();
            plane.resize(frames, 0.0);
        }
        let last = self.streams.len() - 1;
        for index in 0..self.streams.len() {
            let (packet, rest) = split(data, index < last).map_err(damaged)?;
            data = rest;
            if packet.frames.len() * frame_size(packet.toc) != frames {
                return Err(damaged("the streams of an Opus packet differ in length"));
            }
            self.decode_stream(index, &packet)?;
        }
        Ok(())
    }

    fn decode_stream(&mut self, index: usize, packet: &Frames<'_>) -> Result<()> {
        let coupled = usize::from(self.head.coupled);
        let channels = if index < coupled { 2 } else { 1 };
        let size = frame_size(packet.toc);
        let parts = self.pcm.chunks_exact_mut(size * channels);
        for (frame, pcm) in packet.frames.iter().zip(parts) {
            if self.streams[index].decode(packet.toc, frame, pcm).is_err() {
                return Err(damaged("an Opus frame is damaged"));
            }
        }
        let first = index + index.min(coupled);
        for (plane, slot) in self.planes.iter_mut().zip(&self.head.mapping) {
            let Some(channel) = usize::from(*slot)
                .checked_sub(first)
                .filter(|channel| *channel < channels && *slot != SILENT)
            else {
                continue;
            };
            let source = self.pcm.iter().skip(channel).step_by(channels);
            for (to, from) in plane.iter_mut().zip(source) {
                *to = from * self.gain;
            }
        }
        Ok(())
    }
}

/// A decoder for each stream.
fn fresh(head: &Head) -> Vec<Stream> {
    let channels = |index| if index < head.coupled { 2 } else { 1 };
    (0..head.streams)
        .map(|index| Stream::new(channels(index)))
        .collect()
}

impl PacketDecoder for Decoder {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        self.decode_packet(packet)?;
        Ok(Block {
            sample_rate: SAMPLE_RATE,
            channels: self.planes.len(),
            planes: &self.planes,
        })
    }

    fn reset(&mut self) {
        self.streams.iter_mut().for_each(Stream::reset);
    }

    fn has_made_up(&self) -> bool {
        self.streams.iter().any(|stream| stream.has_made_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One stereo CELT frame of 2.5 ms, and packets of it: section 3.2, figures 2 to 6.
    const TOC: u8 = 0b1110_0100;

    fn parts(data: &[u8], self_delimited: bool) -> Option<(Vec<&[u8]>, &[u8])> {
        let (packet, rest) = split(data, self_delimited).ok()?;
        Some((packet.frames, rest))
    }

    #[test]
    fn frames_are_found_in_every_kind_of_packet() {
        type Case<'a> = (&'a [u8], bool, Vec<&'a [u8]>, &'a [u8]);
        let none: &[u8] = &[];
        let cases: [Case<'_>; 9] = [
            (&[TOC, 1, 2], false, vec![&[1, 2]], none),
            (&[TOC | 1, 1, 2, 3, 4], false, vec![&[1, 2], &[3, 4]], none),
            (&[TOC | 2, 1, 9, 8, 7], false, vec![&[9], &[8, 7]], none),
            (&[TOC | 3, 2, 1, 2], false, vec![&[1], &[2]], none),
            (
                &[TOC | 3, 0xC2, 2, 1, 5, 6, 0, 0],
                false,
                vec![&[5], &[6]],
                none,
            ),
            (&[TOC, 2, 1, 2, 7], true, vec![&[1, 2]], &[7]),
            (&[TOC | 1, 1, 5, 6, 7], true, vec![&[5], &[6]], &[7]),
            (
                &[TOC | 2, 1, 2, 5, 6, 7, 8],
                true,
                vec![&[5], &[6, 7]],
                &[8],
            ),
            (
                &[TOC | 3, 0x42, 1, 1, 5, 6, 0, 8],
                true,
                vec![&[5], &[6]],
                &[8],
            ),
        ];
        for (data, self_delimited, frames, rest) in cases {
            assert_eq!(
                parts(data, self_delimited),
                Some((frames, rest)),
                "{data:?}"
            );
        }
    }

    #[test]
    fn broken_packets_are_refused() {
        let cases: [&[u8]; 8] = [
            &[],
            &[TOC | 1, 1, 2, 3],
            &[TOC | 2],
            &[TOC | 2, 5, 1],
            &[TOC | 3],
            &[TOC | 3, 0],
            &[TOC | 3, 49, 0],
            &[TOC | 3, 0x41, 255],
        ];
        for data in cases {
            assert!(split(data, false).is_err(), "{data:?}");
        }
        assert!(split(&[TOC; 1500], false).is_err());
    }

    #[test]
    fn packets_are_as_long_as_the_table_says() {
        let one_frame: Vec<u64> = (0..32)
            .filter_map(|config| packet_frames(&[config << 3]))
            .collect();
        let silk = [480, 960, 1920, 2880].repeat(3);
        let celt = [120, 240, 480, 960].repeat(4);
        assert_eq!(one_frame, [silk, [480, 960].repeat(2), celt].concat());
        assert_eq!(packet_frames(&[TOC | 3, 48]), Some(5760));
        assert_eq!(packet_frames(&[TOC | 3, 49]), None);
    }

    #[test]
    fn headers_of_mp4_and_ogg_differ_in_their_order_of_bytes() {
        let ogg = b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\x01\0";
        let mp4 = head_of_dops(b"\x00\x02\x01\x38\0\0\xBB\x80\x01\0\0");
        assert_eq!(mp4, ogg);
        let (ogg, mp4) = (Head::parse(ogg).ok(), Head::parse(&mp4).ok());
        assert_eq!(ogg, mp4);
        assert_eq!(ogg.map(|head| (head.pre_skip, head.gain)), Some((312, 256)));
        for length in 0..19 {
            assert!(
                Head::parse(&b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\x01\0"[..length]).is_err()
            );
        }
    }
}
