//! Members to samples, as webdataset does it.

use std::collections::HashMap;

use super::Member;
use crate::error::{Error, Result};

/// Members of one sample that are sorted to compare them.
const MANY: usize = 16;

/// Members of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Folders and base name up to the first dot.
    pub key: String,
    /// Each with its extension, lower-cased, in the order of the archive.
    pub members: Vec<(String, Member)>,
}

/// Key and extension of a name: the base name is cut at its first dot.
///
/// As webdataset cuts it, but that nothing is dropped: a base name without a dot has the extension
/// `""`, one that begins with a dot the key of its folder.
pub fn split_name(name: &str) -> (&str, String) {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = name.get(base..).and_then(|base| base.find('.'));
    match dot.and_then(|dot| name.split_at_checked(base + dot)) {
        Some((key, extension)) => (key, extension.get(1..).unwrap_or_default().to_lowercase()),
        None => (name, String::new()),
    }
}

/// Whether webdataset keeps the member, or all of the folder that it is in, for remarks of its own.
pub(super) fn is_remark(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or_default();
    first.len() >= 4 && first.starts_with("__") && first.ends_with("__")
}

/// Samples in the order of their first members, and where the sample of each key is.
pub(super) struct Samples {
    pub(super) samples: Vec<Sample>,
    pub(super) places: HashMap<String, usize>,
}

impl Samples {
    /// Members of one key are one sample wherever they lie in the archive.
    pub(super) fn group(members: &[Member]) -> Result<Self> {
        let mut grouped = Self {
            samples: Vec::new(),
            places: HashMap::with_capacity(members.len() / 2),
        };
        let mut remarks = Vec::new();
        for member in members {
            match is_remark(&member.name) {
                true => remarks.push((&member.name, member)),
                false => grouped.add(member),
            }
        }
        refuse_twins(remarks)?;
        for sample in &grouped.samples {
            refuse_reserved(sample)?;
            if may_have_twins(&sample.members) {
                let members = sample.members.iter();
                refuse_twins(
                    members
                        .map(|(extension, member)| (extension, member))
                        .collect(),
                )?;
            }
        }
        Ok(grouped)
    }

    fn add(&mut self, member: &Member) {
        let (key, extension) = split_name(&member.name);
        let is_last = self.samples.last().is_some_and(|sample| sample.key == key);
        let place = match is_last {
            true => self.samples.len() - 1,
            false => self.place_of(key),
        };
        if let Some(sample) = self.samples.get_mut(place) {
            sample.members.push((extension, member.clone()));
        }
    }

    fn place_of(&mut self, key: &str) -> usize {
        if let Some(place) = self.places.get(key) {
            return *place;
        }
        let place = self.samples.len();
        self.places.insert(key.to_owned(), place);
        self.samples.push(Sample {
            key: key.to_owned(),
            members: Vec::new(),
        });
        place
    }
}

/// A sample has its key under `__key__`.
fn refuse_reserved(sample: &Sample) -> Result<()> {
    let found = sample
        .members
        .iter()
        .find(|(extension, _)| extension == "__key__");
    match found {
        None => Ok(()),
        Some((_, member)) => Err(
            Error::unsupported("the extension __key__ is the sample's key")
                .with_member(member.name.as_str())
                .at_byte(member.header_offset),
        ),
    }
}

/// Few members are compared with each other, without the memory that sorting needs.
fn may_have_twins(members: &[(String, Member)]) -> bool {
    let mut rest = members;
    while let Some(((extension, _), others)) = rest.split_first() {
        if members.len() > MANY || others.iter().any(|(other, _)| other == extension) {
            return true;
        }
        rest = others;
    }
    false
}

/// Refuses two members of which one would hide the other. Sorts: an archive may hold millions.
fn refuse_twins(mut members: Vec<(&String, &Member)>) -> Result<()> {
    members.sort_by_key(|(extension, member)| (*extension, member.offset));
    for pair in members.windows(2) {
        if let [(one, first), (other, second)] = pair
            && one == other
        {
            let reason = match first.name == second.name {
                true => format!(
                    "the name is that of the member at byte {}, too",
                    first.header_offset
                ),
                false => format!("the same key and extension as {:?}", first.name),
            };
            return Err(Error::corrupt(reason)
                .with_member(second.name.as_str())
                .at_byte(second.header_offset));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_at_the_first_dot_of_their_last_part() {
        for (name, key, extension) in [
            ("a.wav", "a", "wav"),
            ("a.b/c.D/e.seg.JSON", "a.b/c.D/e", "seg.json"),
            ("./a.wav", "./a", "wav"),
            ("a.b/c", "a.b/c", ""),
            ("a/.hidden", "a/", "hidden"),
            ("README", "README", ""),
            ("a.", "a", ""),
            ("ÄÖ.ÜX", "ÄÖ", "üx"),
        ] {
            assert_eq!(split_name(name), (key, extension.to_owned()));
        }
    }
}
