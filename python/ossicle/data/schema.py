"""Rows of any names and types as rows of the one schema, a piece at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ossicle.data.columns import COLUMNS, SCHEMA
from ossicle.data.errors import ManifestError
from ossicle.data.messages import CONVERSATIONS, conversation_of
from ossicle.data.pieces import Found, Piece, to_json

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Reading", "in_schema"]

_NUMBERS = ("offset", "end", "duration")
_INTEGERS = ("channel", "sample_rate")


@dataclass(frozen=True)
class Reading:
    """What is to be known of a source to read its rows.

    Attributes:
        source: What errors call it.
        root: The folder that paths are relative to; None leaves them as they are.
        columns: By what a column means, its name, where that was told.
        facts: Names that mean nothing here although the table has them.
    """

    source: str
    root: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    facts: frozenset[str] = frozenset()

    def names(self, meaning: str) -> tuple[str, ...]:
        """The names that a column of this meaning may have."""
        told = self.columns.get(meaning)
        if told is not None:
            return (told,)
        own = COLUMNS.get(meaning, (meaning,))
        return tuple(dict.fromkeys([meaning, *own] if meaning in SCHEMA else own))


def in_schema(found: Iterable[Found], reading: Reading) -> Iterator[Found]:
    """Pieces in the schema, and what is wrong with the rows that do not fit it."""
    for piece in found:
        if isinstance(piece, ManifestError):
            yield piece
        else:
            yield from _fitted(piece, reading)


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
        columns["audio"], columns["messages"] = self._recordings()
        columns |= {name: self._number(name, pl.Float64()) for name in _NUMBERS}
        columns |= {name: self._number(name, pl.Int64()) for name in _INTEGERS}
        for name in ("language", "speaker", "split", "sha256"):
            columns[name] = self._text(name)
        columns["duration"] = self._duration(columns)
        self._check(columns)
        columns["audio"] = self._resolved(columns["audio"])
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

    def _number(self, meaning: str, kind: Any) -> pl.Series:
        import polars as pl

        parts = []
        for name in self._columns(meaning):
            series = self.frame[name]
            if name in self.piece.nested:
                series = self._nested_text(name, meaning)
            if series.dtype.is_nested():
                series = self._as_text(name, meaning)
            if series.dtype == pl.String:
                series = series.str.strip_chars().replace("", None)
            cast = series.cast(pl.Float64, strict=False)
            if kind == pl.Int64():
                cast = cast.set(cast.round() != cast, None).cast(pl.Int64, strict=False)
            for place in (cast.is_null() & series.is_not_null()).arg_true().to_list():
                what = "an integer" if kind == pl.Int64() else "a number"
                self._fault(place, f"{name!r} holds {series[place]!r}, not {what}")
            parts.append(cast)
        return _first(parts, pl.Series(meaning, [None] * self.height, kind))

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

    def _recordings(self) -> tuple[pl.Series, pl.Series]:
        """The columns ``audio`` and ``messages``."""
        import polars as pl

        names = self._columns("audio")
        plain = [self.frame[name] for name in names]
        talks = self._conversations()
        simple = all(one.dtype == pl.String and one.name not in self.piece.nested for one in plain)
        if not talks and simple:
            audio = _first(plain, pl.Series("audio", [None] * self.height, pl.String))
            return audio.replace("", None), pl.Series("messages", [None] * self.height, pl.String)
        if not talks and len(plain) == 1 and _is_embedded(plain[0].dtype):
            return self._embedded(plain[0]), pl.Series("messages", [None] * self.height, pl.String)
        return self._one_by_one(names, talks)

    def _embedded(self, series: pl.Series) -> pl.Series:
        import polars as pl

        if isinstance(series.dtype, pl.Struct) and "shard" in series.struct.fields:
            return series.alias("audio")
        if series.dtype == pl.Binary:
            fields = {"bytes": series, "path": pl.Series("path", [None] * self.height, pl.String)}
        else:
            fields = {name: series.struct.field(name) for name in ("bytes", "path")}
        frame = pl.DataFrame(fields)
        empty = frame["bytes"].is_null() & frame["path"].is_null()
        whole = frame.select(pl.struct("bytes", "path").alias("audio")).to_series()
        if frame["bytes"].null_count() == self.height:
            return frame["path"].alias("audio")
        return whole.set(empty, None) if empty.any() else whole

    def _conversations(self) -> dict[str, list[Any]]:
        """By name, the columns that hold conversations, as Python has them."""
        told = self.reading.columns.get("messages")
        found: dict[str, list[Any]] = {}
        for name in [told] if told else CONVERSATIONS:
            if name not in self.frame.columns or name in self.reading.facts:
                continue
            self.used.add(name)
            values = self.frame[name].to_list()
            if self.frame.schema[name].is_nested():
                values = [_without_nulls(value) for value in values]
            elif name in self.piece.nested or name in (told, "messages", "conversations"):
                values = [self._parsed(place, name, one) for place, one in enumerate(values)]
            if any(value is not None for value in values):
                found["messages" if name == told else name] = values
        return found

    def _parsed(self, place: int, name: str, value: Any) -> Any:
        if not isinstance(value, str) or not value:
            return value or None
        try:
            return json.loads(value)
        except ValueError:
            self._fault(place, f"{name!r} is no JSON")
            return None

    def _one_by_one(
        self, names: Sequence[str], talks: Mapping[str, list[Any]]
    ) -> tuple[pl.Series, pl.Series]:
        import polars as pl

        values = {name: self._audio_values(name) for name in names}
        audio: list[Any] = []
        messages: list[str | None] = []
        for place in range(self.height):
            own = next((values[n][place] for n in names if values[n][place] is not None), None)
            try:
                listed = _listed(own)
                talk = conversation_of({n: talks[n][place] for n in talks}, len(listed))
                audio.append(listed or talk.audio)
                messages.append(to_json(talk.messages))
            except (ValueError, TypeError) as error:
                self._fault(place, str(error))
                audio.append([])
                messages.append(None)
        return self._audio_series(audio), pl.Series("messages", messages, pl.String)

    def _audio_values(self, name: str) -> list[Any]:
        values = self.frame[name].to_list()
        if name in self.piece.nested:
            return [None if one is None else json.loads(one) for one in values]
        return values

    def _audio_series(self, rows: list[list[Any]]) -> pl.Series:
        import polars as pl

        if any(isinstance(one, dict) and one["bytes"] is not None for row in rows for one in row):
            for place, row in enumerate(rows):
                if len(row) > 1:
                    self._fault(place, "several recordings, of which some are bytes")
            dicts = [row[0] if len(row) == 1 else None for row in rows]
            whole = [{"bytes": None, "path": d} if isinstance(d, str) else d for d in dicts]
            kind = pl.Struct({"bytes": pl.Binary, "path": pl.String})
            return pl.Series("audio", whole, kind)
        paths = [[one["path"] if isinstance(one, dict) else one for one in row] for row in rows]
        if any(len(row) > 1 for row in paths):
            return pl.Series("audio", [row or None for row in paths], pl.List(pl.String))
        return pl.Series("audio", [row[0] if row else None for row in paths], pl.String)

    def _resolved(self, series: pl.Series) -> pl.Series:
        """Paths from the folder that they are relative to; what lies in bytes keeps its name."""
        import polars as pl

        root = self.reading.root
        name = series.name
        frame = series.alias("audio").to_frame()
        if isinstance(series.dtype, pl.Struct):
            if "bytes" not in [each.name for each in series.dtype.fields] or root is None:
                return series
            path = pl.col("audio").struct.field("path")
            is_file = pl.col("audio").struct.field("bytes").is_null()
            placed = pl.when(is_file).then(_under(path, root)).otherwise(path)
            fields = pl.struct(pl.col("audio").struct.field("bytes"), placed.alias("path"))
            inside = pl.when(pl.col("audio").is_not_null()).then(fields)
            return frame.select(inside.alias(name)).to_series()
        if isinstance(series.dtype, pl.List):
            whole = pl.col("audio").list.eval(_under(pl.element(), root))
            return frame.select(whole.alias(name)).to_series()
        return frame.select(_under(pl.col("audio"), root).alias(name)).to_series()


def _under(path: pl.Expr, root: str | None) -> pl.Expr:
    import polars as pl

    is_url = path.str.starts_with("file://")
    plain = pl.when(is_url).then(path.str.slice(7)).otherwise(path)
    if root is None:
        return plain
    prefix = root if root.endswith(os.sep) else root + os.sep
    is_whole = plain.str.starts_with("/") | plain.str.contains("://", literal=True)
    if os.name == "nt":
        is_whole = is_whole | plain.str.contains(r"^[A-Za-z]:")
    return pl.when(is_whole).then(plain).otherwise(pl.lit(prefix) + plain)


def _first(parts: list[pl.Series], otherwise: pl.Series) -> pl.Series:
    """Row by row, the first that has a value."""
    if not parts:
        return otherwise
    made = parts[0]
    for part in parts[1:]:
        made = made.zip_with(made.is_not_null(), part)
    return made.alias(otherwise.name)


def _is_embedded(kind: Any) -> bool:
    import polars as pl

    if kind == pl.Binary:
        return True
    return isinstance(kind, pl.Struct) and {one.name for one in kind.fields} in (
        {"bytes", "path"},
        {"shard", "member"},
    )


def _listed(found: Any) -> list[Any]:
    """The recordings of a row: paths, and dicts of bytes and path.

    Raises:
        ValueError: There is something else.
    """
    if found is None or found == "":
        return []
    if isinstance(found, list):
        return [one for part in found for one in _listed(part)]
    if isinstance(found, str):
        return [found]
    if isinstance(found, bytes):
        return [{"bytes": found, "path": None}]
    if isinstance(found, Mapping):
        data, path = found.get("bytes"), found.get("path") or found.get("audio_filepath")
        if isinstance(data, bytes) or isinstance(path, str):
            return [{"bytes": data if isinstance(data, bytes) else None, "path": path}]
        keys = ", ".join(map(str, found))
        raise ValueError(f"audio has no bytes and no path (its keys: {keys or 'none'})")
    raise ValueError(f"audio holds {found!r}, not the path of a recording")


def _without_nulls(value: Any) -> Any:
    """Without the keys that a table of Arrow has filled up."""
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _kind(value: Any) -> str:
    return "list" if isinstance(value, list) else "object"
