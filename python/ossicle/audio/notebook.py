"""What a notebook shows: tables, and of waveforms their picture, their features and a player.

Plain HTML with pictures inside; matplotlib is not needed.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from ossicle import _native
from ossicle.audio.waveforms import as_float32
from ossicle.audio.writing import encode

__all__ = ["page_of_batch", "picture_of_waveform", "player", "table", "table_of_info"]

CLIPS_SHOWN: Final = 5
"""More of a batch would make a notebook of many megabytes."""
PLAYER_BYTES: Final = 2 << 20
"""Of WAV, at most, in one player: a minute at 16 kHz."""
COLUMNS: Final = 800
"""Of a picture, at most."""

_MEL_RATE, _MEL_HOP, _BANDS = 16_000, 160, 80
_SECONDS_DRAWN: Final = 600.0
# From silence to full scale.
_COLOURS: Final = np.array(
    [(8, 10, 28), (44, 40, 110), (150, 48, 120), (240, 120, 70), (252, 240, 190)], np.float32
)


class Facts(Protocol):
    """What is shown of an `ossicle.AudioInfo`."""

    @property
    def sample_rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def duration(self) -> float: ...
    @property
    def container(self) -> str: ...
    @property
    def codec(self) -> str: ...
    @property
    def bits_per_sample(self) -> int | None: ...
    @property
    def remarks(self) -> tuple[str, ...]: ...


class Clips(Protocol):
    """What is shown of an `ossicle.AudioBatch`."""

    @property
    def sample_rate(self) -> int | None: ...
    @property
    def sample_rates(self) -> npt.NDArray[np.int64]: ...
    @property
    def errors(self) -> Sequence[Exception | None]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> npt.NDArray[Any]: ...
    def rate_of(self, number: int, /) -> int: ...


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "") -> str:
    """A table in HTML; all texts are escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def table_of_info(info: Facts) -> str:
    """The facts of a clip, and its remarks."""
    facts: list[tuple[str, Any]] = [
        ("duration", f"{info.duration:,.3f} s"),
        ("frames", info.frames),
        ("sample rate", f"{info.sample_rate:,} Hz"),
        ("channels", info.channels),
        ("container", info.container),
        ("codec", info.codec),
        ("bits per sample", "lossy" if info.bits_per_sample is None else info.bits_per_sample),
    ]
    return table(("fact", "value"), [*facts, *(("remark", text) for text in info.remarks)])


def page_of_batch(batch: Clips) -> str:
    """A row for each clip, with a picture and a player for the first of them."""
    rows = [_row_of_batch(batch, number) for number in range(min(len(batch), CLIPS_SHOWN))]
    columns = ("clip", "seconds", "native rate", "waveform and log-mel", "player")
    failed = sum(error is not None for error in batch.errors)
    rate = "each at its own rate" if batch.sample_rate is None else f"at {batch.sample_rate:,} Hz"
    more = f", the first {len(rows)} shown" if len(rows) < len(batch) else ""
    caption = f"{len(batch)} clips {rate}, {failed} failed{more}"
    head = "".join(f"<th>{name}</th>" for name in columns)
    title = f"<caption>{caption}</caption>"
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row_of_batch(batch: Clips, number: int) -> str:
    error = batch.errors[number]
    if error is not None:
        return f'<tr><td>{number}</td><td colspan="4">{escape(str(error))}</td></tr>'
    clip, rate = batch[number], batch.rate_of(number)
    seconds = f"{clip.shape[-1] / rate:,.3f}"
    cells = (number, seconds, f"{int(batch.sample_rates[number]):,} Hz")
    drawn = f"<td>{picture_of_waveform(clip, rate)}</td><td>{player(clip, rate)}</td>"
    return f"<tr>{''.join(map(_cell, cells))}{drawn}</tr>"


def picture_of_waveform(waveform: npt.ArrayLike, sample_rate: int) -> str:
    """The outline of a waveform as SVG, with its log-mel spectrogram above it as PNG.

    Of a long one the first ten minutes are drawn.
    """
    mono = np.atleast_2d(as_float32(waveform)).mean(axis=0, dtype=np.float32)
    mono = np.ascontiguousarray(mono[: int(_SECONDS_DRAWN * sample_rate)])
    if not len(mono):
        return "no samples"
    size = 'style="display:block;width:400px;height:{}px"'
    png = base64.b64encode(_png(_mel_pixels(mono, sample_rate))).decode()
    image = f'<img alt="log-mel" {size.format(80)} src="data:image/png;base64,{png}">'
    return image + _outline(mono, size.format(40))


def player(waveform: npt.ArrayLike, sample_rate: int) -> str:
    """A player of a clip, which holds it as WAV of 16 bits; a note where it is too long."""
    planes = np.atleast_2d(as_float32(waveform))[:2]
    if not planes.size:
        return "no samples"
    if 2 * planes.size > PLAYER_BYTES:
        return "too long for a player in the page"
    wav = base64.b64encode(encode(planes, sample_rate, "wav")).decode()
    return f'<audio controls preload="none" src="data:audio/wav;base64,{wav}"></audio>'


def _cell(value: Any) -> str:
    return f"<td>{escape(f'{value:,}' if isinstance(value, int) else str(value))}</td>"


def _mel_pixels(mono: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.uint8]:
    """``(80, columns, 3)``, the lowest band at the bottom."""
    if rate != _MEL_RATE:
        mono = _native.resample(mono[None], rate, _MEL_RATE, "fast", "native")[0]
    features = np.empty((1, _BANDS, max(1, -(-len(mono) // _MEL_HOP))), np.float32)
    _native.log_mel([mono], _BANDS, features.shape[2] * _MEL_HOP, 1, features)
    picture = _squeezed(features[0])
    low, high = float(picture.min()), float(picture.max())
    level = (picture - low) / max(high - low, 1e-6) * (len(_COLOURS) - 1)
    below = np.minimum(level.astype(int), len(_COLOURS) - 2)
    part = (level - below)[..., None]
    pixels = _COLOURS[below] * (1 - part) + _COLOURS[below + 1] * part
    rounded: npt.NDArray[np.uint8] = np.rint(pixels[::-1]).astype(np.uint8)
    return rounded


def _squeezed(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """No more columns than are drawn: the loudest frame of each."""
    frames = features.shape[1]
    if frames <= COLUMNS:
        return features
    starts = np.linspace(0, frames, COLUMNS, endpoint=False).astype(int)
    loudest: npt.NDArray[np.float32] = np.maximum.reduceat(features, starts, axis=1)
    return loudest


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG of 8 bits a colour. Format: PNG (Third Edition), W3C, 5.3 and 11.2."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def _outline(mono: npt.NDArray[np.float32], size: str) -> str:
    starts = np.linspace(0, len(mono), min(COLUMNS, len(mono)), endpoint=False).astype(int)
    low, high = np.minimum.reduceat(mono, starts), np.maximum.reduceat(mono, starts)
    peak = max(float(np.abs(mono).max()), 1e-6)
    upper = [f"{x},{50 - 48 * y / peak:.1f}" for x, y in enumerate(high.tolist())]
    lower = [f"{x},{50 - 48 * y / peak:.1f}" for x, y in enumerate(low.tolist())]
    points = " ".join(upper + lower[::-1])
    box = f'viewBox="0 0 {len(starts)} 100" preserveAspectRatio="none"'
    line = f'<polygon points="{points}" fill="#2a6f97" stroke="#2a6f97" stroke-width="0.5"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box} {size}>{line}</svg>'
