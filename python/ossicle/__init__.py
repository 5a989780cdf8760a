"""Ossicle carries sound from files to the model.

``import ossicle`` imports NumPy alone; PyTorch, transformers and Polars are imported by the names
that need them, when they are first used.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ossicle import _native, moved
from ossicle.audio import (
    AudioBatch,
    AudioDecoder,
    AudioInfo,
    ConcealedClip,
    Gap,
    RawFormat,
    blocks,
    info,
    load,
    load_batch,
    load_concealed,
    save,
)
from ossicle.audio.resampling import StreamResampler, resample
from ossicle.cache import (
    AudioCache,
    AudioCacheKey,
    CacheStats,
    WaveformCache,
    WaveformCacheKey,
)
from ossicle.errors import (
    AudioError,
    AudioFileNotFoundError,
    AudioIOError,
    AudioLimitError,
    CorruptAudioError,
    DecodeError,
    DecodersDisagreeError,
    InvalidArgumentError,
    InvalidKeyError,
    NonFiniteSampleError,
    UnsupportedFormatError,
)
from ossicle.extras import import_with_extra
from ossicle.features.fingerprint import processor_sha256
from ossicle.features.mel import FeatureBatch, load_features, log_mel_batch, log_mel_spectrogram
from ossicle.shard import Shard, ShardWriter, index_shards, repair_shard, verify_shards

if TYPE_CHECKING:
    from ossicle.collator import AudioLmCollator
    from ossicle.espnet import ContinuousAudioIO, register_espnet
    from ossicle.features.whisper import WhisperFeatures
    from ossicle.stream.lengths import AudioLengths, audio_lengths
    from ossicle.stream.sampler import DurationBatchSampler, trainer_dataloader

moved.install()

__version__ = _native.VERSION
__build__: dict[str, str] = _native.build()

if __build__["profile"] == "debug":
    warnings.warn(
        "this is a debug build of ossicle: it decodes many times slower than a release build",
        RuntimeWarning,
        stacklevel=2,
    )

moved.install()

# Names of training, some of whose modules import PyTorch or transformers: resolved on first use.
_LAZY = {
    "AudioLengths": "ossicle.stream.lengths",
    "AudioLmCollator": "ossicle.collator",
    "ContinuousAudioIO": "ossicle.espnet",
    "DurationBatchSampler": "ossicle.stream.sampler",
    "WhisperFeatures": "ossicle.features.whisper",
    "audio_lengths": "ossicle.stream.lengths",
    "register_espnet": "ossicle.espnet",
    "trainer_dataloader": "ossicle.stream.sampler",
}


# Rooms that `import ossicle` does not import, and that are at hand as its attributes all the same.
_ROOMS = frozenset({"backends", "torch"})


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_with_extra(f"ossicle.{name}")
    if name == "Resampler":
        moved.warn_renamed("ossicle.Resampler", "ossicle.StreamResampler")
        return StreamResampler
    if name not in _LAZY:
        raise AttributeError(f"module 'ossicle' has no attribute {name!r}")
    return getattr(import_with_extra(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "AudioBatch",
    "AudioCache",
    "AudioCacheKey",
    "AudioDecoder",
    "AudioError",
    "AudioFileNotFoundError",
    "AudioIOError",
    "AudioInfo",
    "AudioLengths",
    "AudioLimitError",
    "AudioLmCollator",
    "CacheStats",
    "ConcealedClip",
    "ContinuousAudioIO",
    "CorruptAudioError",
    "DecodeError",
    "DecodersDisagreeError",
    "DurationBatchSampler",
    "FeatureBatch",
    "Gap",
    "InvalidArgumentError",
    "InvalidKeyError",
    "NonFiniteSampleError",
    "RawFormat",
    "Shard",
    "ShardWriter",
    "StreamResampler",
    "UnsupportedFormatError",
    "WaveformCache",
    "WaveformCacheKey",
    "WhisperFeatures",
    "__build__",
    "__version__",
    "audio_lengths",
    "blocks",
    "index_shards",
    "info",
    "load",
    "load_batch",
    "load_concealed",
    "load_features",
    "log_mel_batch",
    "log_mel_spectrogram",
    "processor_sha256",
    "register_espnet",
    "repair_shard",
    "resample",
    "save",
    "trainer_dataloader",
    "verify_shards",
]
