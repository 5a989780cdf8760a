"""The recordings and conversations of a piece of rows, out of whatever columns hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ossicle.data.audio_column import (
    Part,
    audio_series,
    inside_of,
    is_of_parts,
    is_plain,
    listed,
    said_inside,
)
from ossicle.data.columns import CUT_FROM, is_cut
from ossicle.data.messages import CONVERSATIONS, conversation_of
from ossicle.data.pieces import Piece, to_json
from ossicle.data.reading import Reading
from ossicle.data.segments import segment_of

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Recordings", "recordings_in"]

_TIMES = ("offset", "end", "duration", "channel")


class Recordings(NamedTuple):
    """What a piece has.

    Attributes:
        audio: The column of recordings, as `ossicle.data.audio_column` has it.
        messages: The column of conversations, as JSON text.
        said: The columns that audio dicts say, by what they mean.
        each: Rows whose columns of segments are lists, a value for each recording; they are in
            ``audio``.
        cut: Of each row, whether `ossicle.data.columns.CUT_FROM` are facts; None where none is.
        used: Names of columns that are conversations.
    """

    audio: pl.Series
    messages: pl.Series
    said: dict[str, pl.Series]
    each: list[int]
    cut: pl.Series | None
    used: set[str]


def recordings_in(
    piece: Piece, names: Sequence[str], reading: Reading, fault: Callable[[int, str], None]
) -> Recordings:
    """The recordings of the rows of a piece.

    Args:
        piece: The rows.
        names: The columns that may hold recordings; the first that has a value counts.
        reading: What columns mean.
        fault: Takes the place of a row and what is wrong with it.
    """
    return _Search(piece, names, reading, fault).find()


class _Search:
    def __init__(
        self,
        piece: Piece,
        names: Sequence[str],
        reading: Reading,
        fault: Callable[[int, str], None],
    ) -> None:
        self.piece, self.names, self.reading, self.fault = piece, names, reading, fault
        self.frame, self.height = piece.frame, len(piece.numbers)
        self.used: set[str] = set()

    def find(self) -> Recordings:
        import polars as pl

        talks = self._conversations()
        found = None if talks else self._as_they_are([self.frame[one] for one in self.names])
        if found is None:
            return self._one_by_one(talks)
        nothing = pl.Series("messages", [None] * self.height, pl.String)
        said = said_inside(self.frame[self.names[0]]) if len(self.names) == 1 else {}
        return Recordings(found, nothing, said, [], self._cut(None), self.used)

    def _as_they_are(self, columns: Sequence[pl.Series]) -> pl.Series | None:
        """The column of recordings, where it need not be looked at row by row."""
        import polars as pl

        if any(one.name in self.piece.nested for one in columns):
            return None
        if all(one.dtype == pl.String and is_plain(one) for one in columns):
            audio = columns[0] if columns else pl.Series("audio", [None] * self.height, pl.String)
            for more in columns[1:]:
                audio = audio.zip_with(audio.is_not_null(), more)
            return audio.replace("", None).alias("audio")
        return inside_of(columns[0]) if len(columns) == 1 else None

    def _one_by_one(self, talks: Mapping[str, list[Any]]) -> Recordings:
        import polars as pl

        columns = [self._values(name) for name in self.names]
        values = [next((of[at] for of in columns if of[at] is not None), None) for at in self._all]
        audio: list[list[Part]] = []
        messages: list[str | None] = []
        each: list[int] = []
        for at, own in enumerate(values):
            try:
                parts = listed(own)
                talk = conversation_of({n: talks[n][at] for n in talks}, len(parts))
                parts, text = parts or listed(talk.audio), to_json(talk.messages)
                if len(parts) > 1:
                    parts = self._with_segments(at, parts)
                    each.append(at)
            except (ValueError, TypeError) as error:
                self.fault(at, str(error))
                parts, text = [], None
            audio.append(parts)
            messages.append(text)
        told = pl.Series("messages", messages, pl.String)
        return Recordings(
            audio_series(audio), told, _said(audio), each, self._cut(values), self.used
        )

    @property
    def _all(self) -> range:
        return range(self.height)

    def _values(self, name: str) -> list[Any]:
        """The values of a column; JSON that stands in its texts is parsed."""
        values = self.frame[name].to_list()
        if name in self.piece.nested:
            return [None if one is None else json.loads(one) for one in values]
        if is_of_parts(self.frame[name].dtype):
            return [_without_nulls(one) for one in values]
        return [_parsed_list(one) if isinstance(one, str) else one for one in values]

    def _with_segments(self, at: int, parts: list[Part]) -> list[Part]:
        """Several recordings with the segments that the columns of their row say."""
        row = {meaning: self._value(meaning, at) for meaning in _TIMES}
        own = segment_of({name: one for name, one in row.items() if one is not None}, len(parts))
        return [
            part._replace(segment=said.within(part.segment))
            for part, said in zip(parts, own, strict=True)
        ]

    def _value(self, meaning: str, at: int) -> Any:
        for name in self.reading.names(meaning):
            if name in self.frame.columns and name not in self.reading.facts:
                value = self.frame[name][at]
                if value is not None:
                    value = value.to_list() if hasattr(value, "to_list") else value
                    return json.loads(value) if name in self.piece.nested else value
        return None

    def _cut(self, values: Sequence[Any] | None) -> pl.Series | None:
        """Which rows hold a clip that was cut out already; values where they were looked at."""
        import polars as pl

        if not any(name in self.frame.columns for name in CUT_FROM):
            return None
        facts = [self.frame[name] for name in ("original_full_path", "original_path")
                 if name in self.frame.columns]  # fmt: skip
        if values is not None:
            lists = (one if isinstance(one, list) else [one] if one else [] for one in values)
            cut = pl.Series([is_cut({}, one) for one in lists], dtype=pl.Boolean)
        else:
            inside = [self.frame[one] for one in self.names if self.frame[one].dtype != pl.String]
            cut = inside[0].is_not_null() if inside else pl.repeat(False, self.height, eager=True)
        for fact in facts:
            cut = cut | fact.is_not_null()
        return cut if cut.any() else None

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
            self.fault(place, f"{name!r} is no JSON")
            return None


def _said(rows: Sequence[Sequence[Part]]) -> dict[str, pl.Series]:
    """What the audio dicts of rows with one recording say."""
    import polars as pl

    lone = [row[0] if len(row) == 1 else Part() for row in rows]
    said = [one.segment.said for one in lone]
    found: dict[str, list[Any]] = {
        **{name: [one[name] for one in said] for name in ("offset", "duration", "channel")},
        "sample_rate": [one.sample_rate for one in lone],
    }
    return {
        name: pl.Series(name, values, strict=False)
        for name, values in found.items()
        if any(one is not None for one in values)
    }


def _parsed_list(text: str) -> Any:
    """The list of recordings that a field of CSV holds as JSON; else the text."""
    if not text.startswith(('["', "[{")):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _without_nulls(value: Any) -> Any:
    """Without the keys that a table of Arrow has filled up."""
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value
