"""Plain transcripts as answers to the transcription request that a processor makes by itself."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from ossicle.collator.errors import RowError
from ossicle.collator.templates import Rendering, chat_template, name_of
from ossicle.collator.types import Example, Prompt
from ossicle.data.columns import value_of

__all__ = ["is_transcript", "transcription"]

_ANSWER = "ANSWER"


def is_transcript(processor: Any, example: Example) -> bool:
    """Whether a row's text is what is said in its recording, and nothing of a prompt."""
    token = name_of(processor, "audio_token")
    if token is None or chat_template(processor) is None:
        return False
    return len(example.recordings) == 1 and token not in (example.text or "")


def transcription(processor: Any, example: Example, *, for_generation: bool) -> Prompt:
    """The processor's request, in the row's language where it takes one, and its answer.

    Raises:
        RowError: The processor does not know the language, or the template fails.
    """
    asked = _request(processor, example)
    if for_generation:
        return Prompt(asked)
    text = f"{asked}{example.text}{_end_of_turn(Rendering(processor, example))}"
    return Prompt(text, ((len(asked), len(text)),))


def _request(processor: Any, example: Example) -> str:
    """With an unexpanded placeholder, up to where the answer begins."""
    ask, options = processor.apply_transcription_request, {}
    language = value_of("language", example.row)
    if language and "language" in inspect.signature(ask).parameters:
        options["language"] = language
    try:
        # Of the sound it needs nothing but that it is there.
        asked = ask(
            audio=[np.zeros(1, np.float32)],
            tokenize=False,
            chat_template=chat_template(processor),
            **options,
        )
    except Exception as error:
        raise RowError(
            f"{example.name}: {type(processor).__name__} refuses its transcription request: "
            f"{type(error).__name__}: {error}",
            row=example.index,
        ) from error
    return str(asked[0])


def _end_of_turn(rendering: Rendering) -> str:
    """What the template writes after an answer."""
    question = {"role": "user", "content": [{"type": "audio"}]}
    for content in (_ANSWER, [{"type": "text", "text": _ANSWER}]):
        text, _ = rendering([question, {"role": "assistant", "content": content}])
        before, _, end = text.rpartition(_ANSWER)
        # Templates for parts alone read nothing of a string.
        if before:
            break
    return end
