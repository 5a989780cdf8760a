"""Where the clips of a plan come from: rows by number, their lengths, and which are drawn."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ossicle.data.errors import ManifestError
from ossicle.data.polars_errors import reading
from ossicle.data.read import read
from ossicle.data.recordings import Recording
from ossicle.data.rows import Rows
from ossicle.errors import AudioFileNotFoundError, InvalidArgumentError
from ossicle.stream.budgets import Floats
from ossicle.stream.parquet_rows import ParquetRows, is_large
from ossicle.stream.permutation import Ints
from ossicle.stream.row_store import default_folder
from ossicle.stream.shard_rows import ShardRows
from ossicle.stream.tables import DatasetRows, RowsInMemory, Table

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Source"]

_PATH = (str, os.PathLike)


class Source:
    """Rows that clips are drawn from.

    A row is known by its number, from 0, whatever `where` leaves out. Nothing is a Python object a
    row: columns stay as they are stored, and are read as they are needed.

    Args:
        data: What has the rows: tar shards (a path, a pattern such as ``"data/train-*.tar"``, or a
            list of either; the folder of shards too), anything that `ossicle.data.read` takes, or a
            `MetadataManifest` with a column of paths.
        weight: The source's share of the draws, beside those of the others; 1 where only others
            have one. Where no source has one, each clip comes once an epoch.
        where: Which rows are drawn: a Polars expression over `facts`, such as
            ``pl.col("duration") < 20``. Of shards the columns of their index can be named, and
            ``duration``.
        name: What messages call it; None takes the path.
        root: As for `ossicle.data.read`.
        columns: See there.
        store: The folder for rows of Parquet files and shards that are many: they are written
            there once, to be read row by row. None takes ``ossicle/rows`` of the user's cache.

    Raises:
        AudioFileNotFoundError: There is no such file, or nothing matches the pattern.
        ManifestError: The rows cannot be read, or one of them is at fault.
        InvalidArgumentError: `where` is no expression of the columns.
    """

    def __init__(
        self,
        data: Any,
        weight: float | None = None,
        where: pl.Expr | None = None,
        name: str | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        columns: Mapping[str, str] | None = None,
        store: str | os.PathLike[str] | None = None,
    ) -> None:
        self.weight, self.where = weight, where
        folder = default_folder() if store is None else Path(store)
        self._table = _table_of(data, folder, root, columns)
        self.name = self._table.name if name is None else name

    def __len__(self) -> int:
        return len(self._table)

    def __repr__(self) -> str:
        weight = "" if self.weight is None else f", weight {self.weight:g}"
        return f"<Source {self.name!r}: {len(self):,} rows{weight}>"

    @cached_property
    def seconds(self) -> Floats:
        """``(N,)`` float64: the length of each row, of its segment where it is one.

        From the index of a shard or the column ``duration``, and from headers where neither says.

        Raises:
            AudioError: A header cannot be read.
        """
        return self._table.seconds()

    @cached_property
    def kept(self) -> Ints:
        """``(M,)`` int64: the numbers of the rows that are drawn, in order."""
        if self.where is None:
            return np.arange(len(self))
        chosen = self.evaluate(self.where).fill_null(value=False)
        if str(chosen.dtype) != "Boolean" or len(chosen) != len(self):
            raise InvalidArgumentError(
                f"where must tell of each row whether it is drawn, {chosen.dtype}"
            )
        return np.flatnonzero(chosen.to_numpy())

    def evaluate(self, expression: pl.Expr) -> pl.Series:
        """A Polars expression over all rows.

        Raises:
            ManifestError: It names a column that there is not, or cannot be computed.
        """
        with reading(lambda why: ManifestError(why, source=self.name)):
            return self._table.select(expression)

    def recordings(self, rows: Sequence[int] | Ints) -> list[Recording]:
        """The recording of each row.

        Raises:
            InvalidArgumentError: A row has none, or several.
        """
        return self._table.recordings(_numbers(rows))

    def facts(self, rows: Sequence[int] | Ints) -> list[dict[str, Any]]:
        """What is known of each row, by column, as Python's own values."""
        return self._table.facts(_numbers(rows))

    def ids(self, rows: Sequence[int] | Ints) -> list[str]:
        """What each row is called; its number in nine digits where it has no id."""
        return self._table.ids(_numbers(rows))

    def update(self, digest: Any) -> None:
        """Adds to a hash all that an order depends on: the rows' names and lengths, in order."""
        digest.update(f"{len(self)},".encode())
        for part in self._table.fingerprint():
            digest.update(part)


def _numbers(rows: Sequence[int] | Ints) -> list[int]:
    return [int(row) for row in rows]


def _table_of(
    data: Any,
    store: Path,
    root: str | os.PathLike[str] | None,
    columns: Mapping[str, str] | None,
) -> Table:
    shards = _shards_of(data)
    if shards is not None:
        return ShardRows(shards, store)
    if isinstance(data, _PATH) and is_large(Path(data)):
        return ParquetRows(Path(data), store, root, columns)
    if isinstance(data, Rows):
        return RowsInMemory(data)
    if type(data).__module__.partition(".")[0] == "datasets" and hasattr(data, "fingerprint"):
        return DatasetRows(data)
    frame = getattr(data, "df", None)
    return RowsInMemory(read(data if frame is None else frame, root=root, columns=columns))


def _shards_of(data: Any) -> list[str] | None:
    """The paths of tar shards; None of what is something else."""
    if isinstance(data, str | os.PathLike):
        found = _expanded(os.fspath(data))
        if found == [os.fspath(data)] and Path(data).is_dir():
            return _folder(Path(data))
        return found if all(_is_tar(one) for one in found) else None
    if not isinstance(data, list | tuple) or not all(isinstance(one, _PATH) for one in data):
        return None
    found = [path for one in data for path in _expanded(os.fspath(one))]
    if not all(_is_tar(one) for one in found):
        raise InvalidArgumentError("a list of paths must be one of tar shards")
    return found


def _folder(path: Path) -> list[str] | None:
    """The shards of a folder that is one of shards, and no other layout that has tars."""
    others = [path / "manifest.jsonl", *path.glob("cuts.*")]
    tars = sorted(map(str, path.glob("*.tar")))
    return tars if tars and not any(one.exists() for one in others) else None


def _is_tar(path: str) -> bool:
    return path.lower().endswith(".tar") and not Path(path).is_dir()


def _expanded(path: str) -> list[str]:
    """The files of a pattern, sorted; a path that is there is no pattern."""
    if Path(path).exists() or not glob.has_magic(path):
        return [path]
    found = sorted(glob.glob(path, recursive=True))  # noqa: PTH207 - patterns of whole paths
    if not found:
        raise AudioFileNotFoundError("no file matches the pattern", source=path)
    return found
