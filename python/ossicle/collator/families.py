"""What differs between the processors of transformers, as one table.

A processor that is not in the table is called like most: ``text=`` with placeholders, ``audio=``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ossicle.collator.types import Family
from ossicle.collator.voxtral import encode_voxtral, encode_voxtral_realtime, sound_ids
from ossicle.collator.whisper import MOST_LABELS, encode_whisper

if TYPE_CHECKING:
    import torch

__all__ = ["FAMILIES", "Family", "family_of"]


def _halved_twice(frames: torch.Tensor) -> torch.Tensor:
    """Tokens of mel frames: a convolution of stride 2, then pooling by 2."""
    return ((frames - 1) // 2 + 1 - 2) // 2 + 1


def _halved_thrice(frames: torch.Tensor) -> torch.Tensor:
    """Tokens of mel frames: three convolutions of stride 2 over each 100 frames apart."""
    return (frames % 100 + 7) // 8 + frames // 100 * 13


def _halved_and_merged(frames: torch.Tensor) -> torch.Tensor:
    """Tokens of mel frames: a convolution of stride 2, then four positions in one."""
    return ((frames - 1) // 2 + 1) // 4


def _by_mask(processor: Any, batch: dict[str, Any], samples: Sequence[int]) -> list[int]:
    del processor, samples
    counted: list[int] = _halved_twice(batch["feature_attention_mask"].sum(-1)).tolist()
    return counted


def _by_chunks(
    processor: Any, batch: dict[str, Any], samples: Sequence[int], *, mask: str
) -> list[int]:
    del processor, samples
    counted: list[int] = _halved_thrice(batch[mask].sum(-1)).tolist()
    return counted


def _by_windows(
    processor: Any,
    batch: dict[str, Any],
    samples: Sequence[int],
    *,
    tokens: Callable[[torch.Tensor], torch.Tensor],
) -> list[int]:
    """A clip is cut into windows of 30 s; their frames are counted together."""
    import torch

    window = processor.feature_extractor.n_samples
    most = int(processor.max_audio_len // processor.feature_extractor.chunk_length)
    windows = [min(max(1, -(-count // window)), most) for count in samples]
    frames = batch["input_features_mask"].sum(-1).split(windows)
    return [int(tokens(torch.as_tensor(part.sum()))) for part in frames]


def _by_every_fourth(processor: Any, batch: dict[str, Any], samples: Sequence[int]) -> list[int]:
    """Two convolutions of stride 2, each with the mask of every second frame."""
    del processor, samples
    counted: list[int] = batch["input_features_mask"][:, ::4].sum(-1).tolist()
    return counted


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


def _window(processor: Any) -> float | None:
    """Of a feature extractor that pads each clip to its window, and cuts it there."""
    extractor = processor.feature_extractor
    return float(extractor.n_samples / extractor.sampling_rate)


def _windows(processor: Any) -> float | None:
    """Of a processor that cuts clips into windows, as many as it takes."""
    seconds = processor.feature_extractor.chunk_length
    return float(processor.max_audio_len // seconds * seconds)


def _half_a_minute(processor: Any) -> float | None:
    """Of extractors that cut after 480,000 samples unless they are told otherwise."""
    return 480_000 / float(processor.feature_extractor.sampling_rate)


_QWEN = Family(
    counts=_by_mask, hears=_window, features_mask="feature_attention_mask", is_whisper_mel=True
)
_FLAMINGO = Family(
    counts=partial(_by_windows, tokens=_halved_twice),
    marks=("audio_token",),
    transcribes=True,
    most_clips=1,
    hears=_windows,
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
        call=encode_whisper,
        marks=(),
        has_placeholder=False,
        takes_messages=False,
        most_clips=1,
        most_labels=MOST_LABELS,
        hears=_window,
        needs_audio=True,
        is_whisper_mel=True,
    ),
    "VoxtralProcessor": Family(
        call=encode_voxtral,
        counts=_of_whole_windows,
        sound_ids=sound_ids,
        has_placeholder=False,
    ),
    "VoxtralRealtimeProcessor": Family(
        # A frame for each token, of which only alignments tell what it is to be.
        call=encode_voxtral_realtime,
        trains=False,
        has_placeholder=False,
        takes_messages=False,
        most_clips=1,
        needs_audio=True,
    ),
    "GraniteSpeechProcessor": _GRANITE,
    "Gemma3nProcessor": Family(
        # A frame is 512 samples and one before.
        counts=_always_the_same,
        marks=("audio_token", "boa_token", "eoa_token"),
        hears=_half_a_minute,
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
    "MusicFlamingoProcessor": replace(
        # It puts the marks around the placeholders by itself.
        _FLAMINGO,
        marks=("audio_token", "audio_bos_token", "audio_eos_token"),
        transcribes=False,
    ),
    "GlmAsrProcessor": replace(
        _FLAMINGO,
        counts=partial(_by_windows, tokens=_halved_and_merged),
        marks=("audio_token", "<|begin_of_audio|>", "<|end_of_audio|>"),
    ),
    "Qwen3OmniMoeProcessor": Family(
        # Clips are padded to the longest alone, whose spectrogram reflects 200 samples.
        counts=partial(_by_chunks, mask="feature_attention_mask"),
        min_samples=201,
        features_mask="feature_attention_mask",
    ),
    "Qwen3ASRProcessor": Family(
        counts=partial(_by_chunks, mask="input_features_mask"),
        transcribes=True,
        most_clips=1,
        needs_audio=True,
        features_mask="input_features_mask",
    ),
    "Gemma4Processor": Family(
        # A frame is 320 samples and one before, the first of them half a frame early.
        counts=_by_every_fourth,
        marks=("audio_token", "boa_token", "eoa_token"),
        hears=_half_a_minute,
        min_samples=161,
        features_mask="input_features_mask",
    ),
}
"""By the name of the processor's class; a subclass is of its base's family."""

_OTHER = Family()


def family_of(processor: Any) -> Family:
    """The row of the table that a processor belongs to, by its class or a base of it."""
    names = [kind.__name__ for kind in type(processor).__mro__]
    return next((FAMILIES[name] for name in names if name in FAMILIES), _OTHER)
