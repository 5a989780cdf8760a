"""The rows of a source one after the other, as they came and as what they mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ossicle.data.audio_column import audio_value
from ossicle.data.errors import ManifestError
from ossicle.data.pieces import Found, Piece
from ossicle.data.reading import Reading
from ossicle.data.recordings import Recording, recordings_of
from ossicle.data.schema import in_schema

__all__ = ["RowSource", "Several", "SourceRow"]


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row.

    Attributes:
        number: Its place in the source, from 0; rows at fault count.
        line: Its line, from 1, where the source has lines.
        known: The columns of the schema.
        fields: The row as it came, by the names of the source.
    """

    number: int
    line: int | None
    known: Mapping[str, Any]
    fields: dict[str, Any]

    @property
    def recordings(self) -> list[Recording]:
        """Its recordings, with the name and the segment of each.

        Raises:
            AudioError: The shard of one cannot be read.
            InvalidArgumentError: A segment makes no sense.
        """
        names = ("offset", "duration", "channel")
        audio = audio_value(self.known["audio"])
        return recordings_of({"audio": audio} | {name: self.known[name] for name in names})


@dataclass(frozen=True)
class RowSource:
    """A source of rows, which can be read several times.

    Attributes:
        name: What errors call it.
        format: The name of its format.
        start: Begins to read: rows as they came, in pieces, and faults.
        reading: What is to be known to bring them into the schema; None where they are in it.
    """

    name: str
    format: str
    start: Callable[[], Iterable[Found]]
    reading: Reading | None

    def in_schema(self) -> Iterator[Found]:
        """Pieces in the schema, and faults."""
        found = self.start()
        return iter(found) if self.reading is None else in_schema(found, self.reading)

    def rows(self, *, as_they_came: bool = False) -> Iterator[SourceRow | ManifestError]:
        """The rows and the faults in the order of the source; nothing is kept of them.

        Args:
            as_they_came: Give `SourceRow.fields` of the source; else they are those of the schema.
        """
        waiting: list[ManifestError] = []
        for found in self.start():
            if isinstance(found, ManifestError):
                waiting.append(found)
            else:
                yield from self._in_order(found, waiting, as_they_came)
                waiting = []
        yield from sorted(waiting, key=_number)

    def _in_order(
        self, piece: Piece, faults: list[ManifestError], as_they_came: bool
    ) -> Iterator[SourceRow | ManifestError]:
        """A piece's rows, with the faults that come before, among and after them."""
        fitted = [piece] if self.reading is None else list(in_schema([piece], self.reading))
        faults += [one for one in fitted if isinstance(one, ManifestError)]
        pieces = [one for one in fitted if isinstance(one, Piece)]
        faults.sort(key=_number)
        at = 0
        for row in _rows(piece if as_they_came else None, pieces):
            while at < len(faults) and _number(faults[at]) < row.number:
                yield faults[at]
                at += 1
            yield row
        yield from faults[at:]


@dataclass(frozen=True)
class Several(RowSource):
    """Sources whose rows follow each other, and are counted through.

    Attributes:
        parts: The sources.
    """

    parts: tuple[RowSource, ...] = ()

    @classmethod
    def of(cls, parts: Sequence[RowSource]) -> Several:
        """Sources as one."""
        kinds = dict.fromkeys(part.format for part in parts)
        name = f"{parts[0].name} and {len(parts) - 1} more" if len(parts) > 1 else parts[0].name
        return cls(name, "+".join(kinds), lambda: _shifted(parts), None, tuple(parts))

    def rows(self, *, as_they_came: bool = False) -> Iterator[SourceRow | ManifestError]:
        """As of one source; a fault names the source that it is of, and the line there."""
        start = 0
        for part in self.parts:
            last = start
            for row in part.rows(as_they_came=as_they_came):
                if isinstance(row, ManifestError):
                    found: SourceRow | ManifestError = _shifted_fault(row, start)
                    last = max(last, _number(row) + 1)
                else:
                    found = replace(row, number=row.number + start)
                    last = max(last, found.number + 1)
                yield found
            start = last


def _shifted(parts: Sequence[RowSource]) -> Iterator[Found]:
    """The pieces of sources, their rows counted through."""
    start = 0
    for part in parts:
        last = start
        for found in part.in_schema():
            if isinstance(found, ManifestError):
                shifted: Found = _shifted_fault(found, start)
                last = max(last, _number(found) + 1)
            else:
                shifted = found.shifted(start)
                last = max(last, int(shifted.numbers[-1]) + 1)
            yield shifted
        start = last


def _shifted_fault(fault: ManifestError, start: int) -> ManifestError:
    fault.row = None if fault.row is None else fault.row + start
    return fault


def _number(fault: ManifestError) -> int:
    return -1 if fault.row is None else fault.row


def _rows(raw: Piece | None, fitted: list[Piece]) -> Iterator[SourceRow]:
    """The rows of pieces in the schema, side by side with what they were."""
    came = iter(()) if raw is None else zip(map(int, raw.numbers), _fields(raw), strict=True)
    for piece in fitted:
        for at, known in enumerate(_fields(piece)):
            number, fields = int(piece.numbers[at]), known
            if raw is not None:
                fields = next(fields for own, fields in came if own == number)
            yield SourceRow(number, piece.line(at), known, fields)


def _fields(piece: Piece) -> Iterator[dict[str, Any]]:
    for at, row in enumerate(piece.frame.iter_rows(named=True)):
        for name in piece.nested & row.keys():
            row[name] = None if row[name] is None else json.loads(row[name])
        for name, lacking in piece.absent.items():
            if lacking[at]:
                del row[name]
        yield row
