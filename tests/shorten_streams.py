"""Shorten streams and SPHERE files written by hand, from the report that describes them.

Tony Robinson, "SHORTEN: Simple lossless and near-lossless waveform compression", 1994, technical
report CUED/F-INFENG/TR.156. No program of today writes either; every choice that an encoder has is
made by chance here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MU_LAW, S8, U8, S16HL, U16HL, S16LH, U16LH = range(7)
MU_LAW_VALUES, MU_LAW_TWO, A_LAW_CODES, A_LAW_VALUES = 7, 8, 9, 10
QUIT, BLOCK_SIZE, SHIFT, LINEAR, ZERO, VERBATIM = range(4, 10)
Ints = npt.NDArray[np.int64]


class Bits:
    """Bits, the most significant first."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def unsigned(self, number: int, low: int) -> None:
        """The upper part in unary, so many lower bits after it."""
        self._parts.append("0" * (number >> low) + "1")
        if low:
            self._parts.append(format(number & ((1 << low) - 1), f"0{low}b"))

    def signed(self, number: int, low: int) -> None:
        self.unsigned(2 * number if number >= 0 else -2 * number - 1, low + 1)

    def number(self, number: int, version: int, low: int) -> None:
        """With its own length in front, but in version 0."""
        if version > 0:
            low = max(number.bit_length() - 2, 0)
            self.unsigned(low, 2)
        self.unsigned(number, low)

    def tobytes(self) -> bytes:
        """Filled up to words of four bytes."""
        text = "".join(self._parts)
        text += "0" * (-len(text) % 32)
        return int("1" + text, 2).to_bytes(len(text) // 8 + 1, "big")[1:]


@dataclass
class Channel:
    """What a decoder remembers of a channel."""

    version: int
    means: list[int]
    past: list[int] = field(default_factory=lambda: [0] * 80)
    mean: int = 0

    def offset(self, shift: int) -> int:
        if not self.means:
            return self.mean
        if self.version < 2:
            return towards_zero(sum(self.means), len(self.means))
        total = sum(self.means) + len(self.means) // 2
        return towards_zero(total, len(self.means)) >> shift

    def remember(self, block: list[int], shift: int, wrap: int) -> None:
        rounding = len(block) // 2 if self.version > 1 else 0
        mean = towards_zero(sum(block) + rounding, len(block))
        if self.means:
            self.means = [*self.means[1:], mean << shift if self.version > 1 else mean]
        self.past = (self.past + block)[-wrap:]
        self.past = [0] * (80 - len(self.past)) + self.past


def towards_zero(number: int, by: int) -> int:
    return abs(number) // by * (1 if number >= 0 else -1)


@dataclass
class Settings:
    """What the head of a stream says; `header` is that of the file that was compressed.

    With `best` each block has its shortest difference, as a real encoder chooses.
    """

    kind: int = S16LH
    version: int = 2
    block: int = 256
    order: int = 0
    means: int = 4
    header: bytes = b""
    skipped: bytes = b""
    best: bool = False


def encode(
    planes: Ints, settings: Settings, seed: int = 0, *, shifts: bool = True, end: bool = True
) -> bytes:
    """A stream of `planes`, ``(channels, samples)``: numbers as the type of samples has them."""
    random = np.random.default_rng(seed)
    bits = _head(len(planes), settings)
    start = {U8: 0x80, U16HL: 0x8000, U16LH: 0x8000}.get(settings.kind, 0)
    means = settings.means if settings.version > 0 else 0
    channels = [Channel(settings.version, [start] * means, mean=start) for _ in planes]
    size, shift, at = settings.block, 0, 0
    while at < planes.shape[1]:
        # They become smaller alone: FFmpeg reads no others.
        wanted = min(size, planes.shape[1] - at)
        if wanted > 9 and not settings.best and random.random() < 0.04:
            wanted = int(random.integers(3 * wanted // 4, wanted))
        if wanted != size:
            bits.unsigned(BLOCK_SIZE, 2)
            bits.number(wanted, settings.version, size.bit_length() - 1)
            size = wanted
        for channel, plane in zip(channels, planes, strict=True):
            block = plane[at : at + size]
            # What is zero in all samples of a block.
            most = int(np.bitwise_or.reduce(np.abs(block)))
            most = (most & -most).bit_length() - 1 if most else 0
            wish = int(random.integers(0, most + 1)) if shifts else 0
            if wish != shift:
                bits.unsigned(SHIFT, 2)
                bits.unsigned(wish, 2)
                shift = wish
            _block(bits, channel, [int(x) >> shift for x in block], shift, settings, random)
        at += size
    if end:
        if settings.header:
            _verbatim(bits, b"LIST")
        bits.unsigned(QUIT, 2)
    return b"ajkg" + bytes([settings.version]) + bits.tobytes()


def _head(channels: int, settings: Settings) -> Bits:
    bits = Bits()
    bits.number(settings.kind, settings.version, 4)
    bits.number(channels, settings.version, 0)
    if settings.version > 0:
        for number in (settings.block, settings.order, settings.means, len(settings.skipped)):
            bits.number(number, settings.version, 0)
    for byte in settings.skipped:
        bits.unsigned(byte, 7)
    for begin in range(0, len(settings.header), 1_024):
        _verbatim(bits, settings.header[begin : begin + 1_024])
    return bits


def _verbatim(bits: Bits, data: bytes) -> None:
    bits.unsigned(VERBATIM, 2)
    bits.unsigned(len(data), 5)
    for byte in data:
        bits.unsigned(byte, 8)


def _block(
    bits: Bits,
    channel: Channel,
    block: list[int],
    shift: int,
    settings: Settings,
    random: np.random.Generator,
) -> None:
    wrap = max(3, settings.order)
    offset = channel.offset(shift)
    if not any(block) and random.random() < 0.7:
        bits.unsigned(ZERO, 2)
    else:
        # Short blocks after a linear one would meet a history that is moved: encoders write none.
        linear = settings.order > 0 and len(block) >= wrap and random.random() < 0.4
        linear &= not settings.best
        command = LINEAR if linear else int(random.integers(0, 4))
        if settings.best:
            command = min(range(4), key=lambda way: _size(channel, block, offset, way))
        if linear:
            order = int(random.integers(1, settings.order + 1))
            coefficients = [int(c) for c in random.integers(-40, 40, order)]
            residuals = _linear(channel, block, offset, coefficients)
        else:
            residuals = _differences(channel, block, offset, command)
        mean = sum(map(abs, residuals)) / len(residuals)
        chance = 0 if settings.best else int(random.integers(-1, 2))
        energy = max(0, int(np.log2(mean + 1)) + chance)
        bits.unsigned(command, 2)
        bits.unsigned(energy + (settings.version == 0), 3)
        if linear:
            bits.unsigned(len(coefficients), 2)
            for coefficient in coefficients:
                bits.signed(coefficient, 5)
        for residual in residuals:
            bits.signed(residual, energy)
    channel.remember(block, shift, wrap)


def _differences(channel: Channel, block: list[int], offset: int, command: int) -> list[int]:
    past = [*channel.past[-3:], *block]
    found = []
    for at in range(3, len(past)):
        a, b, c = past[at - 1], past[at - 2], past[at - 3]
        guess = (offset, a, 2 * a - b, 3 * (a - b) + c)[command]
        found.append(past[at] - guess)
    return found


def _size(channel: Channel, block: list[int], offset: int, command: int) -> int:
    return sum(map(abs, _differences(channel, block, offset, command)))


def _linear(channel: Channel, block: list[int], offset: int, coefficients: list[int]) -> list[int]:
    past = [sample - offset for sample in [*channel.past, *block]]
    rounding = 32 if channel.version > 1 else 0
    found = []
    for at in range(len(channel.past), len(past)):
        newest = past[at - len(coefficients) : at][::-1]
        total = rounding + sum(c * s for c, s in zip(coefficients, newest, strict=True))
        found.append(past[at] - (total >> 5))
    return found


def sphere(data: bytes, *, length: int = 1_024, **fields: str | int | float | None) -> bytes:
    """A SPHERE file: `data` behind a header of `fields`, of which None leaves one out."""
    lines = ["NIST_1A", f"{length:7d}"]
    for name, value in fields.items():
        kind = {int: "-i", float: "-r"}.get(type(value), f"-s{len(str(value))}")
        lines += [] if value is None else [f"{name} {kind} {value}"]
    text = "\n".join([*lines, "end_head", ""]).encode()
    assert len(text) <= length
    return text + b" " * (length - len(text)) + data
