"""How many draws of an epoch are of each source, and which ones: exact shares at any place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from ossicle.errors import InvalidArgumentError
from ossicle.stream.permutation import Ints, random_bits

__all__ = ["Mixture", "apportion", "interleaved", "shares_of"]


def apportion(weights: Sequence[float], total: int) -> list[int]:
    """``total`` in whole numbers by weights, rounded by the largest remainders (Hamilton's method).

    The earlier one goes first where remainders are equal.

    Raises:
        InvalidArgumentError: There is nothing to give to.
    """
    if not any(weights):
        if total:
            raise InvalidArgumentError(f"{total} samples of nothing")
        return [0] * len(weights)
    # In fractions: remainders that are equal must not differ by a rounding.
    shares = [Fraction(weight) for weight in weights]
    whole = sum(shares)
    exact = [share * total / whole for share in shares]
    quotas = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda at: quotas[at] - exact[at])
    for at in by_remainder[: total - sum(quotas)]:
        quotas[at] += 1
    return quotas


def shares_of(
    sizes: Sequence[int], weights: Sequence[float | None], temperature: float | None
) -> list[float]:
    """The weights by which draws are shared out.

    Args:
        sizes: Rows of each source.
        weights: What the user gave for each.
        temperature: The exponent of the sizes; None is 1 where no weight was given, else 0.

    Raises:
        InvalidArgumentError: A weight or the temperature makes no sense, or nothing is left.
    """
    given = [1.0 if weight is None else float(weight) for weight in weights]
    if not all(math.isfinite(weight) and weight >= 0 for weight in given):
        raise InvalidArgumentError(f"weights must be numbers of at least 0, not {given}")
    if temperature is None:
        temperature = 1.0 if all(weight is None for weight in weights) else 0.0
    if not 0 <= temperature <= 10:
        raise InvalidArgumentError(f"temperature must be from 0 to 10, not {temperature}")
    shares = [
        weight * float(size) ** temperature if size else 0.0
        for weight, size in zip(given, sizes, strict=True)
    ]
    if not any(shares):
        raise InvalidArgumentError("no source has both rows and a weight above 0")
    return shares


class Mixture:
    """An epoch's draws dealt out to sources, so that any stretch of them has their shares.

    Draw ``j`` of a source with ``q`` of them belongs at ``(j + 1/2) / q`` of the epoch: the first
    ``t`` draws are then apportioned by Webster's method, which never takes a draw back as ``t``
    grows, differs from the exact share by less than one as a rule, and comes to ``q`` at the end.

    Args:
        quotas: Draws of an epoch that each source gives.
    """

    def __init__(self, quotas: Sequence[int]) -> None:
        self.quotas = [int(quota) for quota in quotas]
        self.total = sum(self.quotas)

    def taken(self, draws: int) -> list[int]:
        """How many of the first ``draws`` draws are of each source."""
        if not self.total:
            return [0] * len(self.quotas)
        taken = [(2 * draws * quota + self.total) // (2 * self.total) for quota in self.quotas]
        # The halves rounded up may be too many or too few, by less than there are sources.
        for _ in range(draws - sum(taken)):
            taken[min(self._wanted(), key=lambda at: self._turn(at, taken[at]))] += 1
        for _ in range(sum(taken) - draws):
            has = [at for at in self._wanted() if taken[at]]
            taken[max(has, key=lambda at: self._turn(at, taken[at] - 1))] -= 1
        return taken

    def _wanted(self) -> list[int]:
        return [at for at, quota in enumerate(self.quotas) if quota]

    def _turn(self, source: int, draw: int) -> tuple[Fraction, int]:
        return Fraction(2 * draw + 1, self.quotas[source]), source


def interleaved(
    starts: Sequence[int], quotas: Sequence[int], rows: Sequence[Ints], keep_runs: bool, *key: int
) -> Ints:
    """The order in which draws of several sources come: smooth in their shares, random in detail.

    Draw ``j`` of a source with ``q`` draws an epoch comes somewhere in ``[j / q, (j + 1) / q)``.

    Args:
        starts: The number of each source's first draw in its epoch.
        quotas: Draws of an epoch of each source.
        rows: Of each source, the rows drawn, in their order.
        keep_runs: Whether rows that are neighbours stay together.
        key: Of the randomness.

    Returns:
        ``(N,)`` places in the concatenation of ``rows``.
    """
    times = []
    for source, (start, quota, drawn) in enumerate(zip(starts, quotas, rows, strict=True)):
        draws = np.arange(start, start + len(drawn))
        length = np.ones(len(drawn), np.int64)
        if keep_runs and len(drawn):
            begins = np.flatnonzero(np.diff(drawn, prepend=drawn[0] - 2) != 1)
            lengths = np.diff(begins, append=len(drawn))
            draws, length = np.repeat(draws[begins], lengths), np.repeat(lengths, lengths)
        inside = (random_bits(draws, *key, source) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        times.append((draws + inside * length) / max(quota, 1))
    return np.argsort(np.concatenate(times), kind="stable")
