//! Native FLAC frame by frame, for decoders that are not our own.

use std::sync::Arc;

use super::Flac;
use crate::codec::flac::stream_info::StreamInfo;
use crate::codec::params::{Codec, Params};
use crate::container::demuxer::{Demuxer, Packet, Track};
use crate::error::Result;

/// A recording of native FLAC whose frames are packets; each is found, and proven whole, by our decoder.
pub(crate) struct FlacPackets<'a> {
    flac: Box<Flac<'a>>,
    track: Track,
    /// The byte of the stream that the frame before was of, and what its decoder is made from.
    link: (u64, Option<Arc<Params>>),
    /// Whether the last frame was damaged.
    is_damaged: bool,
}

impl<'a> FlacPackets<'a> {
    pub(crate) fn new(flac: Box<Flac<'a>>) -> Self {
        let track = Track {
            container: "flac",
            params: params(&flac.info),
            frames: None,
            parts: Vec::new(),
        };
        Self {
            link: (flac.stream.at, None),
            flac,
            track,
            is_damaged: false,
        }
    }

    /// What the decoder of the stream at hand is made from.
    fn params(&mut self) -> Option<Arc<Params>> {
        let stream = &self.flac.stream;
        if self.link.0 != stream.at {
            self.link = (stream.at, Some(Arc::new(params(&stream.info))));
        }
        self.link.1.clone()
    }
}

impl Demuxer for FlacPackets<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        if std::mem::take(&mut self.is_damaged) && !self.flac.resync()? {
            return Ok(None);
        }
        let frame = match self.flac.next_frame(u64::MAX) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.is_damaged = true;
                return Err(error);
            }
        };
        let at = self.flac.at - frame.bytes as u64;
        let bytes = self.flac.window.at(at, frame.bytes, frame.bytes as u64)?;
        let data = bytes.get(..frame.bytes).unwrap_or_default().to_vec();
        let frames = u64::from(frame.header.block_size);
        Ok(Some(Packet {
            at,
            data,
            begin: Some((self.flac.position - frames) as i64),
            frames: Some(frames),
            padding: 0,
            params: self.params(),
        }))
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        self.is_damaged = false;
        self.flac.seek(frame.max(0) as u64)
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        self.flac.length().map(Some)
    }
}

fn params(info: &StreamInfo) -> Params {
    Params {
        codec: Codec::Flac,
        sample_rate: info.sample_rate,
        channels: Some(info.channels as usize),
        bits_per_sample: Some(info.bits),
        header: info.to_bytes().to_vec(),
        is_replicated: false,
    }
}
