"""Which part of a recording a row means: ``offset``, ``duration`` (or ``end``) and ``channel``."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from ossicle.data.columns import column_of
from ossicle.errors import InvalidArgumentError

__all__ = ["Segment", "segment_of"]


class Segment(NamedTuple):
    """A part of a recording; by default all of it.

    Attributes:
        offset: Where it begins, in seconds.
        duration: How long it is, in seconds; None reaches to the end of the recording.
        channel: The channel that is meant, from 0; None takes the mean of all.
    """

    offset: float = 0.0
    duration: float | None = None
    channel: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the recording."""
        return self == Segment()

    def within(self, inner: Segment) -> Segment:
        """What a row says (this) and what its audio dict says (``inner``), together.

        Raises:
            InvalidArgumentError: They say different things of one field.
        """
        differ = self.offset and inner.offset and self.offset != inner.offset
        for own, its in ((self.duration, inner.duration), (self.channel, inner.channel)):
            differ = differ or (own is not None and its is not None and own != its)
        if differ:
            why = f"the row says {self}, and its audio {inner}: give one of them"
            raise InvalidArgumentError(why)
        return Segment(
            self.offset or inner.offset,
            inner.duration if self.duration is None else self.duration,
            inner.channel if self.channel is None else self.channel,
        )

    def at_most(self, seconds: float | None) -> Segment:
        """The same, no longer than some seconds."""
        if seconds is None:
            return self
        shorter = seconds if self.duration is None else min(self.duration, seconds)
        return self._replace(duration=shorter)

    def frames(self, whole: int, sample_rate: int) -> int:
        """Samples of it, of a recording of ``whole`` samples at a rate, as `ossicle.load` gives."""
        begin = min(round(self.offset * sample_rate), whole)
        if self.duration is None:
            return whole - begin
        return min(round(self.duration * sample_rate), whole - begin)

    def __str__(self) -> str:
        said = {name: value for name, value in self._asdict().items() if value is not None}
        return ", ".join(f"{name}={value:g}" for name, value in said.items())


def segment_of(row: Mapping[str, Any], count: int, without: Collection[str] = ()) -> list[Segment]:
    """The segments that a row, or an audio dict, says of its recordings.

    Args:
        row: Values by column; `ossicle.data.COLUMNS` has the names.
        count: How many recordings it has.
        without: Names of the table that say nothing here: `CUT_FROM` of clips that are cut already.

    Raises:
        InvalidArgumentError: A value is no time and no channel, or there are not as many as
            recordings.
    """
    offsets, ends, durations, channels = (
        _numbers(row, column_of(one, row, without=without), one, count)
        for one in ("offset", "end", "duration", "channel")
    )
    found = []
    for offset, end, duration, channel in zip(offsets, ends, durations, channels, strict=True):
        start = 0.0 if offset is None else offset
        length = duration
        if duration is None and end is not None:
            if end < start:
                raise InvalidArgumentError(f"the segment ends at {end:g} s, before {start:g} s")
            length = end - start
        found.append(Segment(start, length, _channel(channel)))
    return found


def _numbers(
    row: Mapping[str, Any], name: str | None, meaning: str, count: int
) -> list[float | None]:
    value = None if name is None else row[name]
    if value is None or (isinstance(value, str) and not value.strip()):
        return [None] * count
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        if len(value) != count:
            why = f"{name} has {len(value)} values for {count} recordings"
            raise InvalidArgumentError(why)
        return [None if one is None else _number(name, one) for one in value]
    if count != 1:
        # Beside several recordings a length is that of the row; it selects nothing.
        if meaning == "duration" or count == 0:
            return [None] * count
        raise InvalidArgumentError(f"one {name} for {count} recordings: give a list, one for each")
    return [_number(name, value)]


def _number(name: str | None, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        what = repr(value) if isinstance(value, str | bool) else f"a {type(value).__name__}"
        raise InvalidArgumentError(f"{name} holds {what}, not a number") from None
    if not math.isfinite(number) or number < 0:
        raise InvalidArgumentError(f"{name} is {number:g}: it must be 0 or more")
    return number


def _channel(value: float | None) -> int | None:
    if value is None:
        return None
    if value != int(value):
        raise InvalidArgumentError(f"channel is {value:g}: channels are counted from 0")
    return int(value)
