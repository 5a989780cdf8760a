"""Rows as utterances: what is said, and the recording, or the segment of one, in which it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ossicle.audio import ShardMember
from ossicle.data.errors import ManifestError
from ossicle.data.read import read
from ossicle.data.recordings import Recording
from ossicle.data.rows import Rows, SpeechRow
from ossicle.errors import AudioError

__all__ = ["Utterance", "Utterances", "utterances_of"]


@dataclass(frozen=True, slots=True)
class Utterance:
    """A text and the recording of it.

    Attributes:
        row: Its place in the source, from 0; rows at fault count.
        text: What is said.
        recording: With its segment; None of a text without sound.
        id: What the source calls it, where it does.
        line: Its line, from 1, where the source has lines.
    """

    row: int
    text: str
    recording: Recording | None = None
    id: str | None = None
    line: int | None = None

    @property
    def file(self) -> str | None:
        """The file of the recording: of a member that of its shard."""
        if self.recording is None:
            return None
        source = self.recording.source
        return str(source.shard) if isinstance(source, ShardMember) else self.recording.name

    @property
    def name(self) -> str:
        """How ledgers and errors call it."""
        return self.id or self.file or f"the text {self.text[:40]!r}"


class Utterances:
    """The rows that are utterances; what is wrong with each of the others is kept.

    Args:
        rows: Of any source.
        with_texts: Whether texts without sound are utterances.

    Attributes:
        rows: As they came.
        faults: Of reading the rows, and of rows that are no utterances, in the order of the source.

    Raises:
        ManifestError: There are no rows, or none is an utterance.
    """

    def __init__(self, rows: Rows, *, with_texts: bool = False) -> None:
        self.rows = rows
        reasons = _reasons(rows, with_texts=with_texts)
        self._places = [place for place, reason in enumerate(reasons) if reason is None]
        wrong = [
            ManifestError(reason, source=rows.source, row=rows[place].number, line=rows[place].line)
            for place, reason in enumerate(reasons)
            if reason is not None
        ]
        self.faults = sorted([*rows.faults, *wrong], key=lambda fault: fault.row or 0)
        if not self._places:
            raise self.faults[0] if self.faults else ManifestError("no rows", source=rows.source)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Utterance | ManifestError:
        """One of them, or what is wrong with its recording where only a look at it can tell."""
        row = self.row(index)
        try:
            recordings = row.recordings
        except AudioError as error:
            return ManifestError(str(error), source=self.rows.source, row=row.number, line=row.line)
        recording = recordings[0] if recordings else None
        return Utterance(row.number, row["text"], recording, row["id"], row.line)

    def in_order(self) -> list[Utterance | ManifestError]:
        """All of them, and what is wrong with the other rows, in the order of the source."""
        rows = [*(self[index] for index in range(len(self))), *self.faults]
        return sorted(rows, key=lambda one: one.row or 0)

    def row(self, index: int) -> SpeechRow:
        """The whole row of one."""
        return self.rows[self._places[index]]

    def texts(self) -> list[str]:
        """The text of each."""
        return self.rows.frame["text"].gather(self._places).to_list()

    def count(self) -> str:
        """A line for people: rows, utterances, faults with their reasons."""
        return self.rows.count(self.faults)

    @property
    def sha256(self) -> str:
        """64 hex digits over names of files (their folders may move), segments and texts."""
        names = ("audio", "text", "offset", "duration", "channel")
        digest = hashlib.sha256()
        for audio, text, *segment in self.rows.frame.select(names)[self._places].iter_rows():
            # Of whole files as it was before there were segments, so that runs resume; a duration
            # without an offset is most often that of the whole.
            part = segment if segment[0] is not None or segment[2] is not None else []
            digest.update(json.dumps([_file_name(audio), text, *part]).encode() + b"\n")
        return digest.hexdigest()


def utterances_of(source: Any) -> list[Utterance]:
    """All utterances of whatever `ossicle.data.read` reads.

    Raises:
        ManifestError: A row is none.
    """
    found = Utterances(read(source)).in_order()
    for one in found:
        if isinstance(one, ManifestError):
            raise one
    return [one for one in found if isinstance(one, Utterance)]


def _reasons(rows: Rows, *, with_texts: bool) -> list[str | None]:
    """Of each row why it is no utterance, or None."""
    text, audio = rows.frame["text"], rows.frame["audio"]
    has_text = (text.str.strip_chars() != "").fill_null(value=False).to_numpy()
    is_list = hasattr(audio.dtype, "inner")
    counts = audio.list.len().fill_null(0) if is_list else audio.is_not_null().cast(int)
    sounds = counts.to_numpy()
    columns = ", ".join(
        name for name, one in rows.frame.to_dict().items() if one.null_count() < len(one)
    )
    cases = [
        (~has_text, f"no text: its columns are {columns}"),
        (sounds > 1, "several recordings: an utterance has one"),
        ((sounds == 0) & (not with_texts), "no recording: a text without sound"),
    ]
    found: list[str | None] = [None] * len(text)
    for mask, reason in cases:
        for place in np.flatnonzero(mask).tolist():
            found[place] = found[place] or reason
    return found


def _file_name(audio: Any) -> str | None:
    if isinstance(audio, Sequence) and not isinstance(audio, str):
        audio = audio[0] if audio else None
    if not isinstance(audio, dict):
        return None if audio is None else Path(audio).name
    path = audio.get("shard") or audio.get("path")
    return hashlib.sha256(audio["bytes"]).hexdigest() if path is None else Path(path).name
