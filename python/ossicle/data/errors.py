"""What can be wrong with rows, manifests, metadata and samples; each error says where."""

from __future__ import annotations

from typing import Any

__all__ = ["DataError", "ManifestError", "MetadataError", "MissingStageError", "SampleError"]


class DataError(ValueError):
    """The base of the errors about what is known of recordings.

    Attributes:
        reason: What is wrong, without where.
        source: The file, folder or manifest that is meant, where there is one.
        row: The row of it that is meant, from 0; blank lines do not count.
        line: The line that the row stands on, from 1, where it does on one.
        wav_id: The recording or clip that is meant, where it is one.
        column: The column or field that is meant, where it is one.
    """

    def __init__(
        self,
        reason: str,
        *,
        source: str | None = None,
        row: int | None = None,
        line: int | None = None,
        wav_id: str | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason, self.source, self.row, self.line = reason, source, row, line
        self.wav_id, self.column = wav_id, column

    def __str__(self) -> str:
        line = "" if self.line is None else f" (line {self.line})"
        parts = (
            self.source,
            None if self.row is None else f"row {self.row}{line}",
            None if self.wav_id is None else f"wav_id {self.wav_id!r}",
            None if self.column is None else f"column {self.column!r}",
        )
        place = ", ".join(part for part in parts if part)
        return f"{place}: {self.reason}" if place else self.reason

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders in data loaders: keep every field, not only the message.
        return type(self), (self.reason,), self.__dict__.copy()


class ManifestError(DataError):
    """A manifest or a row of it cannot be used: it lacks a column, repeats an id, does not fit."""


class MissingStageError(ManifestError):
    """A stage of the pipeline has left no output where it was asked for."""


class MetadataError(DataError, LookupError):
    """A recording has no metadata, or it cannot be read."""


class SampleError(DataError):
    """A sample does not fit: into a batch, a transform, a model."""
