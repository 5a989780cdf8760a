"""Texts as processors take them: as they are, or rendered of messages by a chat template."""

from __future__ import annotations

import re
from typing import Any

from ossicle.collator.errors import RowError
from ossicle.collator.templates import Rendering, name_of, repeated_beginning
from ossicle.collator.transcripts import is_transcript, transcription
from ossicle.collator.types import Example, Family, Prompt

__all__ = ["prompt_of", "without_answer"]

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def prompt_of(
    processor: Any,
    family: Family,
    example: Example,
    *,
    finds_response: bool = False,
    for_generation: bool = False,
) -> Prompt:
    """The text of a row, checked to hold a placeholder for each recording.

    Args:
        processor: Whose template and placeholder count.
        family: Its family.
        example: The row.
        finds_response: Whether the places of the responses are wanted; of a text for generation,
            whether it holds one.
        for_generation: Leave out the answer, if there is one: messages end with the header of one.

    Raises:
        RowError: It does not, the processor takes no such rows, or its template fails.
    """
    _check_kind(processor, family, example)
    if not family.has_placeholder:
        return Prompt(example.text or "")
    where = "the chat template produces"
    if example.messages is not None:
        prompt = (
            _render_question(processor, example)
            if for_generation
            else _render_messages(processor, example, finds_response=finds_response)
        )
    elif family.transcribes and is_transcript(processor, example):
        prompt = transcription(processor, example, for_generation=for_generation)
    else:
        where = "the text contains"
        prompt = _plain_text(
            processor, family, example, without_answer=for_generation and finds_response
        )
    _check_placeholders(processor, example, prompt.text, where)
    return prompt


def _plain_text(
    processor: Any, family: Family, example: Example, *, without_answer: bool
) -> Prompt:
    text = example.text or ""
    text = text[repeated_beginning(processor, text) :]
    if without_answer:
        text = text[: _end_of_sound(processor, family, text)]
    return Prompt(text)


def _end_of_sound(processor: Any, family: Family, text: str) -> int:
    """Where the last placeholder ends, with what stands around it; 0 without one."""
    names = (name_of(processor, mark) for mark in family.marks)
    return max((text.rfind(name) + len(name) for name in names if name and name in text), default=0)


def _check_kind(processor: Any, family: Family, example: Example) -> None:
    kind, count = type(processor).__name__, len(example.recordings)
    if family.needs_audio and count == 0:
        raise RowError(
            f"{example.name}: {kind} needs a recording in each row, and {_no_audio(example)}",
            row=example.index,
        )
    if family.most_clips is not None and count > family.most_clips:
        raise RowError(
            f"{example.name}: {kind} takes {family.most_clips} recording a row, not {count}",
            row=example.index,
        )
    if example.messages is not None and not family.takes_messages:
        raise RowError(
            f"{example.name}: {kind} does not support conversations; pass text, not messages",
            row=example.index,
        )
    if example.text is not None and not family.takes_text:
        raise RowError(f"{example.name}: {kind} needs messages, not text", row=example.index)
    if example.messages is not None:
        _check_parts(example, has_placeholder=family.has_placeholder)


def _no_audio(example: Example) -> str:
    return f"the row has no audio_path (its keys: {', '.join(map(str, example.row)) or 'none'})"


def _check_parts(example: Example, *, has_placeholder: bool) -> None:
    contents = [message["content"] for message in example.messages or ()]
    parts = [part for content in contents if not isinstance(content, str) for part in content]
    found, wanted = sum(part["type"] == "audio" for part in parts), len(example.recordings)
    if found == wanted or (not found and has_placeholder):  # placeholders may be in the texts
        return
    told = f"for {wanted} recordings" if wanted else f"and {_no_audio(example)}"
    raise RowError(
        f"{example.name}: the messages have {found} parts of type audio {told}",
        row=example.index,
    )


def _check_placeholders(processor: Any, example: Example, text: str, where: str) -> None:
    # The processor compares totals over the batch, so that a row with two placeholders beside
    # one with none would pass, with every clip after it at the wrong text.
    token, wanted = getattr(processor, "audio_token", None), len(example.recordings)
    if token is None:
        return
    found = text.count(token)
    if found != wanted:
        rule = "it must contain it once, where the audio goes"
        if wanted > 1:
            rule = f"it must hold it {wanted} times, once for each recording"
        elif wanted == 0:
            rule = _no_audio(example)
        raise RowError(
            f"{example.name}: {where} the placeholder {token!r} {found} times; {rule}",
            row=example.index,
        )


def _render_messages(processor: Any, example: Example, *, finds_response: bool) -> Prompt:
    rendering = Rendering(processor, example)
    messages = _plain(example.messages or [])
    is_marked = finds_response and _GENERATION.search(rendering.template) is not None
    text, spans = rendering(messages, return_assistant_tokens_mask=is_marked)
    if finds_response and not is_marked:
        spans = _turns(rendering, example, messages, text)
    start = repeated_beginning(processor, text)
    turns = tuple((first - start, last - start) for first, last in spans)
    return Prompt(text[start:], turns, is_marked)


def _render_question(processor: Any, example: Example) -> Prompt:
    """A conversation up to its last answer, with the header of one."""
    messages = without_answer(example.messages or [])
    if not messages:
        raise RowError(f"{example.name}: the conversation has no question", row=example.index)
    text, _ = Rendering(processor, example)(_plain(messages), add_generation_prompt=True)
    return Prompt(text[repeated_beginning(processor, text) :])


def without_answer(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A conversation without the answer that it ends with, if it does."""
    ends = bool(messages) and messages[-1]["role"] == "assistant"
    return messages[:-1] if ends else messages


def _plain(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages without their sound, which is the row's: templates see that it is there."""
    return [
        message
        if isinstance(message["content"], str)
        else {
            **message,
            "content": [
                {"type": "audio"} if part["type"] == "audio" else part
                for part in message["content"]
            ],
        }
        for message in messages
    ]


def _turns(
    rendering: Rendering, example: Example, messages: list[dict[str, Any]], text: str
) -> list[tuple[int, int]]:
    """What each turn of the assistant adds to the conversation before it, in characters."""
    spans = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            before, _ = rendering(messages[:number], add_generation_prompt=True)
            after, _ = rendering(messages[: number + 1])
            if not (text.startswith(after) and after.startswith(before)):
                raise RowError(
                    f"{example.name}: the chat template renders the beginning of a "
                    f"conversation differently once message {number} follows, so that its "
                    "response cannot be "
                    "found; mark it in the template with {% generation %}",
                    row=example.index,
                )
            spans.append((len(before), len(after)))
    return spans
