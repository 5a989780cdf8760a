"""The cache: arrays from disk with their check, and to it, against NumPy and safetensors."""

from __future__ import annotations

import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import harness
import numpy as np
import numpy.typing as npt
import typer
from peers_batch import all_processors
from peers_mel import speech
from rich.console import Console
from rich.progress import track
from safetensors.numpy import load_file, save_file

from ossicle.cache import AudioCache, AudioCacheKey, WaveformCache, WaveformCacheKey

FloatArray: TypeAlias = npt.NDArray[np.float32]
Work: TypeAlias = Callable[[], object]

RATE, BATCH = 16_000, 64
PROCESSOR = "fedcba9876543210" * 4
PACKAGES = ("ossicle", "numpy", "safetensors")
PEERS = ("np.load", "np.load .npy", "safetensors", "np.savez", "np.savez+fsync")
METHOD = """\
Float32 waveforms at 16 kHz (noise with the loudness of speech) in files that are in the page cache,
one processor, garbage collector off, contestants interleaved in an order shuffled for each round.
Ratio: processor time of the peer / ours, the median of the rounds' own ratios; above 1 we are
faster. Milliseconds: our fastest call. get: the array of an entry, every byte of which has been
checked; view: the same, read-only and left in the mapped file; into a buffer: out=. np.load:
np.load(path)["waveform"] of what np.savez wrote, which checks a CRC too; np.load .npy and
safetensors.numpy.load_file check nothing. put: a new name each time from a set of 16, with and
without fsync; np.savez: into memory, then to a temporary file that is renamed, and with fsync of
file and folder. Processor time does not count waiting for the disk: of fsync the wall's ratio is
given with the versions.""".replace("\n", " ")


def digest(number: int) -> str:
    return f"{number:08x}" * 8


def wave_key(number: int, half: bool = False) -> WaveformCacheKey:
    return WaveformCacheKey(digest(number), RATE, 30_000, dtype="float16" if half else "float32")


def seeds_put(folder: Path, number: int, waveform: FloatArray, fsync: bool) -> Path:
    """As one would write it around np.savez: whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, waveform=waveform)
    path = folder / f"{digest(number)}.wav.npz"
    partial_path = path.with_suffix(".partial")
    with partial_path.open("wb") as file:
        file.write(buffer.getvalue())
        if fsync:
            file.flush()
            os.fsync(file.fileno())
    partial_path.replace(path)
    if fsync:
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return path


def from_npz(path: Path) -> FloatArray:
    with np.load(path) as archive:
        return archive["waveform"]


def from_safetensors(path: Path) -> FloatArray:
    return load_file(path)["waveform"]


def reading_peers(folder: Path, waveform: FloatArray) -> dict[str, Work]:
    """NumPy's archive, NumPy's plain file and safetensors, each with the same array."""
    archive, plain, tensors = (folder / f"peer.{kind}" for kind in ("npz", "npy", "safetensors"))
    np.savez(archive, waveform=waveform)
    np.save(plain, waveform)
    save_file({"waveform": waveform}, tensors)
    return {
        "np.load": partial(from_npz, archive),
        "np.load .npy": partial(np.load, plain),
        "safetensors": partial(from_safetensors, tensors),
    }


def ways_to_get(folder: Path, waveform: FloatArray, seconds: float) -> dict[str, Work]:
    cache = WaveformCache(folder / "cache")
    cache.put(wave_key(0), waveform)
    cache.put(wave_key(0, half=True), waveform)
    buffer = np.zeros_like(waveform)
    name = f"{seconds:g} s"
    return {
        f"get, {name}": lambda: cache.get(wave_key(0)),
        f"view, {name}": lambda: cache.get(wave_key(0), copy=False),
        f"into a buffer, {name}": lambda: cache.get(wave_key(0), out=buffer),
        f"float16, {name}": lambda: cache.get(wave_key(0, half=True)),
        f"float16 into float32, {name}": lambda: cache.get(wave_key(0, half=True), out=buffer),
    }


def get_rows(rounds: int, lengths: tuple[float, ...]) -> list[harness.Row]:
    rows = []
    for seconds in track(lengths, "get", transient=True):
        with tempfile.TemporaryDirectory() as name:
            folder, waveform = Path(name), speech(seconds, 0)
            peers = reading_peers(folder, waveform)
            for title, ours in ways_to_get(folder, waveform, seconds).items():
                found = ours()
                exact = "float16" not in title
                expected = waveform if exact else waveform.astype(np.float16)
                if not (isinstance(found, np.ndarray) and np.array_equal(found, expected)):
                    raise RuntimeError(f"{title}: another array than was put")
                row = harness.Row(title)
                rows.append(harness.race(row, {harness.OURS: ours, **peers}, rounds))
    return rows


def feature_row(rounds: int) -> harness.Row:
    features = np.random.default_rng(0).standard_normal((128, 3000), np.float32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache, key = AudioCache(folder), AudioCacheKey(digest(0), PROCESSOR, RATE, 30_000)
        cache.put(key, features)
        contestants = {harness.OURS: partial(cache.get, key), **reading_peers(folder, features)}
        return harness.race(harness.Row("get, features (128, 3000)"), contestants, rounds)


def batch_rows(rounds: int) -> list[harness.Row]:
    """64 waveforms at once into rows, one by one from NumPy's archives."""
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name), WaveformCache(Path(name) / "cache")
        clips = [speech(1 + number % 15, number) for number in range(BATCH)]
        keys = [wave_key(number) for number in range(BATCH)]
        cache.put_batch(zip(keys, clips, strict=True))
        paths = [seeds_put(folder, number, clip, False) for number, clip in enumerate(clips)]
        out = np.zeros((BATCH, 15 * RATE), np.float32)

        def theirs() -> FloatArray:
            rows = np.zeros_like(out)
            for row, path in zip(rows, paths, strict=True):
                waveform = from_npz(path)
                row[: len(waveform)] = waveform
            return rows

        everyone: dict[str, Work] = {
            "get_batch of 64, 1 to 15 s": lambda: cache.get_batch(keys, threads=1),
            "get_batch of 64 into rows": lambda: cache.get_batch(keys, out=out, threads=1),
        }
        return [
            harness.race(harness.Row(title), {harness.OURS: ours, "np.load": theirs}, rounds)
            for title, ours in everyone.items()
        ]


def threads_fact(rounds: int) -> str:
    """How much faster two threads are by the wall."""
    with tempfile.TemporaryDirectory() as name, all_processors():
        cache = WaveformCache(name)
        keys = [wave_key(number) for number in range(BATCH)]
        cache.put_batch((key, speech(30, number)) for number, key in enumerate(keys))
        out = np.zeros((BATCH, 30 * RATE), np.float32)
        ratios = []
        for _ in range(rounds + 1):
            taken = []
            for threads in (1, 2):
                start = time.perf_counter()
                cache.get_batch(keys, out=out, threads=threads)
                taken.append(time.perf_counter() - start)
            ratios.append(taken[0] / taken[1])
        return f"{statistics.median(ratios[1:]):.2f} times as fast by the wall"


def ways_to_put(folder: Path, waveform: FloatArray) -> dict[str, dict[str, Work]]:
    turns = iter(range(1 << 40))

    def ours(cache: WaveformCache, half: bool = False) -> object:
        return cache.put(wave_key(next(turns) % 16, half), waveform)

    def theirs(fsync: bool) -> object:
        return seeds_put(folder, next(turns) % 16, waveform, fsync)

    plain = WaveformCache(folder / "cache")
    synced = WaveformCache(folder / "synced", fsync=True)
    peers: dict[str, Work] = {
        "np.savez": partial(theirs, False),
        "np.savez+fsync": partial(theirs, True),
    }
    return {
        "put, 30 s": {harness.OURS: partial(ours, plain), **peers},
        "put, 30 s, fsync": {harness.OURS: partial(ours, synced), **peers},
        "put, 30 s, float16": {harness.OURS: partial(ours, plain, True), **peers},
    }


def put_rows(rounds: int) -> tuple[list[harness.Row], dict[str, str]]:
    """Processor time of puts, and how the wall's time of those with fsync compares."""
    with tempfile.TemporaryDirectory() as name:
        everyone = ways_to_put(Path(name), speech(30, 0))
        rows = [
            harness.race(harness.Row(title), contestants, rounds)
            for title, contestants in track(everyone.items(), "put", transient=True)
        ]
        synced, ratios = everyone["put, 30 s, fsync"], []
        for _ in range(rounds):
            taken = {peer: _wall(synced[peer]) for peer in (harness.OURS, "np.savez+fsync")}
            ratios.append(taken["np.savez+fsync"] / taken[harness.OURS])
    fact = f"np.savez+fsync takes {statistics.median(ratios):.2f} times as long by the wall"
    return rows, {"put with fsync": fact}


def _wall(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 15,
    quick: Annotated[
        bool, typer.Option("--quick", help="3 rounds, 30 s alone, no record: does it work?")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """The cache's get, view, put and batches: ours against np.load, np.savez and safetensors.

    For example: `peers.py cache` (with a record), `peers.py cache --rounds 31 --no-record`,
    `peers.py cache --quick`.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    facts = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
    rounds = 3 if quick else rounds
    rows = get_rows(rounds, (30.0,) if quick else (30.0, 5.0))
    rows += [feature_row(rounds), *batch_rows(rounds)]
    puts, measured = put_rows(rounds)
    rows += puts
    measured["get_batch of 64 on two threads against one"] = threads_fact(rounds)
    facts["measured"] = measured
    harness.show("cache", rows, PEERS, console)
    for name, fact in measured.items():
        console.print(f"{name}: {fact}", highlight=False)
    if write and not quick:
        for file in harness.record("cache", rows, PEERS, facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")
