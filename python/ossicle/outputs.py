"""Where results may go: not onto what they are made of, and not among what somebody else made."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from ossicle.errors import InvalidArgumentError

__all__ = ["claim_folder", "refuse_same_file"]

PathLike: TypeAlias = "str | os.PathLike[str]"


def refuse_same_file(outputs: Iterable[PathLike], inputs: Iterable[PathLike]) -> None:
    """Nothing, unless an output is one of the inputs: by any path, by a link, in any case of names.

    Call it before anything is written.

    Raises:
        InvalidArgumentError: One is; the message names both.
    """
    # The files themselves are compared, not their names. What does not exist is no input.
    written = [(path, identity) for path in outputs if (identity := _identity(path)) is not None]
    if not written:
        return
    read = {identity: path for path in inputs if (identity := _identity(path)) is not None}
    for path, identity in written:
        if identity in read:
            raise InvalidArgumentError(
                f"the output {os.fspath(path)} is the input {os.fspath(read[identity])}: "
                "choose another output"
            )


def claim_folder(folder: PathLike, marker: str, maker: str, content: str = "") -> Path:
    """Makes a folder in which the caller may write over and remove what it makes, and marks it.

    Args:
        folder: Missing, empty, or one that has the marker from before.
        marker: The name of the file that marks it.
        maker: Whose folder it is, for the message: ``ossicle demo``.
        content: Of the marker.

    Raises:
        InvalidArgumentError: The folder holds other things, and no marker; nothing was touched.
        OSError: It cannot be made.
    """
    folder = Path(folder)
    path = folder / marker
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} exists and is not a folder")
    if folder.is_dir() and not path.exists() and any(folder.iterdir()):
        raise InvalidArgumentError(
            f"{folder} is not empty, and {maker} did not make its contents: choose an empty "
            "or new folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return folder


def _identity(path: PathLike) -> tuple[int, int] | None:
    """What a regular file is, whatever it is called; None for everything else."""
    try:
        found = os.stat(path)  # noqa: PTH116  (faster, and there may be very many)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
