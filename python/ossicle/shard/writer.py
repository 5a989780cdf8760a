"""WebDataset shards written: the same samples give the same bytes, whole or not at all.

A shard is a tar as ``tarfile`` would write it, ustar with PAX records where a name is too long or
not ASCII or a member has 8 GiB or more; times, owners and groups are 0 and their names empty, so
that nothing in it tells where and when it was made. The members of a sample lie together, in the
order of the dictionary.

It is written as ``.<name>.<machine>-<process>-<random>.tmp`` in the same folder and renamed when it
is whole. A process that is killed leaves such a file; the next writer of shards of this name
removes it.
"""

from __future__ import annotations

import io
import json
import numbers
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ossicle import _native
from ossicle.errors import InvalidArgumentError

__all__ = ["ShardWriter", "WrittenShard"]


class WrittenShard(NamedTuple):
    """A shard that is whole.

    Attributes:
        path: Where it lies, absolute.
        samples: How many it holds.
        bytes: Of the file.
    """

    path: Path
    samples: int
    bytes: int


class ShardWriter:
    """Writes samples to a shard, or to numbered ones that are no larger than asked for.

    Leaving ``with`` ends the last shard; an error inside it discards the shard that is not whole
    and keeps those before. A sample that is refused changes nothing, and the next can be written.
    An error of the file system is the end: the shard is removed, and no more samples are taken.
    Without a sample there is no shard. Several threads may share a writer.

    Args:
        path: The shard, or a pattern for many with a field for their number in its last part:
            ``train-%06d.tar``. The folder exists.
        max_bytes: Begin the next shard before the sample that would make this one's file larger. A
            sample that is larger than that alone has a shard of its own.
        max_samples: The same for the number of samples.
        index: Write ``<name>.index.parquet`` beside each shard, with the digest of each member and
            what audio it holds.
        overwrite: Replace shards of these names. Without it, any shard that the pattern fits is an
            error, since old and new ones would be read together; with it, old ones of higher
            numbers stay.
        fsync: Have each shard on the disk before it has its name. It then survives a power cut, and
            a network file system that is full says so.

    Raises:
        AudioIOError: The folder is missing, or there is such a shard (``errno.EEXIST``).
        InvalidArgumentError: A limit without a field in the path or below 1, or a field that is not
            like ``%d`` or ``%06d``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int | None = None,
        max_samples: int | None = None,
        index: bool = True,
        overwrite: bool = False,
        fsync: bool = False,
    ) -> None:
        self.path = os.fspath(path)
        self._native = _native.ShardWriter(
            self.path,
            _limit("max_bytes", max_bytes),
            _limit("max_samples", max_samples),
            index,
            overwrite,
            fsync,
        )
        self._is_open = True
        self._has_unfinished = False

    def write(self, sample: Mapping[str, Any], *, same_shard: bool = False) -> None:
        """Appends a sample.

        What is read back from it by `Shard` are its bytes, under the same key and extensions. They
        are made of a value by its type and its extension, of which the part after the last dot
        counts:

        - ``bytes``, ``bytearray``, ``memoryview`` (those of a `Shard` too): as they lie, not
          copied.
        - anything else under ``json``: JSON in UTF-8, keys sorted, no spaces, so that equal
          dictionaries give equal bytes; NaN is refused.
        - ``str``: UTF-8.
        - ``int`` (not ``bool``): decimal digits, as for ``cls``.
        - `numpy.ndarray` under ``npy``: a file as of `numpy.save`, without pickles.

        Args:
            sample: ``{"__key__": key, extension: value, ...}`` with at least one extension, in
                small letters. The key may have folders; its last part has no dot.
            same_shard: Stay in the shard of the sample before, whatever the limits say: for a
                sample that points to a member of it.

        Raises:
            InvalidArgumentError: The sample, its key or a member is refused; the shard is as it
                was.
            AudioIOError: It cannot be written; the shard is lost.
        """
        if not self._is_open:
            raise InvalidArgumentError("the writer is closed", source=self.path)
        key = sample.get("__key__")
        if not isinstance(key, str):
            raise InvalidArgumentError(
                f"'__key__' must be a str, not {_kind(key)}", source=self.path
            )
        members = [
            (extension, _encode(self.path, key, extension, value))
            for extension, value in sample.items()
            if extension != "__key__"
        ]
        try:
            self._native.write(key, members, same_shard)
        except UnicodeEncodeError as error:
            raise _refuse(
                self.path, key, None, "the key or an extension is not valid text"
            ) from error
        self._has_unfinished = True

    @property
    def shards(self) -> list[WrittenShard]:
        """Those that are whole."""
        return [WrittenShard(Path(path), *facts) for path, *facts in self._native.shards()]

    def close(self) -> None:
        """Ends the last shard; a second call does nothing.

        Raises:
            AudioIOError: It cannot be written, or another process has written one there meanwhile.
            InvalidArgumentError: A shard was lost to an error before.
        """
        if self._is_open:
            self._is_open = False
            self._native.finish()

    def discard(self) -> None:
        """Removes what was written of the last shard; those before it stay."""
        self._is_open = False
        self._native.discard()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def __del__(self) -> None:
        if getattr(self, "_is_open", False) and self._has_unfinished:
            warnings.warn(
                f"{self.path}: the writer was not closed, and the last shard is discarded",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __repr__(self) -> str:
        return f"ShardWriter({self.path!r})"


def _limit(name: str, value: int | None) -> int | None:
    """A limit as an integer that the core takes."""
    if value is None:
        return None
    number = _integer(value)
    if number is None or number < 1:
        raise InvalidArgumentError(f"{name} must be an integer of at least 1, not {value!r}")
    return min(number, 2**63 - 1)


def _integer(value: Any) -> int | None:
    """An integer, NumPy's too, but no bool."""
    is_one = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return int(value) if is_one else None


def _encode(shard: str, key: str, extension: Any, value: Any) -> bytes | memoryview:
    """The bytes of a member, as `ShardWriter.write` says."""
    if not isinstance(extension, str):
        raise _refuse(shard, key, None, f"an extension must be a str, not {_kind(extension)}")
    kind = extension.rpartition(".")[2]
    try:
        return _bytes_of(kind, value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _refuse(shard, key, extension, str(error)) from error


def _bytes_of(kind: str, value: Any) -> bytes | memoryview:
    if isinstance(value, np.ndarray):
        if kind != "npy":
            raise TypeError("an array must be under npy; for its raw bytes pass array.tobytes()")
        return _npy(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _flat(memoryview(value))
    if kind == "json":
        return json_bytes(value)
    if isinstance(value, str):
        return value.encode()
    number = _integer(value)
    if number is not None:
        return str(number).encode()
    known = "bytes, a str, an int, JSON under json or an array under npy"
    raise TypeError(f"a member must be {known}, not {_kind(value)}")


def _flat(view: memoryview) -> memoryview:
    if not view.c_contiguous:
        raise TypeError("the memoryview is not contiguous")
    # Zeros in a shape cannot be cast.
    return view.cast("B") if view.nbytes else memoryview(b"")


def json_bytes(value: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """JSON that is the same for equal values; `default` turns other types into JSON's own."""
    text = json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        sort_keys=True,
        separators=(",", ":"),
        default=default,
    )
    return text.encode()


def _npy(array: np.ndarray[Any, Any]) -> memoryview:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getbuffer()


def _kind(value: Any) -> str:
    return type(value).__name__


def _refuse(shard: str, key: str, extension: str | None, why: str) -> InvalidArgumentError:
    member = key if extension is None else f"{key}.{extension}"
    return InvalidArgumentError(why, source=shard, member=member)
