"""What an entry is looked up by: digests and numbers that make its file's name."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from ossicle.audio.decoders import DecoderName
from ossicle.audio.raw import RawFormat
from ossicle.audio.resampling import Engine, Quality
from ossicle.errors import InvalidArgumentError, InvalidKeyError, one_of

__all__ = ["AudioCacheKey", "Dtype", "WaveformCacheKey"]

Dtype: TypeAlias = Literal["float32", "float16"]
"""What the elements of an entry are stored as."""

# From a 32-bit checksum to SHA-512. The file name holds 12 digits of the processor's.
_BLOB_DIGEST = re.compile(r"[0-9a-f]{8,128}\Z")
_PROCESSOR_DIGEST = re.compile(r"[0-9a-f]{12,128}\Z")
_PROCESSOR_DIGITS = 12
# Above every sense, and short enough for any file name.
_LARGEST = 2**53

_WORDS: dict[str, tuple[str, ...]] = {
    "quality": get_args(Quality),
    "dtype": get_args(Dtype),
    "decoder": get_args(DecoderName),
    "engine": get_args(Engine),
}


def _word(name: str, value: object, known: tuple[str, ...]) -> None:
    try:
        one_of(name, value, known)
    except InvalidArgumentError as error:
        raise InvalidKeyError(error.reason) from None


def _digest(name: str, value: object, pattern: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not pattern.match(value):
        shown = repr(value)[:80]
        raise InvalidKeyError(f"{name} must be lowercase hex digits ({pattern.pattern}): {shown}")


def _count(name: str, value: object, smallest: int) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if isinstance(value, bool) or not smallest <= number <= _LARGEST:
        raise InvalidKeyError(f"{name} must be a whole number from {smallest}: {str(value)[:80]}")
    return number


@dataclass(frozen=True)
class WaveformCacheKey:
    """Which waveform: the mono samples of one file at one rate, cut at one length.

    Attributes:
        blob_sha: Digest of the file's bytes, 8 to 128 lowercase hex digits.
        sample_rate: Rate of the waveform in Hz.
        max_length_ms: Where the waveform is cut, in milliseconds.
        auto_resample: Whether a file of another rate was resampled.
        quality: How, as for `resample`; it counts where ``auto_resample`` is set.
        dtype: What is stored and comes back: ``"float32"``, or ``"float16"``, which takes half the
            room and rounds what is put.
        decoder: Which decoder made the samples, as for `ossicle.load`.
        engine: Which resampler did, as for `ossicle.resample`; it counts where ``auto_resample``
            is set.
        offset_samples: Where the segment begins that the waveform is, in samples at
            ``sample_rate``; None where no segment was said, or its duration alone.
        segment_samples: How long the segment was said to be, likewise; None reaches to the end.
        channel: The channel that was taken; None for the mean of all.
        raw: How the file was read where it has no header.

    Raises:
        InvalidKeyError: A ValueError, for anything that could not be such a key.
    """

    blob_sha: str
    sample_rate: int
    max_length_ms: int
    auto_resample: bool = False
    quality: Quality = "high"
    dtype: Dtype = "float32"
    decoder: DecoderName = "native"
    engine: Engine = "native"
    offset_samples: int | None = None
    segment_samples: int | None = None
    channel: int | None = None
    raw: RawFormat | None = None

    def __post_init__(self) -> None:
        _digest("blob_sha", self.blob_sha, _BLOB_DIGEST)
        # Plain ints: a NumPy integer would be another text in a file name one day.
        object.__setattr__(self, "sample_rate", _count("sample_rate", self.sample_rate, 1))
        object.__setattr__(self, "max_length_ms", _count("max_length_ms", self.max_length_ms, 0))
        for name in ("offset_samples", "segment_samples", "channel"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _count(name, value, 0))
        if not isinstance(self.auto_resample, bool):
            raise InvalidKeyError(f"auto_resample must be a bool: {self.auto_resample!r}")
        for name, known in _WORDS.items():
            _word(name, getattr(self, name), known)

    def as_filename(self) -> str:
        """``<blob_sha>.<rate>.<ms>[.rs[.<quality>][.<engine>]][.<decoder>][.f16].wav.npz``.

        What is the default is not named: ``high``, and ``native`` twice. Of a segment
        ``.o<offset>``, ``.n<samples>`` and ``.c<channel>`` come before ``.wav``, as far as they
        were said, and ``.raw.<codec>.<rate>.<channels>.<offset>`` of a file without a header.
        """
        return f"{self.blob_sha}.{self._limits()}.wav.npz"

    def shard(self) -> str:
        """The folder under the root: the first two digits of ``blob_sha``."""
        return self.blob_sha[:2]

    def _limits(self) -> str:
        how = "".join(
            f".{word}"
            for word, default in ((self.quality, "high"), (self.engine, "native"))
            if word != default
        )
        resampled = f".rs{how}" if self.auto_resample else ""
        decoder = "" if self.decoder == "native" else f".{self.decoder}"
        half = ".f16" if self.dtype == "float16" else ""
        part = self._part()
        return f"{self.sample_rate}.{self.max_length_ms}{resampled}{decoder}{half}{part}"

    def _part(self) -> str:
        """Of a segment, and of a file without a header; nothing for whole files with one."""
        said = (("o", self.offset_samples), ("n", self.segment_samples), ("c", self.channel))
        part = "".join(f".{letter}{value}" for letter, value in said if value is not None)
        raw = self.raw
        if raw is None:
            return part
        codec = raw.codec.replace("_", ".")
        return f"{part}.raw.{codec}.{raw.sample_rate}.{raw.channels}.{raw.offset_bytes}"

    def identity(self) -> str:
        """What an entry echoes: the whole key."""
        return self.as_filename()


@dataclass(frozen=True)
class AudioCacheKey:
    """Which features: what one processor makes of one file at one rate, cut at one length.

    Attributes:
        blob_sha: Digest of the file's bytes, 8 to 128 lowercase hex digits.
        processor_sha: `processor_sha256`, or another digest of 12 to 128 lowercase hex digits. The
            file name holds its first 12; the entry echoes all.
        sample_rate: Rate of the waveform in Hz.
        max_length_ms: Where the waveform is cut, in milliseconds.
        auto_resample: Whether a file of another rate was resampled.
        quality: How, as for `resample`; it counts where ``auto_resample`` is set.
        dtype: What is stored and comes back: ``"float32"``, or ``"float16"``, which takes half the
            room and rounds what is put.
        decoder: Which decoder made the samples, as for `ossicle.load`.
        engine: Which resampler did, as for `ossicle.resample`; it counts where ``auto_resample``
            is set.
        offset_samples: Where the segment begins that the waveform is, in samples at
            ``sample_rate``; None where no segment was said, or its duration alone.
        segment_samples: How long the segment was said to be, likewise; None reaches to the end.
        channel: The channel that was taken; None for the mean of all.
        raw: How the file was read where it has no header.

    Raises:
        InvalidKeyError: A ValueError, for anything that could not be such a key.
    """

    blob_sha: str
    processor_sha: str
    sample_rate: int
    max_length_ms: int
    auto_resample: bool = False
    quality: Quality = "high"
    dtype: Dtype = "float32"
    decoder: DecoderName = "native"
    engine: Engine = "native"
    offset_samples: int | None = None
    segment_samples: int | None = None
    channel: int | None = None
    raw: RawFormat | None = None

    def __post_init__(self) -> None:
        _digest("processor_sha", self.processor_sha, _PROCESSOR_DIGEST)
        plain = self._waveform()
        object.__setattr__(self, "sample_rate", plain.sample_rate)
        object.__setattr__(self, "max_length_ms", plain.max_length_ms)

    def as_filename(self) -> str:
        """``<blob_sha>.<processor_sha[:12]>.`` and on as `WaveformCacheKey`'s, without ``.wav``."""
        return self._name(self.processor_sha[:_PROCESSOR_DIGITS])

    def shard(self) -> str:
        """The folder under the root: the first two digits of ``blob_sha``."""
        return self.blob_sha[:2]

    def identity(self) -> str:
        """What an entry echoes: the whole key, with the whole digest of the processor."""
        return self._name(self.processor_sha)

    def _name(self, processor: str) -> str:
        return f"{self.blob_sha}.{processor}.{self._waveform()._limits()}.npz"

    def _waveform(self) -> WaveformCacheKey:
        limits = (self.sample_rate, self.max_length_ms, self.auto_resample, self.quality)
        part = (self.offset_samples, self.segment_samples, self.channel, self.raw)
        return WaveformCacheKey(
            self.blob_sha, *limits, self.dtype, self.decoder, self.engine, *part
        )
