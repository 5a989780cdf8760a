//! From a track's packets to samples: exact trimming, exact ranges, and errors that say where.

mod he_aac_start;
mod opus_start;
mod pass;
mod presentation;
mod rates;

use std::ops::Range;
use std::sync::Arc;

use crate::codec::packet::{Block, PacketDecoder};
use crate::codec::params::{Codec, Params};
use crate::codec::{self, Library, aac};
use crate::container::demuxer::{Demuxer, Packet, Part, Track};
use crate::container::replicated;
use crate::decode::damage::Damage;
use crate::error::{Error, Result};
use crate::guard::remark::Remarks;
use crate::info::AudioInfo;
use crate::signal::mix::{Mix, Mixer, channels_change};

use pass::Pass;
pub(crate) use rates::Place;

/// Samples reserved at most on a header's word, of all planes together.
const MAX_RESERVED: u64 = 8 << 20;

/// The first audio track of a file, and its decoder.
pub(crate) struct CodecReader<'a> {
    demuxer: Box<dyn Demuxer + 'a>,
    decoder: Box<dyn PacketDecoder>,
    library: Library,
    /// What the decoder was made from, as [`Packet::params`] tells it.
    link: Option<Arc<Params>>,
    is_mono: bool,
    /// Of the first link.
    sample_rate: u32,
    channels: Channels,
    /// Whether links of another rate than the first are decoded too.
    takes_any_rate: bool,
    /// Whether one was met that was not to be decoded.
    has_met_rate: bool,
    remarks: Remarks,
    /// Packets that were read ahead, the next one last.
    ahead: Vec<Packet>,
    /// The frame at which the link begins in whose middle decoding began, of Opus.
    begun_at: Option<i64>,
    /// Parts with noise that another decoder draws otherwise: in frames of the recording, or in samples of what is made
    /// of one whose rate changes.
    noise: Vec<Range<u64>>,
    /// Where the first packet begins, and the frames of a packet, of HE-AAC.
    first_begin: i64,
    packet_frames: u64,
}

/// How many channels a recording has.
#[derive(Default)]
struct Channels {
    /// At its beginning, where a header or a packet tells them.
    first: Option<usize>,
    /// In the packet that was decoded last.
    last: Option<usize>,
}

impl Channels {
    /// What is careless where a packet has so many channels.
    fn meet(&mut self, count: usize) -> Option<Error> {
        let first = *self.first.get_or_insert(count);
        let last = self.last.replace(count).unwrap_or(first);
        (last != count).then(|| channels_change(last, count))
    }
}

impl<'a> CodecReader<'a> {
    /// Makes the track's decoder, of `library`.
    pub(crate) fn open(
        demuxer: Box<dyn Demuxer + 'a>,
        remarks: Remarks,
        library: Library,
    ) -> Result<Self> {
        let demuxer = replicated::heed(demuxer)?;
        check_profile(demuxer.track(), &remarks)?;
        let params = &demuxer.track().params;
        let sample_rate = params.sample_rate;
        if sample_rate == 0 {
            return Err(Error::corrupt("the stream declares a rate of 0 Hz"));
        }
        let decoder = codec::decoder(params, library)?;
        let channels = decoder.channels().or(params.channels);
        let mut reader = Self {
            demuxer,
            decoder,
            library,
            link: None,
            is_mono: false,
            sample_rate,
            channels: Channels {
                first: channels.filter(|count| *count > 0),
                last: None,
            },
            takes_any_rate: false,
            has_met_rate: false,
            remarks,
            ahead: Vec::new(),
            begun_at: None,
            noise: Vec::new(),
            first_begin: 0,
            packet_frames: 0,
        };
        reader.measure()?;
        Ok(reader)
    }

    pub(crate) fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Channels at the beginning, where they are known.
    pub(crate) fn channels(&self) -> Option<usize> {
        self.channels.first
    }

    /// By how much another right decoder may differ.
    pub(crate) fn tolerance(&self) -> f32 {
        self.demuxer.track().params.tolerance()
    }

    /// Parts of what was decoded with noise that another decoder draws otherwise, in its own frames.
    pub(crate) fn noise(&self) -> &[Range<u64>] {
        &self.noise
    }

    /// Facts from the headers; where none gives the exact length, packets are counted.
    pub(crate) fn info(mut self) -> Result<AudioInfo> {
        let (channels, frames) = match (self.channels.first, self.demuxer.track().frames) {
            (Some(channels), Some(frames)) => (channels, frames),
            _ => self.count()?,
        };
        let track = self.demuxer.track();
        let frames = match track.parts.as_slice() {
            [] => frames,
            parts => parts.iter().map(Part::frames).sum(),
        };
        Ok(AudioInfo {
            sample_rate: self.sample_rate,
            channels: channels as u32,
            frames,
            container: track.container.into(),
            codec: track.params.codec.name().into(),
            bits_per_sample: track.params.lossless_bits(),
            remarks: Vec::new(),
        })
    }

    /// Channels and frames, by the packets' headers where they tell and by decoding where they do not.
    fn count(&mut self) -> Result<(usize, u64)> {
        if let Some(channels) = self.channels.first
            && let Some(frames) = self.demuxer.frames()?
        {
            return Ok((channels, frames));
        }
        self.demuxer.seek(i64::MIN)?;
        self.takes_any_rate = true;
        self.set_mix(Mix::Mean);
        // Nothing is wanted, up to an end that is never reached.
        let mut pass = Pass::new(u64::MAX..u64::MAX);
        let mut mixer = Mixer::new(0, Mix::Mean, 0)?;
        self.run(&mut pass, &mut mixer, &mut Damage::raise())?;
        let channels = self.channels.first.unwrap_or(0);
        Ok((channels, pass.position.max(0) as u64))
    }

    /// Decodes frames `range`, cut at the end of the recording.
    ///
    /// # Errors
    /// Damage, a change of the rate ([`CodecReader::has_met_rate`]), one of the channels unless they are mixed, and a
    /// channel that the recording lacks.
    pub(crate) fn decode(
        &mut self,
        range: Range<u64>,
        mix: Mix,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        if self.demuxer.track().parts.is_empty() {
            return self.decode_media(range, mix, damage);
        }
        self.decode_presentation(&range, mix, damage)
    }

    /// The same of what the packets hold.
    fn decode_media(
        &mut self,
        range: Range<u64>,
        mix: Mix,
        damage: &mut Damage,
    ) -> Result<Vec<Vec<f32>>> {
        let known = self.demuxer.track().frames;
        let end = range.end.min(known.unwrap_or(i64::MAX as u64));
        let wanted = range.start.min(end)..end;
        let channels = self.channels.first.unwrap_or(0);
        let room =
            (wanted.end - wanted.start).min(MAX_RESERVED / mix.planes(channels.max(1)) as u64);
        let room = room.min(known.unwrap_or(0)) as usize;
        self.set_mix(mix);
        let mut mixer = Mixer::new(channels, mix, room)?;
        if !wanted.is_empty() || self.channels.first.is_none() {
            let mut pass = self.start_near(wanted.clone(), damage)?;
            self.run(&mut pass, &mut mixer, damage)?;
            if self.has_guessed() {
                damage.start_over();
                mixer = Mixer::new(channels, mix, room)?;
                pass = self.start_over(wanted)?;
                self.run(&mut pass, &mut mixer, damage)?;
            }
        }
        Ok(mixer.into_planes())
    }

    /// Whether what was to be decoded has other rates than the recording's first.
    pub(crate) fn has_met_rate(&self) -> bool {
        self.has_met_rate
    }

    /// Moves to the packet at `frame`, with nothing left of what was decoded before.
    fn restart_at(&mut self, frame: i64) -> Result<()> {
        self.ahead.clear();
        self.decoder.reset();
        self.demuxer.seek(frame)
    }

    fn set_mix(&mut self, mix: Mix) {
        self.is_mono = mix.is_mean();
        self.decoder.set_mono(self.is_mono);
    }

    /// Moves to the packet from which the first wanted frame can be decoded exactly.
    fn start_near(&mut self, wanted: Range<u64>, damage: &mut Damage) -> Result<Pass> {
        let params = &self.demuxer.track().params;
        if params.codec == Codec::Opus {
            return self.start_opus(wanted);
        }
        if self.decoder.remembers_far() {
            return self.start_he_aac(wanted);
        }
        let needed_from = wanted.start as i64 - params.preroll_frames() as i64;
        let mut pass = Pass::new(wanted);
        if needed_from > 0 {
            pass.needed_from = needed_from;
            if let Err(error) = self.demuxer.seek(needed_from) {
                damage.meet(error)?;
                // Met again from the beginning on, where it shows what it costs.
                damage.forget();
                self.demuxer.seek(i64::MIN)?;
            } else if self.demuxer.link_start() > 0 && self.is_opus_next()? {
                return self.start_opus(pass.wanted);
            }
        }
        Ok(pass)
    }

    /// Whether the next packet is of a link of Opus, in a chain that began with another codec.
    fn is_opus_next(&mut self) -> Result<bool> {
        let Some(packet) = self.demuxer.next_packet()? else {
            return Ok(false);
        };
        let params = packet.params.as_ref();
        let is_opus = params.is_some_and(|params| params.codec == Codec::Opus);
        self.ahead.push(packet);
        Ok(is_opus)
    }

    /// Decodes until the wanted frames are there, or the track ends.
    fn run(&mut self, pass: &mut Pass, mixer: &mut Mixer, damage: &mut Damage) -> Result<()> {
        while !pass.is_done() && !self.has_guessed() && self.step(pass, mixer, damage)? {}
        Ok(())
    }

    /// Decodes one packet; whether there was one, or damage in its place.
    fn step(&mut self, pass: &mut Pass, mixer: &mut Mixer, damage: &mut Damage) -> Result<bool> {
        match self.next_packet() {
            Ok(Some(packet)) => {
                let done = self.take(&packet, pass, mixer, damage);
                done.map_err(|error| error.at_byte(packet.at))?;
            }
            Ok(None) => {
                self.end(pass, damage)?;
                return Ok(false);
            }
            Err(error) => {
                damage.meet(error)?;
                pass.count_barren()?;
            }
        }
        Ok(true)
    }

    /// The rate of the link that was decoded last.
    fn rate_here(&self) -> u32 {
        self.link
            .as_ref()
            .map_or(self.sample_rate, |link| link.sample_rate)
    }

    /// Refuses `packet`, which begins at frame `begin`, if the recording has changed its rate before or does here.
    fn check_change(&mut self, packet: &Packet, begin: i64) -> Result<()> {
        let rate = packet
            .params
            .as_ref()
            .map_or(self.sample_rate, |link| link.sample_rate);
        let has_changed = |frame: i64| frame <= begin;
        if self.takes_any_rate
            || rate == self.sample_rate && !self.demuxer.rate_change().is_some_and(has_changed)
        {
            return Ok(());
        }
        self.has_met_rate = true;
        let change = match rate == self.sample_rate {
            true => "its sample rate".to_owned(),
            false => format!("from {} to {rate} Hz", self.sample_rate),
        };
        let reason = format!("the stream changes {change}: pass sample_rate to resample each part");
        Err(Error::unsupported(reason))
    }

    /// Makes the decoder of the link that `packet` belongs to, unless it is the one at hand. A decoder hears
    /// packets of one link alone: nothing of one is left in the next.
    fn follow(&mut self, packet: &Packet) -> Result<()> {
        let is_same = match (&self.link, &packet.params) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        if is_same {
            return Ok(());
        }
        let params = packet.params.as_deref();
        let params = params.unwrap_or(&self.demuxer.track().params);
        self.decoder = codec::decoder(params, self.library)?;
        self.decoder.set_mono(self.is_mono);
        self.link.clone_from(&packet.params);
        Ok(())
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        match self.ahead.pop() {
            Some(packet) => Ok(Some(packet)),
            None => self.demuxer.next_packet(),
        }
    }

    /// A stream that stops before its declared length was cut.
    fn end(&self, pass: &Pass, damage: &mut Damage) -> Result<()> {
        let place = |frame: i64| frame.max(0) as u64;
        let end = place(pass.position);
        let declared = self.demuxer.track().frames.unwrap_or(0);
        // A packet in front of what is wanted may have been decoded unprepared, and lacks nothing that matters.
        let told = Some(place(pass.next)).filter(|told| *told > pass.wanted.start);
        let told = told.unwrap_or(0);
        damage.cut_short(end..declared.max(told).max(end), pass.end_byte)
    }

    /// Decodes one packet, or passes over it where nothing of it is needed.
    fn take(
        &mut self,
        packet: &Packet,
        pass: &mut Pass,
        mixer: &mut Mixer,
        damage: &mut Damage,
    ) -> Result<()> {
        self.check_change(packet, packet.begin.unwrap_or(pass.next))?;
        let begin = pass.reach(packet, mixer, damage)?;
        if let Some(frames) = packet.frames.map(|frames| frames as i64)
            && begin.saturating_add(frames) < pass.needed_from
        {
            return pass.advance(begin, frames);
        }
        self.follow(packet)?;
        self.number_packet(begin);
        let rate = self.rate_here();
        match self.decoder.decode(&packet.data) {
            Ok(block) => {
                check_rate(&block, rate)?;
                if let Some(change) = self.channels.meet(block.channels)
                    && self.is_mono
                {
                    self.remarks.note(change.at_byte(packet.at))?;
                }
                let end = begin.saturating_add(block.frames() as i64);
                pass.push(&block, begin, packet, mixer)?;
                if self.decoder.has_noise() {
                    note_noise(&mut self.noise, begin.max(0) as u64..end.max(0) as u64);
                }
                Ok(())
            }
            // After a seek the bit reservoir and the overlap fill up first.
            Err(_) if pass.is_ahead(begin, packet) => {
                pass.advance(begin, packet.frames.unwrap_or(0) as i64)
            }
            Err(error) => {
                pass.next = begin.saturating_add(packet.frames.unwrap_or(0) as i64);
                damage.meet_packet(error.at_byte(packet.at))
            }
        }
    }
}

/// Refuses the profiles of AAC that are not decoded here, and notes what is careless in the header.
fn check_profile(track: &Track, remarks: &Remarks) -> Result<()> {
    let params = &track.params;
    if params.codec != Codec::Aac || params.header.is_empty() {
        return Ok(());
    }
    if aac::check(&params.header)?.depends_on_core {
        let reason = "the AAC header depends on a core coder that AAC LC does not have";
        remarks.note(Error::corrupt(reason))?;
    }
    Ok(())
}

/// Adds a part, to the last one where that ends at it.
fn note_noise(parts: &mut Vec<Range<u64>>, frames: Range<u64>) {
    match parts.last_mut() {
        Some(last) if last.end >= frames.start && last.start <= frames.start => {
            last.end = last.end.max(frames.end);
        }
        _ => parts.push(frames),
    }
}

fn check_rate(block: &Block<'_>, declared: u32) -> Result<()> {
    let rate = block.sample_rate;
    if rate == declared {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "the header says {declared} Hz and the stream {rate} Hz (a change of rate in mid-stream, or HE-AAC)"
    )))
}
