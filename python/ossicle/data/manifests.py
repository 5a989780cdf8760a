"""Rows of a manifest: JSON lines, CSV, TSV or Parquet.

A row has one number wherever it is met: its place among the rows, from 0, where blank lines do not
count. Where it is a line of a text, errors tell the line too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ossicle.data.columns import column_of, names_of
from ossicle.data.delimited import dialect_of
from ossicle.data.errors import ManifestError
from ossicle.data.opening import lines_of, open_file, table_rows, unreadable
from ossicle.data.tables import collect_table, scan_table

__all__ = [
    "AudioRow",
    "ManifestRow",
    "audio_rows",
    "count_rows",
    "json_rows",
    "manifest_path",
    "manifest_rows",
    "unreadable",
]

_JSON_LINES = (".jsonl", ".ndjson", ".json")
_DELIMITED = (".csv", ".tsv")


class ManifestRow(NamedTuple):
    """A row as it stands.

    Attributes:
        number: From 0; blank lines do not count.
        line: Of the file, from 1; None where it has no lines.
        fields: Values by column: JSON gives its own types, Parquet its own; of CSV and TSV all
            values are text as it stands, and what is empty is None.
    """

    number: int
    line: int | None
    fields: dict[str, Any]


class AudioRow(NamedTuple):
    """A row that names a recording.

    Attributes:
        number: From 0; blank lines do not count.
        line: Of the file, from 1; None where it has no lines.
        fields: Values by column.
        audio: The recording as the manifest has it.
        path: Where that is.
    """

    number: int
    line: int | None
    fields: dict[str, Any]
    audio: str
    path: Path


def manifest_path(source: Path | str) -> Path:
    """The file that is meant: of a folder its ``manifest.jsonl``."""
    path = Path(source)
    return path / "manifest.jsonl" if path.is_dir() else path


def count_rows(path: Path) -> int:
    """How many rows there are; blank lines of JSON are none.

    Raises:
        AudioIOError, ManifestError: As of `manifest_rows`.
    """
    if path.suffix.lower() in _JSON_LINES:
        return sum(1 for line in lines_of(path) if line.strip())
    if path.suffix.lower() in _DELIMITED:
        return sum(1 for _ in table_rows(path, dialect_of(path.suffix.lower())))
    import polars

    return int(collect_table(_scan(path).select(polars.len()), str(path)).item())


def manifest_rows(path: Path) -> Iterator[ManifestRow | ManifestError]:
    """The rows in order, each with its columns or as what is wrong with it.

    Raises:
        AudioIOError: The file cannot be read.
        ManifestError: It has the suffix of no format that is read here, or is broken as a whole.
    """
    if path.suffix.lower() in _JSON_LINES:
        yield from json_rows(path)
        return
    if path.suffix.lower() in _DELIMITED:
        for row in table_rows(path, dialect_of(path.suffix.lower())):
            yield row if isinstance(row, ManifestError) else ManifestRow(*row)
        return
    rows = collect_table(_scan(path), str(path)).iter_rows(named=True)
    for number, fields in enumerate(rows):
        yield ManifestRow(number, None, fields)


def audio_rows(
    path: Path, audio: str | None = None, required: Sequence[str] = ()
) -> Iterator[AudioRow | ManifestError]:
    """The rows that name a recording, and what is wrong with the others, in order.

    Args:
        path: The manifest; paths of recordings are relative to its folder.
        audio: The column of the recordings; None takes the first of the table that has a value.
        required: Other columns that a row must have.

    Raises:
        AudioIOError: The file cannot be read.
        ManifestError: As of `manifest_rows`; or no row at all has these columns.
    """
    known: dict[str, None] = {}
    is_any = False
    for row in manifest_rows(path):
        if isinstance(row, ManifestError):
            yield row
            continue
        known.update(dict.fromkeys(row.fields))
        column = column_of("audio", row.fields, audio)
        lacking = [repr(name) for name in required if name not in row.fields]
        lacking = lacking if column else [names_of("audio", audio), *lacking]
        if column is None or lacking:
            why = f"it has no column {' and '.join(lacking)}"
            yield ManifestError(why, source=str(path), row=row.number, line=row.line)
            continue
        is_any = True
        name = row.fields[column]
        if not isinstance(name, str) or not name or "\0" in name:
            # Bytes of recordings are not printed.
            what = (
                repr(name)
                if isinstance(name, str | int | float | None)
                else f"a {type(name).__name__}"
            )
            why = f"{column!r} holds {what}, not the path of a recording"
            yield ManifestError(why, source=str(path), row=row.number, line=row.line)
            continue
        yield AudioRow(*row, name, path.parent / name)
    if known and not is_any:
        wanted = " and ".join([names_of("audio", audio), *map(repr, required)])
        why = f"no row has the column {wanted}; the columns are {', '.join(known)}"
        raise ManifestError(why, source=str(path))


def json_rows(path: Path) -> Iterator[ManifestRow | ManifestError]:
    """The rows of JSON lines in a file of any name, as of `manifest_rows`."""
    number = 0
    for line, content in enumerate(lines_of(path), 1):
        if content.strip():
            yield _json_row(path, number, line, content)
            number += 1


def _json_row(path: Path, number: int, line: int, content: bytes) -> ManifestRow | ManifestError:
    try:
        fields = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # of JSON, and of UTF-8
        return ManifestError(f"not valid JSON: {error}", source=str(path), row=number, line=line)
    if not isinstance(fields, dict):
        why = f"not a JSON object but {type(fields).__name__}"
        return ManifestError(why, source=str(path), row=number, line=line)
    return ManifestRow(number, line, fields)


def _scan(path: Path) -> Any:
    open_file(path).close()
    return scan_table(path, str(path))
