"""Features of audio: Whisper's log-mel, its extractor for Hugging Face, digests of extractors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ossicle.extras import import_with_extra
from ossicle.features.fingerprint import processor_sha256
from ossicle.features.mel import (
    FeatureBatch,
    load_features,
    log_mel_batch,
    log_mel_spectrogram,
)

if TYPE_CHECKING:
    from ossicle.features.whisper import WhisperFeatures

__all__ = [
    "FeatureBatch",
    "WhisperFeatures",
    "load_features",
    "log_mel_batch",
    "log_mel_spectrogram",
    "processor_sha256",
]


def __getattr__(name: str) -> Any:
    if name != "WhisperFeatures":  # its module imports transformers
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_with_extra("ossicle.features.whisper").WhisperFeatures
