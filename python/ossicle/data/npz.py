"""NumPy archives, read member by member: only the bytes that are asked for, and never a pickle.

`numpy.load` opens an archive through `zipfile`, which takes longer than what it then reads where
there are a hundred thousand small ones. The layout is that of PKWARE's APPNOTE 6.3 (sections 4.3.7,
4.3.12, 4.3.16) with members of NumPy's NEP 1. What is rare (ZIP64, comments, other compressions)
is left to it.
"""

from __future__ import annotations

import functools
import io
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle.data.errors import MetadataError

__all__ = ["Array", "Npz", "read_npy", "read_npz"]

Array: TypeAlias = npt.NDArray[Any]

_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800
# Smaller archives are read in one call.
_WHOLE_BYTES = 1 << 20
_PART_BYTES = 1 << 30
# What a compressed member may inflate to: so much, or so many times its archive. A file of a
# megabyte can promise, and hold, a thousand.
_MOST_BYTES, _MOST_TIMES = 1 << 30, 100
_END = struct.Struct("<4s4H2LH")
# Marker, flags, method, checksum, stored and full size, lengths of name, extra field and comment,
# where the local header is; and of that, marker and lengths of name and extra field.
_CENTRAL = struct.Struct("<4s4x2H4x3L3H8xL")
_LOCAL = struct.Struct("<4s22x2H")
_HEADER = re.compile(
    rb"\{'descr': '([^']+)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \}\s*\Z"
)
# No byte of deflate stands for more (zlib.net/zlib_tech.html): a larger size is a lie.
_MOST_DEFLATED = 1_032
_FAULTS = (
    *(ValueError, struct.error, zlib.error, zipfile.BadZipFile, UnicodeError, EOFError),
    MemoryError,
)


class _Header(NamedTuple):
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    shape: tuple[int, ...]


# Of a member: method, checksum, stored and full size in bytes, where its local header is.
_Member: TypeAlias = tuple[int, int, int, int, int]


class _UnusualError(Exception):
    """An archive for `zipfile`."""


class Npz:
    """An open archive.

    Args:
        source: A file, or its content.

    Raises:
        MetadataError: There is no such file, or it is no whole archive; the message names it.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        self._source = "<bytes>" if isinstance(source, bytes) else os.fspath(source)
        self._read: Callable[[int, int], bytes]
        self._descriptor: int | None = None
        self._zip: zipfile.ZipFile | None = None
        self._read_directory(source)

    def _read_directory(self, source: str | os.PathLike[str] | bytes) -> None:
        self._most = _MOST_BYTES
        try:
            size = self._open(source)
            self._most = max(_MOST_BYTES, _MOST_TIMES * size)
            self._members = _directory(self._read, size)
        except _UnusualError:
            self._leave_to_zipfile(source)
        except (OSError, *_FAULTS) as error:
            raise self._broken(error) from error

    def _open(self, source: str | os.PathLike[str] | bytes) -> int:
        """Sets how bytes are read; gives how many there are."""
        if isinstance(source, bytes):
            content, size = source, len(source)
        else:
            # A pipe would wait for its writer.
            self._descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            facts = os.fstat(self._descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise ValueError("it is not a regular file")
            size = facts.st_size
            if size > _WHOLE_BYTES:
                self._read = functools.partial(_pread, self._descriptor)
                return size
            content = os.pread(self._descriptor, size, 0)
            self._close_descriptor()
        self._read = functools.partial(_slice, content)
        return size

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; what was read stays."""
        self._close_descriptor()
        if self._zip is not None:
            self._zip.close()

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return [name[:-4] for name in self._members if name.endswith(".npy")]

    def __contains__(self, name: object) -> bool:
        return f"{name}.npy" in self._members

    def array(self, name: str, *, copy: bool = True) -> Array:
        """An array, whose checksum has been compared; read-only where it is not copied."""
        try:
            return _array(self._payload(f"{name}.npy"), copy)
        except _FAULTS as error:
            raise self._broken(error, name) from error

    def member(self, name: str) -> bytes | None:
        """The bytes of a member that is no array; None where there is none."""
        try:
            return self._payload(name) if name in self._members else None
        except _FAULTS as error:
            raise self._broken(error, name) from error

    def _payload(self, name: str) -> bytes:
        """A member's bytes, which are what its checksum says."""
        if name not in self._members:
            raise ValueError(f"there is no member {name!r}")
        if self._zip is not None:
            return _unzip(self._zip, name, self._most)
        method, crc, stored, full, local = self._members[name]
        marker, name_bytes, extra_bytes = _LOCAL.unpack(self._read(local, _LOCAL.size))
        if marker != b"PK\3\4":
            raise ValueError("a member is not at the place that the directory gives")
        data = self._read(local + _LOCAL.size + name_bytes + extra_bytes, stored)
        if method == _DEFLATED:
            if full > _MOST_DEFLATED * stored:
                raise ValueError(f"a member of {stored} bytes cannot have the size of {full}")
            _check_most(full, self._most)
            data = zlib.decompressobj(-15).decompress(data, full + 1)
        if len(data) != full or zlib.crc32(data) != crc:
            raise ValueError("a member's checksum or length is wrong")
        return data

    def _leave_to_zipfile(self, source: str | os.PathLike[str] | bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source)
        except (OSError, NotImplementedError, *_FAULTS) as error:
            raise self._broken(error) from error
        self._members = dict.fromkeys(self._zip.namelist(), (0, 0, 0, 0, 0))

    def _close_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _broken(self, error: Exception, name: str | None = None) -> MetadataError:
        if isinstance(error, OSError):
            why = f"cannot read the file: {error.strerror or error}"
        elif isinstance(error, MemoryError):
            why = "its contents do not fit into memory"
        else:
            why = f"is not a complete NumPy archive: {error}"
        return MetadataError(why, source=self._source, column=name)


def read_npz(source: str | os.PathLike[str] | bytes) -> dict[str, Array]:
    """All arrays of an archive by name, as `numpy.load` gives them.

    Args:
        source: A file, or its content.

    Raises:
        MetadataError: There is no such file, it is damaged, or it holds pickled objects.
    """
    with Npz(source) as archive:
        return {name: archive.array(name) for name in archive.names}


def read_npy(content: bytes) -> Array:
    """The array of a file as of `numpy.save`.

    Raises:
        ValueError: It is damaged, or holds pickled objects.
    """
    return _array(content, True)


def _unzip(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    _check_most(archive.getinfo(name).file_size, most)
    try:
        # No more than the directory says: what follows is not looked at.
        return archive.read(name)
    except Exception as error:  # each compression has errors of its own
        raise ValueError(str(error)) from error


def _check_most(full: int, most: int) -> None:
    if full > most:
        raise ValueError(f"a compressed member of {full} bytes: {most} is the limit")


def _slice(content: bytes, at: int, count: int) -> bytes:
    data = content[at : at + count]
    return data if len(data) == count else _exactly(data, count)


def _pread(descriptor: int, at: int, count: int) -> bytes:
    parts = []
    for start in range(at, at + count, _PART_BYTES):
        wanted = min(_PART_BYTES, at + count - start)
        parts.append(_exactly(os.pread(descriptor, wanted, start), wanted))
    return b"".join(parts)


def _exactly(data: bytes, count: int) -> bytes:
    if len(data) != count:
        raise ValueError("the file is cut short")
    return data


def _directory(read: Callable[[int, int], bytes], size: int) -> dict[str, _Member]:
    """Members by name, out of the central directory."""
    tail = read(max(0, size - _END.size), min(size, _END.size))
    if not tail.startswith(b"PK\5\6"):  # a comment, or damage
        raise _UnusualError
    _, _, _, _, count, directory_bytes, start, _ = _END.unpack(tail)
    if count == 0xFFFF or 0xFFFFFFFF in (start, directory_bytes):
        raise _UnusualError
    return _entries(read(start, directory_bytes), count)


def _entries(directory: bytes, count: int) -> dict[str, _Member]:
    members, at = {}, 0
    for _ in range(count):
        fields = _CENTRAL.unpack_from(directory, at)
        marker, flags, method, crc, stored, full, name_bytes, extra, comment, local = fields
        if marker != b"PK\1\2" or flags & _ENCRYPTED:
            raise ValueError("its directory is damaged, or it is encrypted")
        if method not in (_STORED, _DEFLATED) or 0xFFFFFFFF in (stored, full, local):
            raise _UnusualError
        at += _CENTRAL.size
        name = directory[at : at + name_bytes]
        # ASCII is both; the codec of old names is slow.
        text = name.decode("utf-8" if flags & _UTF8 or name.isascii() else "cp437")
        members[text] = (method, crc, stored, full, local)
        at += name_bytes + extra + comment
    return members


def _array(data: bytes, copy: bool) -> Array:
    usual = _header(data)
    if usual is None:
        # Records, long headers, other writers: as NumPy understands them.
        _check_promise(data)
        array: Array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        return array
    (dtype, order, shape), start = usual
    if dtype.hasobject:
        raise ValueError("the file has pickled objects, which are never read")
    if len(data) != start + math.prod(shape) * dtype.itemsize:
        raise ValueError("an array's length differs from its header")
    view: Array = np.ndarray(shape, dtype, data, start, order=order)
    return view.copy(order) if copy else view


def _check_promise(data: bytes) -> None:
    """That an array is there, before NumPy takes the memory for it."""
    file = io.BytesIO(data)
    is_first = np.lib.format.read_magic(file) == (1, 0)
    # The third version's texts have another codec, which changes no size.
    read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if not dtype.hasobject and len(data) - file.tell() < math.prod(shape) * dtype.itemsize:
        raise ValueError("an array's length differs from its header")


def _header(data: bytes) -> tuple[_Header, int] | None:
    """What NumPy writes before numbers and texts, and where these begin; None is something else."""
    if data[:8] != b"\x93NUMPY\1\0" or len(data) < 10:
        return None
    end = 10 + data[8] + 256 * data[9]
    header = _parse(data[10:end])
    return None if header is None else (header, end)


@functools.lru_cache(maxsize=1024)
def _parse(text: bytes) -> _Header | None:
    found = _HEADER.match(text)
    if found is None:
        return None
    descr, is_fortran, sizes = found.groups()
    shape = tuple(int(size) for size in sizes.split(b",") if size.strip())
    return _Header(_dtype(descr.decode("ascii")), "F" if is_fortran == b"True" else "C", shape)


@functools.lru_cache(maxsize=256)
def _dtype(descr: str) -> np.dtype[Any]:
    try:
        return np.dtype(descr)
    except (TypeError, SyntaxError) as error:
        raise ValueError(f"an array is of the unknown type {descr!r}") from error
