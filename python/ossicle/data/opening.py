"""Files of rows, opened: plain or compressed with gzip, errors with their names."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from ossicle.data.delimited import Dialect, records
from ossicle.data.errors import ManifestError
from ossicle.errors import AudioFileNotFoundError, AudioIOError, UnsupportedFormatError

__all__ = [
    "ManifestRow",
    "compression_of",
    "head_of",
    "json_rows",
    "lines_of",
    "open_file",
    "read_text",
    "refuse_compressed",
    "table_rows",
    "unreadable",
]

_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"PK\3\4": "zip",
    b"7z\xbc\xaf": "7z",
}


class ManifestRow(NamedTuple):
    """A row as it stands.

    Attributes:
        number: From 0; blank lines do not count.
        line: Of the file, from 1; None where it has no lines.
        fields: Values by column.
    """

    number: int
    line: int | None
    fields: dict[str, Any]


def unreadable(path: Path, error: OSError) -> AudioIOError:
    """The error of ours that says what the system's does."""
    kind = AudioFileNotFoundError if isinstance(error, FileNotFoundError) else AudioIOError
    why = error.strerror or str(error)
    new = kind(f"cannot read the file: {why}", source=str(path))
    new.errno = error.errno
    return new


def open_file(path: Path) -> IO[bytes]:
    """A file, unpacked where it is gzip.

    Raises:
        AudioIOError: It cannot be opened.
        ManifestError: It is compressed in another way.
    """
    kind = compression_of(path)
    if kind not in (None, "gzip"):
        why = f"a file in {kind}, which is not read: unpack it, or compress it with gzip"
        raise ManifestError(why, source=str(path))
    try:
        return gzip.open(path, "rb") if kind else path.open("rb")  # type: ignore[return-value]
    except OSError as error:
        raise unreadable(path, error) from error


def compression_of(path: Path) -> str | None:
    """How a file is compressed, by its first bytes; None where it is not.

    Raises:
        AudioIOError: It cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(6)
    except OSError as error:
        raise unreadable(path, error) from error
    return next((kind for magic, kind in _COMPRESSED.items() if head.startswith(magic)), None)


def refuse_compressed(path: Path) -> None:
    """Says of a compressed tar what to do.

    Raises:
        AudioIOError: It cannot be opened.
        UnsupportedFormatError: It is compressed.
    """
    kind = compression_of(path)
    if kind is not None:
        why = f"a tar in {kind}, of which no member can be reached: unpack it first"
        raise UnsupportedFormatError(why, source=str(path))


def head_of(path: Path, size: int) -> bytes:
    """The beginning of a file.

    Raises:
        AudioIOError: It cannot be read.
    """
    with open_file(path) as file:
        try:
            return file.read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(path, _of_system(error)) from error


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, with their ends.

    Raises:
        AudioIOError: It cannot be read to its end.
    """
    with open_file(path) as file:
        try:
            yield from file
        except (OSError, EOFError, zlib.error) as error:
            raise unreadable(path, _of_system(error)) from error


def _of_system(error: Exception) -> OSError:
    return error if isinstance(error, OSError) else OSError(str(error))


def read_text(path: Path) -> str:
    """The whole of a file of UTF-8.

    Raises:
        AudioIOError: It cannot be read.
        ManifestError: It is no UTF-8.
    """
    try:
        return b"".join(lines_of(path)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"not UTF-8: {error.reason} at byte {error.start}"
        raise ManifestError(reason, source=str(path)) from error


def json_rows(path: Path) -> Iterator[ManifestRow | ManifestError]:
    """The rows of JSON lines, each as it stands or as what is wrong with it.

    Blank lines are none.

    Raises:
        AudioIOError: The file cannot be read.
    """
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


def table_rows(
    path: Path, dialect: Dialect, header: list[str] | None = None
) -> Iterator[tuple[int, int, dict[str, str | None]] | ManifestError]:
    """The rows of a CSV or TSV: number, line and fields, or what is wrong with each.

    Args:
        path: The file.
        dialect: How fields are told apart.
        header: Names of the columns, where the first line has none.

    Raises:
        AudioIOError: It cannot be read.
        ManifestError: It has no header, or a name stands in it twice.
    """
    source = str(path)
    found = records(lines_of(path), dialect)
    names = header
    if names is None:
        first = next(found, None)
        if first is None:
            raise ManifestError("the file is empty", source=source)
        if first.fields is None:
            raise ManifestError(f"the header: {first.fault}", source=source, line=first.line)
        # The first column of a table that pandas has written has often no name.
        names = [one or f"column_{at}" for at, one in enumerate(first.fields)]
        if any("\r" in name for name in names):
            raise ManifestError("its lines end in carriage returns alone", source=source, line=1)
    double = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if double is not None:
        raise ManifestError("the column is in the header twice", source=source, column=double)
    for number, one in enumerate(found):
        if one.fields is None:
            yield ManifestError(one.fault or "", source=source, row=number, line=one.line)
        elif len(one.fields) != len(names):
            why = f"the number of fields is not the header's: {len(one.fields)}, not {len(names)}"
            yield ManifestError(why, source=source, row=number, line=one.line)
        else:
            yield number, one.line, dict(zip(names, one.fields, strict=True))
