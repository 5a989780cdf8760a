"""How tables of recordings are joined: by their names, or many rows to one by another column."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from ossicle.data.errors import ManifestError
from ossicle.data.matching import difference
from ossicle.dataloader.outputs.stage_tables import ID

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Conflict",
    "How",
    "Joinable",
    "check_how",
    "join_by_column",
    "join_by_id",
    "unmatched_of",
]

How: TypeAlias = Literal["inner", "left", "outer"]
Merge: TypeAlias = "Callable[[str, Mapping[str, pl.Expr]], pl.Expr]"
Conflict: TypeAlias = "Literal['error', 'prefix', 'first', 'last'] | Merge"

# Names of our own columns within a join: no one else's hold a NUL.
_KEY, _OTHER_ID = "key\0", "id\0"


class Joinable(Protocol):
    """What a `MetadataManifest` has."""

    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def schema(self) -> dict[str, pl.DataType]: ...  # noqa: D102
    @property
    def columns(self) -> list[str]: ...  # noqa: D102
    @property
    def lazy(self) -> pl.LazyFrame: ...  # noqa: D102


def check_how(how: How, conflict: Conflict) -> None:
    """Refuses what is no kind of join.

    Raises:
        ManifestError: `how` or `conflict` is none of those that there are.
    """
    if how not in ("inner", "left", "outer"):
        raise ManifestError(f'how must be "inner", "left" or "outer", not {how!r}')
    if not callable(conflict) and conflict not in ("error", "prefix", "first", "last"):
        known = '"error", "prefix", "first", "last" or a function'
        raise ManifestError(f"conflict is {known}, not {conflict!r}")


def unmatched_of(manifests: Sequence[Joinable], on: str = ID) -> dict[str, int]:
    """How many rows of each manifest are not in all of the others; those alone are read.

    Warns where names that are not in the others differ from those by case, spaces, an extension,
    a folder or leading zeros alone.

    Raises:
        ManifestError: No row is in all, and the names differ by one of these; it has an example.
    """
    import polars as pl
    from polars.selectors import by_name

    columns = [one.lazy.select(by_name(on)).collect().to_series() for one in manifests]
    common = columns[0].drop_nulls().hash()
    for other in columns[1:]:
        common = common.filter(common.is_in(other.drop_nulls().hash().implode()))
    missing = [one.filter(~one.hash().is_in(common.implode())) for one in columns]
    counts = {one.source: len(left) for one, left in zip(manifests, missing, strict=True)}
    if not all(one.dtype == pl.String for one in missing):
        return counts
    left, *others = [one.drop_nulls().to_list() for one in missing]
    for manifest, right in zip(manifests[1:], others, strict=True):
        found = difference(left, right)
        if found is not None:
            _tell(manifests[0].source, len(left), manifest.source, len(right), on, found, common)
    return counts


def _tell(
    left: str, lost: int, right: str, other: int, on: str, found: str, common: pl.Series
) -> None:
    if not len(common):
        why = f"no row of {left!r} has the {on} of one of {right!r}: {found}"
        raise ManifestError(why, column=on)
    why = f"{lost:,} rows of {left!r} and {other:,} of {right!r} match no other by {on}: {found}"
    warnings.warn(why, RuntimeWarning, stacklevel=5)


def join_by_id(manifests: Sequence[Joinable], how: How, conflict: Conflict) -> pl.LazyFrame:
    """The rows of two manifests or more side by side, see `ManifestJoiner`.

    Raises:
        ManifestError: Columns conflict; ``column`` names the one.
    """
    columns = _columns(manifests, how, conflict)
    parts = [_part(manifest, number) for number, manifest in enumerate(manifests)]
    return _join(parts, how).select(ID, **columns)


def join_by_column(
    left: Joinable, right: Joinable, on: str, how: How, conflict: Conflict
) -> pl.LazyFrame:
    """Many rows to one, by a column that is unique on the right; null matches nothing."""
    if how not in ("inner", "left") or conflict != "error":
        raise ManifestError('by another column than wav_id: how="inner" or "left", no conflicts')
    for side in (left, right):
        _check_column(side, on)
    if (types := [side.schema[on] for side in (left, right)])[0] != types[1]:
        why = f"holds {types[0]} and {types[1]}: cast one, as by pl.col({on!r}).cast(pl.String)"
        raise ManifestError(why, source=left.source, column=on)
    _check_unique(right, on)
    renamed = right.lazy.rename({ID: f"{right.source}_{ID}"})
    added = [name for name in renamed.collect_schema() if name != on]
    for name in added:
        if name in left.columns:
            raise _conflict(name, [left.source, right.source])
    return left.lazy.join(renamed, on=on, how=how, maintain_order="left")


def _join(parts: Sequence[pl.LazyFrame], how: How) -> pl.LazyFrame:
    """Parts by their keys; each has its names, which outer joins need of all of them."""
    import polars as pl

    whole = parts[0]
    for part in parts[1:]:
        if how == "outer":
            other = part.rename({ID: _OTHER_ID})
            whole = whole.join(
                other, on=_KEY, how="full", coalesce=True, maintain_order="left_right"
            ).with_columns(pl.coalesce(ID, _OTHER_ID).alias(ID))
            whole = whole.drop(_OTHER_ID)
        else:
            whole = whole.join(part.drop(ID), on=_KEY, how=how, maintain_order="left")
    return whole


def _part(manifest: Joinable, number: int) -> pl.LazyFrame:
    """A manifest's names, their key, its columns under numbered names, and that it has the row."""
    import polars as pl
    from polars.selectors import by_name

    others = [name for name in manifest.columns if name != ID]
    columns = [by_name(name).alias(_numbered_name(name, number)) for name in others]
    # Keys of numbers join in half the time of texts. The halves have different seeds.
    high, low = (pl.col(ID).hash(seed) for seed in (0, 1))
    wide = high.reinterpret(signed=True).cast(pl.Int128) * (1 << 64) + low.cast(pl.Int128)
    key = wide.alias(_KEY)
    return manifest.lazy.select(ID, key, pl.lit(True).alias(_numbered_name("", number)), *columns)


def _numbered_name(name: str, number: int) -> str:
    return f"{name}\0{number}"


def _columns(manifests: Sequence[Joinable], how: How, conflict: Conflict) -> dict[str, pl.Expr]:
    """The columns of the result by name, in the order in which they first occur."""
    import polars as pl

    owners: dict[str, list[int]] = {}
    for number, manifest in enumerate(manifests):
        for name in manifest.columns:
            if name != ID:
                owners.setdefault(name, []).append(number)
    found: dict[str, list[tuple[str, pl.Expr]]] = {}
    for name, numbers in owners.items():
        merged = [(manifests[at].source, pl.col(_numbered_name(name, at))) for at in numbers]
        if len(numbers) == 1:
            found.setdefault(name, []).append(merged[0])
        elif conflict == "prefix":
            for source, column in merged:
                found.setdefault(f"{source}_{name}", []).append((source, column))
        else:
            one = _merge(name, [manifests[at] for at in numbers], numbers, how, conflict)
            found.setdefault(name, []).append(("", one))
    for name, several in found.items():
        if len(several) > 1 or name == ID:
            raise _conflict(name, [source for source, _ in several])
    return {name: expression for name, [(_, expression)] in found.items()}


def _merge(
    name: str,
    owners: Sequence[Joinable],
    numbers: Sequence[int],
    how: How,
    conflict: Conflict,
) -> pl.Expr:
    """One column out of those that several manifests have."""
    import polars as pl

    sources = [owner.source for owner in owners]
    columns = [pl.col(_numbered_name(name, at)) for at in numbers]
    if conflict == "error" or conflict == "prefix":
        raise _conflict(name, sources)
    if callable(conflict):
        if len(set(sources)) < len(sources):
            raise _conflict(name, sources)
        return _call(conflict, name, dict(zip(sources, columns, strict=True)))
    _check_same_type(name, owners)
    in_turn = list(zip(numbers, columns, strict=True))
    if conflict == "last":
        in_turn.reverse()
    if how == "inner":
        return in_turn[0][1]
    # Of the manifests that have the row the first in turn, even where it says null.
    chosen: pl.Expr = pl.lit(None)
    for at, column in reversed(in_turn):
        chosen = pl.when(pl.col(_numbered_name("", at))).then(column).otherwise(chosen)
    return chosen


def _call(conflict: Merge, name: str, columns: Mapping[str, pl.Expr]) -> pl.Expr:
    import polars as pl

    merged = conflict(name, columns)
    if not isinstance(merged, pl.Expr):
        raise TypeError(f"conflict({name!r}, ...) gives an expression, not {merged!r}")
    return merged


def _check_same_type(name: str, owners: Sequence[Joinable]) -> None:
    import polars as pl

    types = {owner.schema[name] for owner in owners} - {pl.Null()}
    if len(types) > 1:
        types_there = ", ".join(f"{owner.schema[name]} in {owner.source!r}" for owner in owners)
        raise ManifestError(f"cannot be merged: {types_there}", column=name)


def _check_column(manifest: Joinable, on: str) -> None:
    if on not in manifest.columns:
        why = f"unknown column; the columns are {', '.join(manifest.columns)}"
        raise ManifestError(why, source=manifest.source, column=on)


def _check_unique(manifest: Joinable, on: str) -> None:
    from polars.selectors import by_name

    values: Any = manifest.lazy.select(by_name(on)).collect().to_series().drop_nulls()
    if values.n_unique() < len(values):
        twice = values.filter(values.is_duplicated())[0]
        raise ManifestError(f"{twice!r} is a duplicate", source=manifest.source, column=on)


def _conflict(name: str, sources: Sequence[str]) -> ManifestError:
    where = " and ".join(repr(source) for source in sources if source) or "joined columns"
    why = f'is in {where}: choose conflict="prefix", "first", "last" or a function'
    return ManifestError(why, column=name)
