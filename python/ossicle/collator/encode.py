"""How texts and waveforms are handed to a processor: one function for each way there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ossicle.collator.errors import CollatorError
from ossicle.collator.types import Encoding, Request

if TYPE_CHECKING:
    import torch

__all__ = ["encode_labels_apart", "encode_together"]

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
    batch = request.processor(
        text=[prompt.text for prompt in request.prompts],
        audio=request.waveforms or None,
        sampling_rate=request.sample_rate,
        return_tensors="pt",
        text_kwargs=dict(_TEXT_KWARGS),
        **more,
    )
    if "input_ids" not in batch:
        raise CollatorError(
            f"{type(request.processor).__name__} returned no input_ids, only {sorted(batch)}: "
            "pass the processor of an audio-language model"
        )
    text = {name: value for name, value in batch.items() if name in _OF_TEXT}
    return Encoding(text, {name: batch[name] for name in batch.keys() - text.keys()})


def encode_labels_apart(request: Request) -> Encoding:
    """Whisper's: features of the sound, and texts that become labels.

    The model puts its start token in front of the labels by itself, so that it is taken off here.
    """
    # Apart, since given together padding=True would reach the feature extractor too, and make
    # windows of less than 30 s.
    processor = request.processor
    sound = processor(
        audio=request.waveforms, sampling_rate=request.sample_rate, return_tensors="pt"
    )
    texts = [prompt.text for prompt in request.prompts]
    text = dict(
        processor.tokenizer(texts, return_tensors="pt", padding_side="right", **_TEXT_KWARGS)
    )
    prefix = list(getattr(processor.tokenizer, "prefix_tokens", ()))
    if prefix and bool((text["input_ids"][:, 0] == prefix[0]).all()):
        text = {name: value[:, 1:] for name, value in text.items()}
        prefix = prefix[1:]
    return Encoding(text, dict(sound), _after(prefix, text), is_labels=True)


def _after(prefix: list[int], text: dict[str, Any]) -> torch.Tensor:
    """True at all but padding and the language, task and time marks in front, ``(B, L)``."""
    import torch

    response: torch.Tensor = text["attention_mask"].bool().clone()
    starts = text["input_ids"][:, : len(prefix)] == torch.tensor(prefix)
    response[:, : len(prefix)] &= ~starts.all(dim=1, keepdim=True)
    return response
