//! Stored samples in packets of whole blocks, for decoders that are not our own.

use super::{Coding, Pcm};
use crate::bytes::source::Source;
use crate::codec::params::{Codec, Params};
use crate::container::demuxer::{Demuxer, Packet, Track};
use crate::error::{Error, Result};

/// Frames of a packet, of linear samples.
const PACKET_FRAMES: u64 = 4096;

/// A recording of stored samples.
pub(crate) struct PcmPackets<'a> {
    pcm: Pcm,
    source: Source<'a>,
    track: Track,
    /// Blocks of a packet.
    packet: u64,
    /// The next block of the data.
    next: u64,
}

impl<'a> PcmPackets<'a> {
    /// # Errors
    /// A codec that only our decoder has.
    pub(crate) fn new(pcm: Pcm, source: Source<'a>) -> Result<Self> {
        let layout = &pcm.layout;
        let (codec, packet) = match layout.coding {
            Coding::Linear(sample, order) => (Codec::Pcm(sample, order), PACKET_FRAMES),
            Coding::Adpcm(kind) => (Codec::Adpcm(kind, layout.block_bytes as u32), 1),
            Coding::Gsm(packing) => {
                let name = packing.name();
                let reason = format!("symphonia does not decode the codec {name}");
                return Err(Error::unsupported(reason));
            }
        };
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
            packet,
            next: 0,
        })
    }
}

impl Demuxer for PcmPackets<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let (layout, data) = (self.pcm.layout, &self.pcm.data);
        let at = data
            .start
            .saturating_add(self.next.saturating_mul(layout.block_bytes));
        let size = (self.packet * layout.block_bytes).min(data.end.saturating_sub(at));
        let frames = layout.frames(size);
        if frames == 0 {
            return Ok(None);
        }
        let mut scratch = Vec::new();
        let data = self
            .source
            .bytes_at(at, size as usize, &mut scratch)?
            .to_vec();
        // What lies in front of the recording begins at a negative frame.
        let begin = self.next.saturating_mul(layout.block_frames()) as i64;
        let begin = begin.saturating_sub(self.pcm.recording.start as i64);
        self.next += self.packet;
        Ok(Some(Packet {
            at,
            data,
            begin: Some(begin),
            frames: Some(frames),
            padding: 0,
            params: None,
        }))
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        let stored = (frame.max(0) as u64).saturating_add(self.pcm.recording.start);
        self.next = match frame {
            ..0 => 0,
            _ => stored / self.pcm.layout.block_frames(),
        };
        Ok(())
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        Ok(Some(self.pcm.frames()))
    }
}
