"""``transformers.audio_utils.load_audio``, by our decoder and our resampler."""

from __future__ import annotations

import base64
import binascii
import os
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ossicle.audio import load
from ossicle.backends.replacing import replace_function
from ossicle.errors import InvalidArgumentError

__all__ = ["install", "load_audio"]


def load_audio(
    audio: str | npt.NDArray[Any],
    sampling_rate: int = 16_000,
    timeout: float | None = None,
    backend: str = "auto",
) -> npt.NDArray[Any]:
    """A recording as mono float32 at a rate, as ``transformers.audio_utils.load_audio`` gives it.

    Args:
        audio: A path, an ``http(s)://`` URL, or a file in base64, also as a ``data:`` URI. An array
            is returned as it is.
        sampling_rate: Of the result in Hz.
        timeout: For a URL, in seconds.
        backend: Not used: everything is decoded here.

    Raises:
        AudioError: As for `ossicle.load`.
        TypeError: ``audio`` is neither text nor an array.
    """
    if isinstance(audio, np.ndarray):
        return audio
    if not isinstance(audio, str):
        raise TypeError(f"audio must be text or an array, not {type(audio).__name__}")
    return load(_source(audio, timeout), sampling_rate)[0]


def install() -> Callable[[], None]:
    """Makes ``transformers`` (its processors and pipelines) load recordings here.

    Returns:
        What undoes it.
    """
    return replace_function("transformers.audio_utils", "load_audio", load_audio)


def _source(audio: str, timeout: float | None) -> str | bytes:
    if audio.startswith(("http://", "https://")):
        with urllib.request.urlopen(audio, timeout=timeout) as answer:
            data: bytes = answer.read()
        return data
    if not audio.startswith("data:") and (os.path.exists(audio) or not _may_be_base64(audio)):  # noqa: PTH110
        return audio
    text = audio.partition(",")[2] if audio.startswith("data:") else audio
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidArgumentError(f"the text is no base64: {error}") from error


def _may_be_base64(text: str) -> bool:
    """Whether it is no path: a file has at least the bytes of a header."""
    return len(text) >= 32 and len(text) % 4 == 0 and "." not in text
