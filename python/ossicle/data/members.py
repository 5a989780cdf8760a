"""Recordings inside of shards, as a column and as sources."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ossicle import _native
from ossicle.errors import InvalidArgumentError

__all__ = ["member_of", "shard_at", "split_name"]


def split_name(name: str) -> tuple[str, str]:
    """Key and extension of a member, as webdataset and `ossicle.Shard` tell them apart."""
    folder, slash, base = name.rpartition("/")
    key, _, extension = base.partition(".")
    return f"{folder}{slash}{key}", extension.lower()


@lru_cache(maxsize=16)
def shard_at(path: str) -> _native.Shard:
    """A shard that stays open while few others are used."""
    return _native.Shard(path, "auto", None, False, None)


def member_of(audio: Any) -> Any:
    """The value of the column ``audio`` of a row, a member of a shard where it names one.

    Raises:
        AudioError: The shard cannot be read.
        InvalidArgumentError: It has no such member.
    """
    if not isinstance(audio, dict) or "shard" not in audio:
        return audio
    shard = shard_at(audio["shard"])
    key, extension = split_name(audio["member"])
    number = shard.find(key)
    found = None if number is None else shard.member(number, extension)
    if found is None:
        raise InvalidArgumentError("the shard has no such member", source=audio["shard"])
    return found
