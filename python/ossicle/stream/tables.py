"""Rows by number, out of what keeps them: in memory, or in files of Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ossicle.audio.arguments import thread_count
from ossicle.data.columns import COLUMNS
from ossicle.data.read import read
from ossicle.data.recordings import Recording, header_of, samples_at
from ossicle.data.rows import Rows
from ossicle.errors import InvalidArgumentError
from ossicle.stream.budgets import Floats

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DatasetRows", "RowsInMemory", "Table", "lone", "named", "seconds_of", "texts_of"]

# Rows at a time, where all of them are gone through.
_CHUNK = 1 << 16


class Table(Protocol):
    """What `Source` reads its rows from."""

    name: str

    def __len__(self) -> int: ...

    def seconds(self) -> Floats:
        """``(N,)`` the length of each row."""
        ...

    def select(self, expression: pl.Expr) -> pl.Series:
        """An expression over all rows."""
        ...

    def recordings(self, rows: list[int]) -> list[Recording]:
        """The recording of each row."""
        ...

    def facts(self, rows: list[int]) -> list[dict[str, Any]]:
        """The columns of each row."""
        ...

    def ids(self, rows: list[int]) -> list[str]:
        """What each row is called."""
        ...

    def fingerprint(self) -> Iterator[bytes]:
        """What tells these rows from others."""
        ...


class RowsInMemory:
    """Rows that `ossicle.data.read` has read.

    Raises:
        ManifestError: A row is at fault.
    """

    def __init__(self, rows: Rows) -> None:
        self.name, self._rows = rows.source, rows
        if rows.faults:
            fault = rows.faults[0]
            fault.add_note(f"{rows.count()}; `ossicle data check` lists them")
            raise fault

    def __len__(self) -> int:
        return len(self._rows)

    def seconds(self) -> Floats:
        """``(N,)`` the length of each row."""
        return seconds_of(self._rows.frame["duration"].to_numpy(), self.recordings)

    def select(self, expression: pl.Expr) -> pl.Series:
        """An expression over all rows."""
        return self._rows.frame.select(expression.alias("value")).to_series()

    def recordings(self, rows: list[int]) -> list[Recording]:
        """The recording of each row."""
        return [lone(row.recordings, row) for row in self._rows.take(rows)]

    def facts(self, rows: list[int]) -> list[dict[str, Any]]:
        """The columns of each row."""
        return [dict(row) for row in self._rows.take(rows)]

    def ids(self, rows: list[int]) -> list[str]:
        """What each row is called."""
        return named(self._rows.frame["id"][rows].to_list(), rows)

    def fingerprint(self) -> Iterator[bytes]:
        """What tells these rows from others."""
        frame = self._rows.frame
        yield from texts_of(frame["id"])
        yield frame["duration"].fill_null(-1.0).to_numpy().tobytes()


class DatasetRows:
    """Rows of a Hugging Face data set, which stay in its memory-mapped Arrow files."""

    def __init__(self, dataset: Any) -> None:
        self.name = "the datasets"
        self._data = dataset.with_format("arrow")
        names = self._data.column_names
        self._duration = next((one for one in COLUMNS["duration"] if one in names), None)
        self._id = next((one for one in COLUMNS["id"] if one in names), None)

    def __len__(self) -> int:
        return int(self._data.num_rows)

    def seconds(self) -> Floats:
        """``(N,)`` the length of each row."""
        import polars as pl

        if self._duration is None:
            return seconds_of(np.full(len(self), np.nan), self.recordings)
        known = self.select(pl.col(self._duration).cast(pl.Float64)).to_numpy()
        return seconds_of(known, self.recordings)

    def select(self, expression: pl.Expr) -> pl.Series:
        """An expression over all rows."""
        names = expression.meta.root_names()
        there = [name for name in names if name in self._data.column_names]
        import polars as pl

        frame = self._frame(self._data.select_columns(there)[:]) if there else pl.DataFrame()
        return frame.select(expression.alias("value")).to_series()

    def recordings(self, rows: list[int]) -> list[Recording]:
        """The recording of each row."""
        return [lone(row.recordings, row) for row in self._read(rows)]

    def facts(self, rows: list[int]) -> list[dict[str, Any]]:
        """The columns of each row."""
        return [dict(row) for row in self._read(rows)]

    def ids(self, rows: list[int]) -> list[str]:
        """What each row is called."""
        if self._id is None:
            return named([None] * len(rows), rows)
        found = self._frame(self._data.select_columns([self._id])[rows])[self._id].to_list()
        return named([None if one is None else str(one) for one in found], rows)

    def fingerprint(self) -> Iterator[bytes]:
        """What tells these rows from others."""
        yield self._data._fingerprint.encode()

    def _read(self, rows: list[int]) -> Rows:
        found = read(self._frame(self._data[rows]))
        if found.faults:
            raise found.faults[0]
        return found

    def _frame(self, table: Any) -> pl.DataFrame:
        import polars as pl

        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame


def texts_of(series: pl.Series) -> Iterator[bytes]:
    """A column of texts as bytes, some at a time; each with its end."""
    for start in range(0, len(series), _CHUNK):
        yield (series[start : start + _CHUNK].fill_null("").str.join("\0").item() + "\0").encode()


def named(found: list[str | None], rows: list[int]) -> list[str]:
    """What rows are called: their numbers where they have no id."""
    return [f"{row:09d}" if one is None else one for one, row in zip(found, rows, strict=True)]


def lone(found: list[Recording], row: Mapping[str, Any]) -> Recording:
    """The only recording of a row.

    Raises:
        InvalidArgumentError: There is none, or there are several.
    """
    if len(found) != 1:
        raise InvalidArgumentError(
            f"the row {row['id']!r} has {len(found)} recordings, and a clip is one"
        )
    return found[0]


def seconds_of(known: Floats, recordings: Callable[[list[int]], list[Recording]]) -> Floats:
    """The durations that are known, and the rest out of headers.

    Args:
        known: Of each row, NaN where nothing is known.
        recordings: Gives the recordings of rows.
    """
    lacking = np.flatnonzero(np.isnan(known))
    if not len(lacking):
        return known
    seconds = known.copy()
    chunks = [lacking[at : at + 256].tolist() for at in range(0, len(lacking), 256)]
    with ThreadPoolExecutor(thread_count(None), thread_name_prefix="ossicle-lengths") as pool:
        found = pool.map(lambda rows: [_length(one) for one in recordings(rows)], chunks)
        for rows, lengths in zip(chunks, found, strict=True):
            seconds[rows] = lengths
    return seconds


def _length(recording: Recording) -> float:
    header = header_of(recording)
    return samples_at(recording, header) / header.sample_rate
