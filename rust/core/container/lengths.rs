//! How many frames a packet decodes to, by what it begins with.

use crate::codec::aac::AacConfig;
use crate::codec::alac::alac_config;
use crate::codec::params::{Codec, Params};
use crate::codec::vorbis::Blocks;

/// Bytes of a packet that tell its length at most: the header of a FLAC frame.
pub(crate) const HEAD_BYTES: usize = 16;
/// The same where a packet has several frames, each of which tells its own length.
const ALL_BYTES: usize = 64 * 1024;

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
    Vorbis(Blocks),
    Told(Params),
    Unknown,
}

impl Lengths {
    pub(crate) fn new(params: &Params) -> Self {
        let kind = Kind::of(params).unwrap_or(Kind::Unknown);
        Self { kind, before: None }
    }

    /// Bytes of a packet that tell its length at most.
    pub(crate) fn head_bytes(&self) -> usize {
        match &self.kind {
            Kind::Told(params) if matches!(params.codec, Codec::AmrNb | Codec::AmrWb) => ALL_BYTES,
            _ => HEAD_BYTES,
        }
    }

    /// Frames of the next packet, which begins with `head` and has `size` bytes.
    pub(crate) fn next(&mut self, head: &[u8], size: usize) -> Option<u64> {
        match &self.kind {
            Kind::Constant(frames) => Some(*frames),
            Kind::Pcm(bytes) => Some(size as u64 / bytes),
            Kind::Alac(frames) => alac_frames(head, *frames),
            Kind::Vorbis(blocks) => {
                let size = blocks.size(head)?;
                let before = self.before.replace(size);
                Some(before.map_or(0, |before| u64::from(before + size) / 4))
            }
            Kind::Told(params) => params.packet_frames(head),
            Kind::Unknown => None,
        }
    }

    /// What follows does not follow what was read: the overlap has to be primed again.
    pub(crate) fn reset(&mut self) {
        self.before = None;
    }

    /// The block that was read last and the steps between positions after blocks of one size, where
    /// packets overlap: a position is a sum of quarters, of which all but the outer ones come twice.
    pub(crate) fn overlap(&self) -> Option<(u32, u64)> {
        match &self.kind {
            Kind::Vorbis(blocks) => Some((self.before?, u64::from(blocks.sizes[0] / 2))),
            _ => None,
        }
    }

    /// Samples of the block in a packet that begins with `head`, where packets overlap.
    pub(crate) fn block(&self, head: &[u8]) -> Option<u32> {
        match &self.kind {
            Kind::Vorbis(blocks) => blocks.size(head),
            _ => None,
        }
    }

    /// The least that two positions of packets differ by, and whether all that lie between are multiples of it: half
    /// of a short block in Vorbis, 2.5 ms in Opus, the shortest block in FLAC.
    pub(crate) fn step(&self) -> Option<(u64, bool)> {
        match &self.kind {
            Kind::Vorbis(blocks) => Some((u64::from(blocks.sizes[0] / 2), true)),
            Kind::Told(params) => match (params.codec, params.header.as_slice()) {
                (Codec::Opus, _) => Some((120, true)),
                (Codec::Flac, [a, b, c, d, ..]) => {
                    let (least, most) =
                        (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
                    Some((u64::from(least.max(1)), least == most))
                }
                _ => None,
            },
            _ => None,
        }
    }

    pub(crate) fn is_vorbis(&self) -> bool {
        matches!(self.kind, Kind::Vorbis(_))
    }
}

impl Kind {
    fn of(params: &Params) -> Option<Self> {
        Some(match params.codec {
            Codec::Aac => {
                let config = AacConfig::of_params(params).ok();
                Self::Constant(config.map_or(1024, |config| config.packet_frames()))
            }
            Codec::Alac => {
                let length = alac_config(&params.header)?.first_chunk();
                Self::Alac(u64::from(u32::from_be_bytes(*length?)))
            }
            Codec::Vorbis => Self::Vorbis(Blocks::parse(&params.header)?),
            Codec::Pcm(..) => Self::Pcm(params.pcm_frame_bytes()?.max(1) as u64),
            _ => Self::Told(params.clone()),
        })
    }
}

/// The element in front: 3 bits of its kind, 4 of its number, 12 unused, one that tells whether its
/// length stands after the 3 bits of flags that follow.
pub(super) fn alac_frames(head: &[u8], whole: u64) -> Option<u64> {
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
