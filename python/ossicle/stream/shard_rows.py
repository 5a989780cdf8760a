"""Rows of tar shards, by their indexes: a clip is a member that is audio by its extension."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from ossicle.audio import info
from ossicle.audio.arguments import thread_count
from ossicle.data.errors import ManifestError
from ossicle.data.members import split_name
from ossicle.data.recordings import Recording, recording_of
from ossicle.shard.index import list_paths, read_index
from ossicle.shard.reader import AUDIO_EXTENSIONS, Shard
from ossicle.stream.budgets import Floats
from ossicle.stream.permutation import Ints
from ossicle.stream.tables import texts_of

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ShardRows"]

Item = TypeVar("Item")

# Shards that are open at a time, and indexes of shards that are in memory.
_OPEN = 64
# Columns of the index that are facts of a clip.
_FACTS = ("extension", "codec", "sample_rate", "channels", "frames", "sha256", "error")
_TEXTS = ("txt", "text", "transcript")


class ShardRows:
    """The clips of shards, in the order of the tars.

    A shard whose index is fresh is read by it alone; of others the headers are read.

    Raises:
        AudioError: A shard cannot be opened.
        ManifestError: There is no shard, or no clip in them.
    """

    def __init__(self, paths: list[str]) -> None:
        self._paths = list_paths(paths)
        if not self._paths:
            raise ManifestError("no shards were given")
        self.name = self._paths[0] if len(paths) == 1 else f"{len(paths)} shards"
        self._shards = _Kept(lambda number: Shard(self._paths[number]), _OPEN)
        self._indexes = _Kept(self._index, _OPEN)
        with ThreadPoolExecutor(thread_count(None), thread_name_prefix="ossicle-index") as pool:
            found = list(pool.map(self._clips, range(len(self._paths))))
        self._starts = np.cumsum([0] + [len(one[0]) for one in found])
        self._members = np.concatenate([one[0] for one in found])
        self._seconds = np.concatenate([one[1] for one in found])
        if not len(self):
            raise ManifestError("no member is audio by its extension", source=self.name)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": None, "_indexes": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._shards = _Kept(lambda number: Shard(self._paths[number]), _OPEN)
        self._indexes = _Kept(self._index, _OPEN)

    def seconds(self) -> Floats:
        """``(N,)`` the length of each clip; out of headers where there is no fresh index."""
        seconds = self._seconds.copy()
        for number in np.flatnonzero(np.diff(self._starts)).tolist():
            rows = np.arange(self._starts[number], self._starts[number + 1])
            if "frames" not in self._indexes(number).columns:
                facts = [info(one.source) for one in self.recordings(rows.tolist())]
                seconds[rows] = [one.frames / one.sample_rate for one in facts]
        return seconds

    def select(self, expression: pl.Expr) -> pl.Series:
        """An expression over all clips: of columns of the index, and ``duration``."""
        import polars as pl

        names = expression.meta.root_names()
        parts = []
        for number in range(len(self._paths)):
            rows = slice(self._starts[number], self._starts[number + 1])
            frame = self._indexes(number)[self._members[rows]]
            known = [name for name in names if name in frame.columns]
            parts.append(frame.select(known))
        frame = pl.concat(parts) if parts and parts[0].width else pl.DataFrame()
        if "duration" in names:
            frame = frame.with_columns(pl.Series("duration", self._seconds))
        if "id" in names:
            frame = frame.with_columns(pl.Series("id", self.ids(list(range(len(self))))))
        return frame.select(expression.alias("value")).to_series()

    def recordings(self, rows: list[int]) -> list[Recording]:
        """The recording of each clip."""
        return [recording_of(self._member(*self._place(row))) for row in rows]

    def facts(self, rows: list[int]) -> list[dict[str, Any]]:
        """The columns of each clip: those of the index, and what its sample says beside it."""
        return [self._facts(row) for row in rows]

    def ids(self, rows: list[int]) -> list[str]:
        """The key of each clip."""
        return [self._line(*self._place(row))["key"] for row in rows]

    def fingerprint(self) -> Iterator[bytes]:
        """What tells these clips from others."""
        for number in range(len(self._paths)):
            rows = slice(self._starts[number], self._starts[number + 1])
            yield from texts_of(self._indexes(number)["name"][self._members[rows]])
        yield self._seconds.tobytes()

    def _place(self, row: int) -> tuple[int, int]:
        """The shard of a clip, and its line in the index."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return number, int(self._members[row])

    def _line(self, number: int, line: int) -> dict[str, Any]:
        return self._indexes(number).row(line, named=True)

    def _member(self, number: int, line: int) -> Any:
        found = self._line(number, line)
        return self._shards(number).member(found["key"], found["extension"])

    def _facts(self, row: int) -> dict[str, Any]:
        number, line = self._place(row)
        found = self._line(number, line)
        shard = self._shards(number)
        facts: dict[str, Any] = {"id": found["key"], "audio": self._member(number, line)}
        seconds = float(self._seconds[row])
        facts |= {"duration": None if np.isnan(seconds) else seconds}
        facts |= {name: found[name] for name in _FACTS if found.get(name) is not None}
        return {**facts, **_said(shard, found["key"])}

    def _clips(self, number: int) -> tuple[Ints, Floats]:
        """Of the members of a shard that are audio, their lines in the index and their lengths."""
        import polars as pl

        index = self._indexes(number)
        last = pl.col("extension").str.split(".").list.last()
        is_audio = index.select(last.is_in(list(AUDIO_EXTENSIONS))).to_series()
        lines = np.flatnonzero(is_audio.to_numpy())
        if "frames" not in index.columns:
            return lines, np.full(len(lines), np.nan)
        seconds = index.select(pl.col("frames") / pl.col("sample_rate")).to_series()
        return lines, seconds.fill_null(float("nan")).to_numpy()[lines]

    def _index(self, number: int) -> pl.DataFrame:
        """A line a member; with what they hold where there is a fresh index."""
        import polars as pl

        shard = self._shards(number)
        names = ["key", "name", *_FACTS]
        found = read_index(self._paths[number], names) if shard.is_indexed else None
        if found is not None:
            return found
        members = [one.name for one in shard.members()]
        split = [split_name(name) for name in members]
        columns = {"key": [one[0] for one in split], "name": members}
        return pl.DataFrame({**columns, "extension": [one[1] for one in split]})


class _Kept(Generic[Item]):
    """What was made last of numbers, for several threads."""

    def __init__(self, make: Callable[[int], Item], most: int) -> None:
        self._make, self._most = make, most
        self._lock = Lock()
        self._kept: OrderedDict[int, Item] = OrderedDict()

    def __call__(self, number: int) -> Item:
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        made = self._make(number)
        with self._lock:
            self._kept[number] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


def _said(shard: Shard, key: str) -> dict[str, Any]:
    """What the JSON and the text of a sample say."""
    said: dict[str, Any] = {}
    for extension in shard.extensions(key):
        if extension == "json":
            try:
                found = json.loads(shard.read(key, extension))
            except (ValueError, RecursionError) as error:
                place = f"{shard.path} [{key}.json]"
                raise ManifestError(f"the metadata is no JSON: {error}", source=place) from error
            said |= found if isinstance(found, dict) else {"json": found}
        elif extension in _TEXTS:
            said["text"] = shard.read(key, extension).decode(errors="replace")
    # Where it came from: the recording is in the shard.
    return {name: value for name, value in said.items() if name not in ("audio", "wav", "path")}
