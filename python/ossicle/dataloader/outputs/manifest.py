"""Tables of what is known of recordings, one row each, under their ``wav_id``."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ossicle.atomic import replacing
from ossicle.data.errors import ManifestError
from ossicle.data.forks import refuse_after_fork
from ossicle.data.polars_errors import reading
from ossicle.dataloader.outputs.joins import (
    Conflict,
    check_how,
    join_by_column,
    join_by_id,
    unmatched_of,
)
from ossicle.dataloader.outputs.stage_tables import ID
from ossicle.dataloader.types import WavID

if TYPE_CHECKING:
    import polars as pl

__all__ = ["MetadataManifest"]


class MetadataManifest:
    """A Polars table with one row a recording and its name in the column ``wav_id``.

    The names are checked once, when the manifest is made, and only they are read for it. All else
    is lazy: what `filter`, `select` and `join` ask for is computed together when rows are first
    needed (`df`, `wav_ids`, `len`), and kept.

    Args:
        df: The table; a LazyFrame is not collected before it must be.
        source: What the manifest is of, such as ``vad``; `ManifestJoiner` puts it before the names
            of columns that others have, too.

    Attributes:
        unmatched: Of a join, how many rows of each manifest that went into it are not in all of the
            others: an inner join leaves them out.

    Raises:
        ManifestError: There is no column ``wav_id`` of text, a row lacks it, or two have the same.
    """

    unmatched: dict[str, int]
    _source: str
    _lazy: pl.LazyFrame
    _df: pl.DataFrame | None
    _rows: int | None

    def __init__(self, df: pl.DataFrame | pl.LazyFrame, source: str) -> None:
        self._take(df, source)
        self._rows = self._check_ids(source)

    @classmethod
    def from_parquet(cls, path: str | os.PathLike[str], source: str) -> MetadataManifest:
        """The manifest in a file, of which only ``wav_id`` is read now.

        Raises:
            ManifestError: The file is not there or is no Parquet, or as for the class.
        """
        refuse_after_fork()
        import polars as pl

        place = os.fspath(path)
        if not Path(place).is_file():
            raise ManifestError("there is no such file", source=place)
        manifest = cls.__new__(cls)
        # A name with brackets is no pattern, and a folder like `a=b` no column.
        manifest._take(pl.scan_parquet(place, glob=False, hive_partitioning=False), source)
        manifest._rows = manifest._check_ids(place)
        return manifest

    @classmethod
    def from_dataframe(cls, df: pl.DataFrame | pl.LazyFrame, source: str) -> MetadataManifest:
        """The same as the class; raises as it does."""
        return cls(df, source)

    @classmethod
    def of_unique(cls, lazy: pl.LazyFrame, source: str) -> MetadataManifest:
        """A table whose names are there and unique by the way it was made: nothing is read."""
        manifest = cls.__new__(cls)
        manifest._take(lazy, source)
        manifest._rows = None
        return manifest

    def _repr_html_(self) -> str:
        from ossicle.data.notebook import ROWS_SHOWN, page_of_frame

        with self._reading():
            head = self._lazy.head(ROWS_SHOWN).collect()
        return page_of_frame(f"manifest of {self._source}", head, self._rows)

    @property
    def source(self) -> str:
        """What it is of."""
        return self._source

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Types by column; no row is read."""
        with self._reading():
            return dict(self._lazy.collect_schema())

    @property
    def columns(self) -> list[str]:
        """Names of the columns; no row is read."""
        return list(self.schema)

    @property
    def lazy(self) -> pl.LazyFrame:
        """The table as Polars will compute it, for your own queries."""
        return self._lazy

    @property
    def df(self) -> pl.DataFrame:
        """All rows, computed when they are first asked for, and kept."""
        if self._df is not None:
            return self._df
        refuse_after_fork()
        with self._reading():
            df = self._lazy.collect()
        self._df, self._lazy, self._rows = df, df.lazy(), df.height
        return df

    @property
    def wav_ids(self) -> list[WavID]:
        """The names, in the order of the rows."""
        ids: list[WavID] = self.df[ID].to_list()
        return ids

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Writes all columns, whole or not at all; rows that are not in memory never all are.

        Raises:
            OSError: The file cannot be written.
        """
        refuse_after_fork()
        # Opened here, so that an error of the system is raised with its own type, and so that a
        # query that fails does not leave a thread after which makes the file anew.
        with replacing(path) as partial, partial.open("wb") as file:
            if self._df is not None:
                self._df.write_parquet(file)
            else:
                with self._reading():
                    self._lazy.sink_parquet(file)

    def filter(self, predicate: pl.Expr) -> MetadataManifest:
        """The rows for which the predicate is true, not null.

        Raises:
            ManifestError: It names a column that is not there, or is not boolean.
        """
        return self._derive(self._lazy.filter(predicate))

    def select(self, columns: list[str]) -> MetadataManifest:
        """These columns, in this order; ``wav_id`` comes first where it is not among them.

        Raises:
            ManifestError: There is no such column, or it is named twice.
        """
        from polars.selectors import by_name

        names = columns if ID in columns else [ID, *columns]
        known = self.columns
        for name in names:
            if name not in known:
                raise ManifestError(
                    f"unknown column; the columns are {', '.join(known)}",
                    source=self._source,
                    column=name,
                )
            if names.count(name) > 1:
                raise ManifestError("is selected twice", source=self._source, column=name)
        # Of names like "^a.*$" or "*" Polars would otherwise make patterns.
        return self._derive(self._lazy.select([by_name(name) for name in names]))

    def join(
        self,
        other: MetadataManifest,
        on: str = ID,
        *,
        how: Literal["inner", "left", "outer"] = "inner",
        conflict: Conflict = "error",
    ) -> MetadataManifest:
        """The rows of both side by side, in the order of this one, as `ManifestJoiner` joins them.

        Args:
            other: What is added.
            on: The column that rows are matched by. Where it is another than ``wav_id``, such as
                a speaker's name, many rows here may match one there; it must be unique there, and
                the other's ``wav_id`` is kept as ``{source}_wav_id``.
            how: Which rows are kept: ``inner`` those in both, ``left`` all of this one, ``outer``
                (by ``wav_id`` alone) those of either.
            conflict: What becomes of other columns that both have, see `ManifestJoiner`; by another
                column than ``wav_id`` they are an error.

        Raises:
            ManifestError: The column is missing or not unique, or others are in both.
        """
        if not isinstance(other, MetadataManifest):
            raise TypeError(f"a MetadataManifest was expected, not {type(other).__name__}")
        check_how(how, conflict)
        if on == ID:
            joined = join_by_id([self, other], how, conflict)
        else:
            joined = join_by_column(self, other, on, how, conflict)
        result = self.of_unique(joined, f"{self.source}+{other.source}")
        result.unmatched = unmatched_of([self, other], on)
        _ = result.schema  # raises where a function's expression does not fit
        return result

    def __len__(self) -> int:
        return self.df.height if self._rows is None else self._rows

    def __repr__(self) -> str:
        rows = "not computed" if self._rows is None else f"{self._rows:,}"
        columns = ", ".join(self.columns)
        return f"MetadataManifest(source={self._source!r}, rows={rows}, columns=[{columns}])"

    def _take(self, df: pl.DataFrame | pl.LazyFrame, source: str) -> None:
        import polars as pl

        if not isinstance(df, pl.DataFrame | pl.LazyFrame):
            raise TypeError(f"a manifest must be a Polars table, not {type(df).__name__}")
        if not isinstance(source, str) or not source:
            raise ManifestError(f"a manifest's source must be a name, not {source!r}")
        self._source = source
        self.unmatched = {}
        self._lazy = df.lazy()
        self._df = df if isinstance(df, pl.DataFrame) else None

    def _derive(self, lazy: pl.LazyFrame) -> MetadataManifest:
        manifest = self.of_unique(lazy, self._source)
        manifest.unmatched = self.unmatched
        _ = manifest.schema  # raises where the query does not fit the columns
        return manifest

    def _reading(self, place: str | None = None) -> AbstractContextManager[None]:
        source = place or self._source
        return reading(lambda why: ManifestError(f"cannot be read: {why}", source=source))

    def _check_ids(self, place: str) -> int:
        """How many rows there are; names are compared by their hashes, a sixth of the time."""
        refuse_after_fork()
        import polars as pl

        with self._reading(place):
            _check_id_type(dict(self._lazy.collect_schema()), place)
            name = pl.col(ID)
            found = self._lazy.select(hash=name.hash(), is_null=name.is_null()).collect()
        if found["is_null"].any():
            row = found["is_null"].arg_max()
            raise ManifestError(f"row {row} has none", source=place, column=ID)
        if found["hash"].n_unique() < found.height:
            self._refuse_repeated(place)
        return found.height

    def _refuse_repeated(self, place: str) -> None:
        """Raises where names, and not just their hashes, are equal."""
        import polars as pl

        with self._reading(place):
            ids = self._lazy.select(ID).collect()
        counts = ids.group_by(ID, maintain_order=True).len().filter(pl.col("len") > 1)
        if counts.height:
            wav_id, times = counts.row(0)
            why = f"{counts.height:,} names occur more than once, this one {times} times"
            raise ManifestError(why, source=place, wav_id=wav_id, column=ID)


def _check_id_type(schema: dict[str, Any], place: str) -> None:
    import polars as pl

    if ID not in schema:
        why = f"unknown column; the columns are {', '.join(schema) or 'none'}"
        raise ManifestError(why, source=place, column=ID)
    if schema[ID] != pl.String:
        why = f"holds {schema[ID]}, not text: cast it, as by pl.col('wav_id').cast(pl.String)"
        raise ManifestError(why, source=place, column=ID)
