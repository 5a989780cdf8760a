"""Files and rows by ``wav_id``: what loaders know of where things are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ossicle.data.arrays import Columns, Lookup, Strings
from ossicle.data.columns import COLUMNS
from ossicle.data.errors import ManifestError, MetadataError
from ossicle.data.frames import Table, frame_of, ids_as_text, source_of
from ossicle.data.npz import read_npz
from ossicle.data.recordings import Recording
from ossicle.data.segments import Segment, segment_of
from ossicle.errors import InvalidArgumentError
from ossicle.outputs import PathLike
from ossicle.shard import AUDIO_EXTENSIONS

if TYPE_CHECKING:
    import polars

    from ossicle.dataloader.types import MetadataDict, WavID

__all__ = [
    "Files",
    "ManifestRows",
    "MetadataSource",
    "SideCars",
    "folder_of",
    "ids_of",
    "part_of_row",
    "parts_of",
    "recordings",
]

_PARTS = ("offset", "end", "duration", "channel")


@runtime_checkable
class MetadataSource(Protocol):
    """What a `MetadataStore` and the adapters have."""

    def load(self, wav_id: str, /) -> dict[str, Any]:
        """The metadata of a recording."""

    def list_ids(self) -> list[str]:
        """All recordings."""


class Files:
    """Recordings by id: paths, and where rows of a manifest say so the segments of them.

    Args:
        ids: Of the recordings.
        paths: Of their files.
        root: The folder that the paths are relative to.
        source: What errors call them.
        parts: The columns that say segments, where there are any.
    """

    def __init__(
        self, ids: Strings, paths: Strings, root: str, source: str, parts: Columns | None = None
    ) -> None:
        self.ids, self._paths, self._root = Lookup(ids, source), paths, root
        self._parts = parts

    def path(self, wav_id: WavID) -> str:
        """Where a file is.

        Raises:
            MetadataError: There is no such id.
        """
        # Joined as text: an absolute path has no root.
        return os.path.join(self._root, self._paths[self.ids.number(wav_id)])  # noqa: PTH118

    def recording(self, wav_id: WavID) -> Recording:
        """A file and the segment of it.

        Raises:
            MetadataError: There is no such id, or what is said of the segment makes no sense.
        """
        path = self.path(wav_id)
        return Recording(path, path, segment=self.segment(wav_id))

    def segment(self, wav_id: WavID) -> Segment:
        """The segment of a file."""
        number = self.ids.number(wav_id)
        return Segment() if self._parts is None else part_of_row(self._parts.row(number), wav_id)


def part_of_row(row: Mapping[str, Any], wav_id: WavID) -> Segment:
    """The segment that the columns of a row say.

    Raises:
        MetadataError: They make no sense.
    """
    try:
        return segment_of(row, 1)[0]
    except InvalidArgumentError as error:
        raise MetadataError(error.reason, wav_id=wav_id) from error


def parts_of(frame: polars.DataFrame) -> polars.DataFrame | None:
    """The columns of a frame that say segments of recordings; None where it has none."""
    names = [name for one in _PARTS for name in COLUMNS[one] if name in frame.columns]
    return frame.select(names) if names else None


class ManifestRows:
    """Rows of a manifest."""

    def __init__(self, table: Table) -> None:
        frame = frame_of(table)
        self._ids = Lookup(ids_of(frame, source_of(table)), source_of(table))
        self._columns = Columns.of(frame.drop("wav_id"), source_of(table))

    def load(self, wav_id: WavID, /) -> MetadataDict:
        """A row, without its id."""
        return self._columns.row(self._ids.number(wav_id))

    def list_ids(self) -> list[WavID]:
        """All of them."""
        return list(self._ids.strings)


class SideCars:
    """Files in a folder: JSON objects and NPZ arrays, by their paths without the suffix."""

    def __init__(self, folder: Path) -> None:
        self._json, self._npz = (_files_of_folder(folder, {kind}) for kind in ("json", "npz"))
        ids = {*self._json.ids.strings, *self._npz.ids.strings}
        self._ids = Lookup(Strings.of(sorted(ids)), os.fspath(folder))

    def load(self, wav_id: WavID, /) -> MetadataDict:
        """The fields and arrays of its files."""
        self._ids.number(wav_id)
        metadata: MetadataDict = {}
        for files in (self._json, self._npz):
            if files.ids.find(wav_id) is not None:
                path = files.path(wav_id)
                fields = _read_side_car(path, wav_id)
                for twice in metadata.keys() & fields.keys():
                    why = "the JSON beside it has the same field"
                    raise MetadataError(why, source=path, wav_id=wav_id, column=twice)
                metadata |= fields
        return metadata

    def list_ids(self) -> list[WavID]:
        """All of them."""
        return list(self._ids.strings)


def _read_side_car(path: str, wav_id: WavID) -> Mapping[str, Any]:
    try:
        if path.lower().endswith(".npz"):
            return read_npz(path)
        fields = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "reason", str(error))
        raise MetadataError(why, source=path, wav_id=wav_id) from error
    if not isinstance(fields, dict):
        why = f"a JSON object was expected, not {type(fields).__name__}"
        raise MetadataError(why, source=path, wav_id=wav_id)
    return fields


def recordings(
    source: PathLike | Mapping[WavID, PathLike] | Table, column: str | None, root: PathLike | None
) -> Files:
    """The audio files of a folder, a mapping or a manifest, as `WaveformLoader` says."""
    folder = folder_of(source)
    if folder is not None:
        return _files_of_folder(folder, AUDIO_EXTENSIONS)
    if root is None:
        root = Path(source).parent if isinstance(source, str | os.PathLike) else ""
    if isinstance(source, Mapping) and all(
        isinstance(path, str | os.PathLike) for path in source.values()
    ):
        paths = Strings.of(map(os.fspath, source.values()))
        return Files(Strings.of(source), paths, os.fspath(root), "the mapping")
    return _files_of_table(source, column, os.fspath(root))


def folder_of(source: Any) -> Path | None:
    """The folder that is meant, if it is one."""
    is_folder = isinstance(source, str | os.PathLike) and Path(source).is_dir()
    return Path(source) if is_folder else None


def _files_of_table(table: Table, column: str | None, root: str) -> Files:
    """The paths in a manifest."""
    source = source_of(table)
    frame = frame_of(table)
    if column is not None:
        _ = frame_of(frame, ["wav_id", column])
    chosen = column or next((name for name in COLUMNS["audio"] if name in frame.columns), None)
    if chosen is None:
        known = ", ".join(COLUMNS["audio"])
        why = (
            f"no column with paths ({known}), but {', '.join(frame.columns)}: name one by `column`"
        )
        raise ManifestError(why, source=source)
    ids = ids_of(frame, source)
    empty = frame[chosen].is_null().arg_max() if frame[chosen].null_count() else None
    if empty is not None:
        raise ManifestError("the path is null", source=source, wav_id=ids[empty], column=chosen)
    parts = parts_of(frame)
    columns = None if parts is None else Columns.of(parts, source)
    return Files(ids, Strings.of(frame[chosen].to_list()), root, source, columns)


def ids_of(frame: Any, source: str) -> Strings:
    """The column ``wav_id`` of a Polars frame.

    Raises:
        ManifestError: It is not there, or not text in every row.
    """
    if "wav_id" not in frame.columns:
        why = f"unknown column; the columns are {', '.join(frame.columns)}"
        raise ManifestError(why, source=source, column="wav_id")
    ids = ids_as_text(frame["wav_id"])
    if ids.null_count() or str(ids.dtype) != "String":
        told = "with nulls" if ids.null_count() else str(ids.dtype)
        why = f"ids must be text, not {told}"
        raise ManifestError(why, source=source, column="wav_id")
    return Strings.of_series(ids)


def _files_of_folder(folder: Path, kinds: frozenset[str] | set[str]) -> Files:
    """All files of some kinds below a folder; hidden ones are none."""
    paths = sorted(_paths_in(folder, kinds))
    ids = Strings.of(path.rpartition(".")[0] for path in paths)
    return Files(ids, Strings.of(paths), os.fspath(folder), os.fspath(folder))


def _paths_in(folder: Path, kinds: frozenset[str] | set[str]) -> Iterator[str]:
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(place).relative_to(folder)
        for name in files:
            if name.rpartition(".")[2].lower() in kinds and not name.startswith("."):
                yield (inside / name).as_posix()
