//! Stored samples that lie in pieces: packets of whole blocks of them.

use crate::bytes::window::{Seam, Window};
use crate::codec::params::{Codec, Params};
use crate::container::demuxer::{Demuxer, Packet, Track};
use crate::container::pcm::{Coding, Layout};
use crate::error::{Error, Result};

/// Frames of a packet, of linear samples.
const PACKET_FRAMES: u64 = 4096;
/// After the end of any stream.
const FAR: u64 = 1 << 61;

/// A recording of stored samples.
pub(super) struct Stored<'a> {
    window: Window<'a>,
    layout: Layout,
    track: Track,
    /// Bytes of a packet.
    packet: u64,
    /// The next byte of the stream, and the frame that begins there.
    next: (u64, u64),
    /// Where runs of blocks begin: at the beginning, and after what was lost.
    runs: Vec<(u64, u64)>,
    /// The run that it is in.
    run: usize,
}

impl<'a> Stored<'a> {
    /// The samples that `layout` describes.
    ///
    /// # Errors
    /// A codec that is read in files of its own alone.
    pub(super) fn new(window: Window<'a>, layout: Layout) -> Result<Self> {
        let (codec, frames) = match layout.coding {
            Coding::Linear(sample, order) => (Codec::Pcm(sample, order), PACKET_FRAMES),
            Coding::Adpcm(kind) => (Codec::Adpcm(kind, layout.block_bytes as u32), 1),
            Coding::Gsm(packing) => {
                let reason = format!("the codec {} in AVI is not decoded here", packing.name());
                return Err(Error::unsupported(reason));
            }
        };
        let params = Params::new(codec, layout.sample_rate, Some(layout.channels as usize));
        let track = Track {
            container: layout.container,
            params: Params {
                bits_per_sample: layout.bits,
                ..params
            },
            frames: None,
            parts: Vec::new(),
        };
        Ok(Self {
            window,
            layout,
            track,
            packet: frames * layout.block_bytes,
            next: (0, 0),
            runs: vec![(0, 0)],
            run: 0,
        })
    }

    /// Where the run that it is in begins.
    fn begin(&self) -> (u64, u64) {
        self.runs.get(self.run).copied().unwrap_or_default()
    }

    /// What ends the run that it is in at byte `end` or before.
    fn seam(&self, end: u64) -> Option<Seam> {
        let (byte, _) = self.begin();
        // What is lost in front of all is at byte 0.
        let from = if self.run > 0 { byte + 1 } else { 0 };
        self.window.seam(from..end.saturating_add(1))
    }

    /// Enters the run after `seam`: what is lost before it counts in frames.
    fn cross(&mut self, seam: &Seam) {
        let (byte, frame) = self.begin();
        self.run += 1;
        if self.run == self.runs.len() {
            let whole = seam.at.saturating_sub(byte) / self.layout.block_bytes;
            let held = whole.saturating_mul(self.layout.block_frames());
            let rest = seam.at.saturating_sub(byte) % self.layout.block_bytes;
            let lost = self.layout.frames(seam.lost.saturating_add(rest));
            let begin = frame.saturating_add(held).saturating_add(lost);
            self.runs.push((seam.at, begin));
        }
        self.next = self.begin();
    }

    fn error(&self, seam: &Seam) -> Error {
        let reason = format!("audio is lost: {}", seam.reason);
        Error::corrupt(reason).at_byte(self.window.file_byte(seam.at))
    }

    /// The block of the run at hand that has `frame`, or the one at which the run ends.
    fn block(&self, frame: u64, end: u64) -> (u64, u64) {
        let (byte, begin) = self.begin();
        let (bytes, frames) = (self.layout.block_bytes, self.layout.block_frames());
        let most = end.saturating_sub(byte) / bytes;
        let block = (frame.saturating_sub(begin) / frames.max(1)).min(most);
        (byte + block * bytes, begin.saturating_add(block * frames))
    }
}

impl Demuxer for Stored<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        let (at, begin) = self.next;
        let there = self.window.reach(at, self.packet as usize)?;
        let seam = self.seam(at.saturating_add(there.min(self.packet)));
        let mut size = there.min(self.packet);
        if let Some(seam) = &seam {
            size = seam.at.saturating_sub(at);
            size -= size % self.layout.block_bytes;
        }
        let frames = self.layout.frames(size);
        if let (Some(seam), 0) = (&seam, frames) {
            self.cross(seam);
            return Err(self.error(seam));
        }
        if frames == 0 {
            return Ok(None);
        }
        let data = self.window.at(at, size as usize, u64::MAX)?;
        let data = data.get(..size as usize).unwrap_or(data).to_vec();
        self.next = (at + size, begin.saturating_add(frames));
        Ok(Some(Packet {
            at: self.window.file_byte(at),
            data,
            begin: i64::try_from(begin).ok(),
            frames: Some(frames),
            padding: 0,
            params: None,
        }))
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        let frame = frame.max(0) as u64;
        let before = self.runs.partition_point(|(_, begin)| *begin <= frame);
        self.run = before.saturating_sub(1);
        loop {
            let (at, _) = self.block(frame, FAR);
            self.window.reach(at, self.layout.block_bytes as usize)?;
            let seam = self.seam(at);
            let run = self.run;
            if let Some(seam) = &seam {
                self.cross(seam);
                if self.begin().1 <= frame {
                    continue;
                }
                self.run = run;
            }
            // Where nothing follows, the last block that there is.
            let last = self.window.len().saturating_sub(1);
            self.next = self.block(frame, seam.map_or(last, |seam| seam.at));
            return Ok(());
        }
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        self.window.reach(FAR, 0)?;
        let len = self.window.len();
        if let Some(seam) = self.window.seam(0..len.saturating_add(1)) {
            return Err(self.error(&seam));
        }
        Ok(Some(self.layout.frames(len)))
    }
}
