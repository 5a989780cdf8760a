"""What a stream makes of recordings: waveforms, or log-mel features, padded or packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle.audio import load_batch
from ossicle.audio.decoders import DecoderName, check_decoder
from ossicle.audio.resampling import Quality, check_quality, check_rate
from ossicle.data.recordings import Recording, Samples, header_of, segments, settled
from ossicle.errors import AudioError, CorruptAudioError, InvalidArgumentError
from ossicle.features.mel import (
    HOP_LENGTH,
    SAMPLE_RATE,
    load_features,
    log_mel_batch,
    log_mel_spectrogram,
)

__all__ = ["Clip", "Decoding", "LogMel", "Waveforms"]

FloatArray: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int64]


class Clip(NamedTuple):
    """A recording that was decoded.

    Attributes:
        array: ``(samples,)``, or features ``(n_mels, frames)``.
        length: Samples, or frames, that are its own and no padding.
    """

    array: FloatArray
    length: int


@dataclass(frozen=True, kw_only=True)
class Waveforms:
    """Mono waveforms: ``waveforms`` and ``lengths`` of a batch.

    Attributes:
        sample_rate: In Hz.
        max_seconds: Where longer clips are cut; None cuts none.
        packed: Whether clips are end to end, ``(samples,)``, and not padded, ``(B, T)``.
        pad_to_multiple: T is rounded up to a multiple of this number of samples.
        quality: How well to resample, as for `ossicle.resample`.
        verify: As for `ossicle.load`.
        strict: As for `ossicle.load`.
        decoder: As for `ossicle.load`.
    """

    array: ClassVar[str] = "waveforms"

    sample_rate: int = SAMPLE_RATE
    max_seconds: float | None = None
    packed: bool = False
    pad_to_multiple: int = 1
    quality: Quality = "high"
    verify: bool = False
    strict: bool = False
    decoder: DecoderName = "native"

    def __post_init__(self) -> None:
        check_rate(self.sample_rate, "sample_rate")
        check_quality(self.quality)
        check_decoder(self.decoder)
        _check_seconds(self.max_seconds)
        if self.pad_to_multiple < 1:
            why = f"pad_to_multiple must be at least 1, not {self.pad_to_multiple}"
            raise InvalidArgumentError(why)

    @property
    def lengths_per_second(self) -> float:
        """What lengths count, in a second."""
        return self.sample_rate

    def decode(self, recordings: Sequence[Recording]) -> list[Clip | AudioError]:
        """Each recording's waveform or its error, by the calling thread alone."""
        found = load_batch(
            [_plain(one.source) for one in recordings],
            self.sample_rate,
            **_parts(recordings, self.max_seconds),
            threads=1,
            verify=self.verify,
            on_error="collect",
            quality=self.quality,
            strict=self.strict,
            decoder=self.decoder,
        )
        clips = [Clip(clip, len(clip)) for clip in found]
        return _checked(recordings, clips, found.errors)

    def join(self, clips: Sequence[Clip]) -> tuple[FloatArray, IntArray]:
        """Waveforms ``(B, T)``, or ``(samples,)`` if packed, and the samples of each clip."""
        lengths, arrays = _lengths(clips), [clip.array for clip in clips]
        if self.packed:
            return np.concatenate([np.zeros(0, np.float32), *arrays]), lengths
        longest = -(-int(lengths.max(initial=0)) // self.pad_to_multiple) * self.pad_to_multiple
        padded = np.zeros((len(clips), longest), np.float32)
        for row, array in zip(padded, arrays, strict=True):
            row[: len(array)] = array
        return padded, lengths

    def fields(self, clip: Clip) -> dict[str, Any]:
        """What a row has of its clip, for a collator that takes rows."""
        return {"audio": {"array": clip.array, "sampling_rate": self.sample_rate}}


@dataclass(frozen=True, kw_only=True)
class LogMel:
    """Whisper's log-mel features: ``input_features``, and ``lengths`` in frames, of a batch.

    Attributes:
        n_mels: Mel bands: 80, or 128 from Whisper large-v3 on.
        pad_to_seconds: Fill up with zeros, or cut, each clip to this length before its features
            are made. None keeps the clips' own frames; what follows a shorter clip's own in a
            padded batch is what silence gives.
        max_seconds: Where longer clips are cut; None cuts none.
        packed: Whether the clips' own frames are end to end, ``(n_mels, frames)``, and not
            padded, ``(B, n_mels, frames)``; only with ``pad_to_seconds=None``.
        quality: How well to resample, as for `ossicle.resample`.
        verify: As for `ossicle.load`.
        strict: As for `ossicle.load`.
    """

    array: ClassVar[str] = "input_features"
    sample_rate: ClassVar[int] = SAMPLE_RATE

    n_mels: int = 80
    pad_to_seconds: float | None = 30.0
    max_seconds: float | None = None
    packed: bool = False
    quality: Quality = "high"
    verify: bool = False
    strict: bool = False

    def __post_init__(self) -> None:
        log_mel_batch([], n_mels=self.n_mels, pad_to_seconds=self.pad_to_seconds)
        check_quality(self.quality)
        _check_seconds(self.max_seconds)
        if self.packed and self.pad_to_seconds is not None:
            raise InvalidArgumentError("packed=True needs pad_to_seconds=None")

    @property
    def lengths_per_second(self) -> float:
        """What lengths count, in a second."""
        return SAMPLE_RATE / HOP_LENGTH

    def decode(self, recordings: Sequence[Recording]) -> list[Clip | AudioError]:
        """Each recording's features, or waveform if they depend on the others of its batch."""
        if self.pad_to_seconds is None:
            return self._waveforms.decode(recordings)
        found = load_features(
            [_plain(one.source) for one in recordings],
            n_mels=self.n_mels,
            pad_to_seconds=self.pad_to_seconds,
            **_parts(recordings, self.max_seconds),
            threads=1,
            verify=self.verify,
            on_error="collect",
            quality=self.quality,
            strict=self.strict,
        )
        own = found.frames.tolist()
        clips = [Clip(clip, frames) for clip, frames in zip(found.input_features, own, strict=True)]
        return _checked(recordings, clips, found.errors)

    def join(self, clips: Sequence[Clip]) -> tuple[FloatArray, IntArray]:
        """Features ``(B, n_mels, frames)``, or ``(n_mels, frames)`` if packed, and own frames."""
        if self.packed:
            own = [self._own(clip) for clip in clips]
            lengths = np.array([features.shape[1] for features in own], np.int64)
            return np.concatenate([np.zeros((self.n_mels, 0), np.float32), *own], 1), lengths
        if self.pad_to_seconds is not None:
            return np.stack([clip.array for clip in clips]), _lengths(clips)
        arrays = [clip.array for clip in clips]
        features = log_mel_batch(arrays, n_mels=self.n_mels, pad_to_seconds=None, threads=1)
        return features, -(-_lengths(clips) // HOP_LENGTH)

    def fields(self, clip: Clip) -> dict[str, Any]:
        """What a row has of its clip, for a collator that takes rows."""
        features = clip.array if self.pad_to_seconds is not None else self._own(clip)
        return {"input_features": features}

    @property
    def _waveforms(self) -> Waveforms:
        return Waveforms(
            max_seconds=self.max_seconds,
            quality=self.quality,
            verify=self.verify,
            strict=self.strict,
        )

    def _own(self, clip: Clip) -> FloatArray:
        return log_mel_spectrogram(clip.array, n_mels=self.n_mels, pad_to_seconds=None)


Decoding: TypeAlias = Waveforms | LogMel


def _plain(source: Any) -> Any:
    if isinstance(source, Samples):
        return {"array": source.array, "sampling_rate": source.sample_rate}
    return source


def _parts(recordings: Sequence[Recording], most: float | None) -> dict[str, Any]:
    """Which part of each recording is meant, as `ossicle.load_batch` takes it."""
    parts = [settled(one).segment.at_most(most) for one in recordings]
    return segments(
        [replace(one, segment=part) for one, part in zip(recordings, parts, strict=True)]
    )


def _checked(
    recordings: Sequence[Recording], clips: Sequence[Clip], errors: Sequence[AudioError | None]
) -> list[Clip | AudioError]:
    """The clips, an error for what could not be decoded, and for what has no samples."""
    found: list[Clip | AudioError] = []
    for recording, clip, error in zip(recordings, clips, errors, strict=True):
        if error is None and clip.length == 0:
            error = _nothing_of(recording)
        found.append(clip if error is None else error)
    return found


def _nothing_of(recording: Recording) -> AudioError:
    """Why a recording gives no samples: its segment may lie past its end."""
    try:
        header_of(recording)
    except AudioError as error:
        return error
    return CorruptAudioError("the clip has no samples", source=recording.name)


def _lengths(clips: Sequence[Clip]) -> IntArray:
    return np.array([clip.length for clip in clips], np.int64)


def _check_seconds(seconds: float | None) -> None:
    if seconds is not None and not 0 < seconds < float("inf"):
        raise InvalidArgumentError(f"max_seconds must be a positive number, not {seconds}")
