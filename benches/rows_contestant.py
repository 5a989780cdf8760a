"""One contestant of `peers_rows.py` in a process of its own: work, name, folder as arguments.

It imports what it needs and no more, so that its memory is its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from manifest_contestant import _peak

OURS = "ossicle"
BATCH = 16
Rows = Iterable[tuple[str, str, float]]
"""Audio, text and duration of each."""

FILES = {"jsonl": "rows.jsonl", "parquet": "rows.parquet", "cuts": "cuts.jsonl"}


def ours(path: Path) -> Rows:
    from ossicle.data import read

    return ((row["audio"], row["text"], row["duration"]) for row in read(path))


def datasets(path: Path, *, streaming: bool = False) -> Rows:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    kind = {".jsonl": "json", ".parquet": "parquet"}[path.suffix]
    cache = str(path.parent / f"cache-{time.time_ns()}")
    found = load_dataset(
        kind, data_files=str(path), split="train", cache_dir=cache, streaming=streaming
    )
    return ((row["audio"], row["text"], row["duration"]) for row in found)


def polars(path: Path) -> Rows:
    import polars as pl

    frame = pl.read_ndjson(path) if path.suffix == ".jsonl" else pl.read_parquet(path)
    return ((row["audio"], row["text"], row["duration"]) for row in frame.to_dicts())


def json_lines(path: Path) -> Rows:
    """As NeMo reads a manifest: all lines become dicts before the first sample."""
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return ((row["audio"], row["text"], row["duration"]) for row in rows)


def lhotse(path: Path, *, lazy: bool = True) -> Rows:
    from lhotse import CutSet

    cuts = CutSet.from_jsonl_lazy(path) if lazy else CutSet.from_jsonl(path)
    return (
        (cut.recording.sources[0].source, cut.supervisions[0].text, cut.duration) for cut in cuts
    )


READERS: dict[str, dict[str, Callable[[Path], Rows]]] = {
    "jsonl": {
        OURS: ours,
        "datasets": datasets,
        "datasets streaming": lambda path: datasets(path, streaming=True),
        "polars, dicts": polars,
        "json.loads": json_lines,
    },
    "parquet": {
        OURS: ours,
        "datasets": datasets,
        "datasets streaming": lambda path: datasets(path, streaming=True),
        "polars, dicts": polars,
    },
    "cuts": {OURS: ours, "lhotse": lambda path: lhotse(path, lazy=False), "lhotse lazy": lhotse},
}


def contend(work: str, name: str, folder: str) -> dict[str, Any]:
    """One contestant, in this process: seconds with its imports, memory, what the rows come to."""
    kind, _, how = work.partition(" ")
    wall, cpu = time.perf_counter(), time.process_time()
    rows = READERS[kind][name](Path(folder) / FILES[kind])
    count, seconds, texts = 0, 0.0, 0
    for audio, text, duration in islice(rows, BATCH) if how == "first" else rows:
        count, seconds, texts = count + 1, seconds + duration, texts + len(text) + len(audio)
    taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return taken | {"peak": _peak(), "rows": count, "sums": [round(seconds, 3), texts]}


if __name__ == "__main__":
    print(json.dumps(contend(*sys.argv[1:])))
