//! What `moov` says of the file: its first audio track, and which part of that is the recording.

use super::boxes::{Span, be32, body, child, children, descend, fragment_inside, header};
use super::edit::{self, Cut, Scales, itunes_cut};
use super::entry::{self, Entry, Lengths};
use super::fragments::{Defaults, Fragments, UNSIZED};
use super::index::Index;
use super::plain::{Plain, Sample};
use super::table::{Sizes, cut};
use super::{FAR, Mp4, PACKET_HEAD, Track, lengths};
use crate::bytes::source::Source;
use crate::bytes::window::Window;
use crate::codec::aac::{self, AacConfig};
use crate::codec::params::Codec;
use crate::codec::{mpeg_audio, opus};
use crate::container::demuxer::Part;
use crate::error::{Error, ErrorKind, Result};

/// Boxes of the file that are walked over before its `moov`.
const MAX_BOXES: u32 = 65_536;

/// Boxes after `moov` that are looked at.
const MAX_BEHIND: u32 = 16;

/// Whether the content is of this format.
pub(crate) fn sniff(source: &mut Source<'_>) -> Result<bool> {
    let mut scratch = Vec::new();
    let head = source.bytes_at(4, 4, &mut scratch)?;
    Ok(matches!(
        head,
        b"ftyp" | b"styp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot"
    ))
}

/// What the boxes of the file are, as far as they were walked over.
#[derive(Default)]
struct Layout {
    moov: Option<Span>,
    sidx: Option<Span>,
    moof: Option<Span>,
}

impl Layout {
    fn read(window: &mut Window<'_>) -> Result<Self> {
        let (mut layout, mut at, len) = (Self::default(), 0, window.len());
        for _ in 0..MAX_BOXES {
            let Some(found) = header(window, at, len)? else {
                return Ok(layout);
            };
            at = found.end;
            if &found.kind == b"mdat"
                && found.open
                && layout.moov.is_some()
                && let Some(fragment) = fragment_inside(window, found)?
            {
                window.remark(Error::corrupt(UNSIZED).at_byte(found.start))?;
                at = fragment;
            }
            match &found.kind {
                b"moov" if found.end > len => return Err(cut(len)),
                b"moov" if layout.moov.is_none() => {
                    layout.moov = Some(found);
                    if layout.moof.is_none() && child(window, found, b"mvex")?.is_none() {
                        return Ok(layout);
                    }
                }
                b"sidx" => layout.sidx = layout.sidx.or(Some(found)),
                b"moof" => layout.moof = layout.moof.or(Some(found)),
                _ => {}
            }
            if layout.moov.is_some() && layout.moof.is_some() {
                return Ok(layout);
            }
            if at > len && layout.moov.is_none() {
                return Err(cut(len));
            }
        }
        let reason = "too many boxes come before the MP4 header (moov)";
        Err(Error::new(ErrorKind::Limit, reason).at_byte(at))
    }
}

/// One `trak` of sound.
struct Trak {
    span: Span,
    id: u32,
    mdia: Span,
    is_enabled: bool,
}

impl Trak {
    /// `None` where it is no sound.
    fn read(window: &mut Window<'_>, span: Span) -> Result<Option<Self>> {
        let (tkhd, mdia) = (child(window, span, b"tkhd")?, child(window, span, b"mdia")?);
        let (Some(tkhd), Some(mdia)) = (tkhd, mdia) else {
            return Ok(None);
        };
        let Some(hdlr) = child(window, mdia, b"hdlr")? else {
            return Ok(None);
        };
        if body(window, hdlr, 12)?.get(8..12) != Some(b"soun") {
            return Ok(None);
        }
        let bytes = body(window, tkhd, 24)?;
        let at = if bytes.first() == Some(&1) { 20 } else { 12 };
        Ok(Some(Self {
            span,
            id: be32(&bytes, at).unwrap_or(0),
            mdia,
            is_enabled: bytes.get(3).is_some_and(|flags| flags & 1 != 0),
        }))
    }

    /// The first that is enabled, or the first.
    fn find(window: &mut Window<'_>, moov: Span) -> Result<Self> {
        let mut first = None;
        for span in children(window, moov)? {
            if &span.kind != b"trak" {
                continue;
            }
            if let Some(trak) = Self::read(window, span)? {
                if trak.is_enabled {
                    return Ok(trak);
                }
                first = first.or(Some(trak));
            }
        }
        first.ok_or_else(|| {
            Error::unsupported("the file has no audio track that can be read").at_byte(moov.start)
        })
    }
}

impl<'a> Mp4<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// A file that is cut or broken in them, or a codec that is not decoded here.
    pub(crate) fn open(source: Source<'a>) -> Result<Self> {
        let mut window = Window::new(source);
        let layout = Layout::read(&mut window)?;
        let Some(moov) = layout.moov else {
            let reason = "the MP4 header (moov) is missing: the file was cut short";
            return Err(Error::corrupt(reason).at_byte(window.len()));
        };
        let trak = Trak::find(&mut window, moov)?;
        let broken = || Error::corrupt("the MP4 track has no tables").at_byte(trak.span.start);
        let stbl = descend(&mut window, trak.mdia, &[b"minf", b"stbl"])?.ok_or_else(broken)?;
        let stsd = child(&mut window, stbl, b"stsd")?.ok_or_else(broken)?;
        let stts = child(&mut window, stbl, b"stts")?.map_or(stbl.start, |stts| stts.start);
        let movie = timescale(&mut window, moov, b"mvhd")?;
        let media = timescale(&mut window, trak.mdia, b"mdhd")?;
        let (fragments, default) = fragments(&mut window, moov, trak.id, &layout)?;
        let mut plain = Plain::new(&mut window, stbl)?;
        let description = plain.description(&mut window)?.unwrap_or(default);
        if fragments.is_none() {
            if plain.len() == 0 {
                check_empty(&mut window, moov)?;
            }
            remark_long_data(&mut window, moov)?;
        }
        let Entry { params, lengths } = entry::read(&mut window, stsd, description, media)?;
        let rate = u64::from(params.sample_rate).max(1);
        let index = match fragments {
            Some(_) => Index::read(&mut window, trak.id, layout.sidx)?,
            None => None,
        };
        if let (Lengths::Bytes(block), Some(size)) = (lengths, plain.sizes.alike())
            && size % block != 0
        {
            // QuickTime writes 1 for a frame of any size.
            let count = plain.len();
            plain.sizes = Sizes::Alike { count, size: block };
        }
        let mut mp4 = Self {
            window,
            counter: lengths::Lengths::new(&params),
            track: Track {
                container: "mp4",
                params,
                frames: None,
                parts: Vec::new(),
            },
            lengths,
            stts,
            scales: Scales { movie, media, rate },
            description,
            delay: 0,
            plain,
            before: (0, 0),
            fragments,
            index,
            base: None,
            in_fragments: false,
            frame: 0,
            tick: 0,
            rest: None,
            is_lost: false,
        };
        mp4.heed_mpeg_header()?;
        mp4.heed_replication()?;
        mp4.trim(moov, trak.span)?;
        Ok(mp4)
    }

    /// Takes rate, channels and length from the first packet of MPEG audio, whose header is in each of them: FFmpeg
    /// writes two channels for one, as ISO/IEC 14496-14 has it.
    fn heed_mpeg_header(&mut self) -> Result<()> {
        if !matches!(
            self.track.params.codec,
            Codec::Mp1 | Codec::Mp2 | Codec::Mp3
        ) {
            return Ok(());
        }
        let first = match self.plain.len() {
            0 => self.first_of_fragments(),
            _ => self.plain.next(&mut self.window, 1),
        };
        self.plain.go_to(0);
        // What is broken is told when it is read.
        let Ok(Some(sample)) = first else {
            return Ok(());
        };
        let word = be32(self.window.at(sample.at, 4, PACKET_HEAD)?, 0);
        if let Some(header) = word.and_then(mpeg_audio::Header::of) {
            self.track.params.sample_rate = header.sample_rate();
            self.track.params.channels = Some(header.channels());
            self.scales.rate = u64::from(header.sample_rate()).max(1);
            self.lengths = Lengths::Fixed(header.frames());
        }
        Ok(())
    }

    /// Doubles rate and lengths where the packets show that the stream is HE-AAC and its header does not.
    fn heed_replication(&mut self) -> Result<()> {
        let params = &self.track.params;
        if params.codec != Codec::Aac {
            return Ok(());
        }
        // What is not decoded here is refused later.
        let Ok(config) = aac::check(&params.header) else {
            return Ok(());
        };
        if config.replicated != aac::Replicated::Unknown || !self.shows_replication(&config)? {
            return Ok(());
        }
        let config = config.shown_replicated();
        let params = &mut self.track.params;
        params.is_replicated = true;
        params.sample_rate = config.sample_rate();
        params.channels = config.channels();
        self.scales.rate = u64::from(config.sample_rate()).max(1);
        self.lengths = Lengths::Fixed(config.packet_frames());
        self.counter = lengths::Lengths::new(&self.track.params);
        Ok(())
    }

    fn shows_replication(&mut self, config: &AacConfig) -> Result<bool> {
        let mut shows = false;
        for _ in 0..aac::PACKETS_SHOWING_SBR {
            let sample = match (self.plain.len(), &mut self.fragments) {
                (0, Some(fragments)) => fragments.next(&mut self.window),
                _ => self.plain.next(&mut self.window, 1),
            };
            // What is broken is told when it is read.
            let Ok(Some(sample)) = sample else { break };
            let size = sample.size as usize;
            let Ok(bytes) = self.window.at(sample.at, size, u64::MAX) else {
                break;
            };
            shows |= aac::has_sbr(config, bytes) == Some(true);
        }
        self.plain.go_to(0);
        if let Some(fragments) = &mut self.fragments {
            fragments.rewind();
        }
        Ok(shows)
    }

    fn first_of_fragments(&mut self) -> Result<Option<Sample>> {
        let Some(fragments) = &mut self.fragments else {
            return Ok(None);
        };
        let first = fragments.next(&mut self.window);
        fragments.rewind();
        first
    }

    /// Finds what is cut off either end.
    fn trim(&mut self, moov: Span, trak: Span) -> Result<()> {
        let is_opus = self.track.params.codec == Codec::Opus;
        let pre_skip = is_opus.then(|| u64::from(opus::pre_skip(&self.track.params)));
        let counted = self.settle_lengths()?;
        let (total, ticks) = self.plain_length()?;
        let total = total.or(counted);
        let (entries, at) = edit::read(&mut self.window, trak, self.scales)?;
        let edit = match entries.as_slice() {
            [] => None,
            [edit::Entry::Plays(edit)] => Some(*edit),
            several => {
                let total = total.filter(|_| self.fragments.is_none());
                let parts = total.and_then(|total| edit::parts(several, self.scales, total));
                let refused = || Error::unsupported("the MP4 edit list has several parts");
                return self.present(parts.ok_or_else(|| refused().at_byte(at))?);
            }
        };
        if self.fragments.is_some() {
            // What FFmpeg takes off fragments: the delay of AAC, which alone has it in an edit list,
            // and nothing at the end.
            let is_aac = self.track.params.codec == Codec::Aac;
            let edit = edit.filter(|_| is_aac).map(|edit| edit.delay(self.scales));
            self.delay = edit.or(pre_skip).unwrap_or(0);
            self.before = (total.unwrap_or(0), ticks);
            return Ok(());
        }
        let cut = match (edit, total) {
            (Some(edit), Some(total)) => {
                let cut = edit.cut(self.scales, total);
                let cut = self.at_packet(cut, total)?;
                self.cut_of_opus(cut, pre_skip, trak)?
            }
            (Some(edit), None) => Cut {
                delay: edit.delay(self.scales),
                padding: 0,
            },
            (None, total) => {
                let itunes = itunes_cut(&mut self.window, moov)?;
                let itunes = itunes.map(|cut| self.itunes(cut, total.unwrap_or(0)));
                itunes.unwrap_or(Cut {
                    delay: pre_skip.unwrap_or(0),
                    padding: 0,
                })
            }
        };
        self.delay = cut.delay;
        let end = total.map(|total| total.saturating_sub(cut.padding));
        self.track.frames = end.map(|end| end.saturating_sub(cut.delay));
        Ok(())
    }

    /// Makes the recording from parts of the media and pauses.
    fn present(&mut self, parts: Vec<Part>) -> Result<()> {
        let media = || parts.iter().filter_map(Part::media);
        self.delay = media().map(|media| media.start).min().unwrap_or(0);
        let end = media().map(|media| media.end).max().unwrap_or(0);
        self.track.frames = Some(end.saturating_sub(self.delay));
        let shifted = |part: &Part| match part {
            Part::Media(media) => Part::Media(media.start - self.delay..media.end - self.delay),
            Part::Pause(frames) => Part::Pause(*frames),
        };
        self.track.parts = parts.iter().map(shifted).collect();
        Ok(())
    }

    /// An edit list that begins at 0 knows nothing of the delay of Opus, which its own header says.
    fn cut_of_opus(&self, cut: Cut, pre_skip: Option<u64>, trak: Span) -> Result<Cut> {
        let Some(delay) = pre_skip.filter(|delay| *delay > 0 && cut.delay == 0) else {
            return Ok(cut);
        };
        let reason =
            "the MP4 edit list keeps samples that the Opus header says to skip: they were skipped";
        self.window
            .remark(Error::corrupt(reason).at_byte(trak.start))?;
        Ok(Cut { delay, ..cut })
    }

    /// iTunes counts padding from the end of the last packet, which the tables may have cut already.
    fn itunes(&self, cut: Cut, total: u64) -> Cut {
        let whole = match self.lengths {
            Lengths::Fixed(frames) => self.plain.len().saturating_mul(frames),
            _ => total,
        };
        let cut_already = whole.saturating_sub(total);
        Cut {
            delay: cut.delay,
            padding: cut.padding.saturating_sub(cut_already),
        }
    }

    /// Ticks of the samples in `moov`.
    pub(super) fn plain_ticks(&mut self) -> Result<u64> {
        let last = self.plain.last_run(&mut self.window)?;
        let ticks = last.count.saturating_mul(last.delta);
        Ok(last.tick.saturating_add(ticks))
    }

    /// Frames and ticks of the samples in `moov`; frames only where the tables tell them.
    fn plain_length(&mut self) -> Result<(Option<u64>, u64)> {
        let last = self.plain.last_run(&mut self.window)?;
        let ticks = self.plain_ticks()?;
        let count = self.plain.len();
        let sizes = &mut self.plain.sizes;
        let frames = match self.lengths {
            Lengths::Fixed(frames) if self.fragments.is_none() => {
                // The last packet may end early.
                let end = Some(self.scales.frames(last.delta)).filter(|end| *end > 0);
                let end = end.map_or(frames, |end| end.min(frames));
                count
                    .checked_sub(1)
                    .map_or(0, |rest| rest.saturating_mul(frames) + end)
            }
            Lengths::Fixed(frames) => count.saturating_mul(frames),
            Lengths::Bytes(block) => sizes.sum(&mut self.window, 0, count)? / block.max(1),
            Lengths::Ticks => ticks,
            Lengths::Counted => return Ok((None, ticks)),
        };
        Ok((Some(frames.min(FAR)), ticks))
    }
}

/// Notes data after the header that are longer than the file: whether samples are missing is told by who reads them.
fn remark_long_data(window: &mut Window<'_>, moov: Span) -> Result<()> {
    let (mut at, len) = (moov.end, window.len());
    for _ in 0..MAX_BEHIND {
        // What is no box is foreign bytes after the last one.
        let Ok(Some(found)) = header(window, at, len) else {
            break;
        };
        if &found.kind == b"mdat" && found.end > len {
            let reason = "the MP4 box mdat declares more bytes than there are";
            return window.remark(Error::corrupt(reason).at_byte(found.start));
        }
        at = found.end;
    }
    Ok(())
}

/// The error of a header without samples where fragments were announced, or are there.
fn check_empty(window: &mut Window<'_>, moov: Span) -> Result<()> {
    if child(window, moov, b"mvex")?.is_some() {
        let reason = "the MP4 header announces fragments and the file has none: it was cut short";
        return Err(Error::corrupt(reason).at_byte(window.len()));
    }
    let len = window.len();
    let file = Span {
        kind: *b"file",
        start: 0,
        at: 0,
        end: len,
        open: true,
    };
    match child(window, file, b"moof")? {
        None => Ok(()),
        Some(moof) => {
            let reason = "the file has MP4 fragments that the header does not announce (mvex)";
            Err(Error::corrupt(reason).at_byte(moof.start))
        }
    }
}

/// The reader of the fragments, where the file has any, and their number of sample description.
fn fragments(
    window: &mut Window<'_>,
    moov: Span,
    track: u32,
    layout: &Layout,
) -> Result<(Option<Fragments>, u32)> {
    let (Some(moof), Some(mvex)) = (layout.moof, child(window, moov, b"mvex")?) else {
        return Ok((None, 1));
    };
    // Where there is none, each fragment has to say all.
    let mut defaults = Defaults::of(track);
    for trex in children(window, mvex)? {
        if &trex.kind == b"trex"
            && let Some(found) = Defaults::read(window, trex)?
            && found.track == track
        {
            defaults = found;
            break;
        }
    }
    let fragments = Fragments::new(defaults, moof.start);
    Ok((Some(fragments), defaults.description))
}

/// Ticks per second out of an `mvhd` or `mdhd`.
fn timescale(window: &mut Window<'_>, parent: Span, kind: &[u8; 4]) -> Result<u64> {
    let broken = || Error::corrupt("the MP4 header has no time scale").at_byte(parent.start);
    let found = child(window, parent, kind)?.ok_or_else(broken)?;
    let bytes = body(window, found, 24)?;
    let at = if bytes.first() == Some(&1) { 20 } else { 12 };
    let scale = be32(&bytes, at).filter(|scale| *scale > 0);
    scale.map(u64::from).ok_or_else(broken)
}
