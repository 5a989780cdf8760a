"""``librosa.load``, by our decoder and our resampler; librosa itself is not needed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ossicle.audio import AudioSource, Quality, resample
from ossicle.backends.frames import facts_of, read_frames
from ossicle.errors import InvalidArgumentError

__all__ = ["load"]

_QUALITIES: Final[dict[str, Quality]] = {
    "soxr_vhq": "best",
    "soxr_hq": "high",
    "kaiser_best": "high",
    **dict.fromkeys(("soxr_mq", "soxr_lq", "soxr_qq", "kaiser_fast", "fft", "polyphase"), "fast"),
}


def load(
    path: AudioSource,
    *,
    sr: float | None = 22_050,
    mono: bool = True,
    offset: float = 0.0,
    duration: float | None = None,
    dtype: npt.DTypeLike = np.float32,
    res_type: str = "soxr_hq",
) -> tuple[npt.NDArray[Any], int]:
    """Decodes, mixes and resamples a recording, as ``librosa.load`` does.

    As many samples as librosa gives, at the same places; the range is taken at the recording's own
    rate, before it is resampled. `ossicle.load` gives a range that is a slice of the whole.

    Args:
        path: As for `ossicle.load`.
        sr: Rate of the result in Hz, a whole number; None keeps the native one.
        mono: Take the mean of the channels.
        offset: Where to begin, in seconds.
        duration: How much to take, in seconds; None takes all.
        dtype: float32 or float64 (of samples that were decoded to float32).
        res_type: librosa's name of a resampler; the quality that is nearest to it is used.

    Returns:
        ``(samples,)``, or ``(channels, samples)`` of more than one channel; and the rate.

    Raises:
        AudioError: As for `ossicle.load`.
        InvalidArgumentError: Another ``dtype`` or ``res_type``.
    """
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise InvalidArgumentError(f"dtype must be float32 or float64, not {np.dtype(dtype)}")
    if res_type not in _QUALITIES:
        known = ", ".join(_QUALITIES)
        raise InvalidArgumentError(f"res_type must be one of {known}, not {res_type!r}")
    planes, native = _range(path, offset, duration)
    if mono or len(planes) == 1:
        planes = planes.mean(axis=0, dtype=np.float32) if len(planes) > 1 else planes[0]
    rate = native if sr is None else sr
    if rate != native:
        planes = resample(planes, native, rate, quality=_QUALITIES[res_type])  # type: ignore[arg-type]
    return planes.astype(dtype, copy=False), int(rate)


def _range(path: AudioSource, offset: float, duration: float | None) -> tuple[Any, int]:
    if offset < 0 or (duration is not None and duration < 0):
        raise InvalidArgumentError("offset and duration must not be negative")
    if not offset and duration is None:
        return read_frames(path)
    facts = facts_of(path)
    rate = facts.sample_rate
    start = int(offset * rate)
    stop = None if duration is None else start + int(duration * rate)
    return read_frames(path, start, stop, facts=facts)
