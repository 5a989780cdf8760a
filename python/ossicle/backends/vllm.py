"""``vllm.multimodal.media.audio.load_audio``, by our decoder and our resampler."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from ossicle.audio import AudioSource, load
from ossicle.backends.frames import facts_of
from ossicle.backends.replacing import replace_function
from ossicle.errors import AudioLimitError

__all__ = ["install", "load_audio"]


def load_audio(
    path: AudioSource,
    *,
    sr: float | None = 22_050,
    mono: bool = True,
    max_duration_s: float | None = None,
    max_decode_bytes: int | None = None,
    backend: str | None = None,
) -> tuple[npt.NDArray[Any], int]:
    """A recording as float32, as vLLM's ``load_audio`` gives it, within its limits.

    Args:
        path: A path, bytes or a binary file.
        sr: Rate of the result in Hz; None keeps the native one.
        mono: Take the mean of the channels, else ``(channels, samples)``.
        max_duration_s: A longer recording is refused. So much and a little is decoded at most,
            whatever its headers say.
        max_decode_bytes: A recording whose samples need more bytes is refused.
        backend: Not used.

    Returns:
        The waveform and its rate.

    Raises:
        AudioLimitError: A ValueError, which vLLM answers to the client: beyond a limit.
        AudioError: As for `ossicle.load`.
    """
    # Of a file object the bytes are taken: it is read twice where there are limits.
    source = path.getbuffer() if isinstance(path, io.BytesIO) else path
    limit = max_duration_s
    if max_decode_bytes is not None:
        facts = facts_of(source)
        rate = facts.sample_rate if sr is None else sr
        most = max_decode_bytes / (4 * facts.channels * rate)
        limit = most if limit is None else min(limit, most)
    duration = None if limit is None else limit + 1 / 50
    waveform, rate = load(source, sr, mono=mono, duration=duration)  # type: ignore[arg-type]
    if limit is not None and waveform.shape[-1] > limit * rate:
        raise AudioLimitError(
            f"the recording is longer than {limit:,.1f} s, which VLLM_MAX_AUDIO_DECODE_DURATION_S "
            "and VLLM_MAX_AUDIO_DECODE_BYTES allow"
        )
    return waveform, rate


def install() -> Callable[[], None]:
    """Makes vLLM load recordings here, for all its ``audio_backend`` names.

    Returns:
        What undoes it.
    """
    return replace_function("vllm.multimodal.media.audio", "load_audio", load_audio)
