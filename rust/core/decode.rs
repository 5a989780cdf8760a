//! What a source holds, and its samples: stored ones and native FLAC by their own readers, everything else packet by
//! packet.

mod agree;
mod choice;
pub mod damage;
mod flac;
mod pcm;
pub(crate) mod reader;
mod shorten;

use std::ops::Range;

use self::agree::Terms;
pub use self::choice::Choice;
use self::damage::Damage;
use self::reader::{CodecReader, Place};
use crate::bytes::source::Source;
use crate::codec::Library;
use crate::container::flac::Flac;
use crate::container::pcm::Pcm;
use crate::container::shorten::Shorten;
use crate::container::{self, Opened};
use crate::error::{Error, Result};
use crate::guard::remark::Remarks;
pub use crate::info::AudioInfo;
use crate::signal::mix::Mix;
use crate::signal::plane;
use crate::signal::resample::Quality;

/// An opened clip.
pub struct Decoder<'a> {
    kind: Kind<'a>,
    remarks: Remarks,
    /// The same clip for the second decoder, where both are compared.
    twin: Option<Box<Decoder<'a>>>,
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
        Self::open_by(source, Library::Native)
    }

    /// The same, to be decoded as `choice` says.
    ///
    /// # Errors
    /// As for [`Decoder::open`], and what the second decoder does not decode.
    pub fn open_with(source: Source<'a>, choice: Choice) -> Result<Self> {
        let Choice::Both = choice else {
            return Self::open_by(source, choice.library());
        };
        let other = source.twin()?;
        let (mut ours, theirs) = agree::outcomes(
            Self::open_by(source, Library::Native),
            Self::open_by(other, Library::Symphonia),
        )?;
        ours.twin = Some(Box::new(theirs));
        Ok(ours)
    }

    fn open_by(source: Source<'a>, library: Library) -> Result<Self> {
        if source.is_empty() {
            return Err(Error::corrupt("the file is empty")
                .with_source(source.name())
                .at_byte(0));
        }
        let name = source.name().to_owned();
        let named = |error: Error| error.with_source(name.clone());
        let remarks = source.remarks();
        let kind = Self::open_kind(source, library).map_err(named)?;
        Ok(Self {
            kind,
            remarks,
            twin: None,
        })
    }

    fn open_kind(source: Source<'a>, library: Library) -> Result<Kind<'a>> {
        let remarks = source.remarks();
        let opened = container::open(source)?;
        let demuxer = match (opened, library) {
            (Opened::Pcm(pcm, source), Library::Native) => return Ok(Kind::Pcm(pcm, source)),
            (Opened::Flac(flac), Library::Native) => return Ok(Kind::Flac(flac)),
            (Opened::Shorten(shorten), Library::Native) => return Ok(Kind::Shorten(shorten)),
            (opened, _) => opened.into_packets()?,
        };
        let reader = CodecReader::open(demuxer, remarks, library)?;
        Ok(Kind::Codec(Box::new(reader)))
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

    /// Whether what was to be decoded had other rates than [`Decoder::sample_rate`].
    pub(crate) fn has_met_rate(&self) -> bool {
        matches!(&self.kind, Kind::Codec(reader) if reader.has_met_rate())
    }

    /// Samples `wanted` of a recording whose rate changes, each part resampled by itself to `to`, and where the
    /// parts begin.
    ///
    /// # Errors
    /// As for [`Decoder::decode`].
    pub(crate) fn decode_parts(
        &mut self,
        wanted: Range<u64>,
        to: (u32, Quality),
        mix: Mix,
        damage: &mut Damage,
    ) -> Result<(Vec<Vec<f32>>, Vec<Place>)> {
        let start = wanted.start;
        self.compared(mix, start, |decoder| match &mut decoder.kind {
            Kind::Codec(reader) => reader.decode_parts(wanted.clone(), to, mix, damage),
            _ => Ok((Vec::new(), Vec::new())),
        })
    }

    /// What `decode` makes of this clip, compared with what it makes of the twin.
    fn compared<T: AsPlanes>(
        &mut self,
        mix: Mix,
        start: u64,
        mut decode: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let Some(mut twin) = self.twin.take() else {
            return decode(self);
        };
        let made = (decode(self), decode(&mut twin));
        self.twin = Some(twin);
        if self.has_met_rate() && made.0.is_err() {
            return made.0;
        }
        let (ours, theirs) = agree::outcomes(made.0, made.1)?;
        let noise = match &self.kind {
            Kind::Codec(reader) => reader.noise(),
            _ => &[],
        };
        let terms = Terms {
            tolerance: self.tolerance(),
            is_mean: mix.is_mean() && self.channels() != Some(1),
            start,
            noise,
        };
        agree::samples(ours.planes(), theirs.planes(), &terms)?;
        Ok(ours)
    }

    fn channels(&self) -> Option<usize> {
        match &self.kind {
            Kind::Pcm(pcm, _) => Some(pcm.layout.channels as usize),
            Kind::Flac(flac) => Some(flac.info.channels as usize),
            Kind::Shorten(_) => None,
            Kind::Codec(reader) => reader.channels(),
        }
    }

    fn tolerance(&self) -> f32 {
        match &self.kind {
            Kind::Codec(reader) => reader.tolerance(),
            _ => 0.0,
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

    /// Decodes frames `range` at the native rate, of the channels that `mix` says.
    ///
    /// Fewer frames than asked for means that the clip ends there.
    ///
    /// # Errors
    /// The first fault in what has to be decoded for `range`, with its byte, and a channel that the recording lacks.
    pub fn decode(mut self, range: Range<u64>, mix: Mix) -> Result<Vec<Vec<f32>>> {
        self.decode_through(range, mix, &mut Damage::raise())
    }

    /// [`Decoder::decode`], where `damage` says what to do about damage in mid-stream, and takes the
    /// gaps that it leaves.
    ///
    /// # Errors
    /// As for [`Decoder::decode`]; of damage only what nothing can be decoded after.
    pub fn decode_through(
        &mut self,
        range: Range<u64>,
        mix: Mix,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        let start = range.start;
        self.compared(mix, start, |decoder| {
            decoder.decode_alone(range.clone(), mix, damage)
        })
    }

    fn decode_alone(
        &mut self,
        range: Range<u64>,
        mix: Mix,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        match &mut self.kind {
            Kind::Pcm(pcm, source) => pcm.decode(source, range, mix, damage),
            Kind::Flac(flac) => flac.decode(range, mix, damage),
            Kind::Shorten(shorten) => shorten.decode(range, mix, damage),
            Kind::Codec(reader) => reader.decode(range, mix, damage),
        }
    }

    /// [`Decoder::decode`] that decodes all of the clip, whatever the range, so that damage anywhere in
    /// it is an error, and compares the checksum of the samples where the format carries one: the MD5
    /// of FLAC.
    ///
    /// # Errors
    /// As for [`Decoder::decode`], and [`Corrupt`](crate::ErrorKind::Corrupt) when the checksum is
    /// another one.
    pub fn decode_verified(&mut self, range: Range<u64>, mix: Mix) -> Result<Vec<Vec<f32>>> {
        if self.twin.is_none() {
            return self.decode_verified_alone(range, mix);
        }
        let all = |decoder: &mut Self| decoder.decode_verified_alone(0..u64::MAX, mix);
        let mut planes = self.compared(mix, 0, all)?;
        planes
            .iter_mut()
            .for_each(|plane| plane::slice(plane, &range));
        Ok(planes)
    }

    fn decode_verified_alone(&mut self, range: Range<u64>, mix: Mix) -> Result<Vec<Vec<f32>>> {
        if let Kind::Flac(flac) = &mut self.kind {
            return flac.decode_verified(range, mix);
        }
        let mut planes = self.decode_alone(0..u64::MAX, mix, &mut Damage::raise())?;
        planes
            .iter_mut()
            .for_each(|plane| plane::slice(plane, &range));
        Ok(planes)
    }
}

/// What has planes of samples.
trait AsPlanes {
    fn planes(&self) -> &[Vec<f32>];
}

impl AsPlanes for Vec<Vec<f32>> {
    fn planes(&self) -> &[Vec<f32>] {
        self
    }
}

impl AsPlanes for (Vec<Vec<f32>>, Vec<Place>) {
    fn planes(&self) -> &[Vec<f32>] {
        &self.0
    }
}
