//! A damaged shard never ends early: each flip and each cut is an error or changes nothing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Cursor;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ossicle::shard::{Access, Checks, Member, Shard, digest, examine, split_name, walk};
use ossicle::{Choice, Error, ErrorKind, Source};
use proptest::prelude::*;

const BLOCK: usize = 512;

/// A header from the fields' places in the standard, by code that shares nothing with the reader's.
fn header(kind: u8, name: &[u8], size: u64, magic: &[u8]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0001750\0");
    block[116..124].copy_from_slice(b"0001750\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"14777777777\0");
    block[156] = kind;
    block[257..257 + magic.len()].copy_from_slice(magic);
    if !magic.is_empty() {
        block[265..269].copy_from_slice(b"user");
        block[297..302].copy_from_slice(b"group");
    }
    sealed(block)
}

/// With its checksum.
fn sealed(mut block: Vec<u8>) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(BLOCK), 0);
    padded
}

const POSIX: &[u8] = b"ustar\x0000";
const GNU: &[u8] = b"ustar  \0";
const V7: &[u8] = b"";

fn member(kind: u8, name: &[u8], payload: &[u8], magic: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, name, payload.len() as u64, magic);
    bytes.extend(padded(payload));
    bytes
}

fn file(name: &str, payload: &[u8]) -> Vec<u8> {
    member(b'0', name.as_bytes(), payload, POSIX)
}

/// `length keyword=value\n`.
fn record(keyword: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {keyword}={value}\n");
    let digits = (1..).find(|digits| (digits + rest.len()).to_string().len() == *digits);
    format!("{}{rest}", digits.unwrap() + rest.len()).into_bytes()
}

fn records(pairs: &[(&str, &str)]) -> Vec<u8> {
    pairs
        .iter()
        .flat_map(|(keyword, value)| record(keyword, value))
        .collect()
}

fn pax(pairs: &[(&str, &str)]) -> Vec<u8> {
    member(b'x', b"PaxHeaders/x", &records(pairs), POSIX)
}

fn ended(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = parts.concat();
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

/// Text, so that no payload looks like zeros or a header.
fn payload(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| b'a' + ((at * 7 + seed * 13) % 26) as u8)
        .collect()
}

/// Its first hundred bytes, which a header has room for, end like a folder's name.
const LONG: &str = "a-folder-with-a-name-of-some-more-than-thirty-letters/and-another-one-in-it/\
                    and-a-third-of-them-too/an-utterance.seg.json";

/// One archive for each kind of header, with something before and after it.
fn kinds() -> Vec<(&'static str, Vec<u8>)> {
    let around = |middle: &[Vec<u8>]| {
        let mut parts = vec![file("first.wav", &payload(1, 700))];
        parts.extend_from_slice(middle);
        parts.push(file("last.wav", &payload(2, 300)));
        ended(&parts)
    };
    let one = payload(3, 1100);
    let big = |kind: u8| {
        let mut block = header(kind, b"big.flac", 0, GNU);
        block[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\0\0\0\x04\x4c");
        [sealed(block), padded(&one)].concat()
    };
    let prefixed = |name: &str, folder: &[u8]| {
        let mut block = header(b'0', name.as_bytes(), one.len() as u64, POSIX);
        block[345..345 + folder.len()].copy_from_slice(folder);
        [sealed(block), padded(&one)].concat()
    };
    let long_name = |kind| member(kind, b"././@LongLink", format!("{LONG}\0").as_bytes(), GNU);
    let short = &LONG.as_bytes()[..100];
    assert!(short.ends_with(b"/"));
    let full_name = member(b'0', &[b'n'; 100], &one, POSIX);
    let size = one.len().to_string();
    vec![
        ("ustar", around(&[file("one.flac", &one)])),
        ("ustar-prefix", around(&[prefixed("one.flac", b"a/folder")])),
        ("ustar-full-name", around(&[full_name])),
        ("ustar-utf8", around(&[file("grüße/ün.flac", &one)])),
        (
            "contiguous",
            around(&[member(b'7', b"one.flac", &one, POSIX)]),
        ),
        ("v7", around(&[member(0, b"one.flac", &one, V7)])),
        ("gnu", around(&[member(b'0', b"one.flac", &one, GNU)])),
        ("gnu-base-256", around(&[big(b'0')])),
        (
            "gnu-long-name",
            around(&[long_name(b'L'), member(b'0', short, &one, GNU)]),
        ),
        (
            "gnu-long-link",
            around(&[long_name(b'K'), file("one.flac", &one)]),
        ),
        (
            "directory",
            around(&[
                member(b'5', b"folder/", b"", POSIX),
                file("folder/one.flac", &one),
            ]),
        ),
        (
            "v7-directory",
            around(&[
                member(0, b"folder/", b"", V7),
                file("folder/one.flac", &one),
            ]),
        ),
        ("empty", around(&[file("one.txt", b"")])),
        (
            "pax-path",
            around(&[
                pax(&[("mtime", "1.5"), ("path", LONG)]),
                member(b'0', short, &one, POSIX),
            ]),
        ),
        (
            "pax-size",
            around(&[pax(&[("size", &size)]), file("one.flac", &one)]),
        ),
        (
            "pax-global",
            around(&[
                member(
                    b'g',
                    b"pax_global_header",
                    &record("comment", "0123abcd"),
                    POSIX,
                ),
                file("one.flac", &one),
            ]),
        ),
    ]
}

type Content = BTreeMap<String, Vec<u8>>;

fn content(shard: &Shard) -> Result<Content, Error> {
    let read = |member: &Member| Ok((member.name.clone(), shard.bytes(member)?.into_owned()));
    let content: Content = shard
        .members()
        .iter()
        .map(read)
        .collect::<Result<_, Error>>()?;
    assert_eq!(content.len(), shard.members().len());
    let of_samples: usize = shard
        .samples()
        .iter()
        .map(|sample| sample.members.len())
        .sum();
    assert_eq!(of_samples, shard.members().len());
    Ok(content)
}

/// What a reader gets; errors name the file and a byte in it.
fn read(path: &Path) -> Result<Content, Error> {
    let found = Shard::open(path, Access::Pread).and_then(|shard| content(&shard));
    if let Err(error) = &found {
        assert_eq!(error.source_name(), Some(path.to_str().unwrap()), "{error}");
        let length = path.metadata().unwrap().len();
        assert!(
            error.byte_offset().is_none_or(|byte| byte <= length),
            "{error}"
        );
    }
    found
}

fn write(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("shard.tar");
    fs::write(&path, bytes).unwrap();
    path
}

fn error(bytes: &[u8]) -> Error {
    let folder = tempfile::tempdir().unwrap();
    read(&write(&folder, bytes)).unwrap_err()
}

/// The blocks that are headers, and those of their extended payloads.
fn header_blocks(archive: &[u8]) -> (Vec<usize>, Vec<usize>) {
    let (mut headers, mut payloads) = (Vec::new(), Vec::new());
    let mut at = 0;
    while archive[at..at + BLOCK].iter().any(|byte| *byte != 0) {
        headers.push(at);
        let octal = std::str::from_utf8(&archive[at + 124..at + 135]);
        let size = octal.map_or(1100, |text| usize::from_str_radix(text, 8).unwrap());
        let end = (at + BLOCK + size).next_multiple_of(BLOCK);
        if b"xgLK".contains(&archive[at + 156]) {
            payloads.extend((at + BLOCK..end).step_by(BLOCK));
        }
        at = end;
    }
    (headers, payloads)
}

#[test]
fn every_kind_of_header_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, archive) in kinds() {
        let found = read(&write(&folder, &archive)).unwrap();
        assert_eq!(found.len(), 3, "{kind}");
        assert_eq!(found["first.wav"], payload(1, 700), "{kind}");
        assert_eq!(found["last.wav"], payload(2, 300), "{kind}");
        let lengths: Vec<usize> = found.values().map(Vec::len).collect();
        assert!(
            lengths.contains(&if kind == "empty" { 0 } else { 1100 }),
            "{kind}"
        );
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        let is_long = ["gnu-long-name", "pax-path"].contains(&kind);
        assert_eq!(names.contains(&LONG), is_long, "{kind}");
    }
}

/// Reads the archive with one bit flipped after the other in the blocks.
fn flip_all(
    archive: &[u8],
    blocks: &[usize],
    mut check: impl FnMut(usize, Result<Content, Error>),
) {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder, archive);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for at in blocks.iter().flat_map(|block| *block..block + BLOCK) {
        for bit in 0..8 {
            file.write_all_at(&[archive[at] ^ (1 << bit)], at as u64)
                .unwrap();
            check(at, read(&path));
        }
        file.write_all_at(&[archive[at]], at as u64).unwrap();
    }
}

#[test]
fn every_flip_in_a_header_is_an_error_or_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, archive) in kinds() {
        let whole = read(&write(&folder, &archive)).unwrap();
        let (mut errors, mut same) = (0, 0);
        let (mut headers, _) = header_blocks(&archive);
        if kind != "ustar" {
            // Those of the first and the last member are the same in all.
            headers = headers[1..headers.len() - 1].to_vec();
        }
        flip_all(&archive, &headers, |at, found| match found {
            Err(_) => errors += 1,
            Ok(found) => {
                assert!(
                    found == whole,
                    "{kind}: a flip in byte {at} changes the content"
                );
                same += 1;
            }
        });
        assert_eq!(errors + same, 4096 * headers.len(), "{kind}");
        // Of the checksum's own eight bytes only: zeros before and after its digits for spaces.
        assert!(same <= 4 * headers.len(), "{kind}: {same} flips go by");
    }
}

#[test]
fn a_flip_in_a_long_name_hides_no_member() {
    for (kind, archive) in kinds() {
        let (_, blocks) = header_blocks(&archive);
        flip_all(&archive, &blocks, |at, found| {
            let Ok(found) = found else { return };
            let mut lengths: Vec<usize> = found.values().map(Vec::len).collect();
            lengths.sort_unstable();
            assert_eq!(lengths, [300, 700, 1100], "{kind}: byte {at}");
        });
    }
}

#[test]
fn every_cut_is_an_error_or_costs_padding_only() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, archive) in kinds() {
        let path = write(&folder, &archive);
        let whole = read(&path).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        for length in (0..archive.len()).rev() {
            file.set_len(length as u64).unwrap();
            assert!(read(&path).is_err(), "{kind}: {length}");
        }
        // The last record is filled up with zeros, which may be missing.
        let end = archive.len();
        let mut filled = archive;
        filled.resize(end.next_multiple_of(20 * BLOCK), 0);
        fs::write(&path, &filled).unwrap();
        for length in (end..=filled.len()).rev() {
            file.set_len(length as u64).unwrap();
            let found = read(&path);
            assert_eq!(found.is_ok(), length % BLOCK == 0, "{kind}: {length}");
            assert!(found.is_err() || found.is_ok_and(|found| found == whole));
        }
    }
}

#[test]
fn what_follows_zeros_is_an_error() {
    let first = file("a.wav", &payload(1, 700));
    let second = ended(&[file("b.wav", &payload(2, 700))]);
    for blocks in [1, 2, 3, 50] {
        let bytes = [&first[..], &vec![0; blocks * BLOCK], &second].concat();
        let error = error(&bytes);
        assert_eq!(error.byte_offset(), Some(first.len() as u64), "{error}");
    }
    for rubbish in [&b"x"[..], &payload(5, 512), &second] {
        let mut bytes = ended(std::slice::from_ref(&first));
        bytes.extend(rubbish);
        let error = error(&bytes);
        assert_eq!(
            (error.kind(), error.byte_offset()),
            (ErrorKind::Corrupt, Some(1536))
        );
    }
    // Left unwritten by a download that reserves its space first.
    let mut bytes = first;
    bytes.resize(bytes.len() + (2 << 20), 0);
    assert!(
        error(&bytes)
            .reason()
            .contains("follow the end of the archive")
    );
    assert!(error(&[0; 10240]).reason().contains("has no members"));
}

#[test]
fn what_a_shard_may_not_hold_is_refused_with_its_place() {
    let one = payload(1, 600);
    let linked = |kind: u8| {
        let mut block = header(kind, b"b.wav", 0, POSIX);
        block[157..162].copy_from_slice(b"a.wav");
        sealed(block)
    };
    let size_of = |digits: &str| {
        let pairs = [("size", digits)];
        [pax(&pairs), file("b.wav", &one)].concat()
    };
    let named = |name: &str| [pax(&[("path", name)]), file("b.wav", &one)].concat();
    let long = |name: &[u8]| member(b'L', b"././@LongLink", name, GNU);
    let with = |pair| [pax(&[pair]), file("b.wav", &one)].concat();
    let own = |name: &[u8]| member(b'0', name, &one, POSIX);
    let (refused, broken) = (ErrorKind::Unsupported, ErrorKind::Corrupt);
    let base_256 = |bytes: &[u8]| {
        let mut block = header(b'0', b"b.wav", 0, GNU);
        block[124..136].copy_from_slice(bytes);
        sealed(block)
    };
    // What, the kind of error, and how far after the first member it begins.
    for (bytes, kind, at) in [
        (linked(b'1'), refused, 0),
        (linked(b'2'), refused, 0),
        (linked(b'3'), refused, 0),
        (linked(b'4'), refused, 0),
        (linked(b'6'), refused, 0),
        (member(b'S', b"b.wav", &one, GNU), refused, 0),
        (member(b'M', b"b.wav", &one, GNU), refused, 0),
        (member(b'V', b"label", b"", GNU), refused, 0),
        (member(b'?', b"b.wav", &one, POSIX), refused, 0),
        (own(b"/b.wav"), refused, 0),
        (own(b"../b.wav"), refused, 0),
        (own(b"a/../../b.wav"), refused, 0),
        (own(b".."), refused, 0),
        (own(b""), refused, 0),
        (own(b"b\xff.wav"), refused, 0),
        (own(b"b.__key__"), refused, 0),
        (named("/etc/passwd"), refused, 1024),
        (named("x/../y"), refused, 1024),
        (named(""), refused, 1024),
        (named("a\0b"), broken, 1024),
        ([long(b"/b\0"), file("b.wav", &one)].concat(), refused, 1024),
        (
            [long(b"b\0c\0"), file("b.wav", &one)].concat(),
            broken,
            1024,
        ),
        ([long(b"c.wav\0"), named("d.wav")].concat(), broken, 2048),
        (
            [long(b"c.wav\0"), long(b"c.wav\0"), file("b.wav", &one)].concat(),
            broken,
            1024,
        ),
        (
            [pax(&[]), pax(&[]), file("b.wav", &one)].concat(),
            broken,
            512,
        ),
        (with(("GNU.sparse.major", "1")), refused, 0),
        (with(("GNU.sparse.realsize", "9")), refused, 0),
        (with(("SCHILY.realsize", "9")), refused, 0),
        (with(("GNU.volume.size", "9")), refused, 0),
        (with(("sise", "600")), broken, 0),
        (size_of("599"), broken, 1024),
        (size_of("0"), broken, 1024),
        (size_of("8589934592"), broken, 1024),
        (size_of("-1"), broken, 0),
        (size_of("99999999999999999999999"), broken, 0),
        (
            member(b'g', b"g", &record("size", "600"), POSIX),
            refused,
            0,
        ),
        (
            member(b'g', b"g", &record("path", "b.wav"), POSIX),
            refused,
            0,
        ),
        (header(b'x', b"x", 1 << 30, POSIX), ErrorKind::Limit, 0),
        (
            base_256(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            broken,
            0,
        ),
        (
            base_256(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
            broken,
            0,
        ),
        (base_256(b"            "), broken, 0),
        (base_256(b"00000001238\0"), broken, 0),
        (member(b'5', b"b/", &one, POSIX), broken, 0),
        (file("a.wav", &one), broken, 0),
        (file("a.WAV", &one), broken, 0),
        (pax(&[("path", "b.wav")]), broken, 1024),
        (
            [file("__m__/x", &one), file("__m__/x", &one)].concat(),
            broken,
            1536,
        ),
    ] {
        let first = file("a.wav", &one);
        let start = first.len() as u64;
        let shown = String::from_utf8_lossy(&bytes[..20]).into_owned();
        let error = error(&ended(&[first, bytes]));
        assert_eq!(error.kind(), kind, "{shown}: {error}");
        assert_eq!(error.byte_offset(), Some(start + at), "{shown}: {error}");
    }
    let error = error(&ended(&[file("a.wav", &one), own(b"x/../b.wav")]));
    assert_eq!(error.member(), Some("x/../b.wav"));
}

#[test]
fn signed_checksums_of_old_tars_are_taken() {
    let mut block = header(b'0', "grüße.wav".as_bytes(), 3, POSIX);
    block[148..156].fill(b' ');
    let sum: i32 = block.iter().map(|byte| i32::from(*byte as i8)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let folder = tempfile::tempdir().unwrap();
    let bytes = ended(&[block, padded(b"abc")]);
    let found = read(&write(&folder, &bytes)).unwrap();
    assert_eq!(found["grüße.wav"], b"abc");
}

#[test]
fn behind_a_damaged_header_the_walk_goes_on() {
    let payloads: Vec<_> = (0..6).map(|n| payload(n, 400 * n + 1)).collect();
    let parts: Vec<_> = (0..6)
        .map(|n| match n % 2 {
            0 => file(&format!("{n}.wav"), &payloads[n]),
            _ => [
                pax(&[("path", &format!("{n}.wav"))]),
                file("short", &payloads[n]),
            ]
            .concat(),
        })
        .collect();
    let archive = ended(&parts);
    let folder = tempfile::tempdir().unwrap();
    for damaged in 0..6 {
        let start: usize = parts[..damaged].iter().map(Vec::len).sum();
        let mut bytes = archive.clone();
        let header = start + if damaged % 2 == 1 { 2 * BLOCK } else { 0 };
        bytes[header + 130] ^= 1;
        let walked = walk(Source::from_bytes("shard", &bytes));
        let (found, lost): (Vec<_>, Vec<_>) = walked.partition(Result::is_ok);
        let names: Vec<_> = found.into_iter().map(|found| found.unwrap().name).collect();
        let expected: Vec<_> = (0..6)
            .filter(|n| *n != damaged)
            .map(|n| format!("{n}.wav"))
            .collect();
        assert_eq!(names, expected);
        let lost: Vec<_> = lost.into_iter().map(|lost| lost.unwrap_err()).collect();
        assert_eq!(lost.len(), 1);
        let end = if damaged == 5 {
            archive.len()
        } else {
            start + parts[damaged].len()
        };
        assert_eq!(lost[0].bytes, start as u64..end as u64);
        assert_eq!(lost[0].error.byte_offset(), Some(header as u64));

        let path = write(&folder, &bytes);
        let errors = examine(&path, Checks::default()).unwrap().errors;
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].to_string(), read(&path).unwrap_err().to_string());
    }
    let path = write(&folder, &archive);
    assert_eq!(examine(&path, Checks::default()).unwrap().errors.len(), 0);
}

#[test]
fn what_a_check_finds_names_the_member_and_the_byte_of_the_shard() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        &folder,
        &ended(&[file("a.wav", b"RIFF"), file("b.wav", b"RIFF")]),
    );
    let checks = Checks {
        decode: Some(Choice::Native),
        ..Checks::default()
    };
    let found = examine(&path, checks).unwrap();
    assert!(found.whole.is_empty());
    for (error, (name, header)) in found.errors.iter().zip([("a.wav", 0), ("b.wav", 1024)]) {
        assert_eq!(
            (error.source_name(), error.member()),
            (path.to_str(), Some(name))
        );
        let payload: Range<u64> = header + 512..header + 1024;
        assert!(
            error
                .byte_offset()
                .is_none_or(|byte| payload.contains(&byte)),
            "{error}"
        );
    }

    let shard = Shard::open(&path, Access::Auto).unwrap();
    let source = shard.source(&shard.members()[1]).unwrap();
    let error = ossicle::load(source, &ossicle::Request::default()).unwrap_err();
    assert_eq!(
        (error.source_name(), error.member()),
        (path.to_str(), Some("b.wav"))
    );
    let extent: Range<u64> = 1536..2048;
    assert!(
        error
            .byte_offset()
            .is_none_or(|byte| extent.contains(&byte)),
        "{error}"
    );
}

#[test]
fn members_of_a_key_are_one_sample_wherever_they_lie() {
    let names = [
        "a.wav",
        "b/a.wav",
        "b/a.seg.JSON",
        "a.json",
        "README",
        "__meta__/x.json",
        "a/.b",
        "c.",
    ];
    let parts: Vec<_> = names
        .iter()
        .map(|name| file(name, name.as_bytes()))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let shard = Shard::open(&write(&folder, &ended(&parts)), Access::Auto).unwrap();
    let grouped: Vec<(&str, Vec<String>)> = (shard.samples().iter())
        .map(|one| {
            let extensions = one.members.iter().map(|(e, _)| e.to_string());
            (one.key, extensions.collect())
        })
        .collect();
    let expected = [
        ("a", vec!["wav".to_owned(), "json".to_owned()]),
        ("b/a", vec!["wav".to_owned(), "seg.json".to_owned()]),
        ("README", vec![String::new()]),
        ("a/", vec!["b".to_owned()]),
        ("c", vec![String::new()]),
    ];
    assert_eq!(grouped, expected);
    assert_eq!(shard.members().len(), names.len());
    for (number, sample) in shard.samples().iter().enumerate() {
        assert_eq!(shard.find(sample.key), Some(number));
        for (extension, member) in &sample.members {
            assert_eq!(
                shard.bytes(member).unwrap().as_ref(),
                member.name.as_bytes()
            );
            let pair = (sample.key, extension.to_string());
            assert_eq!(split_name(&member.name), pair);
        }
    }
    assert_eq!(shard.find("b"), None);
}

type Change = (&'static str, fn(&Path));

/// Each way in which a file under a reader can change.
fn changes() -> Vec<Change> {
    fn resize(path: &Path, length: u64) {
        OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(length)
            .unwrap();
    }
    vec![
        ("cut", |path| resize(path, 1024)),
        ("emptied", |path| resize(path, 0)),
        ("grown", |path| resize(path, 1 << 20)),
        ("cut and grown", |path| {
            let length = path.metadata().unwrap().len();
            resize(path, 0);
            resize(path, length);
            let later = SystemTime::now() + Duration::from_secs(1);
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(later)
                .unwrap();
        }),
        ("replaced", |path| {
            let copy = path.with_extension("new");
            fs::copy(path, &copy).unwrap();
            fs::rename(copy, path).unwrap();
        }),
        ("written to", |path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(b"x", 600).unwrap();
            file.set_modified(SystemTime::now() + Duration::from_secs(1))
                .unwrap();
        }),
    ]
}

#[test]
fn a_shard_that_changes_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for access in [Access::Mmap, Access::Pread] {
        for (what, change) in changes() {
            let one = payload(1, 200_000);
            let path = write(&folder, &ended(&[file("a.txt", &one), file("b.txt", &one)]));
            let shard = Shard::open(&path, access).unwrap();
            assert_eq!(shard.is_mapped(), access == Access::Mmap);
            let member = &shard.members()[1];
            let open = shard.source(member).unwrap();
            shard.check_unchanged().unwrap();
            change(&path);
            for error in [
                shard.check_unchanged().unwrap_err(),
                shard.bytes(member).unwrap_err(),
                shard.source(member).map(drop).unwrap_err(),
            ] {
                assert!(error.reason().contains("has changed"), "{what}: {error}");
                assert_eq!(error.kind(), ErrorKind::Io);
            }
            if access == Access::Pread && what != "replaced" {
                let error = shard.payload(member).map(drop).unwrap_err();
                assert!(error.reason().contains("has changed"), "{what}: {error}");
            }
            // What was opened before reads from the file that it has.
            let read = digest(open, |_| Ok(()));
            assert_eq!(read.is_ok(), what == "replaced", "{what}");
        }
    }
    let path = write(&folder, &ended(&[file("a.txt", b"abc")]));
    let shard = Shard::open(&path, Access::Auto).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(shard.bytes(&shard.members()[0]).unwrap().as_ref(), b"abc");
}

#[test]
fn a_payload_outlives_its_shard() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(
        &folder,
        &ended(&[file("a.txt", b"abc"), file("b.txt", b"")]),
    );
    for access in [Access::Mmap, Access::Pread] {
        let shard = Shard::open(&path, access).unwrap();
        let payloads: Vec<_> = shard
            .members()
            .iter()
            .map(|m| shard.payload(m).unwrap())
            .collect();
        drop(shard);
        assert_eq!(
            (payloads[0].bytes(), payloads[1].bytes()),
            (&b"abc"[..], &b""[..])
        );
    }
}

/// A map's pages are let go each time that so much was handed out.
#[test]
fn what_was_handed_out_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let one = payload(1, 100_000);
    let shard = Shard::open(
        &write(&folder, &ended(&[file("a.txt", &one)])),
        Access::Mmap,
    )
    .unwrap();
    let member = &shard.members()[0];
    let (first, borrowed) = (shard.payload(member).unwrap(), shard.bytes(member).unwrap());
    for _ in 0..3 * (256 << 20) / one.len() {
        shard.payload(member).unwrap();
    }
    assert_eq!(first.bytes(), one);
    assert_eq!(borrowed.as_ref(), one);
}

#[test]
fn an_index_opens_without_a_header() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = ended(&[file("a.wav", &payload(1, 999)), file("a.json", b"{}")]);
    let path = write(&folder, &bytes);
    let shard = Shard::open(&path, Access::Auto).unwrap();
    let whole = content(&shard).unwrap();
    let members = shard.members().to_vec();
    bytes[..BLOCK].fill(b'?');
    let path = write(&folder, &bytes);
    assert!(Shard::open(&path, Access::Auto).is_err());
    for access in [Access::Mmap, Access::Pread] {
        let indexed = Shard::from_members(&path, access, members.clone()).unwrap();
        assert_eq!(content(&indexed).unwrap(), whole);
        assert_eq!(indexed.samples(), shard.samples());
    }
    let lying = |change: fn(&mut Member)| {
        let mut members = members.clone();
        change(&mut members[1]);
        Shard::from_members(&path, Access::Auto, members)
            .map(drop)
            .unwrap_err()
            .kind()
    };
    assert_eq!(
        lying(|member| member.size = 1 << 40),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        lying(|member| member.offset = u64::MAX),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        lying(|member| member.name = "../x".into()),
        ErrorKind::Unsupported
    );
    assert_eq!(
        lying(|member| member.name = "a.wav".into()),
        ErrorKind::Corrupt
    );
}

#[test]
fn what_is_no_file_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| Shard::open(path, Access::Auto).map(drop).unwrap_err();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for path in [
        &pipe,
        folder.path(),
        Path::new("/dev/zero"),
        &folder.path().join("none"),
    ] {
        assert_eq!(open(path).kind(), ErrorKind::Io);
    }
    assert_eq!(open(&write(&folder, b"")).reason(), "the file is empty");
}

#[test]
fn members_above_8_gib() {
    const SIZE: u64 = (10 << 30) + 12345;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.tar");
    let in_pax = |plain: u64| {
        [
            pax(&[("size", &SIZE.to_string())]),
            header(b'0', b"big.wav", plain, POSIX),
        ]
    };
    let mut in_gnu = header(b'0', b"big.wav", 0, GNU);
    in_gnu[124..128].copy_from_slice(b"\x80\0\0\0");
    in_gnu[128..136].copy_from_slice(&SIZE.to_be_bytes());
    for head in [
        in_pax(0).concat(),
        in_pax((1 << 33) - 1).concat(),
        sealed(in_gnu),
    ] {
        let file_ = File::create(&path).unwrap();
        let end = (head.len() as u64 + SIZE).next_multiple_of(BLOCK as u64);
        file_.write_all_at(&head, 0).unwrap();
        file_
            .write_all_at(b"the last", head.len() as u64 + SIZE - 8)
            .unwrap();
        file_
            .write_all_at(&ended(&[file("small.txt", b"abc")]), end)
            .unwrap();
        for access in [Access::Mmap, Access::Pread] {
            let shard = Shard::open(&path, access).unwrap();
            let [big, small] = shard.members() else {
                unreachable!()
            };
            assert_eq!((big.size, big.offset), (SIZE, head.len() as u64));
            assert_eq!(shard.bytes(small).unwrap().as_ref(), b"abc");
            let end = Member {
                offset: big.offset + SIZE - 8,
                size: 8,
                ..big.clone()
            };
            assert_eq!(shard.bytes(&end).unwrap().as_ref(), b"the last");
        }
        assert_eq!(error_of(&path, end + 100), ErrorKind::Corrupt);
    }
}

fn error_of(path: &Path, length: u64) -> ErrorKind {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(length)
        .unwrap();
    Shard::open(path, Access::Auto)
        .map(drop)
        .unwrap_err()
        .kind()
}

/// An archive by the crate `tar`, which also chooses long names' headers.
fn packed(members: &[(String, Vec<u8>)], is_gnu: bool) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = match is_gnu {
            true => tar::Header::new_gnu(),
            false => tar::Header::new_ustar(),
        };
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

fn archives() -> impl Strategy<Value = (Vec<(String, Vec<u8>)>, bool)> {
    let name = "[a-zé]{1,9}(/[a-z_]{1,60}){0,3}(\\.[a-zA-Z]{1,5}){0,3}";
    let bytes = prop::collection::vec(any::<u8>(), 0..3000);
    let members = prop::collection::btree_map(name, bytes, 1..12);
    let unordered = members.prop_map(|members| members.into_iter().collect::<Vec<_>>());
    (unordered.prop_shuffle(), any::<bool>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_the_tar_crate_packs_is_read((members, is_gnu) in archives()) {
        let is_fitting = |name: &String| is_gnu || name.len() <= 100;
        let members: Vec<_> = members.into_iter().filter(|(name, _)| is_fitting(name)).collect();
        let mut pairs: Vec<_> = members.iter().map(|(name, _)| split_name(name)).collect();
        pairs.sort();
        prop_assume!(!members.is_empty() && pairs.windows(2).all(|pair| pair[0] != pair[1]));
        prop_assume!(members.iter().all(|(name, _)| !name.starts_with("__")));
        let archive = packed(&members, is_gnu);
        let folder = tempfile::tempdir().unwrap();
        let path = write(&folder, &archive);
        let whole: Content = members.iter().cloned().collect();
        for access in [Access::Mmap, Access::Pread] {
            let shard = Shard::open(&path, access).unwrap();
            prop_assert_eq!(&content(&shard).unwrap(), &whole);
            let mut theirs = tar::Archive::new(Cursor::new(&archive));
            for (ours, entry) in shard.members().iter().zip(theirs.entries().unwrap()) {
                let entry = entry.unwrap();
                prop_assert_eq!(ours.offset, entry.raw_file_position());
                prop_assert_eq!(ours.name.as_bytes(), &*entry.path_bytes());
                prop_assert_eq!(ours.size, entry.size());
            }
        }
        prop_assert_eq!(examine(&path, Checks::default()).unwrap().errors.len(), 0);
    }

    #[test]
    fn no_damage_panics_or_hides_a_member(
        (members, is_gnu) in archives(),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let archive = packed(&members, is_gnu);
        let mut damaged = archive.clone();
        for (place, byte) in &places {
            // Headers are a small part of it: half of the places go to one.
            let at = place.index(damaged.len());
            let at = if byte % 2 == 0 { at / BLOCK * BLOCK + at % 160 } else { at };
            if let Some(place) = damaged.get_mut(at) {
                *place ^= byte;
            }
        }
        if let Some(cut) = cut {
            damaged.truncate(cut.index(archive.len()).max(1));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = write(&folder, &damaged);
        let found = read(&path);
        let errors = examine(&path, Checks::default()).unwrap().errors;
        prop_assert_eq!(found.is_ok(), errors.is_empty());
        let mut last = 0;
        let mut bytes = 0;
        for found in walk(Source::from_bytes("shard", &damaged)) {
            let extent = match found {
                Ok(member) => member.header_offset..member.offset + member.size,
                Err(lost) => lost.bytes,
            };
            prop_assert!(last <= extent.start && extent.start <= extent.end);
            last = extent.end;
            bytes += extent.end - extent.start;
        }
        prop_assert!(last <= damaged.len() as u64 && bytes <= damaged.len() as u64);
    }
}
