"""What a row may have at most, and the errors of rows that have more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ossicle.audio.raw import RawFormat
from ossicle.collator.errors import ClipTooLongError, TextTooLongError
from ossicle.collator.sound import place_of
from ossicle.collator.types import BatchRow, Encoding, Waveform
from ossicle.data.recordings import Recording, header_of
from ossicle.errors import AudioError
from ossicle.features.mel import HOP_LENGTH

__all__ = ["Limits", "TooLong", "check_too_long"]

TooLong: TypeAlias = Literal["cut", "drop", "error"]
"""What is done about a row whose clip or text is too long."""


def check_too_long(too_long: str) -> None:
    """A ValueError unless it is one of `TooLong`."""
    if too_long not in get_args(TooLong):
        raise ValueError(f'too_long must be "cut", "drop" or "error", not {too_long!r}')


@dataclass(frozen=True)
class Limits:
    """How long clips and texts may be.

    Attributes:
        sample_rate: Of the waveforms, in Hz.
        max_length_seconds: Where clips are cut.
        hears: Seconds after which the processor hears nothing; None for no such limit.
        max_length: The most tokens that a row may have; None for any number.
        most_labels: The most that the model's decoder takes; None for any number.
        raw: How files without a header are read.
    """

    sample_rate: int
    max_length_seconds: float
    hears: float | None
    max_length: int | None
    most_labels: int | None
    raw: RawFormat | None = None

    @property
    def seconds(self) -> float:
        """Where clips end, in seconds."""
        return min(self.max_length_seconds, self.hears or self.max_length_seconds)

    @property
    def tokens(self) -> int | None:
        """Where rows end, in tokens; None for nowhere."""
        given = [most for most in (self.max_length, self.most_labels) if most is not None]
        return min(given, default=None)

    def long_clip(self, item: BatchRow) -> ClipTooLongError | None:
        """The error of a row with a recording that is longer than what is kept of it."""
        for recording, sound in zip(item.example.recordings, item.sounds, strict=True):
            seconds = self._length(recording, sound)
            if seconds > self.seconds + 0.5 / self.sample_rate:
                error = ClipTooLongError(
                    f"the clip is {seconds:.6g} s long, and {self._what()}",
                    **place_of(recording),
                )
                error.add_note(f"in row {item.example.index} of the batch")
                return error
        return None

    def long_texts(self, items: Sequence[BatchRow], encoding: Encoding) -> dict[int, Exception]:
        """The errors of rows with more tokens than fit, by their places."""
        if self.tokens is None:
            return {}
        what = "labels" if encoding.is_labels else "tokens, its audio's among them"
        fit = "max_length" if self.tokens == self.max_length else "the model's decoder"
        counts = encoding.text["attention_mask"].sum(dim=1).tolist()
        return {
            place: TextTooLongError(
                f"{item.example.name}: the row has {count} {what}, and {fit} takes {self.tokens}",
                row=item.example.index,
            )
            for place, (item, count) in enumerate(zip(items, counts, strict=True))
            if count > self.tokens
        }

    def _length(self, recording: Recording, sound: Waveform) -> float:
        """In seconds; of a clip that was cut where decoding ends, that of the whole one."""
        samples = len(sound) if sound.ndim == 1 else (sound.shape[1] - 2) * HOP_LENGTH
        length = samples / self.sample_rate
        most = min(self.max_length_seconds, self.hears or length)
        if length < most - 0.5 / self.sample_rate:
            return length
        try:
            header = header_of(recording, self.raw)
        except AudioError:
            return length
        frames = recording.segment.frames(header.frames, header.sample_rate)
        return frames / header.sample_rate

    def _what(self) -> str:
        if self.hears is not None and self.hears < self.max_length_seconds:
            return f"the processor hears {self.hears:g} s of it"
        return f"max_length_seconds is {self.max_length_seconds:g}"
