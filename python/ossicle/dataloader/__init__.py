"""Dataloader++: what is known of recordings, joined by ``wav_id``, and batches made of it.

Manifests are Polars tables, waveforms come from files or shards, batches are PyTorch tensors. Each
name is imported when it is first used, so that workers, which must not run Polars, never load it.
"""

from __future__ import annotations

import importlib
from typing import Any

from ossicle import moved

_HOMES = {
    "types": (
        "ClipID",
        "LabelTensor",
        "Mask",
        "MetadataDict",
        "Sample",
        "SampleRate",
        "SegmentList",
        "WavID",
        "Waveform",
    ),
    "ossicle.data.errors": (
        "ManifestError",
        "MetadataError",
        "MissingStageError",
        "SampleError",
    ),
    "outputs.config": ("FilterConfig", "PipelineConfig"),
    "outputs.manifest": ("MetadataManifest",),
    "outputs.joiner": ("ManifestJoiner",),
    "outputs.build": ("build_manifest",),
    "outputs.processor": ("FeatureProcessor", "ProcessorError"),
    "outputs.registry": ("ProcessorRegistry", "default_registry"),
    "outputs.adapters": ("ESCAdapter", "PhonemeAdapter", "SNRAdapter", "VADAdapter", "VTCAdapter"),
    "outputs.store": (
        "JsonStore",
        "MetadataStore",
        "NpzStore",
        "ParquetStore",
        "StoreProcessor",
        "TorchStore",
    ),
    "samples.loaders": (
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
    "batch": ("Collator", "DataBatch", "SpeechCollator"),
    "fairseq": ("from_upstream", "to_upstream"),
    "transform.windows_picture": ("draw_windows",),
    "samples.dataset": ("SpeechDataset",),
    "samples.shard_stream": ("WebDatasetSpeechDataset",),
    "samples.sampler": ("MetadataSampler",),
}
_LAZY = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name == "DataloaderError":
        moved.warn_renamed(f"{__name__}.{name}", "ossicle.data.DataError")
        return importlib.import_module("ossicle.data.errors").DataError
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _LAZY[name]
    home = home if home.startswith("ossicle.") else f"{__name__}.{home}"
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
