//! Files that are known by their first bytes and not read: their error says what they are.

use crate::bytes::source::Source;
use crate::error::{Error, Result};

/// Bytes that are looked at.
pub(super) const HEAD_BYTES: usize = 512;

/// How a file begins, from which byte on, and FFmpeg's short name of it where there is one.
const KNOWN: &[(usize, &[u8], &str)] = &[
    (0, b"\x0B\x77", "ac3 or eac3"),
    (0, b"\x7F\xFE\x80\x01", "dts"),
    (0, b"\xFE\x7F\x01\x80", "dts"),
    (4, b"\xF8\x72\x6F\xBA", "truehd"),
    (4, b"\xF8\x72\x6F\xBB", "mlp"),
    (0, b"wvpk", "wavpack (wv)"),
    (0, b"TTA1", "true audio (tta)"),
    (0, b"TTA2", "true audio (tta)"),
    (0, b"MAC ", "monkey's audio (ape)"),
    (0, b"MPCK", "musepack (mpc8)"),
    (0, b"MP+", "musepack (mpc)"),
    (0, b"OFR ", "optimfrog"),
    (0, b"TWIN97012000", "twinvq (vqf)"),
    (0, b"#!AMR_MC", "amr_nb of several channels"),
    (0, b"#!AMR-WB_MC", "amr_wb of several channels"),
    (0, b"#!AMR", "amr"),
    (0, b"#!SILK", "silk"),
    (0, b"\x02#!SILK", "silk"),
    (0, b"DSD ", "dsd (dsf)"),
    (0, b"FRM8", "dsd (dff)"),
    (0, b"Creative Voice File", "creative voice (voc)"),
    (8, b"8SVX", "8svx"),
    (0, b"MThd", "midi"),
    (0, b".snd", "snd"),
    (0, b"ADIF", "aac (ADIF)"),
    (0, b".ra\xFD", "real audio (ra)"),
    (0, b".RMF", "real media (rm)"),
    (
        0,
        b"\x30\x26\xB2\x75\x8E\x66\xCF\x11",
        "asf (windows media)",
    ),
    (0, b"FLV\x01", "flv"),
    (0, b"\x00\x00\x01\xBA", "mpeg (program stream)"),
    (257, b"ustar", "a tar archive"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"\x1F\x8B", "gzip"),
    (0, b"PAR1", "parquet"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xFF\xD8\xFF", "a JPEG picture"),
    (0, b"%PDF", "a PDF document"),
    (0, b"<!DOCTYPE", "an HTML page"),
    (0, b"<html", "an HTML page"),
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer in place of the file (git lfs pull fetches it)",
    ),
];

/// Whether a file begins as one of these does, by more bytes than foreign bytes have by chance.
pub(super) fn is_sure(head: &[u8]) -> bool {
    KNOWN
        .iter()
        .any(|known| known.1.len() > 2 && begins(head, known))
}

/// Why a file that no reader takes is not read.
pub(crate) fn refusal(source: &mut Source<'_>) -> Result<Error> {
    let mut scratch = Vec::new();
    let head = source.bytes_at(0, HEAD_BYTES, &mut scratch)?;
    Ok(Error::unsupported(match name(head) {
        Some(name) => {
            format!("the content is not a supported audio format: it is {name}")
        }
        None => "the content is not a supported audio format".to_owned(),
    }))
}

fn name(head: &[u8]) -> Option<&'static str> {
    let known = KNOWN.iter().find(|known| begins(head, known));
    known.map(|(_, _, name)| *name)
}

fn begins(head: &[u8], (at, magic, _): &(usize, &[u8], &str)) -> bool {
    head.get(*at..).is_some_and(|rest| rest.starts_with(magic))
}
