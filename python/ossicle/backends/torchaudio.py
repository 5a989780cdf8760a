"""``torchaudio.load`` and ``torchaudio.info``, by our decoder; torchaudio itself is not needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from ossicle.audio import AudioInfo, AudioSource, FloatArray
from ossicle.backends.frames import facts_of, read_frames
from ossicle.errors import InvalidArgumentError

__all__ = ["AudioMetaData", "info", "load"]


@dataclass(frozen=True)
class AudioMetaData:
    """What ``torchaudio.info`` gave until torchaudio 2.8.

    Attributes:
        sample_rate: In Hz.
        num_frames: Samples per channel, exactly what `load` gives.
        num_channels: Channels.
        bits_per_sample: Of the stored samples; 0 for lossy codecs.
        encoding: ``PCM_S``, ``PCM_U``, ``PCM_F``, ``ULAW``, ``ALAW``, ``FLAC``, ``MP3``,
            ``VORBIS``, ``OPUS``, ``GSM``; any other codec by its own name in capitals.
    """

    sample_rate: int
    num_frames: int
    num_channels: int
    bits_per_sample: int
    encoding: str


_ENCODINGS: Final = {
    "pcm_mulaw": "ULAW",
    "pcm_alaw": "ALAW",
    "pcm_f": "PCM_F",
    "pcm_u": "PCM_U",
    "pcm_s": "PCM_S",
    "gsm": "GSM",
}
_STORED: Final = {8: torch.uint8, 16: torch.int16, 24: torch.int32, 32: torch.int32}


def info(
    uri: AudioSource,
    format: str | None = None,  # noqa: A002 (torchaudio's name)
    buffer_size: int = 4_096,
    backend: str | None = None,
) -> AudioMetaData:
    """Facts of a recording, as ``torchaudio.info`` gave them.

    Args:
        uri: As for `ossicle.load`.
        format: Not used: the content decides.
        buffer_size: Not used.
        backend: Not used.

    Raises:
        AudioError: As for `ossicle.info`.
    """
    facts = facts_of(uri)
    kinds = [name for start, name in _ENCODINGS.items() if facts.codec.startswith(start)]
    encoding = kinds[0] if kinds else facts.codec.upper()
    counts = (facts.sample_rate, facts.frames, facts.channels, facts.bits_per_sample or 0)
    return AudioMetaData(*counts, encoding)


def load(
    uri: AudioSource,
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,  # noqa: A002 (torchaudio's name)
    buffer_size: int = 4_096,
    backend: str | None = None,
) -> tuple[torch.Tensor, int]:
    """Decodes a recording, or a range of it, as ``torchaudio.load`` does.

    Args:
        uri: As for `ossicle.load`.
        frame_offset: Samples to skip.
        num_frames: Samples to take at most; -1 takes all that follow.
        normalize: False gives the stored integers of WAV (uint8, int16; int32 for 24 and 32 bits,
            at the full scale of int32), as torchaudio did until 2.8; all else is float32 in
            [-1, 1] all the same.
        channels_first: ``(channels, samples)``, else ``(samples, channels)``.
        format: Not used: the content decides.
        buffer_size: Not used.
        backend: Not used.

    Returns:
        The waveform and its rate in Hz.

    Raises:
        AudioError: As for `ossicle.load`.
        InvalidArgumentError: A negative ``frame_offset``, or ``num_frames`` of 0 or below -1.
    """
    if frame_offset < 0 or num_frames == 0 or num_frames < -1:
        text = "frame_offset must be 0 or more and num_frames -1 or at least 1"
        raise InvalidArgumentError(f"{text}, not {frame_offset} and {num_frames}")
    facts = None if normalize else facts_of(uri)
    stop = None if num_frames == -1 else frame_offset + num_frames
    planes, rate = read_frames(uri, frame_offset, stop, facts=facts)
    tensor = torch.from_numpy(planes if facts is None else _stored(planes, facts))
    return (tensor if channels_first else tensor.T.contiguous()), rate


def _stored(planes: FloatArray, facts: AudioInfo) -> Any:
    """The integers of a WAV file of integers; the floats of any other."""
    is_whole = facts.container == "wav" and facts.codec.startswith(("pcm_s", "pcm_u"))
    dtype = _STORED.get(facts.bits_per_sample or 0)
    if not is_whole or dtype is None:
        return planes
    bits = torch.iinfo(dtype).bits
    whole = np.rint(np.ldexp(planes.astype(np.float64), bits - 1))
    if dtype == torch.uint8:
        return (whole + 128).astype(np.uint8)
    return np.clip(whole, -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1).astype(f"int{bits}")
