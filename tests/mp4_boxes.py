"""Boxes of MP4 and MOV written by hand, and put into files."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def table(kind: bytes, rows: Iterable[Sequence[int]]) -> bytes:
    entries = [struct.pack(f">{len(row)}I", *row) for row in rows]
    return box(kind, struct.pack(">II", 0, len(entries)), *entries)


def replaced(data: bytes, path: Sequence[bytes], new: bytes) -> bytes:
    """`data` with `new` for the first box at the end of `path`; the samples lie in front of it."""
    at = 0
    while data[at + 4 : at + 8] != path[0]:
        at += struct.unpack_from(">I", data, at)[0]
    size = struct.unpack_from(">I", data, at)[0]
    body = data[at + 8 : at + size]
    inner = new if len(path) == 1 else box(path[0], replaced(body, path[1:], new))
    return data[:at] + inner + data[at + size :]


def edited(data: bytes, edits: Iterable[tuple[int, int]]) -> bytes:
    """`data` with these edits of its first track: milliseconds, and a begin, -1 of a pause."""
    at = data.index(b"mvhd") + 16
    data = data[:at] + struct.pack(">I", 1000) + data[at + 4 :]
    rows = [(length, begin & 0xFFFF_FFFF, 0x1_0000) for length, begin in edits]
    return replaced(data, (b"moov", b"trak", b"edts"), box(b"edts", table(b"elst", rows)))
