//! The cache cannot lie and cannot stop a run: checked at the level of files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ossicle::ErrorKind;
use ossicle::cache::{Cache, FaultKind, Key, PIPELINE_VERSION};
use ossicle::npz::{Array, Dtype, Samples, Target};
use proptest::prelude::*;

const SAMPLES: [f32; 6] = [0.0, -1.5, f32::MIN_POSITIVE, 3.0e38, 0.1, -0.0];

fn key(number: u32) -> Key {
    let name = format!("{number:08x}.16000.30000.wav.npz");
    Key::new(name.clone(), name).unwrap()
}

/// Numbers that half precision holds too.
const SMALL: [f32; 6] = [0.0, -1.5, 6.103_515_6e-5, 65_504.0, 0.125, -0.0];

/// A key for half precision.
fn half_key(number: u32) -> Key {
    let name = format!("{number:08x}.16000.30000.f16.wav.npz");
    Key::new(name.clone(), name)
        .unwrap()
        .with_dtype(Dtype::Float16)
}

fn cache(root: &Path) -> Cache {
    Cache::new(root, "waveform", None)
}

fn bits(samples: &[f32]) -> Vec<u32> {
    samples.iter().map(|sample| sample.to_bits()).collect()
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

fn stamp(path: &Path, time: SystemTime) {
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

/// Puts one array of `count` samples that all tell its number.
fn put(cache: &Cache, number: u32, count: usize) {
    let samples = vec![number as f32; count];
    cache.put(&key(number), &[count], &samples).unwrap();
}

/// The file with every bit flipped in turn, cut at every byte, and a byte too long.
fn damages(whole: &[u8]) -> Vec<Vec<u8>> {
    let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
    damaged.push([whole, &[0]].concat());
    for bit in 0..whole.len() * 8 {
        let mut one = whole.to_vec();
        one[bit / 8] ^= 1 << (bit % 8);
        damaged.push(one);
    }
    damaged
}

#[test]
fn every_bit_and_every_cut_is_a_miss() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    for key in [key(1), half_key(1)] {
        let path = cache.put(&key, &[2, 3], &SMALL).unwrap();
        let whole = fs::read(&path).unwrap();
        let corrupt = cache.stats().corrupt;
        let damaged = damages(&whole);
        for (number, bytes) in damaged.iter().enumerate() {
            fs::write(&path, bytes).unwrap();
            let fault = cache.check(&path).unwrap_err();
            assert_ne!(fault.kind, FaultKind::Unreadable, "{}", fault.reason);
            let found = match number % 3 {
                0 => cache.get(&key).is_some(),
                1 => cache.view(&key).is_some(),
                _ => {
                    let mut buffer = [7.0; 6];
                    let found = cache.find(&key);
                    let found =
                        found.and_then(|f| cache.read(f, Target::Float32(&mut buffer)).unwrap());
                    assert!(
                        buffer == [7.0; 6] || buffer == [0.0; 6],
                        "{buffer:?} after a miss"
                    );
                    found.is_some()
                }
            };
            assert!(!found, "damage {number} was not seen");
            assert!(!path.exists(), "damage {number} was left in place");
        }
        assert_eq!(cache.stats().corrupt - corrupt, damaged.len() as u64);
        fs::write(&path, whole).unwrap();
        let (shape, samples) = (vec![2, 3], SMALL.into());
        assert_eq!(cache.get(&key), Some(Array { shape, samples }));
        assert_eq!(cache.check(&path), Ok(()));
    }
}

#[test]
fn half_precision_comes_back_as_it_was_put_rounded_or_not() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    let path = cache
        .put(&half_key(3), &[1 << 16], Samples::Float16(&halves))
        .unwrap();
    assert!(fs::metadata(path).unwrap().len() < 2 * (1 << 16) + 1024);
    let mut found = vec![0; 1 << 16];
    let hit = cache.find(&half_key(3)).unwrap();
    assert_eq!(hit.shape(), [1 << 16]);
    cache
        .read(hit, Target::Float16(&mut found))
        .unwrap()
        .unwrap();
    assert_eq!(found, halves);
    // Widened, put again and so rounded, they are the same; NaN gets a bit that says that it is quiet.
    let wide = cache.get(&half_key(3)).unwrap().samples;
    cache.put(&half_key(4), &[1 << 16], &wide).unwrap();
    let hit = cache.find(&half_key(4)).unwrap();
    cache
        .read(hit, Target::Float16(&mut found))
        .unwrap()
        .unwrap();
    let same = |(half, found): (&u16, &u16)| half == found || half | 0x200 == *found;
    assert!(halves.iter().zip(&found).all(same));

    let error = cache.put(&half_key(5), &[2], &[1.0, 7e4]).unwrap_err();
    assert_eq!(
        (error.kind(), error.sample_index()),
        (ErrorKind::Limit, Some(1))
    );
    assert!(!cache.exists(&half_key(5)));
    assert!(cache.put(&key(5), &[2], Samples::Float16(&[0, 1])).is_err());
    assert_eq!((cache.stats().puts, cache.stats().failed), (2, 2));
}

#[test]
fn a_buffer_gets_the_start_filled_and_the_rest_left() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    // Around the size that is read at a time, in both precisions.
    for (number, count) in [0_usize, 1, 32_767, 32_769, 65_535, 65_537, 100_000]
        .into_iter()
        .enumerate()
    {
        let samples: Vec<f32> = (0..count).map(|n| (n % 2048) as f32).collect();
        for key in [key(number as u32), half_key(number as u32)] {
            cache.put(&key, &[count], &samples).unwrap();
            let mut buffer = vec![-1.0; count + 3];
            let hit = cache.find(&key).unwrap();
            cache
                .read(hit, Target::Float32(&mut buffer))
                .unwrap()
                .unwrap();
            assert!(buffer.starts_with(&samples) && buffer.ends_with(&[-1.0; 3]));
        }
    }
    let mut short = [5.0; 9];
    let hit = cache.find(&key(6)).unwrap();
    let error = cache.read(hit, Target::Float32(&mut short)).unwrap_err();
    assert_eq!(
        (error.kind(), short),
        (ErrorKind::InvalidArgument, [5.0; 9])
    );
    let hit = cache.find(&key(6)).unwrap();
    assert!(
        cache
            .read(hit, Target::Float16(&mut vec![0; 100_000]))
            .is_err()
    );
    // A wrong entry is a miss before it is too long.
    let path = cache.path_for(&key(6));
    let mut bytes = fs::read(&path).unwrap();
    bytes[2000] ^= 1;
    fs::write(&path, bytes).unwrap();
    let hit = cache.find(&key(6)).unwrap();
    assert!(
        cache
            .read(hit, Target::Float32(&mut short))
            .unwrap()
            .is_none()
    );
    assert!(!path.exists());
}

#[test]
fn entries_are_checked_without_their_keys() {
    let root = tempfile::tempdir().unwrap();
    let waves = cache(root.path());
    let features = Cache::new(root.path(), "input_features", None);
    let processor = "0123456789ab";
    let name = format!("00000002.{processor}.16000.30000.npz");
    let feature = Key::new(
        name,
        format!("00000002.{processor}cdef0123.16000.30000.npz"),
    )
    .unwrap();
    let good = [
        waves.put(&key(1), &[6], &SMALL).unwrap(),
        waves.put(&half_key(1), &[6], &SMALL).unwrap(),
        features.put(&feature, &[2, 3], &SMALL).unwrap(),
    ];
    for path in &good {
        assert_eq!(waves.check(path), Ok(()));
        assert_eq!(features.check(path), Ok(()));
    }
    let listed: Vec<PathBuf> = waves
        .entries()
        .into_iter()
        .map(|entry| entry.path)
        .collect();
    assert_eq!(listed.len(), 3);
    assert!(listed.is_sorted() && good.iter().all(|path| listed.contains(path)));

    let newer = cache(root.path()).with_pipeline("decoder=2");
    let fault = newer.check(&good[0]).unwrap_err();
    assert!(fault.kind == FaultKind::Stale && fault.reason.contains("resampler=fast"));
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        let kept = fs::read(&good[to]).unwrap();
        fs::copy(&good[from], &good[to]).unwrap();
        assert_eq!(waves.check(&good[to]).unwrap_err().kind, FaultKind::Corrupt);
        fs::write(&good[to], kept).unwrap();
    }
    // Under its name, but as another kind of array than that name is for.
    let path = features.put(&key(9), &[6], &SMALL).unwrap();
    assert!(
        waves
            .check(&path)
            .unwrap_err()
            .reason
            .contains("holds input_features")
    );
    assert_eq!(waves.check(&root.path().join("00/gone.npz")), Ok(()));
    std::os::unix::fs::symlink(&good[0], root.path().join("00/00000077.npz")).unwrap();
    let link = waves
        .check(&root.path().join("00/00000077.npz"))
        .unwrap_err();
    assert_eq!(
        (link.kind, link.reason.as_str()),
        (FaultKind::Corrupt, "not a regular file")
    );
    assert_eq!(waves.stats().corrupt, 0, "only gets count");
}

#[test]
fn pruning_keeps_what_was_used_last_and_collects_orphans() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    assert_eq!(
        cache.prune(Some(1)).unwrap().bytes,
        0,
        "a root that does not exist"
    );
    let now = SystemTime::now();
    for number in 0..10_u32 {
        put(&cache, number << 24, 1000);
        let path = cache.path_for(&key(number << 24));
        stamp(&path, now - Duration::from_secs(60 * u64::from(number)));
    }
    let all = cache.stats();
    assert_eq!((all.entries, all.puts, all.temporary), (10, 10, 0));
    let orphan = root.path().join("01/.0123abcd-77-0123456789abcdef.tmp");
    fs::write(&orphan, "half").unwrap();
    stamp(&orphan, now - Duration::from_secs(100_000));
    assert_eq!(cache.stats().temporary, 1);

    let done = cache.prune(None).unwrap();
    assert_eq!((done.evicted, done.orphans, done.bytes), (0, 1, all.bytes));
    let done = cache.prune(Some(all.bytes * 4 / 10)).unwrap();
    assert_eq!((done.evicted, done.bytes), (6, all.bytes * 4 / 10));
    for number in 0..10_u32 {
        assert_eq!(cache.exists(&key(number << 24)), number < 4);
    }
    let bounded = Cache::new(root.path(), "waveform", Some(all.bytes / 10));
    assert_eq!(bounded.prune(None).unwrap().evicted, 3);
    assert_eq!(files(root.path()), [cache.path_for(&key(0))]);
}

#[test]
fn a_root_may_be_a_link_and_synced() {
    let (real, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let link = other.path().join("link");
    std::os::unix::fs::symlink(real.path(), &link).unwrap();
    let cache = Cache::new(&link, "waveform", None).with_fsync(true);
    put(&cache, 1, 10);
    assert_eq!(cache.get(&key(1)).unwrap().samples, [1.0; 10]);
    assert_eq!((files(real.path()).len(), cache.stats().entries), (1, 1));
    cache.clear().unwrap();
    assert!(link.is_symlink() && files(real.path()).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_put_is_what_is_got(
        shape in prop::collection::vec(0_usize..6, 0..5),
        seed in any::<u32>(),
    ) {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        let count = shape.iter().product::<usize>() as u32;
        // All bit patterns, NaNs too: the cache keeps bytes, not numbers.
        let one = |n: u32| f32::from_bits(n.wrapping_mul(2_654_435_761) ^ seed);
        let samples: Vec<f32> = (0..count).map(one).collect();
        cache.put(&key(seed), &shape, &samples).unwrap();
        let copy = cache.get(&key(seed)).unwrap();
        prop_assert_eq!((&copy.shape, bits(&copy.samples)), (&shape, bits(&samples)));
        let view = cache.view(&key(seed)).unwrap();
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
        prop_assert_eq!((view.shape(), view.bytes()), (shape.as_slice(), bytes.as_slice()));
        prop_assert_eq!(view.bytes().as_ptr() as usize % 64, 0);
    }

    #[test]
    fn no_name_leaves_the_root(name in "[a-f0-9./ Z\\\\]{0,12}(\\.npz)?") {
        if let Ok(key) = Key::new(name.clone(), "identity") {
            let path = cache(Path::new("/root")).path_for(&key);
            prop_assert_eq!(path.components().count(), 4);
            prop_assert!(path.starts_with(Path::new("/root").join(&name[..2])));
            prop_assert!(!name.contains(['/', '\\', ' ', 'Z']));
        }
    }
}

#[test]
fn pieces_of_a_long_array_meet() {
    // Around the size that is read at a time, 32,768 samples.
    let root = tempfile::tempdir().unwrap();
    for count in [32_767, 32_768, 32_769, 65_536, 100_000] {
        let samples: Vec<f32> = (0..count).map(|n| n as f32).collect();
        cache(root.path()).put(&key(7), &[count], &samples).unwrap();
        assert_eq!(cache(root.path()).get(&key(7)).unwrap().samples, samples);
    }
}

#[test]
fn another_pipeline_key_or_array_name_is_a_miss() {
    let root = tempfile::tempdir().unwrap();
    let plain = cache(root.path());
    plain.put(&key(1), &[6], &SAMPLES).unwrap();
    let newer = cache(root.path()).with_pipeline("decoder=2");
    assert!(newer.get(&key(1)).is_none());

    plain.put(&key(1), &[6], &SAMPLES).unwrap();
    assert!(
        Cache::new(root.path(), "input_features", None)
            .get(&key(1))
            .is_none()
    );

    plain.put(&key(1), &[6], &SAMPLES).unwrap();
    plain.put(&key(2), &[6], &SAMPLES).unwrap();
    let (one, two) = (plain.path_for(&key(1)), plain.path_for(&key(2)));
    let aside = root.path().join("aside");
    fs::rename(&one, &aside)
        .and_then(|()| fs::rename(&two, &one))
        .unwrap();
    fs::rename(&aside, &two).unwrap();
    assert!(plain.get(&key(1)).is_none() && plain.view(&key(2)).is_none());

    plain.put(&key(1), &[6], &SAMPLES).unwrap();
    let name = "00000001.16000.30000.wav.npz";
    assert!(
        plain
            .get(&Key::new(name, "another identity").unwrap())
            .is_none()
    );
}

#[test]
fn the_version_names_the_locked_libraries() {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    for name in ["rustfft", "symphonia", "rubato"] {
        let start = format!("name = \"{name}\"\nversion = \"");
        let package = lock.split(&start).nth(1).unwrap();
        let wanted = format!("{name}-{}", package.split('"').next().unwrap());
        assert!(
            PIPELINE_VERSION.contains(&wanted),
            "{wanted} may make other samples: raise it"
        );
    }
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let root = tempfile::tempdir().unwrap();
    let probe = cache(root.path());
    put(&probe, 9, 2000);
    // Room for six and a half, of which an eviction leaves fifteen sixteenths: six.
    let bound = probe.stats().bytes * 13 / 2;
    probe.clear().unwrap();
    let cache = Cache::new(root.path(), "waveform", Some(bound));
    let now = SystemTime::now();
    for number in 0..6 {
        put(&cache, number, 2000);
        let age = Duration::from_secs(100 - u64::from(number));
        stamp(&cache.path_for(&key(number)), now - age);
    }
    assert!(cache.get(&key(0)).is_some());
    put(&cache, 6, 2000);
    let left: Vec<bool> = (0..7).map(|number| cache.exists(&key(number))).collect();
    assert_eq!(left, [true, false, true, true, true, true, true]);
    assert!(cache.stats().bytes <= bound && cache.stats().evicted == 1);
}

#[test]
fn the_bound_holds_after_every_put() {
    let root = tempfile::tempdir().unwrap();
    let bound = 200_000;
    let cache = Cache::new(root.path(), "waveform", Some(bound));
    for number in 0..400 {
        put(&cache, number << 22, 100 + (number as usize * 977) % 9000);
        assert!(cache.stats().bytes <= bound);
    }
    assert!(
        cache.stats().bytes > bound / 2,
        "an eviction frees no more than it needs"
    );
    let all = vec![0.0; 60_000];
    assert!(cache.put(&key(1), &[60_000], &all).is_err());
    assert!(
        cache.stats().bytes > bound / 2,
        "what can never fit evicts nothing"
    );
}

#[test]
fn a_view_outlives_its_entry() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    cache.put(&key(1), &[6], &SAMPLES).unwrap();
    let view = cache.view(&key(1)).unwrap();
    let before = view.bytes().to_vec();
    cache.put(&key(1), &[6], &[9.0; 6]).unwrap();
    cache.clear().unwrap();
    assert_eq!(view.bytes(), before);
}

#[test]
fn orphans_go_and_live_writers_stay() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    let shard = root.path().join("00");
    fs::create_dir_all(&shard).unwrap();
    let now = SystemTime::now();
    let year = Duration::from_secs(365 * 24 * 3600);
    let elsewhere = |random: u32, time| {
        let path = shard.join(format!(".0123abcd-77-{random:016x}.tmp"));
        fs::write(&path, "half").unwrap();
        stamp(&path, time);
        path
    };
    let (fresh, old) = (elsewhere(1, now), elsewhere(2, now - year));
    let future = elsewhere(3, now + year);
    let stranger = shard.join(".someone-else.tmp");
    fs::write(&stranger, "not ours").unwrap();
    stamp(&stranger, now - year);
    put(&cache, 1, 10);
    let left = [&fresh, &old, &future, &stranger].map(|path| path.exists());
    assert_eq!(left, [true, false, false, true]);
}

#[test]
fn clear_deletes_its_own_and_follows_no_link() {
    let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cache = cache(root.path());
    put(&cache, 1, 10);
    put(&cache, 0xab00_0000, 10);
    let name = "cd000000.16000.30000.wav.npz";
    let theirs = [
        root.path().join("notes.txt"),
        root.path().join("00/readme.npz"),
        root.path().join("00/ff000000.npz"),
        outside.path().join(name),
    ];
    for path in &theirs {
        fs::write(path, "theirs").unwrap();
    }
    std::os::unix::fs::symlink(outside.path(), root.path().join("cd")).unwrap();
    // Through a linked folder nothing is written either, nor removed as corrupt.
    assert!(cache.put(&key(0xcd00_0000), &[6], &SAMPLES).is_err());
    assert!(cache.get(&key(0xcd00_0000)).is_none());
    cache.clear().unwrap();
    assert!(theirs.iter().all(|path| path.exists()));
    assert_eq!(files(outside.path()).len(), 1);
    assert!(!root.path().join("ab").exists() && !cache.exists(&key(1)));

    let own = root.path().join("own");
    let cache = Cache::new(&own, "waveform", None);
    put(&cache, 1, 10);
    cache.clear().unwrap();
    assert!(!own.exists(), "a root with nothing left in it goes too");
    cache.clear().unwrap();
}

#[test]
fn what_is_no_file_is_a_miss_at_once() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    let path = cache.path_for(&key(1));
    fs::create_dir_all(&path).unwrap();
    assert!(cache.get(&key(1)).is_none() && !cache.exists(&key(1)));
    assert!(cache.put(&key(1), &[6], &SAMPLES).is_err());
    fs::remove_dir(&path).unwrap();

    // Opening a pipe without a writer would wait for ever.
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    assert!(cache.get(&key(1)).is_none());
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(cache.get(&key(1)).is_none());
    assert_eq!(
        files(root.path()).len(),
        0,
        "the failed put left nothing, the gets removed the rest"
    );
}

#[test]
fn a_clear_under_a_writer_does_not_fail_it() {
    let root = tempfile::tempdir().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let failures = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = cache(root.path()).clear();
                // Longer than a put takes: else it could win any number of times in a row.
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let writer = cache(root.path());
        // Long enough to be written that some of them lose their file or folder.
        let samples = vec![0.5; 50_000];
        let one = |number: u32| writer.put(&key(number % 7), &[50_000], &samples).err();
        let failures: Vec<String> = (0..3000).filter_map(one).map(|e| e.to_string()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        failures
    });
    assert_eq!(failures, [""; 0]);
}

#[test]
fn threads_and_evictions_never_mix_entries() {
    let root = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..6_u32 {
            let root = root.path();
            scope.spawn(move || {
                let cache = Cache::new(root, "waveform", Some(400_000));
                for round in 0..400 {
                    let number = (round * 7 + thread) % 10;
                    put(&cache, number, 1000 + 3000 * number as usize);
                    let Some(found) = cache.get(&key((number + 3) % 10)) else {
                        continue;
                    };
                    let expected = ((number + 3) % 10) as f32;
                    assert!(found.samples.iter().all(|&sample| sample == expected));
                }
            });
        }
    });
    assert!(
        files(root.path())
            .iter()
            .all(|path| path.extension().unwrap() == "npz")
    );
    // Six writers that do not see each other's last puts: a sixty-fourth of the bound each.
    assert!(cache(root.path()).stats().bytes <= 400_000 + 6 * 400_000 / 64);
}

#[test]
fn an_entry_is_a_plain_stored_zip() {
    let root = tempfile::tempdir().unwrap();
    let path = cache(root.path()).put(&key(1), &[6], &SAMPLES).unwrap();
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    let payload: Vec<u8> = SAMPLES
        .iter()
        .flat_map(|sample| sample.to_ne_bytes())
        .collect();
    let at = bytes
        .windows(payload.len())
        .position(|window| window == payload)
        .unwrap();
    assert_eq!(at % 64, 0);
    assert!(bytes.starts_with(b"PK\x03\x04"));
}
