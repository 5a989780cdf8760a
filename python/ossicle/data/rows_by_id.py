"""A table's rows by ``wav_id``, out of plain arrays, which workers may have."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

import numpy as np

from ossicle.data.arrays import Columns, Strings

if TYPE_CHECKING:
    import polars as pl

__all__ = ["RowsById"]


class RowsById:
    """The rows of a frame, found by their ``wav_id``.

    Args:
        frame: Any number of rows of each recording; their order stays within a recording.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        # By the bytes of UTF-8, as Python compares bytes.
        ordered = frame.sort("wav_id", maintain_order=True)
        runs = ordered["wav_id"].rle().struct.unnest()
        self._ids = Strings.of_series(runs["value"])
        self._starts = np.concatenate([[0], np.cumsum(runs["len"].to_numpy(), dtype=np.int64)])
        self._columns = Columns.of(ordered.drop("wav_id"), any_type=True)

    def __len__(self) -> int:
        """How many recordings there are."""
        return len(self._ids)

    def __contains__(self, wav_id: object) -> bool:
        return isinstance(wav_id, str) and self._find(wav_id) is not None

    def rows(self, wav_id: str) -> list[dict[str, Any]]:
        """The rows of one recording without their id, in the order of the frame."""
        at = self._find(wav_id)
        if at is None:
            return []
        numbers = range(int(self._starts[at]), int(self._starts[at + 1]))
        return [self._columns.row(number) for number in numbers]

    def _find(self, wav_id: str) -> int | None:
        # Ids of files hold no lone surrogates; what does is found nowhere.
        sought = wav_id.encode(errors="surrogatepass")
        at = bisect.bisect_left(range(len(self)), sought, key=self._ids.raw)
        return at if at < len(self) and self._ids.raw(at) == sought else None
