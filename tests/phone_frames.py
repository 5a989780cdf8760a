"""Frames of AMR, and files that hold them: RFC 4867, and ISO/IEC 14496-12."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import oracle
from mp4_boxes import box


@dataclass(frozen=True)
class Band:
    """One of the two codecs."""

    codec: str
    magic: bytes
    # The name of its sample entry in MP4.
    entry: bytes
    rate: int
    samples: int
    # Bytes after the header, by the type of the frame.
    bytes: tuple[int, ...]
    # The reference decoder in FFmpeg.
    decoder: str
    # Bits a second in thousands, by the type of the frame.
    bitrates: tuple[float, ...]


NARROW = Band(
    codec="amr_nb",
    magic=b"#!AMR\n",
    entry=b"samr",
    rate=8_000,
    samples=160,
    bytes=(12, 13, 15, 17, 19, 20, 26, 31, 5),
    decoder="libopencore_amrnb",
    bitrates=(4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2),
)
WIDE = Band(
    codec="amr_wb",
    magic=b"#!AMR-WB\n",
    entry=b"sawb",
    rate=16_000,
    samples=320,
    bytes=(17, 23, 32, 36, 40, 46, 50, 58, 60, 5),
    decoder="libopencore_amrwb",
    bitrates=(6.6, 8.85, 12.65, 14.25, 15.85, 18.25, 19.85, 23.05, 23.85),
)
NOTHING = b"\x7c"


def speech(rate: int, seconds: float, seed: int = 0) -> npt.NDArray[np.int16]:
    """Voices and pauses: pulses through formants that move, and noise."""
    random = np.random.default_rng(seed)
    count = int(rate * seconds)
    time = np.arange(count) / rate
    pitch = 120 + 40 * np.sin(2 * np.pi * 0.7 * time) + 15 * np.sin(2 * np.pi * 3 * time)
    phase = np.cumsum(pitch) / rate
    voice = np.zeros(count)
    for number in range(1, 18):
        formant = 500 + 300 * np.sin(2 * np.pi * 0.9 * time), 1700 + 500 * np.cos(2 * np.pi * time)
        heights = [np.exp(-(((number * pitch - f) / 220) ** 2)) for f in formant]
        voice += sum(heights) * np.sin(2 * np.pi * number * phase)
    loudness = np.clip(np.sin(2 * np.pi * 0.4 * time + 0.3) * 1.6, 0, 1)
    mixed = 2_500 * loudness * voice + random.normal(0, 25, count)
    return np.clip(np.rint(mixed), -32_768, 32_767).astype(np.int16)


def split(band: Band, stream: bytes) -> list[bytes]:
    """The frames of a file."""
    assert stream.startswith(band.magic)
    at, frames = len(band.magic), []
    while at < len(stream):
        kind = stream[at] >> 3 & 15
        length = 1 + (band.bytes[kind] if kind < len(band.bytes) else 0)
        frames.append(stream[at : at + length])
        at += length
    return frames


def stored(band: Band, frames: Iterable[bytes]) -> bytes:
    return band.magic + b"".join(frames)


def noise(band: Band, kinds: Sequence[int], seed: int) -> list[bytes]:
    """Frames of these types whose bits are chance."""
    random = np.random.default_rng(seed)
    lengths = [band.bytes[kind] if kind < len(band.bytes) else 0 for kind in kinds]
    return [
        bytes([kind << 3 | 4]) + random.bytes(length)
        for kind, length in zip(kinds, lengths, strict=True)
    ]


def decode(band: Band, path: Path, decoder: str | None = None) -> oracle.Array:
    """What the reference decoder in the bundled FFmpeg makes of a file."""
    decoder = band.decoder if decoder is None else decoder
    command = [oracle.bundled(), "-nostdin", "-v", "error", "-c:a", decoder, "-i", str(path)]
    done = subprocess.run([*command, "-f", "f32le", "-"], capture_output=True, check=True)
    return np.frombuffer(done.stdout, "<f4")


def mp4(band: Band, frames: Sequence[bytes], each: int, timescale: int | None = None) -> bytes:
    """3GP with `each` frames in a sample, as phones write it: 3GPP TS 26.244, section 6.5."""
    timescale = timescale or band.rate
    samples = [b"".join(frames[at : at + each]) for at in range(0, len(frames), each)]
    ticks = band.samples * timescale // band.rate
    counts = [len(frames[at : at + each]) for at in range(0, len(frames), each)]
    runs = [struct.pack(">II", 1, ticks * count) for count in counts]
    damr = box(b"damr", b"oscl", struct.pack(">BHBB", 0, 0x81FF, 0, each))
    sound = bytes(6) + struct.pack(">H8xHHIHH", 1, 2, 16, 0, timescale & 0xFFFF, 0)
    entry = box(band.entry, sound, damr)
    tables = [
        box(b"stsd", struct.pack(">II", 0, 1), entry),
        box(b"stts", struct.pack(">II", 0, len(runs)), *runs),
        box(b"stsc", struct.pack(">IIIII", 0, 1, 1, len(samples), 1)),
        box(b"stsz", struct.pack(">III", 0, 0, len(samples)), *map(_size, samples)),
    ]
    head = box(b"ftyp", b"3gp4", bytes(4), b"3gp4")
    header = box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, timescale, ticks * len(frames)), bytes(80))
    track = box(b"tkhd", struct.pack(">IIIIII", 1, 0, 0, 1, 0, ticks * len(frames)), bytes(60))
    media = [
        box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, timescale, ticks * len(frames), 0x55C4, 0)),
        box(b"hdlr", bytes(8), b"soun", bytes(13)),
    ]

    def movie(offset: int) -> bytes:
        table = box(b"stbl", *tables, box(b"stco", struct.pack(">III", 0, 1, offset)))
        trak = box(b"trak", track, box(b"mdia", *media, box(b"minf", table)))
        return box(b"moov", header, trak)

    start = len(head) + len(movie(0)) + 8
    return head + movie(start) + box(b"mdat", *samples)


def _size(sample: bytes) -> bytes:
    return struct.pack(">I", len(sample))
