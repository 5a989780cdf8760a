//! An index is believed while it is whole and its shard is the one that it was made for, and not longer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use ossicle::shard::index::{self, Made};
use ossicle::shard::{Access, Row, Shard, is_audio};
use ossicle::{Error, ErrorKind};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// A WAV of 16-bit silence.
fn wav(rate: u32, frames: u32) -> Vec<u8> {
    let bytes = 2 * frames;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + bytes).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(rate.to_le_bytes());
    wav.extend((2 * rate).to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(bytes.to_le_bytes());
    wav.resize(44 + bytes as usize, 0);
    wav
}

fn packed(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn few() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a/one.wav", wav(16_000, 400)),
        ("a/one.json", b"{}".to_vec()),
        ("a/two.seg.WAV", wav(8_000, 30)),
        ("a/two.txt", b"".to_vec()),
        ("broken.flac", b"fLaC no more".to_vec()),
        ("README", b"hello".to_vec()),
    ]
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn shard(&self, name: &str, members: &[(&str, Vec<u8>)]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, packed(members)).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn make(shards: &[PathBuf], threads: usize, force: bool) -> Vec<Result<Made, Error>> {
    index::make(shards, threads, force, &|_, _| Ok(()))
}

fn make_one(shard: &Path) -> Result<Made, Error> {
    make(&[shard.to_owned()], 2, false).remove(0)
}

/// The rows by the headers and the payloads.
fn plain_rows(shard: &Path) -> Vec<Row> {
    let shard = Shard::open_headers(shard, Access::Pread).unwrap();
    let row = |member: &ossicle::shard::Member| {
        Row::new(member.clone(), &shard.bytes(member).unwrap()).unwrap()
    };
    shard.members().iter().map(row).collect()
}

#[test]
fn rows_say_where_members_lie_and_what_they_hold() {
    let folder = Folder::new();
    let shard = folder.shard("train-000.tar", &few());
    assert_eq!(make_one(&shard).unwrap(), Made::New);
    assert_eq!(make_one(&shard).unwrap(), Made::Kept);
    assert_eq!(
        folder.names(),
        ["train-000.tar", "train-000.tar.index.parquet"]
    );
    let rows = index::read(&shard).unwrap().unwrap();
    assert_eq!(rows, plain_rows(&shard));
    let file = fs::read(&shard).unwrap();
    for (row, (name, payload)) in rows.iter().zip(few()) {
        let member = &row.member;
        assert_eq!(member.name, name);
        let place = member.offset as usize..(member.offset + member.size) as usize;
        assert_eq!(file[place], payload);
        let digest: [u8; 32] = Sha256::digest(&payload).into();
        assert_eq!(row.sha256, digest);
        let decoder = ossicle::Decoder::open(ossicle::Source::from_bytes(name, &payload));
        let info = decoder.and_then(ossicle::Decoder::info);
        assert_eq!(row.audio, info.ok().filter(|_| is_audio(name)), "{name}");
        let is_broken = name == "broken.flac";
        assert_eq!(row.error.is_some(), is_broken, "{:?}", row.error);
    }
}

#[test]
fn threads_make_no_difference() {
    let folder = Folder::new();
    let texts: Vec<(String, Vec<u8>)> = (0..3000usize)
        .map(|number| (format!("{number}.txt"), vec![b'x'; number % 700]))
        .collect();
    let mut members: Vec<(&str, Vec<u8>)> = texts
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    members.insert(1500, ("long.wav", wav(16_000, 2_000_000)));
    let shards = [
        folder.shard("a.tar", &members),
        folder.shard("b.tar", &few()),
    ];
    let bytes = |threads: usize| {
        for made in make(&shards, threads, true) {
            assert_eq!(made.unwrap(), Made::New);
        }
        shards
            .each_ref()
            .map(|shard| fs::read(index::path_of(shard)).unwrap())
    };
    let one = bytes(1);
    assert_eq!(bytes(2), one);
    assert_eq!(bytes(7), one);
    assert_eq!(
        index::read(&shards[0]).unwrap().unwrap(),
        plain_rows(&shards[0])
    );
}

#[test]
fn a_member_that_is_not_held_gives_the_same_row() {
    let folder = Folder::new();
    let long = wav(48_000, 34 << 20);
    let members = [
        ("a.wav", long),
        ("b.wav", wav(8_000, 5)),
        ("c.flac", vec![7; 65 << 20]),
    ];
    let shard = folder.shard("shard.tar", &members);
    make_one(&shard).unwrap();
    let rows = index::read(&shard).unwrap().unwrap();
    assert_eq!(rows, plain_rows(&shard));
    assert_eq!(rows[0].audio.as_ref().unwrap().frames, 34 << 20);
    assert!(rows[2].error.is_some());
}

/// Puts other bytes for the headers, without another time: only an index opens it then.
fn spoil(shard: &Path) {
    let facts = shard.metadata().unwrap();
    let mut bytes = fs::read(shard).unwrap();
    bytes[..100].fill(b'?');
    fs::write(shard, bytes).unwrap();
    let file = File::options().write(true).open(shard).unwrap();
    file.set_modified(facts.modified().unwrap()).unwrap();
}

fn opens_by_its_index(shard: &Path) -> bool {
    Shard::open(shard, Access::Auto).is_ok()
}

#[test]
fn a_fresh_index_stands_for_the_headers_and_a_stale_one_does_not() {
    let folder = Folder::new();
    let shard = folder.shard("shard.tar", &few());
    make_one(&shard).unwrap();
    let by_headers = Shard::open_headers(&shard, Access::Auto).unwrap();
    let by_index = Shard::open(&shard, Access::Auto).unwrap();
    assert_eq!(by_index.members(), by_headers.members());
    assert_eq!(by_index.samples(), by_headers.samples());
    spoil(&shard);
    assert!(Shard::open_headers(&shard, Access::Auto).is_err());
    assert!(opens_by_its_index(&shard));

    let later = SystemTime::now() + Duration::from_nanos(1_000_000_001);
    File::options()
        .write(true)
        .open(&shard)
        .unwrap()
        .set_modified(later)
        .unwrap();
    assert!(!opens_by_its_index(&shard));
    let stale = index::read(&shard).unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::InvalidArgument);
    assert!(stale.reason().contains("stale"), "{stale}");
    // The archive is as broken as before, and the index stays.
    assert_eq!(make_one(&shard).unwrap_err().kind(), ErrorKind::Corrupt);

    let shard = folder.shard("shard.tar", &few()[1..]);
    assert_eq!(
        Shard::open(&shard, Access::Auto).unwrap().members().len(),
        few().len() - 1
    );
    assert_eq!(make_one(&shard).unwrap(), Made::New);
    assert_eq!(index::read(&shard).unwrap().unwrap(), plain_rows(&shard));
}

#[test]
fn no_flip_and_no_cut_gives_wrong_members() {
    let folder = Folder::new();
    let shard = folder.shard("shard.tar", &few());
    make_one(&shard).unwrap();
    let path = index::path_of(&shard);
    let (whole, rows) = (fs::read(&path).unwrap(), index::read(&shard).unwrap());
    let members = Shard::open_headers(&shard, Access::Pread)
        .unwrap()
        .members()
        .to_vec();
    let check = |damaged: &[u8], what: &str| {
        fs::write(&path, damaged).unwrap();
        let opened = Shard::open(&shard, Access::Pread).unwrap();
        assert_eq!(opened.members(), members, "{what}");
        // Not a bit of it is without a check.
        let error = index::read(&shard).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
        assert_eq!(error.source_name(), path.to_str());
    };
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            check(
                &damaged,
                &format!("bit {bit} of byte {at} of {}", whole.len()),
            );
        }
        check(&whole[..at], &format!("cut to {at}"));
    }
    check(&[&whole[..], b"x"].concat(), "grown");
    fs::write(&path, &whole).unwrap();
    assert_eq!(index::read(&shard).unwrap(), rows);
}

#[test]
fn what_is_no_index_is_told_and_not_replaced() {
    let folder = Folder::new();
    let shard = folder.shard("shard.tar", &few());
    let path = index::path_of(&shard);
    for foreign in [&b""[..], b"PAR1", &[0; 5000], b"PAR1....\x04\0\0\0PAR1"] {
        fs::write(&path, foreign).unwrap();
        let error = make_one(&shard).unwrap_err();
        assert_eq!(
            (error.kind(), error.source_name()),
            (ErrorKind::Corrupt, path.to_str())
        );
        assert_eq!(fs::read(&path).unwrap(), foreign);
        assert!(Shard::open(&shard, Access::Auto).is_ok());
    }
    assert_eq!(
        make(std::slice::from_ref(&shard), 1, true)
            .remove(0)
            .unwrap(),
        Made::New
    );
    assert_eq!(index::read(&shard).unwrap().unwrap(), plain_rows(&shard));
    fs::remove_file(&path).unwrap();
    assert_eq!(index::read(&shard).unwrap(), None);
    fs::create_dir(&path).unwrap();
    assert_eq!(make_one(&shard).unwrap_err().kind(), ErrorKind::Io);
    assert!(Shard::open(&shard, Access::Auto).is_ok());
}

#[test]
fn an_index_that_lies_is_not_believed() {
    let folder = Folder::new();
    let shard = folder.shard("shard.tar", &few());
    let rows = plain_rows(&shard);
    let truth = Shard::open_headers(&shard, Access::Auto).unwrap();
    let lies: [fn(&mut Vec<Row>); 9] = [
        |rows| rows[1].member.size = 1 << 40,
        |rows| rows[1].member.offset = u64::MAX / 2,
        |rows| rows[1].member.offset = 0,
        |rows| rows[2].member.header_offset = 0,
        |rows| rows[1].member.name = "../x".into(),
        |rows| rows[1].member.name = "/x".into(),
        |rows| rows[1].member.name = String::new(),
        |rows| rows[1].member.name = "a/one.WAV".into(),
        |rows| rows.clear(),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut rows = rows.clone();
        lie(&mut rows);
        index::write(&shard, &rows).unwrap();
        let opened = Shard::open(&shard, Access::Auto).unwrap();
        assert_eq!(opened.members(), truth.members(), "lie {number}");
    }
}

/// Another shard of the same size and time under the index, as tools leave it that set all times to one.
#[test]
fn an_index_of_another_shard_is_not_believed() {
    let folder = Folder::new();
    let names = |changed: &[usize]| -> Vec<String> {
        let name = |number| match changed.contains(&number) {
            true => format!("other-{number:03}.txt"),
            false => format!("first-{number:03}.txt"),
        };
        (0..40).map(name).collect()
    };
    let pack = |names: &[String]| {
        let members: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), name.clone().into_bytes()))
            .collect();
        folder.shard("shard.tar", &members)
    };
    let shard = pack(&names(&[]));
    make_one(&shard).unwrap();
    let time = shard.metadata().unwrap().modified().unwrap();
    let replace = |changed: &[usize]| {
        let all = names(changed);
        pack(&all);
        let file = File::options().write(true).open(&shard).unwrap();
        file.set_modified(time).unwrap();
        all
    };
    let of = |shard: &Shard| -> Vec<String> {
        let members = shard.members().iter();
        members.map(|member| member.name.clone()).collect()
    };
    // What some headers tell when it is opened.
    for changed in [&[0][..], &[39], &[0, 20], &(0..40).collect::<Vec<_>>()] {
        let all = replace(changed);
        assert_eq!(of(&Shard::open(&shard, Access::Auto).unwrap()), all);
    }
    // And each one's own when it is read.
    replace(&[21]);
    let opened = Shard::open(&shard, Access::Auto).unwrap();
    for (number, member) in opened.members().iter().enumerate() {
        let (read, source) = (opened.read(member), opened.source(member).map(drop));
        assert_eq!((read.is_ok(), source.is_ok()), (number != 21, number != 21));
        if let Err(error) = read {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(
                error.reason().contains("belongs to another shard"),
                "{error}"
            );
            assert_eq!(error.member(), Some("first-021.txt"));
        }
    }
}

#[test]
fn damaged_shards_are_errors_and_the_others_are_indexed() {
    let folder = Folder::new();
    let good = folder.shard("good.tar", &few());
    let bad = folder.shard("bad.tar", &few());
    let mut bytes = fs::read(&bad).unwrap();
    bytes[1536 + 3] ^= 1;
    fs::write(&bad, bytes).unwrap();
    let twins = folder.shard("twins.tar", &[("a.wav", wav(1, 1)), ("a.WAV", wav(1, 1))]);
    let missing = folder.0.path().join("missing.tar");
    let shards = [bad.clone(), good.clone(), twins, missing];
    let steps = Mutex::new(Vec::new());
    let made = index::make(&shards, 3, false, &|done, total| {
        steps.lock().unwrap().push((done, total));
        Ok(())
    });
    let kinds: Vec<_> = made
        .iter()
        .map(|one| one.as_ref().err().map(Error::kind))
        .collect();
    let corrupt = Some(ErrorKind::Corrupt);
    assert_eq!(kinds, [corrupt, None, corrupt, Some(ErrorKind::Io)]);
    let error = made[0].as_ref().unwrap_err();
    assert_eq!(
        (error.source_name(), error.byte_offset()),
        (bad.to_str(), Some(1536))
    );
    assert!(index::read(&good).unwrap().is_some());
    assert_eq!(folder.names().len(), 4);
    let steps = steps.into_inner().unwrap();
    let total = shards
        .iter()
        .filter_map(|path| path.metadata().ok())
        .map(|f| f.len())
        .sum();
    assert!(steps.iter().all(|(_, of)| *of == total));
    assert_eq!(steps.iter().map(|(done, _)| *done).max(), Some(total));
}

#[test]
fn the_first_error_of_progress_ends_the_work() {
    let folder = Folder::new();
    let shards = [folder.shard("a.tar", &few()), folder.shard("b.tar", &few())];
    let stop = |_, _| Err(Error::invalid("stop"));
    let made = index::make(&shards, 1, false, &stop);
    assert!(
        made.iter()
            .all(|one| one.as_ref().is_err_and(|e| e.reason() == "stop"))
    );
    assert_eq!(folder.names(), ["a.tar", "b.tar"]);
}

#[test]
fn an_index_that_cannot_be_written_leaves_nothing() {
    let folder = Folder::new();
    let shard = folder.shard("shard.tar", &few());
    fs::create_dir(index::path_of(&shard)).unwrap();
    fs::write(index::path_of(&shard).join("x"), b"x").unwrap();
    let error = index::write(&shard, &plain_rows(&shard)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(folder.names(), ["shard.tar", "shard.tar.index.parquet"]);
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

#[test]
fn indexes_of_others_are_compared() {
    let folder = Folder::new();
    let shard = folder.shard("shard.tar", &few());
    let starts: Vec<u64> = plain_rows(&shard)
        .iter()
        .map(|row| row.member.header_offset)
        .collect();
    let last = plain_rows(&shard).pop().unwrap().member;
    let end = (last.offset + last.size).next_multiple_of(512);
    let size = shard.metadata().unwrap().len();
    let beside = folder.0.path().join("shard.tar.idx");
    // Energon passes over README, which has no extension.
    let energon = [starts[0], starts[2], starts[4], end];
    let lhotse = |end: u64| [starts[0], starts[2], starts[4], end];
    for right in [energon, lhotse(size), lhotse(end + 512)] {
        fs::write(&beside, numbers(&right)).unwrap();
        make_one(&shard).unwrap();
    }
    let one_off = [starts[0], starts[2] + 512, starts[4], end];
    for (wrong, byte) in [
        (numbers(&one_off), 8),
        (numbers(&energon[..3]), 24),
        (numbers(&lhotse(size + 1)), 24),
        (numbers(&lhotse(end - 1)), 24),
        (numbers(&[&energon[..], &[0]].concat()), 32),
        (numbers(&energon)[..30].to_vec(), 30),
        (Vec::new(), 0),
        (vec![0; 1 << 20], 1 << 20),
    ] {
        fs::write(&beside, &wrong).unwrap();
        let error = make_one(&shard).unwrap_err();
        assert_eq!(
            (error.kind(), error.source_name()),
            (ErrorKind::Corrupt, beside.to_str())
        );
        assert_eq!(error.byte_offset(), Some(byte), "{error}");
        // Our own is right all the same.
        assert!(index::read(&shard).unwrap().is_some());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(
        members in prop::collection::btree_map(
            "[a-zé]{1,9}(/[a-z_]{1,60}){0,3}(\\.(wav|json|Flac|x)){0,2}",
            prop::collection::vec(any::<u8>(), 0..900),
            1..30,
        ),
    ) {
        let folder = Folder::new();
        let members: Vec<_> = members.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        let shard = folder.shard("shard.tar", &members);
        prop_assume!(Shard::open(&shard, Access::Pread).is_ok());
        let rows = plain_rows(&shard);
        index::write(&shard, &rows).unwrap();
        prop_assert_eq!(index::read(&shard).unwrap(), Some(rows));
        let (ours, theirs) = (
            Shard::open(&shard, Access::Pread).unwrap(),
            Shard::open_headers(&shard, Access::Pread).unwrap(),
        );
        prop_assert_eq!(ours.members(), theirs.members());
        prop_assert_eq!(ours.samples(), theirs.samples());
    }
}
