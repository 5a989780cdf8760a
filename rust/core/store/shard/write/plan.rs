//! A sample about to be written: its members' names, headers and payloads, all that is wrong found first.

use std::collections::HashSet;

use super::head::{BLOCK, head};
use crate::error::{Error, Result};
use crate::store::shard::extended;
use crate::store::shard::group::{is_remark, split_name};

/// Longer paths, and longer parts of paths, no file system takes: the archive could not be unpacked.
const MAX_PATH: usize = 4095;
const MAX_PART: usize = 255;

/// A member with what stands in front of it.
pub(super) struct Planned<'a> {
    pub(super) name: String,
    pub(super) head: Vec<u8>,
    pub(super) payload: &'a [u8],
}

impl Planned<'_> {
    /// Bytes in the archive: headers, payload, padding.
    pub(super) fn bytes(&self) -> u64 {
        let payload = (self.payload.len() as u64).next_multiple_of(BLOCK as u64);
        self.head.len() as u64 + payload
    }
}

/// The members of the sample `key`, in their order.
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for what would not be read back as it is
/// written: the key, an extension, two of them alike, none at all.
pub(super) fn plan<'a>(key: &str, members: &[(&str, &'a [u8])]) -> Result<Vec<Planned<'a>>> {
    if members.is_empty() {
        return Err(Error::invalid(format!(
            "the sample {key:?} has no members: pass at least one"
        )));
    }
    let mut extensions = HashSet::with_capacity(members.len());
    let one = |(extension, payload): &(&str, &'a [u8])| {
        let name = named(key, extension);
        let twin = (!extensions.insert((*extension).to_owned()))
            .then(|| "the sample has two members with this extension".to_owned());
        match twin.or_else(|| refusal(key, extension, &name)) {
            Some(reason) => Err(Error::invalid(reason).with_member(name)),
            None => Ok(Planned {
                head: head(&name, payload.len() as u64),
                name,
                payload,
            }),
        }
    };
    members.iter().map(one).collect()
}

/// Refuses names with control characters: line ends in them break lists, escapes the terminal.
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) with the member.
pub(super) fn check_plain(key: &str, members: &[(&str, &[u8])]) -> Result<()> {
    let names = members.iter().map(|(extension, _)| named(key, extension));
    match names.into_iter().find(|name| extended::has_control(name)) {
        None => Ok(()),
        Some(name) => {
            let reason = "the member's name has control characters in it";
            Err(Error::invalid(reason).with_member(name))
        }
    }
}

/// A name without a dot has the extension `""`.
fn named(key: &str, extension: &str) -> String {
    match extension {
        "" => key.to_owned(),
        _ => format!("{key}.{extension}"),
    }
}

/// Why the member would be refused by a reader, or not be what it was.
fn refusal(key: &str, extension: &str, name: &str) -> Option<String> {
    if key.is_empty() {
        return Some("the sample has no key".to_owned());
    }
    if extension.starts_with("__") && extension.ends_with("__") {
        return Some(format!(
            "{extension:?} is metadata about the sample, not an extension: leave it out"
        ));
    }
    if let Some(reason) = extended::refusal(name) {
        return Some(reason.to_owned());
    }
    let (own_key, own_extension) = split_name(name);
    if own_key != key {
        return Some(format!(
            "the key {key:?} would be read back as {own_key:?}: the last part of a key must not contain a dot, nor an extension a slash"
        ));
    }
    if own_extension != extension {
        return Some(format!(
            "the extension {extension:?} would be read back as {own_extension:?}: extensions must be lowercase"
        ));
    }
    if is_remark(name) {
        return Some(
            "a key must not begin with a part like __this__, whose members belong to no sample"
                .to_owned(),
        );
    }
    if name.ends_with('/') {
        return Some("the member's name ends with a slash, like a folder's".to_owned());
    }
    too_long(name)
}

fn too_long(name: &str) -> Option<String> {
    let longest = name.split('/').map(str::len).max().unwrap_or(0);
    if name.len() <= MAX_PATH && longest <= MAX_PART {
        return None;
    }
    Some(format!(
        "the member's name has {} bytes, and its longest part {longest}: at most {MAX_PATH} and {MAX_PART} can be unpacked",
        name.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_would_be_read_back_otherwise() {
        for (key, extension) in [
            ("", "wav"),
            ("a.b", "wav"),
            ("a/b.c", "wav"),
            ("a", "WAV"),
            ("a", "x/y"),
            ("a", "__key__"),
            ("a", "__url__"),
            ("/a", "wav"),
            ("../a", "wav"),
            ("a/../b", "wav"),
            ("..", ""),
            (".", "wav"),
            ("a/", ""),
            ("a\0", "wav"),
            ("a", "w\0v"),
            ("__a__/b", "wav"),
            ("__a", "b__"),
        ] {
            assert!(plan(key, &[(extension, b"")]).is_err(), "{key} {extension}");
        }
        assert!(plan("a", &[]).is_err());
        assert!(plan("a", &[("b", b""), ("b", b"")]).is_err());
        for (key, extension) in [
            ("a", ""),
            ("a/", "hidden"),
            ("a.b/c", "seg.json"),
            ("__a", "wav"),
        ] {
            assert!(plan(key, &[(extension, b"")]).is_ok(), "{key} {extension}");
        }
    }

    #[test]
    fn names_that_no_file_system_takes_are_refused() {
        let part = "n".repeat(251);
        assert!(plan(&part, &[("wav", b"")]).is_ok());
        assert!(plan(&format!("{part}n"), &[("wav", b"")]).is_err());
        let path = format!("{part}/").repeat(16);
        assert!(plan(&format!("{path}{}", "n".repeat(59)), &[("wav", b"")]).is_ok());
        assert!(plan(&format!("{path}{}", "n".repeat(60)), &[("wav", b"")]).is_err());
    }
}
