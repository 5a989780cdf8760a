"""Tables in files and in memory, read with Polars."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ossicle.data.errors import ManifestError
from ossicle.data.polars_errors import reading

if TYPE_CHECKING:
    import polars

__all__ = ["Table", "collect_table", "frame_of", "scan_table", "source_of"]

Table: TypeAlias = Any
"""A `MetadataManifest`, a Polars frame, a mapping of columns, a .parquet, .csv, .tsv or .jsonl
file."""


def frame_of(table: Table, columns: Iterable[str] | None = None) -> polars.DataFrame:
    """A manifest as a Polars frame.

    Args:
        table: A `MetadataManifest`, a Polars frame, lazy or not, a mapping of columns, or the path
            of a Parquet, CSV, TSV or JSON lines file.
        columns: Which are needed; None takes all.

    Raises:
        ManifestError: It is none of these, cannot be read, or lacks a column.
    """
    source = source_of(table)
    with reading(partial(ManifestError, source=source)):
        lazy = _lazy(table, source)
        names = lazy.collect_schema().names()
        for name in columns or ():
            if name not in names:
                why = f"unknown column; the columns are {', '.join(names)}"
                raise ManifestError(why, source=source, column=name)
        chosen = lazy if columns is None else lazy.select(list(dict.fromkeys(columns)))
        return chosen.collect()


def source_of(table: Table) -> str:
    """What errors call a manifest."""
    if isinstance(table, str | os.PathLike):
        return os.fspath(table)
    name = getattr(table, "source", None)
    return name if isinstance(name, str) else "the manifest"


def scan_table(path: Path, source: str) -> polars.LazyFrame:
    """The table in a file, of which no more than its names and types are read.

    A quote in TSV is text, as Common Voice writes it.

    Args:
        path: A .parquet, .csv, .tsv, .jsonl or .ndjson file; brackets in its name are no pattern.
        source: What errors call it.

    Raises:
        ManifestError: It is no such file, or cannot be read.
    """
    import polars

    with reading(partial(ManifestError, source=source)):
        match path.suffix.lower():
            case ".parquet":
                frame = polars.scan_parquet(path, glob=False)
            case ".csv":
                frame = polars.scan_csv(path, glob=False)
            case ".tsv":
                frame = polars.scan_csv(path, glob=False, separator="\t", quote_char=None)
            case ".jsonl" | ".ndjson":
                frame = polars.scan_ndjson(path)
            case suffix:
                known = ".jsonl, .csv, .tsv or .parquet"
                raise ManifestError(f"a manifest must be {known}, not {suffix!r}", source=source)
        frame.collect_schema()
    return frame


def collect_table(lazy: polars.LazyFrame, source: str) -> polars.DataFrame:
    """The rows of a scan.

    Raises:
        ManifestError: The file cannot be read.
    """
    with reading(partial(ManifestError, source=source)):
        return lazy.collect()


def _lazy(table: Table, source: str) -> polars.LazyFrame:
    import polars

    frame = getattr(table, "df", table)
    if isinstance(frame, polars.LazyFrame):
        return frame
    if isinstance(frame, Mapping):
        frame = polars.DataFrame(dict(frame))
    if isinstance(frame, polars.DataFrame):
        return frame.lazy()
    if not isinstance(frame, str | os.PathLike):
        raise ManifestError(f"a manifest was expected, not {type(table).__name__}", source=source)
    return scan_table(Path(frame), source)
