"""Packets of a transport stream, taken apart and written anew: ISO/IEC 13818-1."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

BYTES = 188
PROGRAMS, STREAMS, AUDIO, NULL = 0, 0x1000, 0x100, 0x1FFF


def packets(data: bytes) -> list[bytearray]:
    """The packets of a file that has nothing else."""
    assert len(data) % BYTES == 0
    return [bytearray(data[at : at + BYTES]) for at in range(0, len(data), BYTES)]


def pid(packet: Sequence[int]) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def is_start(packet: Sequence[int]) -> bool:
    return bool(packet[1] & 0x40)


def of(all_packets: Iterable[bytearray], number: int) -> list[int]:
    """Which of `all_packets` have the number `number`."""
    return [index for index, packet in enumerate(all_packets) if pid(packet) == number]


def head(packet: Sequence[int]) -> int:
    """Bytes before the payload."""
    return 4 if packet[3] >> 4 & 3 == 1 else 5 + packet[4]


def crc(data: bytes) -> int:
    """CRC-32 of sections, annex A."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
    return value


def section(
    kind: int, number: int, body: bytes, *, version: int = 0, current: bool = True
) -> bytes:
    """A table of one section."""
    table = struct.pack(">HBBB", number, 0xC0 | version << 1 | current, 0, 0) + body
    table = bytes([kind]) + struct.pack(">H", 0xB000 | len(table) + 4) + table
    return table + struct.pack(">I", crc(table))


def programs(numbers: dict[int, int], **options: int) -> bytes:
    """A table of programs: each one's number, and that of its streams' table."""
    body = b"".join(struct.pack(">HH", key, 0xE000 | value) for key, value in numbers.items())
    return section(0, 1, body, **options)


def streams(
    program: int, found: Iterable[tuple[int, int, bytes]], clock: int = AUDIO, **options: int
) -> bytes:
    """A program's table: kinds, numbers and descriptors of its streams."""
    body = struct.pack(">HH", 0xE000 | clock, 0xF000)
    for kind, number, descriptors in found:
        body += struct.pack(">BHH", kind, 0xE000 | number, 0xF000 | len(descriptors)) + descriptors
    return section(2, program, body, **options)


def packet(
    number: int, payload: bytes, counter: int, *, start: bool = False, flags: int | None = None
) -> bytes:
    """One packet, filled up in front of its payload; `flags` are those of its adaptation field."""
    room = BYTES - 4 - len(payload)
    field = b""
    if flags is not None and room < 2:
        raise ValueError("no room for flags")
    if room == 1:
        field = b"\0"
    elif room > 1:
        field = bytes([room - 1, flags or 0]) + bytes([0xFF]) * (room - 2)
    control = (0x30 if field else 0x10) | counter & 0xF
    return struct.pack(">BHB", 0x47, number | start << 14, control) + field + payload


def cut(number: int, unit: bytes, counter: int, size: int = 184) -> list[bytes]:
    """The packets of one unit: of an elementary stream, or of a table with its pointer."""
    parts = [unit[at : at + size] for at in range(0, len(unit), size)]
    return [
        packet(number, part, counter + index, start=index == 0) for index, part in enumerate(parts)
    ]


def stamped(seconds: float) -> bytes:
    """A timestamp as a header has it."""
    clock = round(seconds * 90_000) % (1 << 33)
    return struct.pack(
        ">BHH", 0x21 | clock >> 29 & 0xE, clock >> 14 & 0xFFFE | 1, clock << 1 & 0xFFFE | 1
    )


def unit(
    payload: bytes, seconds: float | None = None, *, stream: int = 0xC0, is_bounded: bool = True
) -> bytes:
    """A packet of an elementary stream."""
    fields = b"" if seconds is None else stamped(seconds)
    rest = bytes([0x80, 0x80 if fields else 0, len(fields)]) + fields + payload
    length = len(rest) if is_bounded else 0
    return b"\0\0\1" + struct.pack(">BH", stream, length) + rest


def carry(
    units: Iterable[bytes], kind: int, *, descriptors: bytes = b"", size: int = 184
) -> list[bytes]:
    """A file of one program with one stream."""
    tables = b"\0" + programs({1: STREAMS}), b"\0" + streams(1, [(kind, AUDIO, descriptors)])
    found = [*cut(PROGRAMS, tables[0], 0), *cut(STREAMS, tables[1], 0)]
    counter = 0
    for payload in units:
        parts = cut(AUDIO, payload, counter, size)
        counter += len(parts)
        found += parts
    return found
