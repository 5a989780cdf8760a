"""Tables that the pipeline writes: found, checked, and joined from their shards, unread.

Polars is imported by the functions that need it and never after a fork, where it may hang.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ossicle.data.columns import COLUMNS
from ossicle.data.errors import ManifestError, MissingStageError
from ossicle.data.forks import refuse_after_fork
from ossicle.data.polars_errors import reading

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ID", "StageTable", "check_rows", "collect"]

ID = "wav_id"
"""What every table's column of names is called here."""

# What a column may hold by the name of its kind, and what a column of nulls becomes.
_DEFAULTS = {"text": "String", "number": "Float64", "count": "Int64", "flag": "Boolean"}


@dataclass(frozen=True)
class StageTable:
    """A table of a stage, which may lie in shards.

    Attributes:
        folders: Where it may lie under the output directory; the first that is there counts.
        pattern: Its files in that folder.
        required: Kinds (text, number, count, flag) of columns that must be there, by name.
        optional: Kinds of columns that are null where they are missing.
        id_column: What the pipeline calls the column of ids.
    """

    folders: tuple[str, ...]
    pattern: str
    required: Mapping[str, str] = field(default_factory=dict)
    optional: Mapping[str, str] = field(default_factory=dict)
    id_column: str = "uid"

    def files(self, root: Path) -> list[Path]:
        """Its files, sorted; none where the stage has not run."""
        for folder in self.folders:
            if found := sorted((root / folder).glob(self.pattern)):
                return found
        return []

    def scan(self, root: Path) -> pl.LazyFrame:
        """All rows of all shards, with the ids as ``wav_id``; only footers are read.

        Raises:
            MissingStageError: There is no file of it.
            ManifestError: A file is broken, lacks a column, or has one of another kind.
        """
        refuse_after_fork()
        import polars as pl

        files = self.files(root)
        if not files:
            raise self.missing(root)
        parts = [self._part(of, paths) for of, paths in _by_schema(files)]
        lazy = pl.concat(parts, how="diagonal_relaxed") if len(parts) > 1 else parts[0]
        return _check_schemas(lazy, str(files[0].parent))

    def missing(self, root: Path) -> MissingStageError:
        """The error that it is not there, with what is there instead."""
        wanted = " or ".join(f"{folder}/{self.pattern}" for folder in self.folders)
        return MissingStageError(f"there is no {wanted}: {_contents(root)}", source=str(root))

    def _part(self, schema: Mapping[str, Any], paths: list[Path]) -> pl.LazyFrame:
        """Shards of one schema: one scan, its columns checked, named and completed."""
        import polars as pl

        id_column = self._id_column(schema, paths[0])
        lazy = pl.scan_parquet(paths, glob=False, hive_partitioning=False)
        changed = [pl.col(id_column).cast(pl.String).alias(ID)]
        for name, kind in {**self.required, **self.optional}.items():
            if name in schema:
                changed += _convert(name, kind, schema[name], paths[0])
            elif name in self.optional:
                changed.append(pl.lit(None, dtype=getattr(pl, _DEFAULTS[kind])).alias(name))
            else:
                raise _lacking(name, schema, paths[0])
        others = pl.all().exclude(id_column, *(each.meta.output_name() for each in changed))
        order = dict.fromkeys([ID, *(name for name in schema if name != id_column), *self.optional])
        return lazy.select(others, *changed).select(list(order))

    def _id_column(self, schema: Mapping[str, Any], path: Path) -> str:
        there = [name for name in (self.id_column, *COLUMNS["wav_id"]) if name in schema]
        if not there:
            raise _lacking(self.id_column, schema, path)
        if there[0] != ID and ID in schema:
            why = f"there are two id columns, this and {there[0]!r}"
            raise ManifestError(why, source=str(path), column=ID)
        if not (schema[there[0]].is_integer() or _fits("text", schema[there[0]])):
            why = f"ids must be text, not {schema[there[0]]}"
            raise ManifestError(why, source=str(path), column=there[0])
        return there[0]


def collect(lazy: pl.LazyFrame, source: Path) -> pl.DataFrame:
    """The rows of a scan; a file that breaks while it is read is a `ManifestError`."""
    refuse_after_fork()
    with reading(lambda why: ManifestError(f"cannot be read: {why}", source=str(source))):
        return lazy.collect()


def check_rows(frame: pl.DataFrame, source: Path) -> pl.DataFrame:
    """The frame itself, whose ids are there and each once.

    Raises:
        ManifestError: A row has no id, or two have the same.
    """
    if frame[ID].null_count():
        raise ManifestError("some rows have no id", source=str(source), column=ID)
    if frame[ID].n_unique() < frame.height:
        twice = frame[ID].filter(frame[ID].is_duplicated())[0]
        raise ManifestError("the id has more than one row", source=str(source), wav_id=twice)
    return frame


def _by_schema(files: Iterable[Path]) -> list[tuple[Mapping[str, Any], list[Path]]]:
    """Files in their order, neighbours of one schema together."""
    groups: list[tuple[Mapping[str, Any], list[Path]]] = []
    for path in files:
        schema = _schema(path)
        if groups and list(groups[-1][0].items()) == list(schema.items()):
            groups[-1][1].append(path)
        else:
            groups.append((schema, [path]))
    return groups


def _schema(path: Path) -> Mapping[str, Any]:
    import polars as pl

    with reading(lambda why: ManifestError(f"is not a Parquet file: {why}", source=str(path))):
        schema: Mapping[str, Any] = pl.read_parquet_schema(path)
    return schema


def _check_schemas(lazy: pl.LazyFrame, folder: str) -> pl.LazyFrame:
    with reading(
        lambda why: ManifestError(f"shards have incompatible columns: {why}", source=folder)
    ):
        lazy.collect_schema()
    return lazy


def _convert(name: str, kind: str, dtype: Any, path: Path) -> list[pl.Expr]:
    """What is to be changed about a column, if anything."""
    import polars as pl

    if not _fits(kind, dtype):
        what = {"text": "text", "number": "numbers", "count": "numbers", "flag": "true or false"}
        why = f"holds {dtype}, not {what[kind]}"
        raise ManifestError(why, source=str(path), column=name)
    default = getattr(pl, _DEFAULTS[kind])
    return [pl.col(name).cast(default)] if dtype == pl.Null or kind == "text" else []


def _fits(kind: str, dtype: Any) -> bool:
    import polars as pl

    if dtype == pl.Null:
        return True
    if kind == "text":
        return dtype in (pl.String, pl.Categorical, pl.Enum)
    return bool(dtype == pl.Boolean if kind == "flag" else dtype.is_numeric())


def _lacking(name: str, schema: Iterable[str], path: Path) -> ManifestError:
    why = f"missing column; the columns are {', '.join(schema) or 'none'}"
    return ManifestError(why, source=str(path), column=name)


def _contents(root: Path) -> str:
    if not root.is_dir():
        return "the folder does not exist"
    there = sorted(entry.name for entry in root.iterdir())
    shown = ", ".join(there[:20]) + (f" and {len(there) - 20} more" if len(there) > 20 else "")
    return f"there are {shown}" if there else "the folder is empty"
