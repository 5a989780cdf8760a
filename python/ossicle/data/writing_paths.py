"""Recordings as the files that are written name them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ossicle.data.errors import ManifestError
from ossicle.data.rows import SpeechRow

__all__ = ["only_path", "shown"]


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
