"""The names that columns have in people's data: one table, for everything that reads rows."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

__all__ = ["COLUMNS", "CUT_FROM", "SCHEMA", "column_of", "is_cut", "names_of", "value_of"]

SCHEMA: Final[tuple[str, ...]] = (
    "id",
    "audio",
    "offset",
    "duration",
    "channel",
    "sample_rate",
    "text",
    "messages",
    "language",
    "speaker",
    "split",
    "sha256",
)
"""The columns that `ossicle.data.read` gives of everything, in their order."""

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "audio": (
        "audio",
        "wav",
        "audio_path",
        "path",
        "audio_filepath",
        "audio_file",
        "audios",
        "file_name",
        "filename",
        "file",
        "wav_path",
        "wav_filename",
    ),
    "id": ("id", "key", "__key__", "wav_id", "utt_id", "utterance_id", "utt", "segment_id", "sid"),
    "wav_id": ("wav_id", "uid", "file_id"),
    "text": (
        "text",
        "sentence",
        "transcription",
        "transcript",
        "normalized_text",
        "raw_transcription",
        "raw_text",
        "txt",
    ),
    "messages": ("messages",),
    "offset": ("offset", "start", "begin", "onset", "start_time", "begin_time"),
    "end": ("end", "end_time"),
    "duration": ("duration", "dur", "duration_seconds"),
    "channel": ("channel", "audio_channel"),
    "sample_rate": ("sample_rate", "sr", "sampling_rate"),
    "language": ("language", "lang", "locale"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk", "spk_id"),
    "split": ("split", "subset"),
    "sha256": ("sha256", "audio_blob_sha", "audio_sha256"),
}
"""By what a column means, the names that it may have; the first that has a value counts.

The first is the schema's own. ``audio`` is the recording, or several of them; ``id`` what the row
is called; ``wav_id`` the recording that a clip is of; ``offset``, ``end`` and ``duration`` the
segment of the recording, in seconds (an ``end`` becomes a duration); ``sha256`` the digest of the
recording's file.
"""

CUT_FROM: Final[tuple[str, ...]] = ("begin_time", "start_time", "end_time")
"""Names under which corpora of cut clips keep where a clip was in its original recording.

GigaSpeech, AMI and Multilingual LibriSpeech have them in `datasets`. They are facts where `is_cut`
says that the recording of the row is the clip alone, and a segment elsewhere.
"""

_ORIGINALS = ("original_full_path", "original_path")
_INSIDE = ("bytes", "array", "shard")


def is_cut(row: Mapping[str, Any], recordings: Iterable[Any]) -> bool:
    """Whether a row's recording is a clip that was cut out already, so that `CUT_FROM` are facts.

    It is where the row names its original beside (``original_full_path``, ``original_path``), or
    holds the recording itself instead of a path: bytes, an array, an audio dict of `datasets` (also
    one whose ``bytes`` are null), a member of a shard.

    Args:
        row: Values by column.
        recordings: Those of the row.
    """
    if any(row.get(name) is not None for name in _ORIGINALS):
        return True
    return any(_is_inside(one) for one in recordings)


def _is_inside(recording: Any) -> bool:
    if isinstance(recording, Mapping):
        return any(key in recording for key in _INSIDE)
    return not isinstance(recording, str | os.PathLike)


def column_of(
    meaning: str, row: Mapping[str, Any], name: str | None = None, without: Collection[str] = ()
) -> str | None:
    """The column of a row that has a meaning.

    Args:
        meaning: A key of `COLUMNS`.
        row: Values by column.
        name: The one that is meant; None looks in the table.
        without: Names of the table that mean something else in this row.

    Returns:
        The first name that has a value, else the first that is there, else None.
    """
    names = COLUMNS[meaning] if name is None else (name,)
    if without:
        names = tuple(one for one in names if one not in without)
    for one in names:
        if row.get(one) is not None:
            return one
    return next((one for one in names if one in row), None)


def value_of(meaning: str, row: Mapping[str, Any], name: str | None = None) -> Any:
    """The value of that column; None where there is none."""
    column = column_of(meaning, row, name)
    return None if column is None else row[column]


def names_of(meaning: str, name: str | None = None) -> str:
    """For messages: the names that were looked for."""
    return " or ".join(map(repr, COLUMNS[meaning] if name is None else (name,)))
