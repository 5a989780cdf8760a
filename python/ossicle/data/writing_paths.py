"""Recordings as the files that are written name them."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from ossicle.data.errors import ManifestError
from ossicle.data.rows import SpeechRow

__all__ = ["batches", "new_folder", "only_path", "shown"]


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which gets its name once it is whole.

    Raises:
        ManifestError: There is such a folder, and it is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ManifestError("the folder is not empty", source=str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{uuid.uuid4().hex}.partial")
    partial.mkdir()
    try:
        yield partial
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def batches(rows: Iterable[SpeechRow], size: int) -> Iterator[list[SpeechRow]]:
    """Rows in lists of some, in their order; one empty list of none.

    Raises:
        ManifestError: The size is below 1.
    """
    if size < 1:
        raise ManifestError(f"shard_size is {size}: it must be 1 or more")
    left = iter(rows)
    batch = list(islice(left, size))
    yield batch
    while batch := list(islice(left, size)):
        yield batch


def shown(row: SpeechRow, folder: Path) -> Any:
    """The paths of a row's recordings, relative where they are under a folder.

    Of several recordings it is a list, of audio dicts where they have segments.

    Raises:
        ManifestError: They are bytes or members of a shard; the message says which formats can.
    """
    found = row["audio"]
    if isinstance(found, list):
        return [_shown(row, one, folder) for one in found]
    return _relative(_path(row, found), folder)


def _shown(row: SpeechRow, found: Any, folder: Path) -> Any:
    path = _relative(_path(row, found), folder)
    return {**found, "path": path} if isinstance(found, dict) else path


def only_path(row: SpeechRow, folder: Path | None = None) -> str:
    """The path of the only recording of a row.

    Raises:
        ManifestError: There is none, or several, or it is in no file.
    """
    found = row["audio"]
    if found is None or isinstance(found, list):
        count = len(found) if found else "no"
        raise ManifestError(f"{count} recordings where the format needs one", row=row.number)
    path = _path(row, found)
    return path if folder is None else _relative(path, folder)


def _path(row: SpeechRow, found: Any) -> str:
    if isinstance(found, str):
        return found
    if isinstance(found, dict) and found.get("bytes") is None and found.get("path"):
        return str(found["path"])
    raise ManifestError(
        "the recording is in no file of its own: write parquet, webdataset or hf-folder",
        row=row.number,
    )


def _relative(path: str, folder: Path) -> str:
    base = str(folder)
    prefix = "" if base == "." else base.rstrip(os.sep) + os.sep
    if prefix and path.startswith(prefix):
        return path.removeprefix(prefix)
    if "://" in path or Path(path).is_absolute():
        return path
    # Relative to the working folder, which nobody who reads the file knows.
    return path if base == "." else str(Path(path).absolute())
