"""What a plan knows of the rows of a source: which of them are drawn, and what they cost."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from ossicle.errors import InvalidArgumentError
from ossicle.stream.batches import BatchRule, RowCount, Seconds
from ossicle.stream.budgets import Floats
from ossicle.stream.permutation import Ints
from ossicle.stream.sources import Source

__all__ = ["Pool"]


class Pool:
    """The rows of a source that are drawn, and what they cost.

    Args:
        source: The source.
        rule: Of batches: what a row costs.
        on_too_long: What becomes of rows that cost more than a batch may.

    Attributes:
        rows: ``(M,)`` the numbers of the rows; None: all.
        costs: ``(N,)`` float64 of all rows of the source; None: each costs one.
        count: How many rows are drawn.

    Raises:
        InvalidArgumentError: A row has no length, or is too long.
    """

    def __init__(self, source: Source, rule: BatchRule, on_too_long: str) -> None:
        self.rows: npt.NDArray[np.int32 | np.int64] | None = None
        self.costs = _costs(source, rule)
        if source.where is not None:
            self._keep(source.kept)
        if self.costs is not None:
            self._check(source, rule, on_too_long)
        self.count = len(source) if self.rows is None else len(self.rows)

    def number(self, places: Ints) -> Ints:
        """The numbers of the rows at some places among those that are drawn."""
        return places if self.rows is None else self.rows[places].astype(np.int64)

    def cost(self, rows: Ints) -> Floats:
        """What rows cost."""
        return np.ones(len(rows)) if self.costs is None else self.costs[rows]

    def _keep(self, rows: Ints) -> None:
        small = len(rows) == 0 or int(rows[-1]) < 2**31
        self.rows = rows.astype(np.int32) if small else rows

    def _check(self, source: Source, rule: BatchRule, on_too_long: str) -> None:
        assert self.costs is not None
        costs = self.costs if self.rows is None else self.costs[self.rows]
        unknown = np.flatnonzero(~(np.isfinite(costs) & (costs >= 0)))
        if len(unknown):
            raise InvalidArgumentError(
                f"{len(unknown)} of {len(costs)} rows of {source.name} have no length, the first "
                f"is {_name(source, self.number(unknown[:1]))}: leave them out by where="
            )
        long = np.flatnonzero(costs > rule.budget)
        if not len(long):
            return
        facts = (
            f"{len(long)} of {len(costs)} rows of {source.name} are longer than the budget of "
            f"{rule.budget:g} ({_name(source, self.number(long[:1]))} has {costs[long[0]]:g})"
        )
        if on_too_long == "raise":
            advice = 'raise the budget, or pass on_too_long="alone" or "drop"'
            raise InvalidArgumentError(f"{facts}: {advice}")
        fate = "get batches of their own" if on_too_long == "alone" else "are left out"
        warnings.warn(f"{facts} and {fate}", UserWarning, stacklevel=4)
        if on_too_long == "drop":
            self._keep(self.number(np.flatnonzero(costs <= rule.budget)))


def _costs(source: Source, rule: BatchRule) -> Floats | None:
    if isinstance(rule, RowCount):
        return None
    if isinstance(rule, Seconds):
        return source.seconds if rule.cut_at is None else np.minimum(source.seconds, rule.cut_at)
    import polars as pl

    tokens = pl.col(rule.tokens) if isinstance(rule.tokens, str) else rule.tokens
    return source.evaluate(tokens.cast(pl.Float64)).fill_null(float("nan")).to_numpy()


def _name(source: Source, rows: Ints) -> str:
    [name] = source.ids(rows)
    return f"row {rows[0]} ({name})"
