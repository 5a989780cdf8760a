"""How long the clips of a data set are, from their headers or from an index: nothing is decoded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ossicle.audio.arguments import raise_first, thread_count
from ossicle.audio.resampling import check_rate
from ossicle.data.columns import COLUMNS
from ossicle.data.errors import ManifestError
from ossicle.data.read import source_of_rows
from ossicle.data.recordings import (
    Recording,
    header_of,
    is_recording,
    recording_of,
    recordings_of,
    samples_at,
)
from ossicle.data.rows import Rows, SpeechRow
from ossicle.data.sources import SourceRow
from ossicle.errors import AudioError, InvalidArgumentError, check_on_error
from ossicle.pooled import in_order
from ossicle.shard import AUDIO_EXTENSIONS

__all__ = ["AudioLengths", "audio_lengths"]

# Rows that a thread takes at a time: a header costs some 10 us, a task of a pool about as much.
_CHUNK = 256
_INDEX_COLUMNS = {"frames", "sample_rate"}
_SEGMENT = ("offset", "end", "channel")
# What is no column of a mapping of columns.
_NO_COLUMNS = (str, bytes, os.PathLike, Mapping)
# Two years at 48 kHz: what is above is no length, and below it frames times a rate fit int64.
_MOST_FRAMES = 2**42


@dataclass(frozen=True, slots=True, eq=False)
class AudioLengths:
    """Lengths of the rows of a data set, in their order; of several clips in a row, the sum.

    Of a row that is a segment of its recording, all are those of the segment.

    Attributes:
        seconds: ``(N,)`` float64, frames by sample rate of the files themselves; NaN where it
            failed, 0 of a row of `ossicle.data.Rows` that has a text and no recording.
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
    rows: Any,
    *,
    sample_rate: int | None = None,
    threads: int | None = None,
    on_error: Literal["raise", "collect"] = "raise",
    progress: Callable[[int], object] | None = None,
) -> AudioLengths:
    """The exact length of each row, read as `ossicle.info` reads it, with the GIL released.

    A row's ``offset``, ``duration`` (or ``end``) and ``channel`` are its segment, whose length is
    that of what ``ossicle.load(path, sample_rate, offset=..., duration=..., channel=...)`` gives.
    Where a collator cuts at ``max_length_seconds``, so does ``np.minimum(lengths.seconds,
    max_length_seconds)``.

    Args:
        rows: What lengths are wanted of: whatever `ossicle.data.read` reads, as the path of a
            manifest, a folder or a shard, `ossicle.data.Rows`, or a frame; or a list, with each
            one of

            - a row as the collator takes it: a mapping with a recording under a name of
              `ossicle.data.COLUMNS` (the first that has a value), or a list of several, or with
              ``messages`` whose parts hold the recordings;
            - a source as `ossicle.info` takes it: a path, bytes, a binary file object (which is
              read from, and stands elsewhere afterwards), a shard's member;
            - an audio dict of Hugging Face `datasets`: ``{"path", "bytes"}``, of which bytes come
              first, or ``{"array", "sampling_rate"}`` with ``(samples,)`` or
              ``(channels, samples)``.

            Of a frame that has the columns ``frames`` and ``sample_rate``, such as the index of a
            shard, no file is touched, unless its rows name segments of recordings.
        sample_rate: Rate in Hz at which samples are counted: ``ceil(frames * sample_rate /
            native)`` of each whole clip. None counts them at each clip's own.
        threads: Files to read at a time; None takes one for each processor that this process may
            use, and one inside a worker of a PyTorch data loader. More pay off where files lie far
            away.
        on_error: ``"raise"`` the first row's error, or ``"collect"`` errors beside lengths of NaN
            and -1. What is wrong with a row of a manifest or a frame is its error too; `Rows` have
            lengths for the rows that they have, and the others in `Rows.faults`.
        progress: Called now and then, from the calling thread, with the number of rows done.

    Raises:
        AudioError: With ``on_error="raise"``, when a file cannot be read; a note tells the row.
        InvalidArgumentError: Also a row that names no audio; whatever ``on_error`` is, a manifest
            or a frame no row of which does.
        ManifestError: Nothing reads the manifest.
    """
    check_on_error(on_error, "raise", "collect")
    rate = None if sample_rate is None else check_rate(sample_rate, "sample_rate")
    count = thread_count(threads)
    rows = rows.collect() if hasattr(rows, "collect") else rows  # a LazyFrame
    if _is_index(rows):
        lengths = _of_index(rows, rate)
        if on_error == "raise":
            raise_first(lengths.errors)
        return lengths
    return _gather(_measure_all(_each(rows), rate, count, on_error, progress))


def _is_index(rows: Any) -> bool:
    columns = set(getattr(rows, "columns", ()))
    if not columns >= _INDEX_COLUMNS:
        return False
    # In the index of a shard the offset is a byte; beside a recording it is a time.
    parts = {name for meaning in _SEGMENT for name in COLUMNS[meaning]} & columns
    is_there = any(one is not None and one == one for name in parts for one in rows[name])
    return not (columns & set(COLUMNS["audio"]) and is_there)


def _each(rows: Any) -> Iterable[Any]:
    """Rows, recordings, or what is wrong with them."""
    is_one = isinstance(rows, bytes | bytearray) or (
        isinstance(rows, str | os.PathLike) and Path(rows).suffix[1:].lower() in AUDIO_EXTENSIONS
    )
    if isinstance(rows, Mapping) and not isinstance(rows, Rows):
        is_one = any(isinstance(one, _NO_COLUMNS) for one in rows.values())
    if is_one:
        raise InvalidArgumentError("rows must be a list of rows, not one row or recording")
    is_source = isinstance(rows, str | os.PathLike | Mapping | Rows) or hasattr(rows, "columns")
    if not is_source and not hasattr(rows, "features"):
        return rows  # type: ignore[no-any-return]
    return _of_source(rows)


def _of_source(rows: Any) -> Iterator[SourceRow | ManifestError]:
    source = source_of_rows(rows)
    columns: dict[str, None] = {}
    has_audio = False
    for row in source.rows():
        if isinstance(row, ManifestError):
            if not isinstance(rows, Rows):
                yield row
            continue
        has_audio = has_audio or bool(row.known.get("audio"))
        columns.update(dict.fromkeys(row.known))
        yield row
    if columns and not has_audio:
        there = ", ".join(columns)
        why = f"no row names a recording; the columns are {there}"
        raise InvalidArgumentError(why, source=source.name)


def _measure_all(
    rows: Iterable[Any],
    rate: int | None,
    threads: int,
    on_error: str,
    progress: Callable[[int], object] | None,
) -> Iterator[_Measured]:
    """In the order of the rows, so that the error that is raised is always the same."""

    def measure_chunk(chunk: list[tuple[int, Any]]) -> list[_Measured]:
        return [_measure(index, row, rate) for index, row in chunk]

    done = 0
    numbered = enumerate(rows)
    chunks = iter(lambda: list(islice(numbered, _CHUNK)), [])
    with closing(in_order(measure_chunk, chunks, threads, "ossicle-lengths")) as results:
        for measured in results:
            if on_error == "raise":
                raise_first([one.error for one in measured])
            yield from measured
            done += len(measured)
            if progress is not None:
                progress(done)


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
    begin, header = _position(recording.source), header_of(recording)
    if rate is not None and header.remarks and begin is not None:
        recording.source.seek(begin, os.SEEK_SET)
    seconds = samples_at(recording, header) / header.sample_rate
    return _Measured(seconds, samples_at(recording, header, rate), remarks=header.remarks)


def _position(source: Any) -> int | None:
    """Where a file object stands; None of other sources."""
    try:
        return int(source.tell())
    except (AttributeError, OSError, ValueError):
        return None


def _recordings(row: Any) -> list[Recording]:
    """The recordings of a row, which may be a recording itself."""
    if isinstance(row, ManifestError):
        raise InvalidArgumentError(row.reason, source=row.source)
    if isinstance(row, SpeechRow | SourceRow):
        return row.recordings
    if not isinstance(row, Mapping) or is_recording(row):
        return [recording_of(row)]
    found = recordings_of(row)
    if not found:
        keys = ", ".join(map(str, row)) or "none"
        raise InvalidArgumentError(f"the row has no audio_path and no audio (its keys: {keys})")
    return found


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
