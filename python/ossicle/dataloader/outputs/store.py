"""Metadata of single recordings on disk, a file each, in four formats with one interface.

What `save` takes comes back equal from `load`, types included; what a format would change or cannot
hold is refused, with the name of the field. A file is written under another name, renamed when it
is whole, and read back before that: whoever is killed leaves the old file or the new one, and
perhaps a ``.*.partial`` that no store looks at.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn
from urllib.parse import quote, unquote_to_bytes

import numpy as np

from ossicle.atomic import flush, replacing
from ossicle.data.errors import MetadataError
from ossicle.data.forks import refuse_after_fork
from ossicle.data.npz import Npz
from ossicle.data.polars_errors import reading
from ossicle.dataloader.outputs.processor import FeatureProcessor
from ossicle.dataloader.types import MetadataDict, WavID

__all__ = [
    "FileStore",
    "JsonStore",
    "MetadataStore",
    "NpzStore",
    "ParquetStore",
    "StoreProcessor",
    "TorchStore",
]

# What stands for itself in a file's name besides letters, digits and "_.-~".
_PLAIN = " +=@,()[]!#$&'"
# Longer names are replaced: file systems take 255 bytes, and a suffix follows.
_NAME_BYTES = 240


class MetadataStore(ABC):
    """Metadata by recording, in whatever format."""

    @abstractmethod
    def load(self, wav_id: WavID) -> MetadataDict:
        """What was saved of a recording; a `MetadataError` where nothing was, or it is damaged."""

    @abstractmethod
    def save(self, wav_id: WavID, data: MetadataDict) -> None:
        """Keeps metadata of a recording in place of what there was."""

    @abstractmethod
    def exists(self, wav_id: WavID) -> bool:
        """Whether there is something to `load`."""

    @abstractmethod
    def list_ids(self) -> list[WavID]:
        """Every recording of which there is something, sorted."""


class FileStore(MetadataStore):
    """A folder with a file for each recording; the formats derive from it.

    Characters of an id that could mean something to a file system are percent-encoded in the
    file's name. Of an id of more than 240 bytes, or of none, the name is a digest, and the id
    stands in a file ``*.id`` beside it. File systems that fold case, as macOS's does unless told
    otherwise, keep one file for ids that differ in nothing else.

    Args:
        root: The folder; the first `save` makes it.
        fsync: Whether `save` waits until the disk has the file, which then outlives a power cut.
    """

    suffix: ClassVar[str]

    def __init__(self, root: str | os.PathLike[str], *, fsync: bool = False) -> None:
        self.root = Path(root)
        self.fsync = fsync

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r}, fsync={self.fsync})"

    def path_for(self, wav_id: WavID) -> Path:
        """Where the file of a recording lies, whether there is one or not."""
        return self.root / (_file_name(wav_id) + self.suffix)

    def load(self, wav_id: WavID) -> MetadataDict:
        """What was saved of a recording.

        Raises:
            MetadataError: Nothing was, or the file is damaged; the message names it.
        """
        path = self.path_for(wav_id)
        try:
            content = path.read_bytes()
        except OSError as error:
            why = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
            raise MetadataError(why, source=str(path), wav_id=wav_id) from error
        try:
            return self._decode(content)
        except Exception as error:  # each format has errors of its own
            why = f"cannot be read as {self.suffix}: {_first_line(error)}"
            raise MetadataError(why, source=str(path), wav_id=wav_id) from error

    def save(self, wav_id: WavID, data: MetadataDict) -> None:
        """Keeps metadata of a recording in place of what there was.

        Raises:
            MetadataError: A field cannot be held as it is; nothing has been written.
            OSError: The disk refuses.
        """
        content = self._encode_checked(wav_id, dict(data))
        path = self.path_for(wav_id)
        self.root.mkdir(parents=True, exist_ok=True)
        if path.name.startswith("~"):
            encoded = wav_id.encode("utf-8", "surrogatepass")
            _write(path.with_suffix(".id"), encoded, fsync=self.fsync)
        _write(path, content, fsync=self.fsync)

    def exists(self, wav_id: WavID) -> bool:
        """Whether there is something to `load`."""
        return self.path_for(wav_id).is_file()

    def list_ids(self) -> list[WavID]:
        """Every recording of which there is something, sorted; other files are passed over."""
        if not self.root.is_dir():
            return []
        names = (entry.name for entry in os.scandir(self.root) if entry.name.endswith(self.suffix))
        found = (self._id(name.removesuffix(self.suffix)) for name in names)
        return sorted(wav_id for wav_id in found if wav_id is not None)

    def _id(self, name: str) -> WavID | None:
        """The id of a file by its name; None of a file that is not the store's."""
        if name.startswith("~"):
            path = self.root / f"{name}.id"
            encoded = path.read_bytes() if path.is_file() else b""
        else:
            encoded = unquote_to_bytes(name)
        try:
            wav_id = encoded.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return None
        return wav_id if _file_name(wav_id) == name else None

    def _encode_checked(self, wav_id: WavID, data: MetadataDict) -> bytes:
        """The file's content, out of which the same data were read."""
        cause = None
        try:
            content = self._encode(data)
            if _same(data, self._decode(content)):
                return content
        except Exception as error:  # each format has errors of its own
            cause = error
        raise self._refusal(wav_id, data) from cause

    def _refusal(self, wav_id: WavID, data: MetadataDict) -> MetadataError:
        """The error that names the field which is not held."""
        source = str(self.path_for(wav_id))
        for field, value in data.items():
            if why := self._fault(field, value):
                name = field if isinstance(field, str) else repr(field)
                return MetadataError(why, source=source, wav_id=wav_id, column=name)
        why = f"a {self.suffix} file cannot hold these fields together"
        return MetadataError(why, source=source, wav_id=wav_id)

    def _fault(self, field: Any, value: Any) -> str | None:
        kind = type(value).__name__
        try:
            if _same({field: value}, self._decode(self._encode({field: value}))):
                return None
        except Exception as error:  # each format has errors of its own
            return f"a {self.suffix} file cannot hold this {kind}: {_first_line(error)}"
        return f"this {kind} would be changed by a {self.suffix} file"

    @abstractmethod
    def _encode(self, data: MetadataDict) -> bytes:
        """The content of the file."""

    @abstractmethod
    def _decode(self, content: bytes) -> MetadataDict:
        """What the content of a file says."""


class JsonStore(FileStore):
    """A JSON object for each recording: texts, whole and finite numbers, lists, nested objects."""

    suffix = ".json"

    def _encode(self, data: MetadataDict) -> bytes:
        return json.dumps(data, ensure_ascii=False, allow_nan=False).encode()

    def _decode(self, content: bytes) -> MetadataDict:
        return _object(json.loads(content.decode(), parse_constant=_refuse_constant))


class NpzStore(FileStore):
    """A NumPy archive for each recording: arrays, and beside them whatever JSON holds.

    ``numpy.load`` reads the arrays; what is no array stands in the member ``meta.json``. Archives
    of others, in which there is no such member, are read as well. There are never pickles.
    """

    suffix = ".npz"
    _META = "meta.json"

    def _encode(self, data: MetadataDict) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, value in data.items():
                if type(value) is np.ndarray:
                    info = zipfile.ZipInfo(f"{name}.npy")  # without the time of day
                    with archive.open(info, "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, value, allow_pickle=False)
            others = {key: value for key, value in data.items() if type(value) is not np.ndarray}
            if others:
                meta = json.dumps(others, ensure_ascii=False, allow_nan=False)
                archive.writestr(zipfile.ZipInfo(self._META), meta.encode())
        return buffer.getvalue()

    def _decode(self, content: bytes) -> MetadataDict:
        with Npz(content) as archive:
            arrays: MetadataDict = {name: archive.array(name) for name in archive.names}
            meta = archive.member(self._META)
        others = {} if meta is None else _object(json.loads(meta, parse_constant=_refuse_constant))
        return arrays | others


class ParquetStore(FileStore):
    """A table of one row for each recording: texts, bytes, numbers, dates, lists, structs.

    ``polars.scan_parquet("root/*.parquet")`` reads all recordings at once. Like everything of
    Polars it does not run in forked workers.
    """

    suffix = ".parquet"

    def _encode(self, data: MetadataDict) -> bytes:
        refuse_after_fork()
        import polars as pl

        buffer = io.BytesIO()
        pl.DataFrame({name: [value] for name, value in data.items()}).write_parquet(buffer)
        return buffer.getvalue()

    def _decode(self, content: bytes) -> MetadataDict:
        refuse_after_fork()
        import polars as pl

        with reading(ValueError):
            frame = pl.read_parquet(io.BytesIO(content))
        if not frame.columns:
            return {}
        if frame.height != 1:
            raise ValueError(f"there are {frame.height} rows instead of one")
        return frame.row(0, named=True)


class TorchStore(FileStore):
    """A ``.pt`` file for each recording: tensors on the CPU, and plain Python values.

    Read with ``weights_only=True``: no file can run code.
    """

    suffix = ".pt"

    def _encode(self, data: MetadataDict) -> bytes:
        import torch

        buffer = io.BytesIO()
        torch.save(data, buffer)
        return buffer.getvalue()

    def _decode(self, content: bytes) -> MetadataDict:
        import torch

        return _object(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


class StoreProcessor(FeatureProcessor):
    """A processor whose outputs lie in a store: a subclass has a `name` and a `process`.

    They lie in the folder of its name under the output directory.

    Attributes:
        store: The format.
    """

    store: ClassVar[Callable[[Path], FileStore]] = JsonStore

    def save(self, wav_id: WavID, metadata: MetadataDict, output_dir: Path) -> Path:
        """Writes metadata under ``output_dir/name``, and tells where.

        Raises:
            MetadataError: A field cannot be held as it is; nothing has been written.
        """
        store = self._store(output_dir)
        store.save(wav_id, metadata)
        return store.path_for(wav_id)

    def load(self, wav_id: WavID, output_dir: Path) -> MetadataDict:
        """What `save` wrote; a `MetadataError` where it wrote nothing, or that is damaged."""
        return self._store(output_dir).load(wav_id)

    def exists(self, wav_id: WavID, output_dir: Path) -> bool:
        """Whether there is something to `load`."""
        return self._store(output_dir).exists(wav_id)

    def list_ids(self, output_dir: Path) -> list[WavID]:
        """Every recording that has been saved, sorted."""
        return self._store(output_dir).list_ids()

    def _store(self, output_dir: Path) -> FileStore:
        return type(self).store(Path(output_dir) / _file_name(self.name))


def _file_name(wav_id: WavID) -> str:
    """The id as a file's name without suffix: distinct for distinct ids, and in no other folder."""
    name = quote(wav_id, safe=_PLAIN, errors="surrogatepass")
    if name.startswith((".", "~")):  # no hidden files, no "..", nothing like a digest
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if 0 < len(name) <= _NAME_BYTES:
        return name
    return "~" + hashlib.sha256(wav_id.encode("utf-8", "surrogatepass")).hexdigest()


def _write(path: Path, content: bytes, *, fsync: bool) -> None:
    """A whole file or none."""
    # No id's name begins with the dot of a temporary file.
    with replacing(path) as temporary, temporary.open("xb") as file:
        file.write(content)
        if fsync:
            file.flush()
            os.fsync(file.fileno())
    if fsync:
        flush(path.parent)


def _object(value: Any) -> MetadataDict:
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not fields")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not valid JSON")


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal in type, value and everything within; NaN equals NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        keys = {(type(key), key) for key in one} == {(type(key), key) for key in other}
        return keys and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, np.ndarray):
        return _same_array(one, other)
    if isinstance(one, (float, complex)):
        return repr(one) == repr(other)  # of NaN and of the sign of zero, too
    if type(one).__module__.partition(".")[0] == "torch" and hasattr(one, "requires_grad"):
        return _same_tensor(one, other)
    return bool(one == other)


def _same_array(one: Any, other: Any) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return bool(one.tobytes() == other.tobytes())


def _same_tensor(one: Any, other: Any) -> bool:
    if (one.dtype, one.shape, one.device, one.layout, one.requires_grad) != (
        (other.dtype, other.shape, other.device, other.layout, other.requires_grad)
    ):
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())
