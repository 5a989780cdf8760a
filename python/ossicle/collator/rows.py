"""Rows of a data set, as they come, into `Example`s: which clips, which text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle import _native
from ossicle.collator.errors import RowError

__all__ = ["Clip", "Example", "Row", "Samples", "read_row"]

Row: TypeAlias = Mapping[str, Any]

_AUDIO_KEYS = ("audio_path", "audio")
_IDS = ("id", "__key__", "key")
_BYTES = (bytes, bytearray, memoryview)
_REMOVED_COLUMNS_HINT = (
    "; transformers.Trainer drops the columns that the model's forward does not name: "
    "pass remove_unused_columns=False in TrainingArguments (and, with TRL's SFTTrainer, "
    'dataset_kwargs={"skip_prepare_dataset": True})'
)


@dataclass(frozen=True)
class Samples:
    """A clip that is decoded already: ``(samples,)`` or ``(channels, samples)``, and its rate."""

    array: npt.NDArray[Any]
    sample_rate: int


@dataclass(frozen=True)
class Clip:
    """One recording of a row.

    Attributes:
        source: What `ossicle.load_batch` takes, or `Samples`.
        name: The file, for messages; ``<bytes>`` or ``<array>`` where there is none.
        blob_sha: SHA-256 of the file in hex, where the row tells it.
    """

    source: Any
    name: str
    blob_sha: Any = None


@dataclass(frozen=True)
class Example:
    """One row, read.

    Attributes:
        index: Its place in the batch.
        clips: Its recordings, in the order of their placeholders.
        text: The text with placeholders; None where ``messages`` holds it.
        messages: The conversation; None where ``text`` holds it.
        row: As it came.
    """

    index: int
    clips: tuple[Clip, ...]
    text: str | None = None
    messages: list[dict[str, Any]] | None = None
    row: Row = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """For messages: its place in the batch, and its file."""
        return f"row {self.index} of the batch ({', '.join(clip.name for clip in self.clips)})"

    @property
    def id(self) -> str | None:
        """What the data set calls the row, where it says so."""
        found = next((self.row[key] for key in _IDS if self.row.get(key) is not None), None)
        return None if found is None else str(found)


def read_row(index: int, row: Row) -> Example:
    """Reads one row.

    Args:
        index: Its place in the batch.
        row: ``audio_path`` or ``audio`` (one recording or a list of them), ``text`` or
            ``messages``, and optionally ``audio_blob_sha``.

    Raises:
        RowError: It lacks something, or holds what cannot be used.
    """
    if not isinstance(row, Mapping):
        raise RowError(
            f"row {index} of the batch is a {type(row).__name__}, not a mapping", row=index
        )
    messages = _messages(index, row)
    sources = _sources(row, messages)
    _check_keys(index, row, sources, messages)
    clips = tuple(_clips(index, sources, row.get("audio_blob_sha")))
    text = None if messages is not None else _text(index, row["text"])
    return Example(index, clips, text, messages, row)


def _sources(row: Row, messages: list[dict[str, Any]] | None) -> list[tuple[str, Any]]:
    """The recordings and the key that each came under; those of the messages where no key has."""
    for key in _AUDIO_KEYS:
        if row.get(key) is not None:
            found = row[key]
            return [(key, one) for one in (found if isinstance(found, list | tuple) else [found])]
    parts = [part for message in messages or () for part in _audio_parts(message)]
    named = [part.get("audio", part.get("path")) for part in parts]
    return [("audio", one) for one in named] if all(one is not None for one in named) else []


def _audio_parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [] if isinstance(content, str) else [p for p in content if p.get("type") == "audio"]


def _check_keys(
    index: int, row: Row, sources: list[tuple[str, Any]], messages: list[dict[str, Any]] | None
) -> None:
    lacks_text = messages is None and row.get("text") is None
    missing = ["audio_path"] * (not sources) + ["text"] * lacks_text
    if missing:
        # With neither left it is most likely not the data that is at fault.
        hint = _REMOVED_COLUMNS_HINT if len(missing) == 2 else ""
        raise RowError(
            f"row {index} of the batch has no {' and no '.join(missing)} "
            f"(its keys: {', '.join(map(str, row)) or 'none'}){hint}",
            row=index,
        )


def _clips(index: int, sources: Sequence[tuple[str, Any]], digests: Any) -> list[Clip]:
    told = digests if isinstance(digests, list | tuple) else [digests] * (len(sources) == 1)
    if digests is None:
        told = [None] * len(sources)
    if len(told) != len(sources):
        raise RowError(
            f"row {index} of the batch: {len(sources)} recordings, but audio_blob_sha tells "
            f"of {len(told) or 1}",
            row=index,
        )
    pairs = zip(sources, told, strict=True)
    return [_clip(index, key, source, digest) for (key, source), digest in pairs]


def _clip(index: int, key: str, found: Any, digest: Any) -> Clip:
    """One recording in any of the forms that data sets give."""
    if isinstance(found, str | os.PathLike):
        return Clip(found, os.fspath(found), digest)
    if key == "audio":
        # A column of `datasets` that was not decoded, or its decoder, which knows the file too.
        encoded = getattr(found, "_hf_encoded", None) or found
        if isinstance(encoded, Mapping):
            return _from_dict(index, encoded, digest)
        if isinstance(found, _native.ShardMember):
            return Clip(found, f"{found.shard} [{found.name}]", digest)
        if isinstance(found, _BYTES) or _is_bytes(found):
            return Clip(found, "<bytes>", digest)
        if hasattr(found, "get_all_samples"):
            samples = found.get_all_samples()
            return Clip(Samples(np.asarray(samples.data), samples.sample_rate), "<array>", digest)
        if hasattr(found, "read") and hasattr(found, "seek"):
            return Clip(found, str(getattr(found, "name", "<file object>")), digest)
    raise RowError(f"row {index} of the batch: {key} cannot be a {type(found).__name__}", row=index)


def _is_bytes(found: Any) -> bool:
    return isinstance(found, np.ndarray) and found.dtype == np.uint8


def _from_dict(index: int, found: Mapping[str, Any], digest: Any) -> Clip:
    """``{"path", "bytes"}`` or ``{"array", "sampling_rate"}``, as `datasets` has them."""
    path, data, array = (found.get(key) for key in ("path", "bytes", "array"))
    if data is not None:
        return Clip(data, str(path) if path else "<bytes>", digest)
    if array is not None and found.get("sampling_rate") is not None:
        samples = Samples(np.asarray(array), int(found["sampling_rate"]))
        return Clip(samples, str(path) if path else "<array>", digest)
    if path is not None:
        return Clip(path, os.fspath(path), digest)
    raise RowError(
        f"row {index} of the batch: audio holds neither bytes nor path, nor array with "
        f"sampling_rate (its keys: {', '.join(map(str, found)) or 'none'})",
        row=index,
    )


def _text(index: int, text: Any) -> str:
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
        raise RowError(f"row {index} of the batch: messages is no list of messages", row=index)
    return [_message(index, message) for message in found]


def _message(index: int, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping) or message.get("role") is None:
        raise RowError(f"row {index} of the batch: a message has no role", row=index)
    told = {key: value for key, value in message.items() if value is not None}
    content = told.get("content", "")
    if not isinstance(content, str):
        content = [_part(index, part) for part in content]
    return {**told, "content": content}


def _part(index: int, part: Any) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping) or part.get("type") is None:
        raise RowError(f"row {index} of the batch: a part of a message has no type", row=index)
    return {key: value for key, value in part.items() if value is not None}
