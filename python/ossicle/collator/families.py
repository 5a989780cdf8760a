"""What differs between the processors of transformers, as one table.

A processor that is not in the table is called like most: ``text=`` with placeholders, ``audio=``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ossicle.collator.encode import encode_labels_apart
from ossicle.collator.types import Family
from ossicle.collator.voxtral import encode_voxtral

if TYPE_CHECKING:
    import torch

__all__ = ["FAMILIES", "Family", "family_of"]


def _halved_twice(frames: torch.Tensor) -> torch.Tensor:
    """Tokens of mel frames: a convolution of stride 2, then pooling by 2."""
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def _by_mask(processor: Any, batch: dict[str, Any], samples: Sequence[int]) -> list[int]:
    del processor, samples
    counted: list[int] = _halved_twice(batch["feature_attention_mask"].sum(-1)).tolist()
    return counted


def _by_windows(processor: Any, batch: dict[str, Any], samples: Sequence[int]) -> list[int]:
    """A clip is cut into windows of 30 s; their frames are counted together."""
    import torch

    window = processor.feature_extractor.n_samples
    most = int(processor.max_audio_len // processor.feature_extractor.chunk_length)
    windows = [min(max(1, -(-count // window)), most) for count in samples]
    frames = batch["input_features_mask"].sum(-1).split(windows)
    return [int(_halved_twice(torch.as_tensor(part.sum()))) for part in frames]


def _by_projector(processor: Any, batch: dict[str, Any], samples: Sequence[int]) -> list[int]:
    del processor, samples
    counted: list[int] = batch["input_features_mask"].sum(-1).tolist()
    return counted


def _by_sizes(processor: Any, batch: dict[str, Any], samples: Sequence[int]) -> list[int]:
    del processor, samples
    counted: list[int] = batch["audio_embed_sizes"].tolist()
    return counted


def _always_the_same(processor: Any, batch: dict[str, Any], samples: Sequence[int]) -> list[int]:
    del batch
    return [processor.audio_seq_length] * len(samples)


def _of_whole_windows(processor: Any, batch: dict[str, Any], samples: Sequence[int]) -> list[int]:
    """30 s give 3,000 frames, 1,500 positions, 375 tokens."""
    del batch
    window = processor.feature_extractor.n_samples
    return [375 * max(1, -(-count // window)) for count in samples]


_QWEN = Family(counts=_by_mask, features_mask="feature_attention_mask", is_whisper_mel=True)
_FLAMINGO = Family(
    counts=_by_windows,
    marks=("audio_token",),
    most_clips=1,
    needs_audio=True,
    features_mask="input_features_mask",
)
_GRANITE = Family(
    # Its spectrogram reflects half a window of 512 at both ends.
    counts=_by_projector,
    marks=("audio_token",),
    min_samples=257,
    features_mask="input_features_mask",
)

FAMILIES: dict[str, Family] = {
    "Qwen2AudioProcessor": _QWEN,
    "Qwen2_5OmniProcessor": _QWEN,
    "WhisperProcessor": Family(
        call=encode_labels_apart,
        marks=(),
        has_placeholder=False,
        takes_messages=False,
        most_clips=1,
        needs_audio=True,
        is_whisper_mel=True,
    ),
    "VoxtralProcessor": Family(
        call=encode_voxtral, counts=_of_whole_windows, marks=(), has_placeholder=False
    ),
    "GraniteSpeechProcessor": _GRANITE,
    "Gemma3nProcessor": Family(
        # A frame is 512 samples and one before.
        counts=_always_the_same,
        marks=("audio_token", "boa_token", "eoa_token"),
        min_samples=513,
        features_mask="input_features_mask",
    ),
    "Phi4MultimodalProcessor": Family(
        counts=_by_sizes,
        marks=("audio_token",),
        min_samples=400,
        features="audio_input_features",
        features_mask="audio_attention_mask",
    ),
    "AudioFlamingo3Processor": _FLAMINGO,
}
"""By the name of the processor's class; a subclass is of its base's family."""

_OTHER = Family()


def family_of(processor: Any) -> Family:
    """The row of the table that a processor belongs to, by its class or a base of it."""
    names = [kind.__name__ for kind in type(processor).__mro__]
    return next((FAMILIES[name] for name in names if name in FAMILIES), _OTHER)
