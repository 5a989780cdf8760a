"""Texts as processors take them: as they are, or rendered of messages by a chat template."""

from __future__ import annotations

import re
from typing import Any

from ossicle.collator.errors import RowError
from ossicle.collator.types import Example, Family, Prompt

__all__ = ["chat_template", "prompt_of", "render"]

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def prompt_of(
    processor: Any, family: Family, example: Example, *, finds_response: bool = False
) -> Prompt:
    """The text of a row, checked to hold a placeholder for each recording.

    Raises:
        RowError: It does not, or the processor takes no such rows.
    """
    _check_kind(processor, family, example)
    if not family.has_placeholder:
        return Prompt(example.text or "")
    if example.messages is None:
        prompt = Prompt(example.text or "")
        where = "the text contains"
    else:
        prompt = _render_messages(processor, example, finds_response=finds_response)
        where = "the chat template produces"
    _check_placeholders(processor, example, prompt.text, where)
    return prompt


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


def chat_template(processor: Any) -> str | None:
    """The processor's template, or its tokenizer's; of several, the one named ``default``."""
    found = getattr(processor, "chat_template", None)
    found = found or getattr(processor.tokenizer, "chat_template", None)
    return found.get("default") if isinstance(found, dict) else found


def render(
    processor: Any, template: str, messages: list[dict[str, Any]], **options: bool
) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation, and where the template marks what the model generates."""
    from transformers.utils.chat_template_utils import render_jinja_template

    named = processor.tokenizer.special_tokens_map
    # transformers says that it returns a string.
    found: Any = render_jinja_template(
        conversations=[messages], chat_template=template, **{**named, **options}
    )
    texts, spans = found
    return texts[0], [(start, end) for start, end in spans[0]] if spans else []


def _render_messages(processor: Any, example: Example, *, finds_response: bool) -> Prompt:
    template = chat_template(processor)
    if template is None:
        raise RowError(
            f"{example.name}: {type(processor).__name__} has no chat template for messages; set "
            "processor.chat_template, or give text",
            row=example.index,
        )
    messages = _plain(example.messages or [])
    is_marked = finds_response and _GENERATION.search(template) is not None
    text, spans = render(processor, template, messages, return_assistant_tokens_mask=is_marked)
    if finds_response and not is_marked:
        spans = _turns(processor, template, example, messages, text)
    start = _repeated_beginning(processor, text)
    turns = tuple((first - start, last - start) for first, last in spans)
    return Prompt(text[start:], turns, is_marked)


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
    processor: Any, template: str, example: Example, messages: list[dict[str, Any]], text: str
) -> list[tuple[int, int]]:
    """What each turn of the assistant adds to the conversation before it, in characters."""
    spans = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            before, _ = render(processor, template, messages[:number], add_generation_prompt=True)
            after, _ = render(processor, template, messages[: number + 1])
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


def _repeated_beginning(processor: Any, text: str) -> int:
    """Characters of a beginning-of-text token that the tokenizer will add once more."""
    tokenizer = processor.tokenizer
    token = getattr(tokenizer, "bos_token", None)
    if not token or not text.startswith(token):
        return 0
    ids = tokenizer("")["input_ids"]
    return len(token) if ids[:1] == [tokenizer.bos_token_id] else 0
