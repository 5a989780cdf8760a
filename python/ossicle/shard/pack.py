"""Rows and their recordings to shards: as they are, their segments cut out, or as 16-bit FLAC."""

from __future__ import annotations

import datetime
import decimal
import glob
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from ossicle.audio.arguments import thread_count
from ossicle.audio.resampling import check_rate
from ossicle.data.errors import ManifestError
from ossicle.data.members import SEGMENT
from ossicle.data.read import source_of_rows
from ossicle.data.recordings import header_of, part_of
from ossicle.data.segments import Segment
from ossicle.errors import (
    AudioError,
    AudioIOError,
    InvalidArgumentError,
    check_on_error,
)
from ossicle.faults import count_line
from ossicle.outputs import refuse_same_file
from ossicle.pooled import in_order
from ossicle.shard.sounds import EncodedSound, as_flac, as_it_is, cut_out
from ossicle.shard.tasks import PackError, Task, census_of, invalid, tasks_of
from ossicle.shard.writer import ShardWriter, WrittenShard, json_bytes

__all__ = ["PackError", "PackResult", "pack"]

_FIELD = re.compile(r"%(0\d+)?d")


class PackResult(NamedTuple):
    """What has become of a source's rows: ``samples + len(errors)`` are all.

    Attributes:
        shards: Those written.
        samples: Rows that are in them.
        bytes: Of the shards' files.
        seconds: Of sound, that of the segments where rows are segments.
        clipped: Samples of the sound beyond full scale, which were clipped; 0 of what was not
            encoded anew.
        errors: Rows that are not in them, in the order of the source.
        errors_path: Where they are listed as JSON lines, or None where there are none.
        recordings: Recordings in the shards; fewer than rows where they are kept once.
    """

    shards: list[WrittenShard]
    samples: int
    bytes: int
    seconds: float
    clipped: int
    errors: list[PackError]
    errors_path: Path | None
    recordings: int

    def summary(self) -> str:
        """A line for people: rows, samples, and faults with their reasons."""
        reasons = Counter(_kind(failed.error) for failed in self.errors)
        rows = self.samples + len(self.errors)
        return count_line(rows, dict(reasons.most_common()), "samples")


def _kind(error: AudioError) -> str:
    """The reason without what differs from row to row."""
    reason = re.sub(r"^row \d+( has|: )", "", error.reason)
    return reason.partition(": ")[0].partition("; ")[0].strip()


class _Packed(NamedTuple):
    """A row that is ready to be written."""

    task: Task
    sound: Callable[[], EncodedSound]
    json: bytes
    seconds: float


class _Kept(NamedTuple):
    """A row whose recording is kept once: what it is of it, and how to have that."""

    task: Task
    part: Segment | None
    sound: Callable[[], EncodedSound]
    seconds: float


Result = _Packed | _Kept | PackError


def pack(
    source: Any,
    out: str | os.PathLike[str],
    *,
    max_bytes: int | None = None,
    max_samples: int | None = None,
    transcode: Literal["flac"] | None = None,
    sample_rate: int = 16_000,
    segments: Literal["cut", "keep"] = "cut",
    audio: str | None = None,
    key: str | None = None,
    columns: Mapping[str, str] | None = None,
    root: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_error: Literal["collect", "raise"] = "collect",
    index: bool = True,
    overwrite: bool = False,
) -> PackResult:
    """Packs rows and their recordings into shards, in the order of the rows.

    Each row becomes a sample: the recording under its extension, and the whole row, by the names of
    its source, under ``json``, so that the path and the key as they were can be found again. The
    key is the row's, or the stem of the recording's name; dots and slashes in it become ``_``, and
    what has come before gets ``-2``, ``-3`` and so on. The same rows and recordings give the same
    bytes, whatever ``threads`` is.

    Without ``transcode`` a recording's bytes go in unchanged, once its headers have been read. With
    ``"flac"`` it is decoded, mixed to mono, resampled and rounded to 16 bits.

    Of a row that is a segment of its recording (``offset``, ``duration`` or ``end``, ``channel``),

    - ``segments="cut"`` packs the sound of the segment alone. Without ``transcode`` it is encoded
      at its own rate and with all its channels, or the one that is meant: as FLAC of 16 or 24
      bits, which loses nothing of integers of that many bits or fewer; as WAV of float32 where
      samples are floats or have 32 bits. What a lossy codec gives is rounded to 16 bits. The
      columns that say the segment are under ``cut_from`` in the JSON.
    - ``segments="keep"`` packs the recording once a shard, beside the first of its rows; all of
      them have ``segment`` in their JSON: ``offset``, ``duration``, ``channel``, and the
      ``member`` that they point to, which `Shard`, `ossicle.data.read`, `WebDatasetLoader` and
      `ossicle.audio_lengths` follow. Shards end where a recording begins, so that limits are
      exceeded by the rows of the last. With ``transcode`` a recording keeps its channels where a
      row says one.

    A segment that is all of its recording is none, and goes in as other recordings do.

    A row whose recording or values are no good is left out, listed in the result and in
    ``<out>.errors.jsonl``. What cannot be written ends the work.

    Args:
        source: Whatever `ossicle.data.read` reads: a manifest, a folder, shards, a frame, rows.
            Recordings are in files, in the rows as bytes, or in shards.
        out: A shard, or a pattern for many, as for `ShardWriter`, like the limits.
        max_bytes: Of a shard's file.
        max_samples: Of a shard.
        transcode: ``"flac"`` or None.
        sample_rate: In Hz, of what is transcoded.
        segments: ``"cut"`` or ``"keep"``.
        audio: The column of the recordings; None takes the first of `ossicle.data.COLUMNS` that has
            a value.
        key: The column of the keys; None likewise, if any has one.
        columns: Names of columns by what they mean, as for `ossicle.data.read`; ``audio`` and
            ``key`` are short for ``{"audio": ..., "id": ...}``.
        root: The folder that paths are relative to; None takes the source's.
        threads: Threads that read and encode; None takes one for each processor that this process
            may use.
        progress: Called with the rows that are done and their number, after each.
        on_error: ``"collect"``, or ``"raise"`` the first row's error; the shard that is not whole
            is then discarded.
        index: As for `ShardWriter`.
        overwrite: As for `ShardWriter`.

    Raises:
        AudioIOError: The source cannot be read, a shard cannot be written, or there is one.
        InvalidArgumentError: An argument is invalid, no column holds recordings, or a file that
            would be written is the manifest or a recording of it.
        AudioError: With ``on_error="raise"``, of the first row that is no good.
    """
    if transcode not in (None, "flac"):
        raise InvalidArgumentError(f'transcode must be "flac" or None, not {transcode!r}')
    if segments not in ("cut", "keep"):
        raise InvalidArgumentError(f'segments must be "cut" or "keep", not {segments!r}')
    check_on_error(on_error, "collect", "raise")
    rate = check_rate(sample_rate, "sample_rate") if transcode else None
    count = thread_count(threads)
    told = dict(columns or {})
    told |= {name: one for name, one in (("audio", audio), ("id", key)) if one is not None}
    source = list(source) if isinstance(source, Iterator) else source
    with _as_invalid_argument():
        rows = source_of_rows(source, root=root, columns=told)
        census = census_of(rows, told)
    writer = ShardWriter(
        out, max_bytes=max_bytes, max_samples=max_samples, index=index, overwrite=overwrite
    )
    list_path = Path(f"{writer.path}.errors.jsonl")
    inputs = [rows.name] if isinstance(source, str | os.PathLike) else []
    refuse_same_file([*_existing(writer.path), list_path], [*inputs, *census.files])
    errors = _ErrorList(list_path)
    store = _Store(writer)
    tasks = tasks_of(rows, told)
    is_kept = segments == "keep"
    groups = _groups(tasks) if is_kept else (_Group([one]) for one in tasks)
    work = _kept if is_kept else _cut
    ready = in_order(lambda group: work(group, rate), groups, count, "ossicle-pack")
    done = 0
    with writer, errors, _as_invalid_argument(), closing(ready) as results:
        for result in (one for group in results for one in group):
            written = store.write(result)
            if written is not None:
                if on_error == "raise":
                    raise written.error
                errors.add(written)
            done += 1
            if progress:
                progress(done, census.rows)
    size = sum(shard.bytes for shard in writer.shards)
    return PackResult(
        shards=writer.shards,
        samples=store.samples,
        bytes=size,
        seconds=store.seconds,
        clipped=store.clipped,
        errors=errors.all,
        errors_path=errors.path,
        recordings=store.recordings,
    )


@contextmanager
def _as_invalid_argument() -> Iterator[None]:
    """A manifest that cannot be used is an argument that makes no sense."""
    try:
        yield
    except ManifestError as error:
        raise invalid(error) from error


def _existing(pattern: str) -> list[Path]:
    """The files that a shard may replace."""
    path = Path(pattern)
    name = _FIELD.sub("*", glob.escape(path.name))
    return [*path.parent.glob(name), *path.parent.glob(f"{name}.index.parquet")]


class _ErrorList:
    """Rows left out; a file lists them as they come, so that they are known however it ends."""

    def __init__(self, path: Path) -> None:
        self.all: list[PackError] = []
        self._path = path
        self._file: IO[str] | None = None
        # Of a run before.
        path.unlink(missing_ok=True)

    @property
    def path(self) -> Path | None:
        return self._path if self.all else None

    def add(self, failed: PackError) -> None:
        self.all.append(failed)
        error = failed.error
        facts = {
            "row": failed.row,
            "audio": failed.audio,
            "error": type(error).__name__,
            "reason": error.reason,
            "byte_offset": error.byte_offset,
            "sample_index": error.sample_index,
        }
        # ASCII: names that are no text can be told too.
        self._write(f"{json.dumps(facts)}\n")

    def _write(self, line: str) -> None:
        try:
            self._file = self._file or self._path.open("w", encoding="utf-8", buffering=1)
            self._file.write(line)
        except OSError as error:
            why = f"cannot write the list of errors: {error.strerror}"
            raise AudioIOError(why, source=str(self._path)) from error

    def __enter__(self) -> _ErrorList:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


class _Store:
    """Writes rows, each recording that is kept once a shard, and counts."""

    def __init__(self, writer: ShardWriter) -> None:
        self._writer = writer
        self._held: dict[Any, str] = {}
        self._whole = 0
        self.samples = self.recordings = self.clipped = 0
        self.seconds = 0.0

    def write(self, result: Result) -> PackError | None:
        """What is wrong with the row, if anything is.

        Raises:
            AudioIOError: The shard cannot be written.
        """
        if isinstance(result, PackError):
            return result
        task, place = result.task, result.task.place
        is_held = isinstance(result, _Kept) and place in self._held
        try:
            sound = None if is_held else result.sound()
            json = self._json(result, is_held)
        except AudioError as error:
            return task.failed(error)
        recording = {} if sound is None else {sound.extension: sound.data}
        try:
            sample = {"__key__": task.key, **recording, "json": json}
            self._writer.write(sample, same_shard=is_held)
        except InvalidArgumentError as error:
            return task.failed(error)
        if sound is not None:
            self._count(sound)
            if isinstance(result, _Kept) and place is not None:
                self._held[place] = f"{task.key}.{sound.extension}"
        self.samples += 1
        self.seconds += result.seconds
        return None

    def _json(self, result: _Packed | _Kept, is_held: bool) -> bytes:
        if isinstance(result, _Packed):
            return result.json
        task, part = result.task, result.part
        if part is None and not is_held:
            return _json_of(task, task.row)
        said = _segment(part, self._held[task.place] if is_held else None)
        return _json_of(task, task.row | {SEGMENT: said})

    def _count(self, sound: EncodedSound) -> None:
        self.recordings += 1
        self.clipped += sound.clipped
        whole = len(self._writer.shards)
        if whole != self._whole:
            # It is in the next shard, where nothing else is.
            self._whole, self._held = whole, {}


def _segment(part: Segment | None, member: str | None) -> dict[str, Any]:
    """What the JSON says of a segment."""
    segment = part or Segment()
    said = {"member": member, **segment.said, "offset": segment.offset}
    return {name: value for name, value in said.items() if value is not None}


class _Group(NamedTuple):
    """Neighbouring rows of one recording, with the faults among them.

    Attributes:
        tasks: Theirs.
        is_first: Whether no row before had this recording.
    """

    tasks: list[Task | PackError]
    is_first: bool = True


def _groups(tasks: Iterable[Task | PackError]) -> Iterator[_Group]:
    seen: set[Any] = set()
    group: list[Task | PackError] = []
    last = None
    for task in tasks:
        if isinstance(task, Task):
            is_same = last is not None and task.place is not None and task.place == last.place
            if last is not None and not is_same:
                yield _Group(group, last.place not in seen)
                seen |= {last.place} - {None}
                group = []
            last = task
        group.append(task)
    if group:
        yield _Group(group, last is None or last.place not in seen)


def _cut(group: _Group, rate: int | None) -> list[Result]:
    """Rows with the sound that they mean alone."""
    return [_attempt(task, lambda task: _cut_one(task, rate)) for task in group.tasks]


def _cut_one(task: Task, rate: int | None) -> _Packed:
    part = part_of(task.recording)
    row = task.row
    if part is not None:
        row = {name: value for name, value in row.items() if name not in task.parts}
        row["cut_from"] = {name: task.row[name] for name in sorted(task.parts)}
    json = _json_of(task, row)
    if rate is not None:
        sound = as_flac(task.recording, part, rate)
    else:
        sound = as_it_is(task.recording) if part is None else cut_out(task.recording, part)
    return _Packed(task, lambda: sound, json, sound.frames / sound.sample_rate)


def _kept(group: _Group, rate: int | None) -> list[Result]:
    """Rows of one recording, which is read or encoded once."""
    tasks = [task for task in group.tasks if isinstance(task, Task)]
    mono = all(task.recording.segment.channel is None for task in tasks)
    once = _Once(lambda task: _whole(task, rate, mono=mono))
    return [_attempt(task, lambda task: _kept_one(task, once, group)) for task in group.tasks]


def _kept_one(task: Task, once: _Once, group: _Group) -> _Kept:
    part = part_of(task.recording)
    if group.is_first:  # else it is in the shard most of the time
        once(task)
    header = header_of(task.recording)
    frames = task.recording.segment.frames(header.frames, header.sample_rate)
    return _Kept(task, part, lambda: once(task), frames / header.sample_rate)


def _whole(task: Task, rate: int | None, *, mono: bool) -> EncodedSound:
    if rate is None:
        return as_it_is(task.recording)
    return as_flac(task.recording, None, rate, mono=mono)


class _Once:
    """What a function gives at its first call, or raises at each."""

    def __init__(self, make: Callable[[Task], EncodedSound]) -> None:
        self._make = make
        self._made: EncodedSound | AudioError | None = None

    def __call__(self, task: Task) -> EncodedSound:
        if self._made is None:
            try:
                self._made = self._make(task)
            except AudioError as error:
                self._made = error
        if isinstance(self._made, AudioError):
            raise self._made
        return self._made


def _attempt(task: Task | PackError, work: Callable[[Task], Result]) -> Result:
    if isinstance(task, PackError):
        return task
    try:
        return work(task)
    except AudioError as error:
        return task.failed(error)


def _json_of(task: Task, row: dict[str, Any]) -> bytes:
    try:
        return json_bytes(row, default=_plain)
    except (TypeError, ValueError) as error:
        why = f"the row cannot be written as JSON: {error}"
        raise InvalidArgumentError(why, source=task.recording.name) from error


def _plain(value: Any) -> Any:
    """Parquet's types in JSON's: times in ISO 8601, decimals as text, durations in seconds."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__}")
