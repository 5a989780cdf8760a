"""What the collator raises."""

from __future__ import annotations

from ossicle.errors import AudioError, CollatorError, TooManyFaultsError

__all__ = [
    "ClipTooLongError",
    "ClipTooShortError",
    "CollatorError",
    "EmptyBatchError",
    "NoLabelError",
    "RowError",
    "SampleRateMismatchError",
    "TextTooLongError",
    "TooManyFaultsError",
]


class EmptyBatchError(CollatorError):
    """The collator was called with no rows."""


class RowError(CollatorError):
    """A row lacks a key, or holds something in it that cannot be used."""


class TextTooLongError(CollatorError):
    """A row has more tokens than ``max_length`` or the model's decoder takes."""


class NoLabelError(CollatorError):
    """Nothing of a row is a response, so that with ``loss_on="response"`` nothing is learned."""


class SampleRateMismatchError(AudioError, CollatorError):
    """A clip's native rate is not the collator's, and ``auto_resample`` is off."""


class ClipTooShortError(AudioError, CollatorError):
    """A clip has no samples, or too few for the model to make one token of them."""


class ClipTooLongError(AudioError, CollatorError):
    """A clip is longer than ``max_length_seconds``, or than what its processor takes."""
