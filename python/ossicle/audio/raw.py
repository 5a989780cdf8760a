"""Samples without a header: the caller says what a header would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ossicle import _native
from ossicle.audio.resampling import check_rate
from ossicle.errors import InvalidArgumentError

__all__ = ["RawFormat", "raw_arguments"]

RawArguments: TypeAlias = "tuple[str, int, int, int]"

_SYNTAX = "CODEC:RATE[:CHANNELS[:OFFSET]]"


@dataclass(frozen=True, slots=True)
class RawFormat:
    """How a recording without a header is stored.

    ``ossicle.load("call.ulaw", raw=RawFormat("pcm_mulaw", 8000))`` reads the whole file as samples,
    whatever it begins with. A part of a frame at its end is a remark (`AudioInfo.remarks`).

    Attributes:
        codec: By FFmpeg's name: ``pcm_u8``, ``pcm_s8``; ``pcm_s16le``, ``pcm_s16be`` and so for
            ``s24``, ``s32``, ``f32`` and ``f64``; ``pcm_alaw``, ``pcm_mulaw`` (G.711); ``gsm`` (GSM
            06.10 in frames of 33 bytes).
        sample_rate: Frames per second, in Hz.
        channels: Channels, whose samples are interleaved.
        offset_bytes: Where the samples begin: the length of a header of a kind that is not read.

    Raises:
        InvalidArgumentError: A field is invalid.
    """

    codec: str
    sample_rate: int
    channels: int = 1
    offset_bytes: int = 0

    def __post_init__(self) -> None:
        if self.codec not in _native.RAW_CODECS:
            known = ", ".join(_native.RAW_CODECS)
            raise InvalidArgumentError(f"codec must be one of {known}, not {self.codec!r}")
        check_rate(self.sample_rate, "sample_rate")
        _check_count(self.channels, "channels", 1, 1 if self.codec == "gsm" else 1_024)
        _check_count(self.offset_bytes, "offset_bytes", 0, 2**63 - 1)

    @classmethod
    def parse(cls, text: str) -> RawFormat:
        """The format that ``CODEC:RATE[:CHANNELS[:OFFSET]]`` says: ``pcm_s16le:8000:1``.

        Raises:
            InvalidArgumentError: The text has another form, or says something invalid.
        """
        codec, *numbers = text.split(":")
        if not 1 <= len(numbers) <= 3 or not all(number.isdecimal() for number in numbers):
            raise InvalidArgumentError(f"a raw format must be {_SYNTAX}, not {text!r}")
        return cls(codec, *map(int, numbers))


def raw_arguments(raw: RawFormat | None) -> RawArguments | None:
    """The fields of ``raw`` for the native module.

    Raises:
        InvalidArgumentError: It is something else.
    """
    if raw is None:
        return None
    if not isinstance(raw, RawFormat):
        raise InvalidArgumentError(f"raw must be an ossicle.RawFormat or None, not {raw!r}")
    return raw.codec, int(raw.sample_rate), int(raw.channels), int(raw.offset_bytes)


def _check_count(count: int, name: str, least: int, most: int) -> None:
    if isinstance(count, bool) or not least <= count <= most or int(count) != count:
        raise InvalidArgumentError(
            f"{name} must be a whole number from {least} to {most:,}, not {count!r}"
        )
