"""Arguments that the functions on audio have in common: checked, and with their defaults."""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ossicle import _native
from ossicle.errors import InvalidArgumentError

if TYPE_CHECKING:
    from ossicle.errors import AudioError

__all__ = [
    "PerClip",
    "Segment",
    "check_channel",
    "clip_segments",
    "default_threads",
    "raise_first",
    "thread_count",
]

Segment: TypeAlias = tuple[float, float | None, int | None]
"""Where to begin in a clip and how much to take, in seconds, and the channel."""
PerClip: TypeAlias = Sequence[Any] | np.ndarray[Any, Any]
"""One value for each clip."""


def clip_segments(
    offsets: PerClip | None,
    duration: float | PerClip | None,
    channel: int | PerClip | None,
    count: int,
) -> list[Segment]:
    """What to take of each of ``count`` clips."""
    starts = _for_each("offsets", 0.0 if offsets is None else offsets, count)
    seconds = _for_each("durations", duration, count)
    channels = _for_each("channels", channel, count)
    return [
        (float(start), None if length is None else float(length), check_channel(number))
        for start, length, number in zip(starts, seconds, channels, strict=True)
    ]


def check_channel(channel: Any, *, mono: bool = True) -> int | None:
    """A channel as an int, or None; it excludes ``mono=False``."""
    if channel is None:
        return None
    if not mono:
        raise InvalidArgumentError("channel takes one channel: leave out mono=False")
    try:
        number = -1 if isinstance(channel, bool) else operator.index(channel)
    except TypeError:
        number = -1
    if not 0 <= number < 2**32:
        raise InvalidArgumentError(f"channel must be a whole number from 0, not {channel!r}")
    return number


def _for_each(name: str, value: Any, count: int) -> list[Any]:
    if value is None or np.ndim(value) == 0:
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise InvalidArgumentError(f"{len(values)} {name} for {count} sources")
    return values


def raise_first(errors: Sequence[AudioError | None]) -> None:
    """Raises the first error, if there is any."""
    for error in filter(None, errors):
        raise error


def thread_count(threads: int | None) -> int:
    """As many threads as were asked for, or else as fit."""
    if threads is None:
        return default_threads()
    if threads < 1:
        raise InvalidArgumentError(f"threads must be at least 1, not {threads}")
    return int(threads)


def default_threads() -> int:
    """One inside a data loader's worker, which has siblings; else what this process may use."""
    loader = sys.modules.get("torch.utils.data")
    if loader is not None and loader.get_worker_info() is not None:
        return 1
    return _native.available_threads()
