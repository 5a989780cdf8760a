"""What adapters share: they read the outputs of someone else's program, and never write."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from ossicle.data.errors import DataError, MetadataError
from ossicle.data.forks import refuse_after_fork
from ossicle.data.npz import read_npz
from ossicle.data.rows_by_id import RowsById
from ossicle.dataloader.outputs.processor import FeatureProcessor
from ossicle.dataloader.outputs.stage_tables import (
    ID,
    StageTable,
    check_rows,
    collect,
)
from ossicle.dataloader.types import MetadataDict, WavID
from ossicle.progress import Progress, Report, reporting

if TYPE_CHECKING:
    from typing import Self

    import polars as pl

__all__ = ["ArrayStageAdapter", "ReadOnlyAdapter", "StageAdapter"]


class ReadOnlyAdapter(FeatureProcessor):
    """The outputs of someone else's program.

    Args:
        output_dir: Where that program wrote.
    """

    name = ""

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = Path(output_dir)
        self._elsewhere: Self | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.output_dir)!r})"

    @abstractmethod
    def scan(self) -> pl.LazyFrame:
        """A row for each recording of which there is something, with ``wav_id``, unread."""

    @abstractmethod
    def as_manifest(self, progress: Progress = None) -> pl.DataFrame:
        """A row for each recording of which there is something, with ``wav_id``.

        Args:
            progress: True shows a bar; a function is called with what is done and with all.
        """

    @abstractmethod
    def list_ids(self) -> list[WavID]:
        """The recordings of which there is something."""

    @abstractmethod
    def prepare(self) -> Self:
        """Reads what `load` and `exists` look things up in; they do so when they are first used.

        Call it before forked workers start, in which Polars does not run, or to see outputs that
        are newer. A pickled adapter is prepared.
        """

    def process(self, wav_id: WavID, audio_path: Path) -> NoReturn:
        """Refuses: the pipeline is what processes.

        Raises:
            DataError: Always.
        """
        raise self._read_only("process", wav_id)

    def save(self, wav_id: WavID, metadata: MetadataDict, output_dir: Path) -> NoReturn:
        """Refuses: the pipeline is what writes.

        Raises:
            DataError: Always.
        """
        raise self._read_only("save", wav_id)

    def __getstate__(self) -> dict[str, Any]:
        return self.prepare_once().__dict__ | {"_elsewhere": None}

    @abstractmethod
    def prepare_once(self) -> Self:
        """`prepare`, where that has not been done."""

    def _at(self, output_dir: str | os.PathLike[str] | None) -> Self:
        """The adapter of that folder."""
        if output_dir is None or Path(output_dir) == self.output_dir:
            return self
        if self._elsewhere is None or self._elsewhere.output_dir != Path(output_dir):
            self._elsewhere = self._for(Path(output_dir))
        return self._elsewhere

    def _for(self, output_dir: Path) -> Self:
        """An adapter like this one, of another folder."""
        return type(self)(output_dir)

    def _read_only(self, what: str, wav_id: WavID) -> DataError:
        why = f"{type(self).__name__} is read-only and does not {what}: the pipeline does"
        return DataError(why, source=str(self.output_dir), wav_id=wav_id)


class StageAdapter(ReadOnlyAdapter):
    """A stage that left a table with a row for each recording, and more about each."""

    _meta: ClassVar[StageTable]
    _segments: ClassVar[dict[str, StageTable]] = {}

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        super().__init__(output_dir)
        self._rows: RowsById | None = None
        self._lists: dict[str, RowsById] = {}

    def scan(self) -> pl.LazyFrame:
        """A row for each recording whose stage succeeded, with ``wav_id``; only footers are read.

        Raises:
            MissingStageError: The stage has not run; the message lists what is there.
            ManifestError: A table is damaged or lacks a column.
        """
        return self._meta.scan(self.output_dir).filter(self._succeeded())

    def as_manifest(self, progress: Progress = None) -> pl.DataFrame:
        """A row for each recording whose stage succeeded, with ``wav_id``.

        Args:
            progress: True shows a bar; a function is called with what is done and with all.

        Raises:
            MissingStageError: The stage has not run; the message lists what is there.
            ManifestError: A table is damaged, lacks a column, or has two rows of a recording.
        """
        with reporting(progress, self.name) as report:
            frame = check_rows(collect(self.scan(), self.output_dir), self.output_dir)
            report(frame.height, frame.height)
        return frame

    def list_ids(self) -> list[WavID]:
        """The recordings whose stage succeeded, in the order of the tables."""
        ids = collect(self.scan().select(ID), self.output_dir)
        return check_rows(ids, self.output_dir)[ID].to_list()

    def prepare(self) -> Self:
        """Reads what `load` and `exists` look things up in; they do so when they are first used.

        Call it before forked workers start, in which Polars does not run, or to see outputs that
        are newer. A pickled adapter is prepared.
        """
        refuse_after_fork()
        rows = RowsById(self.as_manifest())
        # A recording of nothing but silence has no segments, but the tables are there.
        ran = {name: of for name, of in self._segments.items() if of.files(self.output_dir)}
        lists = {name: of.scan(self.output_dir) for name, of in ran.items()}
        self._lists = {
            name: RowsById(collect(lazy, self.output_dir)) for name, lazy in lists.items()
        }
        self._rows = rows
        return self

    def prepare_once(self) -> Self:
        """`prepare`, where that has not been done."""
        return self.prepare() if self._rows is None else self

    def exists(self, wav_id: WavID, output_dir: Path | None = None) -> bool:
        """Whether the stage succeeded for a recording and its output is there."""
        return wav_id in self._at(output_dir)._known()

    def load(self, wav_id: WavID, output_dir: Path | None = None) -> MetadataDict:
        """The row of a recording, with its segments or arrays under their names.

        Args:
            wav_id: The recording.
            output_dir: Another folder than the adapter's own.

        Raises:
            MetadataError: The stage has nothing on it, or what it has is damaged.
        """
        return self._at(output_dir)._load(wav_id)

    def _known(self) -> RowsById:
        rows = self.prepare_once()._rows
        assert rows is not None
        return rows

    def _load(self, wav_id: WavID) -> MetadataDict:
        rows = self._known().rows(wav_id)
        if not rows:
            why = f"the stage {self.name!r} failed on this recording, or has not processed it"
            raise MetadataError(why, source=str(self.output_dir), wav_id=wav_id)
        lists = {name: segments.rows(wav_id) for name, segments in self._lists.items()}
        return {ID: wav_id, **rows[0], **lists}

    def _succeeded(self) -> pl.Expr:
        import polars as pl

        return pl.col(f"{self.name}_status") != "error"


class ArrayStageAdapter(StageAdapter):
    """A stage that left an archive of arrays for each recording, besides a table of summaries.

    Without that table the manifest is made from the archives.
    """

    _folders: ClassVar[tuple[str, ...]]

    def scan(self) -> pl.LazyFrame:
        """As of any stage; where the table is missing the archives are read now."""
        return super().scan() if self._has_meta() else self.as_manifest().lazy()

    def as_manifest(self, progress: Progress = None) -> pl.DataFrame:
        """A row for each recording whose stage succeeded, with ``wav_id``.

        Args:
            progress: True shows a bar; a function is called with what is done and with all.

        Raises:
            MissingStageError: The stage has not run; the message lists what is there.
            ManifestError: A table is damaged, lacks a column, or has two rows of a recording.
            MetadataError: There is no table, and an archive is damaged.
        """
        if self._has_meta():
            return super().as_manifest(progress)
        archives = self._archives()
        if not archives:
            raise self._meta.missing(self.output_dir)
        with reporting(progress, self.name) as report:
            return self._summarize(archives, report)

    def exists(self, wav_id: WavID, output_dir: Path | None = None) -> bool:
        """Whether the stage succeeded for a recording and its archive is there."""
        at = self._at(output_dir)
        return wav_id in at._known() and _is_path(wav_id) and at._archive(wav_id).is_file()

    def _load(self, wav_id: WavID) -> MetadataDict:
        row = super()._load(wav_id)
        try:
            return row | read_npz(self._archive(wav_id))
        except MetadataError as error:
            error.wav_id = wav_id
            raise

    def _archive(self, wav_id: WavID) -> Path:
        if not _is_path(wav_id):
            raise MetadataError(
                "is not the name of a file", source=str(self.output_dir), wav_id=wav_id
            )
        return self._folder() / f"{wav_id}.npz"

    def _archives(self) -> list[str]:
        folder = self._folder()
        names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - in half the time
        return [f"{folder}/{name}" for name in names if name.endswith(".npz")]

    def _folder(self) -> Path:
        folders = [self.output_dir / name for name in self._folders]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def _has_meta(self) -> bool:
        return bool(self._meta.files(self.output_dir))

    @staticmethod
    @abstractmethod
    def _summarize(archives: Sequence[str], report: Report) -> pl.DataFrame:
        """What the table would say."""


def _is_path(wav_id: WavID) -> bool:
    """Whether it names a file within a folder."""
    return "\0" not in wav_id and not {"", ".", ".."}.intersection(wav_id.split("/"))
