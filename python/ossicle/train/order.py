"""Which clips each step takes: a function of the seed and the step, not of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from ossicle.stream.sampler import DurationBatchSampler

__all__ = ["BudgetOrder", "CountOrder", "Order", "epoch_rows"]

Rows: TypeAlias = list[int]
"""Rows that go through the model side by side."""


class Order(Protocol):
    """The parts of every step, over all processes; those of one are every n-th of them."""

    def parts(self, step: int) -> list[Rows]:
        """The rows of a step, from 0, in the parts whose gradients are added up."""
        ...

    def epochs(self, steps: int) -> float:
        """How often ``steps`` steps go over the data."""
        ...


class CountOrder:
    """A number of clips a step, out of a permutation for each epoch.

    Args:
        rows: Of the clips that are drawn from.
        batch_size: Clips of a step; as many as there are and more take all, in order, every time.
        seed: Of the order.
        parts: How many parts a step has; what it adds up to does not depend on it.
    """

    def __init__(self, rows: Sequence[int], batch_size: int, seed: int, parts: int) -> None:
        self._rows = np.asarray(rows, dtype=np.int64)
        self._size, self._seed, self._parts = min(batch_size, len(rows)), seed, parts

    def parts(self, step: int) -> list[Rows]:
        """The rows of a step, in parts of like size; there may be fewer rows than parts."""
        places = epoch_rows(len(self._rows), self._size, self._seed, step)
        return [part.tolist() for part in np.array_split(self._rows[places], self._parts)]

    def epochs(self, steps: int) -> float:
        """How often ``steps`` steps go over the data."""
        return steps * self._size / len(self._rows)


class BudgetOrder:
    """Parts of similar length under a budget, by `DurationBatchSampler`.

    Args:
        rows: Of the clips that are drawn from.
        sampler: Over their lengths, for one process: `budget_sampler` makes it.
        parts: How many of its batches make a step.
    """

    def __init__(self, rows: Sequence[int], sampler: DurationBatchSampler, parts: int) -> None:
        self._rows, self._sampler, self._parts = list(rows), sampler, parts
        self._epoch = -1
        self._batches: list[list[int]] = []

    def parts(self, step: int) -> list[Rows]:
        """The rows of a step, a part for each batch; steps go across the epochs' borders."""
        first = step * self._parts
        return [self._batch(place) for place in range(first, first + self._parts)]

    def epochs(self, steps: int) -> float:
        """How often ``steps`` steps go over the data."""
        return steps * self._parts / self._sampler.num_batches

    def _batch(self, place: int) -> Rows:
        epoch, number = divmod(place, self._sampler.num_batches)
        if epoch != self._epoch:
            self._sampler.set_epoch(epoch)
            self._epoch, self._batches = epoch, list(self._sampler)
        return [self._rows[row] for row in self._batches[number]]


def budget_sampler(
    lengths: Sequence[float], budget: float, *, is_tokens: bool, seed: int, may_drop: bool
) -> DurationBatchSampler:
    """The batches of an epoch, for `BudgetOrder`.

    Raises:
        InvalidArgumentError: If a clip is longer than the budget and may not be left out.
    """
    make: Callable[..., DurationBatchSampler] = DurationBatchSampler
    name = "max_tokens" if is_tokens else "max_seconds"
    return make(
        lengths,
        **{name: budget},
        seed=seed,
        on_too_long="drop" if may_drop else "raise",
        rank=0,
        world_size=1,
    )


def epoch_rows(count: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The rows of one step: a function of the seed and the step alone, so any step can be redone.

    Args:
        count: Rows of the manifest.
        batch_size: Rows of a step; ``count`` and more takes every row, in order, in every step.
        seed: Of the order.
        step: From 0. Each epoch is a permutation of its own; batches run across their borders.

    Returns:
        ``min(batch_size, count)`` row indices.
    """
    if batch_size >= count:
        return list(range(count))
    places = range(step * batch_size, (step + 1) * batch_size)
    first, last = places[0] // count, places[-1] // count
    orders = {e: np.random.default_rng([seed, e]).permutation(count) for e in {first, last}}
    return [int(orders[place // count][place % count]) for place in places]
