"""The rows of manifests that have a recording and what is said in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossicle.data.columns import COLUMNS, column_of
from ossicle.data.errors import ManifestError
from ossicle.data.read import source_of_rows
from ossicle.data.sources import SourceRow

__all__ = ["Clip", "clips_of", "manifest_sha256", "read_manifest"]


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording and its text.

    Attributes:
        path: The audio file.
        text: What is said in it.
        row: The row of the manifest, from 0; blank lines do not count.
        id: What the manifest calls it, where it does.
        line: The line of the manifest, from 1, where it has lines.
    """

    path: Path
    text: str
    row: int
    id: str | None = None
    line: int | None = None

    @property
    def name(self) -> str:
        """How ledgers and errors call it."""
        return str(self.path) if self.id is None else self.id


def read_manifest(path: Path | str) -> list[Clip]:
    """Reads a manifest whose rows have a recording (``wav``, ``audio_path``, ...) and a ``text``.

    Args:
        path: JSON lines, CSV, TSV or Parquet, or a folder with a ``manifest.jsonl``; audio paths
            are relative to its folder. Empty lines do not count.

    Returns:
        The rows in order.

    Raises:
        ManifestError: If a row cannot be parsed, lacks its audio or its text, or has an ``sr``
            that is no rate, or if there are no rows; it names the file and the row.
        FileNotFoundError: If there is no such manifest.
    """
    clips = []
    for row in clips_of(path):
        if isinstance(row, ManifestError):
            raise row
        clips.append(row)
    return clips


def clips_of(
    path: Path | str, *, audio: str | None = None, text: str | None = None
) -> Iterator[Clip | ManifestError]:
    """The rows of a manifest, each as a clip or as what is wrong with it.

    Args:
        path: The manifest, as for `read_manifest`.
        audio: The column of the audio paths; by default the first of ``wav``, ``audio_path``,
            ``audio``, ``path`` and ``audio_filepath`` that has a value.
        text: The column of the texts, by default ``text``.

    Raises:
        ManifestError: If there are no rows.
        FileNotFoundError: If there is no such manifest.
    """
    told = {name: one for name, one in (("audio", audio), ("text", text)) if one is not None}
    source = source_of_rows(Path(path), columns=told)
    is_empty = True
    for row in source.rows(as_they_came=True):
        is_empty = False
        yield row if isinstance(row, ManifestError) else _clip(source.name, row, text)
    if is_empty:
        raise ManifestError("the manifest has no rows", source=source.name)


def _clip(manifest: str, row: SourceRow, text: str | None) -> Clip | ManifestError:
    def wrong(why: str) -> ManifestError:
        return ManifestError(why, source=manifest, row=row.number, line=row.line)

    audio, words = row.known["audio"], row.known["text"]
    if not isinstance(audio, str):
        return wrong("it has no recording in a file of its own")
    if not isinstance(words, str) or not words:
        return wrong(f"no `{text or COLUMNS['text'][0]}`")
    rate = column_of("sample_rate", row.fields)
    if rate is not None and not _is_rate(row.fields[rate]):
        return wrong(f"`{rate}` {row.fields[rate]!r} is not a sample rate")
    return Clip(Path(audio), words, row.number, row.known["id"], row.line)


def _is_rate(value: Any) -> bool:
    """Of CSV numbers are text; that nothing is said is no fault."""
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return float(value) > 0
    except ValueError:
        return False


def manifest_sha256(clips: Sequence[Clip]) -> str:
    """64 hex digits over the rows: file names (their folders may move) and texts, in order."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(json.dumps([clip.path.name, clip.text]).encode() + b"\n")
    return digest.hexdigest()
