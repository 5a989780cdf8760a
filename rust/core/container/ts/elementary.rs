//! The elementary stream in the packets of a transport stream: ISO/IEC 13818-1, section 2.4.3.6.
//!
//! Which bytes belong to it where lengths are wrong is as FFmpeg has it.

use super::packet::{PAYLOAD, Packet, Packets};
use crate::bytes::window::Window;
use crate::container::pieces::{Lost, Piece, Walk};
use crate::error::{Error, Result};

/// Bytes before the header's own length, which is the last of them.
const HEAD: usize = 9;
/// Bytes before its flags.
const START: usize = 6;
const PADDING: u8 = 0xBE;
/// Streams without flags: maps, private data 2, control of access, directories.
const PLAIN: [u8; 7] = [0xBC, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF];

const JUMP: &str = "the continuity counter of the transport stream jumps";
const DAMAGED: &str = "a packet of the transport stream is damaged";
const HEADLESS: &str = "a packet of the elementary stream has no header";
const SCRAMBLED: &str = "a packet of the transport stream is scrambled";

/// Walks over the packets of one number.
#[derive(Clone)]
pub(super) struct Elementary {
    packets: Packets,
    pid: u16,
    /// The counter of the packet before, and a checksum of its payload: one packet may come twice.
    last: Option<(u8, u32)>,
    unit: Unit,
    /// What is lost in front of what comes.
    lost: Option<Lost>,
    stamp: Option<u64>,
    has_begun: bool,
}

/// The packet of the elementary stream that a packet of the transport stream goes on with.
#[derive(Clone)]
enum Unit {
    /// None, or one that is over; why what comes of it is lost, where it is.
    Outside { lost: Option<&'static str> },
    /// Of its header there are so many bytes.
    Header(Vec<u8>),
    /// So many bytes are missing of it, where it says how many it has; whether it has any yet.
    Body { left: Option<u64>, is_new: bool },
}

/// What the header says.
struct Head {
    bytes: usize,
    length: Option<u64>,
    stamp: Option<u64>,
    is_scrambled: bool,
}

impl Elementary {
    pub(super) fn new(packets: Packets, pid: u16) -> Self {
        Self {
            packets,
            pid,
            last: None,
            unit: Unit::Outside { lost: None },
            lost: None,
            stamp: None,
            has_begun: false,
        }
    }

    /// Notes that `bytes` bytes are lost, as byte `at` of the file shows; nothing is in front of the first packet.
    fn lose(&mut self, at: u64, bytes: u64, reason: &'static str) {
        if !self.has_begun {
            return;
        }
        let is_sure = reason != JUMP;
        let new = Lost {
            at,
            bytes,
            reason,
            is_sure,
        };
        self.lost = Some(self.lost.map_or(new, |lost| lost.and(new)));
    }

    /// Compares the counter with the one before; whether the packet is the one before once more.
    fn count(&mut self, file: &mut Window<'_>, packet: &Packet, payload: &[u8]) -> Result<bool> {
        let now = (packet.counter(), crc32fast::hash(payload));
        let before = self.last.replace(now);
        let Some((last, _)) = before.filter(|_| !packet.is_discontinuous()) else {
            return Ok(false);
        };
        let wanted = (last + 1) & 0xF;
        let missing = now.0.wrapping_sub(wanted) & 0xF;
        if missing == 0 || before == Some(now) {
            return Ok(missing > 0);
        }
        if self.next_counter(file)? == Some((wanted + 1) & 0xF) {
            // It alone is wrong.
            self.last = Some((wanted, now.1));
            let reason = format!("{JUMP}, and nothing is lost");
            file.remark(Error::corrupt(reason).at_byte(packet.at()))?;
        } else {
            self.lose(packet.at(), u64::from(missing) * PAYLOAD, JUMP);
        }
        Ok(false)
    }

    /// The counter of the packet after this one.
    fn next_counter(&self, file: &mut Window<'_>) -> Result<Option<u8>> {
        let mut packets = self.packets.clone();
        while let Some(packet) = packets.next(file)? {
            if packet.pid() == self.pid && packet.payload().is_some() {
                return Ok(Some(packet.counter()));
            }
        }
        Ok(None)
    }

    /// What of the payload belongs to the stream.
    fn take(
        &mut self,
        file: &mut Window<'_>,
        (at, payload): (u64, &[u8]),
    ) -> Result<Option<Piece>> {
        let (mut at, mut payload) = (at, payload);
        if let Unit::Header(held) = &mut self.unit {
            let before = held.len();
            held.extend_from_slice(payload);
            if held.len() >= START && !held.starts_with(&[0, 0, 1]) {
                self.unit = Unit::Outside {
                    lost: Some(HEADLESS),
                };
            } else if let Some(head) = head(held) {
                let skip = head.bytes.saturating_sub(before).min(payload.len());
                at += skip as u64;
                payload = payload.get(skip..).unwrap_or_default();
                self.enter(&head, at)?;
            }
        }
        let length = self.length(file, at, payload.len())?;
        if length == 0 {
            return Ok(None);
        }
        self.has_begun = true;
        Ok(Some(Piece {
            at,
            length,
            lost: self.lost.take(),
            stamp: self.stamp.take(),
        }))
    }

    fn enter(&mut self, head: &Head, at: u64) -> Result<()> {
        if head.is_scrambled {
            self.refuse_scrambled(at)?;
            self.unit = Unit::Outside {
                lost: Some(SCRAMBLED),
            };
            return Ok(());
        }
        self.stamp = head.stamp;
        self.unit = match head.bytes {
            0 => Unit::Outside { lost: None },
            _ => Unit::Body {
                left: head.length,
                is_new: true,
            },
        };
        Ok(())
    }

    /// How many of `count` bytes at `at` belong to the unit.
    fn length(&mut self, file: &Window<'_>, at: u64, count: usize) -> Result<usize> {
        let bytes = count as u64;
        match &mut self.unit {
            Unit::Outside { lost: Some(reason) } => {
                let reason = *reason;
                self.lose(at, bytes, reason);
            }
            Unit::Outside { .. } | Unit::Header(_) => {}
            Unit::Body { left: None, .. } => return Ok(count),
            Unit::Body {
                left: Some(left),
                is_new,
            } => {
                let is_first = std::mem::replace(is_new, count == 0 && *is_new);
                if *left >= bytes {
                    *left -= bytes;
                    return Ok(count);
                }
                let kept = std::mem::take(left);
                if is_first || kept == 0 {
                    // What fills the packet up.
                    return Ok(kept as usize);
                }
                self.unit = Unit::Body {
                    left: None,
                    is_new: false,
                };
                let reason = "a packet of the elementary stream is longer than it says";
                file.remark(Error::corrupt(reason).at_byte(at + kept))?;
                return Ok(count);
            }
        }
        Ok(0)
    }

    /// Refuses a stream that begins scrambled.
    fn refuse_scrambled(&self, at: u64) -> Result<()> {
        match self.has_begun {
            true => Ok(()),
            false => Err(
                Error::unsupported("the audio of the transport stream is scrambled").at_byte(at),
            ),
        }
    }
}

impl Walk for Elementary {
    fn next(&mut self, file: &mut Window<'_>) -> Result<Option<Piece>> {
        while let Some(packet) = self.packets.next(file)? {
            if packet.pid() != self.pid {
                continue;
            }
            let at = packet.at();
            let is_bad = !packet.is_whole();
            if is_bad || packet.is_scrambled() {
                if !is_bad {
                    self.refuse_scrambled(at)?;
                }
                self.last = self
                    .last
                    .map(|(counter, _)| (counter.wrapping_add(1) & 0xF, 0));
                self.lose(at, PAYLOAD, if is_bad { DAMAGED } else { SCRAMBLED });
                continue;
            }
            let Some((at, payload)) = packet.payload() else {
                continue;
            };
            if self.count(file, &packet, payload)? {
                continue;
            }
            if packet.is_start() {
                self.unit = Unit::Header(Vec::new());
            }
            if let Some(piece) = self.take(file, (at, payload))? {
                return Ok(Some(piece));
            }
        }
        // What is lost at the end is in front of nothing.
        let lost = self.lost.take();
        Ok(lost.map(|lost| Piece {
            at: file.len(),
            lost: Some(lost),
            ..Piece::default()
        }))
    }
}

/// The header that `bytes` begin with, once it is whole; of 0 bytes where it has no payload.
fn head(bytes: &[u8]) -> Option<Head> {
    let &[_, _, _, id, high, low, ref rest @ ..] = bytes else {
        return None;
    };
    let declared = u64::from(u16::from_be_bytes([high, low]));
    let mut new = Head {
        bytes: START,
        length: None,
        stamp: None,
        is_scrambled: false,
    };
    if id == PADDING {
        return Some(Head { bytes: 0, ..new });
    }
    if !PLAIN.contains(&id) {
        let &[flags, what, length, ref fields @ ..] = rest else {
            return None;
        };
        let fields = fields.get(..usize::from(length))?;
        new.bytes = HEAD + usize::from(length);
        new.is_scrambled = flags & 0x30 != 0;
        new.stamp = fields.first_chunk().filter(|_| what & 0x80 != 0).map(stamp);
    }
    let body = (declared + START as u64).checked_sub(new.bytes as u64);
    new.length = body.filter(|body| *body > 0 && declared > 0);
    Some(new)
}

/// 33 bits with marks between them.
fn stamp(field: &[u8; 5]) -> u64 {
    let [a, b, c, d, e] = field.map(u64::from);
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}
