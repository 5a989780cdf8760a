"""Which rows may share a batch under a budget.

A plan sorts the rows into groups, and says how a sequence of all rows, group after group, is cut
into batches. Rows may be shuffled inside of each group: the number of batches and their sizes stay,
and none can break the budget, whatever the shuffle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BatchPlan", "fewest_packed", "padded_groups", "plan_packed", "plan_padded"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class BatchPlan:
    """How rows become batches.

    Attributes:
        rows: ``(N,)`` the numbers of the rows that are in batches.
        groups: ``(N,)`` the group of each, from 0.
        places: ``(N,)`` in which order the grouped rows are taken.
        offsets: ``(B + 1,)`` where each batch begins in what was taken, and the end.
    """

    rows: Ints
    groups: Ints
    places: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1


def plan_padded(
    rows: Ints, costs: Floats, budget: float, most: int, slack: float, mix: int | None = None
) -> BatchPlan:
    """Batches whose longest row times their number of rows is at most ``budget``.

    From the longest row on, a group is the rows that are shorter by no more than the share
    ``slack``, as many of them as fill whole batches at the group's longest; the rest of them begin
    the next group. Where there are too few for one batch, rows that are shorter still fill it.

    Args:
        rows: ``(N,)`` numbers of the rows.
        costs: ``(N,)`` the cost of each, at least 0 and at most ``budget``.
        budget: The most that a batch may cost.
        most: The most rows of a batch.
        slack: 0 to 1, 1 not included.
        mix: The most batches of a group; None sets no limit. Fewer pad less.
    """
    order = np.argsort(-costs, kind="stable")
    lengths, sizes = padded_groups(-costs[order], budget, most, slack, mix)
    groups = np.repeat(np.arange(len(lengths)), lengths)
    return BatchPlan(rows[order], groups, np.arange(len(order)), _offsets(sizes))


def padded_groups(
    rising: Floats, budget: float, most: int, slack: float, mix: int | None = None
) -> tuple[list[int], list[int]]:
    """The groups and the batches of `plan_padded`.

    Args:
        rising: ``(N,)`` the costs below zero, sorted: the longest row first.
        budget: As there, like the others.
        most: See there.
        slack: See there.
        mix: See there.

    Returns:
        How many rows each group has, and how many each batch.
    """
    sizes: list[int] = []
    lengths: list[int] = []
    start = 0
    while start < len(rising):
        full = _rows_that_fit(-float(rising[start]), budget, most)
        limit = rising[start] * (1 - slack)
        similar = int(np.searchsorted(rising, limit, side="right")) - start
        batches = min(max(similar // full, 1), mix or len(rising))
        taken = min(batches * full, len(rising) - start)
        sizes += [full] * (taken // full) + [taken % full] * (taken % full > 0)
        lengths.append(taken)
        start += taken
    return lengths, sizes


def plan_packed(rows: Ints, costs: Floats, budget: float, most: int) -> BatchPlan:
    """The fewest batches such that rows of any length mix and no sum can exceed ``budget``.

    With ``count`` batches, the longest ``count`` rows are a group, the next longest another, and
    each batch has one row of each group. The most that a batch may come to is then the sum of the
    groups' longest rows: less than the mean over all batches and one longest row.

    Args:
        rows: ``(N,)`` numbers of the rows.
        costs: ``(N,)`` the cost of each, at least 0 and at most ``budget``.
        budget: The most that the costs of a batch may sum up to.
        most: The most rows of a batch.
    """
    order = np.argsort(-costs, kind="stable")
    count = fewest_packed(costs[order], budget, most)
    numbers = np.arange(len(order))
    batches = numbers % max(count, 1)
    sizes = np.bincount(batches, minlength=count)
    places = np.argsort(batches, kind="stable")
    return BatchPlan(rows[order], numbers // max(count, 1), places, _offsets(sizes))


def _rows_that_fit(longest: float, budget: float, most: int) -> int:
    """The largest n, from 1 to ``most``, such that n times ``longest`` is at most ``budget``."""
    fitting = int(min(budget / longest, most)) if longest > 0 else most
    # The quotient may be off by a rounding.
    fitting += (fitting + 1) * longest <= budget
    fitting -= fitting * longest > budget
    return max(1, min(fitting, most))


def fewest_packed(falling: Floats, budget: float, most: int) -> int:
    """How many batches `plan_packed` makes of costs that are sorted, the highest first."""
    # By bisection: the bound falls as batches are added.
    least, enough = -(-len(falling) // most), len(falling)
    while least < enough:
        middle = (least + enough) // 2
        if float(falling[::middle].sum()) <= budget:
            enough = middle
        else:
            least = middle + 1
    return enough


def _offsets(sizes: list[int] | npt.NDArray[np.int64]) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
