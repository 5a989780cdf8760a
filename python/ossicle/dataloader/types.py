"""The names that Dataloader++ gives to what it hands around."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import torch

    Waveform: TypeAlias = torch.Tensor
    Mask: TypeAlias = torch.BoolTensor
    LabelTensor: TypeAlias = torch.LongTensor

__all__ = [
    "ClipID",
    "LabelTensor",
    "Mask",
    "MetadataDict",
    "Sample",
    "SampleRate",
    "SegmentList",
    "WavID",
    "Waveform",
]

WavID: TypeAlias = str
"""A recording's name, unique in a corpus; any characters."""

ClipID: TypeAlias = str
"""A clip of a recording: ``{wav_id}_{clip_idx:04d}``."""

SampleRate: TypeAlias = int
"""In Hz."""

MetadataDict: TypeAlias = dict[str, Any]
"""What is known of a recording or a clip, by name."""

SegmentList: TypeAlias = list[dict[str, Any]]
"""Stretches of a waveform: dicts with ``onset`` and ``offset`` in seconds, and e.g. ``label``."""

Sample: TypeAlias = "tuple[Waveform, SampleRate, MetadataDict]"
"""What loaders, transforms and datasets hand on: the waveform, its rate and what is known of it."""

# Of PyTorch, which manifests do without: looked up on first use.
_TENSORS = {
    "Waveform": "Tensor",  # float32 (channels, samples)
    "Mask": "BoolTensor",  # (batch, time)
    "LabelTensor": "LongTensor",  # (batch, segments)
}


def __getattr__(name: str) -> Any:
    if name not in _TENSORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import torch

    return getattr(torch, _TENSORS[name])
