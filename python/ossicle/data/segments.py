"""Which part of a recording a row means: ``offset``, ``duration`` (or ``end``) and ``channel``."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from ossicle.data.columns import column_of
from ossicle.errors import InvalidArgumentError

__all__ = ["Segment", "segment_of"]


_OVERSHOOT: Final = 0.5
"""Seconds that a segment may end after its recording, as in Kaldi's ``extract-segments``."""
_SLACK: Final = 0.1
"""Seconds that a length may differ from what another tool said of the same file."""


class Segment(NamedTuple):
    """A part of a recording; by default all of it.

    Attributes:
        offset: Where it begins, in seconds.
        duration: How long it is, in seconds; None reaches to the end of the recording.
        channel: The channel that is meant, from 0; None takes the mean of all.
        may_be_whole: Whether ``duration`` alone was said. It is then often the length of the
            recording, rounded: one that is within 0.1 s of it (1 s where it is a whole number)
            means all of the recording.
    """

    offset: float = 0.0
    duration: float | None = None
    channel: int | None = None
    may_be_whole: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the recording."""
        return self == Segment()

    @property
    def said(self) -> dict[str, float | None]:
        """The columns that say it: ``offset``, ``duration`` and ``channel``, None of what is not.

        An offset of 0 tells a segment at the beginning from the rounded length of the whole.
        """
        is_there = self.offset or (self.duration is not None and not self.may_be_whole)
        offset = self.offset if is_there else None
        return {"offset": offset, "duration": self.duration, "channel": self.channel}

    def within(self, inner: Segment) -> Segment:
        """What a row says (this) and what its audio dict says (``inner``), together.

        Raises:
            InvalidArgumentError: They say different things of one field.
        """
        outer = self
        # Of two durations the one that came without an offset is a fact about the other.
        if outer.may_be_whole and inner.duration is not None:
            outer = outer._replace(duration=None, may_be_whole=False)
        elif inner.may_be_whole and outer.duration is not None:
            inner = inner._replace(duration=None, may_be_whole=False)
        differ = outer.offset and inner.offset and outer.offset != inner.offset
        for own, its in ((outer.duration, inner.duration), (outer.channel, inner.channel)):
            differ = differ or (own is not None and its is not None and own != its)
        if differ:
            why = f"the row says {self}, and its audio {inner}: give one of them"
            raise InvalidArgumentError(why)
        offset = outer.offset or inner.offset
        return Segment(
            offset,
            inner.duration if outer.duration is None else outer.duration,
            inner.channel if outer.channel is None else outer.channel,
            (outer.may_be_whole or inner.may_be_whole) and not offset,
        )

    def at_most(self, seconds: float | None) -> Segment:
        """The same, no longer than some seconds."""
        if seconds is None or (self.duration is not None and self.duration <= seconds):
            return self
        return self._replace(duration=seconds, may_be_whole=False)

    def to_read(self, seconds: float | None = None) -> Segment:
        """What must be read to tell whether it is all of the recording, at most some seconds."""
        shorter = self.at_most(seconds)
        return self._replace(duration=self._longest) if shorter.may_be_whole else shorter

    def kept(self, read: npt.NDArray[np.float32], sample_rate: int) -> npt.NDArray[np.float32]:
        """Of what was read from its offset on, ``(samples,)``, what it means."""
        return read[: self._count(len(read), sample_rate)]

    def frames(self, whole: int, sample_rate: int) -> int:
        """Samples of it, of a recording of ``whole`` samples at a rate, as `ossicle.load` gives."""
        return self._count(whole - min(round(self.offset * sample_rate), whole), sample_rate)

    def of(self, frames: int, sample_rate: int) -> Segment:
        """What it is of a recording of so many samples at a rate: all of it, or the part said."""
        if self.frames(frames, sample_rate) == frames:
            return Segment(channel=self.channel)
        return self._replace(may_be_whole=False)

    def samples(self, sample_rate: int) -> int:
        """The least samples that it has where it lies within its recording."""
        if self.duration is None or self.may_be_whole:
            return 1
        return round(self.duration * sample_rate)

    def check(self, seconds: float) -> None:
        """Nothing, where it lies within a recording of some seconds.

        Raises:
            InvalidArgumentError: It begins at or past the end, or ends more than 0.5 s past it.
        """
        if not self.offset:
            return
        length = f"its recording is {seconds:.6g} s long"
        if self.offset >= seconds:
            raise InvalidArgumentError(f"the segment begins at {self.offset:.6g} s, but {length}")
        end = self.offset + (self.duration or 0.0)
        if end > seconds + _OVERSHOOT:
            why = f"the segment ends at {end:.6g} s, but {length}"
            hint = "; of a clip that is cut already, drop the columns that say where it was"
            raise InvalidArgumentError(why + hint)

    @property
    def _longest(self) -> float:
        """The length of recordings, in seconds, that it is a part of and not all of."""
        duration = self.duration or 0.0
        return duration + (1.0 if duration == int(duration) else _SLACK)

    def _count(self, there: int, sample_rate: int) -> int:
        if self.duration is None:
            return there
        if self.may_be_whole and there < round(self._longest * sample_rate):
            return there
        return min(round(self.duration * sample_rate), there)

    def inside(self, offset: float, duration: float | None, sample_rate: int) -> Segment:
        """A range of it, counted in samples at a rate: the same ones as of what it gives.

        Args:
            offset: Where the range begins in it, in seconds.
            duration: How long it is; None reaches to its end.
            sample_rate: In Hz, at which it is decoded.
        """
        skipped = round(offset * sample_rate)
        begin = round(self.offset * sample_rate) + skipped
        ends = [] if duration is None else [round(duration * sample_rate)]
        if self.duration is not None:
            ends.append(max(round(self.duration * sample_rate) - skipped, 0))
        length = min(ends) / sample_rate if ends else None
        return self._replace(offset=begin / sample_rate, duration=length)

    def __str__(self) -> str:
        said = {name: getattr(self, name) for name in ("offset", "duration", "channel")}
        return ", ".join(f"{name}={value:g}" for name, value in said.items() if value is not None)


def segment_of(row: Mapping[str, Any], count: int, without: Collection[str] = ()) -> list[Segment]:
    """The segments that a row, or an audio dict, says of its recordings.

    Args:
        row: Values by column; `ossicle.data.COLUMNS` has the names. ``offset`` beside ``onset`` is
            where the segment ends.
        count: How many recordings it has.
        without: Names of the table that say nothing here: `CUT_FROM` of clips that are cut already.

    Raises:
        InvalidArgumentError: A value is no time and no channel, or there are not as many as
            recordings.
    """
    names = {one: column_of(one, row, without=without) for one in ("offset", "end", "duration")}
    if row.get("onset") is not None and row.get("offset") is not None:
        names |= {"offset": "onset", "end": "offset"}
    offsets, ends, durations = (_numbers(row, name, one, count) for one, name in names.items())
    channels = _numbers(row, column_of("channel", row), "channel", count)
    found = []
    for offset, end, duration, channel in zip(offsets, ends, durations, channels, strict=True):
        start, length = offset or 0.0, duration
        if duration is None and end is not None:
            if end < start:
                raise InvalidArgumentError(f"the segment ends at {end:g} s, before {start:g} s")
            length = end - start
        if offset is None and not length:  # some tools write 0 for a length that they do not know
            length = None
        may_be_whole = offset is None and length is not None
        found.append(Segment(start, length, _channel(channel), may_be_whole))
    return found


def _numbers(
    row: Mapping[str, Any], name: str | None, meaning: str, count: int
) -> list[float | None]:
    value: Any = None if name is None else row[name]
    if hasattr(value, "tolist"):
        value = value.tolist()
    if _is_nothing(value):
        return [None] * count
    if isinstance(value, list | tuple):
        if len(value) != count:
            why = f"{name} has {len(value)} values for {count} recordings"
            raise InvalidArgumentError(why)
        return [None if _is_nothing(one) else _number(name, one) for one in value]
    if count != 1:
        # Beside several recordings a length is that of the row; it selects nothing.
        if meaning == "duration" or count == 0:
            return [None] * count
        raise InvalidArgumentError(f"one {name} for {count} recordings: give a list, one for each")
    return [_number(name, value)]


def _is_nothing(value: Any) -> bool:
    """Null in each of the forms that tables have: None, NaN, an empty text."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


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
