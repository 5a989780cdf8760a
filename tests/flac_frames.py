"""FLAC written by hand (RFC 9639): the streams that encoders no longer write, or should not."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def crc(data: bytes, polynomial: int, width: int) -> int:
    register = 0
    for byte in data:
        register ^= byte << (width - 8)
        for _ in range(8):
            register <<= 1
            if register >> width:
                register ^= polynomial | 1 << width
    return register


def coded(number: int) -> bytes:
    """The extended UTF-8 of section 9.1.5."""
    if number < 0x80:
        return bytes([number])
    rest = []
    while number >= 1 << (6 - len(rest)):
        rest.append(0x80 | number & 0x3F)
        number >>= 6
    lead = (0xFF00 >> (len(rest) + 1)) & 0xFF
    return bytes([lead | number, *reversed(rest)])


def frame(
    samples: Ints, number: int, *, rate: int = 16_000, bits: int = 16, variable: bool = False
) -> bytes:
    """One frame of ``(channels, block)``: plain samples, or constant ones."""
    channels, block = samples.shape
    depth = {8: 1, 12: 2, 16: 4, 20: 5, 24: 6, 32: 7}.get(bits, 0)
    head = bytes([0xFF, 0xF8 | variable, 0x7D, (channels - 1) << 4 | depth << 1])
    head += coded(number) + struct.pack(">HH", block - 1, rate)
    head += bytes([crc(head, 0x07, 8)])
    body, mask = "", (1 << bits) - 1
    for channel in samples:
        if (channel == channel[0]).all():
            body += "00000000" + format(int(channel[0]) & mask, f"0{bits}b")
        else:
            body += "00000010" + "".join(format(int(s) & mask, f"0{bits}b") for s in channel)
    body += "0" * (-len(body) % 8)
    data = head + int(body, 2).to_bytes(len(body) // 8, "big")
    return data + crc(data, 0x8005, 16).to_bytes(2, "big")


def header(
    *,
    frames: int,
    blocks: tuple[int, int] = (4096, 4096),
    rate: int = 16_000,
    channels: int = 1,
    bits: int = 16,
    md5: bytes = bytes(16),
    largest: int = 0,
    more: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """``fLaC`` with STREAMINFO and `more` metadata blocks, each its type and body."""
    info = struct.pack(">HH", *blocks) + bytes(3) + largest.to_bytes(3, "big")
    info += (rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | frames).to_bytes(8, "big")
    found = [(0, info + md5), *more]
    last = len(found) - 1
    parts = [
        bytes([kind | (at == last) << 7]) + len(body).to_bytes(3, "big") + body
        for at, (kind, body) in enumerate(found)
    ]
    return b"fLaC" + b"".join(parts)


def stream(
    samples: Ints, sizes: Sequence[int], numbers: str = "frames", **arguments
) -> list[bytes]:
    """Blocks of `sizes`; `numbers` count ``"frames"`` or ``"samples"``, or are all ``"zero"``."""
    frames, at = [], 0
    for index, size in enumerate(sizes):
        number = {"frames": index, "samples": at, "zero": 0}[numbers]
        frames.append(frame(samples[:, at : at + size], number, **arguments))
        at += size
    assert at == samples.shape[1]
    return frames
