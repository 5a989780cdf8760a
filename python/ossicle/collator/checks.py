"""Arguments of the collator that make no sense, refused when it is made."""

from __future__ import annotations

import math
from typing import Any

from ossicle.collator.types import Family

__all__ = ["check_limits", "check_processor", "check_trains", "check_whole_milliseconds"]


def check_limits(sample_rate: int, max_length_seconds: float, max_length: int | None) -> None:
    """Refuses limits that leave nothing."""
    if sample_rate < 1:
        raise ValueError(f"sample_rate must be a positive number of Hz, got {sample_rate}")
    if not math.isfinite(max_length_seconds) or round(max_length_seconds * sample_rate) < 1:
        raise ValueError(
            f"max_length_seconds must be at least one sample, got {max_length_seconds}"
        )
    if max_length is not None and max_length < 1:
        raise ValueError(f"max_length must be a positive number of tokens, got {max_length}")


def check_whole_milliseconds(max_length_seconds: float) -> None:
    """Refuses a length that the keys of a cache cannot tell."""
    # Two lengths that round to one millisecond would share entries of different lengths.
    milliseconds = round(max_length_seconds * 1000)
    if milliseconds < 1 or abs(max_length_seconds * 1000 - milliseconds) > 1e-6:
        raise ValueError(
            f"max_length_seconds={max_length_seconds} is not a whole number of milliseconds, "
            "the unit of waveform_cache's keys; round it to three decimals"
        )


def check_processor(processor: Any, sample_rate: int) -> None:
    """Refuses a processor that lacks what is needed, or takes another rate."""
    kind = type(processor).__name__
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise ValueError(f"{kind} has no tokenizer: pass the processor of an audio-language model")
    if tokenizer.pad_token_id is None:
        raise ValueError(
            f"the tokenizer of {kind} has no pad token to pad rows with; set one first, such "
            "as tokenizer.pad_token = tokenizer.eos_token"
        )
    extractors = (
        getattr(processor, name, None) for name in ("feature_extractor", "audio_processor")
    )
    extractor = next((found for found in extractors if found is not None), None)
    wanted = getattr(extractor, "sampling_rate", None)
    if wanted is not None and wanted != sample_rate:
        raise ValueError(
            f"sample_rate={sample_rate}, but the feature extractor of {kind} takes {wanted} Hz"
        )


def check_trains(processor: Any, family: Family, *, for_generation: bool) -> None:
    """Refuses to label texts for a model that learns none."""
    if not family.trains and not for_generation:
        raise ValueError(
            f"{type(processor).__name__} takes sound alone, and its model learns a token for each "
            "frame, which a text does not tell; pass for_generation=True"
        )
