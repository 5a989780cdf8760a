"""The paths that a source names: one, several, or those that fit a pattern."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from itertools import chain, product
from pathlib import Path
from typing import Any

from ossicle.data.errors import ManifestError
from ossicle.data.uris import file_of, refused
from ossicle.errors import AudioFileNotFoundError

__all__ = ["paths_of"]

# As webdataset and NeMo write them: a-{000..012}.tar, audio__OP_0..127_CL_.tar, a.{x,y}.json.
_BRACES = re.compile(r"\{([^{}]*(?:\.\.|,)[^{}]*)\}|_OP_(\d+\.\.\d+)_CL_")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def paths_of(source: Any) -> list[Path] | None:
    """The files and folders that a source names; None where it names none.

    Of a pattern they are in the order of their names.

    Raises:
        AudioFileNotFoundError: Nothing fits a pattern.
        ManifestError: It is a URL.
    """
    if isinstance(source, str | os.PathLike):
        return _matching(os.fspath(source))
    if not isinstance(source, list | tuple) or not source:
        return None
    if not all(isinstance(one, str | os.PathLike) for one in source):
        return None
    return list(chain.from_iterable(_matching(os.fspath(one)) for one in source))


def _matching(text: str) -> list[Path]:
    if re.match("(?i)^file:/", text):
        try:
            return [Path(file_of(text))]
        except ValueError as error:
            raise ManifestError(str(error), source=text) from None
    if re.match("(?i)^[a-z][a-z0-9+.-]*:/", text) and not Path(text).exists():
        raise ManifestError(refused(text).rpartition(": ")[0], source=text)
    path = Path(text)
    if path.exists():
        return [path]
    expanded = list(_expanded(text))
    if len(expanded) == 1 and not glob.has_magic(text):
        return [path]
    found = [Path(one) for each in expanded for one in _globbed(each)]
    if not found:
        raise AudioFileNotFoundError("no file fits the pattern", source=text)
    return found


def _globbed(text: str) -> list[str]:
    """What fits; a name without stars is itself, so that a missing shard is told."""
    return sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else [text]  # noqa: PTH207


def _expanded(text: str) -> Iterable[str]:
    """The texts that braces stand for, in order."""
    parts: list[list[str]] = []
    at = 0
    for found in _BRACES.finditer(text):
        parts += [[text[at : found.start()]], _choices(found[1] or found[2])]
        at = found.end()
    return ("".join(one) for one in product(*parts, [text[at:]]))


def _choices(inside: str) -> list[str]:
    numbers = _RANGE.fullmatch(inside)
    if numbers is None:
        return inside.split(",")
    first, last = numbers.groups()
    width = len(first) if first.startswith("0") or len(first) == len(last) else 0
    return [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
