"""Digests of files, computed once and remembered under a cache's root."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any, Final

from ossicle.atomic import write_text
from ossicle.audio import ShardMember

__all__ = ["Digests"]

_FOLDER: Final = "digests"
# A file that is written again within a tick of the clock of its file system looks unchanged.
_SETTLED_NS: Final = 2_000_000_000
# In memory, of each process.
_MOST: Final = 1 << 16


class Digests:
    """SHA-256 of recordings, in hex, as the keys of a cache want it.

    Of a file it is kept, in memory and in a small file under ``root/digests``, together with the
    path, size, inode and times of modification and change that the file had: while these are the
    same the file is not read again, in this process or another. One that was changed within the
    last two seconds is not kept, for a second change could not be told from the first. The digest
    of a shard's member is that of its bytes, kept by the shard's file and its place there; bytes
    are hashed each time.

    Args:
        root: The folder of the cache.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root)
        self._known: dict[str, str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Digests, (self._root,)

    def of(self, source: Any) -> str | None:
        """The digest of a path, bytes or a shard's member; None of anything else.

        None also of what cannot be read: decoding it tells why.
        """
        try:
            if isinstance(source, ShardMember):
                return self._of_file(source.shard, source.offset, source.size)
            if isinstance(source, str | os.PathLike):
                return self._of_file(os.fspath(source))
            return hashlib.sha256(source).hexdigest() if _is_bytes(source) else None
        except OSError:
            return None

    def _of_file(self, path: str, offset: int = 0, size: int | None = None) -> str:
        found = os.stat(path)  # noqa: PTH116  (half the time of a Path)
        place = (os.path.abspath(path), *_facts(found), offset, size)  # noqa: PTH100
        name = hashlib.sha256(repr(place).encode()).hexdigest()
        kept = self._known.get(name) or self._read(name)
        if kept is None:
            with open(path, "rb") as file:  # noqa: PTH123
                kept = _hash(file, offset, size)
                same = _facts(os.fstat(file.fileno())) == _facts(found)
            if not same or time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) < _SETTLED_NS:
                return kept
            self._write(name, kept)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[name] = kept
        return kept

    def _path(self, name: str) -> Path:
        return self._root / _FOLDER / name[:2] / name

    def _read(self, name: str) -> str | None:
        try:
            kept = self._path(name).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
        is_digest = len(kept) == 64 and set(kept) <= set("0123456789abcdef")
        return kept if is_digest else None

    def _write(self, name: str, digest: str) -> None:
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, digest + "\n")
        except OSError:
            return  # the cache itself says that it cannot be written


def _facts(found: os.stat_result) -> tuple[int, ...]:
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _hash(file: Any, offset: int, size: int | None) -> str:
    if size is None:
        return hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(offset)
    return hashlib.sha256(file.read(size)).hexdigest()


def _is_bytes(source: Any) -> bool:
    is_array = hasattr(source, "dtype") and str(source.dtype) == "uint8"
    return is_array or isinstance(source, bytes | bytearray | memoryview)
