"""``soundfile.read``, by our decoder; soundfile and libsndfile are not needed."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from ossicle.audio import AudioInfo, AudioSource, FloatArray
from ossicle.backends.frames import facts_of, read_frames
from ossicle.errors import InvalidArgumentError, one_of

__all__ = ["read"]

_TYPES: Final = ("float64", "float32", "int32", "int16")


def read(
    file: AudioSource,
    frames: int = -1,
    start: int = 0,
    stop: int | None = None,
    dtype: Literal["float64", "float32", "int32", "int16"] = "float64",
    always_2d: bool = False,
    fill_value: float | None = None,
) -> tuple[npt.NDArray[Any], int]:
    """Decodes a recording, or a range of it, as ``soundfile.read`` does.

    Args:
        file: As for `ossicle.load`.
        frames: Samples to take at most; -1 takes all that follow. Not together with ``stop``.
        start: The first sample; a negative one counts from the end.
        stop: One after the last sample; a negative one counts from the end.
        dtype: Of the result. What was decoded is float32, which holds 24 bits exactly; integers of
            a file of integers are the stored ones in the upper bits, as libsndfile gives them, and
            of a lossy codec rounded. A file of floats has none: that is an error here, where
            libsndfile gives them without a scale.
        always_2d: ``(samples, 1)`` of one channel too.
        fill_value: What fills up to ``frames`` (or ``stop``) where the recording ends before.

    Returns:
        ``(samples,)`` of one channel, else ``(samples, channels)``; and the rate in Hz.

    Raises:
        AudioError: As for `ossicle.load`.
        InvalidArgumentError: ``frames`` with ``stop``, an unknown ``dtype``, or integers of a file
            of floats.
    """
    one_of("dtype", dtype, _TYPES)
    if frames >= 0 and stop is not None:
        raise InvalidArgumentError("frames and stop exclude each other: leave one out")
    is_plain = frames < 0 and start == 0 and stop is None and dtype.startswith("float")
    facts = None if is_plain else facts_of(file)
    first, end = (0, None) if facts is None else _bounds(facts.frames, frames, start, stop)
    planes, rate = read_frames(file, first, end, facts=facts)
    samples = _typed(planes, dtype, facts).T
    if fill_value is not None:
        wanted = max(frames, 0) if stop is None else max(0, (end or 0) - first)
        missing = max(0, wanted - len(samples))
        samples = np.pad(samples, ((0, missing), (0, 0)), constant_values=fill_value)
    flat = samples[:, 0] if samples.shape[1] == 1 and not always_2d else samples
    return np.ascontiguousarray(flat), rate


def _bounds(length: int, frames: int, start: int, stop: int | None) -> tuple[int, int | None]:
    """The first sample and the one after the last, as Python's slices have them."""
    first, end, _ = slice(start, stop).indices(length)
    if frames >= 0:
        return first, first + frames
    return first, None if stop is None else max(first, end)


def _typed(planes: FloatArray, dtype: str, facts: AudioInfo | None) -> npt.NDArray[Any]:
    if facts is None or dtype.startswith("float"):
        return planes.astype(dtype, copy=False)
    if facts.codec.startswith("pcm_f"):
        text = f"{facts.codec} has no integers: read it as float32, or ossicle.load(dtype='int16')"
        raise InvalidArgumentError(text)
    bits = np.iinfo(dtype).bits
    scaled = np.ldexp(planes.astype(np.float64), bits - 1)
    whole = np.rint(scaled) if facts.bits_per_sample is None else np.floor(scaled)
    limit = 2.0 ** (bits - 1)
    return np.clip(whole, -limit, limit - 1).astype(dtype)
