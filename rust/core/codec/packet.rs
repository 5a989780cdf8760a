//! What a decoder of packets is.

use crate::error::{Error, ErrorKind, Result};

/// Decodes the packets of one stream.
pub(crate) trait PacketDecoder: Send + Sync {
    /// Decodes one packet; the block lasts until the next call.
    ///
    /// # Errors
    /// A packet that is damaged or not decoded here. What follows must not depend on what came before
    /// it: a range may begin there.
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>>;

    /// Forgets all that came before: the next packet is decoded as a stream's first.
    fn reset(&mut self);

    /// Whether something was made up that no packet has: it may depend on all that was heard since the stream began.
    fn has_made_up(&self) -> bool {
        false
    }

    /// Whether what goes from packet to packet may last any time: decoding then begins where
    /// [`skim`](Self::skim) finds that all of it was told.
    fn remembers_far(&self) -> bool {
        false
    }

    /// As [`reset`](Self::reset), where packets come before the next one that are not heard.
    fn begin_inside(&mut self) {
        self.reset();
    }

    /// Reads a packet without decoding it; whether all was told since decoding began that later packets build upon,
    /// but for what fades away.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode).
    fn skim(&mut self, _packet: &[u8]) -> Result<bool> {
        Ok(true)
    }

    /// Tells the place of the next packet among those of its link, from 0 on.
    fn set_packet_number(&mut self, _number: u32) {}

    /// Whether the samples of the last packet have noise that each decoder draws by itself.
    fn has_noise(&self) -> bool {
        false
    }

    /// Channels of the stream, where its header tells them.
    fn channels(&self) -> Option<usize> {
        None
    }

    /// Asks for the mean of the channels alone, or for all of them again; before the first packet.
    /// Blocks of a decoder that cannot mix earlier than its caller have all channels still.
    fn set_mono(&mut self, _mono: bool) {}
}

/// What a packet was decoded to.
pub(crate) struct Block<'d> {
    /// Hz.
    pub(crate) sample_rate: u32,
    /// Of the stream, also where they are mixed already.
    pub(crate) channels: usize,
    /// One for each channel in WAV's order, or one for the mean of them; all of one length.
    pub(crate) planes: &'d [Vec<f32>],
}

impl Block<'_> {
    /// Samples of each channel.
    pub(crate) fn frames(&self) -> usize {
        self.planes.first().map_or(0, Vec::len)
    }
}

/// A packet that the codec refuses.
pub(crate) fn damaged(reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Decode, format!("damaged data: {reason}"))
}

/// A packet of a kind that is not decoded here.
pub(crate) fn not_here(reason: impl std::fmt::Display) -> Error {
    Error::unsupported(format!("not decoded here: {reason}"))
}
