"""What a batch may hold, and how the rows of a window become batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ossicle.errors import InvalidArgumentError
from ossicle.stream.budgets import (
    Floats,
    fewest_packed,
    padded_groups,
    plan_packed,
    plan_padded,
)
from ossicle.stream.permutation import Ints, Permutation

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "BatchRule",
    "RowCount",
    "Seconds",
    "Tokens",
    "count_batches",
    "make_batches",
    "rule_of",
    "sorted_batches",
]

# Batches are cut in two, so that steps and blocks of `sync` batches begin together, where that
# makes fewer than one in so many more.
_RARE = 50
# Neighbouring batches whose rows are mixed: a window is random in itself, and few pad less.
_MIX = 8


@dataclass(frozen=True)
class Seconds:
    """Batches of so many seconds of audio, padding included: the longest row times the rows.

    Attributes:
        budget: The most seconds of a batch, above 0.
        padding: 0 to below 1: rows that differ in length by up to this share may be in one batch.
        max_rows: The most rows of a batch; None sets no limit.
        cut_at: Seconds at which longer recordings are cut by what loads them; None cuts none.
    """

    budget: float
    padding: float = 0.1
    max_rows: int | None = None
    cut_at: float | None = None

    def __post_init__(self) -> None:
        _check(self.budget, self.padding, self.max_rows)
        if self.cut_at is not None and not self.cut_at > 0:
            raise InvalidArgumentError(f"cut_at must be above 0, not {self.cut_at}")


@dataclass(frozen=True)
class Tokens:
    """Batches of so many tokens, or of anything that adds up.

    Attributes:
        budget: The most tokens of a batch, above 0.
        packed: Whether rows go end to end, so that a batch costs their sum and rows of all lengths
            mix; else it costs the longest row times the rows.
        tokens: The column that has each row's tokens, or a Polars expression of its columns:
            ``pl.col("duration") * 12.5 + pl.col("text").str.len_bytes() / 4``.
        padding: As for `Seconds`; of no meaning where rows are packed.
        max_rows: The most rows of a batch; None sets no limit.
    """

    budget: float
    packed: bool = False
    tokens: str | pl.Expr = "tokens"
    padding: float = 0.1
    max_rows: int | None = None

    def __post_init__(self) -> None:
        _check(self.budget, self.padding, self.max_rows)


@dataclass(frozen=True)
class RowCount:
    """Batches of so many rows; the last of an epoch has what is left."""

    budget: int

    def __post_init__(self) -> None:
        if isinstance(self.budget, bool) or self.budget != int(self.budget) or self.budget < 1:
            raise InvalidArgumentError(f"a batch has at least one row, not {self.budget}")


BatchRule: TypeAlias = Seconds | Tokens | RowCount


def rule_of(batch: Any) -> BatchRule:
    """What the user said of batches; a whole number is one of rows."""
    if isinstance(batch, Seconds | Tokens | RowCount):
        return batch
    if isinstance(batch, int):
        return RowCount(batch)
    raise InvalidArgumentError(
        f"batch must be Seconds(...), Tokens(...) or a number of rows, not {batch!r}"
    )


def count_batches(rule: BatchRule, costs: Floats, sync: int, *, mix: int | None = _MIX) -> int:
    """How many batches `make_batches` makes of a window, in a part of its time."""
    if isinstance(rule, RowCount):
        return -(-len(costs) // rule.budget)
    rising = np.sort(-costs)
    most = rule.max_rows or max(len(costs), 1)
    fitting = int(np.searchsorted(rising, -rule.budget))
    alone, rising = fitting, rising[fitting:]
    if isinstance(rule, Tokens) and rule.packed:
        count = fewest_packed(-rising, rule.budget, most)
        sizes = np.bincount(np.arange(len(rising)) % max(count, 1), minlength=count)
    else:
        _, counts = padded_groups(rising, rule.budget, most, rule.padding, mix)
        sizes = np.array(counts, np.int64)
    sizes = np.concatenate([np.ones(alone, np.int64), sizes])
    return len(sizes) + len(_cut(sizes, sync))


def make_batches(
    rule: BatchRule, costs: Floats, sync: int, *key: int, mix: int | None = _MIX
) -> tuple[Ints, Ints]:
    """The batches of a window.

    Args:
        rule: What a batch may hold.
        costs: ``(N,)`` the cost of each row of the window; of rows that cost more than the budget
            each is a batch of its own.
        sync: Batches of like length that stay together.
        key: Of the randomness.
        mix: Of how many neighbouring batches the rows are mixed; None mixes all whose rows differ
            by no more than the padding that is allowed.

    Returns:
        ``(N,)`` places in the window, batch after batch, and ``(B + 1,)`` where each begins.
    """
    if isinstance(rule, RowCount):
        return np.arange(len(costs)), _whole(len(costs), rule.budget)
    rows, offsets = sorted_batches(rule, costs, mix)
    offsets = np.sort(np.concatenate([offsets, _middles(offsets, _cut(np.diff(offsets), sync))]))
    turns = _turns(len(offsets) - 1, sync, *key)
    sizes = np.diff(offsets)[turns]
    starts = np.cumsum(sizes) - sizes
    places = np.repeat(offsets[turns] - starts, sizes) + np.arange(len(rows))
    return rows[places], np.concatenate([starts, [len(rows)]])


def sorted_batches(rule: Seconds | Tokens, costs: Floats, mix: int | None) -> tuple[Ints, Ints]:
    """The batches of `make_batches` from the longest rows to the shortest, and none cut in two.

    Rows that may be in the same batches are dealt out to them in the order of the window, which is
    random where they were drawn.
    """
    most = rule.max_rows or max(len(costs), 1)
    alone = np.flatnonzero(costs > rule.budget)
    rows = np.flatnonzero(costs <= rule.budget)
    if isinstance(rule, Tokens) and rule.packed:
        plan = plan_packed(rows, costs[rows], rule.budget, most)
    else:
        plan = plan_padded(rows, costs[rows], rule.budget, most, rule.padding, mix)
    # One sort of whole numbers: by group, then by place in the window.
    mixed = plan.rows[np.argsort(plan.groups * len(costs) + plan.rows)][plan.places]
    longest = alone[np.argsort(-costs[alone], kind="stable")]
    offsets = np.concatenate([np.arange(len(longest)), plan.offsets + len(longest)])
    return np.concatenate([longest, mixed]), offsets


def _cut(sizes: Ints, sync: int) -> Ints:
    """Which batches are cut in two so that their number is a multiple of ``sync``.

    Each window then begins with a step, as long as the processes divide ``sync``. The shortest rows
    are last, in the batches with the most rows.
    """
    lacking = -len(sizes) % sync
    able = np.flatnonzero(sizes > 1)
    if lacking * _RARE > len(sizes) or lacking > len(able):
        return able[:0]
    return able[len(able) - lacking :]


def _middles(offsets: Ints, cut: Ints) -> Ints:
    return (offsets[cut] + offsets[cut + 1] + 1) // 2


def _turns(count: int, sync: int, *key: int) -> Ints:
    """The order of batches: blocks of ``sync`` neighbours, shuffled; a block in part is last."""
    whole = count // sync
    blocks = Permutation(whole, *key)(np.arange(whole))
    turns = (blocks[:, None] * sync + np.arange(sync)).ravel()
    return np.concatenate([turns, np.arange(whole * sync, count)])


def _whole(count: int, size: int) -> Ints:
    return np.concatenate([np.arange(0, count, size), [count]])


def _check(budget: float, padding: float, max_rows: int | None) -> None:
    if not 0 < budget < math.inf:
        raise InvalidArgumentError(f"the budget must be a positive number, not {budget}")
    if not 0 <= padding < 1:
        raise InvalidArgumentError(f"padding must be from 0 to below 1, not {padding}")
    if max_rows is not None and max_rows < 1:
        raise InvalidArgumentError(f"max_rows must be at least 1, not {max_rows}")
