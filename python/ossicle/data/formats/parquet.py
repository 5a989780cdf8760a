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
from ossicle.data.opening import open_file
from ossicle.data.pieces import SIZE, Found, Piece
from ossicle.data.polars_errors import reading
from ossicle.data.rows import Rows
from ossicle.data.writing_paths import shown
from ossicle.errors import AudioIOError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["contents", "pieces_of_frame", "read_parquet", "write_parquet"]

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
        embed: Whether the recordings go inside, as ``{"bytes", "path"}``; those that are in no file
            of their own do always.
    """
    import polars as pl

    frame = rows.frame
    kind = frame.schema["audio"]
    if embed or isinstance(kind, pl.Struct):
        made = pl.Series("audio", [_inside(row) for row in rows], _inside_type())
    else:
        values = [None if row["audio"] is None else shown(row, path.parent) for row in rows]
        if kind not in (pl.String, pl.List(pl.String)):
            values = [None if one is None else as_parts(one) for one in values]
        made = pl.Series("audio", values, kind)
    with replacing(path) as partial:
        frame.with_columns(made).write_parquet(partial)


def _inside_type() -> Any:
    import polars as pl

    return pl.Struct({"bytes": pl.Binary, "path": pl.String})


def _inside(row: Any) -> dict[str, Any] | None:
    found = row["audio"]
    if found is None:
        return None
    if isinstance(found, dict) and found["bytes"] is not None:
        return dict(found)
    if isinstance(found, list):
        raise ManifestError("several recordings, of which only one can go inside", row=row.number)
    name, data = contents(row)
    return {"bytes": data, "path": name}


def contents(row: Any) -> tuple[str, bytes]:
    """File name and bytes of the recording of a row.

    Raises:
        AudioIOError: It cannot be read.
    """
    found = row["audio"]
    if isinstance(found, dict) and found.get("bytes") is not None:
        return Path(found.get("path") or "").name, found["bytes"]
    path = found["path"] if isinstance(found, dict) else found
    if isinstance(path, str):
        try:
            return Path(path).name, Path(path).read_bytes()
        except OSError as error:
            raise AudioIOError(f"cannot read the file: {error.strerror}", source=path) from error
    # A member of a shard.
    with Path(path.shard).open("rb") as file:
        file.seek(path.offset)
        return Path(path.name).name, file.read(path.size)
