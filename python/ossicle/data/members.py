"""Recordings inside of shards, as a column and as sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from ossicle import _native
from ossicle.data.segments import Segment, segment_of
from ossicle.errors import InvalidArgumentError

__all__ = [
    "SEGMENT",
    "identities",
    "member_of",
    "pointer_in",
    "pointer_in_json",
    "remember",
    "shard_at",
    "split_name",
]

SEGMENT: Final = "segment"
"""The field of a sample's JSON that says which part it is, of which recording of its shard."""
_QUOTED: Final = f'"{SEGMENT}"'.encode()
_FIELDS: Final = frozenset(["member", *Segment._fields])


def split_name(name: str) -> tuple[str, str]:
    """Key and extension of a member, as webdataset and `ossicle.Shard` tell them apart."""
    folder, slash, base = name.rpartition("/")
    key, _, extension = base.partition(".")
    return f"{folder}{slash}{key}", extension.lower()


def pointer_in(facts: Any) -> tuple[str | None, Segment] | None:
    """The member that a sample points to, None its own, and the segment that is meant of it.

    Args:
        facts: Of the sample's JSON.

    Returns:
        None of samples that are whole recordings, and of those of other programs.
    """
    found = facts.get(SEGMENT) if isinstance(facts, Mapping) else None
    if not isinstance(found, Mapping) or not found or not found.keys() <= _FIELDS:
        return None
    said = {name: value for name, value in found.items() if name != "member"}
    member = found.get("member")
    is_one = member is None or isinstance(member, str)
    return (member, segment_of({"offset": 0.0, **said}, 1)[0]) if is_one else None


def pointer_in_json(data: bytes) -> tuple[str | None, Segment] | None:
    """`pointer_in` of what a sample's JSON holds; what is no JSON says nothing."""
    if _QUOTED not in data:
        return None
    try:
        return pointer_in(json.loads(data))
    except (ValueError, RecursionError):
        return None


_IDENTITIES: Final[dict[str, str]] = {}
"""Of each shard whose rows were read, what tells it from another one that is at its path later."""


def shard_at(path: str) -> _native.Shard:
    """The shard that is at a path now, whose rows are read."""
    shard = _native.Shard(path, "auto", None, False, None)
    _IDENTITIES[path] = shard.identity()
    return shard


def identities() -> dict[str, str]:
    """What tells the shards whose rows were read from others, by their paths."""
    return dict(_IDENTITIES)


def remember(known: Mapping[str, str]) -> None:
    """Takes over what another process knows of shards that were not read here."""
    for path, identity in known.items():
        _IDENTITIES.setdefault(path, identity)


def _as_it_was_read(path: str) -> _native.Shard:
    """The shard whose rows were read.

    Raises:
        AudioIOError: Another one is at its path.
    """
    if path not in _IDENTITIES:
        _ = shard_at(path)
    return _opened(path, _IDENTITIES[path])


@lru_cache(maxsize=16)
def _opened(path: str, identity: str) -> _native.Shard:
    return _native.Shard(path, "auto", None, False, identity)


def member_of(audio: Any) -> Any:
    """The value of the column ``audio`` of a row, a member of a shard where it names one.

    Raises:
        AudioError: The shard cannot be read, or is another one than when the row was read.
        InvalidArgumentError: It has no such member.
    """
    if not isinstance(audio, dict) or "shard" not in audio:
        return audio
    shard = _as_it_was_read(audio["shard"])
    key, extension = split_name(audio["member"])
    number = shard.find(key)
    found = None if number is None else shard.member(number, extension)
    if found is None:
        raise InvalidArgumentError("the shard has no such member", source=audio["shard"])
    return found
