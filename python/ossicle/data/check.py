"""Whether rows fit their recordings: headers are read, nothing is decoded."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ossicle.audio import info
from ossicle.audio.arguments import thread_count
from ossicle.data.errors import ManifestError
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
    rows: Rows, *, threads: int | None = None, progress: Callable[[int, int], None] | None = None
) -> CheckResult:
    """Reads the headers of all recordings, and compares the rows with them.

    A fault is a recording that cannot be read, a segment that ends after it, a channel that it has
    not, and a rate that is not its own. What is wrong with rows that were not read is in
    `Rows.faults`.

    Args:
        rows: The rows.
        threads: None takes all processors.
        progress: Called with the number of rows that are done and of all.
    """
    count = len(rows)
    seconds = 0.0
    faults = []
    with ThreadPoolExecutor(thread_count(threads)) as pool:
        for done, found in enumerate(pool.map(lambda row: _checked(row, rows.source), rows), 1):
            if isinstance(found, ManifestError):
                faults.append(found)
            else:
                seconds += found
            if progress is not None:
                progress(done, count)
    return CheckResult(count, seconds, faults)


def _checked(row: SpeechRow, source: str) -> float | ManifestError:
    """Its seconds, or what is wrong with it."""
    try:
        headers = [(one.name, info(one.source)) for one in row.recordings]
        for name, facts in headers:
            _compare(row, name, facts)
    except (AudioError, OSError, ValueError) as error:
        return ManifestError(str(error), source=source, row=row.number)
    whole = sum(facts.frames / facts.sample_rate for _, facts in headers)
    if len(headers) != 1:
        return whole
    rest = max(0.0, whole - (row.offset or 0.0))
    return rest if row.duration is None else min(rest, float(row.duration))


def _compare(row: SpeechRow, name: str, facts: Any) -> None:
    length = facts.frames / facts.sample_rate
    end = (row.offset or 0.0) + (row.duration or 0.0)
    if end > length + TOLERANCE_SECONDS:
        raise ValueError(
            f"the segment ends at {end:g} s, after its recording: {length:g} s, {name}"
        )
    if row.channel is not None and row.channel >= facts.channels:
        raise ValueError(f"channel {row.channel} is not among the {facts.channels}: {name}")
    if row.sample_rate is not None and row.sample_rate != facts.sample_rate:
        why = f"the row's sample rate is {row.sample_rate} Hz, the recording's {facts.sample_rate}"
        raise ValueError(f"{why}: {name}")
