//! What a source holds, and its samples: PCM and FLAC by our own decoders, everything else by codec.

use std::borrow::Cow;
use std::ops::Range;

use crate::codec::CodecReader;
use crate::damage::Damage;
use crate::demux;
use crate::error::{Error, Result};
use crate::flac::Flac;
use crate::pcm::Pcm;
use crate::remark::{Remark, Remarks};
use crate::source::Source;

/// What is known of a clip before it is decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioInfo {
    /// Frames per second, in Hz.
    pub sample_rate: u32,
    /// Channels of the first audio track.
    pub channels: u32,
    /// Samples per channel that a whole decode gives, encoder delay and padding removed.
    pub frames: u64,
    /// The container, by FFmpeg's short name where there is one.
    pub container: Cow<'static, str>,
    /// The codec, by FFmpeg's short name where there is one.
    pub codec: Cow<'static, str>,
    /// Bits of one sample before it became a float; `None` for lossy codecs.
    pub bits_per_sample: Option<u32>,
    /// What is careless in the file and was read all the same, in the order of its bytes.
    pub remarks: Vec<Remark>,
}

impl AudioInfo {
    /// Length in seconds.
    pub fn duration(&self) -> f64 {
        self.frames as f64 / f64::from(self.sample_rate)
    }
}

/// An opened clip.
pub struct Decoder<'a> {
    kind: Kind<'a>,
    remarks: Remarks,
}

enum Kind<'a> {
    Pcm(Pcm, Source<'a>),
    Flac(Box<Flac<'a>>),
    Codec(Box<CodecReader<'a>>),
}

impl<'a> Decoder<'a> {
    /// Recognises the container by its content and reads its headers.
    ///
    /// # Errors
    /// An empty or broken file, or a container or codec that is not decoded here.
    pub fn open(source: Source<'a>) -> Result<Self> {
        if source.is_empty() {
            return Err(Error::corrupt("the file is empty")
                .with_source(source.name())
                .at_byte(0));
        }
        let name = source.name().to_owned();
        let named = |error: Error| error.with_source(name.clone());
        let remarks = source.remarks();
        let kind = Self::open_kind(source).map_err(named)?;
        Ok(Self { kind, remarks })
    }

    fn open_kind(mut source: Source<'a>) -> Result<Kind<'a>> {
        if let Some(pcm) = Pcm::open(&mut source)? {
            return Ok(Kind::Pcm(pcm, source));
        }
        if let Some(at) = Flac::sniff(&mut source)? {
            return Ok(Kind::Flac(Box::new(Flac::open(source, at)?)));
        }
        let reader = CodecReader::open(demux::open(source)?)?;
        Ok(Kind::Codec(Box::new(reader)))
    }

    /// Frames per second, in Hz.
    pub fn sample_rate(&self) -> u32 {
        match &self.kind {
            Kind::Pcm(pcm, _) => pcm.sample_rate(),
            Kind::Flac(flac) => flac.sample_rate(),
            Kind::Codec(reader) => reader.sample_rate(),
        }
    }

    /// Whether every sample is sure to be a finite number.
    pub(crate) fn is_finite(&self) -> bool {
        match &self.kind {
            Kind::Pcm(pcm, _) => pcm.is_finite(),
            Kind::Flac(_) => true,
            Kind::Codec(_) => false,
        }
    }

    /// Everything that is known without decoding; counts packets where no header tells the length.
    ///
    /// # Errors
    /// As for [`Decoder::decode`], where packets have to be read.
    pub fn info(self) -> Result<AudioInfo> {
        let info = match self.kind {
            Kind::Pcm(pcm, _) => pcm.info(),
            Kind::Flac(flac) => flac.info(),
            Kind::Codec(reader) => reader.info(),
        };
        let remarks = self.remarks.list();
        info.map(|info| AudioInfo { remarks, ..info })
    }

    /// Decodes frames `range` at the native rate, as one plane per channel or their mean.
    ///
    /// Fewer frames than asked for means that the clip ends there.
    ///
    /// # Errors
    /// The first fault in what has to be decoded for `range`, with its byte.
    pub fn decode(self, range: Range<u64>, mono: bool) -> Result<Vec<Vec<f32>>> {
        self.decode_through(range, mono, &mut Damage::raise())
    }

    /// [`Decoder::decode`], where `damage` says what to do about damage in mid-stream, and takes the
    /// gaps that it leaves.
    ///
    /// # Errors
    /// As for [`Decoder::decode`]; of damage only what nothing can be decoded behind.
    pub fn decode_through(
        self,
        range: Range<u64>,
        mono: bool,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        match self.kind {
            Kind::Pcm(pcm, mut source) => pcm.decode(&mut source, range, mono, damage),
            Kind::Flac(flac) => flac.decode(range, mono, damage),
            Kind::Codec(reader) => reader.decode(range, mono, damage),
        }
    }

    /// [`Decoder::decode`] that decodes all of the clip, whatever the range, so that damage anywhere in
    /// it is an error, and compares the checksum of the samples where the format carries one: the MD5
    /// of FLAC.
    ///
    /// # Errors
    /// As for [`Decoder::decode`], and [`Corrupt`](crate::ErrorKind::Corrupt) when the checksum is
    /// another one.
    pub fn decode_verified(self, range: Range<u64>, mono: bool) -> Result<Vec<Vec<f32>>> {
        if let Kind::Flac(flac) = self.kind {
            return flac.decode_verified(range, mono);
        }
        let mut planes = self.decode(0..u64::MAX, mono)?;
        for plane in &mut planes {
            let place = |frame: u64| frame.min(plane.len() as u64) as usize;
            let (start, end) = (place(range.start), place(range.end));
            plane.truncate(end.max(start));
            plane.drain(..start);
        }
        Ok(planes)
    }
}
