//! The chunks of AVI's `movi` lists, and those of one stream among them.

use crate::bytes::window::Window;
use crate::container::pieces::{Lost, Piece, Walk};
use crate::error::{Error, Result};

/// Bytes of a piece at most: a chunk may be as long as the file.
const PIECE: u64 = 64 * 1024;
/// Bytes that are searched at once for the next chunk.
const SEARCHED: usize = 64 * 1024;
/// Bytes of a header that are looked at: of a list, its kind too.
const HEAD: usize = 12;

const DAMAGED: &str = "a chunk of the AVI file is damaged";
const CUT: &str = "the AVI file is cut short";

/// A walk over the chunks of one stream. The index is not asked: it may be wrong, and what is there tells.
#[derive(Clone)]
pub(super) struct Chunks {
    at: u64,
    /// Bytes of the stream that are left in the chunk at hand, and the chunk after it.
    left: u64,
    after: u64,
    /// The two digits of the stream, and those of all audio streams.
    stream: [u8; 2],
    streams: Vec<[u8; 2]>,
    /// Where the list and the file around it end, as far as they say.
    movi_end: Option<u64>,
    riff_end: Option<u64>,
    lost: Option<Lost>,
    is_over: bool,
}

/// A chunk's header.
struct Head {
    id: [u8; 4],
    size: u64,
    kind: [u8; 4],
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[a, b, c, d, e, f, g, h], rest) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            id: [a, b, c, d],
            size: u64::from(u32::from_le_bytes([e, f, g, h])),
            kind: rest.first_chunk().copied().unwrap_or_default(),
        })
    }

    /// Whether chunks of this name are met with: those of a stream, and others.
    fn is_known(&self) -> bool {
        const OTHERS: [&[u8; 4]; 8] = [
            b"LIST", b"RIFF", b"JUNK", b"idx1", b"indx", b"INFO", b"DISP", b"vprp",
        ];
        let [a, b, c, d] = self.id;
        let is_number = a.is_ascii_digit() && b.is_ascii_digit();
        let of_stream = is_number && c.is_ascii_alphabetic() && d.is_ascii_alphabetic();
        of_stream || [a, b] == *b"ix" || OTHERS.contains(&&self.id)
    }

    /// Bytes from the header to the next one.
    fn length(&self) -> u64 {
        match (&self.id, &self.kind) {
            (b"RIFF", _) | (b"LIST", b"movi" | b"rec ") => HEAD as u64,
            _ => 8 + self.size + self.size % 2,
        }
    }
}

/// The end that a size tells, unless it is one that writers to a pipe leave.
pub(super) fn end_of(begin: u64, size: u64) -> Option<u64> {
    (1..0xFFFF_FF00).contains(&size).then_some(begin + size)
}

impl Chunks {
    /// The chunks from `at` on, in the first list.
    pub(super) fn new(
        at: u64,
        stream: [u8; 2],
        streams: Vec<[u8; 2]>,
        [riff_end, movi_end]: [Option<u64>; 2],
    ) -> Self {
        Self {
            at,
            left: 0,
            after: at,
            stream,
            streams,
            movi_end,
            riff_end,
            lost: None,
            is_over: false,
        }
    }

    fn lose(&mut self, at: u64, bytes: u64, reason: &'static str) {
        let new = Lost {
            at,
            bytes,
            reason,
            is_sure: true,
        };
        self.lost = Some(self.lost.map_or(new, |lost| lost.and(new)));
    }

    /// A part of the chunk at hand.
    fn part(&mut self, file: &Window<'_>) -> Option<Piece> {
        let there = file.len().saturating_sub(self.at).min(self.left);
        let length = there.min(PIECE);
        let at = self.at;
        self.at += length;
        self.left -= length;
        if there == length {
            if self.left > 0 {
                // The file ends in the middle of it.
                self.lose(file.len(), self.left, CUT);
            }
            self.left = 0;
            self.at = self.after;
        }
        (length > 0).then_some(Piece {
            at,
            length: length as usize,
            ..Piece::default()
        })
    }

    /// Enters or passes over the chunk whose header is at hand; whether there was one.
    fn enter(&mut self, file: &mut Window<'_>) -> Result<bool> {
        let Some(head) = self.head(file, self.at)? else {
            return Ok(false);
        };
        let is_after = self.riff_end.is_some_and(|end| self.at >= end);
        if is_after && head.id != *b"RIFF" {
            return Ok(false);
        }
        let next = self.at.saturating_add(head.length());
        if !head.is_known() {
            let found = self.search(file, self.at + 1)?;
            // Whose bytes they are is not known.
            self.lose(self.at, found.saturating_sub(self.at + 8), DAMAGED);
            self.at = found;
        } else if self.is_chunk(file, next)? {
            self.pass(&head, next);
        } else {
            self.judge(file, &head, next)?;
        }
        Ok(true)
    }

    /// Passes over a chunk after which none begins: its size is wrong if one begins in it, else what follows is
    /// damaged.
    fn judge(&mut self, file: &mut Window<'_>, head: &Head, next: u64) -> Result<()> {
        let at = self.at;
        let found = self.search(file, at + 8)?;
        if (next..=file.len()).contains(&found) {
            self.pass(head, next);
            return Ok(());
        }
        self.at = found;
        if [head.id[0], head.id[1]] == self.stream {
            self.lose(at, found.saturating_sub(at + 8), DAMAGED);
            return Ok(());
        }
        let reason = "the size of a chunk of the AVI file that is not of its audio is wrong";
        file.remark(Error::corrupt(reason).at_byte(at))
    }

    fn pass(&mut self, head: &Head, next: u64) {
        let body = self.at + 8;
        let of = [head.id[0], head.id[1]];
        match &head.id {
            b"RIFF" => self.riff_end = end_of(body, head.size),
            b"LIST" if head.kind == *b"movi" => self.movi_end = end_of(body, head.size),
            _ if of == self.stream => {
                (self.at, self.left, self.after) = (body, head.size, next);
                return;
            }
            // Nobody's audio: the number is damaged.
            [_, _, b'w', b'b'] if !self.streams.contains(&of) => {
                self.lose(self.at, head.size, DAMAGED);
            }
            _ => {}
        }
        self.at = next;
    }

    /// The first place from `at` on at which a chunk begins that another one follows; else the end.
    fn search(&self, file: &mut Window<'_>, at: u64) -> Result<u64> {
        let mut at = at;
        loop {
            let bytes = file.at(at, SEARCHED + HEAD, u64::MAX)?;
            let seen = bytes.len().min(SEARCHED);
            let names = (0..seen).filter(|place| {
                let head = Head::read(bytes.get(*place..).unwrap_or_default());
                head.is_some_and(|head| head.is_known())
            });
            for place in names.collect::<Vec<_>>() {
                let here = at + place as u64;
                if self.leads_on(file, here)? {
                    return Ok(here);
                }
            }
            at += seen as u64;
            if seen < SEARCHED {
                return Ok(file.len());
            }
        }
    }

    /// Whether a chunk follows the one at `at`; looked at beside the window, which stays where it is.
    fn leads_on(&self, file: &mut Window<'_>, at: u64) -> Result<bool> {
        let mut scratch = Vec::new();
        let Some(head) = Head::read(file.aside(at, HEAD, &mut scratch)?) else {
            return Ok(false);
        };
        let next = at.saturating_add(head.length());
        if let Some(is_end) = self.at_end(file.len(), next) {
            return Ok(is_end);
        }
        let next = Head::read(file.aside(next, HEAD, &mut scratch)?);
        Ok(next.is_some_and(|head| head.is_known()))
    }

    fn head(&self, file: &mut Window<'_>, at: u64) -> Result<Option<Head>> {
        Ok(Head::read(file.at(at, HEAD, HEAD as u64)?))
    }

    /// Whether a chunk begins at `at`, or the file ends there or before.
    fn is_chunk(&self, file: &mut Window<'_>, at: u64) -> Result<bool> {
        if let Some(is_end) = self.at_end(file.len(), at) {
            return Ok(is_end);
        }
        let head = self.head(file, at)?;
        Ok(head.is_some_and(|head| head.is_known()))
    }

    /// Whether the last chunk may end at `at` in a file of `len` bytes; `None` where another one has to follow.
    fn at_end(&self, len: u64, at: u64) -> Option<bool> {
        // After the end only what was cut has any right to be.
        let is_end = at.saturating_add(8) > len || self.riff_end == Some(at);
        let is_after_list = self.movi_end.is_some_and(|end| self.at >= end);
        is_end.then(|| at <= len || is_after_list || self.may_be_cut(len))
    }

    /// Whether neither list nor file say that they end in the `len` bytes that there are.
    fn may_be_cut(&self, len: u64) -> bool {
        let ends = [self.movi_end, self.riff_end];
        ends.iter().all(|end| end.is_none_or(|end| end > len))
    }
}

impl Walk for Chunks {
    fn next(&mut self, file: &mut Window<'_>) -> Result<Option<Piece>> {
        loop {
            if self.left > 0 {
                if let Some(piece) = self.part(file) {
                    let lost = self.lost.filter(|lost| lost.at < piece.at);
                    if lost.is_some() {
                        self.lost = None;
                    }
                    return Ok(Some(Piece { lost, ..piece }));
                }
                continue;
            }
            if !self.enter(file)? {
                break;
            }
        }
        if !std::mem::replace(&mut self.is_over, true) {
            let len = file.len();
            let is_told = self.movi_end.or(self.riff_end).is_some();
            if self.lost.is_none() && is_told && self.may_be_cut(len) {
                self.lose(len, 0, CUT);
            } else if self.riff_end.is_some_and(|end| end > len) && self.lost.is_none() {
                let reason =
                    "the AVI file ends before its header says, and nothing of its audio is lost";
                file.remark(Error::corrupt(reason).at_byte(len))?;
            }
        }
        let lost = self.lost.take();
        Ok(lost.map(|lost| Piece {
            at: file.len(),
            lost: Some(lost),
            ..Piece::default()
        }))
    }
}
