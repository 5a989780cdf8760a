//! Containers: what a source is, by its content, and where its samples or packets lie.
//!
//! A new container is a file of this folder and a line of [`open`].

mod adts;
mod aiff;
mod amr;
mod au;
mod avi;
mod caf;
mod chunk;
mod codec_headers;
pub(crate) mod demuxer;
mod extent;
pub(crate) mod flac;
mod foreign;
mod frames;
mod lengths;
mod mkv;
mod mp4;
mod mpeg;
mod ogg;
pub(crate) mod pcm;
mod pieces;
mod raw;
pub(crate) mod replicated;
pub(crate) mod shorten;
mod sphere;
mod tags;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic)]
mod tests;
mod ts;
mod wav;

use self::chunk::HeaderReader;
use self::demuxer::Demuxer;
use self::flac::Flac;
use self::flac::packets::FlacPackets;
use self::pcm::Pcm;
use self::pcm::packets::PcmPackets;
use self::shorten::Shorten;
use self::sphere::Sphere;
use crate::bytes::source::Source;
use crate::codec::shorten::header::MAGIC as SHORTEN;
use crate::error::{Error, Result};

/// A source whose container is known and whose headers are read.
pub(crate) enum Opened<'a> {
    /// Samples that are stored as they are, or in blocks of one size.
    Pcm(Pcm, Source<'a>),
    /// Native FLAC.
    Flac(Box<Flac<'a>>),
    /// A Shorten stream.
    Shorten(Box<Shorten<'a>>),
    /// Packets of any codec.
    Packets(Box<dyn Demuxer + 'a>),
}

impl<'a> Opened<'a> {
    /// Packets in any case, for decoders that are not our own.
    ///
    /// # Errors
    /// Stored samples of a kind that has none.
    pub(crate) fn into_packets(self) -> Result<Box<dyn Demuxer + 'a>> {
        Ok(match self {
            Self::Pcm(pcm, source) => Box::new(PcmPackets::new(pcm, source)?),
            Self::Flac(flac) => Box::new(FlacPackets::new(flac)),
            Self::Shorten(_) => {
                let reason = "symphonia does not decode the codec shorten";
                return Err(Error::unsupported(reason));
            }
            Self::Packets(demuxer) => demuxer,
        })
    }
}

/// Recognises the container of `source` and reads its headers; a source without a header is what its caller says.
///
/// # Errors
/// A container or codec that is not decoded here, by name where it is known, or a broken header.
pub(crate) fn open<'a>(mut source: Source<'a>) -> Result<Opened<'a>> {
    if let Some(format) = source.raw_format() {
        let pcm = raw::open(&HeaderReader::new(&mut source), &format)?;
        return Ok(Opened::Pcm(pcm, source));
    }
    if let Some(pcm) = open_pcm(&mut source)? {
        return Ok(Opened::Pcm(pcm, source));
    }
    if source_begins(&mut source, sphere::MAGIC)? {
        return open_sphere(source);
    }
    if source_begins(&mut source, SHORTEN)? {
        return Ok(Opened::Shorten(Box::new(shorten::open(source)?)));
    }
    if let Some(at) = flac::sniff(&mut source)? {
        return Ok(Opened::Flac(Box::new(Flac::open(source, at)?)));
    }
    open_packets(source).map(Opened::Packets)
}

/// Reads the header of stored samples, at the start or after an ID3 tag; `None` when this is no container of
/// them, or holds another codec.
fn open_pcm(source: &mut Source<'_>) -> Result<Option<Pcm>> {
    let mut header = HeaderReader::new(source);
    let base = header.behind_id3()?;
    let magic = header.bytes(base, 16)?;
    let found = match (magic.get(..4), magic.get(8..12)) {
        (Some(b"RIFF" | b"RIFX" | b"RF64" | b"BW64"), Some(b"WAVE")) => {
            wav::open(&mut header, base)
        }
        (Some(b"riff"), _) if magic == wav::WAVE64 => wav::open_wave64(&mut header, base).map(Some),
        (Some(b"FORM"), Some(b"AIFF" | b"AIFC")) => aiff::open(&mut header, base).map(Some),
        (Some(b".snd"), _) => au::open(&mut header, base).map(Some),
        (Some(b"caff"), _) => caf::pcm::open(&mut header, base),
        _ => Ok(None),
    }?;
    if base > 0 && found.is_some() {
        header.remark(0, "an ID3 tag comes before the header: it is skipped")?;
    }
    Ok(found)
}

fn source_begins(source: &mut Source<'_>, magic: &[u8]) -> Result<bool> {
    Ok(HeaderReader::new(source).bytes(0, magic.len())? == magic)
}

fn open_sphere(mut source: Source<'_>) -> Result<Opened<'_>> {
    Ok(match sphere::open(&mut HeaderReader::new(&mut source))? {
        Sphere::Pcm(pcm) => Opened::Pcm(pcm, source),
        Sphere::Shorten(facts) => Opened::Shorten(Box::new(Shorten::new(source, facts)?)),
    })
}

/// The demuxer of a source that is neither of the others.
fn open_packets<'a>(mut source: Source<'a>) -> Result<Box<dyn Demuxer + 'a>> {
    if ogg::sniff(&mut source)? {
        return Ok(Box::new(ogg::open(source)?));
    }
    if mkv::sniff(&mut source)? {
        return Ok(Box::new(mkv::open(source)?));
    }
    if mp4::sniff(&mut source)? {
        return Ok(Box::new(mp4::Mp4::open(source)?));
    }
    if caf::sniff(&mut source)? {
        return Ok(Box::new(caf::Caf::open(source)?));
    }
    if avi::sniff(&mut source)? {
        return avi::open(source);
    }
    if let Some(band) = amr::sniff(&mut source)? {
        return Ok(Box::new(amr::Amr::open(source, band)?));
    }
    let source = match ts::open(source)? {
        Ok(demuxer) => return Ok(demuxer),
        Err(source) => source,
    };
    let source = match adts::Adts::open(source)? {
        Ok(adts) => return Ok(Box::new(adts)),
        Err(source) => source,
    };
    // Last: it looks for frames after foreign bytes.
    match mpeg::Mpeg::open(source)? {
        Ok(mpeg) => Ok(Box::new(mpeg)),
        Err(mut source) => Err(foreign::refusal(&mut source)?),
    }
}
