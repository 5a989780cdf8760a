"""Rows of tar shards, by their indexes: a clip is a member that is audio by its extension."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ossicle.audio.arguments import thread_count
from ossicle.data.columns import COLUMNS
from ossicle.data.errors import ManifestError
from ossicle.data.members import split_name
from ossicle.data.pieces import Piece
from ossicle.data.polars_errors import reading
from ossicle.data.recordings import Recording, header_of, recordings_of
from ossicle.errors import CorruptAudioError
from ossicle.shard.index import index_path, list_paths
from ossicle.shard.reader import AUDIO_EXTENSIONS, Member, Shard
from ossicle.stream.budgets import Floats
from ossicle.stream.kept import Kept
from ossicle.stream.row_store import RowStore
from ossicle.stream.tables import lone, texts_of

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ShardRows"]

# Shards that stay open, and whose indexes stay in memory; of more shards the samples are stored.
OPEN = 64
# Columns of the index that are facts of a clip.
_FACTS = ("extension", "codec", "sample_rate", "channels", "frames", "sha256", "error")
_PLACES = ("key", "name", "offset", "size", "header_offset")
_TEXTS = ("txt", "text", "transcript")


class ShardRows:
    """The clips of shards, in the order of the tars.

    Of a shard whose index is fresh only that is read; of others the headers are.

    Args:
        paths: The shards.
        store: The folder of stores.

    Raises:
        AudioError: A shard cannot be opened.
        ManifestError: There is no shard, or no clip in them.
    """

    def __init__(self, paths: list[str], store: Path) -> None:
        self._paths, self._folder = list_paths(paths), store
        if not self._paths:
            raise ManifestError("no shards were given")
        self.name = self._paths[0] if len(self._paths) == 1 else f"{len(self._paths)} shards"
        self._store: RowStore | None = None
        self._open()
        with ThreadPoolExecutor(thread_count(None), thread_name_prefix="ossicle-index") as pool:
            self._gather(pool.map(self._clips, range(len(self._paths))))
        if not len(self):
            raise ManifestError("no member is audio by its extension", source=self.name)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": None, "_indexes": None}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def seconds(self) -> Floats:
        """``(N,)`` the length of each clip; out of headers where there is no fresh index."""
        lacking = np.flatnonzero(np.isnan(self._seconds))
        seconds: Floats = self._seconds.copy() if len(lacking) else self._seconds
        for row in lacking.tolist():
            header = header_of(self.recordings([row])[0])
            seconds[row] = header.frames / header.sample_rate
        return seconds

    def select(self, expression: pl.Expr) -> pl.Series:
        """An expression over all clips: of columns of the index, ``id`` and ``duration``."""
        import polars as pl

        names = {*expression.meta.root_names()}
        own = {"key", *(names & {*_FACTS})}
        parts = [
            _with(self._indexes(number), own).select(sorted(own))[self._of(number, self._lines)]
            for number in range(len(self._paths))
        ]
        frame = pl.concat(parts).rename({"key": "id"})
        if "duration" in names:
            frame = frame.with_columns(pl.Series("duration", self.seconds()))
        made: pl.Series = frame.select(expression.alias("value")).to_series()
        return made

    def recordings(self, rows: list[int]) -> list[Recording]:
        """The recording of each clip, with the segment that its sample says."""
        return [lone(recordings_of(row), row) for row in self._samples(rows)]

    def facts(self, rows: list[int]) -> list[dict[str, Any]]:
        """The columns of each clip: those of the index, and what its sample says beside it."""
        found = self._samples(rows)
        for row, facts in zip(rows, found, strict=True):
            if not np.isnan(self._seconds[row]):
                facts.setdefault("duration", float(self._seconds[row]))
        return found

    def ids(self, rows: list[int]) -> list[str]:
        """The key of each clip."""
        return [str(self._line(row)["key"]) for row in rows]

    def fingerprint(self) -> Iterator[bytes]:
        """What tells these clips from others."""
        for number, path in enumerate(self._paths):
            index = _scan(path)
            names = (
                self._headers(number) if index is None else _collected(index.select("name"), path)
            )
            yield from texts_of(names["name"][self._of(number, self._lines)])

    def _gather(self, found: Iterator[tuple[Any, Floats]]) -> None:
        """The clips of all shards in two arrays, which grow in place: no copy is made of them."""
        starts = [0]
        self._lines, self._seconds = np.empty(0, np.uint32), np.empty(0, np.float64)
        for lines, seconds in found:
            starts.append(starts[-1] + len(lines))
            for whole, part in ((self._lines, lines), (self._seconds, seconds)):
                whole.resize(starts[-1], refcheck=False)
                whole[starts[-2] :] = part
        self._starts = np.array(starts, np.int64)

    def _open(self) -> None:
        self._shards = Kept(lambda number: Shard(self._paths[number]), OPEN)
        self._indexes = Kept(self._index, OPEN)

    def _of(self, number: int, array: Any) -> Any:
        """The part of an array that is of one shard."""
        return array[self._starts[number] : self._starts[number + 1]]

    def _line(self, row: int) -> dict[str, Any]:
        """What the index says of a clip; with the members of its sample where it is stored."""
        if len(self._paths) > OPEN:
            return self._stored()[row]
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._indexes(number).row(int(self._lines[row]), named=True)

    def _stored(self) -> RowStore:
        """The samples of many shards, of which too few can stay open."""
        if self._store is None:
            indexes = [index_path(path) for path in self._paths if index_path(path).exists()]
            files = [*map(Path, self._paths), *indexes]
            self._store = RowStore.of(self._folder, files, "clips", self._pieces())
        return self._store

    def _samples(self, rows: list[int]) -> list[dict[str, Any]]:
        return [self._sample(row, self._line(row)) for row in rows]

    def _sample(self, row: int, line: Mapping[str, Any]) -> dict[str, Any]:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        if "members" in line:
            # Opened for this sample alone: to read a whole index for a clip takes too long.
            members = [Member(*(one[name] for name in _PLACES[1:])) for one in line["members"]]
            shard = Shard(self._paths[number], index=members)
        else:
            shard = self._shards(number)
        facts: dict[str, Any] = {"id": line["key"]}
        facts["audio"] = shard.member(line["key"], line["extension"])
        facts |= {name: line[name] for name in _FACTS if line.get(name) is not None}
        return {**_said(shard, line["key"]), **facts}

    def _clips(self, number: int) -> tuple[Any, Floats]:
        """Of the members of a shard that are audio, their lines in the index and their lengths."""
        import polars as pl

        index = _scan(self._paths[number])
        last = pl.col("extension").str.split(".").list.last()
        is_audio, seconds = last.is_in(list(AUDIO_EXTENSIONS)), pl.lit(float("nan"))
        if index is None:
            index = self._headers(number).lazy()
        else:
            # The index tells of each that is audio what it holds, or why that cannot be read.
            is_audio = pl.col("frames").is_not_null() | pl.col("error").is_not_null()
            seconds = pl.col("frames") / pl.col("sample_rate")
        clips = index.with_row_index("line").filter(is_audio).select("line", seconds=seconds)
        found = _collected(clips, self._paths[number])
        return found["line"].to_numpy(), found["seconds"].to_numpy()  # null is NaN

    def _index(self, number: int) -> pl.DataFrame:
        """A line a member; with what they hold where there is a fresh index."""
        index = _scan(self._paths[number])
        if index is None:
            return self._headers(number)
        return _collected(index.select(*_PLACES, *_FACTS), self._paths[number])

    def _headers(self, number: int) -> pl.DataFrame:
        import polars as pl

        members = self._shards(number).members()
        frame = pl.DataFrame(members, orient="row", schema=list(Member._fields))
        split = [split_name(name) for name in frame["name"]]
        keys = pl.Series("key", [one[0] for one in split], pl.String)
        return frame.with_columns(
            keys, pl.Series("extension", [one[1] for one in split], pl.String)
        )

    def _pieces(self) -> Iterator[Piece]:
        """Of each shard, what the index says of its clips, and where the members of each are."""
        import polars as pl

        for number in range(len(self._paths)):
            index = self._index(number)
            members = index.group_by("key").agg(pl.struct(_PLACES[1:]).alias("members"))
            clips = index[self._of(number, self._lines)].drop("name", "offset", "size")
            frame = clips.join(members, on="key", how="left", maintain_order="left")
            yield Piece(frame, range(frame.height))


def _scan(shard: str) -> pl.LazyFrame | None:
    """The index of a shard, if it is of the shard as it is; nothing of it is read yet."""
    import polars as pl

    path = index_path(shard)
    try:
        facts = Path(shard).stat()
        said = pl.read_parquet_metadata(path)
    except (OSError, pl.exceptions.PolarsError):
        return None
    stamp = said.get("ossicle.shard.size"), said.get("ossicle.shard.mtime_ns")
    if stamp != (str(facts.st_size), str(facts.st_mtime_ns)):
        return None
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


def _collected(index: pl.LazyFrame, shard: str) -> pl.DataFrame:
    """What was asked of an index.

    Raises:
        CorruptAudioError: It is damaged.
    """
    place = str(index_path(shard))
    with reading(lambda why: CorruptAudioError(f"the index cannot be read: {why}", source=place)):
        return index.collect()


def _with(index: pl.DataFrame, columns: set[str]) -> pl.DataFrame:
    """Columns that a shard without an index does not tell are null."""
    import polars as pl

    lacking = columns - {*index.columns}
    return index.with_columns(pl.lit(None).alias(name) for name in lacking)


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
    return {name: value for name, value in said.items() if name not in COLUMNS["audio"]}
