"""Opening, seeking and counting a plan over as many clips as large corpora have.

    python benches/stream_plan.py [--rows 10000000] [--shards 100] [--record] [--folder DIR]

A manifest (Parquet: id, path, duration, text) and the indexes of shards (sparse files of the right
sizes: nothing of a shard itself is read) are made in the folder once. Each is then opened in a new
process, which tells its times and its peak of memory, that of Python and its imports included.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np

_KINDS = ("manifest", "shards")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/stream-plan"))
    parser.add_argument("--record", action="store_true", help="write benches/record/")
    parser.add_argument("--open", choices=_KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(opened(options.folder, options.open)))
        return
    folder = options.folder / f"{options.rows}-{options.shards}"
    make(folder, options.rows, options.shards)
    table = ["| | " + " | ".join(_KINDS) + " |", "|---|---:|---:|"]
    told = [told_by(folder, kind) for kind in _KINDS]
    table += [f"| {name} | {' | '.join(one[name] for one in told)} |" for name in told[0]]
    print("\n".join(table))
    if options.record:
        record(table, options.rows, options.shards)


def told_by(folder: Path, kind: str) -> dict[str, str]:
    command = [sys.executable, __file__, "--open", kind, "--folder", str(folder)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, str] = json.loads(found.stdout)
    return told


def opened(folder: Path, kind: str) -> dict[str, str]:
    """What one process takes."""
    told: dict[str, str] = {}

    def step(name: str, since: float, process: float) -> None:
        wall, used = time.perf_counter() - since, time.process_time() - process
        told[name] = f"{wall * 1e3:,.0f} ms ({used * 1e3:,.0f} ms of processor)"

    def now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    begin = now()
    from ossicle.stream import Plan, Seconds, Source

    step("import", *begin)
    told["memory then"] = peak()
    data = folder / "rows.parquet" if kind == "manifest" else folder / "shards"
    begin = now()
    plan = Plan(Source(data), Seconds(240))
    step("open", *begin)
    begin = now()
    first = plan.batch(0, 0)
    step("first batch", *begin)
    told["peak of memory"] = peak()
    told["clips"] = f"{plan.rows:,}"
    begin = now()
    told["batches of an epoch"] = f"{plan.batches(0):,}"
    step("count an epoch", *begin)
    begin = now()
    state = plan.state(0, plan.batches(0) // 2)
    step("hash of all rows, once", *begin)
    begin = now()
    again = Plan(plan.sources, Seconds(240))
    again.__dict__["sha256"] = plan.sha256
    step("another plan of the same sources", *begin)
    begin = now()
    epoch, consumed = again.resume(state)
    found = again.batch(epoch, 0, start=consumed)
    step("resume in the middle, first batch", *begin)
    assert len(found)
    assert len(first)
    begin = now()
    for number in range(10_000):
        again.batch(epoch, number, start=consumed)
    wall = (time.perf_counter() - begin[0]) / 10_000
    told["a batch after it"] = f"{wall * 1e6:,.0f} us"
    told["state"] = f"{len(json.dumps(state.as_dict()))} bytes"
    return told


def peak() -> str:
    """Of this program: what `getrusage` tells has that of its parent in it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return f"{int(kilobytes) / 1024:,.0f} MiB"


def make(folder: Path, rows: int, shards: int) -> None:
    import polars as pl

    if folder.exists():
        return
    (folder / "shards").mkdir(parents=True)
    number = pl.int_range(rows, eager=True).alias("n").to_frame()
    seconds = np.clip(np.random.default_rng(0).lognormal(np.log(6), 0.6, rows), 0.3, 30)
    number.select(
        id=pl.format("utterance-{}", "n"),
        audio=pl.format("/data/corpus/{}/utterance-{}.flac", pl.col("n") // 1_000, "n"),
        duration=pl.Series(seconds),
        text=pl.format("the words that were said in utterance {}", "n"),
    ).write_parquet(folder / "rows.parquet")
    for shard, part in enumerate(
        np.array_split(np.round(seconds * 16_000).astype(np.int64), shards)
    ):
        _index(folder / "shards" / f"s-{shard:05d}.tar", part)


def _index(path: Path, frames: Any) -> None:
    """A shard of FLAC and JSON, as far as its index tells."""
    import polars as pl

    from ossicle.shard import index_path

    with path.open("wb") as file:
        file.truncate(int(frames.sum()) * 2)
    keys = pl.Series("key", [f"{path.stem}-{number}" for number in range(len(frames))])
    flac = pl.DataFrame({"key": keys, "extension": "flac", "frames": frames, "sample_rate": 16_000})
    flac = flac.with_columns(pl.col("sample_rate").cast(pl.Int32), at=pl.int_range(pl.len()) * 2)
    said = flac.with_columns(
        extension=pl.lit("json"),
        frames=pl.lit(None, pl.Int64),
        sample_rate=pl.lit(None, pl.Int32),
        at=pl.col("at") + 1,
    )
    place = pl.col("at") * 20_480
    index = (
        pl.concat([flac, said])
        .sort("at")
        .with_columns(
            name=pl.format("{}.{}", "key", "extension"),
            offset=place + 512,
            size=pl.lit(20_000),
            header_offset=place,
            sha256=pl.col("key").hash().cast(pl.String),
            codec=pl.lit("flac"),
            channels=pl.lit(1, pl.Int32),
            error=pl.lit(None, pl.String),
        )
    )
    facts = path.stat()
    stamp = {"ossicle.shard.size": facts.st_size, "ossicle.shard.mtime_ns": facts.st_mtime_ns}
    metadata = {name: str(value) for name, value in stamp.items()}
    index.drop("at").write_parquet(index_path(path), metadata=metadata)


def record(table: list[str], rows: int, shards: int) -> None:
    stem = f"{datetime.date.today().isoformat()}-stream-plan"
    method = (
        f"{rows:,} clips in a Parquet manifest and in the indexes of {shards} shards, each opened "
        "in a new process; files in the page cache."
    )
    facts = {**harness.machine(), **harness.versions(("ossicle", "numpy", "polars"))}
    lines = [f"# {stem}", "", method, "", *table, "", "Machine and versions:", ""]
    lines += [f"- {name}: {fact}" for name, fact in facts.items()]
    (harness.RECORD / f"{stem}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
