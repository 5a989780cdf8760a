"""Rows of audio and texts into one batch for a Hugging Face audio-language model.

The rows of a data set stay small: a path, a text and, where a cache is to be used, the hash of the
file. Sound exists only inside the call that makes a batch of it.
"""

from __future__ import annotations

from ossicle.collator.collator import AudioLmCollator
from ossicle.collator.errors import (
    ClipTooLongError,
    ClipTooShortError,
    CollatorError,
    EmptyBatchError,
    NoLabelError,
    RowError,
    SampleRateMismatchError,
    TextTooLongError,
    TooManyFaultsError,
)
from ossicle.collator.families import FAMILIES
from ossicle.collator.preflight import preflight
from ossicle.collator.types import Family
from ossicle.faults import Fault, read_ledger

__all__ = [
    "FAMILIES",
    "AudioLmCollator",
    "ClipTooLongError",
    "ClipTooShortError",
    "CollatorError",
    "EmptyBatchError",
    "Family",
    "Fault",
    "NoLabelError",
    "RowError",
    "SampleRateMismatchError",
    "TextTooLongError",
    "TooManyFaultsError",
    "preflight",
    "read_ledger",
]
