"""The rows of manifests, and the order that steps take them in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ossicle.errors import TrainingError
from ossicle.shard.manifest import AUDIO_COLUMNS, Task, tasks_of

__all__ = ["Clip", "ManifestError", "epoch_rows", "manifest_sha256", "read_manifest", "rows_of"]

SAMPLE_RATE = 16_000


class ManifestError(TrainingError, ValueError):
    """A manifest, or one row of it, cannot be used.

    Attributes:
        path: The manifest.
        row: The line, from 1; None where the whole file is meant.
        reason: What is wrong with it.
    """

    def __init__(self, path: Path, row: int | None, reason: str) -> None:
        super().__init__(f"{path}, row {row}: {reason}" if row else f"{path}: {reason}")
        self.path, self.row, self.reason = path, row, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.row, self.reason)


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of a manifest.

    Attributes:
        path: The audio file.
        text: What is said in it.
        row: The line of the manifest, from 1.
        wav_id: What the manifest calls it, where it does.
    """

    path: Path
    text: str
    row: int
    wav_id: str | None = None

    @property
    def name(self) -> str:
        """How ledgers and errors call it."""
        return str(self.path) if self.wav_id is None else self.wav_id


def read_manifest(path: Path | str) -> list[Clip]:
    """Reads JSON lines with ``wav`` or ``audio_path``, ``text`` and optionally ``sr``.

    Args:
        path: The manifest, or a folder with a ``manifest.jsonl``; audio paths are relative to its
            folder. Empty lines do not count.

    Returns:
        The rows in order.

    Raises:
        ManifestError: If a row is no JSON object, lacks its audio or its text, or has an ``sr``
            that is no rate, or if there are no rows; it names the file and the row.
        FileNotFoundError: If there is no such manifest.
    """
    clips = []
    for row in rows_of(path):
        if isinstance(row, ManifestError):
            raise row
        clips.append(row)
    return clips


def rows_of(
    path: Path | str, *, audio: str | None = None, text: str | None = None
) -> Iterator[Clip | ManifestError]:
    """The rows of a manifest of JSON lines or Parquet, each as a clip or as what is wrong with it.

    Args:
        path: The manifest, as for `read_manifest`; ``.parquet`` is read with Polars.
        audio: The column of the audio paths; by default the first of ``wav``, ``audio_path``,
            ``path``, ``audio`` and ``audio_filepath`` that there is.
        text: The column of the texts, by default ``text``.

    Raises:
        ManifestError: If there are no rows, or no row of a Parquet file has such columns.
        FileNotFoundError: If there is no such manifest.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "manifest.jsonl"
    read = _of_parquet if path.suffix == ".parquet" else _of_json_lines
    is_empty = True
    for row in read(path, audio, text or "text"):
        is_empty = False
        yield row
    if is_empty:
        raise ManifestError(path, None, "the manifest has no rows")


def _of_parquet(path: Path, audio: str | None, text: str) -> Iterator[Clip | ManifestError]:
    for number, task in enumerate(tasks_of(path, audio, None), start=1):
        if not isinstance(task, Task):
            yield ManifestError(path, number, task.error.reason)
            continue
        words = task.row.get(text)
        if not isinstance(words, str) or not words:
            yield ManifestError(path, number, f"no `{text}`")
            continue
        name = task.row.get("wav_id")
        yield Clip(task.path, words, number, None if name is None else str(name))


def _of_json_lines(path: Path, audio: str | None, text: str) -> Iterator[Clip | ManifestError]:
    with path.open("rb") as file:
        for row, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield _read_row(path, row, line, audio, text)
                except ManifestError as error:
                    yield error


def _read_row(path: Path, row: int, line: bytes, column: str | None, text: str) -> Clip:
    try:
        fields = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # of JSON, and of UTF-8
        raise ManifestError(path, row, f"no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ManifestError(path, row, f"no JSON object but {type(fields).__name__}")
    keys = AUDIO_COLUMNS if column is None else (column,)
    audio = next((fields[key] for key in keys if key in fields), None)
    if not isinstance(audio, str) or not audio:
        wanted = "`wav` or `audio_path`" if column is None else f"`{column}`"
        raise ManifestError(path, row, f"no audio: it needs {wanted}")
    words = fields.get(text)
    if not isinstance(words, str) or not words:
        raise ManifestError(path, row, f"no `{text}`")
    rate = fields.get("sr", SAMPLE_RATE)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0:
        raise ManifestError(path, row, f"`sr` {rate!r} is no sample rate")
    name = fields.get("wav_id")
    return Clip(path.parent / audio, words, row, None if name is None else str(name))


def manifest_sha256(clips: Sequence[Clip]) -> str:
    """64 hex digits over the rows: file names (their folders may move) and texts, in order."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(json.dumps([clip.path.name, clip.text]).encode() + b"\n")
    return digest.hexdigest()


def epoch_rows(count: int, batch_size: int, seed: int, step: int) -> list[int]:
    """The rows of one step: a function of the seed and the step alone, so any step can be redone.

    Args:
        count: Rows of the manifest.
        batch_size: Rows of a step; ``count`` and more takes every row, in order, in every step.
        seed: Of the order.
        step: From 0. Each epoch is a permutation of its own; batches run across their borders.

    Returns:
        ``min(batch_size, count)`` row indices.
    """
    if batch_size >= count:
        return list(range(count))
    places = range(step * batch_size, (step + 1) * batch_size)
    first, last = places[0] // count, places[-1] // count
    orders = {e: np.random.default_rng([seed, e]).permutation(count) for e in {first, last}}
    return [int(orders[place // count][place % count]) for place in places]
