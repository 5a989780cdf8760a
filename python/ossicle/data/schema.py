"""Rows of any names and types as rows of the one schema, a piece at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ossicle.data.audio_column import in_place
from ossicle.data.columns import CUT_FROM, SCHEMA
from ossicle.data.errors import ManifestError
from ossicle.data.forks import refuse_after_fork
from ossicle.data.pieces import Found, Piece
from ossicle.data.reading import Reading
from ossicle.data.recordings_in import Recordings, recordings_in

if TYPE_CHECKING:
    import polars as pl

__all__ = ["in_schema"]

_NUMBERS = ("offset", "end", "duration")
_INTEGERS = ("channel", "sample_rate")


def in_schema(found: Iterable[Found], reading: Reading) -> Iterator[Found]:
    """Pieces in the schema, and what is wrong with the rows that do not fit it."""
    for piece in _unforked(found):
        if isinstance(piece, ManifestError):
            yield piece
        else:
            yield from _fitted(piece, reading)


def _unforked(found: Iterable[Found]) -> Iterator[Found]:
    """The same, or an error where a process that was forked would read on, and hang."""
    pieces = iter(found)
    while True:
        refuse_after_fork("read all rows, as len(rows) does,")
        piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _fitted(piece: Piece, reading: Reading) -> Iterator[Found]:
    fit = _Fit(piece, reading)
    made = fit.make()
    for place in sorted(fit.wrong):
        yield ManifestError(
            fit.wrong[place],
            source=reading.source,
            row=piece.numbers[place],
            line=piece.line(place),
        )
    if fit.wrong:
        made = made.take([at for at in range(len(piece.numbers)) if at not in fit.wrong])
    if len(made.numbers):
        yield made


class _Fit:
    """A piece on its way into the schema."""

    def __init__(self, piece: Piece, reading: Reading) -> None:
        self.piece, self.reading = piece, reading
        self.frame = piece.frame
        self.height = len(piece.numbers)
        self.wrong: dict[int, str] = {}
        self.used: set[str] = set()

    def make(self) -> Piece:
        import polars as pl

        columns: dict[str, pl.Series] = {name: self._text(name) for name in ("id", "text")}
        found = recordings_in(self.piece, self._columns("audio"), self.reading, self._fault)
        columns["audio"], columns["messages"] = found.audio, found.messages
        self.used |= found.used
        columns |= {name: self._number(name, pl.Float64(), found) for name in _NUMBERS}
        columns |= {name: self._number(name, pl.Int64(), found) for name in _INTEGERS}
        for name in ("language", "speaker", "split", "sha256"):
            columns[name] = self._text(name)
        columns["duration"] = self._duration(columns)
        self._check(columns)
        columns["audio"], wrong = in_place(columns["audio"], self.reading.root)
        for place, reason in wrong.items():
            self._fault(place, reason)
        facts = [one for one in self.frame.columns if one not in self.used and one not in SCHEMA]
        ordered = [columns[name].alias(name) for name in SCHEMA]
        frame = pl.DataFrame([*ordered, *(self.frame[name] for name in facts)])
        nested = frozenset(name for name in facts if name in self.piece.nested)
        return Piece(frame, self.piece.numbers, self.piece.lines, nested | {"messages"})

    def _fault(self, place: int, reason: str) -> None:
        self.wrong.setdefault(place, reason)

    def _columns(self, meaning: str) -> list[str]:
        """Those of this meaning that have values; the first is no fact any more."""
        reading = self.reading
        there = [
            name
            for name in reading.names(meaning)
            if name in self.frame.columns and name not in reading.facts
        ]
        # What was told to be another column is not this one too.
        told = {name for other, name in reading.columns.items() if other != meaning}
        there = [name for name in there if name not in told]
        if meaning in ("offset", "end") and {"onset", "offset"} <= set(self.frame.columns) - told:
            # As voice activity is written: the offset is where a segment ends.
            there = ["onset" if meaning == "offset" else "offset"]
        full = [name for name in there if self.frame[name].null_count() < self.height]
        self.used |= set(there) - set(full)
        self.used |= set(full[:1])
        return full

    def _text(self, meaning: str) -> pl.Series:
        import polars as pl

        parts = [self._as_text(name, meaning) for name in self._columns(meaning)]
        made = _first(parts, pl.Series(meaning, [None] * self.height, pl.String))
        return made if meaning == "text" else made.replace("", None)

    def _as_text(self, name: str, meaning: str) -> pl.Series:
        """A column of texts; numbers are texts of their digits."""
        import polars as pl

        series = self.frame[name]
        if name in self.piece.nested:
            return self._nested_text(name, meaning)
        if series.dtype == pl.String:
            return series
        if isinstance(series.dtype, pl.List) and series.dtype.inner == pl.String:
            return self._lone(name, series.to_list(), meaning)
        if series.dtype.is_nested() or series.dtype == pl.Binary:
            for place, is_null in enumerate(series.is_null().to_list()):
                if not is_null:
                    self._fault(place, f"{name!r} is no text ({series.dtype})")
            return pl.Series(name, [None] * self.height, pl.String)
        return series.cast(pl.String)

    def _nested_text(self, name: str, meaning: str) -> pl.Series:
        """Texts among numbers and other things, as JSON."""
        values = [None if one is None else json.loads(one) for one in self.frame[name].to_list()]
        return self._lone(name, values, meaning)

    def _lone(self, name: str, values: Sequence[Any], meaning: str) -> pl.Series:
        import polars as pl

        made: list[str | None] = []
        for place, value in enumerate(values):
            if meaning == "sha256" and isinstance(value, list) and len(value) == 1:
                value = value[0]
            if isinstance(value, list | dict):
                self._fault(place, f"{name!r} holds a {_kind(value)}, not a text")
                value = None
            made.append(value if value is None or isinstance(value, str) else str(value))
        return pl.Series(name, made, pl.String)

    def _number(self, meaning: str, kind: Any, found: Recordings) -> pl.Series:
        import polars as pl

        parts = []
        for name in self._columns(meaning):
            series = self._plain_numbers(name, meaning, found)
            if series.dtype == pl.String:
                series = series.str.strip_chars().replace("", None)
            cast = series.cast(pl.Float64, strict=False)
            if kind == pl.Int64():
                cast = cast.set(cast.round() != cast, None).cast(pl.Int64, strict=False)
            for place in (cast.is_null() & series.is_not_null()).arg_true().to_list():
                what = "an integer" if kind == pl.Int64() else "a number"
                self._fault(place, f"{name!r} holds {series[place]!r}, not {what}")
            parts.append(cast)
        whole = _first(parts, pl.Series(meaning, [None] * self.height, kind))
        said = found.said.get(meaning)
        return whole if said is None else self._with_said(whole, said.cast(kind, strict=False))

    def _plain_numbers(self, name: str, meaning: str, found: Recordings) -> pl.Series:
        """A column of numbers or of texts, without what speaks of something else."""
        series = self.frame[name]
        if name in CUT_FROM and found.cut is not None and self.reading.columns.get(meaning) != name:
            # Where a clip was in its original is a fact.
            self.used.discard(name)
            return series.set(found.cut, None)
        if name in self.piece.nested or series.dtype.is_nested():
            return self._lone(name, self._without_each(name, found.each), meaning)
        return series

    def _without_each(self, name: str, each: Sequence[int]) -> list[Any]:
        """Values of a column; the lists that rows of several recordings have are used elsewhere."""
        values = self.frame[name].to_list()
        if name in self.piece.nested:
            values = [None if one is None else json.loads(one) for one in values]
        values = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in values]
        for place in each:
            values[place] = None if isinstance(values[place], list) else values[place]
        return values

    def _with_said(self, whole: pl.Series, said: pl.Series) -> pl.Series:
        """A row's own numbers, and those of its audio dict; two different ones are a fault."""
        if whole.name == "sample_rate":
            return said.zip_with(said.is_not_null(), whole).alias(whole.name)
        if whole.name == "offset":  # one that is not 0 goes before one that is
            whole = whole.zip_with((whole != 0.0) | said.is_null(), said)
            said = said.zip_with((said != 0.0) | whole.is_null(), whole)
        for place in (whole != said).fill_null(value=False).arg_true().to_list():
            name = whole.name
            why = f"{name} is {whole[place]:g} in the row, {said[place]:g} in its audio"
            self._fault(place, f"{why}: give one of them")
        return whole.zip_with(whole.is_not_null(), said)

    def _duration(self, columns: dict[str, pl.Series]) -> pl.Series:
        import polars as pl

        frame = pl.DataFrame({name: columns[name] for name in ("offset", "end", "duration")})
        from_end = pl.col("end") - pl.col("offset").fill_null(0.0)
        return frame.select(pl.coalesce(pl.col("duration"), from_end).alias("duration")).to_series()

    def _check(self, columns: dict[str, pl.Series]) -> None:
        import polars as pl

        for name, least in (("offset", 0.0), ("duration", 0.0), ("channel", 0), ("sample_rate", 1)):
            series = columns[name]
            bad = series < least
            if series.dtype.is_float():
                bad = bad | series.is_nan() | series.is_infinite()
            for place in bad.fill_null(value=False).arg_true().to_list():
                self._fault(place, f"{name} is {series[place]}")
        if columns["audio"].dtype == pl.String:
            nul = columns["audio"].str.contains("\0", literal=True).fill_null(value=False)
            for place in nul.arg_true().to_list():
                self._fault(place, "the path of the recording holds a NUL")
        empty = columns["audio"].is_null() & columns["text"].is_null()
        for place in (empty & columns["messages"].is_null()).arg_true().to_list():
            self._fault(
                place,
                f"no audio, no text and no messages; its columns are: "
                f"{', '.join(self.frame.columns)}",
            )


def _first(parts: list[pl.Series], otherwise: pl.Series) -> pl.Series:
    """Row by row, the first that has a value."""
    if not parts:
        return otherwise
    made = parts[0]
    for part in parts[1:]:
        made = made.zip_with(made.is_not_null(), part)
    return made.alias(otherwise.name)


def _kind(value: Any) -> str:
    return "list" if isinstance(value, list) else "object"
