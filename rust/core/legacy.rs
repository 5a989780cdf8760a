//! Compressed formats through symphonia: exact trimming, exact ranges, and errors that say where.
//!
//! Trimming is done here rather than by symphonia's gapless switch: that one cuts an MP3 without a
//! Xing header at an estimated length, and knows nothing of MP4 edit lists.

use std::borrow::Cow;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Range;

use symphonia::core::audio::{Audio as _, GenericAudioBufferRef};
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known as codec_id;
use symphonia::core::codecs::audio::{
    AudioCodecParameters, AudioDecoder, AudioDecoderOptions, CODEC_ID_NULL_AUDIO,
};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, SeekMode, SeekTo, Track, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::core::units::{TimeBase, Timestamp};

use crate::decode::AudioInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::idle::Idle;
use crate::mix::Mixer;
use crate::mp4::{self, Edit};
use crate::opus;
use crate::packet::{self, packet_frames};
use crate::source::{Position, Source};
use crate::vorbis;

/// Packets in a row that give no sample before a stream counts as stuck.
const MAX_BARREN_PACKETS: u32 = 65_536;
/// Frames reserved at most on a header's word: nothing large is allocated from a declared length.
const MAX_RESERVED_FRAMES: u64 = 1 << 22;
/// 1 s: what is decoded in front of a range of Opus. RFC 7845 wants 80 ms at least, which is too little.
const CELT_PREROLL: u64 = 48_000;
/// 6 s: the same where SILK is in it.
const SILK_PREROLL: u64 = 288_000;
/// Offsets below this are reached by decoding: a seek costs more.
const MIN_SEEK_FRAMES: u64 = 16_384;

/// Vorbis decoders between clips, by their headers: files of one encoder share their code books,
/// and building these takes longer than decoding seconds of audio.
static VORBIS: Idle<Box<[u8]>, Box<dyn AudioDecoder>> = Idle::new(16);

/// Demuxer and decoder of the first audio track, with what has to be cut from either end.
pub(crate) struct CodecReader<'a> {
    format: Box<dyn FormatReader + 'a>,
    decoder: Box<dyn AudioDecoder>,
    track_id: u32,
    params: AudioCodecParameters,
    sample_rate: u32,
    trim: Trim,
    /// A packet that was read too early.
    pending: Option<Packet>,
    name: String,
    /// How far the demuxer has read, for errors.
    bytes_read: Position,
}

/// Which part of the decoder's output is the recording, and how time stamps map to it.
#[derive(Clone, Copy, Debug, Default)]
struct Trim {
    /// Frames of encoder delay in front.
    delay: u64,
    /// The exact length after trimming, where a header that can be checked tells it.
    frames: Option<u64>,
    /// Frames of padding to take off the end, wherever that is.
    padding: u64,
    /// What to add to a packet's time stamp to get a frame number; `None`: stamps are inexact.
    timestamp_shift: Option<i64>,
    /// Vorbis outside of Ogg: by its specification the first packet only primes the overlap.
    drop_first_packet: bool,
}

impl Trim {
    fn new(
        container: &str,
        track: &Track,
        params: &AudioCodecParameters,
        edit: Option<Edit>,
    ) -> Self {
        let rate = params.sample_rate.unwrap_or(0);
        let exact_stamps =
            track.time_base.is_some() && track.time_base == TimeBase::try_from_recip(rate);
        let mut trim = Self {
            timestamp_shift: exact_stamps.then_some(0),
            ..Self::default()
        };
        let is_opus = params.codec == codec_id::CODEC_ID_OPUS;
        let pre_skip = is_opus.then(|| u64::from(opus::pre_skip(params)));
        match container {
            "mp1" | "mp2" | "mp3" => {
                trim.delay = u64::from(track.delay.unwrap_or(0));
                // Without a LAME tag the length is symphonia's estimate.
                trim.frames = track.num_frames.filter(|_| track.delay.is_some());
            }
            "adts" | "aac" => {}
            "isomp4" => {
                if let Some(edit) = edit {
                    trim.delay = edit.delay;
                    trim.frames = Some(edit.frames);
                } else if let Some(pre_skip) = pre_skip {
                    trim.delay = pre_skip;
                }
                trim.timestamp_shift = exact_stamps.then_some(-(trim.delay as i64));
            }
            // CAF declares whole packets; only for PCM are they whole frames.
            "caf" if !packet::is_pcm(params) => {}
            _ => {
                trim.delay = u64::from(track.delay.unwrap_or(0));
                trim.frames = track.num_frames.filter(|frames| *frames > 0 || is_opus);
            }
        }
        trim
    }
}

impl<'a> CodecReader<'a> {
    /// Recognises the container, finds the first audio track and makes its decoder.
    pub(crate) fn open(mut source: Source<'a>) -> Result<Self> {
        let edit = mp4::read_edit(&mut source)?;
        let (name, bytes_read) = (source.name().to_owned(), source.position());
        let format = probe(MediaSourceStream::new(Box::new(source), Default::default()));
        let format: Box<dyn FormatReader> =
            format.map_err(|error| at_reader(convert(error), &bytes_read))?;
        let (track, params) = audio_track(&*format)?;
        if params.codec == codec_id::CODEC_ID_OPUS && format.format_info().short_name == "caf" {
            return Err(Error::unsupported("Opus in CAF is not decoded here"));
        }
        let sample_rate = params.sample_rate.filter(|rate| *rate > 0);
        let sample_rate =
            sample_rate.ok_or_else(|| Error::corrupt("the stream declares a rate of 0 Hz"))?;
        let trim = Trim::new(format.format_info().short_name, &track, &params, edit);
        let decoder = make_decoder(&params)?;
        Ok(Self {
            format,
            decoder,
            track_id: track.id,
            params,
            sample_rate,
            trim,
            pending: None,
            name,
            bytes_read,
        })
    }

    pub(crate) fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Facts from the headers; where none gives the exact length, packets are counted.
    pub(crate) fn info(mut self) -> Result<AudioInfo> {
        let container = container_name(self.format.format_info().short_name);
        let codec = codec_name(&self.params);
        let bits = self
            .params
            .bits_per_sample
            .filter(|bits| *bits > 0 && !packet::is_lossy(&self.params))
            .or_else(|| packet::bits_per_sample(&self.params));
        let declared = self
            .params
            .channels
            .as_ref()
            .map(|channels| channels.count());
        let (channels, frames) = match (declared, self.trim.frames) {
            (Some(channels), Some(frames)) => (channels, frames),
            _ => self.count()?,
        };
        Ok(AudioInfo {
            sample_rate: self.sample_rate,
            channels: channels as u32,
            frames,
            container,
            codec,
            bits_per_sample: bits,
        })
    }

    /// Channels and frames, by packet headers where they tell and by decoding where they do not.
    fn count(&mut self) -> Result<(usize, u64)> {
        let mut walk = Walk::new(&self.trim);
        let mut channels = self
            .params
            .channels
            .as_ref()
            .map(|channels| channels.count());
        while let Some(packet) = self.next_packet()? {
            walk.check(&self.trim, &packet, &self.params)?;
            let known = packet_frames(&self.params, &packet.data).filter(|_| channels.is_some());
            let frames = match known {
                Some(frames) => frames,
                None => {
                    let block = self.decoder.decode(&packet).map_err(convert)?;
                    channels = Some(block.num_planes());
                    block.frames() as u64
                }
            };
            walk.advance(frames)?;
        }
        self.check_end(&walk)?;
        Ok((
            channels.unwrap_or(0),
            self.trim
                .frames
                .unwrap_or(walk.frames().saturating_sub(self.trim.padding)),
        ))
    }

    /// Decodes frames `range`, cut at the end of the recording.
    pub(crate) fn decode(mut self, range: Range<u64>, mono: bool) -> Result<Vec<Vec<f32>>> {
        let end = range.end.min(self.trim.frames.unwrap_or(i64::MAX as u64));
        let wanted = range.start.min(end)..end;
        let channels = self
            .params
            .channels
            .as_ref()
            .map_or(0, |channels| channels.count());
        let room = (wanted.end - wanted.start)
            .min(MAX_RESERVED_FRAMES)
            .min(self.trim.frames.unwrap_or(0));
        let mut mixer = Mixer::new(channels, mono, room as usize);
        if wanted.is_empty() && channels > 0 {
            // Symphonia takes a seek to the very end of a FLAC for one behind it.
            return Ok(mixer.into_planes());
        }
        let mut walk;
        (self, walk) = self.start_near(wanted.start)?;
        // So far ahead that padding within the range is known for what it is.
        let last = wanted
            .end
            .saturating_add(self.trim.padding)
            .min(i64::MAX as u64);
        while walk.position < last as i64 {
            let Some(packet) = self.next_packet()? else {
                self.check_end(&walk)?;
                let end = walk.frames().saturating_sub(self.trim.padding);
                mixer.truncate(end.saturating_sub(wanted.start));
                break;
            };
            if let Err(error) = self.take(&packet, &wanted, &mut walk, &mut mixer) {
                return Err(self.locate(&packet, error));
            }
        }
        let planes = self.in_order(mixer.into_planes());
        keep_decoder(&self.params, self.decoder);
        Ok(planes)
    }

    /// Symphonia takes the surround channels of ALAC for side ones and FFmpeg for back ones: in the
    /// order of WAV the back ones come first.
    fn in_order(&self, mut planes: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
        match (self.params.codec, planes.len()) {
            (codec_id::CODEC_ID_ALAC, 7) => planes[4..].rotate_left(1),
            (codec_id::CODEC_ID_ALAC, 8) => planes[4..].rotate_left(2),
            _ => {}
        }
        planes
    }

    /// Decodes one packet, or skips it where its length is known and nothing of it is needed.
    fn take(
        &mut self,
        packet: &Packet,
        wanted: &Range<u64>,
        walk: &mut Walk,
        mixer: &mut Mixer,
    ) -> Result<()> {
        walk.check(&self.trim, packet, &self.params)?;
        let needed_from = wanted.start as i64 - packet::preroll_frames(&self.params) as i64;
        if let Some(frames) = packet_frames(&self.params, &packet.data)
            && walk.position + (frames as i64) < needed_from
        {
            return walk.advance(frames).map(drop);
        }
        let in_preroll = walk.position < wanted.start as i64 && walk.sought;
        let block = match self.decoder.decode(packet) {
            Ok(block) => block,
            // Behind a seek the bit reservoir and the overlap fill up first.
            Err(SymphoniaError::DecodeError(_)) if in_preroll => {
                return walk.advance(packet.block_dur().get()).map(drop);
            }
            Err(error) => return Err(convert(error)),
        };
        if block.spec().rate() != self.sample_rate {
            let (from, to) = (self.sample_rate, block.spec().rate());
            return Err(Error::unsupported(format!(
                "the header says {from} Hz and the stream {to} Hz (a change of rate in mid-stream, or HE-AAC)"
            )));
        }
        let begin = walk.advance(block.frames() as u64)?;
        push_wanted(&block, wanted, begin, mixer)
    }

    /// The reader at the packet from which frame `start` can be decoded exactly.
    fn start_near(mut self, start: u64) -> Result<(Self, Walk)> {
        if self.params.codec == codec_id::CODEC_ID_OPUS {
            return self.start_converged(start);
        }
        let preroll = packet::preroll_frames(&self.params);
        let walk = self.start_before(start.saturating_sub(preroll))?;
        Ok((self, walk))
    }

    /// As above for Opus. CELT forgets within 0.4 s. SILK forgets at a moment that nothing foretells:
    /// within 0.5 s in speech, after seconds in a steady tone, which is decoded from the start.
    fn start_converged(mut self, start: u64) -> Result<(Self, Walk)> {
        if CELT_PREROLL < start {
            if let Some(walk) = self.preroll_celt(start)? {
                return Ok((self, walk));
            }
            self = self.rewound()?;
        }
        if SILK_PREROLL < start {
            if let Some(walk) = self.converge(start)? {
                return Ok((self, walk));
            }
            self = self.rewound()?;
        }
        let walk = Walk::new(&self.trim);
        Ok((self, walk))
    }

    /// The reader at its first packet again.
    fn rewound(mut self) -> Result<Self> {
        if self.trim.timestamp_shift.is_some() {
            self.restart()?;
            return Ok(self);
        }
        // Symphonia's Matroska reader does not seek in front of its first cue.
        let mut stream = self.format.into_inner();
        let format = stream
            .seek(SeekFrom::Start(0))
            .map_err(SymphoniaError::from)
            .and_then(|_| probe(stream));
        self.decoder.reset();
        Ok(Self {
            format: format.map_err(|error| at_reader(convert(error), &self.bytes_read))?,
            pending: None,
            ..self
        })
    }

    /// Decodes what lies before frame `start`; `None` where that is not CELT alone.
    fn preroll_celt(&mut self, start: u64) -> Result<Option<Walk>> {
        let from = start - CELT_PREROLL;
        let mut walk = self.start_before(from)?;
        while let Some((packet, begin)) = self.packet_before(start, &mut walk)? {
            if begin >= from as i64 {
                if !opus::is_celt(&packet.data) {
                    return Ok(None);
                }
                self.decoder.decode(&packet).map_err(convert)?;
            }
        }
        Ok(Some(walk))
    }

    /// Decodes what lies before frame `start`, and the later three quarters of it by two other decoders
    /// as well, which have heard the first quarter in other orders. `None` where they do not come to
    /// agree early: what all have forgotten so soon, a decoder of the whole has forgotten by the end.
    fn converge(&mut self, start: u64) -> Result<Option<Walk>> {
        let from = (start - SILK_PREROLL) as i64;
        let others_from = from + SILK_PREROLL as i64 / 4;
        let mut walk = self.start_before(start - SILK_PREROLL)?;
        let mut others = [make_decoder(&self.params)?, make_decoder(&self.params)?];
        let (mut heard, mut differ_until) = (Vec::new(), others_from);
        while let Some((packet, begin)) = self.packet_before(start, &mut walk)? {
            if begin < from {
                continue;
            }
            let block = self.decoder.decode(&packet).map_err(convert)?;
            if begin < others_from {
                heard.push(packet);
                continue;
            }
            for packet in heard.iter().rev() {
                // In such an order it may be refused.
                let _ = others[0].decode(packet);
            }
            for packet in heard.drain(..).step_by(2) {
                let _ = others[1].decode(&packet);
            }
            for other in &mut others {
                if other.decode(&packet).is_err() {
                    other.reset();
                }
                if !alike(&block, &other.last_decoded()) {
                    differ_until = walk.position;
                }
            }
        }
        let early = (start as i64 - others_from) / 8;
        Ok((differ_until - others_from <= early).then_some(walk))
    }

    /// The next packet that ends before frame `start`, and where it begins; the one behind is kept.
    fn packet_before(&mut self, start: u64, walk: &mut Walk) -> Result<Option<(Packet, i64)>> {
        let Some(packet) = self.next_packet()? else {
            return Ok(None);
        };
        walk.check(&self.trim, &packet, &self.params)?;
        let frames = packet_frames(&self.params, &packet.data).unwrap_or(0);
        let end = walk.position.saturating_add(frames as i64);
        // One without a length is broken: whoever decodes it says so.
        if frames == 0 || end > start as i64 {
            self.pending = Some(packet);
            return Ok(None);
        }
        let begin = walk.advance(frames)?;
        Ok(Some((packet, begin)))
    }

    /// The walk that begins at frame `target` or in front of it.
    fn start_before(&mut self, target: u64) -> Result<Walk> {
        let shift = self.trim.timestamp_shift;
        let Some(shift) = shift.filter(|_| target >= MIN_SEEK_FRAMES) else {
            return Ok(Walk::new(&self.trim));
        };
        let ts = Timestamp::from(target as i64 - shift);
        let to = SeekTo::Timestamp {
            ts,
            track_id: self.track_id,
        };
        match self.format.seek(SeekMode::Accurate, to) {
            Ok(sought) if sought.actual_ts <= ts => {
                self.pending = None;
                self.decoder.reset();
                Ok(Walk::after_seek(
                    sought.actual_ts.get() + shift,
                    &self.params,
                ))
            }
            // Too late, out of range or not seekable: from the start instead.
            Ok(_) | Err(SymphoniaError::SeekError(_)) => self.restart(),
            Err(error) => Err(at_reader(convert(error), &self.bytes_read)),
        }
    }

    fn restart(&mut self) -> Result<Walk> {
        self.pending = None;
        let first =
            Timestamp::from(-(self.trim.delay as i64) - self.trim.timestamp_shift.unwrap_or(0));
        let to = SeekTo::Timestamp {
            ts: first,
            track_id: self.track_id,
        };
        match self.format.seek(SeekMode::Accurate, to) {
            Ok(_) => {
                self.decoder.reset();
                Ok(Walk::new(&self.trim))
            }
            Err(error) => Err(at_reader(convert(error), &self.bytes_read)),
        }
    }

    /// The track's next packet; `None` at its end.
    fn next_packet(&mut self) -> Result<Option<Packet>> {
        if let Some(packet) = self.pending.take() {
            return Ok(Some(packet));
        }
        for _ in 0..MAX_BARREN_PACKETS {
            match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track_id => return Ok(Some(packet)),
                Ok(Some(_)) => {}
                // A chained stream begins: the first one is whole.
                Ok(None) | Err(SymphoniaError::ResetRequired) => return Ok(None),
                Err(error) => return Err(at_reader(convert(error), &self.bytes_read)),
            }
        }
        Err(at_reader(
            Error::new(ErrorKind::Limit, "no audio among too many packets"),
            &self.bytes_read,
        ))
    }

    /// A stream that stops before its declared length was cut.
    fn check_end(&self, walk: &Walk) -> Result<()> {
        match self.trim.frames {
            Some(frames) if walk.frames() < frames => {
                let reason = format!(
                    "the stream ends after {} of {frames} samples: it was cut short",
                    walk.frames()
                );
                Err(at_reader(Error::corrupt(reason), &self.bytes_read))
            }
            _ => Ok(()),
        }
    }

    /// Adds the byte where `packet` lies: it is searched for in what the demuxer read last.
    fn locate(self, packet: &Packet, error: Error) -> Error {
        const WINDOW: u64 = 256 * 1024;
        let end = self.bytes_read.get();
        let start = end.saturating_sub(WINDOW);
        let mut bytes = Vec::new();
        let mut stream = self.format.into_inner();
        let found = stream
            .seek(SeekFrom::Start(start))
            .and_then(|_| stream.take(end - start).read_to_end(&mut bytes))
            .ok()
            .and_then(|_| find_last(&bytes, &packet.data[..packet.data.len().min(32)]));
        error
            .at_byte(found.map_or(end, |at| start + at as u64))
            .with_source(self.name)
    }
}

/// Where a pass over the packets stands, in frames of the trimmed recording.
struct Walk {
    position: i64,
    barren: u32,
    /// So many packets more set the position by their time stamps.
    rebase: u8,
    sought: bool,
    drop_next: bool,
}

impl Walk {
    fn new(trim: &Trim) -> Self {
        let position = -(trim.delay as i64);
        Self {
            position,
            barren: 0,
            rebase: 0,
            sought: false,
            drop_next: trim.drop_first_packet,
        }
    }

    fn after_seek(position: i64, params: &AudioCodecParameters) -> Self {
        // The first Vorbis packet behind a reset has nothing to overlap with: count from the second.
        let rebase = if params.codec == codec_id::CODEC_ID_VORBIS {
            2
        } else {
            1
        };
        Self {
            position,
            barren: 0,
            rebase,
            sought: true,
            drop_next: false,
        }
    }

    fn frames(&self) -> u64 {
        self.position.max(0) as u64
    }

    /// FLAC frames carry their number: a jump means that the demuxer passed over damage.
    fn check(&mut self, trim: &Trim, packet: &Packet, params: &AudioCodecParameters) -> Result<()> {
        let Some(shift) = trim.timestamp_shift else {
            return Ok(());
        };
        let stamped = packet.pts.get().saturating_add(shift);
        if self.rebase > 0 {
            self.rebase -= 1;
            self.position = stamped;
        }
        if params.codec == codec_id::CODEC_ID_FLAC && stamped != self.position {
            let reason = format!(
                "damaged FLAC frames: sample {} is followed by {stamped}",
                self.position
            );
            return Err(Error::corrupt(reason));
        }
        Ok(())
    }

    /// Moves over a block of `frames` and returns where it begins.
    fn advance(&mut self, frames: u64) -> Result<i64> {
        self.barren = if frames == 0 { self.barren + 1 } else { 0 };
        if self.barren > MAX_BARREN_PACKETS {
            return Err(Error::new(
                ErrorKind::Limit,
                "too many packets in a row decode to nothing",
            ));
        }
        if std::mem::take(&mut self.drop_next) {
            self.position = -(frames as i64);
        }
        let begin = self.position;
        self.position += frames as i64;
        Ok(begin)
    }
}

/// Appends what `wanted` needs of a block that begins at frame `begin`.
fn push_wanted(
    block: &GenericAudioBufferRef<'_>,
    wanted: &Range<u64>,
    begin: i64,
    mixer: &mut Mixer,
) -> Result<()> {
    let frames = block.frames() as i64;
    let inside = |frame: u64| {
        let frame = frame.min(i64::MAX as u64) as i64;
        // The block may begin in front of the recording, and the range may have no end.
        frame.saturating_sub(begin).clamp(0, frames) as usize
    };
    let part = inside(wanted.start)..inside(wanted.end);
    if part.is_empty() {
        Ok(())
    } else {
        mixer.push_block(block, part)
    }
}

/// Whether two decoders gave the same: SILK in full, CELT but for what its memory fades to.
fn alike(one: &GenericAudioBufferRef<'_>, other: &GenericAudioBufferRef<'_>) -> bool {
    const TOLERANCE: f32 = 1e-6;
    let (GenericAudioBufferRef::F32(one), GenericAudioBufferRef::F32(other)) = (one, other) else {
        return false;
    };
    if one.frames() != other.frames() {
        return false;
    }
    one.iter_planes()
        .zip(other.iter_planes())
        .all(|(one, other)| {
            let pairs = one.iter().zip(other);
            pairs.fold(0.0f32, |worst, (a, b)| worst.max((a - b).abs())) <= TOLERANCE
        })
}

fn probe(
    stream: MediaSourceStream<'_>,
) -> symphonia::core::errors::Result<Box<dyn FormatReader + '_>> {
    // No hint: content decides, extensions lie.
    symphonia::default::get_probe().probe(
        &Hint::new(),
        stream,
        FormatOptions::default(),
        MetadataOptions::default(),
    )
}

fn audio_track(format: &dyn FormatReader) -> Result<(Track, AudioCodecParameters)> {
    let track = format.first_track(TrackType::Audio).cloned();
    let params = |track: Track| match track.codec_params.clone() {
        Some(CodecParameters::Audio(params)) => Some((track, params)),
        _ => None,
    };
    let (track, params) = track
        .and_then(params)
        .ok_or_else(|| Error::unsupported("the file has no audio track that can be read"))?;
    Ok((track, repaired(params)?))
}

/// Puts right what symphonia makes of some headers.
fn repaired(mut params: AudioCodecParameters) -> Result<AudioCodecParameters> {
    match (params.codec, params.extra_data.as_mut()) {
        (codec_id::CODEC_ID_VORBIS, Some(data)) => vorbis::repair(data)?,
        (codec_id::CODEC_ID_AAC, Some(data)) => {
            // The field of an MP4 sample entry ends at 65,535 Hz; writers halve what is above.
            params.sample_rate = aac_rate(data).or(params.sample_rate);
        }
        (codec_id::CODEC_ID_OPUS, _) => {
            // Containers tell the rate of what was encoded.
            params.sample_rate = Some(opus::SAMPLE_RATE);
            params.channels = Some(opus::Head::of(&params)?.layout());
        }
        _ => {}
    }
    Ok(params)
}

/// The rate in an `AudioSpecificConfig` of ISO/IEC 14496-3, where its index is above 65,535 Hz.
fn aac_rate(config: &[u8]) -> Option<u32> {
    const RATES: [u32; 2] = [96_000, 88_200];
    let (first, second) = (*config.first()?, *config.get(1)?);
    let index = (first & 7) << 1 | second >> 7;
    RATES.get(usize::from(index)).copied()
}

fn make_decoder(params: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>> {
    if params.codec == codec_id::CODEC_ID_OPUS {
        return Ok(Box::new(opus::Decoder::new(params)?));
    }
    if let Some(decoder) = vorbis_headers(params).and_then(|headers| VORBIS.take(headers)) {
        return Ok(decoder);
    }
    let options = AudioDecoderOptions::default().gapless(false);
    symphonia::default::get_codecs()
        .make_audio_decoder(params, &options)
        .map_err(|error| {
            let reason = match error {
                SymphoniaError::Unsupported("aac: aac too complex") => {
                    "of AAC, the LC profile in mono or stereo is".to_owned()
                }
                SymphoniaError::Unsupported(what) => what.to_owned(),
                other => other.to_string(),
            };
            Error::unsupported(format!(
                "the codec {} is not decoded here ({reason})",
                codec_name(params)
            ))
        })
}

/// What a Vorbis decoder is made from.
fn vorbis_headers(params: &AudioCodecParameters) -> Option<&[u8]> {
    let is_vorbis = params.codec == codec_id::CODEC_ID_VORBIS;
    params.extra_data.as_deref().filter(|_| is_vorbis)
}

/// Keeps a decoder that met no error; a reset leaves it as new.
fn keep_decoder(params: &AudioCodecParameters, mut decoder: Box<dyn AudioDecoder>) {
    if let Some(headers) = vorbis_headers(params) {
        decoder.reset();
        VORBIS.keep(headers.into(), decoder);
    }
}

/// FFmpeg's name of the container.
fn container_name(short_name: &'static str) -> Cow<'static, str> {
    Cow::Borrowed(match short_name {
        "isomp4" => "mp4",
        "wave" => "wav",
        other => other,
    })
}

/// FFmpeg's name of the codec, or its number.
fn codec_name(params: &AudioCodecParameters) -> Cow<'static, str> {
    if let Some(known) = symphonia::default::get_codecs().get_audio_decoder(params.codec) {
        return Cow::Borrowed(known.codec.info.short_name);
    }
    let name = match params.codec {
        codec_id::CODEC_ID_OPUS => "opus",
        codec_id::CODEC_ID_SPEEX => "speex",
        codec_id::CODEC_ID_AC3 => "ac3",
        codec_id::CODEC_ID_EAC3 => "eac3",
        codec_id::CODEC_ID_AC4 => "ac4",
        codec_id::CODEC_ID_DCA => "dts",
        codec_id::CODEC_ID_TRUEHD => "truehd",
        codec_id::CODEC_ID_WMA => "wma",
        codec_id::CODEC_ID_WAVPACK => "wavpack",
        codec_id::CODEC_ID_MUSEPACK => "musepack",
        codec_id::CODEC_ID_TTA => "tta",
        CODEC_ID_NULL_AUDIO => "unknown",
        other => return Cow::Owned(other.to_string()),
    };
    Cow::Borrowed(name)
}

fn convert(error: SymphoniaError) -> Error {
    match error {
        SymphoniaError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Error::corrupt("the file ends in the middle of its data: it was cut short")
        }
        SymphoniaError::IoError(error) => Error::io("read", error),
        SymphoniaError::DecodeError(what) => {
            Error::new(ErrorKind::Decode, format!("damaged data: {what}"))
        }
        SymphoniaError::Unsupported("core (probe): no suitable format reader found") => {
            Error::unsupported("the content is not of an audio format that is read here")
        }
        SymphoniaError::Unsupported(what) => {
            Error::unsupported(format!("not decoded here: {what}"))
        }
        SymphoniaError::LimitError(what) => Error::new(ErrorKind::Limit, what),
        other => Error::corrupt(other.to_string()),
    }
}

fn at_reader(error: Error, bytes_read: &Position) -> Error {
    error.at_byte(bytes_read.get())
}

fn find_last(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return None;
    }
    haystack
        .windows(needle.len())
        .rposition(|window| window == needle)
}
