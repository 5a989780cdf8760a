"""The cache's float16, buffers, threads and upkeep through Python, with NumPy as the oracle."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ossicle.cache import AudioCache, AudioCacheKey, WaveformCache, WaveformCacheKey
from ossicle.errors import InvalidArgumentError, InvalidKeyError

BLOB, PROCESSOR = "0123456789abcdef" * 4, "fedcba9876543210" * 4


def wave(number: int, dtype: Any = "float32") -> WaveformCacheKey:
    return WaveformCacheKey(f"{number:08x}", 16_000, 30_000, dtype=dtype)


def test_names_tell_the_dtype() -> None:
    assert wave(1) == WaveformCacheKey("00000001", 16_000, 30_000)
    assert wave(1, "float16").as_filename() == "00000001.16000.30000.f16.wav.npz"
    resampled = WaveformCacheKey("0" * 8, 8_000, 5, True, "best", "float16")
    assert resampled.as_filename() == "00000000.8000.5.rs.best.f16.wav.npz"
    features = AudioCacheKey(BLOB, PROCESSOR, 8_000, 5, dtype="float16")
    assert features.as_filename() == f"{BLOB}.{PROCESSOR[:12]}.8000.5.f16.npz"
    for dtype in ["float64", "", None, "../x", np.float16]:
        with pytest.raises(InvalidKeyError, match="dtype"):
            wave(1, dtype)
        with pytest.raises(InvalidKeyError, match="dtype"):
            AudioCacheKey(BLOB, PROCESSOR, 8_000, 5, dtype=dtype)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:overflow")
@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(
        np.uint32,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40),
        # Any bits, and those around the numbers, ties and subnormals that float16 has.
        elements=st.integers(0, 2**32 - 1)
        | st.builds(
            lambda sign, exponent, top, low: sign << 31 | exponent << 23 | top << 12 | low,
            st.integers(0, 1),
            st.integers(100, 142),
            st.integers(0, 2047),
            st.sampled_from([0, 1, 0xFFF]),
        ),
    )
)
def test_float16_is_what_numpy_rounds_to(
    tmp_path_factory: pytest.TempPathFactory, bits: np.ndarray
) -> None:
    cache = AudioCache(tmp_path_factory.getbasetemp() / "half")
    key = AudioCacheKey(BLOB, PROCESSOR, 16_000, 30_000, dtype="float16")
    array = bits.view(np.float32)
    with np.errstate(all="ignore"):
        expected = array.astype(np.float16)
    if (np.isinf(expected) & np.isfinite(array)).any():
        cache._warned = True
        assert cache.put(key, array) is None
        return
    path = cache.put(key, array)
    assert path is not None
    numbers = ~np.isnan(array)
    for found in [cache.get(key), cache.get(key, copy=False), np.load(path)["input_features"]]:
        assert found is not None
        assert (found.dtype, found.shape) == (np.float16, array.shape)
        assert np.array_equal(found.view(np.uint16)[numbers], expected.view(np.uint16)[numbers])
        assert np.isnan(found[~numbers]).all()
    # What is float16 already stays what it is, and is widened exactly.
    cache.put(key, expected)
    wide = np.empty(array.size + 1, np.float32)
    found = cache.get(key, out=wide)
    assert found is not None
    assert (found.dtype, found.shape) == (np.float32, array.shape)
    assert np.array_equal(found, expected.astype(np.float32), equal_nan=True)


def test_every_half_survives(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    path = cache.put(wave(1, "float16"), halves)
    assert path is not None
    assert path.stat().st_size < 2 * 2**16 + 1024
    found, buffer = cache.get(wave(1, "float16")), np.empty(2**16, np.float16)
    assert found is not None
    assert found.tobytes() == halves.tobytes()
    assert cache.get(wave(1, "float16"), out=buffer) is not None
    assert buffer.tobytes() == halves.tobytes()
    cache.get(wave(1, "float16"), out=(wide := np.empty(2**16, np.float32)))
    assert np.array_equal(wide, halves.astype(np.float32), equal_nan=True)


def test_what_float16_does_not_hold_is_a_failed_put(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    with pytest.warns(RuntimeWarning, match="65504"):
        assert cache.put(wave(1, "float16"), np.array([1, 7e4], np.float32)) is None
    assert (cache.stats().failed, cache.stats().puts, cache.stats().entries) == (1, 0, 0)
    with pytest.raises(ValueError, match="float32"):
        cache.put(wave(1), np.ones(3, np.float16))
    with pytest.raises(ValueError, match="float32"):
        cache.put(wave(1, "float16"), np.ones(3, np.float64))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_buffer_gets_what_get_gives(tmp_path: Path, dtype: str) -> None:
    cache = AudioCache(tmp_path)
    key = AudioCacheKey(BLOB, PROCESSOR, 16_000, 30_000, dtype=dtype)  # type: ignore[arg-type]
    features = np.random.default_rng(0).standard_normal((7, 11_111), np.float32)
    cache.put(key, features)
    expected = cache.get(key)
    assert expected is not None
    buffer = np.full((2, 50_000), -1, np.float32)
    found = cache.get(key, out=buffer)
    assert found is not None
    assert np.shares_memory(found, buffer)
    assert np.array_equal(found, expected)
    assert (buffer.ravel()[features.size :] == -1).all()
    assert cache.get(AudioCacheKey("ab" * 8, PROCESSOR, 16_000, 30_000), out=buffer) is None
    assert np.array_equal(found, expected), "a miss that reads nothing writes nothing"


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.empty(9, np.float32),
        lambda: np.empty(10, np.float64),
        lambda: np.empty(10, np.float16),
        lambda: np.empty(20, np.float32)[::2],
        lambda: np.frombuffer(bytes(40), np.float32),
        lambda: np.empty(44, np.uint8)[1:41].view(np.float32),
        lambda: np.empty(10, ">f4"),
        lambda: [0.0] * 10,
    ],
)
def test_buffers_that_do_not_do_are_refused(tmp_path: Path, make: Callable[[], Any]) -> None:
    cache = WaveformCache(tmp_path)
    cache.put(wave(1), np.ones(10, np.float32))
    with pytest.raises(InvalidArgumentError):
        cache.get(wave(1), out=make())
    with pytest.raises(InvalidArgumentError):
        cache.get_batch([wave(1)], out=make())
    with pytest.raises(InvalidArgumentError, match="copy"):
        cache.get(wave(1), copy=False, out=np.empty(10, np.float32))
    assert cache.exists(wave(1))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_get_what_get_batch_gives(tmp_path: Path, threads: int, dtype: str) -> None:
    cache = WaveformCache(tmp_path)
    random = np.random.default_rng(1)
    sizes = [0, 1, 70_000, 3000, 150_000, *random.integers(0, 9000, 90)]
    arrays = [random.standard_normal(size, np.float32) for size in sizes]
    items = [(wave(n, dtype), array) for n, array in enumerate(arrays)]
    assert all(cache.put_batch(items, threads=threads))
    keys = [wave(n, dtype) for n in [*range(len(sizes)), 10**6]]
    random.shuffle(keys)
    singles = [cache.get(key) for key in keys]
    for copy in [True, False]:
        found = cache.get_batch(keys, copy=copy, threads=threads)
        for one, single in zip(found, singles, strict=True):
            assert (one is None) == (single is None)
            assert one is None or np.array_equal(one, single)
    out = np.full((len(keys), 150_000), -5, np.float32)
    lengths = cache.get_batch(keys, out=out, threads=threads)
    assert lengths.dtype == np.int64
    for row, length, single in zip(out, lengths, singles, strict=True):
        assert length == (-1 if single is None else len(single))
        assert single is None or np.array_equal(row[:length], single)
        assert not row[max(length, 0) :].any()


def test_rows_that_are_too_short_or_of_another_shape(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    for n, size in enumerate([5, 20, 7]):
        cache.put(wave(n), np.full(size, n + 1, np.float32))
    out = np.full((3, 10), -1, np.float32)
    with pytest.raises(InvalidArgumentError, match="20"):
        cache.get_batch([wave(n) for n in range(3)], out=out)
    assert out.sum(axis=1).tolist() == [5, 0, 21], "the others have been read"
    damaged = cache.path_for(wave(1))
    damaged.write_bytes(damaged.read_bytes()[:-150] + b"x" * 150)
    assert cache.get_batch([wave(n) for n in range(3)], out=out).tolist() == [5, -1, 7]
    with pytest.raises(InvalidArgumentError, match="3 keys"):
        cache.get_batch([wave(n) for n in range(3)], out=out[:2])
    features = AudioCache(tmp_path)
    keys = [AudioCacheKey(f"{n:08x}", PROCESSOR, 16_000, 30_000) for n in range(2)]
    features.put_batch((key, np.ones((4, 6), np.float32)) for key in keys)
    assert features.get_batch(keys, out=np.empty((2, 4, 6), np.float32)).tolist() == [24, 24]
    with pytest.raises(InvalidArgumentError, match="shape"):
        features.get_batch(keys, out=np.empty((2, 6, 4), np.float32))
    assert cache.get_batch([], out=np.empty((0, 4), np.float32)).tolist() == []


@pytest.mark.parametrize("threads", [1, 4])
def test_the_later_of_two_puts_stays(tmp_path: Path, threads: int) -> None:
    cache = WaveformCache(tmp_path)
    items = [(wave(n % 7), np.full(100 + n, n, np.float32)) for n in range(140)]
    assert all(cache.put_batch(items, threads=threads))
    found = cache.get_batch([wave(n) for n in range(7)], threads=threads)
    assert [None if one is None else int(one[0]) for one in found] == list(range(133, 140))
    for wrong in [0, -1]:
        with pytest.raises(InvalidArgumentError, match="threads"):
            cache.get_batch([], threads=wrong)


def test_long_arrays_begin_at_a_line_of_the_processors_cache(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    for number, size in enumerate([1 << 14, 100_000, 480_000]):
        for dtype in ["float32", "float16"]:
            cache.put(wave(number, dtype), np.zeros(size, np.float32))
            found = cache.get(wave(number, dtype))
            assert found is not None
            assert (found.ctypes.data % 64, found.flags.c_contiguous) == (0, True)
            assert found.flags.writeable


def test_verify_finds_and_deletes(tmp_path: Path) -> None:
    cache, features = WaveformCache(tmp_path), AudioCache(tmp_path)
    keys = [wave(n) for n in range(100)]
    paths = cache.put_batch((key, np.full(50, n, np.float32)) for n, key in enumerate(keys))
    features.put(AudioCacheKey(BLOB, PROCESSOR, 16_000, 30_000), np.ones((2, 3), np.float32))
    features.put(AudioCacheKey(BLOB, PROCESSOR, 16_000, 5, dtype="float16"), np.ones(3, np.float32))
    calls: list[tuple[int, int]] = []
    report = cache.verify(progress=lambda *done: calls.append(done))
    assert (report.entries, report.faults) == (102, ())
    assert report.bytes == cache.stats().bytes
    assert calls == [(64, 102), (102, 102)]
    assert features.verify() == report

    whole = [path.read_bytes() for path in paths if path is not None]
    by_number = [path for path in paths if path is not None]
    by_number[3].write_bytes(whole[3][:-1])
    by_number[4].write_bytes(whole[5])
    old = re.sub(rb"decoder=aac-\d", b"decoder=aac-0", whole[6])
    by_number[6].write_bytes(old)
    by_number[7].write_bytes(with_right_sums(old))
    report = cache.verify()
    told = {fault.path: (fault.kind, fault.reason) for fault in report.faults}
    assert set(told) == {by_number[n] for n in (3, 4, 6, 7)}
    assert "contradicts its label" in told[by_number[3]][1]
    assert "another key" in told[by_number[4]][1]
    assert told[by_number[6]][0] == "corrupt"
    assert "another key" in told[by_number[7]][1]
    by_number[6].write_bytes(with_right_sums(old))
    assert cache.verify().count("stale") == 1
    report = cache.verify(delete=True)
    assert all(fault.deleted and not fault.path.exists() for fault in report.faults)
    assert (report.count("corrupt"), report.count("stale")) == (3, 1)
    assert cache.verify().entries == 98
    assert cache.stats().corrupt == 0


def with_right_sums(entry: bytes) -> bytes:
    """An entry whose label was edited, as the version that it names would have written it."""
    import zlib

    start = 30 + len("meta.json")
    size = int.from_bytes(entry[18:22], "little")
    crc = zlib.crc32(entry[start : start + size]).to_bytes(4, "little")
    at = entry.index(b"PK\x01\x02") + 16
    return entry[:14] + crc + entry[18:at] + crc + entry[at + 4 :]


def test_prune_evicts_and_counts(tmp_path: Path) -> None:
    cache = WaveformCache(tmp_path)
    cache.put_batch((wave(n), np.zeros(1000, np.float32)) for n in range(10))
    one = cache.stats().bytes // 10
    assert cache.prune() == cache.prune(10 * one)
    done = cache.prune(4 * one)
    assert (done.evicted, done.orphans, done.bytes) == (6, 0, 4 * one)
    stats = cache.stats()
    assert (stats.entries, stats.evicted, stats.puts) == (4, 6, 10)
    for wrong in [0, -1, True]:
        with pytest.raises(InvalidArgumentError):
            cache.prune(wrong)


def test_a_cache_that_syncs_is_the_same_and_pickles(tmp_path: Path) -> None:
    cache = pickle.loads(pickle.dumps(WaveformCache(tmp_path, fsync=True)))
    assert "fsync=True" in repr(cache)
    assert cache.put(wave(1), np.ones(3, np.float32)) is not None
    assert np.array_equal(WaveformCache(tmp_path).get(wave(1)), np.ones(3))
    key = pickle.loads(pickle.dumps(wave(2, "float16")))
    assert key == wave(2, "float16") != wave(2)
