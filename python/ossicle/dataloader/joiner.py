"""Joins of manifests: the rows of several side by side, matched by ``wav_id``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ossicle.data.errors import ManifestError
from ossicle.dataloader.manifest import MetadataManifest
from ossicle.dataloader.stages import ID

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Conflict", "How", "ManifestJoiner", "join_by_column"]

How: TypeAlias = Literal["inner", "left", "outer"]
Merge: TypeAlias = "Callable[[str, Mapping[str, pl.Expr]], pl.Expr]"
Conflict: TypeAlias = "Literal['error', 'prefix', 'first', 'last'] | Merge"

# Names of our own columns within a join: no one else's hold a NUL.
_KEY, _OTHER_ID = "key\0", "id\0"


class ManifestJoiner:
    """Joins manifests by ``wav_id``.

    Rows come in the order of the first manifest, in an outer join those follow that are only in the
    second, and so on. Where a manifest lacks a row, its columns are null there.

    Names are matched by 128 bits of their hashes: of ten million names, two that differ are taken
    for one in fewer than one of 10**24 joins.

    Args:
        how: Which rows are kept: ``inner`` those in every manifest, ``left`` those of the first,
            ``outer`` those of any.
        conflict: What becomes of columns that several manifests have. ``error`` raises; ``prefix``
            puts the manifest's source and ``_`` before the name of each; ``first`` and ``last``
            keep one, in each row that of the first or last manifest that has the row. Or a
            function ``(column, {source: expression}) -> expression``, such as
            ``lambda column, of: polars.coalesce(of.values())``.

    Raises:
        ManifestError: `how` or `conflict` is none of these.
    """

    def __init__(self, how: How = "inner", conflict: Conflict = "error") -> None:
        if how not in ("inner", "left", "outer"):
            raise ManifestError(f'how is "inner", "left" or "outer", not {how!r}')
        if not callable(conflict) and conflict not in ("error", "prefix", "first", "last"):
            known = '"error", "prefix", "first", "last" or a function'
            raise ManifestError(f"conflict is {known}, not {conflict!r}")
        self.how, self.conflict = how, conflict
        self._manifests: list[MetadataManifest] = []

    def add(self, manifest: MetadataManifest) -> ManifestJoiner:
        """Takes one more manifest; returns the joiner itself."""
        if not isinstance(manifest, MetadataManifest):
            raise TypeError(f"not a MetadataManifest, but {type(manifest).__name__}")
        self._manifests.append(manifest)
        return self

    def join(self) -> MetadataManifest:
        """The rows of all side by side; lazy, its source is theirs, with ``+`` between them.

        Raises:
            ManifestError: There is nothing to join, or columns conflict; ``column`` names the one.
        """
        manifests = self._manifests
        if not manifests:
            raise ManifestError("there is nothing to join: add manifests first")
        if len(manifests) == 1:
            return manifests[0]
        columns = _columns(manifests, self.how, self.conflict)
        parts = [_part(manifest, number) for number, manifest in enumerate(manifests)]
        joined = _joined(parts, self.how).select(ID, **columns)
        result = MetadataManifest.of_unique(joined, "+".join(each.source for each in manifests))
        _ = result.schema  # raises where a function's expression does not fit
        return result


def join_by_column(
    left: MetadataManifest, right: MetadataManifest, on: str, how: How, conflict: Conflict
) -> MetadataManifest:
    """Many rows to one, by a column that is unique on the right; null matches nothing."""
    if how not in ("inner", "left") or conflict != "error":
        raise ManifestError('by another column than wav_id: how="inner" or "left", no conflicts')
    for side in (left, right):
        _check_column(side, on)
    if (types := [side.schema[on] for side in (left, right)])[0] != types[1]:
        raise ManifestError(f"holds {types[0]} and {types[1]}", source=left.source, column=on)
    _check_unique(right, on)
    renamed = right.lazy.rename({ID: f"{right.source}_{ID}"})
    added = [name for name in renamed.collect_schema() if name != on]
    for name in added:
        if name in left.columns:
            raise _conflict(name, [left.source, right.source])
    joined = left.lazy.join(renamed, on=on, how=how, maintain_order="left")
    return MetadataManifest.of_unique(joined, f"{left.source}+{right.source}")


def _joined(parts: Sequence[pl.LazyFrame], how: How) -> pl.LazyFrame:
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


def _part(manifest: MetadataManifest, number: int) -> pl.LazyFrame:
    """A manifest's names, their key, its columns under numbered names, and that it has the row."""
    import polars as pl
    from polars.selectors import by_name

    others = [name for name in manifest.columns if name != ID]
    columns = [by_name(name).alias(_numbered(name, number)) for name in others]
    # Keys of numbers join in half the time of texts. The halves have different seeds.
    high, low = (pl.col(ID).hash(seed) for seed in (0, 1))
    wide = high.reinterpret(signed=True).cast(pl.Int128) * (1 << 64) + low.cast(pl.Int128)
    key = wide.alias(_KEY)
    return manifest.lazy.select(ID, key, pl.lit(True).alias(_numbered("", number)), *columns)


def _numbered(name: str, number: int) -> str:
    return f"{name}\0{number}"


def _columns(
    manifests: Sequence[MetadataManifest], how: How, conflict: Conflict
) -> dict[str, pl.Expr]:
    """The columns of the result by name, in the order in which they first occur."""
    import polars as pl

    owners: dict[str, list[int]] = {}
    for number, manifest in enumerate(manifests):
        for name in manifest.columns:
            if name != ID:
                owners.setdefault(name, []).append(number)
    found: dict[str, list[tuple[str, pl.Expr]]] = {}
    for name, numbers in owners.items():
        merged = [(manifests[at].source, pl.col(_numbered(name, at))) for at in numbers]
        if len(numbers) == 1:
            found.setdefault(name, []).append(merged[0])
        elif conflict == "prefix":
            for source, column in merged:
                found.setdefault(f"{source}_{name}", []).append((source, column))
        else:
            one = _merged(name, [manifests[at] for at in numbers], numbers, how, conflict)
            found.setdefault(name, []).append(("", one))
    for name, several in found.items():
        if len(several) > 1 or name == ID:
            raise _conflict(name, [source for source, _ in several])
    return {name: expression for name, [(_, expression)] in found.items()}


def _merged(
    name: str,
    owners: Sequence[MetadataManifest],
    numbers: Sequence[int],
    how: How,
    conflict: Conflict,
) -> pl.Expr:
    """One column out of those that several manifests have."""
    import polars as pl

    sources = [owner.source for owner in owners]
    columns = [pl.col(_numbered(name, at)) for at in numbers]
    if conflict == "error" or conflict == "prefix":
        raise _conflict(name, sources)
    if callable(conflict):
        if len(set(sources)) < len(sources):
            raise _conflict(name, sources)
        return _called(conflict, name, dict(zip(sources, columns, strict=True)))
    _check_same_type(name, owners)
    in_turn = list(zip(numbers, columns, strict=True))
    if conflict == "last":
        in_turn.reverse()
    if how == "inner":
        return in_turn[0][1]
    # Of the manifests that have the row the first in turn, even where it says null.
    chosen: pl.Expr = pl.lit(None)
    for at, column in reversed(in_turn):
        chosen = pl.when(pl.col(_numbered("", at))).then(column).otherwise(chosen)
    return chosen


def _called(conflict: Merge, name: str, columns: Mapping[str, pl.Expr]) -> pl.Expr:
    import polars as pl

    merged = conflict(name, columns)
    if not isinstance(merged, pl.Expr):
        raise TypeError(f"conflict({name!r}, ...) gives an expression, not {merged!r}")
    return merged


def _check_same_type(name: str, owners: Sequence[MetadataManifest]) -> None:
    import polars as pl

    types = {owner.schema[name] for owner in owners} - {pl.Null()}
    if len(types) > 1:
        told = ", ".join(f"{owner.schema[name]} in {owner.source!r}" for owner in owners)
        raise ManifestError(f"cannot be one: {told}", column=name)


def _check_column(manifest: MetadataManifest, on: str) -> None:
    if on not in manifest.columns:
        why = f"there is no such column: there are {', '.join(manifest.columns)}"
        raise ManifestError(why, source=manifest.source, column=on)


def _check_unique(manifest: MetadataManifest, on: str) -> None:
    from polars.selectors import by_name

    values: Any = manifest.lazy.select(by_name(on)).collect().to_series().drop_nulls()
    if values.n_unique() < len(values):
        twice = values.filter(values.is_duplicated())[0]
        raise ManifestError(f"{twice!r} occurs twice", source=manifest.source, column=on)


def _conflict(name: str, sources: Sequence[str]) -> ManifestError:
    where = " and ".join(repr(source) for source in sources if source) or "joined columns"
    why = f'is in {where}: choose conflict="prefix", "first", "last" or a function'
    return ManifestError(why, column=name)
