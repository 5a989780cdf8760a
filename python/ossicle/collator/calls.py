"""How texts and waveforms are handed to a processor: one function for each way there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ossicle.collator.errors import CollatorError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from ossicle.collator.prompts import Prompt
    from ossicle.collator.rows import Example

__all__ = ["Call", "Encoded", "Request", "by_request", "labels_apart", "together"]

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


@dataclass(frozen=True)
class Request:
    """What is to be encoded.

    Attributes:
        processor: The processor, or its copy with another feature extractor.
        examples: The rows.
        prompts: Their texts, in the same order.
        waveforms: Of all rows one after the other, ``(samples,)`` float32.
        sample_rate: Of the waveforms, in Hz.
        finds_response: Whether the places of the responses will be asked for.
    """

    processor: Any
    examples: Sequence[Example]
    prompts: Sequence[Prompt]
    waveforms: list[npt.NDArray[np.float32]]
    sample_rate: int
    finds_response: bool = False


@dataclass(frozen=True)
class Encoded:
    """What a processor made of it.

    Attributes:
        text: ``input_ids`` and ``attention_mask``, int64 ``(B, L)``, ``special_tokens_mask`` and
            what else belongs to tokens.
        sound: Features and their masks.
        response: True where a token belongs to a response, bool ``(B, L)``; None where it is still
            to be found.
        is_labels: Whether the tokens are the labels alone, and nothing of ``text`` is given to the
            model.
    """

    text: dict[str, Any]
    sound: dict[str, Any] = field(default_factory=dict)
    response: torch.Tensor | None = None
    is_labels: bool = False


Call: TypeAlias = Callable[[Request], Encoded]


def together(request: Request) -> Encoded:
    """One call with ``text=`` and ``audio=``, as nearly every processor has it."""
    # What concerns text goes in text_kwargs alone: given flat, padding would also set the
    # feature extractor's, and max_length would cut the audio to that many samples.
    more = {"return_text_replacement_offsets": True} if request.finds_response else {}
    batch = request.processor(
        text=[prompt.text for prompt in request.prompts],
        audio=request.waveforms,
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
    return Encoded(text, {name: batch[name] for name in batch.keys() - text.keys()})


def labels_apart(request: Request) -> Encoded:
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
    return Encoded(text, dict(sound), _behind(prefix, text), is_labels=True)


def _behind(prefix: list[int], text: dict[str, Any]) -> torch.Tensor:
    """True at all but padding and the language, task and time marks in front, ``(B, L)``."""
    import torch

    response: torch.Tensor = text["attention_mask"].bool().clone()
    starts = text["input_ids"][:, : len(prefix)] == torch.tensor(prefix)
    response[:, : len(prefix)] &= ~starts.all(dim=1, keepdim=True)
    return response


def by_request(request: Request) -> Encoded:
    """Voxtral's: conversations, or transcriptions with the row's text as their response."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from ossicle.collator import voxtral

    tokenizer = request.processor.tokenizer
    left = iter([len(waveform) for waveform in request.waveforms])
    rows = []
    for example, prompt in zip(request.examples, request.prompts, strict=True):
        lengths = [next(left) for _ in example.clips]
        rows.append(voxtral.tokens(request, example, prompt, lengths))

    def padded(values: list[list[Any]], fill: int) -> torch.Tensor:
        tensors = [torch.tensor(each) for each in values]
        side = tokenizer.padding_side
        return pad_sequence(tensors, batch_first=True, padding_value=fill, padding_side=side)

    ids = [row for row, _ in rows]
    controls = torch.tensor(sorted(tokenizer.all_special_ids))
    text = {
        "input_ids": padded(ids, tokenizer.pad_token_id),
        "attention_mask": padded([[1] * len(row) for row in ids], 0),
    }
    # All that mistral-common writes by itself stays, where texts must be shortened.
    text["special_tokens_mask"] = torch.isin(text["input_ids"], controls).long()
    sound = {"input_features": voxtral.features(request)}
    return Encoded(text, sound, padded([row for _, row in rows], 0))
