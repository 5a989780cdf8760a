"""Tables of recordings as frames, with the names of columns that they came with."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ossicle.data.errors import ManifestError
from ossicle.data.pieces import Piece, joined
from ossicle.data.polars_errors import reading
from ossicle.data.read import source_of_rows
from ossicle.errors import AudioIOError

if TYPE_CHECKING:
    import polars

__all__ = ["Table", "frame_of", "ids_as_text", "source_of"]

Table: TypeAlias = Any
"""A `MetadataManifest`, or whatever `ossicle.data.read` reads: a frame of Polars or pandas, a
mapping of columns, the path of a manifest."""

# Tables of nothing but texts, in which numbers are numbers.
_TEXTS: Final = ("csv", "tsv", "tsv-quoted", "common-voice")
_IDS: Final = ("wav_id", "uid", "file_id", "id", "key", "speaker", "speaker_id")
_INTEGER: Final = re.compile(r"-?(0|[1-9]\d{0,17})")
_ZEROS: Final = re.compile(r"[-+]?0\d")
_FLOAT: Final = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(?i:nan|inf|infinity)")


def frame_of(table: Table, columns: Iterable[str] | None = None) -> polars.DataFrame:
    """A manifest as a Polars frame.

    In CSV and TSV a column all of whose values are whole numbers, numbers or ``true`` and
    ``false`` has that type; ids, and numbers that begin with zeros, stay texts.

    Args:
        table: See `Table`.
        columns: Which are needed; None takes all.

    Raises:
        ManifestError: It is nothing of that, cannot be read, has a row that cannot, or lacks a
            column.
    """
    source = source_of(table)
    with reading(partial(ManifestError, source=source)):
        frame = _frame(table, source)
    for name in columns or ():
        if name not in frame.columns:
            why = f"unknown column; the columns are {', '.join(frame.columns)}"
            raise ManifestError(why, source=source, column=name)
    return frame if columns is None else frame.select(list(dict.fromkeys(columns)))


def source_of(table: Table) -> str:
    """What errors call a manifest."""
    if isinstance(table, str | os.PathLike):
        return os.fspath(table)
    name = getattr(table, "source", None)
    return name if isinstance(name, str) else "the manifest"


def ids_as_text(ids: polars.Series) -> polars.Series:
    """Ids as texts, whole numbers by their digits, as names of files and keys have them."""
    import polars

    return ids.cast(polars.String) if ids.dtype.is_integer() else ids


def _frame(table: Table, source: str) -> polars.DataFrame:
    import polars

    frame = getattr(table, "df", table)
    if isinstance(frame, polars.LazyFrame | polars.DataFrame):
        return frame.lazy().collect()
    try:
        rows = source_of_rows(frame)
    except AudioIOError as error:
        raise ManifestError(error.reason, source=source) from error
    pieces = []
    for found in rows.start():
        if isinstance(found, ManifestError):
            raise found
        pieces.append(found)
    made = _as_they_were(joined(pieces))
    return _typed(made) if rows.format in _TEXTS else made


def _as_they_were(piece: Piece) -> polars.DataFrame:
    """Columns that were kept as JSON, where Polars has a type for their values."""
    import json

    import polars

    frame = piece.frame
    for name in piece.nested & set(frame.columns):
        values = [None if one is None else json.loads(one) for one in frame[name].to_list()]
        try:
            frame = frame.with_columns(polars.Series(name, values, strict=True))
        except (TypeError, OverflowError, polars.exceptions.PolarsError):
            continue
    return frame


def _typed(frame: polars.DataFrame) -> polars.DataFrame:
    return frame.with_columns([_of_texts(frame[name]) for name in frame.columns])


def _of_texts(series: polars.Series) -> polars.Series:
    import polars

    texts = series.drop_nulls().unique()
    if series.name in _IDS or series.dtype != polars.String or not len(texts):
        return series
    if all(_INTEGER.fullmatch(one) for one in texts):
        return series.cast(polars.Int64)
    has_zeros = any(
        one.lstrip("+-")[:1] == "0" and one.lstrip("+-")[1:2].isdigit() for one in texts
    )
    if not has_zeros and all(_FLOAT.fullmatch(one) for one in texts):
        return series.cast(polars.Float64)
    if all(one.lower() in ("true", "false") for one in texts):
        return series.str.to_lowercase() == "true"
    return series
