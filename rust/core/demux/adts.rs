//! AAC in ADTS: ISO/IEC 14496-3, section 1.A.2.2, and 13818-7, section 6.2.
//!
//! Nothing is trimmed, as FFmpeg does it: nothing in the stream tells how late its encoder is.

use symphonia::core::audio::layouts;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_AAC;

use super::frames::{self, Frame, Frames, find_first, is_container};
use super::{Demuxer, Packet, Track, tags};
use crate::aac::{self, AacConfig};
use crate::error::{Error, Result};
use crate::source::Source;
use crate::window::Window;

/// Packets that are searched for spectral band replication.
const SEARCHED: usize = 8;

/// The fixed header and the length, 56 bits.
#[derive(Clone, Copy)]
struct Header(u64);

impl Header {
    /// `count` bits from bit `at` on, counted from the first.
    fn bits(self, at: u32, count: u32) -> u32 {
        (self.0 >> (56 - at - count)) as u32 & ((1 << count) - 1)
    }

    fn profile(self) -> u32 {
        self.bits(16, 2)
    }

    fn rate_index(self) -> u32 {
        self.bits(18, 4)
    }

    fn channel_configuration(self) -> u32 {
        self.bits(23, 3)
    }

    /// Bytes in front of the raw data block: a checksum is there unless its bit is set.
    fn head(self) -> usize {
        if self.bits(15, 1) == 1 { 7 } else { 9 }
    }

    fn has_one_block(self) -> bool {
        self.bits(54, 2) == 0
    }

    fn config(self) -> Result<AacConfig> {
        aac::check_adts(
            self.profile(),
            self.rate_index(),
            self.channel_configuration(),
        )
    }

    fn refuse(self, at: u64) -> Result<()> {
        if self.has_one_block() {
            return Ok(());
        }
        let reason = "ADTS with several AAC packets in a frame is not decoded here";
        Err(Error::unsupported(reason).at_byte(at))
    }
}

impl frames::Header for Header {
    const NAME: &'static str = "ADTS";
    const BYTES: usize = 7;
    const LONGEST: usize = 8191;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let fixed = bytes.first_chunk::<7>()?;
        let header = Self(
            fixed
                .iter()
                .fold(0, |bits, byte| bits << 8 | u64::from(*byte)),
        );
        // The sync word, and a layer that MPEG audio never has.
        let is_synced = header.bits(0, 12) == 0xFFF && header.bits(13, 2) == 0;
        let is_legal = header.rate_index() < 13 && frames::Header::length(&header) > header.head();
        (is_synced && is_legal).then_some(header)
    }

    fn length(&self) -> usize {
        self.bits(30, 13) as usize
    }

    fn is_like(&self, other: &Self) -> bool {
        let stream = |header: &Self| {
            (
                header.profile(),
                header.rate_index(),
                header.channel_configuration(),
            )
        };
        stream(self) == stream(other)
    }

    fn counts_alone(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        match self.config() {
            Ok(config) => format!(
                "{} Hz and {} channel(s)",
                config.sample_rate, config.channels
            ),
            Err(_) => "a profile that is not decoded here".to_owned(),
        }
    }
}

/// A stream of AAC-LC in ADTS.
pub(crate) struct Adts<'a> {
    frames: Frames<'a, Header>,
    track: Track,
    per_packet: u64,
}

impl<'a> Adts<'a> {
    /// Finds the first frames; gives the source back where there are none.
    ///
    /// # Errors
    /// Another profile than LC, more than two channels, and AAC in ADIF or LOAS, all by name.
    pub(crate) fn open(source: Source<'a>) -> Result<std::result::Result<Self, Source<'a>>> {
        let mut window = Window::new(source);
        let from = tags::behind_id3v2(&mut window, 0)?;
        if let Some(other) = other_stream(&mut window, from)? {
            let reason = format!("AAC in {other} is not read here");
            return Err(Error::unsupported(reason).at_byte(from));
        }
        if is_container(window.at(0, 12, u64::MAX)?) {
            return Ok(Err(window.into_source()));
        }
        let end = window.len();
        match find_first::<Header>(&mut window, from, end)? {
            Some((at, header)) => Self::new(window, at, header).map(Ok),
            None => Ok(Err(window.into_source())),
        }
    }

    fn new(window: Window<'a>, at: u64, header: Header) -> Result<Self> {
        let config = header.config().map_err(|error| error.at_byte(at))?;
        header.refuse(at)?;
        let end = window.len();
        let mut frames = Frames::new(window, at, end, header);
        if has_sbr(&mut frames, &config)? {
            return Err(aac::he_aac().at_byte(at));
        }
        frames.seek(0)?;
        Ok(Self {
            frames,
            track: Track {
                container: "aac",
                params: params(&config),
                frames: None,
            },
            per_packet: u64::from(config.frame_length),
        })
    }
}

/// Whether one of the first packets says so.
fn has_sbr(frames: &mut Frames<'_, Header>, config: &AacConfig) -> Result<bool> {
    for _ in 0..SEARCHED {
        // Damage is for whoever reads the packets.
        let Ok(Some(frame)) = frames.next() else {
            break;
        };
        if aac::has_sbr(config, block(frames, &frame)?) == Some(true) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The raw data block of `frame`.
fn block<'f>(frames: &'f mut Frames<'_, Header>, frame: &Frame<Header>) -> Result<&'f [u8]> {
    let bytes = frames.bytes(frame)?;
    Ok(bytes.get(frame.header.head()..).unwrap_or_default())
}

fn params(config: &AacConfig) -> AudioCodecParameters {
    let mut params = AudioCodecParameters::new();
    params
        .for_codec(CODEC_ID_AAC)
        .with_sample_rate(config.sample_rate)
        .with_channels(match config.channels {
            1 => layouts::CHANNEL_LAYOUT_MONO,
            _ => layouts::CHANNEL_LAYOUT_STEREO,
        });
    params
}

/// A stream of AAC that is no ADTS, by its name: ISO/IEC 14496-3, sections 1.A.2.1 and 1.7.2.
fn other_stream(window: &mut Window<'_>, at: u64) -> Result<Option<&'static str>> {
    const LOAS_FRAMES: usize = 4;
    match window.at(at, 4, u64::MAX)? {
        [b'A', b'D', b'I', b'F', ..] => return Ok(Some("ADIF")),
        [0x56, ..] => {}
        _ => return Ok(None),
    }
    let mut rest = window.at(at, LOAS_FRAMES * (8191 + 3), u64::MAX)?;
    for _ in 0..LOAS_FRAMES {
        let [0x56, second, third, behind @ ..] = rest else {
            return Ok(None);
        };
        let length = usize::from(second & 0x1F) << 8 | usize::from(*third);
        match behind.get(length..) {
            Some(next) if second >> 5 == 7 && length > 0 => rest = next,
            _ => return Ok(None),
        }
    }
    Ok(Some("LOAS"))
}

impl Demuxer for Adts<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let Some(frame) = self.frames.next()? else {
            return Ok(None);
        };
        frame.header.refuse(frame.at)?;
        Ok(Some(Packet {
            at: frame.at,
            data: block(&mut self.frames, &frame)?.to_vec(),
            begin: Some(frame.index.saturating_mul(self.per_packet) as i64),
            frames: Some(self.per_packet),
            padding: 0,
        }))
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        self.frames
            .seek(frame.max(0) as u64 / self.per_packet.max(1))
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        Ok(Some(self.frames.count()?.saturating_mul(self.per_packet)))
    }
}
