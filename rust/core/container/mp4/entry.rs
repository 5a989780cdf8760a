//! Sample entries: which codec a track has, and what its decoder is made from.
//!
//! Formats: ISO/IEC 14496-12, section 12.2.3, and 14496-14; QuickTime's sound descriptions; the
//! encapsulations of ALAC, Opus, FLAC and PCM (ISO/IEC 23003-5).

use super::super::codec_headers;
use super::boxes::{Span, be16, be32, be64, body, children, find};
use crate::bytes::window::Window;
use crate::codec::aac::{self, SAMPLE_RATES};
use crate::codec::amr::{self, frame::Band};
use crate::codec::opus::{Head, head_of_dops};
use crate::codec::params::{Codec, Params};
use crate::codec::sample::{Order, SampleFormat};
use crate::error::{Error, Result};

/// Bytes of a sample entry at most: the longest, of Opus with 255 channels, has 400.
const MAX_BYTES: usize = 16 * 1024;
/// Frames of PCM in one packet.
pub(super) const PCM_FRAMES: u64 = 4096;

/// What a track's packets are.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) params: Params,
    pub(super) lengths: Lengths,
}

/// How the length of a packet is known, in frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Lengths {
    /// All have as many.
    Fixed(u64),
    /// By the bytes of one frame: PCM.
    Bytes(u64),
    /// The container says it.
    Ticks,
    /// Only the packet says it: the container counts in other units.
    Counted,
}

/// The fields that all sample entries of sound have.
#[derive(Clone, Copy, Debug, Default)]
struct Sound {
    kind: [u8; 4],
    channels: u32,
    bits: u32,
    rate: u32,
    /// What QuickTime's version 2 says of linear PCM.
    linear: Option<Linear>,
}

/// The fields of `lpcm` in a sound description of version 2: flags, and the bytes of a frame.
#[derive(Clone, Copy, Debug)]
struct Linear {
    flags: u32,
    frame_bytes: u32,
}

/// The entry number `description`, from 1, of a track that counts `timescale` ticks a second.
///
/// # Errors
/// A codec that is not decoded here, by its name; a header that is broken.
pub(super) fn read(
    window: &mut Window<'_>,
    stsd: Span,
    description: u32,
    timescale: u64,
) -> Result<Entry> {
    let version = body(window, stsd, 1)?.first().copied().unwrap_or(0);
    let entries = children(window, stsd.inner(8))?;
    let entry = (description as usize)
        .checked_sub(1)
        .and_then(|at| entries.get(at));
    let broken = || Error::corrupt("the MP4 sample description is broken").at_byte(stsd.start);
    let entry = entry.ok_or_else(broken)?;
    let bytes = body(window, *entry, MAX_BYTES)?;
    let (sound, rest) = sound(entry.kind, &bytes, version == 0).ok_or_else(broken)?;
    let found = describe(sound, rest, timescale);
    found.map_err(|error| error.at_byte(entry.start))
}

/// The common fields, and the boxes after them.
fn sound(kind: [u8; 4], bytes: &[u8], quicktime: bool) -> Option<(Sound, &[u8])> {
    let mut sound = Sound {
        kind,
        channels: u32::from(be16(bytes, 16)?),
        bits: u32::from(be16(bytes, 18)?),
        rate: be32(bytes, 24)? >> 16,
        linear: None,
    };
    let behind = match be16(bytes, 8)? {
        1 if quicktime => 44,
        2 if quicktime => {
            sound.rate = f64::from_bits(be64(bytes, 32)?) as u32;
            sound.channels = be32(bytes, 40)?;
            sound.bits = be32(bytes, 48)?;
            sound.linear = Some(Linear {
                flags: be32(bytes, 52)?,
                frame_bytes: be32(bytes, 56)?,
            });
            64
        }
        _ => 28,
    };
    Some((sound, bytes.get(behind..).unwrap_or_default()))
}

fn describe(sound: Sound, boxes: &[u8], timescale: u64) -> Result<Entry> {
    // QuickTime puts what the codec needs into a box of its own.
    let inner = |kind| {
        let wave = find(boxes, b"wave").and_then(|wave| find(wave, kind));
        find(boxes, kind).or(wave)
    };
    if let Some(codec) = pcm(sound, inner(b"enda"), inner(b"pcmC")) {
        return pcm_entry(sound, codec);
    }
    let (params, lengths) = match &sound.kind {
        b"mp4a" => mp4a(sound, inner(b"esds"))?,
        b".mp3" | b"ms\0\x55" => mpeg(sound, Codec::Mp3),
        b"alac" => alac(sound, inner(b"alac"))?,
        b"Opus" => opus(inner(b"dOps"))?,
        b"fLaC" => flac(inner(b"dfLa"))?,
        b"samr" => (amr::params(Band::Narrow), Lengths::Ticks),
        b"sawb" => (amr::params(Band::Wide), Lengths::Ticks),
        b"ac-3" => (plain(sound, Codec::Other("ac3")), Lengths::Fixed(1536)),
        b"ec-3" => (plain(sound, Codec::Other("eac3")), Lengths::Ticks),
        b"enca" => return Err(Error::unsupported("the track is encrypted (enca)")),
        other => return Err(unknown(other)),
    };
    let exact = timescale == u64::from(params.sample_rate);
    let lengths = match (params.codec, lengths) {
        // The last packet of ALAC may be short, and of a fragment nothing else tells how short.
        (Codec::Alac, _) if exact => Lengths::Ticks,
        (_, Lengths::Ticks) if !exact => Lengths::Counted,
        (_, lengths) => lengths,
    };
    Ok(Entry { params, lengths })
}

fn unknown(kind: &[u8; 4]) -> Error {
    let name = match kind {
        b"ima4" => "adpcm_ima_qt".into(),
        kind => kind.escape_ascii().to_string(),
    };
    Error::unsupported(format!("the codec {name} is not decoded here in MP4"))
}

fn plain(sound: Sound, codec: Codec) -> Params {
    Params::new(codec, sound.rate, counted(sound.channels))
}

/// As many channels as there can be, or `None`.
pub(crate) fn counted(channels: u32) -> Option<usize> {
    let count = u16::try_from(channels).ok().filter(|count| *count > 0);
    count.map(usize::from)
}

/// The codec, where it is PCM.
///
/// The old names say the order of bytes and not their number: `sowt` and `twos` are of 8, 16, 24 or 32 bits, as the
/// size of a sample says, while `in24` and its like have 16 there whatever they are.
fn pcm(sound: Sound, enda: Option<&[u8]>, pcmc: Option<&[u8]>) -> Option<Codec> {
    let enda = enda.and_then(|enda| be16(enda, 0));
    let little = enda.is_some_and(|little| little & 1 != 0);
    let wide = match sound.bits {
        bits @ (8 | 24 | 32) => bits,
        _ => 16,
    };
    let (sample, little) = match &sound.kind {
        b"ulaw" => (Some(SampleFormat::MuLaw), false),
        b"alaw" => (Some(SampleFormat::ALaw), false),
        b"sowt" => (SampleFormat::signed(wide), true),
        b"twos" => (SampleFormat::signed(wide), little),
        b"NONE" | b"raw " | [0, 0, 0, 0] if sound.bits == 16 => (SampleFormat::signed(16), little),
        b"NONE" | b"raw " | [0, 0, 0, 0] if sound.bits <= 8 => {
            (Some(SampleFormat::Unsigned8), false)
        }
        b"in24" => (SampleFormat::signed(24), little),
        b"in32" => (SampleFormat::signed(32), little),
        b"fl32" => (SampleFormat::float(32), little),
        b"fl64" => (SampleFormat::float(64), little),
        b"lpcm" => match sound.linear {
            Some(linear) => (linear.sample(sound), linear.flags & 2 == 0),
            None => (SampleFormat::signed(wide), little),
        },
        b"ipcm" | b"fpcm" => {
            let (flags, bits) = (pcmc?.get(4)?, u32::from(*pcmc?.get(5)?));
            let is_float = &sound.kind == b"fpcm";
            let sample = if is_float {
                SampleFormat::float(bits)
            } else {
                SampleFormat::signed(bits)
            };
            (sample, flags & 1 != 0)
        }
        _ => (None, false),
    };
    let order = if little { Order::Little } else { Order::Big };
    Some(Codec::Pcm(sample?, order))
}

impl Linear {
    /// The sample, by flags (1: float, 4: signed) and bits in whole bytes. Where it has fewer bytes than its place in
    /// the frame, Core Audio's flags 8 and 16 say on which side of it: such ones are not read.
    fn sample(self, sound: Sound) -> Option<SampleFormat> {
        let flag = |mask| self.flags & mask != 0;
        let bits = sound.bits.div_ceil(8) * 8;
        let fits = u64::from(bits / 8) * u64::from(sound.channels) == u64::from(self.frame_bytes);
        match (flag(1), bits, flag(4)) {
            _ if self.frame_bytes > 0 && !fits => None,
            (true, bits, _) => SampleFormat::float(bits),
            (false, 8, false) => Some(SampleFormat::Unsigned8),
            (false, bits, true) => SampleFormat::signed(bits),
            _ => None,
        }
    }
}

fn pcm_entry(sound: Sound, codec: Codec) -> Result<Entry> {
    let params = plain(sound, codec);
    let block = params.pcm_frame_bytes();
    let block = block.ok_or_else(|| Error::corrupt("the stream declares no channels"))?;
    Ok(Entry {
        params,
        lengths: Lengths::Bytes(block as u64),
    })
}

/// ISO/IEC 14496-1, section 7.2.6: what the descriptors say, and the codec's own bytes.
fn mp4a(sound: Sound, esds: Option<&[u8]>) -> Result<(Params, Lengths)> {
    let described = esds.and_then(|esds| stream_config(esds.get(4..)?));
    let (kind, config) = match described {
        Some(described) => described,
        None => {
            return Err(Error::corrupt(
                "the MP4 audio track does not describe its stream",
            ));
        }
    };
    match kind {
        0x40 | 0x66..=0x68 => Ok(aac(sound, config)),
        0x69 | 0x6B => Ok(mpeg(sound, Codec::Mp3)),
        0xA5 => Ok((plain(sound, Codec::Other("ac3")), Lengths::Fixed(1536))),
        0xA6 => Ok((plain(sound, Codec::Other("eac3")), Lengths::Ticks)),
        0xA9..=0xAC => Ok((plain(sound, Codec::Other("dts")), Lengths::Ticks)),
        0xDD => Err(Error::unsupported(
            "the codec vorbis is not decoded here in MP4",
        )),
        other => {
            let reason = format!("an MP4 stream of kind {other:#04x} is not decoded here");
            Err(Error::unsupported(reason))
        }
    }
}

/// The kind of an elementary stream, and its decoder's configuration.
pub(crate) fn stream_config(mut bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut kind = None;
    loop {
        let (tag, body) = descriptor(bytes)?;
        bytes = match tag {
            // Its identity, flags, and what they promise.
            3 => {
                let flags = *body.get(2)?;
                let url = usize::from(*body.get(3)?) + 1;
                let optional = [(0x80, 2), (0x40, url), (0x20, 2)];
                let skip = optional.iter().filter(|(flag, _)| flags & flag != 0);
                body.get(3 + skip.map(|(_, length)| length).sum::<usize>()..)?
            }
            4 => {
                kind = body.first().copied();
                let rest = body.get(13..)?;
                if rest.is_empty() {
                    return Some((kind?, rest));
                }
                rest
            }
            5 => return Some((kind?, body)),
            _ => return kind.map(|kind| (kind, &[][..])),
        };
    }
}

/// One descriptor: its tag and what follows its length, which has 7 bits a byte.
fn descriptor(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (&tag, mut rest) = bytes.split_first()?;
    let mut length = 0usize;
    for _ in 0..4 {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        length = length << 7 | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some((tag, rest.get(..length.min(rest.len()))?))
}

fn aac(sound: Sound, config: &[u8]) -> (Params, Lengths) {
    let mut params = plain(sound, Codec::Aac);
    let frames = apply_aac_config(&mut params, config);
    (params, Lengths::Fixed(frames))
}

/// Takes rate and channels from an `AudioSpecificConfig` (ISO/IEC 14496-3, section 1.6.2.1), since
/// sample entries end at 65,535 Hz; tells the frames of its packets.
pub(crate) fn apply_aac_config(params: &mut Params, config: &[u8]) -> u64 {
    if config.is_empty() {
        return 1024;
    }
    params.header = config.to_vec();
    if let Ok(config) = aac::check(config) {
        params.sample_rate = config.sample_rate();
        params.channels = config.channels();
        return config.packet_frames();
    }
    apply_foreign_config(params, config)
}

/// The same of a profile that is not decoded here.
fn apply_foreign_config(params: &mut Params, config: &[u8]) -> u64 {
    let word = config
        .iter()
        .take(8)
        .fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let word = word << (64 - 8 * config.len().min(8));
    let mut at = 0;
    let mut bits = |count: u32| {
        let value = word << at >> (64 - count);
        at += count;
        value as u32
    };
    if bits(5) == 31 {
        bits(6);
    }
    let rate = match bits(4) {
        15 => Some(bits(24)),
        index => SAMPLE_RATES.get(index as usize).copied(),
    };
    params.sample_rate = rate.filter(|rate| *rate > 0).unwrap_or(params.sample_rate);
    params.channels = match bits(4) {
        0 => None,
        7 | 12 | 14 => Some(8),
        11 => Some(7),
        count => counted(count),
    };
    if bits(1) == 1 { 960 } else { 1024 }
}

fn mpeg(sound: Sound, codec: Codec) -> (Params, Lengths) {
    // ISO/IEC 13818-3 halves the frames of layer III at its low rates.
    let frames = if sound.rate >= 32_000 { 1152 } else { 576 };
    (plain(sound, codec), Lengths::Fixed(frames))
}

fn alac(sound: Sound, body: Option<&[u8]>) -> Result<(Params, Lengths)> {
    let cookie = body.and_then(|body| body.get(4..));
    let cookie = cookie.ok_or_else(|| Error::corrupt("the ALAC configuration is missing"))?;
    let mut params = plain(sound, Codec::Alac);
    let frames = apply_alac_config(&mut params, cookie)?;
    Ok((params, Lengths::Fixed(frames)))
}

/// Takes what Apple's ALACSpecificConfig says; gives the frames of a packet.
pub(crate) fn apply_alac_config(params: &mut Params, config: &[u8]) -> Result<u64> {
    let fields = (
        be32(config, 0),
        config.get(5),
        config.get(9),
        be32(config, 20),
    );
    let (Some(frames), Some(bits), Some(channels), Some(rate)) = fields else {
        return Err(Error::corrupt("the ALAC configuration is broken"));
    };
    if frames == 0 || rate == 0 || *channels == 0 {
        return Err(Error::corrupt("the ALAC configuration is empty"));
    }
    params.bits_per_sample = Some(u32::from(*bits));
    params.sample_rate = rate;
    params.channels = counted(u32::from(*channels));
    // Some writers put other boxes after it.
    let length = if config.get(28..32) == Some(b"chan") {
        48
    } else {
        24
    };
    params.header = config.get(..length).unwrap_or_default().to_vec();
    Ok(u64::from(frames))
}

fn opus(dops: Option<&[u8]>) -> Result<(Params, Lengths)> {
    let dops = dops.ok_or_else(|| Error::corrupt("the Opus header is missing"))?;
    let head = head_of_dops(dops);
    Ok((Head::parse(&head)?.params(&head), Lengths::Ticks))
}

fn flac(dfla: Option<&[u8]>) -> Result<(Params, Lengths)> {
    // Version and flags, then the metadata blocks: STREAMINFO comes first.
    let dfla = dfla.filter(|dfla| dfla.get(4).is_some_and(|kind| kind & 0x7F == 0));
    let info = dfla.and_then(|dfla| dfla.get(8..42));
    let info = info.ok_or_else(|| Error::corrupt("the FLAC STREAMINFO is missing"))?;
    Ok((codec_headers::flac(info)?, Lengths::Ticks))
}
