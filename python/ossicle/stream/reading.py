"""A planned batch read: its recordings decoded, bad ones replaced, and all of it collated."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from ossicle.data.columns import COLUMNS
from ossicle.errors import AudioError, AudioIOError, TooManyFaultsError
from ossicle.faults import Faults, RowName
from ossicle.stream.decoding import Clip, Decoding
from ossicle.stream.engine import Work
from ossicle.stream.tensors import has_gpu, pinned

if TYPE_CHECKING:
    from ossicle.data.recordings import Recording
    from ossicle.stream.plan import Plan

__all__ = ["Collate", "Planned", "ReadBatch", "Reader", "Run"]

_DELAYS = (0.1, 0.5, 2.0)
"""Seconds to wait before each new try at bytes that could not be read."""
_ATTEMPTS = 16
"""Clips that are tried in the place of a bad one."""
_REPLACED = frozenset(
    name for column in ("audio", "offset", "end", "duration", "channel") for name in COLUMNS[column]
)
"""Columns of a row that say where its clip is: a collator that finds them would read it again."""

Given = TypeVar("Given")
IntArray: TypeAlias = npt.NDArray[np.int64]


class Collate(Protocol):
    """Makes a batch of rows; or, if ``takes_samples``, of ``(waveform, sample_rate, metadata)``."""

    def __call__(self, rows: list[Any], /) -> Any:
        """The batch of some rows."""
        ...


class Planned(NamedTuple):
    """A batch of the order, by its rows.

    Attributes:
        source: Of each row the source, ``(B,)``.
        row: Its number there, ``(B,)``.
        epoch: Of the step.
        step: In its epoch, as if the number of processes had always been this one.
    """

    source: Sequence[int]
    row: Sequence[int]
    epoch: int
    step: int


@dataclass(frozen=True)
class Reader:
    """What the batches of a stream have in common.

    Attributes:
        plan: Of the batches.
        decoding: What is made of the recordings.
        collate: What makes a batch of rows; None gives the arrays as they are.
        faults: Where bad rows are entered.
        replaces: Whether a bad row is replaced, or its error raised.
        convert: What makes a tensor of an array.
        pins: Whether batches are to be in pinned memory where there is a GPU.
    """

    plan: Plan
    decoding: Decoding
    collate: Collate | None
    faults: Faults
    replaces: bool
    convert: Callable[[Any], Any]
    pins: bool = True

    def recordings(self, planned: Planned, stop: threading.Event) -> list[Recording]:
        """Of each row, in order."""
        return self._of_each(planned, "recordings", stop)

    def facts(self, planned: Planned, stop: threading.Event) -> list[Mapping[str, Any]]:
        """What is known of each row."""
        return self._of_each(planned, "facts", stop)

    def ids(self, planned: Planned, stop: threading.Event) -> list[str]:
        """Of each row."""
        return self._of_each(planned, "ids", stop)

    def decode(self, recordings: list[Recording], stop: threading.Event) -> list[Clip | AudioError]:
        """Each recording's clip or its error, after new tries where bytes could not be read.

        Raises:
            AudioIOError: Bytes that could still not be read.
        """
        found = self.decoding.decode(recordings)
        for delay in _DELAYS:
            failed = [at for at, one in enumerate(found) if isinstance(one, AudioIOError)]
            if not failed or stop.wait(delay):
                break
            again = self.decoding.decode([recordings[at] for at in failed])
            for at, one in zip(failed, again, strict=True):
                found[at] = one
        for one in found:
            if isinstance(one, AudioIOError):
                raise one
        return found

    def _of_each(self, planned: Planned, method: str, stop: threading.Event) -> list[Any]:
        """What a method of the sources gives for each row: one call for each source."""
        sources, rows = np.asarray(planned.source), np.asarray(planned.row)
        found: list[Any] = [None] * len(rows)
        for number in np.unique(sources).tolist():
            places = np.flatnonzero(sources == number)
            ask = partial(getattr(self.plan.sources[number], method), rows[places])
            for place, one in zip(places.tolist(), _tried(ask, stop), strict=True):
                found[place] = one
        return found


class _Failed(NamedTuple):
    """A row that was tried and could not be used."""

    error: AudioError
    name: RowName


class ReadBatch(Work):
    """One batch.

    Args:
        reader: What the batches have in common.
        planned: Its rows.
        stop: Set when the work is to end early.
    """

    def __init__(self, reader: Reader, planned: Planned, stop: threading.Event) -> None:
        self._reader, self._stop = reader, stop
        self._source, self._row = list(planned.source), list(planned.row)
        self._epoch, self._step = planned.epoch, planned.step
        self._recordings = reader.recordings(planned, stop)
        self._clips: list[Any] = [None] * len(self._recordings)
        self._failed: list[_Failed] = []
        self._arrays: dict[str, Any] = {}
        self._lengths: IntArray = np.zeros(0, np.int64)

    def parts(self, number: int) -> list[Callable[[], None]]:
        """The decoding of about as many runs of recordings."""
        total = len(self._recordings)
        edges = [total * part // number for part in range(number + 1)]
        runs = [(first, last) for first, last in pairwise(edges) if first < last]
        return [partial(self._decode, first, last) for first, last in runs]

    def finish(self) -> None:
        """Replaces what could not be decoded, and makes one array of all clips."""
        for place, clip in enumerate(self._clips):
            if isinstance(clip, AudioError):
                self._replace(place, clip)
        if self._reader.collate is None:
            decoding, convert = self._reader.decoding, self._reader.convert
            array, self._lengths = decoding.join(self._clips)
            self._clips = []
            self._arrays = {decoding.array: convert(array), "lengths": convert(self._lengths)}
            self.nbytes = array.nbytes
        else:
            self._lengths = np.array([clip.length for clip in self._clips], np.int64)
            self.nbytes = sum(clip.array.nbytes for clip in self._clips)

    def lengths(self) -> IntArray:
        """``(B,)`` of the clips, once it is finished: samples, or frames of features."""
        return self._lengths

    def give(self) -> Any:
        """The batch, collated; its faults are entered."""
        batch = self._collate()
        return pinned(batch) if self._reader.pins and has_gpu() else batch

    def _collate(self) -> Any:
        reader = self._reader
        self._enter_faults()
        planned = Planned(self._source, self._row, self._epoch, self._step)
        ids, facts = reader.ids(planned, self._stop), self._facts(planned)
        if reader.collate is None:
            place = {"epoch": self._epoch, "step": self._step}
            return {"ids": ids, **self._arrays, "rows": facts, **place}
        if getattr(reader.collate, "takes_samples", False):
            return reader.collate(self._samples(facts))
        return reader.collate(self._rows(facts))

    def _facts(self, planned: Planned) -> list[Mapping[str, Any]]:
        """What is known of each row, without its recording: of that the name."""
        found = self._reader.facts(planned, self._stop)
        return [
            {key: _named(key, value, recording) for key, value in row.items()}
            for row, recording in zip(found, self._recordings, strict=True)
        ]

    def _decode(self, first: int, last: int) -> None:
        found = self._reader.decode(self._recordings[first:last], self._stop)
        self._clips[first:last] = found

    def _replace(self, place: int, error: AudioError) -> None:
        """Puts another clip in the place of a bad one; which one is the plan's decision."""
        reader, recording = self._reader, self._recordings[place]
        if not reader.replaces:
            raise error
        source, row = self._source[place], self._row[place]
        for attempt in range(1, _ATTEMPTS + 1):
            self._failed.append(_Failed(error, self._name(place, recording)))
            moved = reader.plan.replacement(source, row, attempt)
            self._source[place], self._row[place] = int(moved[0]), int(moved[1])
            one = Planned([self._source[place]], [self._row[place]], self._epoch, self._step)
            [recording] = reader.recordings(one, self._stop)
            [found] = reader.decode([recording], self._stop)
            if not isinstance(found, AudioError):
                self._clips[place], self._recordings[place] = found, recording
                return
            error = found
        self._enter_faults()
        why = f"{_ATTEMPTS} clips were tried in the place of a bad one, and all are bad"
        raise TooManyFaultsError(f"{why}; the last: {error}") from error

    def _name(self, place: int, recording: Recording) -> RowName:
        one = Planned([self._source[place]], [self._row[place]], self._epoch, self._step)
        [name] = self._reader.ids(one, self._stop)
        return RowName(self._row[place], name, recording.name)

    def _enter_faults(self) -> None:
        errors: dict[int, Exception] = {at: one.error for at, one in enumerate(self._failed)}
        self._reader.faults.enter(len(self._row), errors, lambda at: self._failed[at].name)

    def _rows(self, facts: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        fields = self._reader.decoding.fields
        kept = [{k: v for k, v in row.items() if k not in _REPLACED} for row in facts]
        return [{**row, **fields(clip)} for row, clip in zip(kept, self._clips, strict=True)]

    def _samples(self, facts: list[Mapping[str, Any]]) -> list[Any]:
        """As Dataloader++ has them: ``(waveform (1, samples), sample_rate, metadata)``."""
        rate, convert = self._reader.decoding.sample_rate, self._reader.convert
        pairs = zip(self._clips, facts, strict=True)
        return [(convert(clip.array[None]), rate, dict(row)) for clip, row in pairs]


@dataclass(frozen=True)
class Run:
    """The batches of a process from a place in an epoch on.

    Attributes:
        reader: What they have in common.
        epoch: Theirs.
        start: Batches of the epoch, over all processes, that come before.
        steps: How many the process takes; None for epoch after epoch.
        rank: The number of the process.
        world_size: How many take turns.
    """

    reader: Reader
    epoch: int
    start: int
    steps: int | None
    rank: int
    world_size: int

    def __call__(self, stop: threading.Event) -> Iterator[ReadBatch]:
        """Each of them, to be read."""
        plan, place = self.reader.plan, (self.rank, self.world_size, self.start)
        for step in count() if self.steps is None else range(self.steps):
            found = plan.batch(self.epoch, step, *place)
            # The step's, which is the same for all processes.
            first = plan.state(self.epoch, self.start + step * self.world_size)
            number = first.consumed // self.world_size
            rows = found.source.tolist(), found.row.tolist()
            yield ReadBatch(self.reader, Planned(*rows, first.epoch, number), stop)


def _named(column: str, value: Any, recording: Recording) -> Any:
    """A value of a row; where it is a recording, which may be its bytes, what it is called."""
    is_recording = column in COLUMNS["audio"] and not isinstance(value, str | None)
    return recording.name if is_recording else value


def _tried(ask: Callable[[], Given], stop: threading.Event) -> Given:
    """What is asked for, after new tries where bytes could not be read."""
    for delay in _DELAYS:
        try:
            return ask()
        except OSError:
            if stop.wait(delay):
                raise
    return ask()
