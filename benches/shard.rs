//! A shard's own cost: opening it, members by key, payloads in place and as copies.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ossicle::shard::{Access, Shard};

fn main() {
    divan::main();
}

/// Bytes of each member.
const SIZES: [usize; 2] = [3_000, 300_000];
const ACCESS: [Access; 2] = [Access::Mmap, Access::Pread];

fn members(size: usize) -> usize {
    60_000_000 / size
}

fn path(size: usize) -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<tempfile::TempDir>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().ok()).as_ref()?;
    let path = folder.path().join(format!("{size}.tar"));
    if !path.exists() {
        write(&path, size).ok()?;
    }
    Some(path)
}

fn write(path: &Path, size: usize) -> std::io::Result<()> {
    let payload: Vec<u8> = (0..size).map(|at| (at * 7919 % 251) as u8).collect();
    let mut builder = tar::Builder::new(BufWriter::new(File::create(path)?));
    for number in 0..members(size) {
        let mut header = tar::Header::new_ustar();
        header.set_size(size as u64);
        builder.append_data(&mut header, format!("folder/{number:07}.bin"), &payload[..])?;
    }
    builder.into_inner()?.flush()
}

fn shard(size: usize, access: Access) -> Option<Shard> {
    Shard::open(&path(size)?, access).ok()
}

/// All headers are read and checked; items are members.
#[divan::bench(args = SIZES)]
fn open(bencher: Bencher<'_, '_>, size: usize) {
    let Some(path) = path(size) else { return };
    bencher
        .counter(ItemsCount::new(members(size)))
        .bench_local(|| Shard::open(black_box(&path), Access::Mmap).is_ok());
}

/// The payload of each member, handed out.
#[divan::bench(args = SIZES, consts = [0, 1])]
fn iterate<const ACCESS_OF: usize>(bencher: Bencher<'_, '_>, size: usize) {
    let Some(shard) = shard(size, ACCESS[ACCESS_OF]) else {
        return;
    };
    bencher
        .counter(ItemsCount::new(members(size)))
        .bench_local(|| {
            let payloads = shard.members().iter().map(|member| shard.payload(member));
            payloads
                .flatten()
                .map(|payload| payload.bytes().len())
                .sum::<usize>()
        });
}

/// The same, and each byte is looked at.
#[divan::bench(args = SIZES, consts = [0, 1])]
fn read<const ACCESS_OF: usize>(bencher: Bencher<'_, '_>, size: usize) {
    let Some(shard) = shard(size, ACCESS[ACCESS_OF]) else {
        return;
    };
    bencher
        .counter(ItemsCount::new(members(size)))
        .bench_local(|| {
            let payloads = shard.members().iter().map(|member| shard.payload(member));
            payloads
                .flatten()
                .map(|payload| payload.bytes().iter().fold(0, |most, byte| most.max(*byte)))
                .max()
        });
}

/// From a key to its member's bytes, with the look at the file that comes before.
#[divan::bench(args = SIZES)]
fn by_key(bencher: Bencher<'_, '_>, size: usize) {
    let Some(shard) = shard(size, Access::Mmap) else {
        return;
    };
    let keys: Vec<&str> = shard.samples().iter().map(|one| one.key).collect();
    let mut at = 0;
    bencher.bench_local(|| {
        at = (at + 7919) % keys.len();
        let sample = shard.samples().get(shard.find(keys[at])?)?;
        let (_, member) = sample.members.first()?;
        shard.bytes(member).ok().map(|bytes| bytes.len())
    });
}
