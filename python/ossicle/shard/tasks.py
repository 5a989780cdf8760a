"""What is to be packed: each row of a manifest with its recording and its key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ossicle.data.columns import value_of
from ossicle.data.errors import ManifestError
from ossicle.data.manifests import audio_rows
from ossicle.errors import AudioError, InvalidArgumentError

__all__ = ["PackError", "Task", "invalid", "tasks_of"]

# Of a key that is made here: room for a number and an extension in a part of a path.
_KEY_BYTES = 200


class PackError(NamedTuple):
    """A row that is not in the shards.

    Attributes:
        row: Its number in the manifest, from 0, blank lines not counted.
        audio: Its recording as the manifest has it, or None.
        error: What was wrong.
    """

    row: int
    audio: str | None
    error: AudioError


class Task(NamedTuple):
    """A row that names a recording.

    Attributes:
        number: Of the row, from 0.
        audio: The recording as the manifest has it.
        path: Where that is.
        key: What its sample is called.
        row: All columns.
    """

    number: int
    audio: str
    path: Path
    key: str
    row: dict[str, Any]

    def failed(self, error: AudioError) -> PackError:
        """That it is not in the shards."""
        return PackError(self.number, self.audio, error)


def tasks_of(manifest: Path, audio: str | None, key: str | None) -> Iterator[Task | PackError]:
    """What is to be done for each row, in order.

    Args:
        manifest: As for `ossicle.data.manifests.manifest_rows`.
        audio: The column of the recordings; None looks in the table of names.
        key: The column of the keys; None looks there, and a row need not have one.

    Raises:
        AudioIOError: The manifest cannot be read.
        ManifestError: It has the suffix of no format that is read here, it is broken, or none of
            its rows has such columns.
    """
    keys = _Keys()
    for row in audio_rows(manifest, audio, [key] if key else []):
        if isinstance(row, ManifestError):
            assert row.row is not None
            yield PackError(row.row, None, invalid(row))
            continue
        name = keys.make(value_of("id", row.fields, key), row.path, row.number)
        yield Task(row.number, row.audio, row.path, name, row.fields)


def invalid(error: ManifestError) -> InvalidArgumentError:
    """The same among the errors of audio, which are what packing ends in."""
    place = "" if error.row is None else f"row {error.row}: "
    return InvalidArgumentError(f"{place}{error.reason}", source=error.source)


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
