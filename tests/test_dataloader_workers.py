"""Datasets in workers, however they are started: no hang, no Polars, no memory that grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ossicle


def run(folder: Path, script: str, *arguments: object) -> Any:
    """What a script says in its last line, as JSON; a watchdog ends one that hangs."""
    path = folder / "script.py"
    path.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, path, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings as files with side-cars, and in three shards."""
    folder = tmp_path_factory.mktemp("corpus")
    with ossicle.ShardWriter(folder / "s-%03d.tar", max_samples=4) as writer:
        for number in range(12):
            samples = np.full(800 + number, number / 100, np.float32)
            path = ossicle.save(folder / f"c{number:02d}.wav", samples, 8_000)
            path.with_suffix(".json").write_text(json.dumps({"n": number}))
            writer.write({"__key__": path.stem, "wav": path.read_bytes(), "json": {"n": number}})
    return folder


EPOCHS = """
import json, multiprocessing, os, sys
from pathlib import Path
from torch.utils.data import DataLoader
from ossicle.dataloader import (
    MetadataSampler, RawFileLoader, SpeechCollator, SpeechDataset, WebDatasetLoader,
    WebDatasetSpeechDataset,
)


class Spy:
    '''Collates, and tells whether in a worker, and whether that has imported Polars.'''

    def __init__(self):
        self.collate, self.parent = SpeechCollator(), os.getpid()

    def __call__(self, samples):
        return self.collate(samples), os.getpid() != self.parent, "polars" in sys.modules


def main(folder, context):
    import polars as pl  # here, as spawned workers import this file, too

    frame = pl.DataFrame({
        "wav_id": [f"c{n:02d}" for n in range(12)],
        "label": ["FEM", "KCHI"] * 6,
        "parts": [[{"onset": 0.0, "offset": 0.1}]] * 12,
    })

    def use_polars():
        # Its threads run now, and a fork takes over their locks, but not them.
        frame.lazy().group_by("label").agg(pl.len()).collect()

    use_polars()
    shards = sorted(Path(folder).glob("s-*.tar"))
    order = MetadataSampler(frame, ["label"])
    told = []
    kinds = [
        (SpeechDataset(RawFileLoader(folder), manifest=frame), order),
        (SpeechDataset(WebDatasetLoader(shards), manifest=frame), order),
        (WebDatasetSpeechDataset(shards, shuffle_shards=True), None),
    ]
    # Each worker that is not forked imports PyTorch for seconds.
    chosen = {"fork": kinds, "spawn": kinds[1:2], "forkserver": kinds[2:]}[context]
    multiprocessing.set_forkserver_preload(["ossicle.dataloader.samples.dataset"])
    for dataset, sampler in chosen:
        loader = DataLoader(
            dataset, batch_size=3, sampler=sampler, num_workers=2, collate_fn=Spy(),
            multiprocessing_context=context, timeout=120,
        )
        rows = []
        for batch, *facts in loader:
            told.append(facts)
            lengths = batch.waveform_lengths.tolist()
            rows += [[m["wav_id"], m["n"], n] for m, n in zip(batch.metadata, lengths)]
            use_polars()
        assert sorted(rows) == [[f"c{n:02d}", n, 800 + n] for n in range(12)], rows
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
"""


@pytest.mark.sampled(one_in=3)
@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_of_a_parent_that_uses_polars(corpus: Path, tmp_path: Path, context: str) -> None:
    told = run(tmp_path, EPOCHS, corpus, context)
    assert len(told) >= 4
    assert all(is_worker for is_worker, _ in told)
    # Those that are forked inherit the module; that they do not run it is told by their end.
    assert context == "fork" or not any(has_polars for _, has_polars in told)


MEMORY = """
import ctypes, gc, json, sys, time
import polars as pl, torch
from torch.utils.data import DataLoader
from ossicle.dataloader import FeatureLoader, MetadataSampler, SpeechDataset


def private():
    '''Bytes that this process has for itself.'''
    lines = [line.split() for line in open("/proc/self/smaps_rollup")]
    return sum(int(one[1]) << 10 for one in lines if one[0].startswith("Private_"))


class Silence(FeatureLoader):
    def load_waveform(self, wav_id):
        return torch.zeros(1, 8), 8_000

    def load_metadata(self, wav_id):
        return {}

    def available_ids(self):
        raise AssertionError


def grown(dataset, sampler):
    '''What a worker holds when it has read many rows.'''
    loader = DataLoader(dataset, batch_size=500, sampler=sampler, num_workers=1,
                        collate_fn=lambda samples: private())
    return list(loader)[-1]


def settle():
    '''Waits until Polars' threads give back nothing more.'''
    least, quiet = private(), 0
    while quiet < 8:
        time.sleep(0.25)
        now = private()
        quiet = quiet + 1 if now > least - 2**16 else 0
        least = min(least, now)


def main(*sizes):
    found = []
    for rows in map(int, sizes):
        number = pl.int_range(rows)
        frame = pl.select(
            wav_id=pl.format("recording-{}", number),
            label=pl.when(number % 3 == 0).then(pl.lit("KCHI")).otherwise(pl.lit("FEM")),
            snr=number.cast(float),
            labels=pl.concat_list(pl.lit("KCHI"), pl.format("L{}", number)),
        )
        sampler = MetadataSampler(frame, ["label"], num_samples=10_000)
        dataset = SpeechDataset(Silence(), manifest=frame)
        # What was freed goes back now; after the fork it would stay with the worker.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        settle()
        found.append(min(grown(dataset, sampler) for _ in range(2)))
    print(json.dumps(found))


main(*sys.argv[1:])
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps_rollup")
def test_a_worker_needs_no_more_memory_for_more_rows(tmp_path: Path) -> None:
    few, many = run(tmp_path, MEMORY, 20_000, 200_000)
    # The manifest has 10 MB more in plain arrays, and some 100 MB more as objects.
    assert many - few < 0.05 * few + 2**20
