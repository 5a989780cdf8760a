//! Headers read through a window: a walk over chunks costs one call to the system, not one a chunk.

use super::tags::id3v2;
use crate::bytes::source::Source;
use crate::codec::sample::Order;
use crate::error::{Error, Result};

/// Bytes read at once where the source is no memory; most headers end before.
const WINDOW: usize = 4096;
/// Chunks in front of the samples before a file counts as hostile.
pub(crate) const MAX_CHUNKS: usize = 65_536;
/// One of these right after a byte shows that it is a pad byte, be it zero or not.
const KNOWN: [&[u8; 4]; 24] = [
    b"fmt ", b"data", b"fact", b"LIST", b"JUNK", b"bext", b"cue ", b"smpl", b"inst", b"iXML",
    b"id3 ", b"PEAK", b"axml", b"chna", b"COMM", b"SSND", b"NAME", b"AUTH", b"ANNO", b"COMT",
    b"MARK", b"CHAN", b"APPL", b"ID3 ",
];

/// A chunk of RIFF or of its model, EA IFF 85.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    pub(crate) id: [u8; 4],
    /// The first byte of the body.
    pub(crate) at: u64,
    /// Bytes of the body, as declared.
    pub(crate) size: u32,
}

/// The reader of a header.
pub(crate) struct HeaderReader<'h, 'a> {
    source: &'h mut Source<'a>,
    window: Vec<u8>,
    start: u64,
}

impl<'h, 'a> HeaderReader<'h, 'a> {
    pub(crate) fn new(source: &'h mut Source<'a>) -> Self {
        Self {
            source,
            window: Vec::new(),
            start: 0,
        }
    }

    /// Bytes of the whole source.
    pub(crate) fn source_len(&self) -> u64 {
        self.source.len()
    }

    /// Notes what is careless and is read all the same: [`Source::remark`].
    pub(crate) fn remark(&self, at: u64, reason: impl Into<String>) -> Result<()> {
        self.source.remark(self.broken(at, reason))
    }

    /// The bytes at `at`, fewer than `len` where the source ends before.
    pub(crate) fn bytes(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        let end = at.saturating_add(len as u64).min(self.source.len());
        let at = at.min(end);
        self.source.spend(at, 1)?;
        if let Some(all) = self.source.in_memory() {
            return Ok(&all[at as usize..end as usize]);
        }
        if at < self.start || end > self.start + self.window.len() as u64 {
            self.source
                .bytes_at(at, len.max(WINDOW), &mut self.window)?;
            self.start = at;
        }
        Ok(&self.window[(at - self.start) as usize..(end - self.start) as usize])
    }

    /// Where the ID3v2 tags that the file begins with end: 0 where there are none.
    pub(crate) fn behind_id3(&mut self) -> Result<u64> {
        let mut at = 0u64;
        while let Some(length) = id3v2(self.bytes(at, 10)?, b"ID3") {
            at = at.saturating_add(length);
        }
        Ok(at)
    }

    /// The `N` bytes at `at`, if they are there.
    pub(crate) fn array<const N: usize>(&mut self, at: u64) -> Result<Option<[u8; N]>> {
        Ok(self.bytes(at, N)?.try_into().ok())
    }

    /// The chunk that begins at `at`; `None` at the end of the source.
    pub(crate) fn chunk(&mut self, at: u64, order: Order) -> Result<Option<Chunk>> {
        let head = self.array::<8>(at)?;
        Ok(head.map(|[a, b, c, d, size @ ..]| Chunk {
            id: [a, b, c, d],
            at: at + 8,
            size: order.u32(size),
        }))
    }

    /// Where the chunk after `chunk` begins: on an even byte, unless the writer forgot to pad.
    pub(crate) fn behind(&mut self, chunk: Chunk) -> Result<u64> {
        let end = chunk.at + u64::from(chunk.size);
        if chunk.size.is_multiple_of(2) {
            return Ok(end);
        }
        let is_unpadded = match self.array::<5>(end)? {
            Some([a, b, c, d, e]) => {
                let printable = |byte: &u8| (b' '..=b'~').contains(byte);
                [a, b, c, d].iter().all(printable) && !KNOWN.contains(&&[b, c, d, e])
            }
            None => false,
        };
        Ok(if is_unpadded { end } else { end + 1 })
    }

    /// The error that the header is broken at byte `at`.
    pub(crate) fn broken(&self, at: u64, reason: impl Into<String>) -> Error {
        Error::corrupt(reason)
            .with_source(self.source.name())
            // A chunk's size may point after the end.
            .at_byte(at.min(self.source.len()))
    }
}
