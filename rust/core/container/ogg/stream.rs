//! The streams of an Ogg file, and the headers of the codecs: Vorbis I, appendix A.2, RFC 7845, and
//! "Ogg FLAC Mapping" (RFC 9639, section 10.1).

use super::super::codec_headers;
use super::page::Page;
use super::pages::Pages;
use crate::codec::opus::{self, Head};
use crate::codec::params::Params;
use crate::error::{Error, Result};

/// Streams that may begin side by side.
const MAX_STREAMS: usize = 64;
/// No packet is longer: FLAC of 8 channels with 65,535 plain samples of 32 bits is half of it.
pub(super) const MAX_PACKET_BYTES: usize = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Codec {
    Vorbis,
    Opus,
    Flac,
    /// Audio that is not decoded here.
    Other(&'static str),
}

impl Codec {
    /// By the beginning of a stream's first packet; `None`: no audio.
    fn of(packet: &[u8]) -> Option<Self> {
        const STARTS: [(&[u8], Codec); 9] = [
            (b"\x01vorbis", Codec::Vorbis),
            (b"OpusHead", Codec::Opus),
            (b"\x7FFLAC", Codec::Flac),
            (b"fLaC", Codec::Other("flac of the first mapping")),
            (b"Speex   ", Codec::Other("speex")),
            (b"CELT    ", Codec::Other("celt")),
            (b"PCM     ", Codec::Other("pcm")),
            (b"\x01audio", Codec::Other("ogm")),
            (b"\x04audio", Codec::Other("ogm")),
        ];
        let known = STARTS.iter().find(|(start, _)| packet.starts_with(start));
        known.map(|(_, codec)| *codec)
    }

    /// Whether the packet that begins with `first` and stands at place `index` holds no audio.
    fn is_header(self, index: usize, first: Option<u8>) -> bool {
        match self {
            Self::Vorbis => index < 3,
            Self::Opus => index < 2,
            // Of unknown number; a frame begins with its sync code.
            Self::Flac => index < 1 || first != Some(0xFF),
            Self::Other(_) => true,
        }
    }
}

/// The first audio stream of a link, after its headers.
pub(super) struct Stream {
    pub(super) serial: u32,
    /// Streams that begin beside it.
    pub(super) others: Vec<u32>,
    pub(super) params: Params,
    pub(super) pre_skip: i64,
    /// The first page of audio, and how many of its pieces belong to headers.
    pub(super) first_page: u64,
    pub(super) skip: usize,
    /// The number of the page before that.
    pub(super) number: Option<u32>,
}

impl Stream {
    /// The one that begins at byte `at` or after other streams there.
    ///
    /// # Errors
    /// Damaged pages or headers, no audio, or a codec that is not decoded here.
    pub(super) fn find(pages: &mut Pages<'_>, at: u64) -> Result<Self> {
        let (page, codec, others) = first_audio(pages, at)?;
        if let Codec::Other(name) = codec {
            let reason = format!("the codec {name} in Ogg is not decoded here");
            return Err(Error::unsupported(reason).at_byte(page.at));
        }
        let headers = Headers::read(pages, &page, codec)?;
        let params = params(codec, &headers.packets).map_err(|error| error.at_byte(page.at))?;
        let pre_skip = match codec {
            Codec::Opus => i64::from(opus::pre_skip(&params)),
            _ => 0,
        };
        Ok(Self {
            serial: page.serial,
            others,
            params,
            pre_skip,
            first_page: headers.first_page,
            skip: headers.skip,
            number: headers.number,
        })
    }
}

/// The page with which the first audio stream begins, and the streams that begin beside it.
fn first_audio(pages: &mut Pages<'_>, mut at: u64) -> Result<(Page, Codec, Vec<u32>)> {
    let (mut first, mut others) = (None, Vec::new());
    while others.len() < MAX_STREAMS && at < pages.len() {
        let page = match pages.at(at) {
            Ok(page) if page.is_first() => page,
            Err(error) if first.is_none() => return Err(error),
            _ => break,
        };
        at = page.end;
        match codec(pages, &page)? {
            Some(codec) if first.is_none() => first = Some((page, codec)),
            _ => others.push(page.serial),
        }
    }
    let found = first.map(|(page, codec)| (page, codec, others));
    found.ok_or_else(|| Error::unsupported("the file has no audio track that can be read"))
}

/// What begins on `page`, if it is audio.
fn codec(pages: &mut Pages<'_>, page: &Page) -> Result<Option<Codec>> {
    let Some(piece) = page.pieces.first() else {
        return Ok(None);
    };
    Ok(Codec::of(pages.bytes(piece)?))
}

/// Whether an audio stream begins on `page`.
pub(super) fn begins_audio(pages: &mut Pages<'_>, page: &Page) -> Result<bool> {
    Ok(page.is_first() && codec(pages, page)?.is_some())
}

/// The packets in front of the audio; comments are left out.
struct Headers {
    packets: Vec<Vec<u8>>,
    first_page: u64,
    skip: usize,
    /// The number of the last page that has none but headers.
    number: Option<u32>,
}

impl Headers {
    fn read(pages: &mut Pages<'_>, first: &Page, codec: Codec) -> Result<Self> {
        let mut headers = Self {
            packets: vec![Vec::new()],
            first_page: first.at,
            skip: 0,
            number: None,
        };
        let mut at = first.at;
        loop {
            let page = pages.next(at, first.serial, headers.number)?;
            at = page.end;
            let is_own = page.serial == first.serial;
            if is_own && headers.take(pages, &page, codec)? {
                return Ok(headers);
            }
            headers.first_page = at;
            if is_own {
                headers.number = Some(page.number);
                if page.is_last() {
                    return Ok(headers);
                }
            }
        }
    }

    /// Takes the headers on a page; whether audio begins after them on it.
    fn take(&mut self, pages: &mut Pages<'_>, page: &Page, codec: Codec) -> Result<bool> {
        self.first_page = page.at;
        let mut is_inside = page.continues();
        for (index, piece) in page.pieces.iter().enumerate() {
            let bytes = pages.bytes(piece)?;
            let place = self.packets.len() - 1;
            if !is_inside && !codec.is_header(place, bytes.first().copied()) {
                self.skip = index;
                return Ok(true);
            }
            let is_needed = place == 0 || (codec == Codec::Vorbis && place == 2);
            if let Some(packet) = self.packets.last_mut().filter(|_| is_needed) {
                packet.extend_from_slice(bytes);
                if packet.len() > MAX_PACKET_BYTES {
                    return Err(Error::corrupt("an Ogg header is too long").at_byte(page.at));
                }
            }
            is_inside = !piece.ends;
            if piece.ends {
                self.packets.push(Vec::new());
            }
        }
        // Audio begins with a page of its own, unless a number of headers is not told.
        let count = self.packets.len() - 1;
        let is_done = !is_inside && !codec.is_header(count, Some(0));
        if is_done {
            self.first_page = page.end;
            self.number = Some(page.number);
        }
        Ok(is_done)
    }
}

fn params(codec: Codec, packets: &[Vec<u8>]) -> Result<Params> {
    let packet = |index: usize| packets.get(index).map_or(&[][..], Vec::as_slice);
    match codec {
        Codec::Vorbis => codec_headers::vorbis(packet(0), packet(2)),
        Codec::Flac => {
            // After the version, the number of headers, `fLaC` and the head of a metadata block.
            let info = packet(0).get(17..17 + codec_headers::STREAM_INFO_BYTES);
            codec_headers::flac(info.unwrap_or_default())
        }
        Codec::Opus => Head::parse(packet(0)).map(|head| head.params(packet(0))),
        Codec::Other(name) => Err(Error::unsupported(name)),
    }
}
