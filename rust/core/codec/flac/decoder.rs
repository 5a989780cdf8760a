//! FLAC frames out of another container: Ogg, Matroska, MP4, CAF.

use super::Fault;
use super::frame::FrameDecoder;
use super::output::Output;
use super::stream_info::StreamInfo;
use crate::codec::packet::{Block, PacketDecoder, damaged, not_here};
use crate::codec::params::Params;
use crate::error::{Error, Result};
use crate::signal::mix::Mix;

/// One frame a packet.
pub(crate) struct Decoder {
    info: StreamInfo,
    frames: FrameDecoder,
    output: Output,
}

impl Decoder {
    /// A decoder for the track that `params` describe: STREAMINFO is its codec's own header.
    ///
    /// # Errors
    /// A broken header.
    pub(crate) fn new(params: &Params) -> Result<Self> {
        let header = params.header.first_chunk();
        let info = header.and_then(StreamInfo::parse);
        let info = info
            .ok_or_else(|| Error::corrupt("the FLAC header is missing"))?
            .check()?;
        Ok(Self {
            frames: FrameDecoder::new(&info),
            output: Output::new(&info, Mix::All),
            info,
        })
    }
}

impl PacketDecoder for Decoder {
    fn decode(&mut self, packet: &[u8]) -> Result<Block<'_>> {
        let length = match self.frames.decode(packet) {
            Ok(frame) => frame.header.block_size as usize,
            Err(Fault::Short) => return Err(damaged("a FLAC frame ends too early")),
            Err(Fault::Damaged(reason)) => return Err(damaged(reason)),
            Err(Fault::Changed { .. }) => {
                return Err(not_here("the FLAC stream changes its format in mid-stream"));
            }
        };
        self.output.clear();
        self.output.push(&self.frames.block(), 0..length)?;
        Ok(Block {
            sample_rate: self.info.sample_rate,
            channels: self.info.channels as usize,
            planes: self.output.planes(),
        })
    }

    fn reset(&mut self) {}

    fn set_mono(&mut self, mono: bool) {
        self.output = Output::new(&self.info, Mix::of_packets(mono));
    }
}
