//! What is written is what is read, by ours and by another reader; half a shard is never seen.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ossicle::ErrorKind;
use ossicle::shard::write::{Options, Series, Split, Written};
use ossicle::shard::{Access, Shard, split_name};
use proptest::prelude::*;

type Sample = (String, Vec<(String, Vec<u8>)>);

const PLAIN: Options = Options {
    overwrite: false,
    fsync: false,
    index: true,
};

fn put(series: &mut Series, (key, members): &Sample) -> ossicle::Result<()> {
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(extension, payload)| (extension.as_str(), payload.as_slice()))
        .collect();
    series.write(key, &members)
}

fn write(path: &Path, split: Split, samples: &[Sample]) -> Vec<Written> {
    let mut series = Series::new(path, split, PLAIN).unwrap();
    for sample in samples {
        put(&mut series, sample).unwrap();
    }
    series.finish().unwrap();
    series.written().to_vec()
}

fn read(path: &Path) -> Vec<Sample> {
    let shard = Shard::open(path, Access::Pread).unwrap();
    let samples = shard.samples().iter().map(|sample| {
        let members = sample.members.iter().map(|(extension, member)| {
            let bytes = shard.bytes(member).unwrap().into_owned();
            (extension.to_string(), bytes)
        });
        (sample.key.to_owned(), members.collect())
    });
    samples.collect()
}

/// Names and payloads, as the `tar` crate reads them.
fn read_by_tar(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(
            (header.mtime().unwrap(), header.uid().unwrap()),
            (0, 0),
            "nothing tells when and by whom"
        );
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let mut payload = Vec::new();
        entry.read_to_end(&mut payload).unwrap();
        (name, payload)
    });
    entries.collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".parquet"))
        .collect();
    names.sort();
    names
}

fn sample(key: &str, extension: &str, payload: &[u8]) -> Sample {
    let members = vec![(extension.to_owned(), payload.to_vec())];
    (key.to_owned(), members)
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let part = prop_oneof!["[a-zA-Z0-9_é日 -]{1,9}", "[a-z]{90,110}"];
    let folder = prop_oneof!["", "[a-z.]{1,9}x/", "([a-z]{40}/){1,5}"];
    let extension = prop_oneof![
        Just(String::new()),
        "[a-z0-9é]{1,4}",
        "[a-z]{1,3}\\.[a-z]{1,3}"
    ];
    let size = prop_oneof![0..3usize, 510..515usize, 0..3000usize, 30_000..40_000usize];
    let payload = (size, any::<u8>()).prop_map(|(size, seed)| {
        let bytes = (0..size).map(|at| (at as u8).wrapping_mul(31) ^ seed);
        bytes.collect::<Vec<u8>>()
    });
    let members = proptest::collection::btree_map(extension, payload, 1..4);
    let named = (folder, part, members);
    let one = named.prop_map(|(folder, part, members)| {
        (format!("{folder}{part}"), members.into_iter().collect())
    });
    // Of one key the last is kept.
    proptest::collection::vec(one, 1..12).prop_map(|samples: Vec<Sample>| {
        let samples: BTreeMap<_, _> = samples.into_iter().collect();
        samples.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_is_what_is_read(samples in samples()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let written = write(&path, Split::default(), &samples);
        prop_assert_eq!(&read(&path), &samples);
        let named = |(key, members): &Sample| -> Vec<(String, Vec<u8>)> {
            let name = |extension: &str| match extension {
                "" => key.clone(),
                _ => format!("{key}.{extension}"),
            };
            members.iter().map(|(extension, payload)| (name(extension), payload.clone())).collect()
        };
        let expected: Vec<_> = samples.iter().flat_map(named).collect();
        prop_assert_eq!(read_by_tar(&path), expected);
        let bytes = path.metadata().unwrap().len();
        let facts = Written { path: path.clone(), samples: samples.len() as u64, bytes };
        prop_assert_eq!(written, vec![facts]);
        prop_assert_eq!(bytes % 10_240, 0);

        let again = folder.path().join("b.tar");
        write(&again, Split::default(), &samples);
        prop_assert!(fs::read(&path).unwrap() == fs::read(&again).unwrap());
    }

    #[test]
    fn shards_are_as_full_as_they_may_be(
        samples in samples(),
        max_bytes in proptest::option::of(1..150_000u64),
        max_samples in proptest::option::of(1..5u64),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let split = Split { max_bytes, max_samples };
        let written = write(&folder.path().join("a-%03d.tar"), split, &samples);
        let paths: Vec<PathBuf> =
            (0..written.len()).map(|number| folder.path().join(format!("a-{number:03}.tar"))).collect();
        let found: Vec<PathBuf> = written.iter().map(|one| one.path.clone()).collect();
        prop_assert_eq!(&found, &paths);
        prop_assert_eq!(names(folder.path()).len(), paths.len());
        let parts: Vec<Vec<Sample>> = paths.iter().map(|path| read(path)).collect();
        for (one, part) in written.iter().zip(&parts) {
            prop_assert_eq!(one.samples, part.len() as u64);
            prop_assert_eq!(one.bytes, one.path.metadata().unwrap().len());
            prop_assert!(max_samples.is_none_or(|most| one.samples <= most));
            prop_assert!(one.samples == 1 || max_bytes.is_none_or(|most| one.bytes <= most));
        }
        // None had room for the first sample of the next.
        for pair in parts.windows(2) {
            let mut more = pair[0].clone();
            more.push(pair[1][0].clone());
            let [one] = &write(&folder.path().join("more.tar"), Split::default(), &more)[..] else {
                panic!("not one shard");
            };
            let is_too_much = max_samples.is_some_and(|most| one.samples > most)
                || max_bytes.is_some_and(|most| one.bytes > most);
            prop_assert!(is_too_much);
            fs::remove_file(&one.path).unwrap();
        }
        prop_assert_eq!(parts.concat(), samples);
    }

    #[test]
    fn any_key_and_extension_is_kept_or_refused(key in "\\PC{0,6}|[a-z._/]{0,8}", extension in "[a-zA-Z._/]{0,8}") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let mut series = Series::new(&path, Split::default(), PLAIN).unwrap();
        let odd = sample(&key, &extension, b"x");
        let good = sample("the/one", "txt", b"y");
        match put(&mut series, &odd) {
            Ok(()) => {
                put(&mut series, &good).unwrap();
                series.finish().unwrap();
                prop_assert_eq!(read(&path), vec![odd, good]);
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::InvalidArgument);
                prop_assert_eq!(error.source_name(), path.to_str());
                let name = format!("{key}.{extension}");
                let (own, other) = split_name(&name);
                let is_legal = own == key && other == extension && !name.starts_with(['/', '_', '.'])
                    && !name.contains("..") && !name.ends_with(['.', '/', '_']);
                prop_assert!(!is_legal || key.is_empty(), "{}", error);
            }
        }
    }
}

#[test]
fn a_sample_that_is_refused_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (path, same) = (folder.path().join("a.tar"), folder.path().join("b.tar"));
    let good = [sample("a", "wav", b"1"), sample("b", "wav", b"2")];
    let mut series = Series::new(&path, Split::default(), PLAIN).unwrap();
    put(&mut series, &good[0]).unwrap();
    for (key, members) in [
        ("a", vec![("wav", &b"again"[..])]),
        ("c", vec![]),
        ("c.d", vec![("wav", b"x")]),
        ("c", vec![("wav", b"x"), ("txt", b"y"), ("wav", b"z")]),
        ("c", vec![("wav", b"x"), ("TXT", b"y")]),
        ("/c", vec![("wav", b"x")]),
        ("../c", vec![("wav", b"x")]),
        ("c\0", vec![("wav", b"x")]),
    ] {
        let error = series.write(key, &members).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert_eq!(error.source_name(), path.to_str());
    }
    put(&mut series, &good[1]).unwrap();
    series.finish().unwrap();
    write(&same, Split::default(), &good);
    assert!(fs::read(&path).unwrap() == fs::read(&same).unwrap());
}

#[test]
fn names_around_the_room_of_a_header() {
    let folder = tempfile::tempdir().unwrap();
    let mut samples = Vec::new();
    for length in [1, 95, 96, 97, 98, 250, 251] {
        for folders in [0, 1, 99, 100, 101, 154, 155, 156, 157, 254, 255] {
            let prefix = match folders {
                0 => String::new(),
                _ => format!("{}/", "d".repeat(folders)),
            };
            for letter in ["n", "é"] {
                let name = letter.repeat(length / letter.len());
                samples.push(sample(&format!("{prefix}{name}x"), "js", name.as_bytes()));
            }
        }
    }
    samples.sort();
    samples.dedup_by(|one, other| one.0 == other.0);
    let path = folder.path().join("a.tar");
    write(&path, Split::default(), &samples);
    assert_eq!(read(&path), samples);
    assert_eq!(read_by_tar(&path).len(), samples.len());
}

#[test]
fn a_shard_has_its_name_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tar");
    let one = sample("a", "wav", &vec![7; 1 << 20]);
    let mut series = Series::new(&path, Split::default(), PLAIN).unwrap();
    assert!(names(folder.path()).is_empty());
    put(&mut series, &one).unwrap();
    let [temporary] = &names(folder.path())[..] else {
        panic!("not one file");
    };
    assert!(temporary.starts_with(".a.tar.") && temporary.ends_with(".tmp"));
    drop(series);
    assert!(names(folder.path()).is_empty());

    let mut series = Series::new(&path, Split::default(), PLAIN).unwrap();
    put(&mut series, &one).unwrap();
    series.discard();
    assert!(names(folder.path()).is_empty());

    write(&path, Split::default(), &[one]);
    assert_eq!(names(folder.path()), ["a.tar"]);
}

#[test]
fn without_a_sample_there_is_no_shard() {
    let folder = tempfile::tempdir().unwrap();
    assert!(write(&folder.path().join("a.tar"), Split::default(), &[]).is_empty());
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_shard_that_is_there_is_not_replaced_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a-0001.tar");
    fs::write(&path, b"old").unwrap();
    let split = Split::default();
    for pattern in ["a-0001.tar", "a-%04d.tar", "a-%d.tar"] {
        let error = Series::new(&folder.path().join(pattern), split, PLAIN).err();
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(error.source_name(), path.to_str());
        assert_eq!(error.os_error(), Some(17), "{error}");
    }
    assert!(Series::new(&folder.path().join("a-%05d.tar"), split, PLAIN).is_ok());
    // Put there by another while this one writes.
    let late = folder.path().join("late.tar");
    let mut series = Series::new(&late, split, PLAIN).unwrap();
    put(&mut series, &sample("a", "wav", b"new")).unwrap();
    fs::write(&late, b"other").unwrap();
    assert_eq!(series.finish().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(fs::read(&late).unwrap(), b"other");
    assert!(
        put(&mut series, &sample("b", "wav", b"new")).is_err(),
        "lost"
    );
    assert_eq!(names(folder.path()), ["a-0001.tar", "late.tar"]);

    let options = Options {
        overwrite: true,
        fsync: true,
        ..PLAIN
    };
    let mut series = Series::new(&path, split, options).unwrap();
    put(&mut series, &sample("a", "wav", b"new")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    series.finish().unwrap();
    assert_eq!(read(&path), [sample("a", "wav", b"new")]);
    assert!(
        Series::new(folder.path(), split, options).is_err(),
        "a folder"
    );
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let limit = |max_bytes, max_samples| Split {
        max_bytes,
        max_samples,
    };
    for (name, split) in [
        ("a.tar", limit(Some(1000), None)),
        ("a.tar", limit(None, Some(10))),
        ("a-%d.tar", limit(Some(0), None)),
        ("a-%d.tar", limit(None, Some(0))),
        ("a-%d-%d.tar", Split::default()),
        ("a-%6d.tar", Split::default()),
    ] {
        let error = Series::new(&at(name), split, PLAIN).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name}");
    }
    let mut series = Series::new(&at("none/a.tar"), Split::default(), PLAIN).unwrap();
    let error = put(&mut series, &sample("a", "wav", b"x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(Series::new(&at("none/a-%d.tar"), Split::default(), PLAIN).is_err());
}

#[test]
fn what_killed_writers_left_is_collected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a-%02d.tar");
    let mut first = Series::new(&path, Split::default(), PLAIN).unwrap();
    put(&mut first, &sample("a", "wav", b"x")).unwrap();
    let [alive] = &names(folder.path())[..] else {
        panic!("not one file");
    };
    let own = format!("-{}-", std::process::id());
    let dead = |shard: &str| {
        let unique = alive.replace(&own, &format!("-{}-", u32::MAX));
        unique.replace("a-00.tar", shard)
    };
    for name in ["a-00.tar", "a-07.tar", "b-00.tar"] {
        fs::write(folder.path().join(dead(name)), b"half").unwrap();
    }
    fs::write(folder.path().join(".a-00.tar.mine.tmp"), b"a user's").unwrap();
    let mut second = Series::new(&path, Split::default(), PLAIN).unwrap();
    put(&mut second, &sample("b", "wav", b"y")).unwrap();
    let left = names(folder.path());
    let is_known = !alive.starts_with(".a-00.tar.0-");
    assert!(left.contains(alive), "{left:?}");
    assert!(left.contains(&".a-00.tar.mine.tmp".to_owned()));
    assert!(left.contains(&dead("b-00.tar")), "of other shards");
    assert_eq!(!left.contains(&dead("a-00.tar")), is_known);
    assert_eq!(!left.contains(&dead("a-07.tar")), is_known);
    first.finish().unwrap();
    assert!(second.finish().is_err(), "it was the second");
    assert_eq!(read(&folder.path().join("a-00.tar"))[0].0, "a");
}
