"""The names that columns have in people's data: one table, for everything that reads rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["COLUMNS", "SCHEMA", "column_of", "names_of", "value_of"]

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
        "wav",
        "audio_path",
        "audio",
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
    "id": ("key", "id", "__key__", "wav_id", "utt_id", "utterance_id", "utt", "segment_id", "sid"),
    "wav_id": ("wav_id", "uid", "file_id"),
    "text": (
        "text",
        "sentence",
        "transcription",
        "transcript",
        "normalized_text",
        "raw_transcription",
        "raw_text",
    ),
    "messages": ("messages",),
    "offset": ("offset", "start", "begin", "onset", "start_time", "begin_time"),
    "end": ("end", "end_time"),
    "duration": ("duration", "dur", "duration_seconds"),
    "channel": ("channel", "audio_channel"),
    "sample_rate": ("sr", "sample_rate", "sampling_rate"),
    "language": ("language", "lang", "locale"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk", "spk_id"),
    "split": ("split", "subset"),
    "sha256": ("audio_blob_sha", "sha256", "audio_sha256"),
}
"""By what a column means, the names that it may have, the first that has a value counts.

``audio`` is the recording, or several of them; ``id`` what the row is called; ``wav_id`` the
recording that a clip is of; ``offset``, ``end`` and ``duration`` the segment of the recording, in
seconds (an ``end`` becomes a duration); ``sha256`` the digest of the recording's file.
"""


def column_of(meaning: str, row: Mapping[str, Any], name: str | None = None) -> str | None:
    """The column of a row that has a meaning.

    Args:
        meaning: A key of `COLUMNS`.
        row: Values by column.
        name: The one that is meant; None looks in the table.

    Returns:
        The first name that has a value, else the first that is there, else None.
    """
    names = COLUMNS[meaning] if name is None else (name,)
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
