"""Rows of a data set, as they come, into `Example`s: which recordings, which text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ossicle.collator.errors import RowError
from ossicle.collator.types import Example, Row
from ossicle.data.columns import value_of
from ossicle.data.recordings import Recording, recording_of, sources_of
from ossicle.errors import InvalidArgumentError

__all__ = ["read_row"]

_REMOVED_COLUMNS_HINT = (
    "; transformers.Trainer drops the columns that the model's forward does not name: "
    "pass remove_unused_columns=False in TrainingArguments (and, with TRL's SFTTrainer, "
    'dataset_kwargs={"skip_prepare_dataset": True})'
)


def read_row(index: int, row: Row, *, needs_text: bool = True) -> Example:
    """Reads one row.

    Args:
        index: Its place in the batch.
        row: One recording or a list of them under ``wav``, ``audio_path``, ``audio``, ``path`` or
            ``audio_filepath``, ``text`` or ``messages``, and optionally ``audio_blob_sha``.
        needs_text: Whether a row without text and messages is refused.

    Raises:
        RowError: It lacks something, or holds what cannot be used.
    """
    if not isinstance(row, Mapping):
        raise RowError(
            f"row {index} of the batch is a {type(row).__name__}, not a mapping", row=index
        )
    messages = _messages(index, row)
    sources = sources_of({**row, "messages": messages})
    _check_keys(index, row, sources, needs_text=needs_text and messages is None)
    recordings = tuple(_recordings(index, sources, value_of("sha256", row)))
    text = None if messages is not None else _text(index, row.get("text"))
    return Example(index, recordings, text, messages, row)


def _check_keys(index: int, row: Row, sources: list[tuple[str, Any]], *, needs_text: bool) -> None:
    lacks_text = needs_text and row.get("text") is None
    missing = ["audio_path"] * (not sources) + ["text"] * lacks_text
    if missing:
        # With neither left it is most likely not the data that is at fault.
        hint = _REMOVED_COLUMNS_HINT if len(missing) == 2 else ""
        raise RowError(
            f"row {index} of the batch has no {' and no '.join(missing)} "
            f"(its keys: {', '.join(map(str, row)) or 'none'}){hint}",
            row=index,
        )


def _recordings(index: int, sources: Sequence[tuple[str, Any]], digests: Any) -> list[Recording]:
    if digests is None:
        digests = [None] * len(sources)
    elif not isinstance(digests, list | tuple):
        digests = [digests] * (len(sources) == 1)
    if len(digests) != len(sources):
        raise RowError(
            f"row {index} of the batch: {len(sources)} recordings, but audio_blob_sha has "
            f"{len(digests) or 1}",
            row=index,
        )
    try:
        found = [recording_of(source, column) for column, source in sources]
    except InvalidArgumentError as error:
        raise RowError(f"row {index} of the batch: {error}", row=index) from error
    return [replace(one, blob_sha=digest) for one, digest in zip(found, digests, strict=True)]


def _text(index: int, text: Any) -> str:
    if text is None:
        return ""
    if not isinstance(text, str):
        kind = type(text).__name__
        raise RowError(f"row {index} of the batch: text cannot be a {kind}", row=index)
    return text


def _messages(index: int, row: Row) -> list[dict[str, Any]] | None:
    """The conversation, without the keys that a table of Arrow has filled up with None."""
    found = row.get("messages")
    if found is None:
        return None
    if isinstance(found, str) or not isinstance(found, Sequence) or not found:
        raise RowError(f"row {index} of the batch: messages is not a list of messages", row=index)
    return [_message(index, message) for message in found]


def _message(index: int, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping) or message.get("role") is None:
        raise RowError(f"row {index} of the batch: a message has no role", row=index)
    known = {key: value for key, value in message.items() if value is not None}
    content = known.get("content", "")
    if not isinstance(content, str):
        content = [_part(index, part) for part in content]
    return {**known, "content": content}


def _part(index: int, part: Any) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping) or part.get("type") is None:
        raise RowError(f"row {index} of the batch: a part of a message has no type", row=index)
    return {key: value for key, value in part.items() if value is not None}
