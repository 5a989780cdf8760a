//! The entry of a track: RFC 9559, section 5.1.4, and the codec mappings of its section 13 and of
//! "Matroska Media Container Codec Specifications".

use super::super::codec_headers;
use super::ebml::{self, Element, each_child};
use crate::bytes::window::Window;
use crate::codec::aac::{AacConfig, Replicated, SAMPLE_RATES};
use crate::codec::opus::Head;
use crate::codec::params::{Codec, Params};
use crate::codec::sample::{Order, SampleFormat};
use crate::error::{Error, Result};

const TRACK_ENTRY: u32 = 0xAE;
const TRACK_NUMBER: u32 = 0xD7;
const TRACK_TYPE: u32 = 0x83;
const CODEC_ID: u32 = 0x86;
const CODEC_PRIVATE: u32 = 0x63A2;
const CODEC_DELAY: u32 = 0x56AA;
const AUDIO: u32 = 0xE1;
const SAMPLING_FREQUENCY: u32 = 0xB5;
const CHANNELS: u32 = 0x9F;
const BIT_DEPTH: u32 = 0x6264;
const CONTENT_ENCODINGS: u32 = 0x6D80;
const CONTENT_ENCODING: u32 = 0x6240;
const CONTENT_ENCODING_SCOPE: u32 = 0x5032;
const CONTENT_ENCODING_TYPE: u32 = 0x5033;
const CONTENT_COMPRESSION: u32 = 0x5034;
const CONTENT_COMP_ALGO: u32 = 0x4254;
const CONTENT_COMP_SETTINGS: u32 = 0x4255;

/// The type of an audio track.
const TYPE_AUDIO: u64 = 2;
/// The compression that leaves away what all packets begin with.
const HEADER_STRIPPING: u64 = 3;
/// More tracks than any file has.
const MAX_TRACKS: usize = 1024;

/// All tracks' numbers, and the first of audio.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    pub(super) numbers: Vec<u64>,
    pub(super) audio: Option<Entry>,
}

impl Tracks {
    pub(super) fn read(window: &mut Window<'_>, tracks: &Element) -> Result<Self> {
        ebml::check_sum(window, tracks)?;
        let mut all = Self::default();
        each_child(window, tracks, |window, child| {
            if child.id != TRACK_ENTRY {
                return Ok(());
            }
            let entry = Entry::read(window, child)?;
            all.numbers.push(entry.number);
            if all.numbers.len() > MAX_TRACKS {
                return Err(Error::corrupt("too many Matroska tracks").at_byte(child.start));
            }
            if entry.kind == TYPE_AUDIO {
                all.audio.get_or_insert(entry);
            }
            Ok(())
        })?;
        Ok(all)
    }
}

/// One track, as its entry has it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its byte.
    at: u64,
    pub(super) number: u64,
    kind: u64,
    codec: String,
    private: Vec<u8>,
    pub(super) delay_ns: u64,
    rate: f64,
    channels: u64,
    bits: u64,
    /// What all packets begin with, and has been left away.
    pub(super) prefix: Vec<u8>,
    /// Why its packets cannot be read.
    refusal: Option<&'static str>,
}

impl Entry {
    fn read(window: &mut Window<'_>, element: &Element) -> Result<Self> {
        let mut entry = Self {
            at: element.start,
            number: 0,
            kind: 0,
            codec: String::new(),
            private: Vec::new(),
            delay_ns: 0,
            // The defaults of RFC 9559, sections 5.1.4.1.29.1 and .3.
            rate: 8000.0,
            channels: 1,
            bits: 0,
            prefix: Vec::new(),
            refusal: None,
        };
        each_child(window, element, |window, field| {
            match field.id {
                TRACK_NUMBER => entry.number = ebml::unsigned(window, field)?,
                TRACK_TYPE => entry.kind = ebml::unsigned(window, field)?,
                CODEC_DELAY => entry.delay_ns = ebml::unsigned(window, field)?,
                CODEC_ID => entry.codec = text(ebml::body(window, field)?),
                CODEC_PRIVATE => entry.private = ebml::body(window, field)?.to_vec(),
                AUDIO => entry.read_audio(window, field)?,
                CONTENT_ENCODINGS => entry.read_encodings(window, field)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(entry)
    }

    fn read_audio(&mut self, window: &mut Window<'_>, audio: &Element) -> Result<()> {
        each_child(window, audio, |window, field| {
            match field.id {
                SAMPLING_FREQUENCY => self.rate = ebml::float(window, field)?,
                CHANNELS => self.channels = ebml::unsigned(window, field)?,
                BIT_DEPTH => self.bits = ebml::unsigned(window, field)?,
                _ => {}
            }
            Ok(())
        })
    }

    fn read_encodings(&mut self, window: &mut Window<'_>, encodings: &Element) -> Result<()> {
        each_child(window, encodings, |window, encoding| {
            if encoding.id != CONTENT_ENCODING {
                return Ok(());
            }
            let encoding = Encoding::read(window, encoding)?;
            match (encoding.kind, encoding.algorithm) {
                // It holds for the codec's header, which is never stripped, if at all.
                (0, HEADER_STRIPPING) if encoding.scope & 1 == 0 => {}
                (0, HEADER_STRIPPING) => self.prefix = encoding.settings,
                (0, 0) => self.refusal = Some("compressed by zlib"),
                (0, 1) => self.refusal = Some("compressed by bzlib"),
                (0, 2) => self.refusal = Some("compressed by LZO"),
                (1, _) => self.refusal = Some("encrypted"),
                _ => self.refusal = Some("compressed by an unknown method"),
            }
            Ok(())
        })
    }

    /// What a decoder is made from.
    ///
    /// # Errors
    /// A codec that is not decoded here, or a header of it that is broken.
    pub(super) fn params(&self) -> Result<Params> {
        self.decoder_params()
            .map_err(|error| error.at_byte(self.at))
    }

    fn decoder_params(&self) -> Result<Params> {
        if let Some(what) = self.refusal {
            let reason = format!("Matroska tracks that are {what} are not read here");
            return Err(Error::unsupported(reason));
        }
        let rate = self.rate.round();
        if !(1.0..=f64::from(u32::MAX)).contains(&rate) {
            return Err(Error::corrupt("the stream declares a rate of 0 Hz"));
        }
        let channels = u16::try_from(self.channels).ok().filter(|count| *count > 0);
        let channels = channels.ok_or_else(|| Error::corrupt("the stream declares no channels"))?;
        let plain = |codec| Params {
            bits_per_sample: u32::try_from(self.bits).ok(),
            ..Params::new(codec, rate as u32, Some(usize::from(channels)))
        };
        let with = |codec, header: &[u8]| Params {
            header: header.to_vec(),
            ..plain(codec)
        };
        let private = self.private.as_slice();
        Ok(match self.codec.as_str() {
            "A_OPUS" => self.opus(usize::from(channels))?,
            "A_VORBIS" => vorbis(private)?,
            "A_FLAC" => codec_headers::flac(stream_info(private)?)?,
            "A_ALAC" => with(Codec::Alac, private),
            "A_MPEG/L1" => plain(Codec::Mp1),
            "A_MPEG/L2" => plain(Codec::Mp2),
            "A_MPEG/L3" => plain(Codec::Mp3),
            "A_MS/ACM" => self.acm(plain)?,
            name if name == "A_AAC" || name.starts_with("A_AAC/") => {
                self.aac(with(Codec::Aac, &self.aac_config()))
            }
            name if name.starts_with("A_PCM/") => plain(self.pcm()?),
            name => return Err(refused(name)),
        })
    }

    fn opus(&self, channels: usize) -> Result<Params> {
        let head = match self.private.as_slice() {
            [] => {
                Head::plain(channels).ok_or_else(|| Error::corrupt("the Opus header is missing"))?
            }
            header => Head::parse(header)?,
        };
        Ok(head.params(&self.private))
    }

    fn pcm(&self) -> Result<Codec> {
        let sample = match (self.codec.as_str(), self.bits) {
            ("A_PCM/INT/LIT", 8) => Some(SampleFormat::Unsigned8),
            ("A_PCM/INT/LIT" | "A_PCM/INT/BIG", bits @ (8 | 16 | 24 | 32)) => {
                SampleFormat::signed(bits as u32)
            }
            ("A_PCM/FLOAT/IEEE", bits @ (32 | 64)) => SampleFormat::float(bits as u32),
            _ => None,
        };
        let order = match self.codec.ends_with("/BIG") {
            true => Order::Big,
            false => Order::Little,
        };
        let refused = || {
            let (name, bits) = (&self.codec, self.bits);
            Error::unsupported(format!(
                "the codec {name} of {bits} bits is not decoded here"
            ))
        };
        sample
            .map(|sample| Codec::Pcm(sample, order))
            .ok_or_else(refused)
    }

    /// Microsoft's `WAVEFORMATEX`.
    fn acm(&self, plain: impl Fn(Codec) -> Params) -> Result<Params> {
        let word = |at: usize| {
            let bytes = self.private.get(at..)?.first_chunk()?;
            Some(u16::from_le_bytes(*bytes))
        };
        let broken = || Error::corrupt("the WAVEFORMATEX of a Matroska track is broken");
        let tag = word(0).ok_or_else(broken)?;
        let bits = word(14).ok_or_else(broken)?;
        // WAVEFORMATEXTENSIBLE: the tag begins the sub-format.
        let tag = if tag == 0xFFFE {
            word(24).ok_or_else(broken)?
        } else {
            tag
        };
        let pcm = |sample| Codec::Pcm(sample, Order::Little);
        let codec = match (tag, bits) {
            (1, 8) => pcm(SampleFormat::Unsigned8),
            (1, 16) => pcm(SampleFormat::Signed16),
            (1, 24) => pcm(SampleFormat::Signed24),
            (1, 32) => pcm(SampleFormat::Signed32),
            (3, 32) => pcm(SampleFormat::Float32),
            (3, 64) => pcm(SampleFormat::Float64),
            (6, _) => pcm(SampleFormat::ALaw),
            (7, _) => pcm(SampleFormat::MuLaw),
            (0x50, _) => Codec::Mp2,
            (0x55, _) => Codec::Mp3,
            _ => {
                let reason = format!("the codec 0x{tag:04X} of {bits} bits is not decoded here");
                return Err(Error::unsupported(reason));
            }
        };
        let bits = Some(u32::from(bits)).filter(|bits| *bits > 0);
        let params = plain(codec);
        Ok(Params {
            bits_per_sample: bits.or(params.bits_per_sample),
            ..params
        })
    }

    /// HE-AAC has another rate, and may have other channels, than the track tells, which are those of its core.
    fn aac(&self, mut params: Params) -> Params {
        if let Ok(config) = AacConfig::of_params(&params)
            && config.replicated == Replicated::Yes
        {
            params.sample_rate = config.sample_rate();
            params.channels = config.channels().or(params.channels);
        }
        params
    }

    /// The codec's own configuration; the old identifiers have it in their names.
    fn aac_config(&self) -> Vec<u8> {
        if !self.private.is_empty() {
            return self.private.clone();
        }
        let kind: u16 = match self.codec.as_str() {
            name if name.ends_with("/MAIN") => 1,
            name if name.ends_with("/SSR") => 3,
            name if name.ends_with("/LTP") => 4,
            _ => 2,
        };
        let index = SAMPLE_RATES
            .iter()
            .position(|rate| *rate == self.rate as u32);
        let index = index.unwrap_or(SAMPLE_RATES.len()) as u16;
        let channels = self.channels.min(15) as u16;
        (kind << 11 | index << 7 | channels << 3)
            .to_be_bytes()
            .to_vec()
    }
}

/// One step between a packet and what stands in the file: RFC 9559, section 5.1.4.1.31.
struct Encoding {
    scope: u64,
    kind: u64,
    algorithm: u64,
    settings: Vec<u8>,
}

impl Encoding {
    fn read(window: &mut Window<'_>, element: &Element) -> Result<Self> {
        let mut encoding = Self {
            scope: 1,
            kind: 0,
            algorithm: 0,
            settings: Vec::new(),
        };
        each_child(window, element, |window, field| {
            match field.id {
                CONTENT_ENCODING_SCOPE => encoding.scope = ebml::unsigned(window, field)?,
                CONTENT_ENCODING_TYPE => encoding.kind = ebml::unsigned(window, field)?,
                CONTENT_COMPRESSION => encoding.read_compression(window, field)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(encoding)
    }

    fn read_compression(&mut self, window: &mut Window<'_>, element: &Element) -> Result<()> {
        each_child(window, element, |window, field| {
            match field.id {
                CONTENT_COMP_ALGO => self.algorithm = ebml::unsigned(window, field)?,
                CONTENT_COMP_SETTINGS => self.settings = ebml::body(window, field)?.to_vec(),
                _ => {}
            }
            Ok(())
        })
    }
}

/// Text up to the zeros that may fill it.
fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn refused(codec: &str) -> Error {
    let name = match codec {
        "A_AC3" | "A_AC3/BSID9" | "A_AC3/BSID10" => "ac3",
        "A_EAC3" => "eac3",
        "A_TRUEHD" => "truehd",
        "A_MLP" => "mlp",
        "A_TTA1" => "tta",
        "A_WAVPACK4" => "wavpack",
        "A_MPC" => "musepack",
        name if name.starts_with("A_DTS") => "dts",
        name => name,
    };
    Error::unsupported(format!("the codec {name} is not decoded here"))
}

/// Three headers after their number less one and the lengths of the first two, in 255s.
fn vorbis(private: &[u8]) -> Result<Params> {
    let broken = || Error::corrupt("the Vorbis headers are broken");
    let (count, mut rest) = private.split_first().ok_or_else(broken)?;
    let mut lengths = [0; 2];
    for length in &mut lengths {
        (*length, rest) = super::block::xiph_size(rest).ok_or_else(broken)?;
    }
    let (ident, rest) = rest.split_at_checked(lengths[0]).ok_or_else(broken)?;
    let setup = rest.get(lengths[1]..).filter(|_| *count == 2);
    codec_headers::vorbis(ident, setup.ok_or_else(broken)?)
}

/// STREAMINFO, after `fLaC` and the head of its metadata block.
fn stream_info(private: &[u8]) -> Result<&[u8]> {
    private
        .strip_prefix(b"fLaC")
        .filter(|blocks| blocks.first().is_some_and(|kind| kind & 0x7F == 0))
        .and_then(|blocks| blocks.get(4..4 + codec_headers::STREAM_INFO_BYTES))
        .ok_or_else(|| Error::corrupt("the FLAC header of a Matroska track is broken"))
}
