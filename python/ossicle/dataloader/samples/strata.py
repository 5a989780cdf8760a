"""Rows of a manifest sorted into strata, and how many samples each of these gets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle.data.arrays import Ints
from ossicle.data.errors import ManifestError
from ossicle.data.frames import Table, frame_of, source_of
from ossicle.errors import InvalidArgumentError
from ossicle.stream.mixing import apportion

if TYPE_CHECKING:
    import polars

__all__ = ["Shares", "Strata", "quotas_of", "strata_of"]

Shares: TypeAlias = Literal["proportional", "equal"] | Mapping[Any, float]

_ROW = "number of the row"


@dataclass(frozen=True, slots=True, eq=False)
class Strata:
    """Rows by the values of some columns.

    Attributes:
        names: Of the strata, sorted: of one column its value, of several a tuple; null is None.
        rows: ``(N,)`` numbers of the rows, stratum after stratum.
        sizes: ``(S,)`` how many rows each has.
    """

    names: list[Any]
    rows: Ints
    sizes: Ints


def strata_of(manifest: Table, columns: Sequence[str], bins: Mapping[str, int]) -> Strata:
    """Sorts the rows of a manifest.

    Args:
        manifest: A `MetadataManifest`, a Polars frame, a mapping of columns or a file.
        columns: Text, whole numbers, booleans, days; other numbers have to be in ``bins``.
        bins: Of columns of numbers, into how many quantiles they are cut: bin ``k`` of ``n`` has
            the values from the ``k / n`` quantile on, and is called ``k``; NaN and null are None.

    Raises:
        ManifestError: There is no such column, or it has no values that make strata.
    """
    import polars

    unknown = bins.keys() - set(columns)
    if unknown:
        raise InvalidArgumentError(f"bins of {min(unknown)!r}, which is not among the strata")
    if not columns:
        height = frame_of(manifest).height
        return Strata([()], np.arange(height), np.array([height]))
    source = source_of(manifest)
    frame = frame_of(manifest, columns)
    keys = [_keys(frame[name], bins.get(name), source) for name in columns]
    numbered = polars.DataFrame(keys).with_row_index(_ROW)
    # Rows keep their order inside of a stratum, and strata are in the order of their values.
    grouped = numbered.group_by(list(columns), maintain_order=True).agg(polars.col(_ROW))
    grouped = grouped.sort(list(columns), nulls_last=False)
    names = grouped.select(list(columns)).rows()
    rows = grouped[_ROW].explode().to_numpy().astype(np.int64)
    sizes = grouped[_ROW].list.len().to_numpy().astype(np.int64)
    return Strata([name[0] if len(columns) == 1 else name for name in names], rows, sizes)


def quotas_of(strata: Strata, shares: Shares, replacement: bool, num_samples: int | None) -> Ints:
    """``(S,)`` how many samples of an epoch come of each stratum; they sum up to all of them.

    Shares of samples are rounded by the largest remainders (Hamilton's method), the earlier stratum
    first where these are equal.

    Args:
        strata: The strata.
        shares: As for `MetadataSampler`, like the others.
        replacement: See there.
        num_samples: See there.

    Raises:
        InvalidArgumentError: Shares make no sense, or a stratum has too few rows.
    """
    weights = _weights(strata, shares)
    if num_samples is not None:
        quotas = _round(weights, num_samples)
    elif replacement or (isinstance(shares, str) and shares == "proportional"):
        quotas = _round(weights, int(strata.sizes.sum()))
    else:
        quotas = _most(weights, strata.sizes)
    short = np.flatnonzero(quotas > strata.sizes)
    if len(short) and not replacement:
        first = int(short[0])
        raise InvalidArgumentError(
            f"{int(quotas.sum())} samples need {quotas[first]} of the stratum "
            f"{strata.names[first]!r}, which has {strata.sizes[first]} rows: at most "
            f"{int(_most(weights, strata.sizes).sum())} can be had, or pass replacement=True"
        )
    return quotas


def _weights(strata: Strata, shares: Shares) -> npt.NDArray[np.float64]:
    if isinstance(shares, str):
        if shares not in ("proportional", "equal"):
            raise InvalidArgumentError(
                f'shares must be "proportional", "equal" or a mapping, not {shares!r}'
            )
        sizes = strata.sizes.astype(np.float64)
        return sizes if shares == "proportional" else np.ones(len(sizes))
    known = ", ".join(map(repr, strata.names[:10])) + (", ..." if len(strata.names) > 10 else "")
    for name in shares:
        if name not in strata.names:
            raise InvalidArgumentError(f"unknown stratum {name!r}; there are {known}")
    for name in strata.names:
        if name not in shares:
            raise InvalidArgumentError(f"no share for the stratum {name!r}: 0 leaves it out")
    weights = np.array([float(shares[name]) for name in strata.names])
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise InvalidArgumentError("shares must be numbers of at least 0, and not all of them 0")
    return weights


def _round(weights: npt.NDArray[np.float64], total: int) -> Ints:
    return np.array(apportion(weights.tolist(), total), np.int64)


def _most(weights: npt.NDArray[np.float64], sizes: Ints) -> Ints:
    """The largest epoch of these shares that needs no row twice."""
    wanted = weights > 0
    if not wanted.any():
        return np.zeros(len(sizes), np.int64)
    total = math.floor(float((sizes[wanted] / weights[wanted]).min() * weights.sum()) + 1e-6)
    quotas = _round(weights, total)
    while (quotas > sizes).any():  # by a rounding
        total -= 1
        quotas = _round(weights, total)
    return quotas


def _keys(series: polars.Series, bins: int | None, source: str) -> polars.Series:
    kind, name = series.dtype, series.name
    if bins is not None:
        return _bin(series, bins, source)
    if kind.is_float() or kind.is_decimal():
        why = f"{kind} cannot be strata: cut them into quantiles by bins={{{name!r}: 4}}"
        raise ManifestError(why, source=source, column=name)
    if kind.is_nested() or str(kind) in ("Object", "Binary"):
        raise ManifestError(f"{kind} are no strata", source=source, column=name)
    return series.cast(str) if str(kind).startswith(("Categorical", "Enum")) else series


def _bin(series: polars.Series, bins: int, source: str) -> polars.Series:
    import polars

    if not series.dtype.is_numeric():
        why = f"{series.dtype} has no quantiles"
        raise ManifestError(why, source=source, column=series.name)
    if bins < 2:
        raise InvalidArgumentError(f"{bins} bins of {series.name!r}: at least 2")
    values = series.cast(polars.Float64).fill_null(math.nan).to_numpy()
    known = values[~np.isnan(values)]
    edges = np.quantile(known, np.arange(1, bins) / bins) if len(known) else []
    numbers = np.searchsorted(edges, values, side="right")
    found = polars.Series(series.name, numbers, polars.Int64)
    return found.set(polars.Series(np.isnan(values)), None)
