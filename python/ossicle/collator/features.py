"""Whisper's log-mel from a cache, in the place of the processor's own feature extractor."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle.cache import AudioCache, AudioCacheKey
from ossicle.collator.sound import Loader
from ossicle.collator.types import Family, Pair
from ossicle.errors import AudioError
from ossicle.features.fingerprint import processor_sha256
from ossicle.features.mel import HOP_LENGTH, SAMPLE_RATE, log_mel_batch

__all__ = ["CachedMel"]

Mel: TypeAlias = npt.NDArray[np.float32]
"""Of one recording, ``(n_mels, own + 2)``: its own frames, and the two after them, which it reaches
into (zeros where the window ends before)."""

_AFTER = 2
# Entries are not what the extractor itself would give, which others may keep under its digest.
_LAYOUT = b"ossicle.collator: own frames and two\0"
_KNOWN_AUDIO_KWARGS = frozenset({"return_attention_mask", "sampling_rate"})


class CachedMel:
    """Features of recordings, read from a cache or made and put there.

    Args:
        cache: Where they are kept, for recordings whose digest is known.
        processor: Of a family whose features are Whisper's log-mel.
        family: That family.

    Raises:
        ValueError: The processor makes other features.
    """

    def __init__(self, cache: AudioCache, processor: Any, family: Family) -> None:
        self._cache = cache
        _check(processor, family)

    def __call__(
        self, pairs: Sequence[Pair], processor: Any, loader: Loader
    ) -> list[Mel | AudioError]:
        """The features of each recording, or its error, in order."""
        digest = hashlib.sha256(_LAYOUT + processor_sha256(processor).encode()).hexdigest()
        keys = [loader.feature_key(pair, digest) for pair in pairs]
        found: dict[int, Mel | AudioError] = {**self._get(keys)}
        missing = [place for place in range(len(pairs)) if place not in found]
        sounds = loader([pairs[place] for place in missing]) if missing else []
        waveforms = {}
        for place, sound in zip(missing, sounds, strict=True):
            if isinstance(sound, AudioError):
                found[place] = sound
            else:
                waveforms[place] = sound
        mels = _compute(list(waveforms.values()), processor.feature_extractor)
        computed = dict(zip(waveforms, mels, strict=True))
        self._cache.put_batch(
            [(key, mel) for place, mel in computed.items() if (key := keys[place]) is not None]
        )
        found |= computed
        return [found[place] for place in range(len(pairs))]

    def _get(self, keys: list[AudioCacheKey | None]) -> dict[int, Mel]:
        wanted = {place: key for place, key in enumerate(keys) if key is not None}
        mels = self._cache.get_batch(wanted.values(), copy=False)
        return {place: mel for place, mel in zip(wanted, mels, strict=True) if mel is not None}

    def ready(
        self, processor: Any, mels: Sequence[Mel]
    ) -> tuple[Any, list[npt.NDArray[np.float32]]]:
        """A copy of the processor that gives these features, and what stands for the recordings."""
        twin = copy.copy(processor)
        twin.feature_extractor = _Ready(processor.feature_extractor, mels)
        return twin, [np.zeros(1, np.float32) for _ in mels]


class _Ready:
    """A feature extractor that has its answer already; for all else it is the real one."""

    def __init__(self, extractor: Any, mels: Sequence[Mel]) -> None:
        self._extractor = extractor
        self._mels = mels

    def __getattr__(self, name: str) -> Any:
        return getattr(self._extractor, name)

    def __call__(self, audio: Any, **options: Any) -> Any:
        from transformers.feature_extraction_utils import BatchFeature

        del audio
        frames = self._extractor.nb_max_frames
        found = {"input_features": _pad(self._mels, frames)}
        if options.get("return_attention_mask"):
            own = np.array([[mel.shape[1] - _AFTER] for mel in self._mels])
            found["attention_mask"] = (np.arange(frames) < own).astype(np.int32)
        return BatchFeature(found, tensor_type=options.get("return_tensors"))


def _pad(mels: Sequence[Mel], frames: int) -> npt.NDArray[np.float32]:
    """All features in one array ``(B, n_mels, frames)``, filled up with what silence gives."""
    out = np.empty((len(mels), mels[0].shape[0], frames), np.float32)
    for row, mel in zip(out, mels, strict=True):
        own = mel[:, :frames]
        row[:, : own.shape[1]] = own
        # Silence is 1e-10, whose logarithm is -10, but at most 8 below the loudest; plus 4, over 4.
        row[:, own.shape[1] :] = max(float(own.max()) - 2.0, -1.5)
    return out


def _compute(waveforms: list[npt.NDArray[np.float32]], extractor: Any) -> list[Mel]:
    window = extractor.nb_max_frames
    own = [min(-(-len(waveform) // HOP_LENGTH), window) for waveform in waveforms]
    # A window's end is reflected, which three frames of silence keep away from what is taken.
    frames = min(max(own, default=0) + _AFTER + 1, window)
    seconds = frames * HOP_LENGTH / SAMPLE_RATE
    features = log_mel_batch(waveforms, n_mels=extractor.feature_size, pad_to_seconds=seconds)
    mels = []
    for row, count in zip(features, own, strict=True):
        mel = np.zeros((row.shape[0], count + _AFTER), np.float32)
        taken = row[:, : count + _AFTER]
        mel[:, : taken.shape[1]] = taken
        mels.append(mel)
    return mels


def _check(processor: Any, family: Family) -> None:
    kind = type(processor).__name__
    extractor: Any = getattr(processor, "feature_extractor", None)
    if not family.is_whisper_mel or not _is_whisper(extractor):
        raise ValueError(
            f"feature_cache holds Whisper's log-mel, one window a recording, and the features of "
            f"{kind} differ; waveform_cache works with every processor"
        )
    wanted = dict(getattr(processor, "audio_kwargs", None) or {})
    if more := wanted.keys() - _KNOWN_AUDIO_KWARGS:
        raise ValueError(
            f"feature_cache does not support these audio_kwargs of {kind}: "
            f"{', '.join(sorted(more))}"
        )
    if not family.has_placeholder and extractor.return_attention_mask:
        raise ValueError(
            "feature_cache has no mask, and this extractor needs one (return_attention_mask)"
        )


def _is_whisper(extractor: Any) -> bool:
    from transformers import WhisperFeatureExtractor

    from ossicle.features.whisper import N_FFT, slaney_filters

    if not isinstance(extractor, WhisperFeatureExtractor):
        return False
    numbers = (extractor.n_fft, extractor.hop_length, extractor.sampling_rate, extractor.dither)
    plain = (extractor.padding_value, extractor.padding_side) == (0.0, "right")
    filters = extractor.mel_filters
    return (
        plain
        and numbers == (N_FFT, HOP_LENGTH, SAMPLE_RATE, 0.0)
        and np.array_equal(filters, slaney_filters(filters.shape[-1]))
    )
