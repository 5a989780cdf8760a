"""Files, bytes and file objects to float32 arrays.

Everything is decoded by the native module with the GIL released; nothing here needs FFmpeg.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle import _native
from ossicle.audio.arguments import check_channel, clip_segments, raise_first, thread_count
from ossicle.audio.decoders import DecoderName, check_decoder
from ossicle.audio.keywords import names_keywords
from ossicle.audio.raw import RawFormat, raw_arguments
from ossicle.audio.records import AudioBatch, AudioInfo, ConcealedClip, FloatArray, Gap
from ossicle.audio.resampling import Quality, check_quality, check_rate
from ossicle.audio.sample_types import SampleType, as_type, check_type
from ossicle.audio.sources import Opened
from ossicle.errors import InvalidArgumentError, check_on_error

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "AudioSource",
    "ShardMember",
    "info",
    "load",
    "load_batch",
    "load_concealed",
]


class OpenFile(Protocol):
    """What is needed of an ``fsspec.OpenFile``."""

    fs: Any

    def open(self) -> Any: ...


class BinaryFile(Protocol):
    """What is needed of a file object: `read(n)` and `seek(offset, whence)`."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int, /) -> int: ...


AudioSource: TypeAlias = (
    "str | os.PathLike[str] | Buffer | BinaryFile | OpenFile | _native.ShardMember"
    " | Mapping[str, Any]"
)
"""A path; bytes, bytearray, memoryview or a NumPy uint8 array (read in place, never copied, and not
to be written to meanwhile); a binary file object, read from where it stands; an
``fsspec.OpenFile``; a shard's member; an audio dict of Hugging Face ``datasets`` (``bytes``,
``path``, or ``array`` and ``sampling_rate``)."""

ShardMember = _native.ShardMember
"""A member of a shard that can be read as a file is: what `ossicle.Shard.member` gives."""


@names_keywords
def info(
    source: AudioSource, *, raw: RawFormat | None = None, decoder: DecoderName = "native"
) -> AudioInfo:
    """Reads what the headers say of ``source``.

    The length is taken from headers that can be trusted, else from a scan of the packets.

    Args:
        source: As for `load`.
        raw: As for `load`.
        decoder: As for `load`: what it does not decode is an error here too.

    Raises:
        AudioError: The child that fits, with the file, the byte and the reason.
    """
    how = (raw_arguments(raw), check_decoder(decoder))
    with Opened([source], is_raw=raw is not None) as (plain,):
        return AudioInfo(*_native.info(plain, *how))


@names_keywords
def load(
    source: AudioSource,
    sample_rate: int | None = None,
    *,
    mono: bool = True,
    offset: float = 0.0,
    duration: float | None = None,
    channel: int | None = None,
    allow_nonfinite: bool = False,
    verify: bool = False,
    on_error: Literal["raise"] = "raise",
    quality: Quality = "high",
    strict: bool = False,
    raw: RawFormat | None = None,
    decoder: DecoderName = "native",
    dtype: SampleType = "float32",
) -> tuple[npt.NDArray[Any], int]:
    """Decodes ``source``, or a range of it.

    A range equals the same slice of the whole clip, and no more than it needs is decoded. Lost or
    altered bytes are an error (`load_concealed` continues after them); where all bytes are there
    and only a header, a flag or a timestamp is wrong, all samples are decoded, and `info`
    has a remark.

    Args:
        source: A path, bytes in place, or a binary file object, of which no more is read than the
            headers and the range need; an audio dict of ``datasets``; an ``fsspec.OpenFile``.
        sample_rate: Rate of the result in Hz; None keeps the native one.
        mono: Take the mean of the channels (before resampling), else keep them all.
        offset: Where to begin, in seconds: sample ``round(offset * rate)`` of the result's rate.
            Past the end there are no samples, which is no error.
        duration: How much to take, in seconds; None takes all. Less is given where the clip ends.
        channel: The channel to take instead of the mean, from 0, in the order of WAV (below): the
            row of that number of what ``mono=False`` gives.
        allow_nonfinite: Let NaN and infinite samples through.
        verify: Decode all of the clip, whatever the range, so that damage anywhere is an error, and
            compare the checksum of the samples where the format carries one (the MD5 of FLAC).
        on_error: ``"raise"``. ``"conceal"``, deprecated, is `load_concealed`.
        quality: How well to resample, as for `resample`.
        strict: Make each remark (`AudioInfo.remarks`) the error that it would be.
        raw: How ``source`` is stored, where it has no header; None recognises it by its content.
        decoder: ``"native"``, or ``"symphonia"`` for a second opinion: the same container, trimming
            and seeking, another codec. ``"both"`` decodes with each and raises where they part.
        dtype: ``"float32"``; ``"int16"``, which is ``rint(x * 32768)``, clipped, and gives the
            samples of a 16-bit source as they are stored; or ``"float16"``, rounded to the nearest.

    Returns:
        ``(waveform, sample_rate)``: float32 in [-1, 1], or of ``dtype``; ``(samples,)`` if mono
        or one channel, else ``(channels, samples)`` in the order of WAV (FL FR FC LFE BL BR ...).

    Raises:
        DecodersDisagreeError: With ``decoder="both"``: the first sample at which they part.
        InvalidArgumentError: An argument is invalid, or the recording lacks the channel.
        AudioError: The child that fits, with the file, the byte and the reason. A clip of more than
            2**32 samples a channel, or more than memory can hold, is an `AudioLimitError`.
    """
    check_on_error(on_error, "raise", "conceal")
    conceal, kind = on_error != "raise", check_type(dtype)
    rate = None if sample_rate is None else check_rate(sample_rate, "sample_rate")
    segment = (offset, duration, check_channel(channel, mono=mono))
    arguments = (rate, mono, segment, allow_nonfinite, verify, conceal)
    how = (check_quality(quality), strict, raw_arguments(raw), check_decoder(decoder))
    with Opened([source], is_raw=raw is not None) as (plain,):
        waveform, rate, gaps = _native.load(plain, *arguments, *how)
    if conceal:
        text = 'load(on_error="conceal") is deprecated: call load_concealed'
        warnings.warn(text, DeprecationWarning, stacklevel=3)
        return ConcealedClip(waveform, rate, [Gap(*gap) for gap in gaps])  # type: ignore[return-value]
    return as_type(waveform, kind), rate


@names_keywords
def load_concealed(
    source: AudioSource,
    sample_rate: int | None = None,
    *,
    mono: bool = True,
    offset: float = 0.0,
    duration: float | None = None,
    channel: int | None = None,
    allow_nonfinite: bool = False,
    verify: bool = False,
    quality: Quality = "high",
    strict: bool = False,
    raw: RawFormat | None = None,
    decoder: DecoderName = "native",
) -> ConcealedClip:
    """Decodes ``source``, or a range of it, with silence for what damage has cost.

    Args:
        source: As for `load`, like the other arguments.
        sample_rate: In Hz.
        mono: Take the mean of the channels.
        offset: Where to begin, in seconds.
        duration: How much to take, in seconds.
        channel: The channel to take instead of the mean, from 0.
        allow_nonfinite: Let NaN and infinite samples through.
        verify: Decode all of the clip, whatever the range.
        quality: How well to resample.
        strict: Make each remark an error.
        raw: How ``source`` is stored, where it has no header.
        decoder: ``"native"`` or ``"symphonia"``; ``"both"`` does not conceal damage.

    Returns:
        ``(waveform, sample_rate, gaps)``: as `load` gives them, and each part that is missing.

    Raises:
        AudioError: As for `load`, where the source cannot be opened or gives no samples at all.
    """
    rate = None if sample_rate is None else check_rate(sample_rate, "sample_rate")
    segment = (offset, duration, check_channel(channel, mono=mono))
    arguments = (rate, mono, segment, allow_nonfinite, verify, True)
    how = (check_quality(quality), strict, raw_arguments(raw), check_decoder(decoder))
    with Opened([source], is_raw=raw is not None) as (plain,):
        waveform, rate, gaps = _native.load(plain, *arguments, *how)
    return ConcealedClip(waveform, rate, [Gap(*gap) for gap in gaps])


@names_keywords
def load_batch(
    sources: Sequence[AudioSource],
    sample_rate: int | None = 16_000,
    *,
    mono: bool = True,
    offsets: Sequence[float] | None = None,
    duration: float | Sequence[float | None] | None = None,
    channel: int | Sequence[int | None] | None = None,
    threads: int | None = None,
    verify: bool = False,
    on_error: Literal["raise", "collect", "conceal"] = "raise",
    quality: Quality = "high",
    out: FloatArray | None = None,
    strict: bool = False,
    raw: RawFormat | None = None,
    decoder: DecoderName = "native",
    dtype: SampleType = "float32",
) -> AudioBatch:
    """Decodes many clips, in one call that releases the GIL.

    Args:
        sources: Paths, bytes or file objects, as for `load`.
        sample_rate: Rate of the result in Hz; None keeps each clip's own
            (`AudioBatch.sample_rates`).
        mono: Take the mean of the channels, ``(B, T)``, else keep them all: ``(B, C, T)``, and
            `AudioBatch.channels` says how many are each clip's own.
        offsets: Where to begin in each clip, in seconds; None begins at 0.
        duration: How much to take, in seconds, of all or of each clip; None takes all.
        channel: The channel to take instead of the mean, from 0, of all or of each clip; None takes
            the mean. A clip that lacks it ends in an `InvalidArgumentError`.
        threads: Threads to use; None takes one for each processor that this process may use, and
            one inside a worker of a PyTorch data loader.
        verify: As for `load`.
        on_error: ``"raise"`` the first clip's error, in order of the sources; ``"collect"`` it
            beside a row of length 0 and go on; or ``"conceal"`` damage as `load_concealed` does,
            list the gaps, and collect the errors of clips that give no samples at all.
        quality: How well to resample, as for `resample`.
        out: Where to put the waveforms: ``(B, T)`` float32, C-contiguous, writable, one row for
            each source; for example pinned memory, ``torch.empty(B, T,
            pin_memory=True).numpy()``. All of it is written, with zeros after each clip, and
            it is the result's ``waveforms``. A clip that is longer than a row ends in an
            `InvalidArgumentError`: ``duration`` sees to it that none is.
        strict: As for `load`.
        raw: As for `load`, and the same for all sources.
        decoder: As for `load`; ``"both"`` does not conceal damage.
        dtype: As for `load`; with ``out`` only ``"float32"``.

    Raises:
        AudioError: With ``on_error="raise"``, when a clip cannot be decoded. Where memory cannot
            hold the rows, it is an `AudioLimitError` of the longest clip.
        InvalidArgumentError: An argument is invalid; nothing was decoded.
    """
    check_on_error(on_error, "raise", "collect", "conceal")
    conceal, kind = on_error == "conceal", check_type(dtype)
    sources = list(sources)
    segments = clip_segments(offsets, duration, channel, len(sources))
    for *_, number in segments:
        check_channel(number, mono=mono)
    count = thread_count(threads)
    rate = None if sample_rate is None else check_rate(sample_rate, "sample_rate")
    if out is not None:
        _check_rows(out, len(sources), is_plain=mono and kind == "float32")
    grade, codecs = check_quality(quality), check_decoder(decoder)
    where = (rate, mono, segments, count, verify, conceal, grade)
    how = (out, strict, raw_arguments(raw), codecs)
    with Opened(sources, is_raw=raw is not None) as plain:
        found = _native.load_batch(plain, *where, *how)
    (waveforms, channels), lengths, rates, errors, clips = found
    gaps = [[Gap(*gap) for gap in clip] for clip in clips]
    samples = as_type(waveforms, kind)
    batch = AudioBatch(samples, lengths, rates, errors, gaps, rate, channels)
    if on_error == "raise":
        raise_first(batch.errors)
    return batch


def _check_rows(out: FloatArray, count: int, *, is_plain: bool) -> None:
    if not is_plain:
        raise InvalidArgumentError("out holds mono float32: leave out mono=False and dtype")
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.ndim != 2:
        raise InvalidArgumentError("out must be a two-dimensional float32 array")
    if len(out) != count:
        raise InvalidArgumentError(f"out has {len(out)} rows for {count} sources")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise InvalidArgumentError("out must be contiguous (C order) and writable")
