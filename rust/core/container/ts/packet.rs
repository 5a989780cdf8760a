//! Packets of a transport stream: ISO/IEC 13818-1, section 2.4.3.

use crate::bytes::window::Window;
use crate::error::{Error, Result};

/// Bytes of a packet; some files have a timecode in front of each (192), others a checksum after it (204).
const BYTES: usize = 188;
const STRIDES: [usize; 3] = [188, 192, 204];
const SYNC: u8 = 0x47;
/// Packets at their places that show a transport stream at the beginning of a file; fewer where it ends before.
const PROOF: usize = 5;
const LEAST_PROOF: usize = 3;
/// The same after other bytes, and how many these may be.
const LATE_PROOF: usize = 10;
const MOST_BEFORE: usize = 8 * 1024;
/// Bytes that are searched at once for the next packet.
const SEARCHED: usize = 64 * 1024;
/// Payload of a packet without an adaptation field.
pub(super) const PAYLOAD: u64 = 184;

/// One packet, and where it lies.
pub(super) struct Packet {
    at: u64,
    bytes: [u8; BYTES],
}

impl Packet {
    pub(super) fn pid(&self) -> u16 {
        u16::from(self.bytes[1] & 0x1F) << 8 | u16::from(self.bytes[2])
    }

    /// Whether it has the sync byte, and no mark of a receiver that it is damaged.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes[0] == SYNC && self.bytes[1] & 0x80 == 0
    }

    /// Whether a unit (a section, a packet of an elementary stream) begins in it.
    pub(super) fn is_start(&self) -> bool {
        self.bytes[1] & 0x40 != 0
    }

    pub(super) fn is_scrambled(&self) -> bool {
        self.bytes[3] & 0xC0 != 0
    }

    pub(super) fn counter(&self) -> u8 {
        self.bytes[3] & 0xF
    }

    /// Bytes before the payload; `None` where there is none.
    fn head(&self) -> Option<usize> {
        match self.bytes[3] >> 4 & 3 {
            1 => Some(4),
            3 => Some(5 + usize::from(self.bytes[4])).filter(|head| *head < BYTES),
            _ => None,
        }
    }

    /// Whether it says that its counter does not follow on that of the packet before it.
    pub(super) fn is_discontinuous(&self) -> bool {
        let has_flags = self.bytes[3] & 0x20 != 0 && self.bytes[4] > 0;
        has_flags && self.bytes[5] & 0x80 != 0
    }

    /// The payload, and the byte of the file at which it begins.
    pub(super) fn payload(&self) -> Option<(u64, &[u8])> {
        let head = self.head()?;
        Some((self.at + head as u64, self.bytes.get(head..)?))
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }
}

/// A walk over the packets of a file.
#[derive(Clone, Debug)]
pub(super) struct Packets {
    at: u64,
    stride: usize,
}

impl Packets {
    /// The packets of a file that looks like a transport stream; a remark where it begins in the middle of one.
    pub(super) fn find(file: &mut Window<'_>) -> Result<Option<Self>> {
        let seen = MOST_BEFORE + (LATE_PROOF + 1) * 204;
        let bytes = file.at(0, seen, seen as u64)?;
        let bytes = bytes.get(..seen).unwrap_or(bytes);
        let is_rest = bytes.len() < seen;
        let shows = |at: usize, stride: usize, proof: usize, least: usize| {
            let bytes = bytes.get(at..).unwrap_or_default();
            let mut packets = bytes.chunks(stride).filter(|packet| packet.len() >= BYTES);
            let is_end = packets
                .by_ref()
                .take(proof)
                .all(|packet| packet.first() == Some(&SYNC));
            let whole = bytes.len() / stride + usize::from(bytes.len() % stride >= BYTES);
            is_end && (whole >= proof || is_rest && whole >= least)
        };
        let at_once = [(0, 188), (4, 192), (0, 204), (0, 192)];
        let found = at_once
            .into_iter()
            .find(|(at, stride)| shows(*at, *stride, PROOF, LEAST_PROOF));
        let late = || {
            let mut places = (1..MOST_BEFORE).filter(|at| bytes.get(*at) == Some(&SYNC));
            places.find_map(|at| {
                let stride = STRIDES
                    .into_iter()
                    .find(|stride| shows(at, *stride, LATE_PROOF, PROOF))?;
                Some((at, stride))
            })
        };
        let Some((at, stride)) = found.or_else(late) else {
            return Ok(None);
        };
        if found.is_none() {
            let reason =
                "the transport stream begins after other bytes, or in the middle of a packet";
            file.remark(Error::corrupt(reason).at_byte(at as u64))?;
        }
        let at = at as u64;
        Ok(Some(Self { at, stride }))
    }

    /// The next packet, whole or not; `None` after the last. Bytes that are no packets are passed over.
    pub(super) fn next(&mut self, file: &mut Window<'_>) -> Result<Option<Packet>> {
        loop {
            let bytes = file.at(self.at, self.stride + 1, u64::MAX)?;
            let Some(packet) = bytes.first_chunk::<BYTES>() else {
                return self.end(file).map(|()| None);
            };
            let is_next_in_place = bytes.get(self.stride).is_none_or(|byte| *byte == SYNC);
            if packet[0] == SYNC || is_next_in_place {
                let (at, bytes) = (self.at, *packet);
                self.at += self.stride as u64;
                return Ok(Some(Packet { at, bytes }));
            }
            self.resume(file)?;
        }
    }

    /// Notes what is left after the last packet.
    fn end(&self, file: &mut Window<'_>) -> Result<()> {
        let rest = file.at(self.at, BYTES, BYTES as u64)?;
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let reason = "the last packet of the transport stream is cut short, and left out";
        file.remark(Error::corrupt(reason).at_byte(self.at))
    }

    /// Moves to the next place at which packets follow each other.
    fn resume(&mut self, file: &mut Window<'_>) -> Result<()> {
        let lost = self.at;
        let reason = "bytes between the packets of the transport stream belong to none";
        file.remark(Error::corrupt(reason).at_byte(lost))?;
        self.at += 1;
        loop {
            let bytes = file.at(self.at, SEARCHED + 2 * self.stride + 1, u64::MAX)?;
            let is_packet = |at: usize| {
                let sync = |count: usize| bytes.get(at + count * self.stride);
                sync(0) == Some(&SYNC)
                    && (1..3).all(|count| sync(count).is_none_or(|byte| *byte == SYNC))
            };
            let seen = bytes.len().min(SEARCHED);
            let found = (0..seen).find(|at| is_packet(*at));
            self.at += found.unwrap_or(seen) as u64;
            if found.is_some() || seen < SEARCHED {
                return Ok(());
            }
        }
    }
}
