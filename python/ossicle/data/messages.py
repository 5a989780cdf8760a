"""Conversations in the forms that people have them, as ``messages`` and the recordings of a row.

A message is ``{"role", "content"}``, its content a text or parts; the place of a recording is the
part ``{"type": "audio"}``, and the recordings are under ``audio`` in the order of these. Format:
``messages`` and ``prompt``/``completion`` of TRL, ``conversations`` with ``<audio>`` of ShareGPT,
parts ``audio_url`` and ``input_audio`` of OpenAI's and vLLM's servers, ``audio``/``audio_url``/
``url``/``path`` of Qwen's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ossicle.data.columns import COLUMNS
from ossicle.data.uris import data_of

__all__ = ["CONVERSATIONS", "Conversation", "conversation_of"]

CONVERSATIONS = ("messages", "conversations", "prompt", "completion")
"""Columns that hold one."""

_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
    "developer": "developer",
}
_MARK = re.compile(r"(<audio>)")
_AUDIO_PARTS = ("audio", "audio_url", "input_audio")
_SOURCES = (*_AUDIO_PARTS, "url", "path")
_SEGMENT = tuple(name for key in ("offset", "end", "duration", "channel") for name in COLUMNS[key])


class Conversation(NamedTuple):
    """What a row says and hears.

    Attributes:
        messages: None where there is no conversation.
        audio: The recordings that its parts name or hold, in order: paths, URIs, bytes, audio dicts
            and what else `recording_of` takes.
    """

    messages: list[dict[str, Any]] | None
    audio: list[Any]


def conversation_of(row: Mapping[str, Any], recordings: int | None = None) -> Conversation:
    """The conversation of a row.

    Args:
        row: Values of those of `CONVERSATIONS` that it has.
        recordings: How many the row names elsewhere, where it names any.

    Raises:
        ValueError: It is none; the message says why.
    """
    found = _messages(row)
    if found is None:
        return Conversation(None, [])
    audio: list[Any] = []
    made = [_message(message, audio) for message in found]
    places = sum(_is_place(part) for one in made for part in _parts(one))
    if audio and recordings:
        raise ValueError("recordings are named both in the messages and beside them")
    if places and places != (recordings or len(audio)):
        raise ValueError(
            f"{places} places for audio in the messages, {recordings or len(audio)} recordings"
        )
    return Conversation(made, audio)


def _messages(row: Mapping[str, Any]) -> Sequence[Any] | None:
    found = row.get("messages")
    if found is None:
        found = row.get("conversations")
    if found is None and (row.get("prompt") is not None or row.get("completion") is not None):
        found = [*_turns(row.get("prompt"), "user"), *_turns(row.get("completion"), "assistant")]
    if found is None:
        return None
    if not isinstance(found, list | tuple) or not found:
        raise ValueError("messages is not a list of messages")
    return found


def _turns(found: Any, role: str) -> Sequence[Any]:
    if found is None:
        return []
    if isinstance(found, str):
        return [{"role": role, "content": found}]
    if not isinstance(found, list | tuple):
        raise ValueError(f"a prompt or completion is a {type(found).__name__}")
    return found


def _message(message: Any, audio: list[Any]) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise ValueError("a message is no object")
    known = {key: value for key, value in message.items() if value is not None}
    if "role" not in known and "from" in known:
        role = known.pop("from")
        if role not in _ROLES:
            raise ValueError(f"a message is from {role!r}, which is no known role")
        known = {"role": _ROLES[role], "content": known.pop("value", ""), **known}
    if "role" not in known:
        raise ValueError("a message has no role")
    content = known.get("content", "")
    if isinstance(content, str):
        known["content"] = _marked(content)
    elif isinstance(content, list | tuple):
        known["content"] = [_part(part, audio) for part in content]
    else:
        raise ValueError(f"the content of a message is a {type(content).__name__}")
    return known


def _marked(text: str) -> str | list[dict[str, Any]]:
    """A text, or its parts where ``<audio>`` is in it."""
    if "<audio>" not in text:
        return text
    parts: list[dict[str, Any]] = []
    for piece in _MARK.split(text):
        if piece == "<audio>":
            parts.append({"type": "audio"})
        elif piece.strip():
            # ShareGPT writes a line's end after the mark.
            after = bool(parts) and parts[-1]["type"] == "audio"
            parts.append({"type": "text", "text": piece.removeprefix("\n") if after else piece})
    return parts


def _part(part: Any, audio: list[Any]) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
        raise ValueError("a part of a message has no type")
    known = {key: value for key, value in part.items() if value is not None}
    if known["type"] not in _AUDIO_PARTS:
        return known
    names = (*_SOURCES, *_SEGMENT)
    source = _source(known)
    if source is not None:
        said = {key: known[key] for key in _SEGMENT if key in known}
        audio.append(source if not said else {**_as_dict(source), **said})
    return {"type": "audio", **{k: v for k, v in known.items() if k not in names and k != "type"}}


def _source(part: Mapping[str, Any]) -> Any:
    """The recording that a part names: a path, a URI or an audio dict; None where it names none."""
    source = next((part[key] for key in _SOURCES if key in part), None)
    if isinstance(source, Mapping) and all(source.get(key) is None for key in ("bytes", "array")):
        data = source.get("data")
        source = data_of(data) if isinstance(data, str) else source.get("url") or source.get("path")
        if source is None:
            raise ValueError(f"a part of type {part['type']!r} names no path and no url")
    return source


def _as_dict(source: Any) -> Mapping[str, Any]:
    """The recording as an audio dict, which has room for a segment."""
    if isinstance(source, Mapping):
        return source
    if not isinstance(source, str | bytes):
        raise ValueError(f"a segment of a {type(source).__name__}: give it beside the recording")
    return {"bytes": source} if isinstance(source, bytes) else {"path": source}


def _parts(message: Mapping[str, Any]) -> Sequence[Any]:
    content = message.get("content")
    return () if isinstance(content, str) or content is None else content


def _is_place(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "audio"
