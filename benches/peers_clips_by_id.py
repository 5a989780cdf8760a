"""Clips by id out of shards, a consumer's wait, and a worker's memory, beside the peers."""

from __future__ import annotations

import ctypes
import gc
import io
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import harness
import numpy as np
import soundfile
import torch
import typer
import webdataset
from rich.console import Console
from torch.utils.data import DataLoader

import ossicle
from ossicle.dataloader import (
    FeatureLoader,
    MetadataSampler,
    RawFileLoader,
    SpeechCollator,
    SpeechDataset,
    WebDatasetLoader,
)

# Ids -> their clips' (samples, channels) or (channels, samples).
Contestant: TypeAlias = Callable[[Sequence[str]], Sequence[Any]]

PACKAGES = ("ossicle", "numpy", "polars", "soundfile", "torch", "webdataset")
PEERS = ("soundfile, loose files", "ours, loose files", "webdataset, one scan")
RATE, SECONDS = 16_000, 5.0
METHOD = """\
Clips of 5 s (FLAC, mono, 16 kHz) by id, in random order, to float32 at their own rate, with their
JSON: out of tar shards of 500 (ours, shards open and their indexes beside them), and out of a
folder of loose files. webdataset has no way to a sample but through those before it: it is told all
ids at once and gets them in one scan of all shards, and decodes those alone, by soundfile; for
one clip at a time it would scan once for each. One process, one thread, contestants interleaved.
Ratio: processor time of the peer / ours, the median of the rounds' own ratios; above 1 we are
faster. cold: the files' pages are dropped before each round (posix_fadvise DONTNEED behind an
fsync), by the clock on the wall, and what the drive itself caches stays. Consumer: SpeechDataset
over shards in MetadataSampler's order, batches of 16 by SpeechCollator, DataLoader with so many
forked workers; the consumer takes as long over a batch as it takes one process to make it, and
waits for the rest. Memory: private pages (USS) of a forked worker that has read 40,000 rows of a
manifest of four columns, after the parent gave back what it had freed.""".replace("\n", " ")


def write(folder: Path, clips: int) -> tuple[list[str], list[str]]:
    """Shards and loose files of the same clips; gives the shards and the ids."""
    generator = np.random.default_rng(0)
    ids = [f"clip{number:05d}" for number in range(clips)]
    (folder / "loose").mkdir()
    with ossicle.ShardWriter(folder / "s-%04d.tar", max_samples=500) as writer:
        for number, wav_id in enumerate(ids):
            tone = np.sin(np.arange(round(RATE * SECONDS)) * (0.01 + number / 1e5))
            samples = 0.3 * tone + generator.normal(0, 0.02, len(tone))
            path = ossicle.save(folder / "loose" / f"{wav_id}.flac", samples, RATE)
            sample = {"flac": path.read_bytes(), "json": {"n": number}}
            path.with_suffix(".json").write_text(f'{{"n": {number}}}')
            writer.write({"__key__": wav_id, **sample})
    return [str(shard.path) for shard in writer.shards], ids


def with_loader(loader: FeatureLoader, ids: Sequence[str]) -> Sequence[Any]:
    return [loader.load(wav_id)[0] for wav_id in ids]


def with_soundfile(folder: Path, ids: Sequence[str]) -> Sequence[Any]:
    clips = []
    for wav_id in ids:
        path = folder / f"{wav_id}.flac"
        clips.append(torch.from_numpy(soundfile.read(path, dtype="float32", always_2d=True)[0].T))
        path.with_suffix(".json").read_bytes()
    return clips


def with_webdataset(shards: list[str], ids: Sequence[str]) -> Sequence[Any]:
    wanted, found = set(ids), {}
    for sample in webdataset.WebDataset(shards, shardshuffle=False):
        if sample["__key__"] in wanted:
            clip = soundfile.read(io.BytesIO(sample["flac"]), dtype="float32", always_2d=True)[0]
            found[sample["__key__"]] = torch.from_numpy(clip.T)
    return [found[wav_id] for wav_id in ids]


def drop_pages(folder: Path) -> None:
    for path in folder.rglob("*.*"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cold(row: harness.Row, contestants: dict[str, Contestant], folder: Path, rounds: int) -> None:
    """By the wall clock: waiting for the drive takes no processor time."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in random.sample(list(contestants.items()), len(contestants)):
            drop_pages(folder)
            start = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - start)
    row.rounds = rounds
    row.seconds = {name: min(times) for name, times in taken.items()}
    for name in [name for name in taken if name != harness.OURS]:
        pairs = zip(taken[name], taken[harness.OURS], strict=True)
        row.ratios[name] = float(np.median([peer / own for peer, own in pairs]))


def by_id(folder: Path, clips: int, wanted: int, rounds: int) -> tuple[list[harness.Row], Any]:
    shards, ids = write(folder, clips)
    chosen = random.Random(0).sample(ids, wanted)
    loose = folder / "loose"
    readers: dict[str, Contestant] = {
        harness.OURS: partial(with_loader, WebDatasetLoader(shards)),
        "soundfile, loose files": partial(with_soundfile, loose),
        "ours, loose files": partial(with_loader, RawFileLoader(loose)),
        "webdataset, one scan": partial(with_webdataset, shards),
    }
    first = {name: read(chosen[:3]) for name, read in readers.items()}
    for name, found in first.items():
        pairs = zip(found, first[harness.OURS], strict=True)
        assert all(torch.equal(one, other) for one, other in pairs), name
    contestants = {name: partial(read, chosen) for name, read in readers.items()}
    warm = harness.race(harness.Row(f"{wanted} of {clips:,} clips, warm"), contestants, rounds)
    frozen = harness.Row(f"{wanted} of {clips:,} clips, cold, wall")
    cold(frozen, contestants, folder, min(rounds, 5))
    rates = {
        f"clips a second, {row.name}": ", ".join(
            f"{name} {wanted / seconds:,.0f}" for name, seconds in row.seconds.items()
        )
        for row in (warm, frozen)
    }
    return [warm, frozen], (shards, ids, rates)


def waits(shards: list[str], ids: list[str]) -> dict[str, str]:
    """Clips a second and the share of time that a consumer waits."""
    facts, pace = {}, 0.0
    if hasattr(os, "sched_setaffinity"):  # `harness.one_thread` left this process one processor
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
    for workers in (0, 1, 2):
        sampler = MetadataSampler({"wav_id": ids}, seed=1)
        loader = DataLoader(
            SpeechDataset(WebDatasetLoader(shards), ids=ids),
            batch_size=16,
            sampler=sampler,
            num_workers=workers,
            collate_fn=SpeechCollator(),
        )
        batches = iter(loader)
        next(batches)  # workers have started
        waited, count, start = 0.0, 0, time.perf_counter()
        while True:
            before = time.perf_counter()
            batch = next(batches, None)
            waited += time.perf_counter() - before
            if batch is None:
                break
            count += len(batch)
            time.sleep(pace)
        took = time.perf_counter() - start
        if not workers:
            pace = waited / max(count / 16, 1)
        name = f"consumer, {workers} workers" + ("" if workers else ", which takes no time")
        facts[name] = f"{count / took:,.0f} clips a second, waits {waited / took:.1%} of the time"
    return facts


class Silence(FeatureLoader):
    """Nothing but rows."""

    def load_waveform(self, wav_id: str) -> tuple[torch.Tensor, int]:
        return torch.zeros(1, 8), RATE

    def load_metadata(self, wav_id: str) -> dict[str, Any]:
        return {}

    def available_ids(self) -> list[str]:
        return []


def private(samples: object = None) -> int:
    lines = [line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()]
    return sum(int(one[1]) << 10 for one in lines if one[0].startswith("Private_"))


def memory(sizes: Sequence[int]) -> dict[str, str]:
    """Each in a process of its own: what one leaves behind is not the next one's."""
    facts = {}
    for rows in sizes:
        here = str(Path(__file__).parent)
        code = f"import sys; sys.path.insert(0, {here!r}); import peers_clips_by_id as bench; "
        command = [sys.executable, "-c", f"{code}print(bench.measured({rows}))"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        facts[f"memory of a worker, {rows:,} rows"] = done.stdout.strip()
    return facts


def measured(rows: int) -> str:
    import polars as pl

    number = pl.int_range(rows)
    frame = pl.select(
        wav_id=pl.format("recording-{}", number),
        label=pl.when(number % 3 == 0).then(pl.lit("KCHI")).otherwise(pl.lit("FEM")),
        snr=number.cast(float),
        labels=pl.concat_list(pl.lit("KCHI"), pl.format("L{}", number % 100)),
    )
    sampler = MetadataSampler(frame, ["label"], num_samples=min(40_000, rows))
    dataset = SpeechDataset(Silence(), manifest=frame)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    time.sleep(2)  # until Polars has given back what it has freed
    loader = DataLoader(dataset, batch_size=500, sampler=sampler, num_workers=1, collate_fn=private)
    last = list(loader)[-1]
    return f"{last / 2**20:.1f} MiB of its own"


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds for each row.")] = 15,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few clips and rows, 3 rounds, no record.")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
    folder: Annotated[
        Path | None, typer.Option(help="Where clips are written for a while: 1 GB.")
    ] = None,
) -> None:
    """Clips by id: ours out of shards against webdataset and soundfile; waits; memory."""
    console = Console(width=None if sys.stdout.isatty() else 190)
    rounds, clips, wanted = (3, 600, 60) if quick else (rounds, 4_000, 400)
    sizes = (10_000, 100_000) if quick else (10_000, 1_000_000, 10_000_000)
    facts: dict[str, Any] = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
    if sys.platform == "linux":
        facts["memory"] = memory(sizes)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        rows, (shards, ids, rates) = by_id(Path(scratch), clips, wanted, rounds)
        facts["clips"] = rates
        facts["waits"] = waits(shards, ids)
    harness.show("clips by id", rows, PEERS, console)
    for part in ("clips", "waits", "memory"):
        for name, value in facts.get(part, {}).items():
            console.print(f"- {name}: {value}", markup=False, highlight=False)
    if write and not quick:
        for file in harness.record("clips-by-id", rows, PEERS, facts, METHOD):
            console.print(f"wrote benches/record/{file.name}")
