"""Whisper's rows: features of the sound, and texts that become labels after their marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ossicle.collator.errors import RowError
from ossicle.collator.types import Encoding, Example, Request
from ossicle.data.columns import value_of

if TYPE_CHECKING:
    import torch

__all__ = ["MOST_LABELS", "encode_whisper"]

MOST_LABELS = 448
"""What the decoder of every released checkpoint takes (``max_target_positions``)."""

_START = "<|startoftranscript|>"
_NO_TIMES = "<|notimestamps|>"
_TASKS = ("transcribe", "translate")


class _Row(NamedTuple):
    """The ids of a row: language, task and time marks, the text, and its end."""

    marks: list[int]
    words: list[int]
    end: int

    @property
    def ids(self) -> list[int]:
        return [*self.marks, *self.words, self.end]

    @property
    def is_special(self) -> list[int]:
        return [1] * len(self.marks) + [0] * len(self.words) + [1]

    @property
    def is_response(self) -> list[int]:
        return [0] * len(self.marks) + [1] * (len(self.words) + 1)


def encode_whisper(request: Request) -> Encoding:
    """Features, with the marks and texts of the rows as labels, or the marks to go on from."""
    # Apart, since given together padding=True would reach the feature extractor too, and make
    # windows of less than 30 s.
    processor = request.processor
    sound = dict(
        processor(audio=request.waveforms, sampling_rate=request.sample_rate, return_tensors="pt")
    )
    marks = [_marks(processor.tokenizer, example) for example in request.examples]
    if request.for_generation:
        return Encoding({"decoder_input_ids": _equally_long(marks, request.examples)}, sound)
    texts = [prompt.text for prompt in request.prompts]
    found = processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
    rows = [
        _row(processor.tokenizer, own, ids, example)
        for own, ids, example in zip(marks, found, request.examples, strict=True)
    ]
    text = {
        "input_ids": _pad([row.ids for row in rows], processor.tokenizer.pad_token_id),
        "attention_mask": _pad([[1] * len(row.ids) for row in rows], 0),
        "special_tokens_mask": _pad([row.is_special for row in rows], 1),
    }
    response = _pad([row.is_response for row in rows], 0).bool()
    return Encoding(text, sound, response, is_labels=True)


def _row(tokenizer: Any, marks: list[int], ids: list[int], example: Example) -> _Row:
    # The model puts its start token in front of the labels by itself.
    own, words = marks[1:], ids
    start = tokenizer.convert_tokens_to_ids(_START)
    if start in ids[1:]:
        raise RowError(
            f"{example.name}: {_START} is inside of the text, which labels cannot say: they begin "
            "after it",
            row=example.index,
        )
    if ids[:1] == [start]:
        # A text that brings its own marks has them once.
        special = set(tokenizer.all_special_ids)
        count = next((i for i, token in enumerate(ids) if token not in special), len(ids))
        own, words = ids[1:count], ids[count:]
    if words[-1:] == [tokenizer.eos_token_id]:
        words = words[:-1]
    return _Row(_with_times(tokenizer, own, words), words, tokenizer.eos_token_id)


def _with_times(tokenizer: Any, marks: list[int], words: list[int]) -> list[int]:
    """The marks, which do not say that there are no times where the text has some."""
    first, unknown = tokenizer.convert_tokens_to_ids("<|0.00|>"), tokenizer.unk_token_id
    # Times are the last tokens of the vocabulary.
    if first in (None, unknown) or not any(token >= first for token in words):
        return marks
    none = tokenizer.convert_tokens_to_ids(_NO_TIMES)
    return [token for token in marks if token != none]


def _marks(tokenizer: Any, example: Example) -> list[int]:
    """Start, language, task and time: those of the row, else those that the tokenizer is set to."""
    language, task = value_of("language", example.row), example.row.get("task")
    if not language and not task:
        return list(tokenizer.prefix_tokens)
    language = language or tokenizer.language
    task = task or tokenizer.task or _TASKS[0]
    names = [_START]
    if language:
        names.append(f"<|{_code(language, example)}|>")
    if task not in _TASKS:
        raise RowError(
            f"{example.name}: task is {task!r}, and Whisper's are {' and '.join(_TASKS)}",
            row=example.index,
        )
    names.append(f"<|{task}|>")
    names += [] if tokenizer.predict_timestamps else [_NO_TIMES]
    return [_id(tokenizer, name, example) for name in names]


def _code(language: Any, example: Example) -> str:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

    name = str(language).strip().lower()
    if name not in TO_LANGUAGE_CODE and name not in LANGUAGES:
        raise RowError(
            f"{example.name}: language is {language!r}, which Whisper does not know; it takes "
            'codes such as "de" and names such as "german"',
            row=example.index,
        )
    return TO_LANGUAGE_CODE.get(name, name)


def _id(tokenizer: Any, name: str, example: Example) -> int:
    found = tokenizer.convert_tokens_to_ids(name)
    if found is None or found == tokenizer.unk_token_id:
        raise RowError(
            f"{example.name}: the tokenizer has no {name}: it is of a checkpoint for other "
            "languages or tasks",
            row=example.index,
        )
    return int(found)


def _equally_long(marks: list[list[int]], examples: Sequence[Example]) -> torch.Tensor:
    """The marks of all rows, ``(B, L)``; the decoder has no mask for padding."""
    import torch

    for example, own in zip(examples, marks, strict=True):
        if len(own) != len(marks[0]):
            raise RowError(
                f"{example.name}: it has {len(own)} marks of language and task, and the batch's "
                f"first row {len(marks[0])}: give every row a language, or none",
                row=example.index,
            )
    return torch.tensor(marks)


def _pad(rows: list[list[int]], fill: int) -> torch.Tensor:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    tensors = [torch.tensor(row) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=fill)
