//! Containers: what a source is, by its content, and where its samples or packets lie.
//!
//! A new container is a file of this folder and a line of [`open`].

mod adts;
mod aiff;
mod au;
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
pub(crate) mod replicated;
mod tags;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic)]
mod tests;
mod wav;

use self::chunk::HeaderReader;
use self::demuxer::Demuxer;
use self::flac::Flac;
use self::pcm::Pcm;
use crate::bytes::source::Source;
use crate::error::Result;

/// A source whose container is known and whose headers are read.
pub(crate) enum Opened<'a> {
    /// Samples that are stored as they are, or in blocks of one size.
    Pcm(Pcm, Source<'a>),
    /// Native FLAC.
    Flac(Box<Flac<'a>>),
    /// Packets of any codec.
    Packets(Box<dyn Demuxer + 'a>),
}

/// Recognises the container of `source` and reads its headers.
///
/// # Errors
/// A container or codec that is not decoded here, by name where it is known, or a broken header.
pub(crate) fn open<'a>(mut source: Source<'a>) -> Result<Opened<'a>> {
    if let Some(pcm) = open_pcm(&mut source)? {
        return Ok(Opened::Pcm(pcm, source));
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
