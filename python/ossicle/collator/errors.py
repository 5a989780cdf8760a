"""What the collator raises."""

from __future__ import annotations

from ossicle.errors import AudioError

__all__ = [
    "ClipTooShortError",
    "CollatorError",
    "EmptyBatchError",
    "NoLabelError",
    "RowError",
    "SampleRateMismatchError",
    "TextTooLongError",
    "TooManyFaultsError",
]


class CollatorError(ValueError):
    """A batch could not be made of these rows.

    Attributes:
        row: The row's place in its batch, from 0; None where no single row is at fault.
    """

    row: int | None = None

    def __init__(self, message: str, *, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class EmptyBatchError(CollatorError):
    """The collator was called with no rows."""


class RowError(CollatorError):
    """A row lacks a key, or holds something in it that cannot be used."""


class TextTooLongError(CollatorError):
    """Of ``max_length`` tokens, a row's audio leaves none for its text, or none to learn from."""


class NoLabelError(CollatorError):
    """Nothing of a row is a response, so that with ``loss_on="response"`` nothing is learned."""


class TooManyFaultsError(CollatorError):
    """More rows are bad than ``max_bad_share`` allows, or all of one batch."""


class SampleRateMismatchError(AudioError, CollatorError):
    """A clip's native rate is not the collator's, and ``auto_resample`` is off."""


class ClipTooShortError(AudioError, CollatorError):
    """A clip has no samples, or too few for the model to make one token of them."""
