"""The door: whatever holds rows becomes `Rows`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ossicle.data.columns import SCHEMA
from ossicle.data.errors import ManifestError
from ossicle.data.formats.folders import is_audio, read_files
from ossicle.data.formats.memory import in_memory
from ossicle.data.known import FORMATS
from ossicle.data.paths import paths_of
from ossicle.data.reading import Reading
from ossicle.data.recognise import recognise
from ossicle.data.registry import format_named
from ossicle.data.rows import Rows
from ossicle.data.sources import RowSource, Several
from ossicle.errors import AudioFileNotFoundError

__all__ = ["read", "source_of_rows"]


def read(
    source: Any,
    format: str | None = None,  # noqa: A002  (the word that people know)
    *,
    root: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> Rows:
    """Rows of one schema, out of whatever people keep rows in; docs/data.md lists the formats.

    Nothing is lost silently: each row of the source is among the rows or among `Rows.faults`.

    Args:
        source: A file or a folder, a pattern of these (``data/*.parquet``, ``a-{000..012}.tar``) or
            a list of them, whose rows follow each other; recordings too are rows; or a frame of
            Polars or pandas, a `datasets` object, a mapping of columns, rows as mappings.
        format: Its name; None recognises it by its content and layout.
        root: The folder that paths are relative to; None takes that of the manifest, and leaves
            paths of what is in memory as they are.
        columns: Names of columns by what they mean, as ``{"audio": "my_path"}``; None, and those
            that are not told, are found by `ossicle.data.COLUMNS`.

    Raises:
        AudioFileNotFoundError: There is no such file.
        ManifestError: Nothing is known that reads it; the message lists what is.
    """
    if isinstance(source, Rows):
        return source
    found = source_of_rows(source, format, root=root, columns=columns)
    return Rows(found.name, found.format, found.in_schema)


def source_of_rows(
    source: Any,
    format: str | None = None,  # noqa: A002  (the word that people know)
    *,
    root: str | os.PathLike[str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> RowSource:
    """What `read` reads, before its rows are in the schema; the arguments and errors are its."""
    told = dict(columns or {})
    unknown = [name for name in told if name not in (*SCHEMA, "end")]
    if unknown:
        why = f"no column of the schema is called {unknown[0]!r}; they are {', '.join(SCHEMA)}"
        raise ManifestError(why)
    if isinstance(source, Rows):
        return RowSource(source.source, source.format, source.found, None)
    base = None if root is None else os.fspath(root)
    paths = paths_of(source)
    if paths is not None:
        return _from_paths(paths, format, base, told)
    found = in_memory(source)
    if found is None:
        known = ", ".join(FORMATS)
        why = f"a {type(source).__name__} holds no rows; a path of {known} does, or a frame, a "
        raise ManifestError(why + "datasets object, a mapping of columns, or rows as mappings")
    name, start = found
    return RowSource(f"the {name}", name, start, Reading(f"the {name}", base, told))


def _from_paths(
    paths: list[Path], kind: str | None, root: str | None, told: Mapping[str, str]
) -> RowSource:
    if kind is None and all(is_audio(one) and one.is_file() for one in paths):
        name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        return RowSource(name, "files", lambda: read_files(paths), Reading(name, root, told))
    parts = [_from_path(one, kind, root, told) for one in paths]
    return parts[0] if len(parts) == 1 else Several.of(parts)


def _from_path(
    path: Path, kind: str | None, root: str | None, told: Mapping[str, str]
) -> RowSource:
    if not path.exists():
        raise AudioFileNotFoundError("no such file or folder", source=str(path))
    if path.is_dir() and kind is None and (path / "manifest.jsonl").exists():
        path = path / "manifest.jsonl"
    chosen = format_named(recognise(path) if kind is None else kind)
    if chosen.read is None:
        raise ManifestError(f"{chosen.name} is not read", source=str(path))
    folder = path if path.is_dir() else path.parent
    base = root if root is not None else str(chosen.root(path) if chosen.root else folder)
    base = "" if base == "." else base
    reader = chosen.read
    reading = Reading(str(path), base or None, told, chosen.facts)
    return RowSource(str(path), chosen.name, lambda: reader(path), reading)
