//! What an index says of a member: where it lies, its digest, and what audio it holds.

use sha2::{Digest, Sha256};

use super::Member;
use super::group::split_name;
use crate::bytes::source::Source;
use crate::decode::Decoder;
use crate::error::{Error, ErrorKind, Name, Result};
use crate::guard::guarded;
use crate::info::AudioInfo;
use crate::interrupt;

/// Bytes of a digest that take some milliseconds.
const PIECE: usize = 1 << 20;

/// What audio is known by in a shard: the last part of an extension, in lower case.
pub const AUDIO_EXTENSIONS: [&str; 39] = [
    "3g2", "3ga", "3gp", "aac", "aif", "aifc", "aiff", "alac", "amr", "au", "avi", "awb", "bwf",
    "caf", "flac", "m2ts", "m4a", "m4b", "mka", "mkv", "mov", "mp1", "mp2", "mp3", "mp4", "nist",
    "oga", "ogg", "ogv", "opus", "rf64", "shn", "snd", "sph", "w64", "wav", "wave", "weba", "webm",
];

/// Whether a member of this name is audio by its extension.
pub fn is_audio(name: &str) -> bool {
    let (_, extension) = split_name(name);
    let last = extension.rsplit('.').next().unwrap_or_default();
    AUDIO_EXTENSIONS.contains(&last)
}

/// One row of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where the member lies.
    pub member: Member,
    /// Of its payload.
    pub sha256: [u8; 32],
    /// What its headers say, `frames` exact; `None` where it is no audio by its extension, or none that
    /// can be decoded.
    pub audio: Option<AudioInfo>,
    /// Why it has no `audio`, where it is audio by its extension; with the byte of the shard.
    pub error: Option<String>,
}

impl Row {
    /// The row of a member whose payload is at hand.
    ///
    /// # Errors
    /// [`Interrupted`](ErrorKind::Interrupted) alone.
    pub fn new(member: Member, payload: &[u8]) -> Result<Self> {
        let name = Name::of_member("", member.name.as_str(), member.offset);
        let digest = digest(payload)?;
        Self::of(member, digest, Source::from_bytes(name, payload))
    }

    /// The row of a member with this digest, whose name the payload's source carries.
    pub(super) fn of(member: Member, sha256: [u8; 32], payload: Source<'_>) -> Result<Self> {
        let info = is_audio(&member.name).then(|| guarded(|| Decoder::open(payload)?.info()));
        let (audio, error) = match info.transpose() {
            Ok(audio) => (audio, None),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            Err(error) => (None, Some(told(&error, &member))),
        };
        Ok(Self {
            member,
            sha256,
            audio,
            error,
        })
    }
}

fn digest(payload: &[u8]) -> Result<[u8; 32]> {
    let mut sha = Sha256::new();
    for piece in payload.chunks(PIECE) {
        interrupt::check_now()?;
        sha.update(piece);
    }
    Ok(sha.finalize().into())
}

/// The reason and the byte of the shard, without the names, which stand in the same row.
fn told(error: &Error, member: &Member) -> String {
    let end = member.offset.saturating_add(member.size);
    match error.byte_offset().filter(|byte| *byte <= end) {
        Some(byte) => format!("{} (byte {byte})", error.reason()),
        None => error.reason().to_owned(),
    }
}
