//! What a source holds, and its samples: stored ones and native FLAC by their own readers, everything else packet by
//! packet.

pub mod damage;
mod flac;
mod pcm;
pub(crate) mod reader;
mod shorten;

use std::ops::Range;

use self::damage::Damage;
use self::reader::CodecReader;
use crate::bytes::source::Source;
use crate::container::flac::Flac;
use crate::container::pcm::Pcm;
use crate::container::shorten::Shorten;
use crate::container::{self, Opened};
use crate::error::{Error, Result};
use crate::guard::remark::Remarks;
pub use crate::info::AudioInfo;
use crate::signal::plane;

/// An opened clip.
pub struct Decoder<'a> {
    kind: Kind<'a>,
    remarks: Remarks,
}

enum Kind<'a> {
    Pcm(Pcm, Source<'a>),
    Flac(Box<Flac<'a>>),
    Shorten(Box<Shorten<'a>>),
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

    fn open_kind(source: Source<'a>) -> Result<Kind<'a>> {
        let remarks = source.remarks();
        Ok(match container::open(source)? {
            Opened::Pcm(pcm, source) => Kind::Pcm(pcm, source),
            Opened::Flac(flac) => Kind::Flac(flac),
            Opened::Shorten(shorten) => Kind::Shorten(shorten),
            Opened::Packets(demuxer) => Kind::Codec(Box::new(CodecReader::open(demuxer, remarks)?)),
        })
    }

    /// Frames per second, in Hz.
    pub fn sample_rate(&self) -> u32 {
        match &self.kind {
            Kind::Pcm(pcm, _) => pcm.sample_rate(),
            Kind::Flac(flac) => flac.sample_rate(),
            Kind::Shorten(shorten) => shorten.facts.sample_rate,
            Kind::Codec(reader) => reader.sample_rate(),
        }
    }

    /// Whether every sample is sure to be a finite number.
    pub(crate) fn is_finite(&self) -> bool {
        match &self.kind {
            Kind::Pcm(pcm, _) => pcm.is_finite(),
            Kind::Flac(_) | Kind::Shorten(_) => true,
            Kind::Codec(_) => false,
        }
    }

    /// The reader of the clip's packets, if what was to be decoded of them had other rates than
    /// [`Decoder::sample_rate`].
    pub(crate) fn changed_rate(&mut self) -> Option<&mut CodecReader<'a>> {
        match &mut self.kind {
            Kind::Codec(reader) if reader.has_met_rate() => Some(reader),
            _ => None,
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
            Kind::Shorten(shorten) => shorten.info(),
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
    pub fn decode(mut self, range: Range<u64>, mono: bool) -> Result<Vec<Vec<f32>>> {
        self.decode_through(range, mono, &mut Damage::raise())
    }

    /// [`Decoder::decode`], where `damage` says what to do about damage in mid-stream, and takes the
    /// gaps that it leaves.
    ///
    /// # Errors
    /// As for [`Decoder::decode`]; of damage only what nothing can be decoded after.
    pub fn decode_through(
        &mut self,
        range: Range<u64>,
        mono: bool,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        match &mut self.kind {
            Kind::Pcm(pcm, source) => pcm.decode(source, range, mono, damage),
            Kind::Flac(flac) => flac.decode(range, mono, damage),
            Kind::Shorten(shorten) => shorten.decode(range, mono, damage),
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
    pub fn decode_verified(&mut self, range: Range<u64>, mono: bool) -> Result<Vec<Vec<f32>>> {
        if let Kind::Flac(flac) = &mut self.kind {
            return flac.decode_verified(range, mono);
        }
        let mut planes = self.decode_through(0..u64::MAX, mono, &mut Damage::raise())?;
        planes
            .iter_mut()
            .for_each(|plane| plane::slice(plane, &range));
        Ok(planes)
    }
}
