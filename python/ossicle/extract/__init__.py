"""Features of a frozen encoder, extracted once into tar shards and read back for training.

`FeatureShards` reads what `extract_whisper` wrote; `ossicle.shard.encoder_features` has the layout.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ossicle.shard.encoder_features import FeatureClip, FeatureShards, FingerprintError

if TYPE_CHECKING:
    from ossicle.extract.output import ExtractError
    from ossicle.extract.whisper import ExtractResult, extract_whisper

__all__ = [
    "ExtractError",
    "ExtractResult",
    "FeatureClip",
    "FeatureShards",
    "FingerprintError",
    "extract_whisper",
]

# The writer reads manifests as training does, and training reads features: on first use.
_LAZY = {
    "ExtractError": "ossicle.extract.output",
    "ExtractResult": "ossicle.extract.whisper",
    "extract_whisper": "ossicle.extract.whisper",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
