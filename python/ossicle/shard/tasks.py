"""What is to be packed: each row of a source with its recording and its key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ossicle.audio import ShardMember
from ossicle.data.columns import COLUMNS, value_of
from ossicle.data.errors import ManifestError
from ossicle.data.pieces import Piece
from ossicle.data.recordings import Recording
from ossicle.data.sources import RowSource, SourceRow
from ossicle.errors import AudioError, InvalidArgumentError

__all__ = ["Census", "PackError", "Task", "census_of", "invalid", "tasks_of"]

# Of a key that is made here: room for a number and an extension in a part of a path.
_KEY_BYTES = 200
_SEGMENT = ("offset", "end", "duration", "channel")


class PackError(NamedTuple):
    """A row that is not in the shards.

    Attributes:
        row: Its number in the source, from 0, blank lines not counted.
        audio: Its recording as the source has it, or None.
        error: What was wrong.
    """

    row: int
    audio: str | None
    error: AudioError


class Task(NamedTuple):
    """A row that names a recording.

    Attributes:
        number: Of the row, from 0.
        audio: The recording as the source has it, for messages.
        recording: What is to be packed of it.
        key: What its sample is called.
        row: All columns, as the source has them, without the bytes of recordings.
        parts: The names among them that say the segment.
    """

    number: int
    audio: str | None
    recording: Recording
    key: str
    row: dict[str, Any]
    parts: frozenset[str]

    @property
    def place(self) -> str | tuple[str, str] | None:
        """What is the same for rows of one recording; None where it is in no file."""
        source = self.recording.source
        if isinstance(source, ShardMember):
            return source.shard, source.name
        return None if isinstance(source, bytes) else str(source)

    def failed(self, error: AudioError) -> PackError:
        """That it is not in the shards."""
        return PackError(self.number, self.audio, error)


class Census(NamedTuple):
    """What there is to pack.

    Attributes:
        rows: How many rows there are, those at fault too.
        files: The files of their recordings.
    """

    rows: int
    files: list[str]


def census_of(source: RowSource, told: Mapping[str, str]) -> Census:
    """Counts the rows, and finds the files that are read.

    Args:
        source: The rows.
        told: Names of columns, by what they mean.

    Raises:
        AudioIOError: The source cannot be read.
        ManifestError: It is broken, or none of its rows has a recording or such columns.
    """
    columns: dict[str, None] = {}

    def start() -> Iterator[Any]:
        for found in source.start():
            if isinstance(found, Piece):
                columns.update(dict.fromkeys(found.frame.columns))
            yield found

    count, files, first = 0, dict[str, None](), None
    for row in replace(source, start=start).rows():
        count += 1
        if isinstance(row, ManifestError):
            first = first or row
        elif row.known["audio"] is not None:
            files.update(dict.fromkeys(_files_of(row.known["audio"])))
    missing = [name for name in told.values() if name not in columns]
    if columns and (missing or not files):
        there = ", ".join(columns)
        what = f"has the column {missing[0]!r}" if missing else "names a recording"
        why = f" (row {first.row}: {first.reason})" if first else ""
        raise ManifestError(f"no row {what}; the columns are {there}{why}", source=source.name)
    return Census(count, [one for one in files if one])


def _files_of(audio: Any) -> list[str]:
    """The files of a row's recordings; an empty name for bytes."""
    if isinstance(audio, list):
        return [name for one in audio for name in _files_of(one)]
    if isinstance(audio, Mapping):
        is_inside = audio.get("bytes") is not None
        return [audio.get("shard") or ("" if is_inside else audio.get("path") or "")]
    return [str(audio)]


def tasks_of(source: RowSource, told: Mapping[str, str]) -> Iterator[Task | PackError]:
    """What is to be done for each row, in order.

    Args:
        source: The rows.
        told: Names of columns, by what they mean.

    Raises:
        AudioIOError: The source cannot be read.
        ManifestError: It is broken.
    """
    keys = _Keys()
    for row in source.rows(as_they_came=True):
        if isinstance(row, ManifestError):
            yield PackError(-1 if row.row is None else row.row, None, invalid(row))
            continue
        try:
            yield _task(row, told, keys)
        except AudioError as error:
            error.source = error.source or source.name
            yield PackError(row.number, _audio_of(row, told), error)


def invalid(error: ManifestError) -> InvalidArgumentError:
    """The same among the errors of audio, which are what packing ends in."""
    place = "" if error.row is None else f"row {error.row}: "
    return InvalidArgumentError(f"{place}{error.reason}", source=error.source)


def _task(row: SourceRow, told: Mapping[str, str], keys: _Keys) -> Task:
    found = row.recordings
    if len(found) != 1:
        what = f"{len(found)} recordings" if found else "no recording"
        why = f"row {row.number} has {what}, and a sample has one"
        columns = ", ".join(row.fields)
        raise InvalidArgumentError(why if found else f"{why}; its columns are: {columns}")
    [recording] = found
    own = value_of("id", row.fields, told.get("id"))
    own = row.known["id"] if own is None else own
    key = keys.make(own, Path(recording.name), row.number)
    fields = {name: _without_bytes(value) for name, value in row.fields.items()}
    names = {name for one in _SEGMENT for name in (*COLUMNS[one], told.get(one))}
    parts = frozenset(name for name in fields.keys() & names if name is not None)
    return Task(row.number, _audio_of(row, told), recording, key, fields, parts)


def _audio_of(row: SourceRow, told: Mapping[str, str]) -> str | None:
    """As the source has it."""
    found = value_of("audio", row.fields, told.get("audio"))
    if isinstance(found, Mapping):
        found = found.get("member") or found.get("path")
    return found if isinstance(found, str) else None


def _without_bytes(value: Any) -> Any:
    """Recordings inside of rows by their names alone."""
    if isinstance(value, bytes):
        return None
    if isinstance(value, dict) and "bytes" in value:
        return {name: one for name, one in value.items() if name != "bytes"}
    return [_without_bytes(one) for one in value] if isinstance(value, list) else value


class _Keys:
    """Keys without dots and folders, each once."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._next: dict[str, int] = {}

    def make(self, own: Any, path: Path, number: int) -> str:
        text = path.stem if own is None or own == "" else str(own)
        text = (
            re.sub(r"[./\0]", "_", text)
            .encode(errors="replace")[:_KEY_BYTES]
            .decode(errors="ignore")
        )
        stem = key = text or f"{number:09}"
        while key in self._seen:
            turn = self._next.get(stem, 2)
            self._next[stem] = turn + 1
            key = f"{stem}-{turn}"
        self._seen.add(key)
        return key
