//! Stored samples in packets of whole frames, for decoders that are not our own.

use super::{Coding, Pcm};
use crate::bytes::source::Source;
use crate::codec::params::{Codec, Params};
use crate::container::demuxer::{Demuxer, Packet, Track};
use crate::error::{Error, Result};

/// Frames of a packet.
const PACKET_FRAMES: u64 = 4096;

/// A recording of linear or companded samples.
pub(crate) struct PcmPackets<'a> {
    pcm: Pcm,
    source: Source<'a>,
    track: Track,
    /// The next frame of the recording.
    position: u64,
}

impl<'a> PcmPackets<'a> {
    /// # Errors
    /// ADPCM, whose blocks are no packets.
    pub(crate) fn new(pcm: Pcm, source: Source<'a>) -> Result<Self> {
        let Coding::Linear(sample, order) = pcm.layout.coding else {
            let reason =
                "symphonia's ADPCM is not compared here: its blocks end the recording elsewhere";
            return Err(Error::unsupported(reason));
        };
        let layout = &pcm.layout;
        let codec = Codec::Pcm(sample, order);
        let track = Track {
            container: layout.container,
            params: Params {
                bits_per_sample: layout.bits,
                ..Params::new(codec, layout.sample_rate, Some(layout.channels as usize))
            },
            frames: Some(pcm.frames()),
            parts: Vec::new(),
        };
        Ok(Self {
            pcm,
            source,
            track,
            position: 0,
        })
    }

    /// The byte at which frame `frame` of the recording begins.
    fn byte_of(&self, frame: u64) -> u64 {
        let stored = frame.saturating_add(self.pcm.recording.start);
        let offset = stored.saturating_mul(self.pcm.layout.block_bytes);
        self.pcm.data.start.saturating_add(offset)
    }
}

impl Demuxer for PcmPackets<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let at = self.byte_of(self.position);
        let left = self.pcm.data.end.saturating_sub(at) / self.pcm.layout.block_bytes;
        let frames = left.min(PACKET_FRAMES);
        let frames = frames.min(self.pcm.frames().saturating_sub(self.position));
        if frames == 0 {
            return Ok(None);
        }
        let (mut data, length) = (Vec::new(), frames * self.pcm.layout.block_bytes);
        let bytes = self
            .source
            .bytes_at(at, length as usize, &mut data)?
            .to_vec();
        let begin = self.position as i64;
        self.position += frames;
        Ok(Some(Packet {
            at,
            data: bytes,
            begin: Some(begin),
            frames: Some(frames),
            padding: 0,
            params: None,
        }))
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        self.position = frame.max(0) as u64;
        Ok(())
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        Ok(Some(self.pcm.frames()))
    }
}
