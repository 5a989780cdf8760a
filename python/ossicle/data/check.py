"""Whether rows fit their recordings: headers are read, and clips decoded where that is asked."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ossicle.audio import AudioInfo, info, load
from ossicle.audio.arguments import thread_count
from ossicle.data.errors import ManifestError
from ossicle.data.recordings import Recording
from ossicle.data.rows import Rows, SpeechRow
from ossicle.errors import AudioError

__all__ = ["CheckResult", "check"]

TOLERANCE_SECONDS = 0.01
"""A segment may end later than its recording by this: manifests round."""


@dataclass(frozen=True)
class CheckResult:
    """What a check of rows found.

    Attributes:
        rows: How many were checked.
        seconds: Of sound, that of segments where rows are segments.
        faults: A row's first fault each, in the order of the rows.
    """

    rows: int
    seconds: float
    faults: list[ManifestError]


def check(
    rows: Rows,
    *,
    decode: bool = False,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckResult:
    """Reads the headers of all recordings, and compares the rows with them.

    A fault is a recording that cannot be read, a segment that ends after it, a channel that it has
    not, and a rate that is not its own; where clips are decoded, damage too. What is wrong with
    rows that were not read is in `Rows.faults`.

    Args:
        rows: The rows.
        decode: Whether the clips are decoded.
        threads: None takes all processors.
        progress: Called with the number of rows that are done and of all.
    """
    count = len(rows)
    seconds = 0.0
    faults = []
    with ThreadPoolExecutor(thread_count(threads)) as pool:
        checked = pool.map(lambda row: _checked(row, rows.source, decode=decode), rows)
        for done, found in enumerate(checked, 1):
            if isinstance(found, ManifestError):
                faults.append(found)
            else:
                seconds += found
            if progress is not None:
                progress(done, count)
    return CheckResult(count, seconds, faults)


def _checked(row: SpeechRow, source: str, *, decode: bool) -> float | ManifestError:
    """Its seconds, or what is wrong with it; a reason ends with what differs from row to row."""
    seconds, name = 0.0, ""
    try:
        for recording in row.recordings:
            name = recording.name
            facts = info(recording.source)
            seconds += _compare(row, recording, facts)
            if decode:
                part = recording.segment
                load(recording.source, mono=False, offset=part.offset, duration=part.duration)
    except AudioError as error:
        why = f"{error.reason}: {error.source or name}"
        return ManifestError(why, source=source, row=row.number)
    except (OSError, ValueError) as error:
        return ManifestError(str(error), source=source, row=row.number)
    return seconds


def _compare(row: SpeechRow, recording: Recording, facts: AudioInfo) -> float:
    """Seconds of a segment that is in its recording."""
    part, name = recording.segment, recording.name
    length = facts.frames / facts.sample_rate
    end = length if part.duration is None else part.offset + part.duration
    if max(end, part.offset) > length + TOLERANCE_SECONDS:
        at = max(end, part.offset)
        raise ValueError(f"the segment ends at {at:g} s, after its recording: {length:g} s, {name}")
    if part.channel is not None and part.channel >= facts.channels:
        raise ValueError(f"channel {part.channel} is not among the {facts.channels}: {name}")
    if row.sample_rate is not None and row.sample_rate != facts.sample_rate:
        why = f"the row's sample rate is {row.sample_rate} Hz, the recording's {facts.sample_rate}"
        raise ValueError(f"{why}: {name}")
    return max(0.0, min(end, length) - part.offset)
