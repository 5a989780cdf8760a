//! Pages and their checksums: RFC 3533, section 6.

use crate::bytes::window::Window;
use crate::error::Error;

const HEADER_BYTES: usize = 27;
/// The most that one page takes.
pub(super) const MAX_PAGE_BYTES: u64 = (HEADER_BYTES + 255 + 255 * 255) as u64;

/// The head of a page, whose body is in place.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) at: u64,
    pub(super) end: u64,
    flags: u8,
    granule: i64,
    pub(super) serial: u32,
    /// Pages of a stream are numbered one after the other.
    pub(super) number: u32,
    pub(super) pieces: Vec<Piece>,
}

/// A packet, or the part of one that is on a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) at: u64,
    pub(super) size: usize,
    /// Whether its packet ends here.
    pub(super) ends: bool,
}

impl Page {
    pub(super) fn continues(&self) -> bool {
        self.flags & 1 != 0
    }

    pub(super) fn is_first(&self) -> bool {
        self.flags & 2 != 0
    }

    pub(super) fn is_last(&self) -> bool {
        self.flags & 4 != 0
    }

    /// The granule position, where a packet ends on the page or the stream does.
    pub(super) fn position(&self) -> Option<i64> {
        let ends = self.is_last() || self.pieces.iter().any(|piece| piece.ends);
        (ends && self.granule != -1).then_some(self.granule)
    }

    /// Whether a packet begins and ends here.
    pub(super) fn has_packet(&self) -> bool {
        let continued = usize::from(self.continues());
        self.pieces.iter().skip(continued).any(|piece| piece.ends)
    }
}

/// Why there is no page.
pub(super) enum NoPage {
    /// The file ends in front of it, or in it.
    End,
    /// A checksum was taken of so many bytes in vain.
    Damaged(usize),
    Io(Error),
}

/// The page at `at`; what follows is wanted for `ahead` bytes.
pub(super) fn read_page(
    window: &mut Window<'_>,
    at: u64,
    ahead: u64,
) -> std::result::Result<Page, NoPage> {
    let page = read_head(window, at, ahead)?;
    let size = (page.end - at) as usize;
    let bytes = window
        .at(at, size, ahead.max(size as u64))
        .map_err(NoPage::Io)?;
    let (header, body) = bytes
        .get(..size)
        .and_then(|page| page.split_first_chunk::<HEADER_BYTES>())
        .ok_or(NoPage::End)?;
    let mut unsigned = *header;
    unsigned[22..26].fill(0);
    if crc(crc(0, &unsigned), body) != word(header, 22) {
        return Err(NoPage::Damaged(size));
    }
    Ok(page)
}

/// The head of the page at `at`, whose body and checksum are not looked at.
pub(super) fn read_head(
    window: &mut Window<'_>,
    at: u64,
    ahead: u64,
) -> std::result::Result<Page, NoPage> {
    let bytes = window.at(at, HEADER_BYTES, ahead).map_err(NoPage::Io)?;
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        let is_cut = b"OggS\0".starts_with(bytes.get(..5).unwrap_or(bytes));
        return Err(if is_cut {
            NoPage::End
        } else {
            NoPage::Damaged(0)
        });
    };
    if !head.starts_with(b"OggS\0") {
        return Err(NoPage::Damaged(0));
    }
    let head = *head;
    let body_at = HEADER_BYTES + usize::from(head[HEADER_BYTES - 1]);
    let bytes = window.at(at, body_at, ahead).map_err(NoPage::Io)?;
    let lacing = bytes.get(HEADER_BYTES..body_at).ok_or(NoPage::End)?;
    let pieces = pieces(lacing, at + body_at as u64);
    let body: usize = pieces.iter().map(|piece| piece.size).sum();
    Ok(Page {
        at,
        end: at + (body_at + body) as u64,
        flags: head[5],
        granule: i64::from(word(&head, 6)) | i64::from(word(&head, 10)) << 32,
        serial: word(&head, 14),
        number: word(&head, 18),
        pieces,
    })
}

/// Whether `head`, which is no whole page, was one of the stream `serial` or of any: all of its capture pattern
/// but one byte is there, or the stream's number.
pub(super) fn resembles_page(head: &[u8], serial: u32) -> bool {
    let capture = head.iter().zip(b"OggS\0");
    let alike = capture.filter(|(byte, wanted)| byte == wanted).count();
    alike >= 4.min(head.len()) || head.get(14..18) == Some(&serial.to_le_bytes())
}

fn word(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|index| header[at + index]))
}

/// Each length below 255 ends a packet.
fn pieces(lacing: &[u8], body: u64) -> Vec<Piece> {
    let (mut pieces, mut at, mut size) = (Vec::new(), body, 0);
    for (index, length) in lacing.iter().enumerate() {
        size += usize::from(*length);
        let ends = *length < 255;
        if ends || index + 1 == lacing.len() {
            pieces.push(Piece { at, size, ends });
            at += size as u64;
            size = 0;
        }
    }
    pieces
}

/// Bytes that are looked up at once.
const SLICE: usize = 8;

/// Table `n` has the checksum of each byte followed by `n` zero bytes.
static TABLES: [[u32; 256]; SLICE] = {
    let mut tables = [[0; 256]; SLICE];
    let mut index = 0;
    while index < 256 {
        let (mut value, mut bit) = ((index as u32) << 24, 0);
        while bit < 8 {
            value = value << 1 ^ if value >> 31 == 1 { 0x04C1_1DB7 } else { 0 };
            bit += 1;
        }
        tables[0][index] = value;
        index += 1;
    }
    let mut zeros = 1;
    while zeros < SLICE {
        let mut index = 0;
        while index < 256 {
            let value = tables[zeros - 1][index];
            tables[zeros][index] = value << 8 ^ tables[0][(value >> 24) as usize];
            index += 1;
        }
        zeros += 1;
    }
    tables
};

/// The checksum of pages: polynomial 0x04C11DB7, highest bit first, from 0.
pub(super) fn crc(mut sum: u32, bytes: &[u8]) -> u32 {
    let (slices, rest) = bytes.as_chunks::<SLICE>();
    for slice in slices {
        let [a, b, c, d] = sum.to_be_bytes();
        let [e, f, g, h, tail @ ..] = *slice;
        let head = [a ^ e, b ^ f, c ^ g, d ^ h];
        let looked_up = TABLES.iter().rev().zip(head.iter().chain(&tail));
        sum = looked_up.fold(0, |sum, (table, byte)| sum ^ table[usize::from(*byte)]);
    }
    rest.iter().fold(sum, |sum, byte| {
        sum << 8 ^ TABLES[0][(sum >> 24) as usize ^ usize::from(*byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One bit after the other, as the RFC has it.
    fn naive(bytes: &[u8]) -> u32 {
        let bits = bytes
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
        bits.chain([0; 32]).fold(0u64, |sum, bit| {
            let sum = sum << 1 | u64::from(bit);
            if sum >> 32 == 1 {
                sum ^ 0x1_04C1_1DB7
            } else {
                sum
            }
        }) as u32
    }

    proptest! {
        #[test]
        fn checksums_are_those_of_the_division(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(crc(0, &bytes), naive(&bytes));
        }
    }

    #[test]
    fn packets_end_where_a_length_is_below_255() {
        let piece = |at, size, ends| Piece { at, size, ends };
        let expected = [
            piece(9, 255, true),
            piece(264, 3, true),
            piece(267, 510, false),
        ];
        assert_eq!(pieces(&[255, 0, 3, 255, 255], 9), expected);
        assert_eq!(pieces(&[], 9), []);
    }
}
