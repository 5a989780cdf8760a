"""Dataloader++: what is known of recordings, joined by ``wav_id``, and batches made of it.

Manifests are Polars tables, waveforms come from files or shards, batches are PyTorch tensors. Each
name is imported when it is first used, so that workers, which must not run Polars, never load it.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "types": (
        "ClipID",
        "LabelTensor",
        "Mask",
        "MetadataDict",
        "SampleRate",
        "SegmentList",
        "WavID",
        "Waveform",
    ),
    "errors": (
        "DataloaderError",
        "ManifestError",
        "MetadataError",
        "MissingStageError",
        "SampleError",
    ),
    "config": ("FilterConfig", "PipelineConfig"),
    "manifest": ("MetadataManifest",),
    "joiner": ("ManifestJoiner",),
    "build": ("build_manifest",),
    "processor": ("FeatureProcessor", "ProcessorError", "ProcessorRegistry", "default_registry"),
    "adapters": ("ESCAdapter", "PhonemeAdapter", "SNRAdapter", "VADAdapter", "VTCAdapter"),
    "store": (
        "JsonStore",
        "MetadataStore",
        "NpzStore",
        "ParquetStore",
        "StoreProcessor",
        "TorchStore",
    ),
    "loader": (
        "FeatureLoader",
        "MetadataLoader",
        "RawFileLoader",
        "WaveformLoader",
        "WebDatasetLoader",
    ),
    "transform": (
        "Compose",
        "DataProcessor",
        "LabelEncoder",
        "MaskGenerator",
        "Normalizer",
        "OnlineWindower",
        "Resampler",
        "VADSegmenter",
        "Window",
    ),
    "batch": ("Collator", "DataBatch", "SpeechCollator", "from_upstream", "to_upstream"),
    "dataset": ("SpeechDataset", "WebDatasetSpeechDataset"),
    "sampler": ("MetadataSampler",),
}
_LAZY = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return __all__
