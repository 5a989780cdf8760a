"""How long the clips of a data set are, from their headers or from an index: nothing is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ossicle.audio.arguments import raise_first, thread_count
from ossicle.audio.resampling import check_rate
from ossicle.data.recordings import (
    Recording,
    header_of,
    is_recording,
    recording_of,
    samples_at,
    sources_of,
)
from ossicle.errors import AudioError, InvalidArgumentError, check_on_error

__all__ = ["AudioLengths", "audio_lengths"]

# Rows that a thread takes at a time: a header costs some 10 us, a task of a pool about as much.
_CHUNK = 256
_INDEX_COLUMNS = {"frames", "sample_rate"}
# Two years at 48 kHz: what is above is no length, and below it frames times a rate fit int64.
_MOST_FRAMES = 2**42


@dataclass(frozen=True, slots=True, eq=False)
class AudioLengths:
    """Lengths of the rows of a data set, in their order; of several clips in a row, the sum.

    Attributes:
        seconds: ``(N,)`` float64, frames by sample rate of the files themselves; NaN where it
            failed.
        samples: ``(N,)`` int64, samples a channel that `ossicle.load` gives, at the rate that was
            asked for or at each clip's own; -1 where it failed.
        errors: For each row None, or the error that it ended in.
        remarks: For each row the remarks on its recordings, as `ossicle.AudioInfo` has them, or
            as an index has it in its column ``remarks``.
    """

    seconds: npt.NDArray[np.float64]
    samples: npt.NDArray[np.int64]
    errors: list[AudioError | None]
    remarks: list[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """``(N,)``: which rows have a length."""
        return ~np.isnan(self.seconds)


class _Measured(NamedTuple):
    """What is known of a row."""

    seconds: float
    samples: int
    error: AudioError | None = None
    remarks: tuple[str, ...] = ()


def audio_lengths(
    rows: Iterable[Any],
    *,
    sample_rate: int | None = None,
    threads: int | None = None,
    on_error: Literal["raise", "collect"] = "raise",
    progress: Callable[[int], object] | None = None,
) -> AudioLengths:
    """The exact length of each row, read as `ossicle.info` reads it, with the GIL released.

    Lengths are those of whole files. Where a collator cuts at ``max_length_seconds``, so does
    ``np.minimum(lengths.seconds, max_length_seconds)``.

    Args:
        rows: What a length is wanted of, each one of

            - a row as the collator takes it: a mapping with a recording under ``wav``,
              ``audio_path``, ``audio``, ``path`` or ``audio_filepath`` (the first that has a
              value), or a list of several, or with ``messages`` whose parts hold the recordings;
            - a source as `ossicle.info` takes it: a path, bytes, a binary file object (which is
              read from, and stands elsewhere afterwards), a shard's member;
            - an audio dict of Hugging Face `datasets`: ``{"path", "bytes"}``, of which bytes come
              first, or ``{"array", "sampling_rate"}`` with ``(samples,)`` or
              ``(channels, samples)``.

            Or a data frame that has the columns ``frames`` and ``sample_rate``, such as the index
            of a shard: no file is touched then. Any other Polars frame is taken row by row.
        sample_rate: Rate in Hz at which samples are counted: ``ceil(frames * sample_rate /
            native)`` of each clip. None counts them at each clip's own.
        threads: Files to read at a time; None takes one for each processor that this process may
            use, and one inside a worker of a PyTorch data loader. More pay off where files lie far
            away.
        on_error: ``"raise"`` the first row's error, or ``"collect"`` errors beside lengths of NaN
            and -1.
        progress: Called now and then, from the calling thread, with the number of rows done.

    Raises:
        AudioError: With ``on_error="raise"``, when a file cannot be read; a note tells the row.
        InvalidArgumentError: Also a row that names no audio.
    """
    check_on_error(on_error, "raise", "collect")
    rate = None if sample_rate is None else check_rate(sample_rate, "sample_rate")
    count = thread_count(threads)
    rows = rows.collect() if hasattr(rows, "collect") else rows  # a LazyFrame
    if set(getattr(rows, "columns", ())) >= _INDEX_COLUMNS:
        lengths = _of_index(rows, rate)
        if on_error == "raise":
            raise_first(lengths.errors)
        return lengths
    return _gather(_measure_all(_as_sequence(rows), rate, count, on_error, progress))


def _as_sequence(rows: Any) -> Sequence[Any]:
    if isinstance(rows, str | os.PathLike | bytes | Mapping):
        raise InvalidArgumentError(f"rows must be a list of rows, not a {type(rows).__name__}")
    if hasattr(rows, "to_dicts"):  # a Polars frame
        rows = rows.to_dicts()
    return rows if hasattr(rows, "__getitem__") and hasattr(rows, "__len__") else list(rows)


def _measure_all(
    rows: Sequence[Any],
    rate: int | None,
    threads: int,
    on_error: str,
    progress: Callable[[int], object] | None,
) -> Iterator[_Measured]:
    """In the order of the rows, so that the error that is raised is always the same."""

    def measure_chunk(start: int) -> list[_Measured]:
        stop = min(start + _CHUNK, len(rows))
        return [_measure(index, rows[index], rate) for index in range(start, stop)]

    done = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ossicle-lengths")
    try:
        for measured in pool.map(measure_chunk, range(0, len(rows), _CHUNK)):
            if on_error == "raise":
                raise_first([one.error for one in measured])
            yield from measured
            done += len(measured)
            if progress is not None:
                progress(done)
    finally:
        pool.shutdown(cancel_futures=True)


def _measure(index: int, row: Any, rate: int | None) -> _Measured:
    try:
        parts = [_measure_recording(recording, rate) for recording in _recordings(row)]
    except AudioError as error:
        error.add_note(f"in row {index}")
        return _Measured(float("nan"), -1, error)
    return _Measured(
        sum(part.seconds for part in parts),
        sum(part.samples for part in parts),
        remarks=tuple(remark for part in parts for remark in part.remarks),
    )


def _measure_recording(recording: Recording, rate: int | None) -> _Measured:
    begin, facts = _position(recording.source), header_of(recording)
    samples = facts.frames
    if rate is not None:
        if facts.remarks and begin is not None:
            recording.source.seek(begin, os.SEEK_SET)
        samples = samples_at(recording.source, facts, rate)
    return _Measured(facts.frames / facts.sample_rate, samples, remarks=facts.remarks)


def _position(source: Any) -> int | None:
    """Where a file object stands; None of other sources."""
    try:
        return int(source.tell())
    except (AttributeError, OSError, ValueError):
        return None


def _recordings(row: Any) -> list[Recording]:
    """The recordings of a row, which may be a recording itself."""
    if not isinstance(row, Mapping) or is_recording(row):
        return [recording_of(row)]
    found = sources_of(row)
    if not found:
        keys = ", ".join(map(str, row)) or "none"
        raise InvalidArgumentError(f"the row has no audio_path and no audio (its keys: {keys})")
    return [recording_of(source, column) for column, source in found]


def _gather(measured: Iterator[_Measured]) -> AudioLengths:
    rows = list(measured)
    return AudioLengths(
        np.array([row.seconds for row in rows], np.float64),
        np.array([row.samples for row in rows], np.int64),
        [row.error for row in rows],
        [row.remarks for row in rows],
    )


def _of_index(index: Any, rate: int | None) -> AudioLengths:
    # As floats nulls become NaN; they hold every integer up to 2**53.
    frames = np.asarray(index["frames"], np.float64)
    rates = np.asarray(index["sample_rate"], np.float64)
    ok = (frames >= 0) & (frames < _MOST_FRAMES) & (rates >= 1)
    frames, rates = np.where(ok, frames, 0).astype(np.int64), np.where(ok, rates, 1)
    native = rates.astype(np.int64)
    samples = frames if rate is None else -(-frames * rate // native)
    errors: list[AudioError | None] = [None] * len(ok)
    for row in np.flatnonzero(~ok).tolist():
        errors[row] = error = InvalidArgumentError(
            "the index has no frames or sample_rate in this row"
        )
        error.add_note(f"in row {row}")
    seconds = np.where(ok, frames / rates, np.nan)
    return AudioLengths(seconds, np.where(ok, samples, -1), errors, _remarks_of(index, len(ok)))


def _remarks_of(index: Any, rows: int) -> list[tuple[str, ...]]:
    """A line each in the column ``remarks``; null where there are none, and in older indexes."""
    if "remarks" not in index.columns:
        return [()] * rows
    return [tuple(text.splitlines()) if isinstance(text, str) else () for text in index["remarks"]]
