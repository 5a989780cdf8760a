//! AAC without headers of its own: each chunk is a packet.

use super::chunks::Chunks;
use crate::bytes::window::Window;
use crate::codec::aac;
use crate::codec::params::{Codec, Params};
use crate::container::demuxer::{Demuxer, Packet, Track};
use crate::container::pieces::{Lost, Walk as _};
use crate::error::{Error, Result};

/// Packets between two places that are kept.
const MARK: u64 = 1024;

/// A stream of AAC whose packets are the chunks of one stream.
pub(super) struct Units<'a> {
    file: Window<'a>,
    walk: Chunks,
    track: Track,
    /// Frames of a packet.
    frames: u64,
    /// Packets before the next one.
    next: u64,
    /// Where the walk stood before every [`MARK`]th packet.
    marks: Vec<Chunks>,
    /// What is lost in front of the next packet, and that packet.
    ahead: Option<Packet>,
}

impl<'a> Units<'a> {
    /// The stream whose decoder is made from `header`.
    ///
    /// # Errors
    /// A profile that is not decoded here.
    pub(super) fn new(file: Window<'a>, walk: Chunks, header: Vec<u8>) -> Result<Self> {
        let config = aac::check(&header)?;
        let params = Params::new(Codec::Aac, config.sample_rate(), config.channels());
        Ok(Self {
            file,
            marks: vec![walk.clone()],
            walk,
            track: Track {
                container: super::NAME,
                params: Params { header, ..params },
                frames: None,
                parts: Vec::new(),
            },
            frames: config.packet_frames(),
            next: 0,
            ahead: None,
        })
    }

    /// The next chunk, as a packet without its data; an error where audio is lost in front of it.
    fn step(&mut self) -> Result<Option<(u64, usize)>> {
        if self.next.is_multiple_of(MARK) && self.next / MARK == self.marks.len() as u64 {
            self.marks.push(self.walk.clone());
        }
        let Some(piece) = self.walk.next(&mut self.file)? else {
            return Ok(None);
        };
        if piece.length > 0 {
            // A damaged chunk was one packet.
            self.next += 1 + u64::from(piece.lost.is_some());
        }
        match piece.lost {
            Some(lost) => {
                if piece.length > 0 {
                    self.ahead = Some(self.packet(piece.at, piece.length)?);
                }
                Err(error(&lost))
            }
            None => Ok(Some((piece.at, piece.length))),
        }
    }

    fn packet(&mut self, at: u64, length: usize) -> Result<Packet> {
        let data = self.file.at(at, length, u64::MAX)?;
        let data = data.get(..length).unwrap_or(data).to_vec();
        let begin = (self.next - 1).saturating_mul(self.frames);
        Ok(Packet {
            at,
            data,
            begin: i64::try_from(begin).ok(),
            frames: Some(self.frames),
            padding: 0,
            params: None,
        })
    }
}

fn error(lost: &Lost) -> Error {
    Error::corrupt(format!("audio is lost: {}", lost.reason)).at_byte(lost.at)
}

impl Demuxer for Units<'_> {
    fn track(&self) -> &Track {
        &self.track
    }

    fn next_packet(&mut self) -> Result<Option<Packet>> {
        if let Some(packet) = self.ahead.take() {
            return Ok(Some(packet));
        }
        let Some((at, length)) = self.step()? else {
            return Ok(None);
        };
        self.packet(at, length).map(Some)
    }

    fn seek(&mut self, frame: i64) -> Result<()> {
        let wanted = frame.max(0) as u64 / self.frames.max(1);
        let last = (wanted / MARK).min(self.marks.len() as u64 - 1);
        if let Some(mark) = self.marks.get(last as usize) {
            self.walk = mark.clone();
            self.next = last * MARK;
        }
        self.ahead = None;
        let mut last = (self.walk.clone(), self.next);
        while self.next < wanted {
            let before = (self.walk.clone(), self.next);
            if self.step()?.is_none() {
                // After the end: the last packet.
                (self.walk, self.next) = last;
                break;
            }
            last = before;
        }
        Ok(())
    }

    fn frames(&mut self) -> Result<Option<u64>> {
        self.seek(i64::MIN)?;
        while self.step()?.is_some() {}
        Ok(Some(self.next.saturating_mul(self.frames)))
    }
}
