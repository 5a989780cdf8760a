"""The order of a plan: which clips each batch has, at any place, for any number of processes."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossicle.errors import InvalidArgumentError
from ossicle.stream import Plan, PlannedBatch, Seconds, Source, StreamState, Tokens

BATCHES = [Seconds(240), Tokens(8192), Tokens(8192, packed=True), 16]


def frame(rows: int, tag: str, seconds: np.ndarray | None = None) -> pl.DataFrame:
    bits = np.random.default_rng(rows)
    lengths = np.minimum(bits.lognormal(1.5, 0.6, rows), 30) if seconds is None else seconds
    return pl.DataFrame(
        {
            "id": [f"{tag}{number}" for number in range(rows)],
            "audio": [f"/data/{tag}{number}.wav" for number in range(rows)],
            "duration": lengths,
            "tokens": bits.integers(5, 400, rows),
            "snr_mean": bits.uniform(0, 30, rows),
        }
    )


def three_sources(*, weights: bool) -> list[Source]:
    a, b, c = (3.0, 1.0, 0.5) if weights else (None, None, None)
    return [
        Source(frame(900, "a"), weight=a, where=pl.col("snr_mean") > 10),
        Source(frame(400, "b"), weight=b),
        Source(frame(70, "c"), weight=c, where=pl.col("duration") < 20),
    ]


def clips(batch: PlannedBatch) -> list[tuple[int, int]]:
    return list(zip(batch.source.tolist(), batch.row.tolist(), strict=True))


def epoch_of(plan: Plan, epoch: int) -> Iterator[PlannedBatch]:
    for number in range(plan.batches(epoch)):
        found = plan.batch(epoch, number)
        assert (found.epoch, found.number) == (epoch, number)
        yield found


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_each_clip_comes_once_an_epoch(batch: Any) -> None:
    sources = three_sources(weights=False)
    plan = Plan(sources, batch, window=256)
    wanted = Counter((n, row) for n, one in enumerate(sources) for row in one.kept.tolist())
    orders = []
    for epoch in range(2):
        drawn = [clip for found in epoch_of(plan, epoch) for clip in clips(found)]
        assert Counter(drawn) == wanted
        orders.append(drawn)
    assert orders[0] != orders[1]
    assert plan.shares == pytest.approx(np.array([len(s.kept) for s in sources]) / plan.rows)


@pytest.mark.parametrize("batch", BATCHES, ids=str)
def test_a_thousand_stops_change_nothing(batch: Any) -> None:
    """Over 1 to 4 processes, another number at each resume, each of which has its own plan."""
    sources = three_sources(weights=True)
    plan = Plan(sources, batch, window=400, seed=5)
    ids = [one.ids(range(len(one))) for one in sources]
    bits = np.random.default_rng(0)
    state = plan.state(0, 0).as_dict()
    resumed: list[str] = []
    for stop in range(1_000):
        if stop % 50 == 0:
            plan = pickle.loads(pickle.dumps(plan))
        epoch, consumed = plan.resume(json.loads(json.dumps(state)))
        world_size, steps = int(bits.integers(1, 5)), int(bits.integers(0, 3))
        for step in range(steps):
            for rank in range(world_size):
                found = plan.batch(epoch, step, rank, world_size, start=consumed)
                resumed += [ids[n][row] for n, row in clips(found)]
        state = plan.state(epoch, consumed + steps * world_size).as_dict()
        assert len(json.dumps(state)) < 500
    assert state["epoch"] > 1
    fresh = Plan(three_sources(weights=True), batch, window=400, seed=5)
    whole = [
        ids[n][row]
        for epoch in range(state["epoch"] + 1)
        for found in epoch_of(fresh, epoch)
        if (epoch, found.number) < (state["epoch"], state["consumed"])
        for n, row in clips(found)
    ]
    assert digest(resumed) == digest(whole)
    assert Counter(resumed) == Counter(whole)


def digest(names: list[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def test_every_process_takes_as_many_steps() -> None:
    plan = Plan(three_sources(weights=False), Seconds(100), window=256)
    count = plan.batches(3)
    for world_size in (1, 2, 3, 4, 7, 64):
        steps = plan.steps(3, world_size)
        assert (steps - 1) * world_size < count <= steps * world_size
        last = [plan.batch(3, steps - 1, rank, world_size) for rank in range(world_size)]
        places = [(one.epoch, one.number) for one in last]
        wanted = [divmod((steps - 1) * world_size + rank, count) for rank in range(world_size)]
        assert places == [(3 + over, number) for over, number in wanted]
        assert plan.state(3, steps * world_size).epoch == 3 + (steps * world_size) // count


def test_batches_keep_their_budget() -> None:
    for batch in (Seconds(240, padding=0.1, max_rows=20), Seconds(60, cut_at=10)):
        plan = Plan(three_sources(weights=True), batch, window=512)
        for found in epoch_of(plan, 0):
            costs = plan.costs(found)
            assert costs.max() * len(costs) <= batch.budget
            assert batch.max_rows is None or len(found) <= batch.max_rows
    packed = Plan(three_sources(weights=True), Tokens(2048, packed=True), window=512)
    for found in epoch_of(packed, 0):
        assert packed.costs(found).sum() <= 2048


def test_shares_are_exact_in_every_window() -> None:
    plan = Plan(three_sources(weights=True), 8, window=90, epoch_rows=2_000)
    shares = np.array([3, 1, 0.5]) / 4.5
    drawn = np.concatenate([found.source for found in epoch_of(plan, 0)])
    assert np.abs(np.bincount(drawn) - shares * 2_000).max() < 1
    for end in range(88, 2_000, 88):
        assert np.abs(np.bincount(drawn[:end], minlength=3) - shares * end).max() <= 1


def test_a_source_goes_on_where_an_epoch_stopped() -> None:
    small, large = Source(frame(30, "s"), weight=1), Source(frame(500, "l"), weight=1)
    plan = Plan([small, large], 10, window=50, epoch_rows=200)
    rows: list[list[int]] = [[], []]
    for epoch in range(15):
        for found in epoch_of(plan, epoch):
            for source, row in clips(found):
                rows[source].append(row)
    for source, count in enumerate((30, 500)):
        came = np.bincount(rows[source], minlength=count)
        assert came.max() - came.min() <= 1, "clips of a source come equally often"
        assert len(set(rows[source][:count])) == count


def test_temperature_raises_small_sources() -> None:
    def shares(temperature: float | None) -> list[float]:
        sources = [Source(frame(900, "a")), Source(frame(100, "b"))]
        return Plan(sources, 10, temperature=temperature).shares

    assert shares(None) == shares(1) == [0.9, 0.1]
    assert shares(0) == [0.5, 0.5]
    assert shares(0.5) == [0.75, 0.25]


@pytest.mark.parametrize("sync", [2, 4, 8])
def test_batches_of_a_step_are_alike(sync: int) -> None:
    plan = Plan(Source(frame(20_000, "a")), Seconds(60, padding=0.1), window=8_000, sync=sync)
    assert plan.windows > 1
    longest = np.array([plan.costs(found).max() for found in epoch_of(plan, 0)])
    steps = longest[: len(longest) // sync * sync].reshape(-1, sync)
    spread = steps.max(axis=1) / steps.min(axis=1)
    assert np.quantile(spread, 0.9) < 1.1
    mixed = np.random.default_rng(0).permutation(longest)[: steps.size].reshape(-1, sync)
    assert np.median(mixed.max(axis=1) / mixed.min(axis=1)) > np.quantile(spread, 0.9)


def test_windows_waste_little() -> None:
    plan = Plan(Source(frame(60_000, "a")), Seconds(240), window=20_000)
    costs = [plan.costs(found) for found in epoch_of(plan, 0)]
    padded = sum(one.max() * len(one) for one in costs)
    assert 1 - sum(one.sum() for one in costs) / padded < 0.03
    fewest = sum(one.sum() for one in costs) / 240
    assert len(costs) < 1.06 * fewest


def test_runs_stay_together() -> None:
    plan = Plan(Source(frame(1_003, "a")), 16, window=160, run=16)
    rows = np.concatenate([found.row for found in epoch_of(plan, 0)])
    assert sorted(rows.tolist()) == list(range(1_003))
    assert 1_003 - 63 <= (np.diff(rows) == 1).sum() < 1_003 - 58
    mixed = Plan([Source(frame(640, "a")), Source(frame(320, "b"))], 16, window=96, run=16)
    found = [np.array(clips(one)) for one in epoch_of(mixed, 0)]
    steps = np.diff(np.concatenate(found), axis=0)
    together = ((steps[:, 0] == 0) & (steps[:, 1] == 1)).sum()
    assert together > 0.8 * 960


def test_a_state_is_found_at_once() -> None:
    """A resume plans no window but the one that it stands in."""
    plan = Plan(Source(frame(5_000, "a")), Seconds(240), window=500)
    state = plan.state(2, 60)
    assert state.window > 3
    other = Plan(Source(frame(5_000, "a")), Seconds(240), window=500)
    drawn: list[int] = []
    draws = other._draws
    other._draws = lambda epoch, window: (drawn.append(window), draws(epoch, window))[1]  # type: ignore[method-assign,func-returns-value]
    assert other.resume(state) == (2, 60)
    assert clips(other.batch(2, 0, start=60)) == clips(plan.batch(2, 60))
    assert set(drawn) == {state.window}
    # Counted from there, and from the start, it is the same.
    assert other.batches(2) == plan.batches(2)


def test_a_foreign_state_is_refused() -> None:
    plan = Plan(Source(frame(500, "a")), Seconds(240), window=100)
    state = plan.state(0, 5).as_dict()
    others = [
        Plan(Source(frame(500, "b")), Seconds(240), window=100),
        Plan(Source(frame(500, "a")), Seconds(200), window=100),
        Plan(Source(frame(500, "a")), Seconds(240), window=100, seed=1),
        Plan(Source(frame(500, "a"), where=pl.col("tokens") > 6), Seconds(240), window=100),
    ]
    for other in others:
        with pytest.raises(InvalidArgumentError, match="another plan"):
            other.resume(state)
    for change in (
        {"window": 99},
        {"batch": 10_000},
        {"consumed": -1},
        {"version": 9},
        {"epoch": "0"},
    ):
        with pytest.raises(InvalidArgumentError, match=r"place|state|version"):
            plan.resume({**state, **change})
    plan.resume(StreamState.of(state))


@pytest.mark.parametrize("batch", [Seconds(240), 16], ids=str)
def test_a_replacement_is_of_its_bucket(batch: Any) -> None:
    plan = Plan(three_sources(weights=False), batch)
    kept = [set(one.kept.tolist()) for one in plan.sources]
    for source, one in enumerate(plan.sources):
        for row in sorted(kept[source])[:40]:
            moved = [plan.replacement(source, row, attempt) for attempt in range(1, 5)]
            assert moved == [plan.replacement(source, row, attempt) for attempt in range(1, 5)]
            assert {at for at, _ in moved} == {source}
            rows = [other for _, other in moved]
            assert row not in rows
            assert set(rows) <= kept[source]
            if one.seconds[row] > np.sort(one.seconds)[5] and not isinstance(batch, int):
                assert (one.seconds[rows] <= one.seconds[row]).all()
    with pytest.raises(InvalidArgumentError, match="no other row"):
        Plan(Source(frame(1, "a")), 1).replacement(0, 0)


def test_rows_that_are_too_long() -> None:
    long = Source(frame(50, "a", np.full(50, 5.0)).with_columns(duration=pl.lit(5.0)))
    odd = frame(50, "a", np.where(np.arange(50) == 7, 400.0, 5.0))
    with pytest.raises(InvalidArgumentError, match=r"1 of 50 rows .*row 7 \(a7\) has 400"):
        Plan(Source(odd), Seconds(60))
    with pytest.warns(UserWarning, match="batches of their own"):
        alone = Plan(Source(odd), Seconds(60), on_too_long="alone")
    assert [7] in [found.row.tolist() for found in epoch_of(alone, 0)]
    with pytest.warns(UserWarning, match="left out"):
        dropped = Plan(Source(odd), Seconds(60), on_too_long="drop")
    assert dropped.rows == 49
    assert Plan(long, Seconds(60)).batches(0) == 5


def test_bad_arguments() -> None:
    one = Source(frame(5, "a"))
    for options in ({"window": 0}, {"run": 0}, {"sync": 0}, {"seed": -1}, {"epoch_rows": 0}):
        with pytest.raises(InvalidArgumentError):
            Plan(one, 2, **options)  # type: ignore[arg-type]
    for batch in (0, 1.5, "16", True):
        with pytest.raises(InvalidArgumentError):
            Plan(one, batch)  # type: ignore[arg-type]
    for wrong in (Seconds, Tokens):
        for budget in (0, -1, float("nan"), float("inf")):
            with pytest.raises(InvalidArgumentError):
                wrong(budget)
    with pytest.raises(InvalidArgumentError, match="rows"):
        Plan(Source(frame(5, "a"), where=pl.col("duration") < 0), 2)
    with pytest.raises(InvalidArgumentError):
        Plan([Source(frame(5, "a"), weight=-1)], 2)
    with pytest.raises(InvalidArgumentError, match="no batch"):
        Plan(one, 2).batch(0, 0, rank=2, world_size=2)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    weights=st.none() | st.lists(st.floats(0.01, 10), min_size=4, max_size=4),
    batch=st.sampled_from([Seconds(40), Tokens(900, packed=True), Tokens(900), 1, 3, 16]),
    window=st.integers(1, 200),
    run=st.integers(1, 9),
    sync=st.integers(1, 9),
    seed=st.integers(0, 2**40),
    world_size=st.integers(1, 5),
)
def test_any_plan(
    sizes: list[int],
    weights: list[float] | None,
    batch: Any,
    window: int,
    run: int,
    sync: int,
    seed: int,
    world_size: int,
) -> None:
    """Every draw is in one batch of one process, wherever it is asked for first."""
    given = [None] * 4 if weights is None else weights
    sources = [Source(frame(size, "abcd"[n]), weight=given[n]) for n, size in enumerate(sizes)]
    plan = Plan(sources, batch, window=window, run=run, sync=sync, seed=seed)
    count = plan.batches(1)
    drawn = [clips(found) for found in epoch_of(plan, 1)]
    assert sum(map(len, drawn)) == plan.rows
    assert all(drawn)
    if weights is None:
        assert len({clip for one in drawn for clip in one}) == plan.rows
    again = pickle.loads(pickle.dumps(plan))
    assert again.sha256 == plan.sha256
    steps = again.steps(1, world_size)
    turns = [
        again.batch(1, step, rank, world_size)
        for step in range(steps)
        for rank in range(world_size)
    ]
    assert [clips(found) for found in turns[:count]] == drawn
    assert all(found.epoch > 1 for found in turns[count:])
