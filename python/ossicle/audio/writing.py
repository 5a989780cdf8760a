"""Float32 arrays to WAV and FLAC, in memory and in files."""

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

__all__ = ["encode", "save"]


@names_keywords
def encode(
    waveform: npt.ArrayLike,
    sample_rate: int,
    container: str = "wav",
    *,
    bits_per_sample: Literal[16, 24, 32] = 16,
) -> bytes:
    """A WAV or FLAC file in memory.

    Args:
        waveform: ``(samples,)`` or ``(channels, samples)``: floats in [-1, 1], beyond which they
            are clipped, or int8, int16, int32 or uint8 at their full scale. What is int16 comes
            back to the bit.
        sample_rate: In Hz.
        container: ``"wav"`` or ``"flac"``.
        bits_per_sample: 16 or 24, and in WAV also 32, which is float and exact.

    Raises:
        InvalidArgumentError: A container, depth, rate, type, shape or sample that cannot be
            written.
    """
    planes, _ = as_planes(waveform)
    rate = check_rate(sample_rate, "sample_rate")
    return _native.encode(planes, rate, container, bits_per_sample)


@names_keywords
def save(
    path: str | os.PathLike[str],
    waveform: npt.ArrayLike,
    sample_rate: int,
    *,
    bits_per_sample: Literal[16, 24, 32] = 16,
) -> Path:
    """Writes a WAV or FLAC file, whichever the suffix of ``path`` says, whole or not at all.

    Args:
        path: Ends in ``.wav`` or ``.flac``; its folder exists.
        waveform: ``(samples,)`` or ``(channels, samples)``: floats in [-1, 1], beyond which they
            are clipped, or int8, int16, int32 or uint8 at their full scale. What is int16 comes
            back to the bit.
        sample_rate: In Hz.
        bits_per_sample: 16 or 24, and in WAV also 32, which is float and exact.

    Returns:
        The path.

    Raises:
        InvalidArgumentError: A suffix, depth, rate, type, shape or sample that cannot be written.
        OSError: The file cannot be written.
    """
    path = Path(path)
    container = path.suffix.lower().removeprefix(".")
    data = encode(waveform, sample_rate, container, bits_per_sample=bits_per_sample)
    with replacing(path) as partial:
        partial.write_bytes(data)
    return path
