"""The caches themselves: a root, what is put and got there, and its upkeep."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, overload

import numpy as np

from ossicle import _native
from ossicle.audio.arguments import thread_count
from ossicle.cache.keys import AudioCacheKey, WaveformCacheKey
from ossicle.errors import AudioError, InvalidArgumentError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    # What comes back is float16 under keys that say so.
    Floats = NDArray[np.float32]
    AnyFloats = NDArray[np.float32] | NDArray[np.float16]

__all__ = [
    "AudioCache",
    "CacheEntry",
    "CacheFault",
    "CachePruned",
    "CacheReport",
    "CacheStats",
    "FaultKind",
    "WaveformCache",
]

FaultKind: TypeAlias = Literal["corrupt", "stale", "unreadable"]
# Between two calls of a `progress`.
_CHECKED_AT_ONCE = 64


@dataclass(frozen=True)
class CacheStats:
    """What a cache object has seen since it was made in this process, and what its root holds.

    Attributes:
        hits: Gets that gave an array.
        misses: Gets that gave none; the corrupt ones are among them.
        corrupt: Entries found wrong by a get, and removed.
        evicted: Entries removed to keep ``max_bytes``.
        failed: Puts that wrote nothing.
        bytes: Size of all entries and temporary files under the root now, whoever wrote them.
        puts: Puts that wrote an entry.
        entries: How many entries the root holds now.
        temporary: Files that are being written there now, or were when their writer died.
    """

    hits: int
    misses: int
    corrupt: int
    evicted: int
    failed: int
    bytes: int
    puts: int
    entries: int
    temporary: int


@dataclass(frozen=True)
class CacheEntry:
    """An entry's file, unread.

    Attributes:
        path: Where it lies.
        bytes: Its size.
        used: When it was last put, or got from a cache that has a ``max_bytes``, in seconds since
            1970 by the clock that stamps the root's files.
    """

    path: Path
    bytes: int
    used: float


@dataclass(frozen=True)
class CacheFault:
    """What is wrong with an entry.

    Attributes:
        path: Where it lies.
        kind: ``"corrupt"``: not what was put, or not what belongs under its name. ``"stale"``: of
            another version of the code that makes the arrays; a miss. ``"unreadable"``: the disk
            does not tell.
        reason: What was found.
        deleted: Whether it has been removed.
    """

    path: Path
    kind: FaultKind
    reason: str
    deleted: bool = False


@dataclass(frozen=True)
class CacheReport:
    """What `verify` has found.

    Attributes:
        entries: How many entries were looked at.
        bytes: Their size.
        faults: Those that are not as they should be, in the order of their paths.
    """

    entries: int
    bytes: int
    faults: tuple[CacheFault, ...]

    def count(self, kind: FaultKind) -> int:
        """How many faults there are of one kind."""
        return sum(fault.kind == kind for fault in self.faults)


@dataclass(frozen=True)
class CachePruned:
    """What `prune` has done.

    Attributes:
        evicted: Entries removed to keep the bound.
        orphans: Temporary files of dead writers that were removed.
        bytes: What entries and temporary files are left.
    """

    evicted: int
    orphans: int
    bytes: int


Key = TypeVar("Key", WaveformCacheKey, AudioCacheKey)


class _Cache(Generic[Key]):
    """What both caches share; they differ in key, array name and allowed shapes."""

    _array_name: ClassVar[str]
    _key_type: ClassVar[type]
    _dimensions: ClassVar[int | None] = None

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        max_bytes: int | None = None,
        fsync: bool = False,
    ) -> None:
        self._root = Path(root)
        self._max_bytes = _bound(max_bytes)
        self._fsync = bool(fsync)
        self._warned = False
        self._native = _native.Cache(self._root, self._array_name, max_bytes, self._fsync)

    def __reduce__(self) -> tuple[object, ...]:
        # Workers get a cache of their own over the same root; counts start anew.
        return _rebuild, (type(self), self._root, self._max_bytes, self._fsync)

    def __repr__(self) -> str:
        options = f"max_bytes={self._max_bytes}, fsync={self._fsync}"
        return f"{type(self).__name__}({str(self._root)!r}, {options})"

    @property
    def root(self) -> Path:
        """The folder, as it was given; the first ``put`` makes it."""
        return self._root

    def path_for(self, key: Key) -> Path:
        """Where the entry of ``key`` lies, whether it exists or not."""
        return self._root / key.shard() / key.as_filename()

    def exists(self, key: Key) -> bool:
        """Whether there is an entry. It is not read: a ``get`` may still miss."""
        return self._native.exists(self._names(key))

    def get(self, key: Key, *, copy: bool = True, out: AnyFloats | None = None) -> Floats | None:
        """The array that was put under ``key``, checked to the last bit, or None.

        Args:
            key: Which entry.
            copy: False gives a read-only view of the mapped file instead of an array of its own. It
                stays valid when the entry is replaced, evicted or cleared, but, as with
                `numpy.memmap`, reading it kills the process if someone truncates the file by hand.
            out: Where to put the elements, straight from the file: float32, or of the key's dtype;
                C-contiguous, writable, of any shape with room for them. What lies after them stays
                as it is. A miss leaves ``out`` as it was, or zeros where a wrong entry was read.

        Returns:
            An array of the key's dtype in the shape that was put, or None; the state of the disk
            never raises. With ``out`` a view of its first elements in that shape.

        Raises:
            InvalidArgumentError: An ``out`` that cannot be used, or is too small for an entry that
                is right.
        """
        if out is None:
            return self._native.get(self._names(key), copy)
        if not copy:
            raise InvalidArgumentError("copy=False returns a view of the file: pass no out")
        _check_out(out, (key,))
        flat: Any = out.reshape(-1)
        shape = self._native.get_into(self._names(key), _bits(flat))
        return None if shape is None else flat[: np.prod(shape, dtype=int)].reshape(shape)

    @overload
    def get_batch(
        self,
        keys: Iterable[Key],
        *,
        copy: bool = True,
        out: None = None,
        threads: int | None = None,
    ) -> list[Floats | None]: ...

    @overload
    def get_batch(
        self, keys: Iterable[Key], *, out: AnyFloats, threads: int | None = None
    ) -> NDArray[np.int64]: ...

    def get_batch(
        self,
        keys: Iterable[Key],
        *,
        copy: bool = True,
        out: AnyFloats | None = None,
        threads: int | None = None,
    ) -> list[Floats | None] | NDArray[np.int64]:
        """`get` for each key, in order, in calls that hold no GIL.

        Args:
            keys: Which entries.
            copy: As for `get`.
            out: Where to put them, one row for each key: ``(B, T)`` takes waveforms of up to T
                samples, any other ``(B, ...)`` entries of the shape of a row; else as for `get`.
                All of it is written: zeros after each entry, and whole rows of zeros for misses.
            threads: Threads to use; None takes one for each processor that this process may use,
                and one inside a worker of a PyTorch data loader.

        Returns:
            A list of arrays and Nones; with ``out`` how many elements each row has got, int64
            ``(B,)``, -1 for a miss.

        Raises:
            InvalidArgumentError: As for `get`; where an entry does not fit its row, after all
                others have been read.
        """
        keys, count = list(keys), thread_count(threads)
        names = [self._names(key) for key in keys]
        if out is None:
            return self._native.get_batch(names, copy, count)
        if not copy:
            raise InvalidArgumentError("copy=False returns views of the files: pass no out")
        _check_out(out, keys)
        if out.ndim < 2 or len(out) != len(keys):
            raise InvalidArgumentError(f"out has shape {out.shape} for {len(keys)} keys")
        lengths, error = self._native.get_batch_into(names, _bits(out), count)
        if error is not None:
            raise error
        return lengths

    def put(self, key: Key, array: AnyFloats) -> Path | None:
        """Writes an entry, whole or not at all, in place of an older one.

        Args:
            key: Which entry.
            array: float32; one dimension in a `WaveformCache`, any number in an `AudioCache`. Under
                a key of float16 it is rounded to the nearest (ties to even), or is float16 already.

        Returns:
            The entry's path, or None where it could not be written: the first time with a
            RuntimeWarning, then silently (`stats` counts). A number that float16 does not hold
            (above 65504) is such a failure: it would come back as infinity.

        Raises:
            InvalidArgumentError: A ValueError, for another dtype or rank.
        """
        return self._write([(key, array)], 1)[0]

    def put_batch(
        self, items: Iterable[tuple[Key, AnyFloats]], *, threads: int | None = None
    ) -> list[Path | None]:
        """`put` for each ``(key, array)``, in order, in one call that holds no GIL.

        Args:
            items: Keys and arrays. Of two arrays under one key the later one stays.
            threads: As for `get_batch`.
        """
        return self._write(items, thread_count(threads))

    def _write(self, items: Iterable[tuple[Key, AnyFloats]], threads: int) -> list[Path | None]:
        pairs = [(key, self._checked(key, array)) for key, array in items]
        names = [self._names(key) for key, _ in pairs]
        errors = self._native.put_batch(names, [array for _, array in pairs], threads)
        self._warn(errors)
        written = zip(pairs, errors, strict=True)
        return [self.path_for(key) if error is None else None for (key, _), error in written]

    def entries(self) -> list[CacheEntry]:
        """The entries under the root, of either cache, in order of their names; none is read."""
        return [CacheEntry(*entry) for entry in self._native.entries()]

    def verify(
        self,
        *,
        delete: bool = False,
        threads: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> CacheReport:
        """Reads every entry under the root, of either cache, and checks it without its key.

        Checked are its framing, its checksum, that the key which it echoes belongs under its file's
        name, and the version of what made it. Counts of `stats` do not change.

        Args:
            delete: Whether to remove what is corrupt or stale; what is unreadable stays.
            threads: As for `get_batch`.
            progress: Called with the number of entries done, and of all.
        """
        entries, count = self.entries(), thread_count(threads)
        faults: list[CacheFault] = []
        for start in range(0, len(entries), _CHECKED_AT_ONCE):
            paths = [entry.path for entry in entries[start : start + _CHECKED_AT_ONCE]]
            found = zip(paths, self._native.check(paths, count), strict=True)
            faults += [_fault(path, *fault, delete) for path, fault in found if fault is not None]
            if progress is not None:
                progress(start + len(paths), len(entries))
        return CacheReport(len(entries), sum(entry.bytes for entry in entries), tuple(faults))

    def prune(self, max_bytes: int | None = None) -> CachePruned:
        """Removes temporary files of dead writers, and evicts what was used longest ago.

        Args:
            max_bytes: What may be left; None takes the cache's own bound, and without one evicts
                nothing.

        Raises:
            AudioIOError: An OSError, when a file could not be deleted; all others have been.
        """
        return CachePruned(*self._native.prune(_bound(max_bytes)))

    def clear(self) -> None:
        """Deletes all entries and temporary files, and the folders (root included) left empty.

        Nothing that the cache did not make is deleted, and no link is followed.

        Raises:
            AudioIOError: An OSError, when something cannot be deleted.
        """
        self._native.clear()

    def stats(self) -> CacheStats:
        """Counts of this object in this process, and of the root, which is looked through."""
        return CacheStats(*self._native.stats())

    def _names(self, key: Key) -> tuple[str, str, bool]:
        if not isinstance(key, self._key_type):
            raise TypeError(f"{type(self).__name__} takes {self._key_type.__name__}, not {key!r}")
        return key.as_filename(), key.identity(), key.dtype == "float16"

    def _checked(self, key: Key, array: AnyFloats) -> NDArray[Any]:
        found: NDArray[Any] = np.asarray(array)
        if not _suits(found.dtype, [key]) or self._dimensions not in (None, found.ndim):
            rank = "1-D " if self._dimensions == 1 else ""
            raise InvalidArgumentError(
                f"{self._array_name} must be {rank}float32, not {found.ndim}-D {found.dtype}"
            )
        # Not np.ascontiguousarray, which gives a scalar a dimension.
        return _bits(np.asarray(found, order="C"))

    def _warn(self, errors: Sequence[AudioError | None]) -> None:
        error = next((error for error in errors if error is not None), None)
        if error is None or self._warned:
            return
        self._warned = True
        warnings.warn(
            f"the cache could not write {error}; continuing without it, further failures are "
            "not reported",
            RuntimeWarning,
            stacklevel=4,
        )


class WaveformCache(_Cache[WaveformCacheKey]):
    """Waveforms (decoded, mono, resampled, cut) as 1-D float32, under the name ``waveform``.

    Args:
        root: The cache's folder; made by the first ``put``.
        max_bytes: Bound on what lies in the root. What was used longest ago is evicted to keep it;
            P processes that put at the same time may pass it by P / 64 of it for a moment.
        fsync: Whether a put waits until the disk has the entry and its name: then it outlives a
            loss of power. Without it such an entry is lost, or found wrong and a miss.
    """

    _array_name = "waveform"
    _key_type = WaveformCacheKey
    _dimensions = 1


class AudioCache(_Cache[AudioCacheKey]):
    """What a processor's feature extractor made, as float32, under the name ``input_features``.

    Args:
        root: The cache's folder; made by the first ``put``.
        max_bytes: Bound on what lies in the root, as in `WaveformCache`.
        fsync: Whether a put waits for the disk, as in `WaveformCache`.
    """

    _array_name = "input_features"
    _key_type = AudioCacheKey


def _rebuild(
    kind: type[_Cache[Key]], root: Path, max_bytes: int | None, fsync: bool
) -> _Cache[Key]:
    return kind(root, max_bytes=max_bytes, fsync=fsync)


def _bound(max_bytes: int | None) -> int | None:
    if max_bytes is not None and (isinstance(max_bytes, bool) or max_bytes < 1):
        raise InvalidArgumentError(f"max_bytes must be positive: {max_bytes!r}")
    return max_bytes


def _suits(dtype: np.dtype[Any], keys: Iterable[WaveformCacheKey | AudioCacheKey]) -> bool:
    """Whether elements of this dtype can be put under the keys, or read from there."""
    if dtype == np.float16:
        return all(key.dtype == "float16" for key in keys)
    return dtype == np.float32


def _check_out(out: AnyFloats, keys: Sequence[WaveformCacheKey | AudioCacheKey]) -> None:
    if not isinstance(out, np.ndarray) or not _suits(out.dtype, keys):
        raise InvalidArgumentError("out must be an array of float32 or of the dtype of the keys")
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise InvalidArgumentError("out must be contiguous (C order), aligned and writable")


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    """Half precision as the integers that the native side takes."""
    return array.view(np.uint16) if array.dtype == np.float16 else array


def _fault(path: Path, kind: FaultKind, reason: str, delete: bool) -> CacheFault:
    deleted = delete and kind != "unreadable" and _delete(path)
    return CacheFault(path, kind, reason, deleted)


def _delete(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
