"""Float32 arrays to WAV, FLAC and Opus, in memory and in files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy.typing as npt

from ossicle import _native
from ossicle.atomic import replacing
from ossicle.audio.keywords import names_keywords
from ossicle.audio.resampling import check_rate
from ossicle.audio.waveforms import as_planes
from ossicle.errors import InvalidArgumentError

__all__ = ["encode", "save"]


@names_keywords
def encode(
    waveform: npt.ArrayLike,
    sample_rate: int,
    container: str = "wav",
    *,
    bits_per_sample: Literal[16, 24, 32] = 16,
    bitrate: int | None = None,
) -> bytes:
    """A WAV, FLAC or Opus file in memory.

    Args:
        waveform: ``(samples,)`` or ``(channels, samples)``: floats in [-1, 1], beyond which they
            are clipped, or int8, int16, int32 or uint8 at their full scale. What is int16 comes
            back to the bit.
        sample_rate: In Hz.
        container: ``"wav"``, ``"flac"``, or ``"opus"``, which is Opus in Ogg: of one or two
            channels at 8,000, 12,000, 16,000, 24,000 or 48,000 Hz, with as many samples as there
            are.
        bits_per_sample: 16 or 24, and in WAV also 32, which is float and exact; Opus has none.
        bitrate: Of Opus, in bits a second, 6,000 to 510,000; None takes 64,000 for one channel and
            96,000 for two.

    Raises:
        InvalidArgumentError: A container, depth, rate, type, shape or sample that cannot be
            written.
    """
    planes, _ = as_planes(waveform)
    rate = check_rate(sample_rate, "sample_rate")
    if container == "opus":
        if bits_per_sample != 16:
            raise InvalidArgumentError("bits_per_sample is for wav and flac: Opus takes a bitrate")
        return _native.encode_opus(planes, rate, bitrate)
    if bitrate is not None:
        raise InvalidArgumentError(f"bitrate is for opus: {container} keeps its samples")
    return _native.encode(planes, rate, container, bits_per_sample)


@names_keywords
def save(
    path: str | os.PathLike[str],
    waveform: npt.ArrayLike,
    sample_rate: int,
    *,
    bits_per_sample: Literal[16, 24, 32] = 16,
    bitrate: int | None = None,
) -> Path:
    """Writes a WAV, FLAC or Opus file, whichever the suffix of ``path`` says, whole or not at all.

    Args:
        path: Ends in ``.wav``, ``.flac`` or ``.opus``; its folder exists.
        waveform: ``(samples,)`` or ``(channels, samples)``: floats in [-1, 1], beyond which they
            are clipped, or int8, int16, int32 or uint8 at their full scale. What is int16 comes
            back to the bit.
        sample_rate: In Hz; Opus has 8,000, 12,000, 16,000, 24,000 and 48,000.
        bits_per_sample: 16 or 24, and in WAV also 32, which is float and exact; Opus has none.
        bitrate: Of Opus, in bits a second; None takes 64,000 for one channel and 96,000 for two.

    Returns:
        The path.

    Raises:
        InvalidArgumentError: A suffix, depth, rate, type, shape or sample that cannot be written.
        OSError: The file cannot be written.
    """
    path = Path(path)
    container = path.suffix.lower().removeprefix(".")
    data = encode(
        waveform, sample_rate, container, bits_per_sample=bits_per_sample, bitrate=bitrate
    )
    with replacing(path) as partial:
        partial.write_bytes(data)
    return path
