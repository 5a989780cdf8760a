"""Errors: one root for each subject, one child for each kind of fault.

- `AudioError`: recordings, shards and caches, and arguments that make no sense. Each says where it
  happened, so that one line of a log is enough to find the file again.
- `CollatorError`: rows that no batch can be made of.
- `ossicle.data.DataError`: rows and manifests, metadata and samples of a dataset.
- `ModelLoadError`: checkpoints that no model can be loaded from.
- `ossicle.extract.ExtractError`: extracted features that do not fit.
- `TrainingError`: configurations and checkpoints of a run, and runs that cannot go on.
"""

from __future__ import annotations

from typing import Any


class AudioError(Exception):
    """A clip could not be turned into samples.

    Attributes:
        reason: What was wrong, without where.
        source: The file as the caller named it, or ``<bytes>``, or the file object's name.
        member: The member of a shard, where the source is one.
        byte_offset: Where in the source, in bytes from its start; of a member, in the shard.
        sample_index: Which frame of the decoded signal, where the fault is a sample.
    """

    def __init__(
        self,
        reason: str,
        *,
        source: str | None = None,
        member: str | None = None,
        byte_offset: int | None = None,
        sample_index: int | None = None,
    ) -> None:
        # Not super().__init__: OSError among the bases would parse positional arguments.
        Exception.__init__(self, reason)
        self.reason = reason
        self.source = source
        self.member = member
        self.byte_offset = byte_offset
        self.sample_index = sample_index

    def __str__(self) -> str:
        place = self.source or ""
        if self.member is not None:
            place += f" [{self.member}]"
        at = f" (byte {self.byte_offset})" if self.byte_offset is not None else ""
        return f"{place}: {self.reason}{at}" if place else f"{self.reason}{at}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders in data loaders: keep every field, not only the message.
        return type(self), (self.reason,), self.__dict__.copy()


class AudioIOError(AudioError, OSError):
    """The bytes could not be read; ``errno`` is the operating system's number where known."""


class AudioFileNotFoundError(AudioIOError, FileNotFoundError):
    """There is no such file."""


class UnsupportedFormatError(AudioError, ValueError):
    """A container, codec or profile that ossicle does not decode; the message names it."""


class DecodeError(AudioError, ValueError):
    """The decoder refused the data."""


class CorruptAudioError(DecodeError):
    """The file's structure is broken: empty, truncated, wrong lengths, failed checksums."""


class DecodersDisagreeError(AudioError):
    """Two decoders make different samples, the first at ``sample_index`` (``decoder="both"``)."""


class NonFiniteSampleError(DecodeError):
    """A decoded sample is NaN or infinite; ``sample_index`` tells which."""


class AudioLimitError(AudioError, ValueError):
    """Memory cannot hold the clip, or reading it does not come to an end."""


class InvalidArgumentError(AudioError, ValueError):
    """An argument is invalid: a rate of 0, a negative offset, an unknown quality."""


class InvalidKeyError(InvalidArgumentError):
    """A cache key has an invalid digest or number; no path was touched."""


class CollatorError(ValueError):
    """A batch could not be made of these rows.

    Attributes:
        row: The row's place in its batch, from 0; None where no single row is at fault.
    """

    row: int | None = None

    def __init__(self, message: str, *, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


class TooManyFaultsError(CollatorError):
    """More rows are bad than ``max_bad_share`` allows, or all of one batch."""


class ModelLoadError(RuntimeError):
    """A checkpoint is missing or damaged, or holds another kind of model."""


class TrainingError(RuntimeError):
    """A run cannot begin or go on: the message says what is wrong."""


def one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    """``value``, if it is one of the words that ``name`` may be.

    Raises:
        InvalidArgumentError: It is another one, or no text.
    """
    for word in known:
        if value == word:
            return word
    *others, last = (f'"{word}"' for word in known)
    raise InvalidArgumentError(f"{name} must be {', '.join(others)} or {last}, not {value!r}")


def check_on_error(value: str, *known: str) -> None:
    """Refuses a value of ``on_error`` that is none of ``known``.

    The words mean the same in the whole package: ``"raise"`` the first error; ``"collect"`` errors
    beside the results; ``"skip"`` bad rows, which are entered in a ledger; ``"replace"`` them by
    good ones; ``"conceal"`` damage by silence, and list the gaps.

    Raises:
        InvalidArgumentError: It is another word.
    """
    one_of("on_error", value, known)
