"""Voxtral's requests: its processor takes conversations and transcriptions, not text and audio.

The tokens are those of mistral-common's own requests. Of the sound these need the length alone;
features are made of the waveforms themselves.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from ossicle.audio import encode
from ossicle.collator.errors import RowError
from ossicle.collator.loss import common
from ossicle.collator.prompts import without_answer
from ossicle.collator.types import Encoding, Example, Prompt, Request
from ossicle.data.columns import value_of

if TYPE_CHECKING:
    import torch

__all__ = ["encode_voxtral", "encode_voxtral_realtime", "sound_ids"]

FRAMES = 3_000
"""Of one window of 30 s."""


def encode_voxtral(request: Request) -> Encoding:
    """Conversations, or transcriptions with the row's text as their response."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    tokenizer = request.processor.tokenizer
    left = iter([len(waveform) for waveform in request.waveforms])
    rows = []
    for example, prompt in zip(request.examples, request.prompts, strict=True):
        lengths = [next(left) for _ in example.recordings]
        rows.append(_tokens(request, example, prompt, lengths))

    def pad(values: list[list[Any]], fill: int) -> torch.Tensor:
        tensors = [torch.tensor(each) for each in values]
        side = "left" if request.for_generation else tokenizer.padding_side
        return pad_sequence(tensors, batch_first=True, padding_value=fill, padding_side=side)

    ids = [row for row, _ in rows]
    controls = torch.tensor(sorted(tokenizer.all_special_ids))
    text = {
        "input_ids": pad(ids, tokenizer.pad_token_id),
        "attention_mask": pad([[1] * len(row) for row in ids], 0),
    }
    # All that mistral-common writes by itself stays, where texts must be shortened.
    text["special_tokens_mask"] = torch.isin(text["input_ids"], controls).long()
    sound = {"input_features": _features(request)} if request.waveforms else {}
    return Encoding(text, sound, pad([row for _, row in rows], 0).bool())


def sound_ids(processor: Any) -> list[int]:
    """The ids of the placeholder and of the mark before it: those of every released tokenizer."""
    return [int(getattr(processor, "audio_token_id", 24)), 25]


def encode_voxtral_realtime(request: Request) -> Encoding:
    """Requests that the model goes on from; it takes the sound alone, and padding on the left."""
    batch = request.processor(request.waveforms, return_tensors="pt")
    text = {name: batch[name] for name in ("input_ids", "attention_mask")}
    return Encoding(text, {name: batch[name] for name in batch.keys() - text.keys()})


def _features(request: Request) -> torch.Tensor:
    """Log-mel of all windows of all waveforms, one after the other: ``(windows, n_mels, 3000)``."""
    import torch

    extractor = request.processor.feature_extractor
    windows = []
    for waveform in request.waveforms:
        found = extractor(
            waveform,
            sampling_rate=request.sample_rate,
            padding=True,
            truncation=False,
            pad_to_multiple_of=extractor.n_samples,
            return_tensors="pt",
        )["input_features"][0]
        windows.append(found.unflatten(1, (-1, FRAMES)).transpose(0, 1))
    return torch.cat(windows)


def _tokens(
    request: Request, example: Example, prompt: Prompt, lengths: list[int]
) -> tuple[list[int], list[bool]]:
    """The ids of one row, and which of them belong to a response.

    Args:
        request: For its processor and rate.
        example: The row: a conversation, or the text of a transcription.
        prompt: Its text, where it is a transcription.
        lengths: Samples of its waveforms.

    Raises:
        RowError: The tokenizer refuses the conversation.
    """
    tokenizer = request.processor.tokenizer
    # WAV files of silence: of the sound the tokens need the length alone.
    rate = request.sample_rate
    sounds = [encode(np.zeros(length, np.float32), rate) for length in lengths]
    if example.messages is None:
        if not sounds:
            raise RowError(
                f"{example.name}: VoxtralProcessor takes a text as the answer to a transcription "
                "request, which needs a recording; of a text alone give messages",
                row=example.index,
            )
        before = _transcription(tokenizer, example, sounds)
        if request.for_generation:
            return before, [False] * len(before)
        after = tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        after = [*after, tokenizer.eos_token_id]
        return before + after, [False] * len(before) + [True] * len(after)
    messages = _fill(example.messages, sounds)
    if request.for_generation:
        ids = _asked(tokenizer, example, without_answer(messages))
        return ids, [False] * len(ids)
    return _conversation(tokenizer, example, messages)


def _transcription(tokenizer: Any, example: Example, sounds: list[bytes]) -> list[int]:
    from mistral_common.protocol.transcription.request import TranscriptionRequest

    asked = {
        "model": "voxtral",
        "file": io.BytesIO(sounds[0]),
        "language": value_of("language", example.row),
    }
    try:
        request = TranscriptionRequest.from_openai(asked)
        return list(tokenizer.tokenizer.encode_transcription(request).tokens)
    except Exception as error:
        raise RowError(f"{example.name}: {error}", row=example.index) from error


def _fill(messages: list[dict[str, Any]], sounds: list[bytes]) -> list[dict[str, Any]]:
    left = iter(sounds)
    return [
        message
        if isinstance(message["content"], str)
        else {**message, "content": [_part(part, left) for part in message["content"]]}
        for message in messages
    ]


def _part(part: dict[str, Any], left: Any) -> dict[str, Any]:
    if part["type"] != "audio":
        return part
    return {"type": "audio", "base64": base64.b64encode(next(left)).decode()}


def _conversation(
    tokenizer: Any, example: Example, messages: list[dict[str, Any]]
) -> tuple[list[int], list[bool]]:
    ids = _encode(tokenizer, example, messages)
    response = [False] * len(ids)
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            before = _question(tokenizer, example, messages[:number])
            after = _encode(tokenizer, example, messages[: number + 1])
            if ids[: len(after)] != after or after[: len(before)] != before:
                raise RowError(
                    f"{example.name}: the tokenizer renders the beginning of a conversation "
                    f"differently once message {number} follows, so that its response cannot be "
                    "found",
                    row=example.index,
                )
            response[len(before) : len(after)] = [True] * (len(after) - len(before))
    return ids, response


def _asked(tokenizer: Any, example: Example, messages: list[dict[str, Any]]) -> list[int]:
    """A conversation that ends with a question, by a tokenizer for serving or for training."""
    try:
        return _encode(tokenizer, example, messages)
    except RowError:
        return _question(tokenizer, example, messages)


def _question(tokenizer: Any, example: Example, messages: list[dict[str, Any]]) -> list[int]:
    """A conversation up to a response: what two different responses to it have in common.

    By itself it is refused by a tokenizer that is loaded for training.
    """
    one, other = (
        _encode(tokenizer, example, [*messages, {"role": "assistant", "content": answer}])
        for answer in ("0", "1")
    )
    return one[: common(one, other)]


def _encode(tokenizer: Any, example: Example, messages: list[dict[str, Any]]) -> list[int]:
    try:
        found = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_tensors=None
        )
    except Exception as error:
        hint = ""
        if messages[-1]["role"] == "assistant":
            hint = (
                '; conversations that end with the assistant need a tokenizer of mode="finetuning"'
            )
        raise RowError(f"{example.name}: {error}{hint}", row=example.index) from error
    return list(found["input_ids"])
