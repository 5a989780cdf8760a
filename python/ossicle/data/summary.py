"""What rows are in numbers: counts, hours, languages, columns; a piece at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ossicle.data.columns import SCHEMA
from ossicle.data.errors import ManifestError
from ossicle.data.pieces import Found, Piece

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Summary", "summary"]

_LARGEST = 1_000
"""More values than this of a language or a split are not told apart."""


@dataclass
class Summary:
    """What rows are; it holds numbers alone, however many rows there are.

    Attributes:
        rows: How many there are, without faults.
        faults: What is wrong with the others.
        sound: Rows with a recording.
        text: Rows with a text or a conversation.
        seconds: Of sound, of the rows that say how long they are.
        timed: How many say so.
        columns: By column that has values, its type for people and how many values.
        languages: By language, rows and seconds.
        splits: By split, rows.
        speakers: How many different ones.
    """

    rows: int = 0
    faults: list[ManifestError] = field(default_factory=list)
    sound: int = 0
    text: int = 0
    seconds: float = 0.0
    timed: int = 0
    columns: dict[str, tuple[str, int]] = field(default_factory=dict)
    languages: dict[str, tuple[int, float]] = field(default_factory=dict)
    splits: Counter[str] = field(default_factory=Counter)
    speakers: int = 0
    _speakers: set[int] = field(default_factory=set, repr=False)

    def add(self, found: Found) -> None:
        """Counts a piece of rows in the schema, or a fault."""
        if isinstance(found, ManifestError):
            self.faults.append(found)
            return
        frame = found.frame
        self.rows += frame.height
        self._count_columns(found)
        self.sound += frame.height - frame["audio"].null_count()
        said = frame["text"].is_not_null() | frame["messages"].is_not_null()
        self.text += int(said.sum())
        self.timed += frame.height - frame["duration"].null_count()
        self.seconds += float(frame["duration"].sum())
        self._count_values(frame)

    def _count_columns(self, piece: Piece) -> None:
        ordered = [one for one in SCHEMA if one in piece.frame.columns]
        for name in dict.fromkeys([*ordered, *piece.frame.columns]):
            series = piece.frame[name]
            count = len(series) - series.null_count()
            if count:
                before = self.columns.get(name, ("", 0))
                kind = "JSON" if name in piece.nested else _type_name(series.dtype)
                kind = kind if before[0] in ("", kind) else "several types"
                self.columns[name] = (kind, before[1] + count)

    def _count_values(self, frame: pl.DataFrame) -> None:
        import polars as pl

        known = frame.filter(pl.col("language").is_not_null())
        sums = known.group_by("language").agg(pl.len(), pl.col("duration").sum())
        for language, rows, seconds in sums.rows():
            if language in self.languages or len(self.languages) < _LARGEST:
                before = self.languages.get(language, (0, 0.0))
                self.languages[language] = (before[0] + rows, before[1] + seconds)
        for split, rows in frame["split"].drop_nulls().value_counts().rows():
            if split in self.splits or len(self.splits) < _LARGEST:
                self.splits[split] += rows
        # Numbers instead of names: millions of speakers are megabytes.
        self._speakers |= set(frame["speaker"].drop_nulls().unique().hash().to_list())
        self.speakers = len(self._speakers)


def summary(found: Iterable[Found]) -> Summary:
    """What some pieces in the schema are, together."""
    made = Summary()
    for one in found:
        made.add(one)
    return made


def _type_name(kind: Any) -> str:
    import polars as pl

    if kind == pl.String:
        return "text"
    if kind == pl.Boolean:
        return "true or false"
    if kind.is_integer():
        return "integer"
    if kind.is_float():
        return "number"
    if kind == pl.Binary:
        return "bytes"
    if isinstance(kind, pl.Struct):
        names = {one.name for one in kind.fields}
        return "member of a tar" if "member" in names else "recording inside"
    return "list" if isinstance(kind, pl.List) else str(kind)
