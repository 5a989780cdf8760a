//! What a demuxer gives: the packets of a file's first audio track, and where in the recording they lie.
//!
//! Lengths, seeks and errors are exact. Nothing is decoded here. Positions are frames of the recording, the
//! encoder's delay cut off: the packets that hold it lie at negative ones. A recording of several links is
//! as long as all of them, each counted at its own rate; what a later link has in front of its own beginning
//! lies over the end of the link before it, and is cut there.

use std::ops::Range;
use std::sync::Arc;

use crate::codec::params::Params;
use crate::error::{Error, Result};
use crate::signal::mix::channels_change;

/// What is known of the track before a packet is read.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    /// FFmpeg's short name of the container.
    pub(crate) container: &'static str,
    /// What its decoder is made from: codec, rate, channels and the codec's own header.
    pub(crate) params: Params,
    /// The exact length of what the packets hold, where headers tell it that can be trusted; it is the recording,
    /// unless that has `parts`.
    pub(crate) frames: Option<u64>,
    /// What the recording is put together from, where it is not simply all that the packets hold.
    pub(crate) parts: Vec<Part>,
}

/// A part of a recording that an edit list puts together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// Frames of what the packets hold.
    Media(Range<u64>),
    /// So many frames of silence.
    Pause(u64),
}

impl Part {
    /// Its frames of what the packets hold, unless it is a pause.
    pub(crate) fn media(&self) -> Option<&Range<u64>> {
        match self {
            Self::Media(frames) => Some(frames),
            Self::Pause(_) => None,
        }
    }

    pub(crate) fn frames(&self) -> u64 {
        match self {
            Self::Media(frames) => frames.end.saturating_sub(frames.start),
            Self::Pause(frames) => *frames,
        }
    }
}

/// One packet, as the decoder wants it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Packet {
    /// The byte of the file at which it begins.
    pub(crate) at: u64,
    pub(crate) data: Vec<u8>,
    /// Where its first frame lies; `None`: where the packet before it ends.
    pub(crate) begin: Option<i64>,
    /// How many frames it decodes to; `None`: only decoding tells.
    pub(crate) frames: Option<u64>,
    /// How many of them, at its end, are padding.
    pub(crate) padding: u64,
    /// The link of a chain that it belongs to, by what the link's decoder is made from; `None`: the first
    /// link, which is as the track says. Packets of one link share one [`Arc`], and another [`Arc`] is another
    /// link, whose decoder is made anew.
    pub(crate) params: Option<Arc<Params>>,
}

/// Reads the packets of one track.
///
/// Nothing is allocated from a declared length, and every call ends: each reads on, or fails.
pub(crate) trait Demuxer: Send {
    fn track(&self) -> &Track;

    /// The track's next packet; `None` at its end.
    ///
    /// # Errors
    /// Damage, with its byte. It does not end the track: the next call continues after it, with a
    /// packet whose `begin` is known where the container tells it, or gives `None`.
    fn next_packet(&mut self) -> Result<Option<Packet>>;

    /// The frame from which on the recording has another rate than at its beginning, as far as it is known by
    /// now: once a packet after it was read, or sought.
    fn rate_change(&self) -> Option<i64> {
        None
    }

    /// The frame at which the link begins that was sought last; a seek to it finds the link's first packet.
    fn link_start(&self) -> i64 {
        i64::MIN
    }

    /// Moves to the last packet that begins at `frame` or before it, or to the first of all; to none of a later
    /// link than the one that has the frame.
    ///
    /// The next packet tells its `begin`.
    ///
    /// # Errors
    /// Damage in what has to be read for it.
    fn seek(&mut self, frame: i64) -> Result<()>;

    /// The exact length of the recording, from headers or from the packets, of which none is decoded;
    /// `None` where only decoding tells. May leave the reader anywhere.
    ///
    /// # Errors
    /// Damage in what has to be read for it.
    fn frames(&mut self) -> Result<Option<u64>>;
}

/// What is careless in a stream whose next link is described by other words than the one before: its codec,
/// its rate or its channels. Each is a remark where the links are read one after the other.
pub(crate) fn changes(before: &Params, after: &Params) -> Vec<Error> {
    let rate = (before.sample_rate != after.sample_rate).then(|| {
        let (from, to) = (before.sample_rate, after.sample_rate);
        Error::unsupported(format!("the stream changes from {from} to {to} Hz"))
    });
    let codec = (before.codec != after.codec).then(|| {
        let (from, to) = (before.codec.name(), after.codec.name());
        Error::unsupported(format!("the stream changes from {from} to {to}"))
    });
    let channels = before.channels.zip(after.channels);
    let channels = channels.filter(|(from, to)| from != to);
    let channels = channels.map(|(from, to)| channels_change(from, to));
    codec.into_iter().chain(rate).chain(channels).collect()
}
