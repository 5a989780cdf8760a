"""The cache through Python: NumPy as the oracle, hostile disks, several processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ossicle import _native
from ossicle.cache import AudioCache, AudioCacheKey, WaveformCache, WaveformCacheKey
from ossicle.errors import AudioError, InvalidKeyError

BLOB = "0123456789abcdef" * 4
PROCESSOR = "fedcba9876543210" * 4
WAVEFORM = WaveformCacheKey(BLOB, 16_000, 30_000)
FEATURES = AudioCacheKey(BLOB, PROCESSOR, 16_000, 30_000)


def number_key(number: int) -> WaveformCacheKey:
    return WaveformCacheKey(f"{number:08x}", 16_000, 30_000)


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if not path.is_dir()]


def same(found: np.ndarray | None, expected: np.ndarray) -> bool:
    """Equal to the bit, NaNs too."""
    return (
        found is not None
        and found.dtype == np.float32
        and found.shape == expected.shape
        and found.tobytes() == expected.tobytes()
    )


def test_names_and_folders(tmp_path: Path) -> None:
    assert WAVEFORM.as_filename() == f"{BLOB}.16000.30000.wav.npz"
    assert FEATURES.as_filename() == f"{BLOB}.fedcba987654.16000.30000.npz"
    resampled = WaveformCacheKey(BLOB, 16_000, 30_000, auto_resample=True)
    assert resampled.as_filename() == f"{BLOB}.16000.30000.rs.wav.npz"
    assert AudioCacheKey(BLOB, PROCESSOR, 8_000, 5, True).as_filename().endswith(".8000.5.rs.npz")
    best = AudioCacheKey(BLOB, PROCESSOR, 8_000, 5, True, "best")
    assert best.as_filename().endswith(".8000.5.rs.best.npz")
    fast = WaveformCacheKey(BLOB, 16_000, 30_000, auto_resample=True, quality="fast")
    assert fast.as_filename() == f"{BLOB}.16000.30000.rs.fast.wav.npz"
    cache = WaveformCache(tmp_path / "root")
    assert cache.root == tmp_path / "root"
    assert cache.path_for(WAVEFORM) == tmp_path / "root" / "01" / WAVEFORM.as_filename()
    assert cache.get(WAVEFORM) is None
    assert not cache.exists(WAVEFORM)
    assert not cache.root.exists(), "only a put makes the root"
    assert cache.put(WAVEFORM, np.ones(3, np.float32)) == cache.path_for(WAVEFORM)
    assert cache.exists(WAVEFORM)
    cache.clear()
    assert not cache.root.exists()


@pytest.mark.parametrize(
    "blob", ["", "ab" * 3, "AB" * 32, "../../etc/passwd", "ab/" + "0" * 61, "g" * 64, "0" * 129,
             "0" * 64 + "\n", "0" * 64 + "\0", "à" * 64, b"0" * 64, None, 5]
)  # fmt: skip
def test_keys_that_are_no_digests_are_refused(blob: object) -> None:
    with pytest.raises(InvalidKeyError) as caught:
        WaveformCacheKey(blob, 16_000, 30_000)  # type: ignore[arg-type]
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AudioError)
    for digests in [(blob, PROCESSOR), (BLOB, blob)]:
        with pytest.raises(InvalidKeyError):
            AudioCacheKey(*digests, 16_000, 30_000)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [-1, 1.5, "16000", None, True, 2**60, float("nan")])
def test_numbers_that_make_no_sense_are_refused(number: object) -> None:
    for limits in [(number, 30_000), (16_000, number)]:
        with pytest.raises(InvalidKeyError):
            WaveformCacheKey(BLOB, *limits)  # type: ignore[arg-type]
        with pytest.raises(InvalidKeyError):
            AudioCacheKey(BLOB, PROCESSOR, *limits)  # type: ignore[arg-type]
    with pytest.raises(InvalidKeyError):
        WaveformCacheKey(BLOB, 0, 30_000)
    with pytest.raises(InvalidKeyError):
        WaveformCacheKey(BLOB, 16_000, 30_000, auto_resample="../x")  # type: ignore[arg-type]
    with pytest.raises(InvalidKeyError, match="quality"):
        WaveformCacheKey(BLOB, 16_000, 30_000, True, "../x")  # type: ignore[arg-type]


def test_numpy_numbers_make_the_same_key() -> None:
    assert WaveformCacheKey(BLOB, np.int64(16_000), np.int32(30_000)) == WAVEFORM  # type: ignore[arg-type]
    assert type(WaveformCacheKey(BLOB, np.int64(16_000), 0).sample_rate) is int  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(
    array=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=7),
        elements=st.floats(width=32, allow_subnormal=True),
    ),
    fortran=st.booleans(),
    resample=st.booleans(),
)
def test_numpy_reads_what_put_wrote(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, fortran: bool, resample: bool
) -> None:
    cache = AudioCache(tmp_path_factory.getbasetemp() / "numpy-reads")
    key = AudioCacheKey(BLOB, PROCESSOR, 16_000, 30_000, auto_resample=resample)
    path = cache.put(key, np.asfortranarray(array) if fortran and array.ndim else array)
    assert path is not None
    with np.load(path) as entry:
        assert same(entry["input_features"], array)
        meta = json.loads(entry["meta.json"])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        crc = archive.getinfo("input_features.npy").CRC
    assert meta["pipeline"] == _native.PIPELINE_VERSION
    assert PROCESSOR in meta["key"]
    assert (meta["shape"], int(meta["crc32"], 16)) == (list(array.shape), crc)
    assert same(cache.get(key), array)
    assert same(cache.get(key, copy=False), array)


def test_copies_are_writable_and_views_are_not(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    samples = np.arange(1000, dtype=np.float32)
    cache.put(WAVEFORM, samples)
    copy, view = cache.get(WAVEFORM), cache.get(WAVEFORM, copy=False)
    assert copy is not None
    assert view is not None
    copy[:] = 0
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.flags.writeable = True
    assert view.ctypes.data % 64 == 0
    cache.put(WAVEFORM, copy)
    cache.clear()
    del cache
    assert same(view, samples), "a view keeps the map, whatever becomes of entry and cache"


@pytest.mark.parametrize("copy", [True, False])
def test_every_bit_and_every_cut_is_right_or_a_miss(tmp_path: Path, copy: bool) -> None:
    cache = AudioCache(tmp_path)
    array = np.array([[1.5, -2.0, 0.1]], np.float32)
    path = cache.put(FEATURES, array)
    assert path is not None
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert cache.get(FEATURES, copy=copy) is None
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert cache.get(FEATURES, copy=copy) is None, f"bit {bit}"
        assert not path.exists()
    assert cache.stats().corrupt == cache.stats().misses == 9 * len(whole)
    path.write_bytes(whole)
    assert same(cache.get(FEATURES, copy=copy), array)


def test_entries_of_others_are_misses(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    samples = np.arange(10, dtype=np.float32)
    path = cache.path_for(WAVEFORM)
    path.parent.mkdir()

    def by(write: object, *arguments: object, **named: object) -> None:
        with path.open("wb") as file:
            write(file, *arguments, **named)  # type: ignore[operator]

    for write in [
        lambda: by(np.savez, waveform=samples),
        lambda: by(np.savez_compressed, waveform=samples),
        lambda: by(np.savez, waveform=np.array([{}], object)),
        lambda: by(np.save, samples),
        lambda: path.write_bytes(pickle.dumps(samples)),
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(b"PK\x03\x04" * 1000),
        lambda: path.write_bytes(os.urandom(100_000)),
        lambda: repack(cache, path, samples),
    ]:
        write()
        assert cache.get(WAVEFORM) is None
        assert not path.exists()
    assert cache.stats().corrupt == 9


def repack(cache: WaveformCache, path: Path, samples: np.ndarray) -> None:
    """The same members, label and all, but deflated."""
    cache.put(WAVEFORM, samples)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_digest_that_shares_the_name_is_a_miss(tmp_path: Path) -> None:
    # The file name holds 12 digits of the processor's digest; the entry echoes all of them.
    cache = AudioCache(tmp_path)
    cache.put(FEATURES, np.ones(4, np.float32))
    twin = AudioCacheKey(BLOB, PROCESSOR[:12] + "0" * 52, 16_000, 30_000)
    assert cache.path_for(twin) == cache.path_for(FEATURES)
    assert cache.get(twin) is None


def test_swapped_entries_are_misses(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    one, two = number_key(1), number_key(2)
    cache.put_batch([(one, np.ones(4, np.float32)), (two, np.zeros(4, np.float32))])
    paths = [cache.path_for(one), cache.path_for(two)]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    assert cache.get_batch([one, two]) == [None, None]


def test_what_is_put_must_be_float32_and_mono(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    wrong = [np.ones(3), np.ones((1, 3), np.float32), np.ones(3, ">f4"), np.float32(1), ["a"]]
    for array in wrong:
        with pytest.raises(ValueError, match="waveform must be 1-D float32"):
            cache.put(WAVEFORM, array)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="input_features must be float32"):
        AudioCache(tmp_path).put(FEATURES, np.ones(3, np.float16))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="WaveformCacheKey"):
        cache.get(FEATURES)  # type: ignore[arg-type]
    for bound in [0, -1, True]:
        with pytest.raises(ValueError, match="max_bytes"):
            WaveformCache(tmp_path, max_bytes=bound)
    assert files(tmp_path) == []


def test_views_of_arrays_are_put_as_they_look(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    samples = np.arange(20, dtype=np.float32)[::-3]
    cache.put(WAVEFORM, samples)
    assert same(cache.get(WAVEFORM), samples)


def test_batches_equal_single_calls(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    arrays = [np.full(n * 1000, n, np.float32) for n in range(6)]
    paths = cache.put_batch((number_key(n), array) for n, array in enumerate(arrays))
    assert paths == [cache.path_for(number_key(n)) for n in range(6)]
    for copy in [True, False]:
        found = cache.get_batch([number_key(n) for n in [3, 9, 0, 5]], copy=copy)
        assert found[1] is None
        assert all(same(found[i], arrays[n]) for i, n in [(0, 3), (2, 0), (3, 5)])
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.corrupt, stats.failed) == (6, 2, 0, 0)
    assert stats.bytes == sum(path.stat().st_size for path in files(tmp_path))
    assert cache.put_batch([]) == cache.get_batch([]) == []


def test_a_root_that_cannot_be_written_warns_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    cache = WaveformCache(tmp_path / "file" / "root")
    with pytest.warns(RuntimeWarning, match="could not write") as caught:
        assert cache.put(WAVEFORM, np.ones(3, np.float32)) is None
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.put(WAVEFORM, np.ones(3, np.float32)) is None
        assert cache.put_batch([(WAVEFORM, np.ones(3, np.float32))]) == [None]
        assert cache.get(WAVEFORM) is None
        assert not cache.exists(WAVEFORM)
        cache.clear()
    assert (cache.stats().failed, cache.stats().corrupt) == (3, 0)


def test_a_write_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    # EFBIG behaves as ENOSPC does: some bytes are written, then no more.
    cache = WaveformCache(tmp_path)
    cache.put(number_key(1), np.ones(1000, np.float32))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.warns(RuntimeWarning, match="could not write"):
            assert cache.put(number_key(1), np.zeros(100_000, np.float32)) is None
        assert cache.put(number_key(2), np.zeros(10_000, np.float32)) is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    assert same(cache.get(number_key(1)), np.ones(1000, np.float32)), "the older entry stays"
    assert len(files(tmp_path)) == 2


def in_small_tmpfs(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    mount = f'mount -t tmpfs -o size=256k none {folder} && exec {sys.executable} -c "$0" {folder}'
    command = ["unshare", "-Urm", "sh", "-c", mount, textwrap.dedent(script)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_full_and_a_read_only_disk(tmp_path: Path) -> None:
    try:
        allowed = in_small_tmpfs(tmp_path, "").returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("no mount namespaces for this user")
    done = in_small_tmpfs(
        tmp_path,
        """
        import subprocess, sys, warnings, numpy as np
        from pathlib import Path
        from ossicle.cache import WaveformCache, WaveformCacheKey
        warnings.simplefilter("always")
        root = Path(sys.argv[1])
        cache = WaveformCache(root)
        keys = [WaveformCacheKey(f"{n:08x}", 16000, 30000) for n in range(20)]
        put = [cache.put(key, np.full(8000, n, np.float32)) for n, key in enumerate(keys)]
        good = sum(path is not None for path in put)
        assert 4 <= good <= 8 and put[:good].count(None) == 0, put
        assert not list(root.rglob("*.tmp"))
        found = cache.get_batch(keys)
        assert all((f is None) == (p is None) for f, p in zip(found, put))
        assert all((f == n).all() for n, f in enumerate(found) if f is not None)
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
        assert cache.put(keys[0], np.ones(3, np.float32)) is None
        assert cache.get(keys[0]) is not None
        print("done", cache.stats().failed)
        """,
    )
    assert done.stdout.split()[:1] == ["done"], done.stderr
    assert done.stderr.count("RuntimeWarning") == 1


def test_the_bound_is_kept(tmp_path: Path) -> None:
    bound = 300_000
    cache = WaveformCache(tmp_path, max_bytes=bound)
    sizes = np.random.default_rng(0).integers(0, 12_000, 200)
    for number, size in enumerate(sizes):
        assert cache.put(number_key(number << 20), np.zeros(size, np.float32)) is not None
        assert sum(path.stat().st_size for path in files(tmp_path)) <= bound
    assert cache.stats().evicted > 100
    with pytest.warns(RuntimeWarning, match="larger than the limit of the cache"):
        assert cache.put(WAVEFORM, np.zeros(100_000, np.float32)) is None


@pytest.mark.parametrize("kind", [WaveformCache, AudioCache])
def test_caches_and_keys_pickle(tmp_path: Path, kind: type) -> None:
    cache = kind(tmp_path / "root", max_bytes=1_000_000)
    key = WAVEFORM if kind is WaveformCache else FEATURES
    array = np.arange(5, dtype=np.float32)
    cache.put(key, array)
    other, other_key = pickle.loads(pickle.dumps((cache, key)))
    assert type(other) is kind
    assert (other.root, other_key, repr(other)) == (cache.root, key, repr(cache))
    assert same(other.get(other_key), array)
    with pytest.warns(RuntimeWarning, match="larger"):
        assert other.put(key, np.zeros(300_000, np.float32)) is None


def hammer(cache: WaveformCache, seed: int, rounds: int) -> int:
    """Puts and gets ten keys whose samples all tell the key; gives the number of wrong arrays."""
    random = np.random.default_rng(seed)
    wrong = 0
    for _ in range(rounds):
        n = int(random.integers(10))
        if random.random() < 0.4:
            cache.put(number_key(n), np.full(100 + 5000 * n, n, np.float32))
        found = cache.get(number_key(n), copy=bool(random.integers(2)))
        wrong += found is not None and not (found.size == 100 + 5000 * n and (found == n).all())
    return wrong + cache.stats().corrupt + cache.stats().failed


@pytest.mark.sampled(one_in=2)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_a_root(tmp_path: Path, method: str) -> None:
    cache = WaveformCache(tmp_path, max_bytes=700_000)
    assert hammer(cache, 99, 20) == 0
    context = multiprocessing.get_context(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads of pytest
        with context.Pool(4) as pool:
            jobs = [(cache, seed, 400) for seed in range(8)]
            assert sum(pool.starmap(hammer, jobs)) == 0
    assert all(path.suffix == ".npz" for path in files(tmp_path))
    assert cache.stats().bytes <= 700_000 * (1 + 5 / 64)


@pytest.mark.thorough
def test_a_killed_writer_leaves_no_wrong_entry(tmp_path: Path) -> None:
    script = """
        import sys, numpy as np
        from ossicle.cache import WaveformCache, WaveformCacheKey
        cache = WaveformCache(sys.argv[1])
        print("ready", flush=True)
        for n in range(10**9):
            key = WaveformCacheKey(f"{n % 3:08x}", 16000, 30000)
            cache.put(key, np.full(200_000, n, np.float32))
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    for attempt in range(12):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.003 + 0.0007 * attempt)
            writer.kill()
    left = [path for path in files(tmp_path) if path.suffix != ".npz"]
    cache = WaveformCache(tmp_path)
    for n in range(3):
        found = cache.get(number_key(n))
        assert found is None or (found.size == 200_000 and (found == found[0]).all())
    assert cache.stats().corrupt == 0
    cache.put(number_key(0), np.ones(1, np.float32))
    if Path("/proc/self/ns/pid").exists():
        assert all(path.suffix == ".npz" for path in files(tmp_path)), f"orphans among {left}"


def test_importing_brings_numpy_alone() -> None:
    script = "import sys, ossicle.cache, ossicle; ossicle.processor_sha256(object())\n"
    script += "print(sorted({'torch', 'transformers', 'polars'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
