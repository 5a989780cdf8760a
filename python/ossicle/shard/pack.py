"""A manifest and its recordings to shards, as they are or as 16-bit FLAC."""

from __future__ import annotations

import datetime
import decimal
import glob
import json
import os
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ossicle.audio import encode, info, load
from ossicle.audio.arguments import thread_count
from ossicle.audio.resampling import check_rate
from ossicle.data.errors import ManifestError
from ossicle.data.manifests import count_rows, manifest_path, unreadable
from ossicle.errors import (
    AudioError,
    AudioIOError,
    InvalidArgumentError,
    check_on_error,
)
from ossicle.outputs import refuse_same_file
from ossicle.shard.tasks import PackError, Task, invalid, tasks_of
from ossicle.shard.writer import ShardWriter, WrittenShard, json_bytes

if TYPE_CHECKING:
    from ossicle.audio import FloatArray

__all__ = ["PackError", "PackResult", "pack"]

# Encoded recordings that wait for their turn, for each thread.
_AHEAD = 2
_STEP = 32_768.0
_FIELD = re.compile(r"%(0\d+)?d")


class PackResult(NamedTuple):
    """What has become of a manifest: ``samples + len(errors)`` are its rows.

    Attributes:
        shards: Those written.
        samples: Rows that are in them.
        bytes: Of the shards' files.
        seconds: Of sound.
        clipped: Samples of the sound beyond full scale, which were clipped; 0 without
            ``transcode``.
        errors: Rows that are not in them, in the order of the manifest.
        errors_path: Where they are listed as JSON lines, or None where there are none.
    """

    shards: list[WrittenShard]
    samples: int
    bytes: int
    seconds: float
    clipped: int
    errors: list[PackError]
    errors_path: Path | None


class _Sample(NamedTuple):
    """A row's sample, its members as bytes."""

    task: Task
    members: dict[str, bytes]
    seconds: float
    clipped: int


def pack(
    manifest: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    max_bytes: int | None = None,
    max_samples: int | None = None,
    transcode: Literal["flac"] | None = None,
    sample_rate: int = 16_000,
    audio: str | None = None,
    key: str | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_error: Literal["collect", "raise"] = "collect",
    index: bool = True,
    overwrite: bool = False,
) -> PackResult:
    """Packs the recordings of a manifest into shards, in its order.

    Each row becomes a sample: the recording under its extension, and the whole row under ``json``,
    so that the path and the key as they were can be found again. The key is the row's, or the stem
    of the recording's name; dots and slashes in it become ``_``, and what has come before gets
    ``-2``, ``-3`` and so on. The same manifest and recordings give the same bytes, whatever
    ``threads`` is.

    Without ``transcode`` a recording's bytes go in unchanged, once its headers have been read. With
    ``"flac"`` it is decoded, mixed to mono, resampled and rounded to 16 bits.

    A row whose recording or values are no good is left out, listed in the result and in
    ``<out>.errors.jsonl``. What cannot be written ends the work.

    Args:
        manifest: ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet``, or a folder with a
            ``manifest.jsonl``; paths in it are relative to its folder.
        out: A shard, or a pattern for many, as for `ShardWriter`, like the limits.
        max_bytes: Of a shard's file.
        max_samples: Of a shard.
        transcode: ``"flac"`` or None.
        sample_rate: In Hz, of what is transcoded.
        audio: The column of the recordings; None takes the first of ``wav``, ``audio_path``,
            ``audio``, ``path`` and ``audio_filepath`` that has a value.
        key: The column of the keys; None takes the first of ``key``, ``id``, ``__key__``,
            ``wav_id`` and ``utt_id`` that has a value, if any.
        threads: Threads that read and encode; None takes one for each processor that this process
            may use.
        progress: Called with the rows that are done and their number, after each.
        on_error: ``"collect"``, or ``"raise"`` the first row's error; the shard that is not whole
            is then discarded.
        index: As for `ShardWriter`.
        overwrite: As for `ShardWriter`.

    Raises:
        AudioIOError: The manifest cannot be read, a shard cannot be written, or there is one.
        InvalidArgumentError: An argument is invalid, no column holds recordings, or a file that
            would be written is the manifest or a recording of it.
        AudioError: With ``on_error="raise"``, of the first row that is no good.
    """
    manifest = manifest_path(os.fspath(manifest))
    if transcode not in (None, "flac"):
        raise InvalidArgumentError(f'transcode must be "flac" or None, not {transcode!r}')
    check_on_error(on_error, "collect", "raise")
    rate = check_rate(sample_rate, "sample_rate") if transcode else None
    count = thread_count(threads)
    with _as_invalid_argument():
        total = count_rows(manifest)
    writer = ShardWriter(
        out, max_bytes=max_bytes, max_samples=max_samples, index=index, overwrite=overwrite
    )
    list_path = Path(f"{writer.path}.errors.jsonl")
    with _as_invalid_argument():
        inputs = _inputs(manifest, tasks_of(manifest, audio, key))
        refuse_same_file([*_existing(writer.path), list_path], inputs)
    errors = _ErrorList(list_path)
    samples, seconds, clipped = 0, 0.0, 0
    tasks = tasks_of(manifest, audio, key)
    in_order = _in_order(tasks, lambda task: _sample(task, rate), count)
    with writer, errors, _as_invalid_argument(), closing(in_order) as results:
        for done, result in enumerate(results, 1):
            written = _write(writer, result)
            if isinstance(written, _Sample):
                samples += 1
                seconds += written.seconds
                clipped += written.clipped
            elif on_error == "raise":
                raise written.error
            else:
                errors.add(written)
            if progress:
                progress(done, total)
    size = sum(shard.bytes for shard in writer.shards)
    return PackResult(writer.shards, samples, size, seconds, clipped, errors.all, errors.path)


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


def _inputs(manifest: Path, tasks: Iterable[Task | PackError]) -> Iterator[Path]:
    yield manifest
    for task in tasks:
        if isinstance(task, Task):
            yield task.path


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


def _in_order(
    tasks: Iterable[Task | PackError],
    work: Callable[[Task], _Sample | PackError],
    threads: int,
) -> Generator[_Sample | PackError]:
    """Works on several threads, not too far ahead of what is taken."""
    waiting: deque[PackError | Future[_Sample | PackError]] = deque()

    def first() -> _Sample | PackError:
        one = waiting.popleft()
        return one.result() if isinstance(one, Future) else one

    pool = ThreadPoolExecutor(threads, thread_name_prefix="ossicle-pack")
    try:
        for task in tasks:
            waiting.append(pool.submit(work, task) if isinstance(task, Task) else task)
            if len(waiting) > threads * _AHEAD:
                yield first()
        while waiting:
            yield first()
    finally:
        pool.shutdown(cancel_futures=True)


def _sample(task: Task, rate: int | None) -> _Sample | PackError:
    """Reads a row's recording, or decodes and encodes it at a rate."""
    try:
        row = json_bytes(task.row, default=_plain)
        extension, data, seconds, clipped = (
            _as_it_is(task.path) if rate is None else _transcode(task.path, rate)
        )
    except AudioError as error:
        return task.failed(error)
    except (TypeError, ValueError) as error:
        why = f"the row cannot be written as JSON: {error}"
        return task.failed(InvalidArgumentError(why, source=str(task.path)))
    return _Sample(task, {extension: data, "json": row}, seconds, clipped)


def _write(writer: ShardWriter, result: _Sample | PackError) -> _Sample | PackError:
    if isinstance(result, PackError):
        return result
    try:
        writer.write({"__key__": result.task.key, **result.members})
    except InvalidArgumentError as error:
        return result.task.failed(error)
    return result


def _as_it_is(path: Path) -> tuple[str, bytes, float, int]:
    extension = path.suffix[1:].lower()
    if extension in ("", "json"):
        why = (
            f"a recording with the extension {extension!r} cannot be a member of a sample: "
            "transcode it"
        )
        raise InvalidArgumentError(why, source=str(path))
    data = _read(path)
    try:
        facts = info(data)
    except AudioError as error:
        error.source = str(path)
        raise
    return extension, data, facts.duration, 0


def _read(path: Path) -> bytes:
    try:
        # Not of a pipe, whose opening would wait for a writer.
        if path.exists() and not path.is_file():
            raise AudioIOError("not a regular file", source=str(path))
        return path.read_bytes()
    except AudioIOError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error


def _transcode(path: Path, rate: int) -> tuple[str, bytes, float, int]:
    waveform, _ = load(path, rate, verify=True)
    data = encode(waveform, rate, "flac")
    return "flac", data, len(waveform) / rate, _count_clipped(waveform)


def _count_clipped(waveform: FloatArray) -> int:
    """Samples that 16 bits have no step for."""
    if not len(waveform) or (waveform.max() < 1.0 - 1.0 / _STEP and waveform.min() >= -1.0):
        return 0
    steps = np.rint(waveform.astype(np.float64) * _STEP)
    return int(np.count_nonzero((steps > _STEP - 1) | (steps < -_STEP)))


def _plain(value: Any) -> Any:
    """Parquet's types in JSON's: times in ISO 8601, decimals as text, durations in seconds."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    raise TypeError(f"a value of type {type(value).__name__}")
