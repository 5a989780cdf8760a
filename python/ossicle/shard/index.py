"""Indexes of shards: Parquet files beside them that say where members lie and what they hold.

The index of ``train-000.tar`` is ``train-000.tar.index.parquet``, one row a member in the order of
the tar:

- ``shard`` (its file's name; the whole path in what `index_shards` returns), ``key``, ``extension``
- ``offset`` and ``size`` of the payload, in bytes, and its ``sha256`` in hex
- ``codec``, ``sample_rate``, ``channels`` and exact ``frames``, null where it is no audio
- ``name``, the path in the tar, and ``header_offset``, the first byte of its headers
- ``error``: why a member that is audio by its extension cannot be read as such
- ``container`` and ``bits_per_sample``, as `ossicle.info` gives them
- ``remarks`` of `ossicle.info`, a line each; null where there are none, and in indexes of versions
  before remarks, which are read as they are

`Shard` opens by it while size and time of modification of the shard are those that it was made for
(both stand in its metadata, to the nanosecond), and by the headers otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from ossicle import _native
from ossicle.audio.arguments import thread_count
from ossicle.data.polars_errors import reading
from ossicle.errors import AudioError, CorruptAudioError, InvalidArgumentError, check_on_error
from ossicle.progress import Report

if TYPE_CHECKING:
    import polars

__all__ = ["index_path", "index_shards"]

Shards = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def index_path(shard: str | os.PathLike[str]) -> Path:
    """Where the index of a shard lies."""
    return Path(f"{os.fspath(shard)}.index.parquet")


@overload
def index_shards(
    paths: Shards,
    *,
    threads: int | None = None,
    progress: Report | None = None,
    force: bool = False,
    on_error: Literal["raise"] = "raise",
) -> polars.DataFrame: ...
@overload
def index_shards(
    paths: Shards,
    *,
    threads: int | None = None,
    progress: Report | None = None,
    force: bool = False,
    on_error: Literal["collect"],
) -> tuple[polars.DataFrame, list[AudioError | None]]: ...
def index_shards(
    paths: Shards,
    *,
    threads: int | None = None,
    progress: Report | None = None,
    force: bool = False,
    on_error: Literal["raise", "collect"] = "raise",
) -> polars.DataFrame | tuple[polars.DataFrame, list[AudioError | None]]:
    """Makes the indexes of shards that are missing or stale, and gives the rows of all.

    Each payload is read once, without the GIL, many at a time. The index of a shard is there as
    soon as that shard is done: a call that is repeated after an interruption continues there. An
    index of lhotse (``NAME.tar.idx``) or Energon (``STEM.tar.idx``) beside a shard is compared.

    Args:
        paths: Shards, or one.
        threads: How many threads work; None takes as many as the process may use.
        progress: Called with ``(bytes done, bytes of all shards)``, ten times a second at most,
            from any thread but never from two at once; what it raises ends the work and is raised.
        force: Make all of them anew, and replace what lies in their place.
        on_error: ``"raise"`` works on all shards, then raises the first error, with notes on the
            others; ``"collect"`` returns ``(frame, errors)``, one error or None for each path.

    Returns:
        A row a member, in the order of `paths` and of the tars; ``shard`` is the path as given. A
        shard with an error has no rows. Members that cannot be read as the audio that their
        extension says are no errors: they have an ``error`` in their row.

    Raises:
        CorruptAudioError: A shard is damaged, a file in an index's place is damaged or another
            program's (``force=True`` replaces it), or another program's index beside a shard says
            something else; then ours is there all the same.
        AudioIOError: A shard cannot be read or changes meanwhile, an index cannot be written.
        UnsupportedFormatError: A shard holds what none may.
        InvalidArgumentError: One shard is named twice, `threads` is not positive.
    """
    shards = list_paths(paths)
    check_on_error(on_error, "raise", "collect")
    workers = thread_count(threads)
    made = _native.index_shards(shards, workers, force, progress)
    errors = [one if isinstance(one, AudioError) else None for one in made]
    if on_error == "raise":
        raise_first(errors)
    whole = [path for path, error in zip(shards, errors, strict=True) if error is None]
    frame = _read(whole)
    return (frame, errors) if on_error == "collect" else frame


def list_paths(paths: Shards) -> list[str]:
    """Their paths as text, each shard once."""
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    shards = [os.fspath(path) for path in several]
    seen: set[str] = set()
    for path in shards:
        real = os.path.abspath(path)  # noqa: PTH100 - of text, and links stay links
        if real in seen:
            raise InvalidArgumentError("the shard is listed twice", source=path)
        seen.add(real)
    return shards


def raise_first(errors: list[AudioError | None]) -> None:
    found = [error for error in errors if error is not None]
    if not found:
        return
    for other in found[1:]:
        found[0].add_note(f"also: {other}")
    raise found[0]


def _read(shards: list[str]) -> polars.DataFrame:
    import polars

    frames = [polars.DataFrame(schema=_schema())]
    for shard in shards:
        frame = _parquet(shard)
        if "remarks" not in frame.columns:
            frame = frame.with_columns(polars.lit(None, polars.String).alias("remarks"))
        frames.append(frame.with_columns(polars.lit(shard).alias("shard")))
    return polars.concat(frames)


def read_index(shard: str, columns: list[str]) -> polars.DataFrame | None:
    """These columns of the index of a shard; None where it lacks one or cannot be read."""
    try:
        frame = _parquet(shard)
    except AudioError:
        return None
    return frame.select(columns) if set(columns) <= set(frame.columns) else None


def _parquet(shard: str) -> polars.DataFrame:
    import polars

    # As a file object: names are no patterns then, and folders like `a=b` no columns.
    path = index_path(shard)
    with reading(partial(_unread, path)), path.open("rb") as file:
        return polars.read_parquet(file)


def _unread(path: Path, reason: str) -> AudioError:
    return CorruptAudioError(f"the index cannot be read: {reason}", source=os.fspath(path))


def _schema() -> dict[str, polars.DataType]:
    from polars import Int32, Int64, String

    return {
        "shard": String(),
        "key": String(),
        "extension": String(),
        "offset": Int64(),
        "size": Int64(),
        "sha256": String(),
        "codec": String(),
        "sample_rate": Int32(),
        "channels": Int32(),
        "frames": Int64(),
        "name": String(),
        "header_offset": Int64(),
        "error": String(),
        "container": String(),
        "bits_per_sample": Int32(),
        "remarks": String(),
    }
