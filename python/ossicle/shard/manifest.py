"""Rows of a manifest: JSON lines, CSV, TSV or Parquet, each with its recording and its key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ossicle.errors import (
    AudioError,
    AudioFileNotFoundError,
    AudioIOError,
    InvalidArgumentError,
)
from ossicle.polars_errors import reading

__all__ = [
    "AUDIO_COLUMNS",
    "KEY_COLUMNS",
    "PackError",
    "Task",
    "count_rows",
    "tasks_of",
    "unreadable",
]

AUDIO_COLUMNS = ("wav", "audio_path", "path", "audio", "audio_filepath")
"""Where a row's recording is looked for, in this order; the last one is NeMo's."""

KEY_COLUMNS = ("key", "id", "utt_id")
"""Where a row's key is looked for, in this order."""

# Of a key that is made here: room for a number and an extension in a part of a path.
_KEY_BYTES = 200

# A row's columns, or why it is none.
_Row = dict[str, Any] | InvalidArgumentError


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


def count_rows(manifest: Path) -> int:
    """How many rows there are; blank lines of JSON are none."""
    if _is_json(manifest):
        with _opened(manifest) as file:
            return sum(1 for line in file if line.strip())
    import polars

    return int(_collected(manifest, _scanned(manifest).select(polars.len())).item())


def tasks_of(manifest: Path, audio: str | None, key: str | None) -> Iterator[Task | PackError]:
    """What is to be done for each row, in order.

    Args:
        manifest: JSON gives its own types, Parquet its own; of CSV and TSV all values are text as
            it stands, and what is empty is None.
        audio: The column of the recordings; None takes the first of `AUDIO_COLUMNS` in the row.
        key: The column of the keys; None takes the first of `KEY_COLUMNS` in the row, if any.

    Raises:
        AudioIOError: The manifest cannot be read.
        InvalidArgumentError: It has the suffix of no format that is read here, it is broken, or
            none of its rows has such columns.
    """
    keys, is_any, columns = _Keys(), False, dict[str, None]()
    for number, row in enumerate(_rows(manifest)):
        if not isinstance(row, dict):
            yield PackError(number, None, row)
            continue
        columns.update(dict.fromkeys(row))
        try:
            name, own = _chosen(row, audio, key)
        except LookupError as error:
            why = f"row {number} has no column {error.args[0]}"
            yield PackError(number, None, InvalidArgumentError(why, source=str(manifest)))
            continue
        is_any = True
        if not isinstance(name, str) or not name or "\0" in name:
            why = f"row {number} has no path of a recording, but {name!r}"
            yield PackError(number, None, InvalidArgumentError(why, source=str(manifest)))
            continue
        path = manifest.parent / name
        yield Task(number, name, path, keys.make(own, path, number), row)
    if columns and not is_any:
        wanted = [_either(audio, AUDIO_COLUMNS), *([repr(key)] if key else [])]
        why = f"no row has the column {' and '.join(wanted)}; the columns are {', '.join(columns)}"
        raise InvalidArgumentError(why, source=str(manifest))


def _chosen(row: dict[str, Any], audio: str | None, key: str | None) -> tuple[Any, Any]:
    """The recording and the key of a row, or a `LookupError` with the column that it lacks."""
    name = next((one for one in ([audio] if audio else AUDIO_COLUMNS) if one in row), None)
    if name is None:
        raise LookupError(_either(audio, AUDIO_COLUMNS))
    if key and key not in row:
        raise LookupError(repr(key))
    own = key or next((one for one in KEY_COLUMNS if one in row), None)
    return row[name], row[own] if own else None


def _either(given: str | None, known: tuple[str, ...]) -> str:
    return repr(given) if given else " or ".join(map(repr, known))


def unreadable(path: Path, error: OSError) -> AudioIOError:
    """The error of ours that says what the system's does."""
    kind = AudioFileNotFoundError if isinstance(error, FileNotFoundError) else AudioIOError
    new = kind(f"cannot read the file: {error.strerror}", source=str(path))
    new.errno = error.errno
    return new


def _rows(manifest: Path) -> Iterator[_Row]:
    if _is_json(manifest):
        yield from _json_rows(manifest)
    else:
        yield from _collected(manifest, _scanned(manifest)).iter_rows(named=True)


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


def _is_json(manifest: Path) -> bool:
    return manifest.suffix.lower() in (".jsonl", ".ndjson", ".json")


def _json_rows(manifest: Path) -> Iterator[_Row]:
    with _opened(manifest) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parsed(manifest, number, line)


def _parsed(manifest: Path, number: int, line: bytes) -> _Row:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        why = f"line {number} is not valid JSON: {error}"
        return InvalidArgumentError(why, source=str(manifest))
    if not isinstance(row, dict):
        return InvalidArgumentError(f"line {number} is not a JSON object", source=str(manifest))
    return row


def _opened(manifest: Path) -> Any:
    try:
        return manifest.open("rb")
    except OSError as error:
        raise unreadable(manifest, error) from error


def _scanned(manifest: Path) -> Any:
    """A lazy frame of Polars."""
    import polars

    _opened(manifest).close()
    with reading(partial(_refused, manifest)):
        match manifest.suffix.lower():
            case ".csv":
                frame = polars.scan_csv(manifest, infer_schema=False)
            case ".tsv":
                frame = polars.scan_csv(manifest, separator="\t", infer_schema=False)
            case ".parquet":
                frame = polars.scan_parquet(manifest)
            case suffix:
                raise InvalidArgumentError(
                    f"a manifest must be .jsonl, .csv, .tsv or .parquet, not {suffix!r}",
                    source=str(manifest),
                )
        frame.collect_schema()
    return frame


def _collected(manifest: Path, lazy: Any) -> Any:
    with reading(partial(_refused, manifest)):
        return lazy.collect()


def _refused(manifest: Path, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(reason, source=str(manifest))
