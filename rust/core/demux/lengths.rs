//! How many frames a packet decodes to, by what it begins with.

use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known as id;

use crate::flac::FrameHeader;
use crate::packet::{self, packet_frames};
use crate::vorbis::Blocks;

/// Bytes of a packet that tell its length at most: the header of a FLAC frame.
pub(crate) const HEAD_BYTES: usize = 16;

/// The lengths of one track's packets, in order.
#[derive(Clone, Debug)]
pub(crate) struct Lengths {
    kind: Kind,
    /// The block before: Vorbis gives a quarter of both. `None`: it only primes the overlap.
    before: Option<u32>,
}

#[derive(Clone, Debug)]
enum Kind {
    /// All alike.
    Constant(u64),
    /// Bytes of one frame.
    Pcm(u64),
    /// Frames of all packets but short ones, which tell theirs.
    Alac(u64),
    Flac,
    Vorbis(Blocks),
    Told(AudioCodecParameters),
    Unknown,
}

impl Lengths {
    pub(crate) fn new(params: &AudioCodecParameters) -> Self {
        let kind = Kind::of(params).unwrap_or(Kind::Unknown);
        Self { kind, before: None }
    }

    /// Frames of the next packet, which begins with `head` and has `size` bytes.
    pub(crate) fn next(&mut self, head: &[u8], size: usize) -> Option<u64> {
        match &self.kind {
            Kind::Constant(frames) => Some(*frames),
            Kind::Pcm(bytes) => Some(size as u64 / bytes),
            Kind::Alac(frames) => alac_frames(head, *frames),
            Kind::Flac => FrameHeader::parse(head)
                .ok()
                .map(|frame| u64::from(frame.block_size)),
            Kind::Vorbis(blocks) => {
                let size = blocks.size(head)?;
                let before = self.before.replace(size);
                Some(before.map_or(0, |before| u64::from(before + size) / 4))
            }
            Kind::Told(params) => packet_frames(params, head),
            Kind::Unknown => None,
        }
    }

    /// What follows does not follow what was read: the overlap has to be primed again.
    pub(crate) fn reset(&mut self) {
        self.before = None;
    }

    /// The block that was read last and the steps between positions behind blocks of one size, where
    /// packets overlap: a position is a sum of quarters, of which all but the outer ones come twice.
    pub(crate) fn overlap(&self) -> Option<(u32, u64)> {
        match &self.kind {
            Kind::Vorbis(blocks) => Some((self.before?, u64::from(blocks.sizes[0] / 2))),
            _ => None,
        }
    }

    pub(crate) fn is_vorbis(&self) -> bool {
        matches!(self.kind, Kind::Vorbis(_))
    }
}

impl Kind {
    fn of(params: &AudioCodecParameters) -> Option<Self> {
        let extra = params.extra_data.as_deref();
        Some(match params.codec {
            id::CODEC_ID_AAC => Self::Constant(aac_frames(extra.unwrap_or_default())),
            id::CODEC_ID_ALAC => Self::Alac(alac_config(extra?)?),
            id::CODEC_ID_FLAC => Self::Flac,
            id::CODEC_ID_VORBIS => Self::Vorbis(Blocks::parse(extra?)?),
            _ if packet::is_pcm(params) => {
                let channels = params.channels.as_ref()?.count() as u64;
                let bits = u64::from(packet::bits_per_sample(params)?);
                Self::Pcm((channels * bits / 8).max(1))
            }
            _ => Self::Told(params.clone()),
        })
    }
}

/// `AudioSpecificConfig`, ISO/IEC 14496-3, 1.6.2.1 and 4.4.1: a bit says 960 instead of 1024.
fn aac_frames(config: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(config) {
        *to = *from;
    }
    let bits = u64::from_be_bytes(word);
    let field = |at: u32, length: u32| bits << at >> (64 - length);
    let mut at = if field(0, 5) == 31 { 11 } else { 5 };
    at += if field(at, 4) == 15 { 28 } else { 4 };
    at += 4;
    if field(at, 1) == 1 { 960 } else { 1024 }
}

/// The frame length of Apple's `ALACSpecificConfig`, behind the atoms that QuickTime wraps it in.
fn alac_config(mut config: &[u8]) -> Option<u64> {
    for atom in [b"frma", b"alac"] {
        if config.get(4..8)? == atom {
            config = config.get(12..)?;
        }
    }
    let length = config.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
    length.map(u64::from)
}

/// The element in front: 3 bits of its kind, 4 of its number, 12 unused, one that tells whether its
/// length stands behind the 3 bits of flags that follow.
fn alac_frames(head: &[u8], whole: u64) -> Option<u64> {
    let mut word = [0; 8];
    word.copy_from_slice(head.get(..8)?);
    let bits = u64::from_be_bytes(word);
    // Anything but audio in front is the decoder's to look at.
    if bits >> 61 > 3 {
        return None;
    }
    let is_short = bits >> 44 & 1 == 1;
    Some(if is_short {
        bits >> 9 & 0xFFFF_FFFF
    } else {
        whole
    })
}
