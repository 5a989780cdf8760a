"""64 files to one padded array on one thread and on two; what a file costs; memory."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias

import harness
import numpy as np
import numpy.typing as npt
import peers_decode
import typer
from clips import Clip
from peers_decode import ENCODERS, PACKAGES, PEERS
from rich.console import Console

import ossicle

# (paths, rates) -> (B, T)
Batch: TypeAlias = npt.NDArray[np.float32]
Contestant: TypeAlias = Callable[[Sequence[str], Sequence[int]], Batch]

RATE, FILES, THREADS = 16_000, 64, (1, 2)
FORMATS, RATES = ("wav", "flac", "mp3"), ((44_100, 2), (16_000, 1))
NAMES = ("soundfile", "torchcodec", "miniaudio", "SPDL")
MIB = 1 << 20
METHOD = """\
64 files in the page cache, 1 to 15 s long, WAV, FLAC and MP3 in turn, at 44.1 kHz stereo and 16
kHz mono in turn, to one array (B, T) of mono at 16 kHz, padded with zeros: our `load_batch`, and
for the peers a pool of threads that is there already, soxr HQ where they do not resample
themselves, and a copy into the rows of a new array. The process may use all processors (the other
benches: one). Contestants take turns in an order shuffled for each round. wall: by the clock on
the wall, which other processes on the machine spoil; CPU: processor time of all threads. Ratio:
time of the peer / ours, the median of the rounds' own ratios; above 1 we are faster.
Milliseconds: our median. Tiny: 1 ms of WAV, which is what a file costs beside its audio;
processor time on one processor.""".replace("\n", " ")
_MEMORY = """
import sys
import ossicle
if len(sys.argv) > 1:
    {work}
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(1024 * int(line.split()[1]))
"""


def ours(paths: Sequence[str], rates: Sequence[int], threads: int) -> Batch:
    return ossicle.load_batch(paths, RATE, threads=threads).waveforms


def with_pool(
    one: peers_decode.Contestant,
    pool: ThreadPoolExecutor,
    paths: Sequence[str],
    rates: Sequence[int],
) -> Batch:
    waveforms = list(pool.map(lambda path, rate: one(path, rate, RATE), paths, rates))
    padded = np.zeros((len(paths), max(map(len, waveforms))), np.float32)
    for row, waveform in zip(padded, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return padded


def write_clips(folder: Path, count: int) -> tuple[list[str], list[int]]:
    """Files of 1 to 15 s, each length in each format and rate about as often; paths and rates."""
    seconds = 1 + 14 * np.random.default_rng(2).permutation(count) / max(1, count - 1)
    paths, rates = [], []
    for index, length in enumerate(seconds):
        name = FORMATS[index % len(FORMATS)]
        rate, channels = RATES[index // len(FORMATS) % len(RATES)]
        extension, encoder = ENCODERS[name]
        clip = Clip(name, extension, round(float(length), 2), rate, channels, encoder)
        paths.append(str(clip.write(folder)))
        rates.append(rate)
    return paths, rates


def contestants(threads: int) -> dict[str, Contestant]:
    found: dict[str, Contestant] = {harness.OURS: partial(ours, threads=threads)}
    for name in NAMES:
        pool = ThreadPoolExecutor(threads)
        found[name] = partial(with_pool, PEERS[name], pool)
    return found


def race(
    paths: Sequence[str], rates: Sequence[int], rounds: int
) -> dict[tuple[int, str], list[tuple[float, float]]]:
    """`(wall, CPU)` seconds of each round, by number of threads and contestant."""
    racing = {(count, name): run for count in THREADS for name, run in contestants(count).items()}
    taken: dict[tuple[int, str], list[tuple[float, float]]] = {key: [] for key in racing}
    order, shuffle = list(racing), random.Random(0).shuffle
    for turn in range(rounds + 1):
        shuffle(order)
        for key in order:
            wall, processor = time.perf_counter(), time.process_time()
            racing[key](paths, rates)
            took = (time.perf_counter() - wall, time.process_time() - processor)
            if turn:  # the first one warms up
                taken[key].append(took)
    return taken


def rows_of(taken: dict[tuple[int, str], list[tuple[float, float]]]) -> list[harness.Row]:
    rows = []
    for count in THREADS:
        for clock, kind in enumerate(("wall", "CPU")):
            own = [times[clock] for times in taken[count, harness.OURS]]
            row = harness.Row(f"{FILES} files, {count} thread{'s'[: count - 1]}, {kind}")
            row.seconds[harness.OURS], row.rounds = statistics.median(own), len(own)
            for name in NAMES:
                theirs = [times[clock] for times in taken[count, name]]
                row.seconds[name] = statistics.median(theirs)
                ratios = [peer / mine for peer, mine in zip(theirs, own, strict=True)]
                row.ratios[name] = statistics.median(ratios)
            rows.append(row)
    return rows


def scaling(taken: dict[tuple[int, str], list[tuple[float, float]]]) -> dict[str, str]:
    """What the second thread gains, ours and the peers'."""
    facts = {}
    for name in (harness.OURS, *NAMES):
        pairs = list(zip(taken[1, name], taken[2, name], strict=True))
        wall = statistics.median(one[0] / two[0] for one, two in pairs)
        processor = statistics.median(two[1] / one[1] for one, two in pairs)
        fact = f"{wall:.2f} times as fast by the wall, {processor:.2f} times the processor time"
        facts[f"two threads against one, {name}"] = fact
    return facts


def tiny(folder: Path, rounds: int) -> list[harness.Row]:
    """What a file costs beside its audio: 1 ms of WAV by `load`, and in a batch."""
    path = Clip("wav", "wav", 0.001, RATE, 1, ENCODERS["wav"][1]).write(folder)
    peers = {name: partial(run, str(path), RATE, RATE) for name, run in PEERS.items()}
    racing = {harness.OURS: partial(ossicle.load, str(path))}
    single = harness.Row("tiny WAV, load")
    for name, run in peers.items():
        try:
            run()
            racing[name] = run
        except Exception as error:  # a peer may fail with anything: that is its note
            single.missing[name] = harness.reason(error)
    harness.race(single, racing, rounds)
    many = harness.Row(f"tiny WAV, one of {FILES} in load_batch")
    harness.race(many, {harness.OURS: partial(ours, [str(path)] * FILES, [], threads=1)}, rounds)
    many.seconds = {name: seconds / FILES for name, seconds in many.seconds.items()}
    return [single, many]


def memory(paths: Sequence[str], width: int) -> dict[str, str]:
    """The most that a process held which decoded the batch, less one that did not."""
    work = f"ossicle.load_batch(sys.argv[1:], {RATE}, threads=2)"
    code = _MEMORY.format(work=work)

    def held(arguments: Sequence[str]) -> int:
        command = [sys.executable, "-c", code, *arguments]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(run.stdout)

    grown = held(paths) - held([])
    read = sum(Path(path).stat().st_size for path in paths)
    bound = 64 * MIB + 2 * read + 3 * 4 * width * len(paths)
    fact = f"{grown / MIB:.0f} MiB of {bound / MIB:.0f} that are promised"
    return {"peak memory of load_batch on two threads": fact}


@contextmanager
def all_processors() -> Iterator[int]:
    """Undoes `harness.one_thread` for a while: two threads need two processors."""
    if not hasattr(os, "sched_setaffinity"):
        yield os.cpu_count() or 1
        return
    pinned = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield len(os.sched_getaffinity(0))
    finally:
        os.sched_setaffinity(0, pinned)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds.")] = 15,
    quick: Annotated[
        bool, typer.Option("--quick", help="8 files, 3 rounds, no record: does it work?")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """64 files of 1 to 15 s to one array of 16 kHz mono: ours against the peers on threads."""
    warnings.simplefilter("ignore")
    console = Console(width=None if sys.stdout.isatty() else 150)
    with tempfile.TemporaryDirectory() as folder:
        rows = tiny(Path(folder), 3 if quick else rounds)
        paths, rates = write_clips(Path(folder), 8 if quick else FILES)
        with all_processors() as used:
            facts = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
            taken = race(paths, rates, 3 if quick else rounds)
        width = ossicle.load_batch(paths, RATE).waveforms.shape[1]
        facts |= {"processors used": str(used), "scaling": scaling(taken)}
        if sys.platform == "linux":
            facts["memory"] = memory(paths, width)
    rows = [*rows_of(taken), *rows]
    harness.show("batch", rows, list(PEERS), console)
    for name, fact in (facts["scaling"] | facts.get("memory", {})).items():
        console.print(f"- {name}: {fact}", style="dim", markup=False, highlight=False)
    if write and not quick:
        for file in harness.record("batch", rows, list(PEERS), facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")
