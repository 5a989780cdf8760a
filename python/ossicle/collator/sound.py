"""Recordings into waveforms: from the cache, decoded in one call, or as they came."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ossicle.audio.decoders import DecoderName
from ossicle.audio.raw import RawFormat
from ossicle.cache import AudioCacheKey, WaveformCache, WaveformCacheKey
from ossicle.cache.digests import Digests
from ossicle.collator.errors import ClipTooShortError, RowError, SampleRateMismatchError
from ossicle.collator.types import Pair, Waveform
from ossicle.data.load import Sound, load_recordings
from ossicle.data.recordings import Recording
from ossicle.errors import AudioError

__all__ = ["Loader", "place_of"]

Loaded: TypeAlias = Waveform | AudioError


@dataclass(frozen=True)
class Loader:
    """Makes mono waveforms of recordings.

    Attributes:
        sample_rate: Of the waveforms, in Hz.
        max_length_seconds: Where they are cut.
        auto_resample: Whether recordings of another rate are resampled, or are errors.
        min_samples: Shorter ones are errors.
        cache: Where waveforms are kept; None for nowhere.
        digests: Of the files whose rows do not tell theirs; None where nothing is kept.
        strict: Whether a remark on a file (`ossicle.AudioInfo.remarks`) is an error; what
            the cache holds is not looked at again.
        decoder: Which decoder makes the samples, as for `ossicle.load`.
        raw: How files are read that have no header.
    """

    sample_rate: int
    max_length_seconds: float
    auto_resample: bool = False
    min_samples: int = 1
    cache: WaveformCache | None = None
    digests: Digests | None = None
    strict: bool = False
    decoder: DecoderName = "native"
    raw: RawFormat | None = None
    _told: set[str] = field(default_factory=set, compare=False)

    def __call__(self, pairs: Sequence[Pair]) -> list[Loaded]:
        """For each recording its waveform ``(samples,)`` or its error, in order."""
        keys = [self.key(pair) if self.cache is not None else None for pair in pairs]
        found: list[Loaded | None] = [
            None if self.cache is None or key is None else self.cache.get(key) for key in keys
        ]
        missing = [place for place, waveform in enumerate(found) if waveform is None]
        for place, sound in zip(missing, self._load([pairs[p] for p in missing]), strict=True):
            found[place] = sound
            key = keys[place]
            if self.cache is not None and key is not None and not isinstance(sound, AudioError):
                self.cache.put(key, sound)
        return [sound for sound in found if sound is not None]

    def key(self, pair: Pair) -> WaveformCacheKey | None:
        """None of samples in memory and of open files: nothing tells them by their content."""
        example, recording = pair
        if recording.wanted_rate not in (None, self.sample_rate):
            return None  # resampled twice
        digest = recording.blob_sha or self._digest(pair)
        if not digest:
            return None
        try:
            return WaveformCacheKey(
                blob_sha=digest,
                sample_rate=self.sample_rate,
                max_length_ms=round(self.max_length_seconds * 1000),
                auto_resample=self._resamples(recording),
                decoder=self.decoder,
                raw=self.raw,
                **self._segment(recording),
            )
        except ValueError as error:
            raise RowError(f"{example.name}: {error}", row=example.index) from error

    def feature_key(self, pair: Pair, processor_sha: str) -> AudioCacheKey | None:
        """As `key`, for what the processor of that digest makes of the waveform."""
        plain = self.key(pair)
        if plain is None:
            return None
        return AudioCacheKey(processor_sha=processor_sha, **vars(plain))

    def _digest(self, pair: Pair) -> str | None:
        example, recording = pair
        found = None if self.digests is None else self.digests.of(recording.source)
        kind = type(recording.source).__name__
        is_file = isinstance(recording.source, str) or hasattr(recording.source, "__fspath__")
        if found is None and self.digests is not None and not is_file and kind not in self._told:
            self._told.add(kind)
            warnings.warn(
                f"{example.name}: the cache keeps nothing of recordings that are {kind} objects; "
                "give paths, bytes or members of shards (of datasets, Audio(decode=False))",
                RuntimeWarning,
                stacklevel=2,
            )
        return found

    def _segment(self, recording: Recording) -> dict[str, Any]:
        """What a key says of a segment; nothing where it is the whole recording."""
        part, rate = recording.segment, self.sample_rate
        # What is cut anyway makes no difference.
        is_cut = part.duration is None or part.duration >= self.max_length_seconds
        if not part.offset and is_cut:
            return {"channel": part.channel}
        return {
            "offset_samples": None if part.may_be_whole else round(part.offset * rate),
            "segment_samples": None if is_cut else round((part.duration or 0.0) * rate),
            "channel": part.channel,
        }

    def _resamples(self, recording: Recording) -> bool:
        """Whether another rate than the collator's is no error."""
        return self.auto_resample or recording.wanted_rate == self.sample_rate

    def _load(self, pairs: Sequence[Pair]) -> list[Loaded]:
        """All that must be decoded in one call."""
        recordings = [recording for _, recording in pairs]
        sounds = load_recordings(
            recordings,
            self.sample_rate,
            max_seconds=self.max_length_seconds,
            strict=self.strict,
            decoder=self.decoder,
            raw=self.raw,
        )
        return [self._checked(*both) for both in zip(recordings, sounds, strict=True)]

    def _checked(self, recording: Recording, sound: Sound | AudioError) -> Loaded:
        if isinstance(sound, AudioError):
            return sound
        fault = self._fault(recording, sound.native_rate, len(sound.waveform))
        return sound.waveform if fault is None else fault

    def _fault(self, recording: Recording, native_rate: int, length: int) -> AudioError | None:
        place = place_of(recording)
        if native_rate != self.sample_rate and not self._resamples(recording):
            of = "native rate" if recording.wanted_rate is None else "the rate that was asked is"
            return SampleRateMismatchError(
                f"{of} {native_rate} Hz, but this collator takes {self.sample_rate} Hz; "
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
    return {"source": recording.file, "member": recording.member}
