"""Which clips a step takes: every clip once an epoch, whatever parts and processes there are."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossicle.errors import InvalidArgumentError
from ossicle.stream.sampler import DurationBatchSampler
from ossicle.train.order import BudgetOrder, CountOrder, budget_sampler
from ossicle.train.schedule import lr_factor


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.integers(0, 999), min_size=1, max_size=40, unique=True),
    batch_size=st.integers(1, 50),
    parts=st.integers(1, 6),
    seed=st.integers(0, 2**32),
)
def test_a_step_is_the_same_however_it_is_split(
    rows: list[int], batch_size: int, parts: int, seed: int
) -> None:
    whole, split = (CountOrder(rows, batch_size, seed, n) for n in (1, parts))
    seen: list[int] = []
    for step in range(2 * len(rows)):
        (together,) = whole.parts(step)
        found = split.parts(step)
        assert len(found) == parts
        assert list(chain(*found)) == together
        assert max(map(len, found)) - min(map(len, found)) <= 1
        seen += together
    if batch_size < len(rows):
        for epoch in range(len(seen) // len(rows)):
            assert sorted(seen[epoch * len(rows) : (epoch + 1) * len(rows)]) == sorted(rows)
    else:
        assert whole.parts(3) == [rows]
    assert whole.epochs(3) == pytest.approx(3 * min(batch_size, len(rows)) / len(rows))


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.floats(0.1, 10), min_size=1, max_size=60),
    parts=st.integers(1, 4),
    seed=st.integers(0, 99),
    stop=st.integers(0, 20),
)
def test_steps_under_a_budget_are_the_samplers_batches_one_after_the_other(
    lengths: list[float], parts: int, seed: int, stop: int
) -> None:
    rows = [3 * n + 1 for n in range(len(lengths))]

    def order() -> BudgetOrder:
        sampler = budget_sampler(lengths, 20.0, is_tokens=False, seed=seed, may_drop=False)
        return BudgetOrder(rows, sampler, parts)

    expected: list[list[int]] = []
    theirs = DurationBatchSampler(lengths, max_seconds=20.0, seed=seed, rank=0, world_size=1)
    while len(expected) < 25 * parts:
        theirs.set_epoch(len(expected) // len(theirs))
        expected += [[rows[row] for row in batch] for batch in theirs]
    steps = [order().parts(step) for step in range(stop, 25)]  # each asked for on its own
    going_on = order()
    assert [going_on.parts(step) for step in range(stop, 25)] == steps
    assert list(chain(*steps)) == expected[stop * parts : 25 * parts]


def test_what_is_longer_than_the_budget_is_an_error_or_left_out() -> None:
    with pytest.raises(InvalidArgumentError, match="longer than the budget"):
        budget_sampler([1.0, 9.0], 5.0, is_tokens=True, seed=0, may_drop=False)
    with pytest.warns(UserWarning, match="left out"):
        sampler = budget_sampler([1.0, 9.0], 5.0, is_tokens=True, seed=0, may_drop=True)
    assert BudgetOrder([5, 6], sampler, 1).parts(0) == [[5]]


@settings(max_examples=200, deadline=None)
@given(
    steps=st.integers(1, 300),
    warmup=st.integers(0, 50),
    warmdown=st.floats(0, 1),
    final=st.floats(0, 1),
)
def test_the_rate_is_a_trapezoid(steps: int, warmup: int, warmdown: float, final: float) -> None:
    falling = round(warmdown * steps)
    found = [
        lr_factor(step, steps, warmup=warmup, warmdown=warmdown, final=final)
        for step in range(steps + 1)
    ]
    rise = np.minimum(1, np.arange(1, steps + 2) / warmup) if warmup else np.ones(steps + 1)
    # np.interp over the corners of the trapezoid.
    fall = np.interp(np.arange(steps + 1), [steps - falling, steps], [1, final]) if falling else 1
    np.testing.assert_allclose(found, rise * fall, atol=1e-12)
