"""Recordings into waveforms: from the cache, decoded in one call, or as they came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle.audio import load_batch
from ossicle.audio.decoders import DecoderName
from ossicle.audio.resampling import resample
from ossicle.audio.waveforms import as_float32, check_shape
from ossicle.cache import AudioCacheKey, WaveformCache, WaveformCacheKey
from ossicle.collator.errors import ClipTooShortError, RowError, SampleRateMismatchError
from ossicle.collator.types import Pair, Waveform
from ossicle.data.recordings import Recording, Samples
from ossicle.errors import AudioError, DecodeError, InvalidArgumentError, NonFiniteSampleError

__all__ = ["Loader", "place_of"]

Sound: TypeAlias = Waveform | AudioError


@dataclass(frozen=True)
class Loader:
    """Makes mono waveforms of recordings.

    Attributes:
        sample_rate: Of the waveforms, in Hz.
        max_length_seconds: Where they are cut.
        auto_resample: Whether recordings of another rate are resampled, or are errors.
        min_samples: Shorter ones are errors.
        cache: Where waveforms are kept; None for nowhere.
        strict: Whether a remark on a file (`ossicle.AudioInfo.remarks`) is an error; what
            the cache holds is not looked at again.
        decoder: Which decoder makes the samples, as for `ossicle.load`.
    """

    sample_rate: int
    max_length_seconds: float
    auto_resample: bool = False
    min_samples: int = 1
    cache: WaveformCache | None = None
    strict: bool = False
    decoder: DecoderName = "native"

    def __call__(self, pairs: Sequence[Pair]) -> list[Sound]:
        """For each recording its waveform ``(samples,)`` or its error, in order."""
        keys = [self.key(pair) if self.cache is not None else None for pair in pairs]
        found: list[Sound | None] = [
            None if self.cache is None or key is None else self.cache.get(key) for key in keys
        ]
        missing = [place for place, waveform in enumerate(found) if waveform is None]
        recordings = [pairs[place][1] for place in missing]
        for place, sound in zip(missing, self._load(recordings), strict=True):
            found[place] = sound
            key = keys[place]
            if self.cache is not None and key is not None and not isinstance(sound, AudioError):
                self.cache.put(key, sound)
        return [sound for sound in found if sound is not None]

    def key(self, pair: Pair) -> WaveformCacheKey | None:
        """None where the row does not say what its file contains: a path may change its bytes."""
        example, recording = pair
        if not recording.blob_sha:
            return None
        try:
            return WaveformCacheKey(
                blob_sha=recording.blob_sha,
                sample_rate=self.sample_rate,
                max_length_ms=round(self.max_length_seconds * 1000),
                auto_resample=self.auto_resample,
                decoder=self.decoder,
            )
        except ValueError as error:
            raise RowError(f"{example.name}: {error}", row=example.index) from error

    def feature_key(self, pair: Pair, processor_sha: str) -> AudioCacheKey | None:
        """As `key`, for what the processor of that digest makes of the waveform."""
        plain = self.key(pair)
        if plain is None:
            return None
        return AudioCacheKey(
            blob_sha=plain.blob_sha,
            processor_sha=processor_sha,
            sample_rate=plain.sample_rate,
            max_length_ms=plain.max_length_ms,
            auto_resample=plain.auto_resample,
            decoder=plain.decoder,
        )

    def _load(self, recordings: list[Recording]) -> list[Sound]:
        """All that must be decoded in one call."""
        files = [one for one in recordings if not isinstance(one.source, Samples)]
        decoded = iter(self._decode(files) if files else ())
        return [
            self._convert(one) if isinstance(one.source, Samples) else next(decoded)
            for one in recordings
        ]

    def _decode(self, recordings: list[Recording]) -> list[Sound]:
        # Errors are collected so that the one raised can say which row of the batch it was.
        batch = load_batch(
            [one.source for one in recordings],
            self.sample_rate,
            duration=self.max_length_seconds,
            on_error="collect",
            strict=self.strict,
            decoder=self.decoder,
        )
        sounds: list[Sound] = []
        for recording, error, padded, length, rate in zip(
            recordings,
            batch.errors,
            batch.waveforms,
            batch.lengths,
            batch.sample_rates,
            strict=True,
        ):
            fault = error or self._fault(recording, int(rate), int(length))
            sounds.append(padded[:length] if fault is None else fault)
        return sounds

    def _convert(self, recording: Recording) -> Sound:
        """A waveform that came as an array."""
        samples: Samples = recording.source
        try:
            mono = _mono(samples.array, recording.name)
            length = round(self.max_length_seconds * self.sample_rate)
            fault = self._fault(recording, samples.sample_rate, len(mono))
            if fault is not None:
                return fault
            if samples.sample_rate != self.sample_rate:
                mono = resample(mono, samples.sample_rate, self.sample_rate)
        except AudioError as error:
            return error
        return mono[:length]

    def _fault(self, recording: Recording, native_rate: int, length: int) -> AudioError | None:
        place = place_of(recording)
        if native_rate != self.sample_rate and not self.auto_resample:
            return SampleRateMismatchError(
                f"native rate {native_rate} Hz, but this collator takes {self.sample_rate} Hz; "
                f"re-encode it (`ffmpeg -i <in> -ar {self.sample_rate} <out>`) "
                "or pass auto_resample=True",
                **place,
            )
        if length == 0:
            return ClipTooShortError("the clip has no samples", **place)
        if length < self.min_samples:
            return ClipTooShortError("the clip is too short for one audio token", **place)
        return None


def place_of(recording: Recording) -> dict[str, Any]:
    """Of a recording, for its error: the file, and the member of a shard."""
    name, bracket, member = recording.name.partition(" [")
    if not bracket or isinstance(recording.source, str):
        return {"source": recording.name}
    return {"source": name, "member": member.removesuffix("]")}


def _mono(array: npt.NDArray[Any], name: str) -> Waveform:
    try:
        check_shape(array.shape)
        planes = array if array.dtype.kind == "f" else as_float32(array, "the array")
    except InvalidArgumentError as error:
        raise DecodeError(error.reason, source=name) from error
    mono = np.asarray(planes if planes.ndim == 1 else planes.mean(axis=0), dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(mono))
    if len(wrong):
        raise NonFiniteSampleError(
            "a sample is NaN or infinite", source=name, sample_index=int(wrong[0])
        )
    return np.ascontiguousarray(mono)
