"""`load_batch`: counts, order, errors, threads, the GIL, forks."""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import oracle
import pytest

import ossicle

FORMATS = {
    "wav": "-c:a pcm_s16le",
    "flac": "-c:a flac -sample_fmt s16",
    "mp3": "-c:a libmp3lame -b:a 64k",
    "ogg": "-c:a libvorbis",
    "m4a": "-c:a aac -aac_pns 0",
}


@pytest.fixture(scope="module")
def clips(make_clip) -> list[Path]:
    """Clips of many lengths, rates and formats."""
    return [
        make_clip(suffix, rate=rate, channels=channels, frames=frames, options=options)
        for suffix, options in FORMATS.items()
        for rate, channels, frames in [(16_000, 1, 3_001), (44_100, 2, 30_011), (8_000, 1, 9_001)]
    ]


def test_rows_are_the_clips_in_order_and_padded(clips: list[Path]) -> None:
    batch = ossicle.load_batch(clips)
    assert len(batch) == len(clips)
    assert batch.waveforms.dtype == np.float32
    assert batch.lengths.dtype == np.int64
    assert batch.waveforms.shape == (len(clips), batch.lengths.max())
    assert batch.errors == [None] * len(clips)
    for clip, row, length, rate in zip(
        clips, batch.waveforms, batch.lengths, batch.sample_rates, strict=True
    ):
        expected, _ = ossicle.load(clip, 16_000)
        assert np.array_equal(row[:length], expected)
        assert not row[length:].any()
        assert rate == ossicle.info(clip).sample_rate


@pytest.mark.parametrize("threads", [2, 3, 8, 100])
def test_the_number_of_threads_changes_no_bit(threads: int, clips: list[Path]) -> None:
    one = ossicle.load_batch(clips, threads=1)
    many = ossicle.load_batch(clips, threads=threads)
    assert np.array_equal(one.waveforms, many.waveforms)
    assert np.array_equal(one.lengths, many.lengths)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_rows_of_the_callers_own_are_written_whole(threads: int, clips: list[Path]) -> None:
    expected = ossicle.load_batch(clips)
    count, longest = expected.waveforms.shape
    out = np.full((count, longest + 7), np.nan, np.float32)
    batch = ossicle.load_batch(clips, threads=threads, out=out)
    assert batch.waveforms is out
    assert np.array_equal(out[:, :longest], expected.waveforms)
    assert not out[:, longest:].any()
    assert np.array_equal(batch.lengths, expected.lengths)
    assert np.array_equal(batch.sample_rates, expected.sample_rates)


def test_a_clip_that_does_not_fit_its_row_is_an_error_of_its_own(
    clips: list[Path], tmp_path: Path
) -> None:
    sources = [clips[0], tmp_path / "missing.wav", b"no audio", *clips[1:]]
    lengths = ossicle.load_batch(sources, on_error="collect").lengths
    room = int(np.median(lengths))
    out = np.full((len(sources), room), np.nan, np.float32)
    batch = ossicle.load_batch(sources, on_error="collect", out=out)
    for row, length, expected, error in zip(out, batch.lengths, lengths, batch.errors, strict=True):
        assert length == (expected if expected <= room else 0)
        assert (error is None) == (length > 0)
        assert not row[length:].any()
        assert isinstance(error, ossicle.InvalidArgumentError) == (expected > room)
    with pytest.raises(ossicle.InvalidArgumentError, match="room for"):
        ossicle.load_batch(clips, out=np.empty((len(clips), room), np.float32))
    cut = ossicle.load_batch(clips, duration=0.1, out=np.empty((len(clips), 1_600), np.float32))
    assert (cut.lengths == 1_600).all()


def test_rows_that_cannot_be_written_are_refused(clips: list[Path]) -> None:
    count = len(clips)
    frozen = np.empty((count, 10), np.float32)
    frozen.flags.writeable = False
    refused = [
        np.empty((count, 10)),
        np.empty(count, np.float32),
        np.empty((count + 1, 10), np.float32),
        np.empty((10, count), np.float32).T,
        np.empty((count, 20), np.float32)[:, ::2],
        frozen,
        [[0.0] * 10] * count,
    ]
    for out in refused:
        with pytest.raises(ossicle.InvalidArgumentError, match="out"):
            ossicle.load_batch(clips, out=out)
    nothing = ossicle.load_batch([], out=np.empty((0, 5), np.float32))
    assert nothing.waveforms.shape == (0, 5)
    empty = np.empty((count, 0), np.float32)
    assert ossicle.load_batch(clips, out=empty, on_error="collect").lengths.tolist() == [0] * count


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to set")
def test_no_more_files_are_open_at_once_than_threads(clips: list[Path]) -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        batch = ossicle.load_batch([clips[0]] * 300, threads=4)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert batch.lengths.all()


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_errors_are_collected_beside_the_rest(threads: int, clips: list[Path], tmp_path) -> None:
    missing, text = tmp_path / "missing.wav", b"no audio at all, in any format"
    sources = [missing, *clips, text, b"", clips[0]]
    batch = ossicle.load_batch(sources, on_error="collect", threads=threads)
    failed = [index for index, error in enumerate(batch.errors) if error is not None]
    assert failed == [0, len(sources) - 3, len(sources) - 2]
    assert len(batch.errors) == len(batch.lengths) == len(sources)
    assert (batch.lengths[failed] == 0).all()
    assert (batch.sample_rates[failed] == 0).all()
    assert np.count_nonzero(batch.lengths) + len(failed) == len(sources)
    assert isinstance(batch.errors[0], ossicle.AudioFileNotFoundError)
    assert batch.errors[0].source == str(missing)
    assert np.array_equal(batch.waveforms[1], batch.waveforms[-1])

    with pytest.raises(ossicle.AudioFileNotFoundError, match=r"missing\.wav"):
        ossicle.load_batch(sources, threads=threads)
    with pytest.raises(ossicle.UnsupportedFormatError):
        ossicle.load_batch(sources[1:], threads=threads)


def test_one_source_many_times_over(clips: list[Path]) -> None:
    data = clips[1].read_bytes()
    batch = ossicle.load_batch([data] * 40, threads=8)
    assert (batch.waveforms == batch.waveforms[0]).all()
    with clips[1].open("rb") as file:
        twice = ossicle.load_batch([clips[1], file], threads=2)
    assert np.array_equal(twice.waveforms[0], twice.waveforms[1])


def test_nothing_is_a_batch_of_nothing() -> None:
    batch = ossicle.load_batch([])
    assert (batch.waveforms.shape, batch.lengths.shape, batch.errors) == ((0, 0), (0,), [])
    alone = ossicle.load_batch([b"bad"], on_error="collect")
    assert (alone.waveforms.shape, alone.lengths.tolist()) == ((1, 0), [0])


def test_sources_may_be_any_sequence(clips: list[Path]) -> None:
    expected = ossicle.load_batch(clips[:2]).waveforms
    for sources in (tuple(clips[:2]), (clip for clip in clips[:2]), np.array(clips[:2], object)):
        assert np.array_equal(ossicle.load_batch(sources).waveforms, expected)


@pytest.fixture(scope="module")
def long_flac(make_clip) -> bytes:
    options = FORMATS["flac"]
    return make_clip(
        "flac", rate=44_100, channels=2, frames=44_100 * 240, options=options
    ).read_bytes()


@pytest.mark.thorough
@pytest.mark.parametrize("call", ["load", "load_batch", "resample"])
def test_the_gil_is_free_meanwhile(call: str, long_flac: bytes) -> None:
    """Another thread must be able to run while one long call does."""
    noise = np.random.default_rng(0).standard_normal(20_000_000).astype(np.float32)
    work = {
        "load": lambda: ossicle.load(long_flac, 16_000),
        "load_batch": lambda: ossicle.load_batch([long_flac] * 2, threads=1),
        "resample": lambda: ossicle.resample(noise, 44_100, 16_000),
    }[call]
    # On a busy machine the other thread may wait for a processor: once out of five is enough.
    assert min(share_held(work) for _ in range(5)) < 0.5


def share_held(work: Callable[[], object]) -> float:
    """The longest time that another thread could not run, as a share of `work`'s time."""
    stop, ticks = threading.Event(), []

    def tick() -> None:
        while not stop.wait(0.0005):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    begin = time.monotonic()
    work()
    end = time.monotonic()
    stop.set()
    thread.join()
    assert end - begin > 0.02, "too short to tell"
    inside = [begin, *(tick for tick in ticks if begin < tick < end), end]
    return max(np.diff(inside)) / (end - begin)


def test_many_python_threads_at_once(clips: list[Path]) -> None:
    expected = [ossicle.load(clip, 16_000)[0] for clip in clips]

    def all_of_them(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(clips))
        return all(
            np.array_equal(ossicle.load(clips[index], 16_000)[0], expected[index])
            for index in order
        )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(all_of_them, range(32)))


def in_child(paths: list[Path], threads: int, queue: multiprocessing.Queue) -> None:
    batch = ossicle.load_batch(paths, threads=threads)
    queue.put((os.getpid(), batch.waveforms.sum(axis=1, dtype=np.float64).tolist()))


@pytest.mark.sampled(one_in=5)
@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("threads", [1, 4])
def test_children_decode_after_the_parent_did(method: str, threads: int, clips: list[Path]) -> None:
    if sys.platform != "linux" and method != "spawn":
        pytest.skip("forking is not safe here")
    sums = ossicle.load_batch(clips, threads=4).waveforms.sum(axis=1, dtype=np.float64)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    children = [context.Process(target=in_child, args=(clips, threads, queue)) for _ in range(2)]
    for child in children:
        child.start()
    results = [queue.get(timeout=60) for _ in children]
    for child in children:
        child.join(timeout=30)
        if child.is_alive():
            child.kill()
            pytest.fail("a child hangs at its end")
        assert child.exitcode == 0
    assert len({pid for pid, _ in results} | {os.getpid()}) == 3
    for _, got in results:
        np.testing.assert_allclose(got, sums)


@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.platform != "linux", reason="forking is not safe here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_amid_the_work_of_other_threads(clips: list[Path]) -> None:
    """A child may inherit locks that a thread of the parent held: it must not wait for them."""
    stop = threading.Event()

    def busy() -> None:
        while not stop.is_set():
            ossicle.load_batch(clips, threads=2)

    workers = [threading.Thread(target=busy) for _ in range(3)]
    for worker in workers:
        worker.start()
    context = multiprocessing.get_context("fork")
    try:
        for _ in range(8):
            queue = context.Queue()
            child = context.Process(target=in_child, args=(clips[:5], 2, queue))
            child.start()
            _, sums = queue.get(timeout=60)
            child.join(timeout=30)
            assert child.exitcode == 0
            assert len(sums) == 5
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def test_one_thread_by_default_in_a_loaders_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    from ossicle import _native, audio

    class Loader:
        @staticmethod
        def get_worker_info() -> object:
            return object()

    monkeypatch.setitem(sys.modules, "torch.utils.data", Loader)
    assert audio.arguments.default_threads() == 1
    monkeypatch.setattr(Loader, "get_worker_info", staticmethod(lambda: None))
    assert audio.arguments.default_threads() == _native.available_threads() >= 1


def test_a_batch_is_decoded_no_further_than_asked(clips: list[Path]) -> None:
    batch = ossicle.load_batch(clips, duration=0.1)
    assert (batch.lengths == 1_600).all()
    assert functools.reduce(np.maximum, np.abs(batch.waveforms).max(axis=1)) > 0


def test_clips_of_real_speech_come_out_in_one_batch() -> None:
    folder = Path(__file__).parents[2] / "shared" / "data" / "speech"
    if not folder.is_dir():
        pytest.skip("the recordings are not beside this repository")
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".wav", ".flac", ".mp3"))
    batch = ossicle.load_batch(paths)
    for path, row, length in zip(paths, batch.waveforms, batch.lengths, strict=True):
        info = ossicle.info(path)
        assert length == -(-info.frames * 16_000 // info.sample_rate)
        expected = oracle.decode(oracle.bundled(), [path], info.channels)[0]
        assert expected.shape == (info.channels, info.frames)
        ours, _ = ossicle.load(path, mono=False)
        assert oracle.rms(ours - expected) < 1e-4
        assert np.abs(row[:length]).max() > 0.01


def test_all_channels_each_at_its_own_rate(clips: list[Path]) -> None:
    batch = ossicle.load_batch([*clips, b"nothing"], None, mono=False, on_error="collect")
    assert batch.channels is not None
    assert batch.sample_rate is None
    assert batch.waveforms.shape == (len(clips) + 1, 2, batch.lengths.max())
    for number, clip in enumerate(clips):
        expected, rate = ossicle.load(clip, mono=False)
        assert np.array_equal(batch[number], expected)
        assert batch.rate_of(number) == rate
        assert not batch.waveforms[number, :, batch.lengths[number] :].any()
        assert not batch.waveforms[number, len(expected) :].any()
    assert batch[-1].shape == (0, 0)
    assert batch.errors[-1] is not None
    for threads in (1, 3):
        again = ossicle.load_batch(clips, None, mono=False, threads=threads)
        assert np.array_equal(again.waveforms, batch.waveforms[:-1])


@pytest.mark.parametrize("rate", [None, 8_000])
def test_items_are_the_clips(rate: int | None, clips: list[Path]) -> None:
    starts = [0.01 * number for number in range(len(clips))]
    batch = ossicle.load_batch(clips, rate, offsets=starts, duration=0.1)
    found = list(batch)
    assert len(found) == len(clips)
    for number, (clip, start) in enumerate(zip(clips, starts, strict=True)):
        expected, own = ossicle.load(clip, rate, offset=start, duration=0.1)
        assert np.array_equal(found[number], expected)
        assert np.array_equal(batch[number - len(clips)], expected)
        assert batch.rate_of(number) == own
    with pytest.raises(IndexError):
        batch[len(clips)]


def test_out_is_for_mono_float32(clips: list[Path]) -> None:
    out = np.zeros((1, 50_000), np.float32)
    for options in ({"mono": False}, {"dtype": "int16"}):
        with pytest.raises(ossicle.InvalidArgumentError, match="out holds mono float32"):
            ossicle.load_batch(clips[:1], out=out, **options)


def test_a_batch_of_all_channels_that_does_not_fit(clips: list[Path]) -> None:
    batch = ossicle.load_batch([], mono=False)
    assert batch.waveforms.shape == (0, 0, 0)
