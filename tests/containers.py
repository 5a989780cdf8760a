"""Containers of PCM written by hand: what encoders do not write, and what they should not."""

from __future__ import annotations

import math
import struct

SUB_FORMAT = bytes.fromhex("000000001000800000aa00389b71")
WAVE64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")


def chunk(name: bytes, body: bytes, order: str = "<", pad: bytes = b"\0") -> bytes:
    """A chunk of RIFF, or of AIFF with `order` ``">"``; `pad` follows an odd body."""
    return name + struct.pack(f"{order}I", len(body)) + body + pad[: len(body) % 2]


def wav(
    data: bytes,
    tag: int,
    channels: int,
    bits: int,
    *,
    rate: int = 16_000,
    block: int | None = None,
    extension: bytes = b"",
    magic: bytes = b"RIFF",
    size: int | None = None,
    riff: int | None = None,
    front: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """RIFF, RIFX, RF64 or BW64; the latter two with the sizes in ``ds64``.

    `size` and `riff` lie about the samples and about the outermost chunk.
    """
    order = ">" if magic == b"RIFX" else "<"
    block = channels * -(-bits // 8) if block is None else block
    body = struct.pack(f"{order}HHIIHH", tag, channels, rate, rate * block, block, bits)
    format_ = chunk(b"fmt ", body + extension, order)
    riff_size = 4 + len(front) + len(format_) + 8 + len(data) + len(behind)
    if magic in (b"RF64", b"BW64"):
        riff_size += 36
        front = chunk(b"ds64", struct.pack("<QQQI", riff_size, len(data), 0, 0)) + front
        riff_size = size = 0xFFFF_FFFF
    chunks = front + format_
    chunks += b"data" + struct.pack(f"{order}I", len(data) if size is None else size)
    chunks += data + behind
    riff_size = riff_size if riff is None else riff
    return magic + struct.pack(f"{order}I", riff_size) + b"WAVE" + chunks


def extension(valid_bits: int, mask: int, tag: int) -> bytes:
    """What `WAVEFORMATEXTENSIBLE` adds."""
    return struct.pack("<HHIH", 22, valid_bits, mask, tag) + SUB_FORMAT


def wave64(
    data: bytes, channels: int, bits: int, *, rate: int = 16_000, size: int | None = None
) -> bytes:
    """Sony's Wave64 of integers, with an odd chunk in front."""

    def part(name: bytes, body: bytes) -> bytes:
        head = name + WAVE64_TAIL + struct.pack("<Q", 24 + len(body))
        return head + body + bytes(-len(body) % 8)

    block = channels * bits // 8
    body = struct.pack("<HHIIHH", 1, channels, rate, rate * block, block, bits)
    chunks = part(b"levl", b"abc") + part(b"fmt ", body) + b"data" + WAVE64_TAIL
    chunks += struct.pack("<Q", 24 + len(data) if size is None else size) + data
    head = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
    return head + struct.pack("<Q", 40 + len(chunks)) + b"wave" + WAVE64_TAIL + chunks


def extended(rate: float) -> bytes:
    """An 80-bit float."""
    mantissa, exponent = math.frexp(rate)
    return struct.pack(">HQ", 16_382 + exponent, int(mantissa * 2**64))


def aiff(
    data: bytes,
    channels: int,
    bits: int,
    tag: bytes | None = None,
    *,
    rate: float = 16_000,
    offset: int = 0,
    front: bytes = b"",
    late_format: bool = False,
    size: int | None = None,
) -> bytes:
    """AIFF, or AIFF-C of codec `tag`; `late_format` puts COMM behind SSND."""
    block = channels * max(1, -(-bits // 8))
    body = struct.pack(">HIH", channels, len(data) // block, bits) + extended(rate)
    common = chunk(b"COMM", body + (tag + b"\x03not" if tag else b""), ">")
    sound = struct.pack(">II", offset, 0) + b"\x55" * offset + data
    samples = chunk(b"SSND", sound, ">")
    if size is not None:
        samples = b"SSND" + struct.pack(">I", size) + sound
    parts = [samples, common] if late_format else [common, samples]
    form = (b"AIFC" if tag else b"AIFF") + front + b"".join(parts)
    return chunk(b"FORM", form, ">")


def au(
    data: bytes,
    encoding: int,
    channels: int,
    *,
    rate: int = 16_000,
    size: int | None = None,
    at: int = 28,
) -> bytes:
    """Sun's AU, the samples from byte `at` on."""
    size = len(data) if size is None else size
    return (
        b".snd" + struct.pack(">IIIII", at, size, encoding, rate, channels) + bytes(at - 24) + data
    )


def caf(
    data: bytes,
    codec: bytes,
    flags: int,
    channels: int,
    bits: int,
    *,
    packet: tuple[int, int] | None = None,
    rate: float = 16_000,
    size: int | None = None,
    front: bytes = b"",
    behind: bytes = b"",
) -> bytes:
    """Apple's CAF; `flags`: 1 float, 2 little-endian; `packet`: its bytes and frames."""
    packet_bytes, frames = packet or (channels * -(-bits // 8), 1)
    body = struct.pack(">d4sIIIII", rate, codec, flags, packet_bytes, frames, channels, bits)
    size = 4 + len(data) if size is None else size
    head = b"caff\0\1\0\0desc" + struct.pack(">q", len(body)) + body + front
    return head + b"data" + struct.pack(">q", size) + bytes(4) + data + behind


def packet_table(packets: int, frames: int, priming: int, remainder: int) -> bytes:
    """CAF's chunk ``pakt`` for packets of one size."""
    return b"pakt" + struct.pack(">qqqii", 24, packets, frames, priming, remainder)


def wave_format(
    tag: int, channels: int, bits: int, rate: int, block: int | None = None, more: bytes = b""
) -> bytes:
    """The body of a format chunk, of WAV and of AVI."""
    block = channels * bits // 8 if block is None else block
    return struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits) + more


def avi(
    streams: list[tuple[bytes, bytes]],
    parts: list[list[bytes]],
    *,
    start: int = 0,
    riff: int | None = None,
    movi: int | None = None,
    index: bytes = b"",
) -> bytes:
    """AVI of `streams`, a kind and a format each; `parts` but the first are those of OpenDML.

    `riff` and `movi` lie about the sizes of the first part, `start` is the streams' start time.
    """

    def part(name: bytes, form: bytes, body: bytes, size: int | None = None) -> bytes:
        made = chunk(name, form + body)
        return made if size is None else name + struct.pack("<I", size) + made[8:]

    header = chunk(b"avih", struct.pack("<14I", 40_000, 0, 0, 0, 0, 0, len(streams), *[0] * 7))
    for kind, format_ in streams:
        facts = struct.pack("<4s4sIHHI8I", kind, b"", 0, 0, 0, 0, 1, 8_000, start, 0, 0, 0, 0, 0)
        strl = chunk(b"strh", facts + bytes(8)) + chunk(b"strf", format_)
        header += part(b"LIST", b"strl", strl)
    first, *rest = parts
    body = part(b"LIST", b"hdrl", header)
    body += part(b"LIST", b"movi", b"".join(first), movi) + index
    found = part(b"RIFF", b"AVI ", body, riff)
    for more in rest:
        found += part(b"RIFF", b"AVIX", part(b"LIST", b"movi", b"".join(more)))
    return found
