"""Parquet: columns of paths, or with the recordings inside, as Hugging Face has them.

Format: Apache Parquet; a column ``{"bytes", "path"}`` is that of `datasets.Audio`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ossicle.atomic import replacing
from ossicle.data.audio_column import as_parts
from ossicle.data.errors import ManifestError
from ossicle.data.formats.clip import clip_of, contents, facts_of
from ossicle.data.opening import open_file
from ossicle.data.pieces import SIZE, Found, Piece
from ossicle.data.polars_errors import reading
from ossicle.data.rows import Rows
from ossicle.data.writing_paths import shown

if TYPE_CHECKING:
    import polars as pl

__all__ = ["pieces_of_frame", "read_parquet", "write_parquet"]

# Rows of a file with recordings inside that are read at a time.
_EMBEDDED = 256


def read_parquet(path: Path) -> Iterator[Found]:
    """The rows of a file, some at a time."""
    import polars as pl

    open_file(path).close()
    wrong = functools.partial(ManifestError, source=str(path))
    with reading(wrong):
        lazy = pl.scan_parquet(path, glob=False)
        has_bytes = any("Binary" in str(kind) for kind in lazy.collect_schema().values())
        count = int(lazy.select(pl.len()).collect().item())
    size = _EMBEDDED if has_bytes else SIZE * 8
    for start in range(0, count, size):
        with reading(wrong):
            frame = lazy.slice(start, size).collect()
        yield from pieces_of_frame(frame, start)


def pieces_of_frame(frame: pl.DataFrame, start: int = 0) -> Iterator[Found]:
    """A frame as it is, its categories as texts."""
    import polars as pl

    kinds = frame.schema
    texts = [n for n, k in kinds.items() if isinstance(k, pl.Categorical | pl.Enum)]
    frame = frame.with_columns(pl.col(texts).cast(pl.String)) if texts else frame
    for at in range(0, frame.height, SIZE * 8):
        part = frame.slice(at, SIZE * 8)
        yield Piece(part, range(start + at, start + at + part.height))


def write_parquet(rows: Rows, path: Path, *, embed: bool = False) -> None:
    """Writes a file.

    Args:
        rows: The rows.
        path: The file.
        embed: Whether the clips go inside, as ``{"bytes", "path"}``, segments cut out; recordings
            that are in no file of their own do always, as they are.
    """
    import polars as pl

    frame = rows.frame
    kind = frame.schema["audio"]
    if embed:
        frame = frame.with_columns(_cut_columns(rows))
    elif isinstance(kind, pl.Struct):
        made = pl.Series("audio", [_inside(row) for row in rows], _inside_type())
        frame = frame.with_columns(made)
    else:
        values = [None if row["audio"] is None else shown(row, path.parent) for row in rows]
        if kind not in (pl.String, pl.List(pl.String)):
            values = [None if one is None else as_parts(one) for one in values]
        frame = frame.with_columns(pl.Series("audio", values, kind))
    with replacing(path) as partial:
        frame.write_parquet(partial)


def _cut_columns(rows: Rows) -> list[pl.Series]:
    """The clips of the rows, and the columns that say where they were cut from."""
    import polars as pl

    names = ("offset", "duration", "channel", "sha256")
    values: list[Any] = []
    told: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:
        clip = None if row["audio"] is None else clip_of(row)
        facts = dict(row) if clip is None else facts_of(row, clip)
        values.append(clip and {"bytes": clip.data, "path": clip.name})
        for name in names:
            told[name].append(facts.get(name))
    types = rows.frame.schema
    audio = pl.Series("audio", values, _inside_type())
    return [audio, *(pl.Series(name, told[name], types[name]) for name in names)]


def _inside_type() -> Any:
    import polars as pl

    return pl.Struct({"bytes": pl.Binary, "path": pl.String})


def _inside(row: Any) -> dict[str, Any] | None:
    """A recording that is in no file of its own, as it is."""
    if row["audio"] is None:
        return None
    name, data = contents(row)
    return {"bytes": data, "path": name}
