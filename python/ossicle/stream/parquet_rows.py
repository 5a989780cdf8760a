"""Rows of Parquet files that are too large to be kept in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ossicle.data.columns import COLUMNS
from ossicle.data.read import read, source_of_rows
from ossicle.data.recordings import Recording, recordings_of
from ossicle.data.rows import SpeechRow
from ossicle.stream.budgets import Floats
from ossicle.stream.kept import Kept
from ossicle.stream.row_store import RowStore
from ossicle.stream.tables import lone, named, seconds_of, texts_of

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ParquetRows", "is_large"]

# From so many bytes or rows on, a file is not read into memory as a whole.
LARGE_BYTES, LARGE_ROWS = 1 << 28, 1_000_000
# Rows whose columns are read at a time.
_SLICE = 1 << 20
# Rows with recordings inside that are read at a time, and such pieces that stay in memory.
_EMBEDDED, _PIECES = 256, 16


def is_large(path: Path) -> bool:
    """Whether a file is Parquet, and large."""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return False
    return path.stat().st_size > LARGE_BYTES or len(_Scan(path)) > LARGE_ROWS


class ParquetRows:
    """Rows of a Parquet file: only the columns that an order needs are read as a whole.

    Facts and paths come from a `RowStore`, which is made when they are first asked for. Recordings
    that are inside of the file stay there, and some hundred rows are read at a time: that is fast
    where `Plan` keeps runs of that length together.

    Args:
        path: The file.
        store: The folder of stores.
        root: As for `ossicle.data.read`.
        columns: See there.
    """

    def __init__(
        self, path: Path, store: Path, root: Any = None, columns: Mapping[str, str] | None = None
    ) -> None:
        self.name = str(path)
        self._path, self._folder = path, store
        self._options: dict[str, Any] = {"root": root, "columns": columns}
        self._scan = _Scan(path, columns or {})
        self._count = len(self._scan)
        self._store: RowStore | None = None
        self._pieces = Kept(self._piece, _PIECES)

    def __len__(self) -> int:
        return self._count

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pieces": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._pieces = Kept(self._piece, _PIECES)

    def seconds(self) -> Floats:
        """``(N,)`` the length of each row."""
        import polars as pl

        return seconds_of(self._scan.numbers(pl.col("duration")), self.recordings)

    def select(self, expression: pl.Expr) -> pl.Series:
        """An expression over all rows."""
        return self._scan.select(expression)

    def recordings(self, rows: list[int]) -> list[Recording]:
        """The recording of each row."""
        return [lone(recordings_of(row), row) for row in self._rows(rows)]

    def facts(self, rows: list[int]) -> list[dict[str, Any]]:
        """The columns of each row."""
        return [dict(row) for row in self._rows(rows)]

    def ids(self, rows: list[int]) -> list[str]:
        """What each row is called."""
        return named([row["id"] for row in self._rows(rows)], rows)

    def fingerprint(self) -> Iterator[bytes]:
        """What tells these rows from others."""
        for start in range(0, self._count, _SLICE):
            yield from texts_of(self._scan.ids(start, _SLICE))

    def _rows(self, rows: list[int]) -> list[Mapping[str, Any]]:
        if self._scan.is_embedded:
            return [self._pieces(row // _EMBEDDED)[row % _EMBEDDED] for row in rows]
        if self._store is None:
            found = source_of_rows(self._path, "parquet", **self._options)
            kind = f"rows of {self._options}"
            self._store = RowStore.of(self._folder, [self._path], kind, found.in_schema())
        return [self._store[row] for row in rows]

    def _piece(self, number: int) -> list[SpeechRow]:
        frame = self._scan.rows(number * _EMBEDDED, _EMBEDDED)
        root = self._options["root"] or self._path.parent
        found = read(frame, root=root, columns=self._options["columns"])
        if found.faults:
            raise found.faults[0]
        return list(found)


class _Scan:
    """The columns of a Parquet file, by their names and by what they mean."""

    def __init__(self, path: Path, columns: Mapping[str, str] | None = None) -> None:
        self._path, self._told = path, dict(columns or {})

    def __len__(self) -> int:
        import polars as pl

        return int(self._lazy().select(pl.len()).collect().item())

    @property
    def is_embedded(self) -> bool:
        """Whether recordings are inside."""
        return any("Binary" in str(kind) for kind in self._lazy().collect_schema().values())

    def select(self, expression: pl.Expr, rows: slice = slice(None)) -> pl.Series:
        import polars as pl

        lazy = self._lazy()
        if rows.stop is not None:
            lazy = lazy.slice(rows.start, rows.stop - rows.start)
        names = lazy.collect_schema().names()
        made = {}
        for meaning in {*expression.meta.root_names()} - {*names}:
            known = [one for one in self._names(meaning) if one in names]
            if known:
                made[meaning] = pl.col(known[0])
            elif meaning in COLUMNS:
                made[meaning] = pl.lit(None)
        return lazy.with_columns(**made).select(expression.alias("value")).collect().to_series()

    def numbers(self, expression: pl.Expr) -> Floats:
        """An expression over all rows, some at a time: no more than the numbers is in memory."""
        import polars as pl

        found: Floats = np.empty(len(self))
        for start in range(0, len(found), _SLICE):
            part = self.select(expression.cast(pl.Float64), slice(start, start + _SLICE))
            found[start : start + len(part)] = part.to_numpy()
        return found

    def ids(self, start: int, count: int) -> pl.Series:
        import polars as pl

        names = self._lazy().collect_schema().names()
        known = [one for one in self._names("id") if one in names]
        column = pl.col(known[0]).cast(pl.String) if known else pl.lit("")
        return self._lazy().slice(start, count).select(column.alias("id")).collect()["id"]

    def rows(self, start: int, count: int) -> pl.DataFrame:
        return self._lazy().slice(start, count).collect()

    def _names(self, meaning: str) -> tuple[str, ...]:
        told = self._told.get(meaning)
        return COLUMNS.get(meaning, (meaning,)) if told is None else (told,)

    def _lazy(self) -> pl.LazyFrame:
        import polars as pl

        return pl.scan_parquet(self._path, glob=False)
