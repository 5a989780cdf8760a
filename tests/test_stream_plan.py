"""The order of a plan: which clips each batch has, at any place, for any number of processes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest

from ossicle.stream import Plan, Seconds, Source, Tokens


def source(rows: int, tag: str, **options: object) -> Source:
    bits = np.random.default_rng(rows)
    frame = pl.DataFrame(
        {
            "id": [f"{tag}{number}" for number in range(rows)],
            "audio": [f"/data/{tag}{number}.wav" for number in range(rows)],
            "duration": np.minimum(bits.lognormal(1.5, 0.6, rows), 30),
            "tokens": bits.integers(5, 400, rows),
            "snr_mean": bits.uniform(0, 30, rows),
        }
    )
    return Source(frame, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [Seconds(240), Tokens(8192, packed=True), Tokens(8192), 16])
def test_each_clip_comes_once_an_epoch(batch: Seconds | Tokens | int) -> None:
    filtered = source(900, "a", where=pl.col("snr_mean") > 10)
    plan = Plan([filtered, source(400, "b")], batch, window=256)
    drawn: list[tuple[int, int]] = []
    for number in range(plan.batches(0)):
        found = plan.batch(0, number)
        assert (found.epoch, found.number) == (0, number)
        drawn += zip(found.source.tolist(), found.row.tolist(), strict=True)
    wanted = [(0, row) for row in filtered.kept.tolist()] + [(1, row) for row in range(400)]
    assert Counter(drawn) == Counter(wanted)
