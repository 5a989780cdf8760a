"""How texts and waveforms are handed to a processor in one call, as nearly all have it."""

from __future__ import annotations

from typing import Any

from ossicle.collator.errors import CollatorError
from ossicle.collator.types import Encoding, Request

__all__ = ["encode_together"]

_TEXT_KWARGS = {
    "padding": True,
    "return_attention_mask": True,
    "return_special_tokens_mask": True,
}
# What a processor gives for the tokens; all else is for the sound.
_OF_TEXT = frozenset(
    {
        "attention_mask",
        "input_ids",
        "mm_token_type_ids",
        "special_tokens_mask",
        "text_replacement_offsets",
        "token_type_ids",
    }
)


def encode_together(request: Request) -> Encoding:
    """One call with ``text=`` and ``audio=``, as nearly every processor has it."""
    # What concerns text goes in text_kwargs alone: given flat, padding would also set the
    # feature extractor's, and max_length would cut the audio to that many samples.
    more = {"return_text_replacement_offsets": True} if request.finds_response else {}
    # A model goes on from where each row ends, which must be the last place of all.
    side = {"padding_side": "left"} if request.for_generation else {}
    batch = request.processor(
        text=[prompt.text for prompt in request.prompts],
        audio=request.waveforms or None,
        sampling_rate=request.sample_rate,
        return_tensors="pt",
        text_kwargs={**_TEXT_KWARGS, **side},
        **more,
    )
    if "input_ids" not in batch:
        raise CollatorError(
            f"{type(request.processor).__name__} returned no input_ids, only {sorted(batch)}: "
            "pass the processor of an audio-language model"
        )
    text = {name: value for name, value in batch.items() if name in _OF_TEXT}
    sound = {name: batch[name] for name in batch.keys() - text.keys()}
    return Encoding(_without_added_end(text) if request.for_generation else text, sound)


def _without_added_end(text: dict[str, Any]) -> dict[str, Any]:
    """Rows that are padded on the left, without what the tokenizer puts after every text."""
    import torch

    added = text["special_tokens_mask"].bool() & text["attention_mask"].bool()
    end = int(added.flip(1).long().cumprod(dim=1).sum(dim=1).min())
    if end == 0:
        return text
    return {
        name: value[:, :-end] if isinstance(value, torch.Tensor) else value
        for name, value in text.items()
    }
