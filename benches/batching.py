"""Padding and steps of an epoch, beside lhotse and transformers: docs/trainers-batching.md.

    python benches/batching.py [--rows 100000] [--seconds 300] [--record]

Lengths are drawn as of a corpus of speech: log-normal (median 6 s, sigma 0.6), 0.3 to 30 s. Peers
that are not installed are left out.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.util
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import harness
import numpy as np
import polars as pl

from ossicle import DurationBatchSampler
from ossicle.stream import Plan, Seconds, Source

Batches = Iterable[list[int]]


def peers(lengths: Any, budget: float) -> Iterable[tuple[str, Callable[[], Batches]]]:
    for padding in (0.05, 0.1, 0.2):
        name = f"DurationBatchSampler, max_padding={padding}"
        yield (
            name,
            lambda p=padding: DurationBatchSampler(lengths, max_seconds=budget, max_padding=p),
        )
    for window in (16_384, 65_536):
        yield f"Plan, window={window:,}", lambda w=window: planned(lengths, budget, w)
    random = np.random.default_rng(0)
    for rows in (int(budget // lengths.max()), int(budget // lengths.mean())):
        if importlib.util.find_spec("transformers"):
            importlib.import_module("transformers.trainer_pt_utils")  # not to be timed
            yield f"group_by_length, {rows} rows", lambda n=rows: grouped(lengths, n)
        yield f"random, {rows} rows", lambda n=rows: cut(random.permutation(len(lengths)), n)
    if importlib.util.find_spec("lhotse"):
        cuts = lhotse_cuts(lengths)
        for count in (30, 75):
            name = f"lhotse's DynamicBucketingSampler, {count} buckets"
            yield name, lambda n=count: bucketed(cuts, budget, n)


def planned(lengths: Any, budget: float, window: int) -> Iterator[list[int]]:
    frame = pl.DataFrame({"audio": pl.Series(["a.wav"]).new_from_index(0, len(lengths))})
    source = Source(frame.with_columns(duration=pl.Series(lengths)))
    plan = Plan(source, Seconds(budget), window=window)
    for number in range(plan.batches(0)):
        yield plan.batch(0, number).row.tolist()


def cut(order: Any, rows: int) -> Batches:
    return [list(order[start : start + rows]) for start in range(0, len(order), rows)]


def grouped(lengths: Any, rows: int) -> Batches:
    from transformers.trainer_pt_utils import LengthGroupedSampler

    return cut(list(LengthGroupedSampler(rows, lengths=lengths.tolist())), rows)


def lhotse_cuts(lengths: Any) -> Any:
    from lhotse import CutSet, MonoCut, Recording

    recording = Recording("r", [], 16_000, 480_000, 30.0, channel_ids=[0])
    return CutSet.from_cuts(
        MonoCut(str(row), start=0.0, duration=float(length), channel=0, recording=recording)
        for row, length in enumerate(lengths)
    )


def bucketed(cuts: Any, budget: float, buckets: int) -> Batches:
    from lhotse.dataset.sampling import DynamicBucketingSampler

    settings = {"num_buckets": buckets, "shuffle": True, "drop_last": False, "seed": 0}
    sampler = DynamicBucketingSampler(cuts, max_duration=budget, **settings)
    return ([int(cut.id) for cut in batch] for batch in sampler)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--record", action="store_true", help="write benches/record/")
    options = parser.parse_args()
    table = list(measured(options.rows, options.seconds))
    print("\n".join(table))
    if options.record:
        record(table, options.rows, options.seconds)


def measured(rows: int, budget: float) -> Iterator[str]:
    """The lines of a table."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(6), 0.6, rows), 0.3, 30.0)
    yield "| | batches | padding | budget used | largest | processor time |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, make in peers(lengths, budget):
        start = time.process_time()
        batches = list(make())
        took = time.process_time() - start
        computed = np.array([lengths[batch].max() * len(batch) for batch in batches])
        assert sorted(row for batch in batches for row in batch) == list(range(rows))
        padding, used = 1 - lengths.sum() / computed.sum(), computed / budget
        cells = (name, f"{len(batches):,}", f"{padding:.1%}", f"{used.mean():.1%}")
        yield f"| {' | '.join(cells)} | {used.max():.1%} | {took:.2f} s |"


def record(table: list[str], rows: int, budget: float) -> None:
    stem = f"{datetime.date.today().isoformat()}-batching"
    method = f"""\
{rows:,} lengths, log-normal (median 6 s, sigma 0.6) within 0.3 to 30 s, {budget:g} s a batch:
building the sampler and reading one epoch of it, once each; every row comes exactly once."""
    packages = ("ossicle", "numpy", "transformers", "lhotse")
    facts = {**harness.machine(), **harness.versions(packages)}
    lines = [
        f"# {stem}",
        "",
        method.replace("\n", " "),
        "",
        *table,
        "",
        "Machine and versions:",
        "",
    ]
    lines += [f"- {name}: {fact}" for name, fact in facts.items()]
    (harness.RECORD / f"{stem}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
