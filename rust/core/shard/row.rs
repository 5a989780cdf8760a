//! What an index says of a member: where it lies, its digest, and what audio it holds.

use sha2::{Digest, Sha256};

use super::Member;
use crate::decode::{AudioInfo, Decoder};
use crate::source::Source;

/// One row of an index.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where the member lies.
    pub member: Member,
    /// Of its payload.
    pub sha256: [u8; 32],
    /// What its headers say, `frames` exact; `None` where it is no audio that can be decoded.
    pub audio: Option<AudioInfo>,
}

impl Row {
    /// The row of a member whose payload is at hand.
    pub fn new(member: Member, payload: &[u8]) -> Self {
        let source = Source::from_bytes(member.name.as_str(), payload);
        let audio = Decoder::open(source).and_then(Decoder::info).ok();
        Self {
            sha256: Sha256::digest(payload).into(),
            audio,
            member,
        }
    }
}

/// Whether a member of this extension is taken for audio.
pub fn is_audio(extension: &str) -> bool {
    let last = extension.rsplit('.').next().unwrap_or_default();
    ["wav", "flac", "mp3", "ogg", "opus", "m4a"].contains(&last)
}
