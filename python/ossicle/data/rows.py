"""Rows of one schema, read as they are needed and kept as columns."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ossicle.atomic import write_text
from ossicle.data.arrays import Ints
from ossicle.data.audio_column import audio_value
from ossicle.data.columns import SCHEMA
from ossicle.data.errors import ManifestError
from ossicle.data.members import identities, remember
from ossicle.data.pieces import Found, Piece, joined
from ossicle.data.recordings import Recording, recordings_of
from ossicle.data.registry import write
from ossicle.faults import count_line, reasons_of

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Rows", "SpeechRow", "counted", "write_faults"]

_BLOCK = 512
"""Rows of which a column becomes Python's values at once."""


class SpeechRow(Mapping[str, Any]):
    """One row: a mapping of the schema's columns, then of its facts, as Python's own values.

    The columns of the schema are attributes too: ``row.text``. ``row["audio"]`` is a path, a list
    of them, ``{"bytes", "path"}``, or a member of a shard; ``row["messages"]`` a list.

    Attributes:
        number: Its place in the source, from 0; rows at fault count.
    """

    __slots__ = ("_at", "_block", "_piece")

    def __init__(self, piece: Piece, at: int, block: _Block | None = None) -> None:
        self._piece, self._at, self._block = piece, at, block

    def __getitem__(self, name: str) -> Any:
        value = self._value(name)
        if hasattr(value, "to_list"):
            value = value.to_list()
        if name == "audio":
            return audio_value(value)
        if name in self._piece.nested and value is not None:
            return json.loads(value)
        return value

    def _value(self, name: str) -> Any:
        """As the frame has it."""
        if self._block is not None:
            return self._block.value(name, self._at)
        if name not in self._piece.frame.columns:
            raise KeyError(name)
        return self._piece.frame[name][self._at]

    def __getattr__(self, name: str) -> Any:
        if name in SCHEMA:
            return self[name]
        raise AttributeError(f"a row has no {name!r}; its facts are row[name]")

    def __iter__(self) -> Iterator[str]:
        return iter(self._piece.frame.columns)

    def __len__(self) -> int:
        return self._piece.frame.width

    @property
    def number(self) -> int:
        """Its place in the source."""
        return int(self._piece.numbers[self._at])

    @property
    def line(self) -> int | None:
        """Its line, from 1, where the source has lines."""
        return self._piece.line(self._at)

    @property
    def recordings(self) -> list[Recording]:
        """What `ossicle.load` can take, with the name and the segment of each."""
        names = ("audio", "offset", "duration", "channel")
        return recordings_of({name: self[name] for name in names})

    def __repr__(self) -> str:
        known = {name: self[name] for name in self if self._piece.frame[name][self._at] is not None}
        return f"<row {self.number}: {', '.join(f'{n}={_short(v)}' for n, v in known.items())}>"


class _Block:
    """Rows that are gone through one after the other: a column becomes Python's values at once."""

    __slots__ = ("_lists", "frame", "start")

    def __init__(self, frame: pl.DataFrame, start: int) -> None:
        self.frame, self.start = frame, start
        self._lists: dict[str, list[Any]] = {}

    def value(self, name: str, at: int) -> Any:
        """A value, of the row at a place of the piece."""
        found = self._lists.get(name)
        if found is not None:
            return found[at - self.start]
        if name not in self.frame.columns:
            raise KeyError(name)
        series = self.frame[name]
        if series.dtype.is_nested() or series.dtype == _binary():
            # Recordings inside of rows are not copied before they are asked for.
            return series[at - self.start]
        self._lists[name] = series.to_list()
        return self._lists[name][at - self.start]


class Rows:
    """Rows of the schema `ossicle.data.SCHEMA`, and the facts beside them.

    They are read as far as they are asked for: iterating gives the first row after some thousand
    are read; ``len``, ``frame`` and ``faults`` read all.

    Attributes:
        source: What errors call it.
        format: The name of the format that it was read in.
    """

    def __init__(self, source: str, kind: str, start: Callable[[], Iterable[Found]]) -> None:
        self.source, self.format = source, kind
        self._coming: Iterator[Found] | None = iter(start())
        self._pieces: list[Piece] = []
        self._faults: list[ManifestError] = []

    @classmethod
    def of(cls, pieces: Sequence[Piece], source: str, kind: str) -> Rows:
        """Rows that are at hand."""
        return cls(source, kind, lambda: pieces)

    def __len__(self) -> int:
        return len(self._whole().numbers)

    def __iter__(self) -> Iterator[SpeechRow]:
        for piece in self.pieces():
            for start in range(0, len(piece.numbers), _BLOCK):
                block = _Block(piece.frame[start : start + _BLOCK], start)
                for at in range(start, start + block.frame.height):
                    yield SpeechRow(piece, at, block)

    def __getitem__(self, index: int) -> SpeechRow:
        if index >= 0:
            before = 0
            for piece in self.pieces():
                if index < before + len(piece.numbers):
                    return SpeechRow(piece, index - before)
                before += len(piece.numbers)
            raise IndexError(f"row {index} of {before}")
        if index < -len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return SpeechRow(self._whole(), len(self) + index)

    def pieces(self) -> Iterator[Piece]:
        """The rows in pieces, as they were read; those that are read already come first."""
        done = 0
        while True:
            rest = self._from(done)
            if rest is not None:
                yield rest
                done += len(rest.numbers)
            elif not self._read_one():
                return

    def found(self) -> Iterator[Found]:
        """All rows and faults."""
        yield self._whole()
        yield from self._faults

    @property
    def frame(self) -> pl.DataFrame:
        """All rows: the columns of the schema, then the facts. ``messages`` are JSON text."""
        return self._whole().frame

    @property
    def numbers(self) -> Sequence[int] | Ints:
        """Of each row, its place in the source, from 0; rows at fault count."""
        return self._whole().numbers

    @property
    def nested(self) -> frozenset[str]:
        """The columns of the frame whose texts are JSON."""
        return self._whole().nested

    @property
    def faults(self) -> list[ManifestError]:
        """What is wrong with each row that is not among these, in the order of the source."""
        self._whole()
        return self._faults

    def take(self, places: Sequence[int]) -> Rows:
        """The rows at some places, in this order."""
        return Rows.of([self._whole().take(places)], self.source, self.format)

    def count(self, faults: Sequence[ManifestError] | None = None) -> str:
        """A line for people: rows read, rows kept, faults with their reasons.

        Args:
            faults: Those that are counted, where a check found more than `faults`.
        """
        faults = self.faults if faults is None else faults
        return counted(len(self) + len(self.faults), faults)

    def watched(self, progress: Callable[[int], object]) -> Rows:
        """The same rows, which tell how many of them an iteration has given."""
        return _Watched(self, progress)

    def write(
        self,
        path: str | os.PathLike[str],
        format: str | None = None,  # noqa: A002  (the word that people know)
        **options: Any,
    ) -> int:
        """Writes the rows in a format; paths under the folder of the output are relative to it.

        Args:
            path: A file or, for formats that are folders, a folder.
            format: Its name; None takes that of the path's ending.
            **options: Of the format; docs/data.md has them.

        Returns:
            How many rows were written: all of them.

        Raises:
            ManifestError: The format cannot hold a row, or cannot be written.
        """
        write(self, Path(path), format, options)
        return len(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process gets the rows, not the way to read them.
        whole = self._whole()
        in_shards = "shard" in str(whole.frame.schema.get("audio"))
        known = identities() if in_shards else {}
        return _again, (whole, self.faults, self.source, self.format, known)

    def __repr__(self) -> str:
        read = sum(len(piece.numbers) for piece in self._pieces)
        more = "" if self._coming is None else " so far"
        count = f"{read:,} rows, {len(self._faults):,} faults{more}"
        return f"<Rows {self.source!r} ({self.format}): {count}>"

    def _repr_html_(self) -> str:
        from ossicle.data.notebook import ROWS_SHOWN, page_of_rows
        from ossicle.data.summary import summary

        # The first piece at least; the rest is read where somebody asks for it.
        next(iter(self.pieces()), None)
        known = summary([*self._pieces, *self._faults])
        count = counted(known.rows + len(known.faults), known.faults)
        first = [self[at] for at in range(min(ROWS_SHOWN, known.rows))]
        is_whole = self._coming is None
        return page_of_rows(self.source, first, known, count, is_whole=is_whole)

    def _from(self, row: int) -> Piece | None:
        """The rows from one on, of those that are read, in one piece.

        Pieces may be joined between two steps of an iteration: rows are counted, not pieces.
        """
        before = 0
        for piece in self._pieces:
            if row < before + len(piece.numbers):
                return piece if row == before else piece.rest(row - before)
            before += len(piece.numbers)
        return None

    def _read_one(self) -> bool:
        """Reads the next piece; whether there was one."""
        while self._coming is not None:
            found = next(self._coming, None)
            if found is None:
                self._coming = None
            elif isinstance(found, ManifestError):
                self._faults.append(found)
            else:
                self._pieces.append(found)
                return True
        return False

    def _whole(self) -> Piece:
        while self._read_one():
            pass
        if len(self._pieces) != 1:
            self._pieces = [_ordered(joined(self._pieces))]
        return self._pieces[0]


def write_faults(path: str | os.PathLike[str], faults: Iterable[ManifestError]) -> None:
    """Writes faults as JSON lines: ``source``, ``row``, ``line``, ``reason``."""
    kept = ("source", "row", "line", "reason")
    lines = [json.dumps({name: getattr(fault, name) for name in kept}) for fault in faults]
    write_text(path, "".join(line + "\n" for line in lines))


def counted(rows: int, faults: Sequence[ManifestError]) -> str:
    """A line for people: rows read, rows kept, faults with their reasons."""
    return count_line(rows, reasons_of(faults), "kept")


class _Watched(Rows):
    def __init__(self, rows: Rows, progress: Callable[[int], object]) -> None:
        super().__init__(rows.source, rows.format, lambda: [rows._whole(), *rows.faults])
        self._progress = progress

    def __iter__(self) -> Iterator[SpeechRow]:
        for done, row in enumerate(super().__iter__()):
            if done % 256 == 0:
                self._progress(done)
            yield row
        self._progress(len(self))


def _again(
    piece: Piece, faults: list[ManifestError], source: str, kind: str, shards: dict[str, str]
) -> Rows:
    remember(shards)
    return Rows(source, kind, lambda: [piece, *faults])


def _ordered(piece: Piece) -> Piece:
    """The schema's columns first, all of them, also of no rows."""
    import polars as pl

    frame = piece.frame
    lacking = [
        pl.lit(None, dtype=_type_of(name)).alias(name) for name in SCHEMA if name not in frame
    ]
    frame = frame.with_columns(lacking) if lacking else frame
    facts = [name for name in frame.columns if name not in SCHEMA]
    frame = frame.select([*SCHEMA, *facts])
    return Piece(frame, piece.numbers, piece.lines, piece.nested | {"messages"})


def _binary() -> Any:
    import polars as pl

    return pl.Binary


def _type_of(name: str) -> Any:
    import polars as pl

    if name in ("offset", "duration"):
        return pl.Float64
    return pl.Int64 if name in ("channel", "sample_rate") else pl.String


def _short(value: Any) -> str:
    if isinstance(value, dict) and "bytes" in value:
        size = 0 if value["bytes"] is None else len(value["bytes"])
        return f"<{size:,} bytes of {value.get('path')!r}>"
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
