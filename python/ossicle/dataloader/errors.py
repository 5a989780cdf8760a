"""What can be wrong with manifests, metadata and samples; each error says where."""

from __future__ import annotations

from typing import Any

__all__ = ["DataloaderError", "ManifestError", "MetadataError", "MissingStageError", "SampleError"]


class DataloaderError(ValueError):
    """The base of the errors of Dataloader++.

    Attributes:
        reason: What is wrong, without where.
        source: The file, folder or manifest that is meant, where there is one.
        wav_id: The recording or clip that is meant, where it is one.
        column: The column or field that is meant, where it is one.
    """

    def __init__(
        self,
        reason: str,
        *,
        source: str | None = None,
        wav_id: str | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason, self.source, self.wav_id, self.column = reason, source, wav_id, column

    def __str__(self) -> str:
        parts = (
            self.source,
            None if self.wav_id is None else f"wav_id {self.wav_id!r}",
            None if self.column is None else f"column {self.column!r}",
        )
        place = ", ".join(part for part in parts if part)
        return f"{place}: {self.reason}" if place else self.reason

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders in data loaders: keep every field, not only the message.
        return type(self), (self.reason,), self.__dict__.copy()


class ManifestError(DataloaderError):
    """A table lacks a column, repeats a ``wav_id``, or does not fit another one."""


class MissingStageError(ManifestError):
    """A stage of the pipeline has left no output where it was asked for."""


class MetadataError(DataloaderError, LookupError):
    """A recording has no metadata, or it cannot be read."""


class SampleError(DataloaderError):
    """A sample does not fit: into a batch, a transform, a model."""
