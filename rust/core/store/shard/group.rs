//! Members to samples, as webdataset does it.
//!
//! An indexed shard of a hundred thousand members is opened in the time of a few reads: a sample is what
//! the members' names say, found by number or by the hash of its key, and nothing is allocated for each.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use super::Member;
use crate::error::{Error, ErrorKind, Result};

/// Members of one sample that are sorted to compare them.
const MANY: usize = 16;

/// Members of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Folders and base name up to the first dot.
    pub key: &'a str,
    /// Each with its extension, lower-cased, in the order of the archive.
    pub members: Vec<(Cow<'a, str>, &'a Member)>,
}

/// Key and extension of a name: the base name is cut at its first dot.
///
/// As webdataset cuts it, but that nothing is dropped: a base name without a dot has the extension
/// `""`, one that begins with a dot the key of its folder.
pub fn split_name(name: &str) -> (&str, String) {
    let (key, extension) = split(name);
    (key, extension.into_owned())
}

/// [`split_name`] without a copy, where the extension is in lower case.
fn split(name: &str) -> (&str, Cow<'_, str>) {
    let key = key_of(name);
    (key, lower(extension_behind(name, key.len())))
}

fn key_of(name: &str) -> &str {
    let bytes = name.as_bytes();
    let base = bytes.iter().rposition(|byte| *byte == b'/');
    let base = base.map_or(0, |slash| slash + 1);
    let rest = bytes.get(base..).unwrap_or_default();
    let dot = rest.iter().position(|byte| *byte == b'.');
    dot.and_then(|dot| name.get(..base + dot)).unwrap_or(name)
}

fn extension_behind(name: &str, key: usize) -> &str {
    name.get(key + 1..).unwrap_or_default()
}

fn lower(extension: &str) -> Cow<'_, str> {
    let is_lower = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    match extension.bytes().all(is_lower) {
        true => Cow::Borrowed(extension),
        false => Cow::Owned(extension.to_lowercase()),
    }
}

/// Whether webdataset keeps the member, or all of the folder that it is in, for remarks of its own.
pub(super) fn is_remark(name: &str) -> bool {
    let [b'_', b'_', ..] = name.as_bytes() else {
        return false;
    };
    let first = name.split('/').next().unwrap_or_default();
    first.len() >= 4 && first.ends_with("__")
}

/// What no two members of a shard have in common.
pub(super) fn identity(name: &str) -> (&str, Cow<'_, str>) {
    match is_remark(name) {
        true => (name, Cow::Borrowed("")),
        false => split(name),
    }
}

/// The members of a shard, and its samples in the order of their first members.
///
/// Members of one key are one sample wherever they lie. Of members whose path begins with a part like
/// `__this__` samples know nothing, as in webdataset.
pub struct Samples {
    members: Vec<Member>,
    groups: Vec<Group>,
    /// Numbers of members, sample by sample.
    order: Vec<u32>,
    places: Places,
}

/// Which sample a member belongs to, and how many bytes of its name are the key.
#[derive(Clone, Copy)]
struct Place {
    sample: u32,
    key: u32,
}

/// One sample.
struct Group {
    /// Its first member, whose name begins with the key.
    first: u32,
    /// Bytes of the key.
    key: u32,
    /// After the last of its members in the order.
    end: u32,
}

impl Samples {
    /// # Errors
    /// Where two members would hide each other.
    pub(super) fn group(members: Vec<Member>) -> Result<Self> {
        if members.len() >= u32::MAX as usize / 4 {
            return Err(Error::new(
                ErrorKind::Limit,
                "the archive has too many members",
            ));
        }
        let mut grouped = Self {
            places: Places::of(members.len()),
            groups: Vec::new(),
            order: Vec::new(),
            members,
        };
        let places = grouped.number();
        grouped.arrange(&places);
        grouped.refuse_twins(&places)?;
        Ok(grouped)
    }

    /// Where each member belongs, if anywhere; each sample's `end` is how many members it has.
    fn number(&mut self) -> Vec<Option<Place>> {
        let mut places = Vec::with_capacity(self.members.len());
        let (mut last, mut newest) = ("", None);
        for (number, member) in self.members.iter().enumerate() {
            if is_remark(&member.name) {
                places.push(None);
                continue;
            }
            let key = key_of(&member.name);
            let sample = match newest {
                Some(newest) if key == last => newest,
                _ => self.places.find_or_take(key, &self.groups, &self.members),
            };
            let first = number as u32;
            let key_bytes = key.len() as u32;
            if sample as usize == self.groups.len() {
                let key = key_bytes;
                self.groups.push(Group { first, key, end: 0 });
            }
            if let Some(group) = self.groups.get_mut(sample as usize) {
                group.end += 1;
            }
            places.push(Some(Place {
                sample,
                key: key_bytes,
            }));
            (last, newest) = (key, Some(sample));
        }
        places
    }

    /// Puts the members of each sample beside each other.
    fn arrange(&mut self, places: &[Option<Place>]) {
        let mut start = 0;
        for group in &mut self.groups {
            // Counts become starts, and starts ends while members are put there.
            start += std::mem::replace(&mut group.end, start);
        }
        self.order = vec![0; start as usize];
        for (number, place) in places.iter().enumerate() {
            let group = place.and_then(|place| self.groups.get_mut(place.sample as usize));
            if let Some(group) = group
                && let Some(slot) = self.order.get_mut(group.end as usize)
            {
                *slot = number as u32;
                group.end += 1;
            }
        }
    }

    fn refuse_twins(&self, places: &[Option<Place>]) -> Result<()> {
        let remarks = self.members.iter().zip(places);
        let remarks = remarks.filter(|(_, place)| place.is_none());
        refuse_twins(
            remarks
                .map(|(member, _)| (member.name.as_str().into(), member))
                .collect(),
        )?;
        let (mut start, mut sample) = (0, Vec::new());
        for group in &self.groups {
            let numbers = self
                .order
                .get(start..group.end as usize)
                .unwrap_or_default();
            sample.clear();
            sample.extend(numbers.iter().filter_map(|number| {
                let key = (*places.get(*number as usize)?)?.key as usize;
                let member = self.members.get(*number as usize)?;
                Some((extension_behind(&member.name, key), member))
            }));
            refuse_reserved(&sample)?;
            if may_have_twins(&sample) {
                let lowered = sample
                    .iter()
                    .map(|(extension, member)| (lower(extension), *member));
                refuse_twins(lowered.collect())?;
            }
            start = group.end as usize;
        }
        Ok(())
    }

    fn members_of(&self, number: usize) -> impl Iterator<Item = (Cow<'_, str>, &Member)> {
        let end = |number: usize| {
            self.groups
                .get(number)
                .map_or(0, |group| group.end as usize)
        };
        let start = number.checked_sub(1).map_or(0, end);
        let numbers = self.order.get(start..end(number)).unwrap_or_default();
        let members = numbers
            .iter()
            .filter_map(|at| self.members.get(*at as usize));
        members.map(|member| (split(&member.name).1, member))
    }

    /// All members, in the order of the archive.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether all members are remarks.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The sample of this number.
    pub fn get(&self, number: usize) -> Option<Sample<'_>> {
        let key = self.groups.get(number)?.key(&self.members);
        let members = self.members_of(number).collect();
        Some(Sample { key, members })
    }

    /// The samples in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Sample<'_>> {
        (0..self.len()).map(|number| {
            let nothing = Sample {
                key: "",
                members: Vec::new(),
            };
            self.get(number).unwrap_or(nothing)
        })
    }

    /// The samples' keys in their order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.groups.iter().map(|group| group.key(&self.members))
    }

    /// Which sample has the key.
    pub(super) fn find(&self, key: &str) -> Option<usize> {
        self.places.find(key, &self.groups, &self.members)
    }
}

impl PartialEq for Samples {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Group {
    fn key<'a>(&self, members: &'a [Member]) -> &'a str {
        let first = members.get(self.first as usize);
        let key = first.and_then(|member| member.name.get(..self.key as usize));
        key.unwrap_or_default()
    }
}

/// Where the sample of each key is: a table of numbers of samples, by the hash of their keys. The hash is
/// a keyed one: no archive's names can be chosen to fall together.
struct Places {
    /// Numbers and one, or 0: half of them at most are taken. A power of two.
    slots: Vec<u32>,
    hasher: RandomState,
}

impl Places {
    fn of(count: usize) -> Self {
        Self {
            slots: vec![0; (2 * count).next_power_of_two()],
            hasher: RandomState::new(),
        }
    }

    /// The slot of the key and the number in it, or of the first free slot.
    fn slot(&self, key: &str, groups: &[Group], members: &[Member]) -> (usize, Option<usize>) {
        let mask = self.slots.len() - 1;
        let mut at = self.hasher.hash_one(key) as usize & mask;
        while let Some(number) = self.slots.get(at).and_then(|slot| slot.checked_sub(1)) {
            let group = groups.get(number as usize);
            if group.is_none_or(|group| group.key(members) == key) {
                return (at, Some(number as usize));
            }
            at = (at + 1) & mask;
        }
        (at, None)
    }

    fn find(&self, key: &str, groups: &[Group], members: &[Member]) -> Option<usize> {
        self.slot(key, groups, members).1
    }

    /// The number of the key's sample; where there is none, that of the next, which is to be added.
    fn find_or_take(&mut self, key: &str, groups: &[Group], members: &[Member]) -> u32 {
        let (at, found) = self.slot(key, groups, members);
        let number = found.unwrap_or(groups.len()) as u32;
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = number + 1;
        }
        number
    }
}

/// A sample has its key under `__key__`.
fn refuse_reserved(members: &[(&str, &Member)]) -> Result<()> {
    let found = members.iter().find(|(extension, _)| is_reserved(extension));
    found.map_or(Ok(()), |(_, member)| Err(taken(member)))
}

fn is_reserved(extension: &str) -> bool {
    extension.as_bytes().first() == Some(&b'_') && lower(extension) == "__key__"
}

fn taken(member: &Member) -> Error {
    Error::unsupported("the extension __key__ is the sample's key")
        .with_member(member.name.as_str())
        .at_byte(member.header_offset)
}

/// The error of a member that would take its sample's key away.
pub(super) fn reserved(member: &Member) -> Option<Error> {
    let (_, extension) = split(&member.name);
    (is_reserved(&extension) && !is_remark(&member.name)).then(|| taken(member))
}

/// Few members are compared with each other, without the memory that sorting needs.
fn may_have_twins(members: &[(&str, &Member)]) -> bool {
    let are_twins = |one: &str, other: &str| match one.is_ascii() && other.is_ascii() {
        true => one.eq_ignore_ascii_case(other),
        false => lower(one) == lower(other),
    };
    let mut rest = members;
    while let Some(((extension, _), others)) = rest.split_first() {
        if members.len() > MANY || others.iter().any(|(other, _)| are_twins(other, extension)) {
            return true;
        }
        rest = others;
    }
    false
}

/// Refuses two members of which one would hide the other. Sorts: an archive may hold millions.
fn refuse_twins(mut members: Vec<(Cow<'_, str>, &Member)>) -> Result<()> {
    members
        .sort_by(|(one, first), (other, second)| (one, first.offset).cmp(&(other, second.offset)));
    for pair in members.windows(2) {
        if let [(one, first), (other, second)] = pair
            && one == other
        {
            let reason = match first.name == second.name {
                true => format!(
                    "the member at byte {} has the same name",
                    first.header_offset
                ),
                false => format!(
                    "the member has the same key and extension as {:?}",
                    first.name
                ),
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn samples_are_those_of_a_plain_grouping(
            names in prop::collection::btree_set("(a|b|__c__/)?[ab]{0,2}(\\.[xyX]{1,2})?", 1..40),
        ) {
            let at = |(at, name)| Member { name, offset: at, size: 0, header_offset: at };
            let members: Vec<Member> = (0..).zip(names).map(at).collect();
            let mut plain: Vec<(&str, Vec<(String, &Member)>)> = Vec::new();
            for member in members.iter().filter(|member| !is_remark(&member.name)) {
                let (key, extension) = split_name(&member.name);
                match plain.iter_mut().find(|(other, _)| *other == key) {
                    Some((_, found)) => found.push((extension, member)),
                    None => plain.push((key, vec![(extension, member)])),
                }
            }
            let has_twins = plain.iter().any(|(_, members)| {
                let extensions: std::collections::HashSet<_> = members.iter().map(|(e, _)| e).collect();
                extensions.len() < members.len()
            });
            let grouped = Samples::group(members.clone());
            prop_assert_eq!(grouped.is_err(), has_twins);
            let Ok(grouped) = grouped else { return Ok(()) };
            prop_assert_eq!(grouped.len(), plain.len());
            for (number, (sample, (key, members))) in grouped.iter().zip(&plain).enumerate() {
                prop_assert_eq!(grouped.find(key), Some(number));
                let found = sample.members.iter().map(|(e, member)| (e.clone().into_owned(), *member));
                prop_assert_eq!((sample.key, found.collect::<Vec<_>>()), (*key, members.clone()));
            }
            for key in ["", "q", "aaaa"] {
                let is_there = plain.iter().any(|(other, _)| *other == key);
                prop_assert_eq!(grouped.find(key).is_some(), is_there);
            }
        }
    }
}
