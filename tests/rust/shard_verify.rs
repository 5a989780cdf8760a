//! What `examine` says of damaged shards: with the digests of an index nothing passes, and all that is
//! whole is kept.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ossicle::shard::{Access, Checks, Found, Row, Shard, examine, index, verify};
use ossicle::{Error, ErrorKind};
use proptest::prelude::*;

const BLOCK: u64 = 512;
const LONG: &str = "a-folder-with-a-name-of-some-more-than-thirty-letters/and-another-one-in-it/\
                    and-a-third-of-them-too/an-utterance.seg.json";

/// An archive by the crate `tar`, which shares nothing with the reader.
fn archive(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, payload) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(payload.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder
            .append_data(&mut header, name, &payload[..])
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn write(folder: &tempfile::TempDir, archive: &[u8]) -> PathBuf {
    let path = folder.path().join("shard.tar");
    fs::write(&path, archive).unwrap();
    path
}

fn rows(path: &Path) -> Vec<Row> {
    let shard = Shard::open(path, Access::Pread).unwrap();
    let members = shard.members().iter();
    members
        .map(|member| Row::new(member.clone(), &shard.bytes(member).unwrap()).unwrap())
        .collect()
}

fn examined(path: &Path, rows: Option<&[Row]>) -> Found {
    let checks = Checks {
        rows,
        ..Checks::default()
    };
    examine(path, checks).unwrap()
}

fn names(found: &Found) -> BTreeSet<&str> {
    found.whole.iter().map(|member| &*member.name).collect()
}

fn blamed(found: &Found) -> BTreeSet<&str> {
    found
        .errors
        .iter()
        .filter_map(|error| error.member())
        .collect()
}

fn payload_of(row: &Row) -> Range<u64> {
    row.member.offset..row.member.offset + row.member.size
}

/// Whether a byte lies in the zeros that fill a block up.
fn is_filling(archive: &[u8], at: u64) -> bool {
    let end = (at + 1).next_multiple_of(BLOCK);
    let rest = archive[at as usize..end as usize].iter();
    rest.copied().all(|byte| byte == 0)
}

fn members() -> Vec<(String, Vec<u8>)> {
    let text = |seed: u8, length: usize| (0..length).map(|at| seed ^ at as u8 | 1).collect();
    vec![
        ("a.wav".into(), text(1, 700)),
        ("a.json".into(), text(2, 3)),
        ("empty.txt".into(), Vec::new()),
        (LONG.into(), text(3, 512)),
        ("z.flac".into(), text(4, 600)),
    ]
}

#[test]
fn no_flip_passes_and_what_is_whole_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(&members());
    let path = write(&folder, &archive);
    let rows = rows(&path);
    assert!(examined(&path, Some(&rows)).errors.is_empty());
    let all: BTreeSet<&str> = rows.iter().map(|row| &*row.member.name).collect();
    let mut silent = 0;
    let file = File::options().write(true).open(&path).unwrap();
    for at in 0..archive.len() as u64 {
        let hit = rows.iter().find(|row| payload_of(row).contains(&at));
        for bit in 0..8 {
            let flipped = archive[at as usize] ^ 1 << bit;
            file.write_all_at(&[flipped], at).unwrap();
            let found = examined(&path, Some(&rows));
            let mut whole = all.clone();
            if let Some(hit) = hit {
                whole.remove(&*hit.member.name);
                assert!(blamed(&found).contains(&*hit.member.name), "byte {at}");
                assert_eq!(found.errors.len(), 1);
            }
            // Of a header a flip of a leading zero may change nothing.
            assert_eq!(names(&found), whole, "bit {bit} of byte {at}");
            silent += usize::from(found.errors.is_empty() && !is_filling(&archive, at));
        }
        file.write_all_at(&archive[at as usize..][..1], at).unwrap();
    }
    assert!(silent <= 8 * rows.len(), "{silent} flips of headers passed");
}

#[test]
fn of_a_cut_shard_all_that_is_there_is_kept_and_the_rest_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(&members());
    let path = write(&folder, &archive);
    let rows = rows(&path);
    for cut in (1..archive.len()).rev() {
        fs::write(&path, &archive[..cut]).unwrap();
        let found = examined(&path, Some(&rows));
        assert!(!found.errors.is_empty());
        for row in &rows {
            let name = &*row.member.name;
            let is_there = payload_of(row).end <= cut as u64;
            assert_eq!(
                names(&found).contains(name),
                is_there,
                "{name} cut at {cut}"
            );
            assert!(is_there || blamed(&found).contains(name));
        }
    }
}

/// Whatever is damaged in a shard, its index stays its own: the digests are used.
#[test]
fn no_damage_makes_an_index_that_of_another_shard() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = members();
    members.push(("nested.tar".into(), archive(&members)));
    members.push(("last.txt".into(), b"last".to_vec()));
    let archive = archive(&members);
    let path = write(&folder, &archive);
    let rows = rows(&path);
    index::write(&path, &rows).unwrap();
    let time = path.metadata().unwrap().modified().unwrap();
    let reasons = || -> Vec<String> {
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(time).unwrap();
        let found = verify(std::slice::from_ref(&path), 1, None, &|_, _| Ok(()));
        let errors = found.into_iter().flat_map(|found| found.unwrap());
        errors.map(|error| error.to_string()).collect()
    };
    assert_eq!(reasons(), [""; 0]);
    let file = File::options().write(true).open(&path).unwrap();
    for at in (0..archive.len()).step_by(3) {
        file.write_all_at(&[archive[at] ^ 0x04], at as u64).unwrap();
        let told = reasons();
        assert!(
            told.iter()
                .all(|reason| !reason.contains("belongs to another shard")),
            "{at}: {told:?}"
        );
        file.write_all_at(&archive[at..=at], at as u64).unwrap();
    }
    for cut in (1..archive.len()).rev().step_by(97) {
        file.set_len(cut as u64).unwrap();
        let told = reasons();
        assert!(!told.is_empty());
        assert!(
            told.iter()
                .all(|reason| !reason.contains("belongs to another shard")),
            "{cut}: {told:?}"
        );
    }
}

#[test]
fn another_shard_is_not_the_one_of_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, &archive(&members()));
    let rows = rows(&path);
    let mut other = members();
    other.reverse();
    let path = write(&folder, &archive(&other));
    let found = examined(&path, Some(&rows));
    assert_eq!(blamed(&found).len(), rows.len());
    assert!(
        found
            .errors
            .iter()
            .all(|error| error.kind() == ErrorKind::Corrupt)
    );
}

#[test]
fn twins_are_named_and_the_first_stays() {
    let folder = tempfile::tempdir().unwrap();
    let twins = ["a.wav", "b.wav", "a.WAV", "a.wav", "__m__/x", "__m__/x"];
    let members: Vec<_> = twins
        .iter()
        .enumerate()
        .map(|(number, name)| (name.to_string(), vec![number as u8; 10]))
        .collect();
    let path = write(&folder, &archive(&members));
    let found = examined(&path, None);
    let kept: Vec<&str> = found.whole.iter().map(|member| &*member.name).collect();
    assert_eq!(kept, ["a.wav", "b.wav", "__m__/x"]);
    let lost: Vec<_> = found
        .errors
        .iter()
        .filter_map(|error| error.member())
        .collect();
    assert_eq!(lost, ["a.WAV", "a.wav", "__m__/x"]);
}

#[test]
fn an_examination_tells_how_far_it_is_and_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, &archive(&[("a.wav".into(), vec![1; 5 << 20])]));
    let read = std::cell::Cell::new(0);
    let count = |bytes| {
        read.set(read.get() + bytes);
        match read.get() < 3 << 20 {
            true => Ok(()),
            false => Err(Error::invalid("enough")),
        }
    };
    let checks = Checks {
        on_bytes: Some(&count),
        ..Checks::default()
    };
    assert_eq!(examine(&path, checks).unwrap_err().reason(), "enough");
    assert_eq!(read.get(), 3 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_damaged_what_is_kept_is_as_it_was(
        lengths in prop::collection::vec(0usize..3000, 1..12),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..40),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let members: Vec<_> = lengths
            .iter()
            .enumerate()
            .map(|(number, length)| (format!("{number}.wav"), vec![number as u8 + 1; *length]))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let archive = archive(&members);
        let path = write(&folder, &archive);
        let rows = rows(&path);
        let mut damaged = archive.clone();
        for (place, byte) in &damage {
            damaged[place.index(archive.len())] ^= byte;
        }
        damaged.truncate(cut.map_or(archive.len(), |cut| cut.index(archive.len()).max(1)));
        fs::write(&path, &damaged).unwrap();
        let found = examined(&path, Some(&rows));
        for row in &rows {
            let place = payload_of(row).start as usize..payload_of(row).end as usize;
            let is_whole = damaged.get(place.clone()) == archive.get(place);
            let name = &*row.member.name;
            prop_assert_eq!(names(&found).contains(name), is_whole, "{}", name);
            prop_assert!(is_whole || blamed(&found).contains(name));
        }
        prop_assert_eq!(names(&found).len(), found.whole.len());
        if damaged == archive {
            prop_assert!(found.errors.is_empty());
        }
    }
}
