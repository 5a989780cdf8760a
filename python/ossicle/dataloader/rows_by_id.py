"""A table's rows by ``wav_id`` out of plain NumPy arrays, which workers may have.

Polars must not run after a fork, and a list of a million dicts is copied page by page into every
worker that touches it. Arrays and bytes are neither: they are shared by a fork and pickled as they
lie.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ossicle.dataloader.stages import ID

if TYPE_CHECKING:
    import polars as pl

__all__ = ["RowsById"]

# Up to so many different texts, each row holds a number of one byte.
_CODED_TEXTS = 255


class _Column(Protocol):
    def values(self, start: int, stop: int) -> Sequence[Any]:
        """Python's own objects, None for null."""


class RowsById:
    """The rows of a frame, found by their ``wav_id``.

    Args:
        frame: Any number of rows of each recording; their order stays within a recording.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        # By the bytes of UTF-8, as Python compares bytes.
        ordered = frame.sort(ID, maintain_order=True)
        runs = ordered[ID].rle().struct.unnest()
        self._ids = _Text.of(runs["value"])
        self._starts = np.concatenate([[0], np.cumsum(runs["len"].to_numpy(), dtype=np.int64)])
        self._columns = {name: _column(ordered[name]) for name in ordered.columns if name != ID}

    def __len__(self) -> int:
        """How many recordings there are."""
        return len(self._starts) - 1

    def __contains__(self, wav_id: object) -> bool:
        return isinstance(wav_id, str) and self._find(wav_id) is not None

    def rows(self, wav_id: str) -> list[dict[str, Any]]:
        """The rows of one recording without their id, in the order of the frame."""
        at = self._find(wav_id)
        if at is None:
            return []
        start, stop = int(self._starts[at]), int(self._starts[at + 1])
        parts = [column.values(start, stop) for column in self._columns.values()]
        if not parts:
            return [{} for _ in range(start, stop)]
        names = list(self._columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*parts, strict=True)]

    def _find(self, wav_id: str) -> int | None:
        # Ids of files hold no lone surrogates; what does is found nowhere.
        sought = wav_id.encode(errors="surrogatepass")
        at = bisect.bisect_left(range(len(self)), sought, key=self._ids.encoded)
        return at if at < len(self) and self._ids.encoded(at) == sought else None


@dataclass(frozen=True)
class _Text:
    """Texts one after the other."""

    content: bytes
    ends: npt.NDArray[np.int64]
    nulls: npt.NDArray[np.bool_] | None

    @classmethod
    def of(cls, series: pl.Series) -> _Text:
        filled = series.fill_null("")
        ends = np.cumsum(filled.str.len_bytes().to_numpy(), dtype=np.int64)
        return cls((filled.str.join("").item() or "").encode(), ends, _nulls(series))

    def encoded(self, at: int) -> bytes:
        return self.content[self.ends[at - 1] if at else 0 : self.ends[at]]

    def values(self, start: int, stop: int) -> list[Any]:
        texts = [self.encoded(at).decode() for at in range(start, stop)]
        return _with_nulls(texts, self.nulls, start, stop)


@dataclass(frozen=True)
class _Coded:
    """Texts of which there are few, by number; the last one stands for null."""

    texts: tuple[str | None, ...]
    codes: npt.NDArray[np.uint8]

    def values(self, start: int, stop: int) -> list[str | None]:
        return [self.texts[code] for code in self.codes[start:stop].tolist()]


@dataclass(frozen=True)
class _Numbers:
    """Numbers and truth values, zero where they are null."""

    numbers: npt.NDArray[Any]
    nulls: npt.NDArray[np.bool_] | None

    def values(self, start: int, stop: int) -> list[Any]:
        return _with_nulls(self.numbers[start:stop].tolist(), self.nulls, start, stop)


@dataclass(frozen=True)
class _Objects:
    """Whatever else a column may hold: lists, dates."""

    objects: list[Any]

    def values(self, start: int, stop: int) -> list[Any]:
        return self.objects[start:stop]


def _column(series: pl.Series) -> _Column:
    import polars as pl

    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype == pl.String:
        texts = series.drop_nulls().unique().sort()
        return _coded(series, texts) if len(texts) <= _CODED_TEXTS else _Text.of(series)
    if series.dtype == pl.Boolean or series.dtype.is_integer() or series.dtype.is_float():
        zero = False if series.dtype == pl.Boolean else 0
        return _Numbers(series.fill_null(zero).to_numpy(), _nulls(series))
    return _Objects(series.to_list())


def _coded(series: pl.Series, texts: pl.Series) -> _Coded:
    import polars as pl

    codes = series.cast(pl.Enum(texts)).to_physical().fill_null(len(texts))
    return _Coded((*texts.to_list(), None), codes.cast(pl.UInt8).to_numpy())


def _nulls(series: pl.Series) -> npt.NDArray[np.bool_] | None:
    return series.is_null().to_numpy() if series.null_count() else None


def _with_nulls(
    values: list[Any], nulls: npt.NDArray[np.bool_] | None, start: int, stop: int
) -> list[Any]:
    if nulls is None:
        return values
    return [None if null else value for value, null in zip(values, nulls[start:stop], strict=True)]
