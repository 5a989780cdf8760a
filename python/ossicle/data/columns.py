"""The names that columns have in people's data: one table, for everything that reads rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["COLUMNS", "column_of", "names_of", "value_of"]

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "audio": ("wav", "audio_path", "audio", "path", "audio_filepath"),
    "id": ("key", "id", "__key__", "wav_id", "utt_id"),
    "wav_id": ("wav_id", "uid", "file_id"),
    "text": ("text",),
    "messages": ("messages",),
    "sample_rate": ("sr",),
    "sha256": ("audio_blob_sha",),
}
"""By what a column means, the names that it may have, the first that has a value counts.

``audio`` is the recording, or several of them; ``id`` what the row is called; ``wav_id`` the
recording that a clip is of; ``sha256`` the digest of the recording's file.
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
