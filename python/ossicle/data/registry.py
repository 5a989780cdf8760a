"""The formats of rows, by name: filled by `ossicle.data.known`, used by what reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ossicle.data.errors import ManifestError
from ossicle.data.pieces import Found

__all__ = ["FORMATS", "Format", "format_named", "format_of_output"]


@dataclass(frozen=True)
class Format:
    """How rows are kept.

    Attributes:
        name: What ``format=`` takes.
        about: In a few words.
        read: From a path; None where it is only written.
        write: Rows to a path; None where it is only read.
        suffixes: Endings of names that mean it in outputs.
        root: The folder that its paths are relative to, from the path that is read; None is that
            of the file, or the folder itself.
        facts: Names that are no columns of the schema in it, although they look so.
    """

    name: str
    about: str
    read: Callable[[Path], Iterable[Found]] | None = None
    write: Callable[..., None] | None = None
    suffixes: tuple[str, ...] = ()
    root: Callable[[Path], Path] | None = None
    facts: frozenset[str] = frozenset()


FORMATS: Final[dict[str, Format]] = {}


def format_named(name: str, *, written: bool = False) -> Format:
    """A format that is read, or written.

    Raises:
        ManifestError: There is none; the message lists those that are known.
    """
    known = [one.name for one in FORMATS.values() if (one.write if written else one.read)]
    if name not in known:
        how = "written" if written else "read"
        raise ManifestError(f"no format {name!r} can be {how}; known are {', '.join(known)}")
    return FORMATS[name]


def format_of_output(path: Path) -> Format:
    """The format of an output by its ending.

    Raises:
        ManifestError: It tells none.
    """
    name = path.name.lower()
    for one in FORMATS.values():
        if one.write and any(name.endswith(suffix) for suffix in one.suffixes):
            return one
    known = ", ".join(one.name for one in FORMATS.values() if one.write)
    raise ManifestError(f"its name tells no format: name one of {known}", source=str(path))


def write(rows: Any, path: Path, name: str | None, options: dict[str, Any]) -> None:
    """Writes rows in a format.

    Raises:
        ManifestError: It is none that can be written, or cannot hold a row.
    """
    chosen = format_of_output(path) if name is None else format_named(name, written=True)
    if chosen.write is None:  # the two above see to it
        raise ManifestError(f"{chosen.name} is not written", source=str(path))
    chosen.write(rows, path, **options)
