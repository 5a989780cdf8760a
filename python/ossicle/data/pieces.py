"""Rows on their way in: tables of some thousand rows, made of whatever a format gives.

A column has one type. What has none of the plain ones (lists, objects, texts among numbers) is kept
as JSON text, and its name in `Piece.nested`, so that it comes out as it went in.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ossicle.data.arrays import Ints
from ossicle.data.audio_column import common_type, parts_series, recast
from ossicle.data.errors import ManifestError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Found", "Piece", "joined", "pieces_of", "to_json"]

SIZE = 1 << 13
"""Rows of a piece."""
_BIGGEST = 2**63
# Integers up to here are themselves as float64.
_EXACT = 2**53


@dataclass
class Piece:
    """Some rows that follow each other.

    Attributes:
        frame: Their columns.
        numbers: Of each row, its place in the source, from 0.
        lines: Of each row, its line, from 1, where the source has lines; 0 is none.
        nested: The columns whose texts are JSON.
        absent: Of columns that some rows do not have at all, which do not: their null is none of
            the source. It is kept where rows are as they came.
    """

    frame: pl.DataFrame
    numbers: Sequence[int] | Ints
    lines: Sequence[int | None] | Ints | None = None
    nested: frozenset[str] = field(default_factory=frozenset)
    absent: Mapping[str, Sequence[bool]] = field(default_factory=dict)

    def line(self, at: int) -> int | None:
        """The line of the row at a place of the piece."""
        found = None if self.lines is None else self.lines[at]
        return int(found) if found else None

    def shifted(self, start: int) -> Piece:
        """The same rows, after some others."""
        if isinstance(self.numbers, range):
            numbers: Any = range(self.numbers.start + start, self.numbers.stop + start)
        else:
            numbers = np.asarray(self.numbers, np.int64) + start
        return replace(self, numbers=numbers)

    def rest(self, start: int) -> Piece:
        """The rows from a place on."""
        lines = None if self.lines is None else self.lines[start:]
        return Piece(self.frame[start:], self.numbers[start:], lines, self.nested)

    def take(self, places: Sequence[int]) -> Piece:
        """The rows at some places."""
        return Piece(
            self.frame[list(places)],
            [int(self.numbers[at]) for at in places],
            None if self.lines is None else [self.line(at) for at in places],
            self.nested,
        )


Found: TypeAlias = "Piece | ManifestError"
"""What a reader gives: rows, and what is wrong with others."""


def pieces_of(
    rows: Iterable[tuple[int, int | None, Mapping[str, Any]] | ManifestError], source: str
) -> Iterator[Found]:
    """Pieces of rows that come one by one.

    Args:
        rows: Number, line and values of each, or what is wrong with it.
        source: For errors.
    """
    numbers: list[int] = []
    lines: list[int | None] = []
    values: list[Mapping[str, Any]] = []
    for row in rows:
        if isinstance(row, ManifestError):
            yield row
            continue
        numbers.append(row[0])
        lines.append(row[1])
        values.append(row[2])
        if len(values) == SIZE:
            yield from _made(numbers, lines, values, source)
            numbers, lines, values = [], [], []
    if values:
        yield from _made(numbers, lines, values, source)


def joined(pieces: Sequence[Piece]) -> Piece:
    """One piece of many; a column that has another type in each becomes what holds them all."""
    import polars as pl

    nested = frozenset(name for piece in pieces for name in piece.nested)
    kinds: dict[str, set[Any]] = {}
    for piece in pieces:
        for name, kind in piece.frame.schema.items():
            kinds.setdefault(name, set()).add(kind)
    wanted = {name: _common(found) for name, found in kinds.items()}
    nested |= {name for name, kind in wanted.items() if kind is None}
    frames = [_as(piece, wanted, nested) for piece in pieces]
    frame = pl.concat(frames, how="diagonal") if frames else pl.DataFrame()
    # Millions of rows: no object for each.
    numbers = _ints([piece.numbers for piece in pieces])
    if all(piece.lines is None for piece in pieces):
        return Piece(frame, numbers, None, nested)
    none = np.zeros(1, np.int64)
    lines = [
        np.repeat(none, len(one.numbers))
        if one.lines is None
        else [line or 0 for line in one.lines]
        for one in pieces
    ]
    return Piece(frame, numbers, _ints(lines), nested)


def _ints(parts: Sequence[Any]) -> Ints:
    whole = [np.asarray(part, np.int64) for part in parts]
    return np.concatenate(whole) if whole else np.empty(0, np.int64)


def to_json(value: Any) -> str | None:
    """JSON text of a value; None stays None."""
    return None if value is None else json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON does not know: arrays and numbers of NumPy, dates."""
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes where JSON is needed")
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _made(
    numbers: list[int], lines: list[int | None], values: list[Mapping[str, Any]], source: str
) -> Iterator[Found]:
    import polars as pl

    names = dict.fromkeys(name for row in values for name in row)
    nested = set()
    columns = {}
    try:
        for name in names:
            series, is_nested = _series(name, [row.get(name) for row in values])
            columns[str(name)] = series
            nested |= {str(name)} if is_nested else set()
    except (UnicodeEncodeError, TypeError) as error:
        if len(values) == 1:
            reason = f"it holds what no column can: {error}"
            yield ManifestError(reason, source=source, row=numbers[0], line=lines[0])
            return
        middle = len(values) // 2
        yield from _made(numbers[:middle], lines[:middle], values[:middle], source)
        yield from _made(numbers[middle:], lines[middle:], values[middle:], source)
        return
    has_lines = any(line is not None for line in lines)
    frame = pl.DataFrame(columns) if columns else pl.DataFrame(height=len(values))
    yield Piece(frame, numbers, lines if has_lines else None, frozenset(nested), _absent(values))


def _absent(values: list[Mapping[str, Any]]) -> dict[str, list[bool]]:
    counts = Counter(name for row in values for name in row)
    some = [name for name, count in counts.items() if count < len(values)]
    return {str(name): [name not in row for row in values] for name in some}


def _series(name: str, values: list[Any]) -> tuple[pl.Series, bool]:
    import polars as pl

    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pl.Series(name, values, pl.Null), False
    if kinds == {str}:
        return pl.Series(name, values, pl.String), False
    if kinds == {bool}:
        return pl.Series(name, values, pl.Boolean), False
    if kinds == {int} and all(one is None or -_BIGGEST <= one < _BIGGEST for one in values):
        return pl.Series(name, values, pl.Int64), False
    if kinds == {float} or (
        kinds == {int, float}
        and all(not isinstance(one, int) or abs(one) <= _EXACT for one in values)
    ):
        return pl.Series(name, values, pl.Float64), False
    if kinds == {bytes}:
        return pl.Series(name, values, pl.Binary), False
    if any(_holds_bytes(one) for one in values):
        if kinds == {dict}:
            return _struct(name, values), False
        return parts_series(name, values), False
    return pl.Series(name, [to_json(one) for one in values], pl.String), True


def _holds_bytes(value: Any) -> bool:
    if isinstance(value, dict):
        return any(isinstance(one, bytes) for one in value.values())
    return isinstance(value, bytes) or (isinstance(value, list) and any(map(_holds_bytes, value)))


def _struct(name: str, values: list[Any]) -> pl.Series:
    """Dicts of bytes, as Hugging Face has recordings; values that have no plain type are JSON."""
    import polars as pl

    keys = dict.fromkeys(key for one in values if one is not None for key in one)
    fields = [_series(key, [one and one.get(key) for one in values])[0] for key in keys]
    kinds = {"bytes": pl.Binary, "path": pl.String}
    fields = [one.cast(kinds.get(one.name, one.dtype)) for one in fields]
    lacking = [pl.Series(key, [None] * len(values), kinds[key]) for key in kinds if key not in keys]
    there = pl.Series([one is not None for one in values])
    frame = pl.DataFrame([*fields, *lacking])
    return frame.select(pl.when(there).then(pl.struct(pl.all())).alias(name)).to_series()


def _common(kinds: set[Any]) -> Any:
    """The type that holds all, None is JSON text."""
    import polars as pl

    kinds = kinds - {pl.Null}
    if len(kinds) <= 1:
        return next(iter(kinds), pl.Null())
    if all(kind.is_numeric() for kind in kinds):
        return pl.Float64()
    return common_type(kinds)


def _as(piece: Piece, wanted: Mapping[str, Any], nested: frozenset[str]) -> pl.DataFrame:
    import polars as pl

    frame = piece.frame
    changed = []
    for name, kind in frame.schema.items():
        target = wanted[name]
        if name in nested:
            if name not in piece.nested and kind != pl.Null:
                texts = [to_json(value) for value in frame[name].to_list()]
                changed.append(pl.Series(name, texts, pl.String))
            elif kind == pl.Null:
                changed.append(frame[name].cast(pl.String))
        elif kind != target:
            changed.append(recast(frame[name], target))
    return frame.with_columns(changed) if changed else frame
