"""The column ``audio`` of rows: paths, recordings inside of the source, several of one row.

It is text where each row has one path; ``{"bytes", "path"}`` where recordings are inside of the
source; ``{"shard", "member"}`` where they are members of a tar; a list of texts where rows have
several paths; and a list of parts, which hold any of these and a segment each, where nothing
plainer can.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ossicle.data.columns import COLUMNS
from ossicle.data.members import member_of
from ossicle.data.segments import Segment, segment_of
from ossicle.data.uris import data_of, file_of, refused

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Part",
    "as_parts",
    "audio_series",
    "audio_value",
    "common_type",
    "in_place",
    "inside_of",
    "is_of_parts",
    "is_plain",
    "listed",
    "parts_series",
    "recast",
    "said_inside",
]

# Beginnings of paths: of URIs, of files among these, and of what is relative to no folder.
_FILE = "(?i)^file:/"
_URI = "(?i)^(file:/|[a-z][a-z0-9+.-]*://)"
_WHOLE = "^(/|[A-Za-z]:)" if os.name == "nt" else "^/"
_SAID = ("offset", "end", "duration", "channel", "sample_rate")


class Part(NamedTuple):
    """One recording of a row.

    Attributes:
        data: Its bytes, where it is inside.
        path: Its file, or the name that it had.
        segment: What its audio dict says.
        sample_rate: What its audio dict says.
        member: Shard and member, where it is in a tar.
    """

    data: bytes | None = None
    path: str | None = None
    segment: Segment = Segment()
    sample_rate: Any = None
    member: tuple[str, str] | None = None


def listed(found: Any) -> list[Part]:
    """The recordings of a row: of a path, bytes, an audio dict, or a list of these.

    Raises:
        ValueError: There is something else.
    """
    if found is None or found == "":
        return []
    if isinstance(found, list | tuple):
        return [one for part in found for one in listed(part)]
    if isinstance(found, str):
        return [Part(data_of(found)) if found.startswith("data:") else Part(path=found)]
    if isinstance(found, bytes):
        return [Part(found)]
    if isinstance(found, Mapping):
        return [_of_dict(found)]
    raise ValueError(f"audio holds {found!r}, not the path of a recording")


def _of_dict(found: Mapping[str, Any]) -> Part:
    data, path = found.get("bytes"), found.get("path") or found.get("audio_filepath")
    said = segment_of(found, 1)[0]
    rate = next((found[one] for one in COLUMNS["sample_rate"] if found.get(one) is not None), None)
    if isinstance(found.get("shard"), str):
        return Part(None, None, said, rate, (found["shard"], found["member"]))
    if isinstance(data, bytes):
        return Part(data, path, said, rate)
    if isinstance(path, str) and path:
        return listed(path)[0]._replace(segment=said, sample_rate=rate)
    keys = ", ".join(map(str, found))
    raise ValueError(f"audio has no bytes and no path (its keys: {keys or 'none'})")


def audio_value(value: Any) -> Any:
    """The value of the column as a row shows it; a lone part as what it is.

    Raises:
        AudioError, InvalidArgumentError: A shard cannot be read, or lacks the member.
    """
    if not isinstance(value, list):
        return member_of(value)
    whole = [_shown(one) if isinstance(one, dict) else one for one in value]
    return whole[0] if len(whole) == 1 and value and isinstance(value[0], dict) else whole


def _shown(part: Mapping[str, Any]) -> Any:
    if part.get("shard") is not None:
        return member_of({"shard": part["shard"], "member": part["member"]})
    said = {one: part[one] for one in ("offset", "duration", "channel") if part[one] is not None}
    if part["bytes"] is not None:
        return {"bytes": part["bytes"], "path": part["path"], **said}
    return {"path": part["path"], **said} if said else part["path"]


def audio_series(rows: Sequence[Sequence[Part]]) -> pl.Series:
    """The column of the parts of each row, in the plainest type that holds them."""
    import polars as pl

    parts = [one for row in rows for one in row]
    are_several = any(len(row) > 1 for row in rows)
    are_inside = any(one.data is not None for one in parts)
    if any(one.member for one in parts) or (
        are_several and (are_inside or any(len(r) > 1 and _has_segment(r) for r in rows))
    ):
        values: list[Any] = [[_dict_of(one, len(row)) for one in row] or None for row in rows]
        return pl.Series("audio", values, pl.List(_part_type()))
    if are_several:
        paths = [[one.path for one in row] or None for row in rows]
        return pl.Series("audio", paths, pl.List(pl.String))
    if are_inside:
        values = [{"bytes": row[0].data, "path": row[0].path} if row else None for row in rows]
        return pl.Series("audio", values, _inside_type())
    return pl.Series("audio", [row[0].path if row else None for row in rows], pl.String)


def parts_series(name: str, values: Sequence[Any]) -> pl.Series:
    """A column of recordings of several forms, some of them bytes.

    Raises:
        TypeError: A value is no recording.
    """
    import polars as pl

    try:
        rows = [None if one is None else listed(one) for one in values]
    except ValueError as error:
        raise TypeError(str(error)) from error
    parts = [None if row is None else [_dict_of(one, 2) for one in row] for row in rows]
    return pl.Series(name, parts, pl.List(_part_type()))


def _has_segment(row: Sequence[Part]) -> bool:
    return not all(one.segment.is_whole for one in row)


def _dict_of(part: Part, count: int) -> dict[str, Any]:
    made: dict[str, Any] = {"bytes": part.data, "path": part.path}
    if part.member:
        made |= {"shard": part.member[0], "member": part.member[1]}
    if count == 1:  # the segment is the row's
        return made
    return made | part.segment.said


def _inside_type() -> pl.Struct:
    import polars as pl

    return pl.Struct({"bytes": pl.Binary, "path": pl.String})


def _member_type() -> pl.Struct:
    import polars as pl

    return pl.Struct({"shard": pl.String, "member": pl.String})


def _part_type() -> pl.Struct:
    import polars as pl

    segment = {"offset": pl.Float64, "duration": pl.Float64, "channel": pl.Int64}
    texts = dict.fromkeys(("path", "shard", "member"), pl.String)
    return pl.Struct({"bytes": pl.Binary, **texts, **segment})


def is_of_parts(kind: Any) -> bool:
    """Whether a type is that of lists of parts."""
    import polars as pl

    return bool(kind == pl.List(_part_type()))


def is_plain(series: pl.Series) -> bool:
    """Whether a column of texts holds nothing but paths."""
    marks = (series.str.starts_with(mark) for mark in ("data:", '["', "[{"))
    return not any(found.any() for found in marks)


def inside_of(series: pl.Series) -> pl.Series | None:
    """A column of bytes, audio dicts or members of shards in its type; None where it is none."""
    import polars as pl

    kind = series.dtype
    if kind == pl.Binary:
        path = pl.lit(None, pl.String).alias("path")
        fields = series.alias("bytes").to_frame().select("bytes", path)
    elif isinstance(kind, pl.Struct) and "shard" in (names := {one.name for one in kind.fields}):
        return series.alias("audio")
    elif isinstance(kind, pl.Struct) and {"bytes", "path"} <= names and "array" not in names:
        fields = series.struct.unnest().select("bytes", "path")
        if fields.schema != {"bytes": pl.Binary, "path": pl.String}:
            if fields["bytes"].dtype not in (pl.Binary, pl.Null):
                return None
            fields = fields.cast({"bytes": pl.Binary, "path": pl.String})
    else:
        return None
    if fields["path"].str.starts_with("data:").any():
        return None
    fields = fields.with_columns(pl.col("path").replace("", None))
    if fields["bytes"].null_count() == len(series):
        return fields["path"].alias("audio")
    is_there = pl.col("bytes").is_not_null() | pl.col("path").is_not_null()
    return fields.select(pl.when(is_there).then(pl.struct("bytes", "path")).alias("audio"))["audio"]


def said_inside(series: pl.Series) -> dict[str, pl.Series]:
    """Of a column of audio dicts, the columns that say segments and rates, by what they mean."""
    import polars as pl

    if not isinstance(series.dtype, pl.Struct):
        return {}
    names = {one.name for one in series.dtype.fields}
    found = {}
    for meaning in _SAID:
        parts = [series.struct.field(one) for one in COLUMNS[meaning] if one in names]
        parts = [one for one in parts if one.null_count() < len(one)]
        if parts:
            found[meaning] = pl.select(pl.coalesce(parts)).to_series()
    return found


def in_place(series: pl.Series, root: str | None) -> tuple[pl.Series, dict[int, str]]:
    """The column with its paths under the folder that they are relative to.

    Returns:
        It, and the reasons why rows have no path that is read.
    """
    import polars as pl

    kind = series.dtype
    if isinstance(kind, pl.List):
        return _lists_in_place(series, root)
    if not isinstance(kind, pl.Struct):
        return _texts_in_place(series, root)
    if "bytes" not in [each.name for each in kind.fields]:
        return series, {}
    data, names = series.struct.field("bytes"), series.struct.field("path")
    # What is inside keeps its name.
    placed, wrong = _texts_in_place(names.set(data.is_not_null(), None), root)
    fields = pl.DataFrame([data, placed.zip_with(data.is_null(), names).alias("path")])
    there = pl.when(pl.lit(series.is_not_null())).then(pl.struct("bytes", "path"))
    return fields.select(there.alias(series.name)).to_series(), wrong


def _texts_in_place(series: pl.Series, root: str | None) -> tuple[pl.Series, dict[int, str]]:
    import polars as pl

    wrong = {}
    is_uri = series.str.contains(_URI).fill_null(value=False)
    if is_uri.any():
        values = series.to_list()
        for place in is_uri.arg_true().to_list():
            try:
                values[place] = _in_place(values[place], None)
            except ValueError as error:
                wrong[place] = str(error)
        series = pl.Series(series.name, values, pl.String)
    if root is None:
        return series, wrong
    is_whole = series.str.contains(_WHOLE)
    prefix = pl.lit(root if root.endswith(os.sep) else root + os.sep)
    placed = pl.select(pl.when(is_whole).then(series).otherwise(prefix + series)).to_series()
    return placed.alias(series.name), wrong


def _lists_in_place(series: pl.Series, root: str | None) -> tuple[pl.Series, dict[int, str]]:
    import polars as pl

    wrong: dict[int, str] = {}
    rows = series.to_list()
    for place, row in enumerate(rows):
        for at, one in enumerate(row or ()):
            try:
                if isinstance(one, str):
                    row[at] = _in_place(one, root)
                elif one["bytes"] is None and one["path"] is not None:
                    one["path"] = _in_place(one["path"], root)
            except ValueError as error:
                wrong.setdefault(place, str(error))
    return pl.Series(series.name, rows, series.dtype), wrong


def _in_place(path: str, root: str | None) -> str:
    if re.match(_FILE, path):
        return file_of(path)
    if re.match(_URI, path):
        raise ValueError(refused(path))
    return path if root is None or re.match(_WHOLE, path) else os.path.join(root, path)  # noqa: PTH118


def common_type(kinds: set[Any]) -> Any:
    """The type of this column that holds some of its types; None where one is none of it."""
    import polars as pl

    plain, paths, inside = pl.String(), pl.List(pl.String), _inside_type()
    if kinds <= {plain, inside}:
        return inside if inside in kinds else plain
    if kinds <= {plain, paths}:
        return paths
    known = {plain, paths, inside, _member_type(), pl.List(_part_type())}
    return pl.List(_part_type()) if kinds <= known else None


def recast(series: pl.Series, kind: Any) -> pl.Series:
    """The column in a type that holds it."""
    import polars as pl

    if not isinstance(kind, pl.Struct | pl.List) or series.dtype in (kind, pl.Null):
        return series.cast(kind)
    values: list[Any] = [None if one is None else as_parts(one) for one in series.to_list()]
    if kind == _inside_type():
        values = [one and {"bytes": None, **one[0]} for one in values]
    elif kind == pl.List(pl.String):
        values = [one and [each["path"] for each in one] for one in values]
    return pl.Series(series.name, values, kind)


def as_parts(value: Any) -> list[dict[str, Any]]:
    """What a row names, as the list of parts that a column of the widest type holds."""
    return [
        {"path": one} if isinstance(one, str) else one
        for one in (value if isinstance(value, list) else [value])
    ]
