//! The cache cannot lie and cannot stop a run: checked at the level of files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ossicle::cache::{Cache, Key, PIPELINE_VERSION};
use ossicle::npz::Array;
use proptest::prelude::*;

const SAMPLES: [f32; 6] = [0.0, -1.5, f32::MIN_POSITIVE, 3.0e38, 0.1, -0.0];

fn key(number: u32) -> Key {
    let name = format!("{number:08x}.16000.30000.wav.npz");
    Key::new(name.clone(), name).unwrap()
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

#[test]
fn every_bit_and_every_cut_is_a_miss() {
    let root = tempfile::tempdir().unwrap();
    let cache = cache(root.path());
    let path = cache.put(&key(1), &[2, 3], &SAMPLES).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
    damaged.push([whole.as_slice(), &[0]].concat());
    for bit in 0..whole.len() * 8 {
        let mut one = whole.clone();
        one[bit / 8] ^= 1 << (bit % 8);
        damaged.push(one);
    }
    for (number, bytes) in damaged.iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        let found = if number % 2 == 0 {
            cache.get(&key(1)).is_some()
        } else {
            cache.view(&key(1)).is_some()
        };
        assert!(!found, "damage {number} was not seen");
        assert!(!path.exists(), "damage {number} was left in place");
    }
    assert_eq!(cache.stats().corrupt, damaged.len() as u64);
    fs::write(&path, whole).unwrap();
    assert_eq!(
        cache.get(&key(1)),
        Some(Array {
            shape: vec![2, 3],
            samples: SAMPLES.into()
        })
    );
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
fn the_version_names_the_locked_transforms() {
    let lock = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let package = lock
        .split("name = \"rustfft\"\nversion = \"")
        .nth(1)
        .unwrap();
    let wanted = format!("rustfft-{}", package.split('"').next().unwrap());
    assert!(
        PIPELINE_VERSION.contains(&wanted),
        "{wanted} may resample otherwise: raise it"
    );
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
