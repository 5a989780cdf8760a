"""Rows in a file that is mapped: a line of JSON each, and where the lines begin.

A row of ten million costs what it is, in any process, without Polars and without objects for the
others. A store is made once of what cannot be read row by row, such as Parquet, and found again by
the name, the size and the time of what it was made of.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ossicle.data.errors import ManifestError
from ossicle.data.pieces import Found

if TYPE_CHECKING:
    import polars as pl

__all__ = ["RowStore", "default_folder"]

_LINES, _ENDS, _NESTED = "rows.jsonl", "ends.i64", "nested.json"
_NEWLINE = 10


def default_folder() -> Path:
    """Where stores are kept: ``ossicle/rows`` of the user's cache (``XDG_CACHE_HOME``)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "ossicle" / "rows"


class RowStore:
    """Rows that were stored.

    Args:
        folder: Of the store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lines = np.memmap(folder / _LINES, np.uint8, "r")
        self._ends = np.memmap(folder / _ENDS, np.int64, "r")
        self._nested: list[tuple[int, list[str]]] = json.loads((folder / _NESTED).read_bytes())

    @classmethod
    def of(
        cls, folder: Path, files: Sequence[str | Path], kind: str, pieces: Iterable[Found]
    ) -> RowStore:
        """The store of some files; made of the pieces where there is none.

        Args:
            folder: Of all stores.
            files: What the rows come from.
            kind: What is stored of them.
            pieces: The rows; read only where they are needed.

        Raises:
            ManifestError: A row is at fault.
            OSError: The store cannot be written.
        """
        place = folder / _name(files, kind)
        if not place.exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f".{uuid.uuid4().hex}.partial"
            partial.mkdir()
            try:
                _write(partial, pieces)
                # Another process may have been first: its store is the same.
                if not place.exists():
                    partial.rename(place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return cls(place)

    def __len__(self) -> int:
        return len(self._ends)

    def __reduce__(self) -> tuple[Any, ...]:
        return RowStore, (self._folder,)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """A row, as plain values."""
        start = int(self._ends[number - 1]) if number else 0
        row: dict[str, Any] = json.loads(self._lines[start : int(self._ends[number])].tobytes())
        for name in self._texts_of_json(number):
            if row.get(name) is not None:
                row[name] = json.loads(row[name])
        return row

    def _texts_of_json(self, number: int) -> list[str]:
        """Columns whose texts are JSON, which may differ from piece to piece."""
        found: list[str] = []
        for start, names in self._nested:
            if start > number:
                break
            found = names
        return found


def _name(files: Sequence[str | Path], kind: str) -> str:
    digest = hashlib.sha256(kind.encode())
    for file in files:
        facts = Path(file).stat()
        place = os.path.abspath(file)  # noqa: PTH100 - of text, and links stay links
        digest.update(f"{place}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode(errors="replace"))
    return digest.hexdigest()[:32]


def _write(folder: Path, pieces: Iterable[Found]) -> None:
    nested: list[tuple[int, list[str]]] = []
    count = end = 0
    with (folder / _LINES).open("wb") as lines, (folder / _ENDS).open("wb") as ends:
        for piece in pieces:
            if isinstance(piece, ManifestError):
                raise piece
            names = sorted(piece.nested & set(piece.frame.columns))
            if not nested or nested[-1][1] != names:
                nested.append((count, names))
            end = _append(piece.frame, lines, ends, end)
            count += piece.frame.height
    if not count:
        raise ManifestError("there are no rows")
    (folder / _NESTED).write_text(json.dumps(nested))


def _append(frame: pl.DataFrame, lines: BinaryIO, ends: BinaryIO, end: int) -> int:
    buffer = io.BytesIO()
    frame.write_ndjson(buffer)
    data = np.frombuffer(buffer.getbuffer(), np.uint8)
    places = np.flatnonzero(data == _NEWLINE).astype(np.int64) + 1 + end
    lines.write(data.data)
    ends.write(places.data)
    return end + len(data)
