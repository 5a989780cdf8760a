"""An ``AudioBackend`` for lhotse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from lhotse.audio.backend import AudioBackend, LibsndfileCompatibleAudioInfo
from lhotse.serialization import TarAsDirBackend
from lhotse.utils import compute_num_samples

from ossicle.audio import AudioSource, FloatArray, encode, load
from ossicle.backends.frames import facts_of, read_frames
from ossicle.errors import InvalidArgumentError

__all__ = ["OssicleBackend"]


class OssicleBackend(AudioBackend):  # type: ignore[misc]
    """Reads, and writes WAV and FLAC, for lhotse.

    ::

        lhotse.set_current_audio_backend(ossicle.backends.lhotse.OssicleBackend())

    Once this module is imported, the variable of the environment ``LHOTSE_AUDIO_BACKEND`` may name
    ``OssicleBackend`` too.
    """

    def read_audio(
        self,
        path_or_fd: Any,
        offset: float = 0.0,
        duration: float | None = None,
        force_opus_sampling_rate: int | None = None,
    ) -> tuple[FloatArray, int]:
        """``(channels, samples)`` and the rate; numbers of samples as lhotse rounds them.

        Args:
            path_or_fd: A path, also into a tar (``shard.tar/name.wav``), or a binary file.
            offset: Where to begin, in seconds.
            duration: How much to take, in seconds; None takes all.
            force_opus_sampling_rate: The rate of the result, where the codec is Opus.

        Raises:
            AudioError: As for `ossicle.load`.
        """
        source = _source(path_or_fd)
        if force_opus_sampling_rate and facts_of(source).codec == "opus":
            return load(
                source, force_opus_sampling_rate, mono=False, offset=offset, duration=duration
            )
        if not offset and duration is None:
            return read_frames(source)
        facts = facts_of(source)
        rate = facts.sample_rate
        start = compute_num_samples(offset, rate) if offset else 0
        stop = None if duration is None else start + compute_num_samples(duration, rate)
        return read_frames(source, start, stop, facts=facts)

    def supports_info(self) -> bool:
        """It does."""
        return True

    def info(self, path_or_fd: Any, force_opus_sampling_rate: int | None = None) -> Any:
        """Facts, from the headers where they can be trusted."""
        facts = facts_of(_source(path_or_fd))
        rate, frames = facts.sample_rate, facts.frames
        if force_opus_sampling_rate and facts.codec == "opus":
            rate, frames = force_opus_sampling_rate, -(-frames * force_opus_sampling_rate // rate)
        return LibsndfileCompatibleAudioInfo(facts.channels, frames, rate, facts.duration)

    def supports_save(self) -> bool:
        """WAV and FLAC."""
        return True

    def save_audio(
        self,
        dest: Any,
        src: Any,
        sampling_rate: int,
        format: str | None = None,  # noqa: A002 (lhotse's name)
        encoding: str | None = None,
    ) -> None:
        """Writes ``(channels, samples)`` as WAV or FLAC of 16 bits.

        Args:
            dest: A path or a binary file.
            src: Samples, of PyTorch or of NumPy.
            sampling_rate: In Hz.
            format: ``"wav"`` or ``"flac"``; None takes it from the suffix of ``dest``.
            encoding: None or ``"PCM_16"``.

        Raises:
            InvalidArgumentError: Another format or encoding.
        """
        if encoding not in (None, "PCM_16", "pcm_s16"):
            raise InvalidArgumentError(f"encoding must be PCM_16 or None, not {encoding!r}")
        is_path = isinstance(dest, str | Path)
        kind = format or (Path(dest).suffix.lower().removeprefix(".") if is_path else "flac")
        data = encode(np.asarray(src), sampling_rate, kind)
        if is_path:
            Path(dest).write_bytes(data)
        else:
            dest.write(data)


def _source(path_or_fd: Any) -> AudioSource:
    """What is a path into a tar is read from there, as lhotse's own backends do."""
    is_path = isinstance(path_or_fd, str | Path)
    if is_path and ".tar/" in str(path_or_fd):
        found: AudioSource = TarAsDirBackend().open(path_or_fd)
        return found
    source: AudioSource = path_or_fd
    return source
