"""Rows of a data set, as they come, into `Example`s: which recordings, which text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ossicle.collator.errors import RowError
from ossicle.collator.types import Example, Row
from ossicle.data.columns import value_of
from ossicle.data.messages import CONVERSATIONS, conversation_of
from ossicle.data.recordings import Recording, recordings_of, sources_of
from ossicle.data.samples import row_of
from ossicle.errors import AudioError

__all__ = ["read_row"]

_REMOVED_COLUMNS_HINT = (
    "; transformers.Trainer drops the columns that the model's forward does not name: "
    "pass remove_unused_columns=False in TrainingArguments (and, with TRL's SFTTrainer, "
    'dataset_kwargs={"skip_prepare_dataset": True})'
)


def read_row(
    index: int, row: Any, *, needs_text: bool = True, placeholder: str | None = None
) -> Example:
    """Reads one row.

    Args:
        index: Its place in the batch.
        row: A row of any data set, as `ossicle.data.samples.row_of` takes it, with one recording,
            several or none, and a text or a conversation.
        needs_text: Whether a row without text and messages is refused.
        placeholder: What stands for a recording in a text.

    Raises:
        RowError: It lacks something, or holds what cannot be used.
    """
    try:
        found = dict(row_of(row))
        messages, inside = _conversation(found)
        held = {**found, "audio": inside} if inside else found
        recordings = _recordings(held)
        text = None if messages is not None else _text(found)
    except (AudioError, ValueError, TypeError) as error:
        raise RowError(f"row {index} of the batch: {error}", row=index) from error
    if needs_text and messages is None and text is None:
        raise _nothing(index, found, has_audio=bool(recordings))
    if messages is not None:
        messages = _placed(messages, len(recordings), placeholder)
        text = None
    elif text is None:
        text = ""
    return Example(index, tuple(recordings), text, messages, found)


def _conversation(row: Row) -> tuple[list[dict[str, Any]] | None, list[Any]]:
    """The conversation of a row, and the recordings that its parts hold."""
    names = [name for name in CONVERSATIONS if row.get(name) is not None]
    is_whole = any(name in names for name in ("messages", "conversations", "completion"))
    if not names or (not is_whole and value_of("text", row) is not None):
        return None, []  # a prompt beside a text is a fact about it
    talks = {name: row[name] for name in names}
    talk = conversation_of(talks, len(sources_of({**row, "messages": None})))
    return talk.messages, talk.audio


def _recordings(row: Row) -> list[Recording]:
    """The recordings, with the digests that the row has of them."""
    found = recordings_of({**row, "messages": None})
    digests = value_of("sha256", row)
    if not isinstance(digests, list | tuple):
        digests = [digests] * (1 if digests is not None else len(found))
    if len(digests) != len(found):
        raise ValueError(f"{len(found)} recordings, but audio_blob_sha has {len(digests)}")
    return [replace(one, blob_sha=_digest(own)) for one, own in zip(found, digests, strict=True)]


def _digest(found: Any) -> Any:
    """In lower case, as the caches want it; nothing of what tables write for nothing."""
    if isinstance(found, str):
        return found.strip().lower() or None
    return None if _is_nan(found) else found


def _text(row: Row) -> str | None:
    text = value_of("text", row)
    if text is None or _is_nan(text):
        return None
    if not isinstance(text, str):
        raise ValueError(f"text cannot be a {type(text).__name__}")
    return text


def _is_nan(value: Any) -> bool:
    """What pandas has where there is nothing."""
    return isinstance(value, float) and math.isnan(value)


def _placed(
    messages: list[dict[str, Any]], count: int, placeholder: str | None
) -> list[dict[str, Any]]:
    """A conversation that says nowhere where its recordings go: in front of the first question.

    As TRL has it of pictures: data sets hold plain texts and their recordings in a column.
    """
    contents = [message.get("content") for message in messages]
    texts = [content for content in contents if isinstance(content, str)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    if not count or any(part.get("type") == "audio" for part in parts):
        return messages
    if placeholder is not None and any(placeholder in text for text in texts):
        return messages
    users = [at for at, message in enumerate(messages) if message["role"] == "user"]
    if not users:
        return messages
    first = messages[users[0]]
    content = first.get("content", "")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}] if content else []
    placed = {**first, "content": [*({"type": "audio"} for _ in range(count)), *content]}
    return [placed if at == users[0] else message for at, message in enumerate(messages)]


def _nothing(index: int, row: Mapping[str, Any], *, has_audio: bool) -> RowError:
    what = "no text" if has_audio else "no audio_path and no text"
    # With neither left it is most likely not the data that is at fault.
    hint = "" if has_audio else _REMOVED_COLUMNS_HINT
    keys = ", ".join(map(str, row)) or "none"
    return RowError(f"row {index} of the batch has {what} (its keys: {keys}){hint}", row=index)
