"""Decoded waveforms and processor features on disk, under keys made of digests.

An entry is an uncompressed ``.npz``: ``numpy.load(path)["waveform"]`` (or ``["input_features"]``)
reads it, and beside the array a member ``meta.json`` echoes the whole key, the version of the code
that made the waveform, and a checksum. ``get`` checks every byte on every read. Whatever is off is
a miss and is removed: entries of another version too, and files of other programs, which echo
nothing. ``put`` writes under a name of its own and renames: any number of processes share a root,
without locks.

The disk never stops a run: ``get`` answers with a miss and ``put`` with a single warning.
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, get_args

import numpy as np

from ossicle import _native
from ossicle.errors import AudioError, InvalidArgumentError, InvalidKeyError
from ossicle.resampling import Quality

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

__all__ = ["AudioCache", "AudioCacheKey", "CacheStats", "WaveformCache", "WaveformCacheKey"]

# From a 32-bit checksum to SHA-512. The file name holds 12 digits of the processor's.
_BLOB_DIGEST = re.compile(r"[0-9a-f]{8,128}\Z")
_PROCESSOR_DIGEST = re.compile(r"[0-9a-f]{12,128}\Z")
_PROCESSOR_DIGITS = 12
# Above every sense, and short enough for any file name.
_LARGEST = 2**53


def _digest(name: str, value: object, pattern: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not pattern.match(value):
        shown = repr(value)[:80]
        raise InvalidKeyError(f"{name} must be lowercase hex digits ({pattern.pattern}): {shown}")


def _count(name: str, value: object, smallest: int) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if isinstance(value, bool) or not smallest <= number <= _LARGEST:
        raise InvalidKeyError(f"{name} must be a whole number from {smallest}: {str(value)[:80]}")
    return number


@dataclass(frozen=True)
class WaveformCacheKey:
    """Which waveform: the mono samples of one file at one rate, cut at one length.

    Attributes:
        blob_sha: Digest of the file's bytes, 8 to 128 lowercase hex digits.
        sample_rate: Rate of the waveform in Hz.
        max_length_ms: Where the waveform is cut, in milliseconds.
        auto_resample: Whether a file of another rate was resampled.
        quality: How, as for `resample`; it counts where ``auto_resample`` is set.

    Raises:
        InvalidKeyError: A ValueError, for anything that could not be such a key.
    """

    blob_sha: str
    sample_rate: int
    max_length_ms: int
    auto_resample: bool = False
    quality: Quality = "high"

    def __post_init__(self) -> None:
        _digest("blob_sha", self.blob_sha, _BLOB_DIGEST)
        # Plain ints: a NumPy integer would be another text in a file name one day.
        object.__setattr__(self, "sample_rate", _count("sample_rate", self.sample_rate, 1))
        object.__setattr__(self, "max_length_ms", _count("max_length_ms", self.max_length_ms, 0))
        if not isinstance(self.auto_resample, bool):
            raise InvalidKeyError(f"auto_resample must be a bool: {self.auto_resample!r}")
        if self.quality not in get_args(Quality):
            raise InvalidKeyError(f'quality is "fast", "high" or "best", not {self.quality!r}')

    def as_filename(self) -> str:
        """``<blob_sha>.<rate>.<ms>[.rs[.<quality>]].wav.npz``; ``high`` is not named."""
        return f"{self.blob_sha}.{self._limits()}.wav.npz"

    def shard(self) -> str:
        """The folder under the root: the first two digits of ``blob_sha``."""
        return self.blob_sha[:2]

    def _limits(self) -> str:
        named = "" if self.quality == "high" else f".{self.quality}"
        resampled = f".rs{named}" if self.auto_resample else ""
        return f"{self.sample_rate}.{self.max_length_ms}{resampled}"

    def _identity(self) -> str:
        """What an entry echoes: the whole key."""
        return self.as_filename()


@dataclass(frozen=True)
class AudioCacheKey:
    """Which features: what one processor makes of one file at one rate, cut at one length.

    Attributes:
        blob_sha: Digest of the file's bytes, 8 to 128 lowercase hex digits.
        processor_sha: `processor_sha256`, or another digest of 12 to 128 lowercase hex digits. The
            file name holds its first 12; the entry echoes all.
        sample_rate: Rate of the waveform in Hz.
        max_length_ms: Where the waveform is cut, in milliseconds.
        auto_resample: Whether a file of another rate was resampled.
        quality: How, as for `resample`; it counts where ``auto_resample`` is set.

    Raises:
        InvalidKeyError: A ValueError, for anything that could not be such a key.
    """

    blob_sha: str
    processor_sha: str
    sample_rate: int
    max_length_ms: int
    auto_resample: bool = False
    quality: Quality = "high"

    def __post_init__(self) -> None:
        _digest("processor_sha", self.processor_sha, _PROCESSOR_DIGEST)
        plain = self._waveform()
        object.__setattr__(self, "sample_rate", plain.sample_rate)
        object.__setattr__(self, "max_length_ms", plain.max_length_ms)

    def as_filename(self) -> str:
        """``<blob_sha>.<processor_sha[:12]>.<rate>.<ms>[.rs[.<quality>]].npz``."""
        return self._name(self.processor_sha[:_PROCESSOR_DIGITS])

    def shard(self) -> str:
        """The folder under the root: the first two digits of ``blob_sha``."""
        return self.blob_sha[:2]

    def _identity(self) -> str:
        return self._name(self.processor_sha)

    def _name(self, processor: str) -> str:
        return f"{self.blob_sha}.{processor}.{self._waveform()._limits()}.npz"

    def _waveform(self) -> WaveformCacheKey:
        limits = (self.sample_rate, self.max_length_ms, self.auto_resample, self.quality)
        return WaveformCacheKey(self.blob_sha, *limits)


@dataclass(frozen=True)
class CacheStats:
    """What a cache object has seen since it was made in this process.

    Attributes:
        hits: Gets that gave an array.
        misses: Gets that gave none; the corrupt ones are among them.
        corrupt: Entries found wrong, and removed.
        evicted: Entries removed to keep ``max_bytes``.
        failed: Puts that wrote nothing.
        bytes: Size of all entries and temporary files under the root now, whoever wrote them.
    """

    hits: int
    misses: int
    corrupt: int
    evicted: int
    failed: int
    bytes: int


Key = TypeVar("Key", WaveformCacheKey, AudioCacheKey)


class _Cache(Generic[Key]):
    """What both caches share; they differ in key, array name and allowed shapes."""

    _array_name: ClassVar[str]
    _key_type: ClassVar[type]
    _dimensions: ClassVar[int | None] = None

    def __init__(self, root: str | os.PathLike[str], *, max_bytes: int | None = None) -> None:
        if max_bytes is not None and (isinstance(max_bytes, bool) or max_bytes < 1):
            raise InvalidArgumentError(f"max_bytes must be positive: {max_bytes!r}")
        self._root = Path(root)
        self._max_bytes = max_bytes
        self._warned = False
        self._native = _native.Cache(self._root, self._array_name, max_bytes)

    def __reduce__(self) -> tuple[object, ...]:
        # Workers get a cache of their own over the same root; counts start anew.
        return _rebuild, (type(self), self._root, self._max_bytes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._root)!r}, max_bytes={self._max_bytes})"

    @property
    def root(self) -> Path:
        """The folder, as it was given; the first ``put`` makes it."""
        return self._root

    def path_for(self, key: Key) -> Path:
        """Where the entry of ``key`` lies, whether it exists or not."""
        return self._root / key.shard() / key.as_filename()

    def exists(self, key: Key) -> bool:
        """Whether there is an entry. It is not read: a ``get`` may still miss."""
        return self._native.exists(*self._names(key))

    def get(self, key: Key, *, copy: bool = True) -> Floats | None:
        """The array that was put under ``key``, checked to the last bit, or None.

        Args:
            key: Which entry.
            copy: False gives a read-only view of the mapped file instead of an array of its own. It
                stays valid when the entry is replaced, evicted or cleared, but, as with
                `numpy.memmap`, reading it kills the process if someone truncates the file by hand.

        Returns:
            float32 in the shape that was put, or None; the state of the disk never raises.
        """
        return self._native.get(*self._names(key), copy)

    def get_batch(self, keys: Iterable[Key], *, copy: bool = True) -> list[Floats | None]:
        """`get` for each key, in order, in one call that holds no GIL."""
        return self._native.get_batch([self._names(key) for key in keys], copy)

    def put(self, key: Key, array: Floats) -> Path | None:
        """Writes an entry, whole or not at all, in place of an older one.

        Args:
            key: Which entry.
            array: float32; one dimension in a `WaveformCache`, any number in an `AudioCache`.

        Returns:
            The entry's path, or None where it could not be written: the first time with a
            RuntimeWarning, then in silence (`stats` counts).

        Raises:
            InvalidArgumentError: A ValueError, for another dtype or rank.
        """
        return self._write([(key, array)])[0]

    def put_batch(self, items: Iterable[tuple[Key, Floats]]) -> list[Path | None]:
        """`put` for each ``(key, array)``, in order, in one call that holds no GIL."""
        return self._write(items)

    def _write(self, items: Iterable[tuple[Key, Floats]]) -> list[Path | None]:
        pairs = [(key, self._checked(array)) for key, array in items]
        names = [self._names(key) for key, _ in pairs]
        errors = self._native.put_batch(names, [array for _, array in pairs])
        self._warn(errors)
        written = zip(pairs, errors, strict=True)
        return [self.path_for(key) if error is None else None for (key, _), error in written]

    def clear(self) -> None:
        """Deletes all entries and temporary files, and the folders (root included) left empty.

        Nothing that the cache did not make is deleted, and no link is followed.

        Raises:
            AudioIOError: An OSError, when something cannot be deleted.
        """
        self._native.clear()

    def stats(self) -> CacheStats:
        """Counts of this object in this process; ``bytes`` looks through the whole root."""
        return CacheStats(*self._native.stats())

    def _names(self, key: Key) -> tuple[str, str]:
        if not isinstance(key, self._key_type):
            raise TypeError(f"{type(self).__name__} takes {self._key_type.__name__}, not {key!r}")
        return key.as_filename(), key._identity()

    def _checked(self, array: Floats) -> Floats:
        found = np.asarray(array)
        if found.dtype != np.float32 or self._dimensions not in (None, found.ndim):
            wanted = "1-D float32" if self._dimensions == 1 else "float32"
            raise InvalidArgumentError(
                f"{self._array_name} must be {wanted}, not {found.ndim}-D {found.dtype}"
            )
        # Not np.ascontiguousarray, which gives a scalar a dimension.
        return np.asarray(found, order="C")

    def _warn(self, errors: Sequence[AudioError | None]) -> None:
        error = next((error for error in errors if error is not None), None)
        if error is None or self._warned:
            return
        self._warned = True
        warnings.warn(
            f"the cache could not write {error}; going on without, and saying so once",
            RuntimeWarning,
            stacklevel=4,
        )


class WaveformCache(_Cache[WaveformCacheKey]):
    """Waveforms (decoded, mono, resampled, cut) as 1-D float32, under the name ``waveform``.

    Args:
        root: The cache's folder; made by the first ``put``.
        max_bytes: Bound on what lies in the root. What was used longest ago is evicted to keep it;
            P processes that put at the same time may pass it by P / 64 of it for a moment.
    """

    _array_name = "waveform"
    _key_type = WaveformCacheKey
    _dimensions = 1


class AudioCache(_Cache[AudioCacheKey]):
    """What a processor's feature extractor made, as float32, under the name ``input_features``.

    Args:
        root: The cache's folder; made by the first ``put``.
        max_bytes: Bound on what lies in the root, as in `WaveformCache`.
    """

    _array_name = "input_features"
    _key_type = AudioCacheKey


def _rebuild(kind: type[_Cache[Key]], root: Path, max_bytes: int | None) -> _Cache[Key]:
    return kind(root, max_bytes=max_bytes)
