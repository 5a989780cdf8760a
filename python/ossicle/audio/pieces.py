"""Long recordings, read in pieces: each is the slice of the whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy.typing as npt

from ossicle.audio.arguments import check_channel
from ossicle.audio.decoders import DecoderName
from ossicle.audio.keywords import names_keywords
from ossicle.audio.raw import RawFormat
from ossicle.audio.reading import AudioSource, info, load
from ossicle.audio.records import AudioInfo
from ossicle.audio.resampling import Quality, check_rate
from ossicle.audio.sample_types import SampleType
from ossicle.errors import AudioIOError, InvalidArgumentError

__all__ = ["AudioDecoder", "blocks"]

_SECONDS_AHEAD: Final = 60.0
"""Decoded at once at least: a range of MP3 costs a pass over the headers before it, and one of any
codec its preroll, which short pieces would each pay."""


class AudioDecoder:
    """A recording that is opened once and read in pieces.

    ::

        with ossicle.AudioDecoder("long.mp3", 16_000) as decoder:
            decoder.seek(3_600 * decoder.sample_rate)
            minute = decoder.read(60 * decoder.sample_rate)

    What is read are slices of what `ossicle.load` gives of the whole. A minute or more is decoded
    at once and kept. A file that changes meanwhile is an `AudioIOError`.

    Args:
        source: As for `load`; a file object is read from where it stands now.
        sample_rate: As for `load`, like the other arguments.
        mono: Take the mean of the channels.
        channel: The channel to take instead of the mean, from 0.
        quality: How well to resample.
        strict: Make each remark an error.
        raw: How ``source`` is stored, where it has no header.
        decoder: ``"native"``, ``"symphonia"`` or ``"both"``.
        dtype: Of the samples.

    Attributes:
        info: Facts of the recording.
        sample_rate: Of the samples that are read, in Hz.

    Raises:
        AudioError: As for `info`.
    """

    def __init__(
        self,
        source: AudioSource,
        sample_rate: int | None = None,
        *,
        mono: bool = True,
        channel: int | None = None,
        quality: Quality = "high",
        strict: bool = False,
        raw: RawFormat | None = None,
        decoder: DecoderName = "native",
        dtype: SampleType = "float32",
    ) -> None:
        self._source: AudioSource | None = source
        tell = getattr(source, "tell", None)
        self._place: int | None = None if tell is None else tell()
        self._identity = self._identify()
        self.info: AudioInfo = info(self._rewound(), raw=raw, decoder=decoder)
        rate = self.info.sample_rate if sample_rate is None else sample_rate
        self.sample_rate = check_rate(rate, "sample_rate")
        self._how: dict[str, Any] = {"mono": mono, "quality": quality, "strict": strict}
        self._how |= {"raw": raw, "decoder": decoder, "dtype": dtype}
        self._how["channel"] = check_channel(channel, mono=mono)
        self._position = 0
        # What is decoded, its first sample, and whether the recording ends with it.
        self._ahead = self._load(0, 0)
        self._start, self._is_last = 0, False

    def tell(self) -> int:
        """The sample that is read next."""
        return self._position

    def seek(self, sample: int) -> int:
        """Goes to a sample, counted from the beginning; beyond the end there is nothing to read.

        Raises:
            InvalidArgumentError: It is negative.
        """
        if sample < 0:
            raise InvalidArgumentError(f"a sample must be 0 or more, not {sample}")
        self._position = int(sample)
        return self._position

    def read(self, samples: int = -1) -> npt.NDArray[Any]:
        """The next samples, ``(samples,)`` or ``(channels, samples)``; fewer at the end.

        Args:
            samples: How many; -1 for all that follow.

        Raises:
            AudioError: As for `load`; the decoder stays where it was.
        """
        if samples < 0:
            rest = self._load(self._position, None)
        else:
            first = self._position - self._start
            if first < 0 or (first + samples > self._ahead.shape[-1] and not self._is_last):
                self._decode(samples)
                first = 0
            rest = self._ahead[..., first : first + samples].copy()
        self._position += rest.shape[-1]
        return rest

    def blocks(self, seconds: float, *, overlap: float = 0.0) -> Iterator[npt.NDArray[Any]]:
        """Pieces from here to the end, as `ossicle.blocks` gives them.

        Raises:
            InvalidArgumentError: ``seconds`` is less than a sample, or ``overlap`` not less than
                ``seconds``.
        """
        size, step = round(seconds * self.sample_rate), round(overlap * self.sample_rate)
        step = size - step
        if size < 1 or not 1 <= step <= size:
            text = "seconds must be at least a sample, and overlap from 0 to less than seconds"
            raise InvalidArgumentError(f"{text}, not {seconds} and {overlap}")
        return self._blocks(size, step)

    def close(self) -> None:
        """Lets go of the source; a file object stays open."""
        self._source = None
        self._ahead = self._ahead[..., :0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _blocks(self, size: int, step: int) -> Iterator[npt.NDArray[Any]]:
        start = self._position
        repeated = 0  # samples that a piece has in common with the one before it
        while True:
            self.seek(start)
            piece = self.read(size)
            if piece.shape[-1] > repeated:
                yield piece
            if piece.shape[-1] < size:
                return
            start, repeated = start + step, size - step

    def _decode(self, samples: int) -> None:
        wanted = max(samples, round(_SECONDS_AHEAD * self.sample_rate))
        self._ahead = self._load(self._position, wanted)
        self._start, self._is_last = self._position, self._ahead.shape[-1] < wanted

    def _load(self, start: int, count: int | None) -> npt.NDArray[Any]:
        rate = self.sample_rate
        duration = None if count is None else count / rate
        source = self._rewound()
        if self._identify() != self._identity:
            raise AudioIOError("the file has changed since it was opened", source=str(source))
        return load(source, rate, offset=start / rate, duration=duration, **self._how)[0]

    def _rewound(self) -> AudioSource:
        if self._source is None:
            raise InvalidArgumentError("the decoder is closed")
        if self._place is not None:
            self._source.seek(self._place, 0)  # type: ignore[union-attr]
        return self._source

    def _identify(self) -> tuple[int, ...] | None:
        """What tells the file at a path from another one there later."""
        if not isinstance(self._source, str | os.PathLike):
            return None
        try:
            facts = Path(self._source).stat()
        except OSError:
            return None  # opening it says why
        return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


@names_keywords
def blocks(
    source: AudioSource,
    *,
    seconds: float,
    overlap: float = 0.0,
    sample_rate: int | None = None,
    mono: bool = True,
    channel: int | None = None,
    quality: Quality = "high",
    strict: bool = False,
    raw: RawFormat | None = None,
    decoder: DecoderName = "native",
    dtype: SampleType = "float32",
) -> Iterator[npt.NDArray[Any]]:
    """The pieces of a long recording, one after the other; each is the slice of the whole.

    At most a minute, or a piece, is in memory.

    Args:
        source: As for `load`.
        seconds: Of a piece; the last one may be shorter.
        overlap: How much of a piece, in seconds, the next one repeats.
        sample_rate: As for `load`, like the other arguments.
        mono: Take the mean of the channels.
        channel: The channel to take instead of the mean, from 0.
        quality: How well to resample.
        strict: Make each remark an error.
        raw: How ``source`` is stored, where it has no header.
        decoder: ``"native"``, ``"symphonia"`` or ``"both"``.
        dtype: Of the samples.

    Returns:
        An iterator of ``(samples,)`` or ``(channels, samples)``.

    Raises:
        AudioError: As for `load`, at once for what the headers tell, else with the piece.
        InvalidArgumentError: ``seconds`` or ``overlap`` makes no sense.
    """
    opened = AudioDecoder(
        source,
        sample_rate,
        mono=mono,
        channel=channel,
        quality=quality,
        strict=strict,
        raw=raw,
        decoder=decoder,
        dtype=dtype,
    )
    return opened.blocks(seconds, overlap=overlap)
