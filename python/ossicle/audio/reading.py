"""Files, bytes and file objects to float32 arrays.

Everything is decoded by the native module with the GIL released; nothing here needs FFmpeg.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from ossicle import _native
from ossicle.audio.arguments import clip_starts, raise_first, thread_count
from ossicle.audio.decoders import DecoderName, check_decoder
from ossicle.audio.raw import RawFormat, raw_arguments
from ossicle.audio.resampling import Quality, check_quality, check_rate
from ossicle.errors import InvalidArgumentError, check_on_error

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ossicle.errors import AudioError

__all__ = [
    "AudioBatch",
    "AudioInfo",
    "AudioSource",
    "ConcealedClip",
    "FloatArray",
    "Gap",
    "ShardMember",
    "info",
    "load",
    "load_batch",
    "load_concealed",
]


class BinaryFile(Protocol):
    """What is needed of a file object: `read(n)` and `seek(offset, whence)`."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int, /) -> int: ...


AudioSource: TypeAlias = "str | os.PathLike[str] | Buffer | BinaryFile | _native.ShardMember"
"""A path; bytes, bytearray, memoryview or a NumPy uint8 array (read in place, never copied, and not
to be written to meanwhile); a binary file object, read from where it stands; a shard's member."""

FloatArray: TypeAlias = npt.NDArray[np.float32]

ShardMember = _native.ShardMember
"""A member of a shard that can be read as a file is: what `ossicle.Shard.member` gives."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What is known of a clip without decoding it.

    Attributes:
        sample_rate: Frames per second, in Hz.
        channels: Channels of the first audio track.
        frames: Samples per channel that `load` returns at the native rate, exactly.
        container: Container by FFmpeg's short name: ``wav``, ``flac``, ``ogg``, ``mp4`` ...
        codec: Codec by FFmpeg's short name: ``pcm_s16le``, ``flac``, ``vorbis``, ``aac`` ...
        bits_per_sample: Bits of one sample before it became a float; None for lossy codecs.
        remarks: Wrong headers, flags and timestamps of a file whose bytes are whole: a short
            sentence each, with the byte. ``load(..., strict=True)`` makes each of them an error.
    """

    sample_rate: int
    channels: int
    frames: int
    container: str
    codec: str
    bits_per_sample: int | None
    remarks: tuple[str, ...] = ()

    @property
    def duration(self) -> float:
        """Length in seconds; by the first rate where the stream changes it, which is a remark."""
        return self.frames / self.sample_rate


class Gap(NamedTuple):
    """A part of a recording that damage has cost.

    Attributes:
        start: Its first sample, counted in the result.
        end: One after its last. Up to the end of the result it is silence; samples after that are
            missing. ``end == start`` is bytes that belong to no packet and may hide a loss.
        error: What was met, with the byte and the reason.
    """

    start: int
    end: int
    error: AudioError


class ConcealedClip(NamedTuple):
    """What `load_concealed` gives.

    Attributes:
        waveform: ``(samples,)`` or ``(channels, samples)`` float32.
        sample_rate: In Hz.
        gaps: What damage has cost, in the order of time.
    """

    waveform: FloatArray
    sample_rate: int
    gaps: list[Gap]


@dataclass(frozen=True, slots=True)
class AudioBatch:
    """Clips side by side.

    Attributes:
        waveforms: ``(B, T)`` float32, mono, padded with zeros to the longest clip.
        lengths: ``(B,)`` int64, samples of each clip; 0 where it failed.
        sample_rates: ``(B,)`` int64, the rate in Hz that each source has itself; 0 where it failed.
        errors: For each clip None, or the error that it ended in.
        gaps: For each clip what damage has cost it; empty lists unless ``on_error="conceal"``.
    """

    waveforms: FloatArray
    lengths: npt.NDArray[np.int64]
    sample_rates: npt.NDArray[np.int64]
    errors: list[AudioError | None]
    gaps: list[list[Gap]]

    def __len__(self) -> int:
        return len(self.lengths)


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
    return AudioInfo(*_native.info(source, raw_arguments(raw), check_decoder(decoder)))


def load(
    source: AudioSource,
    sample_rate: int | None = None,
    *,
    mono: bool = True,
    offset: float = 0.0,
    duration: float | None = None,
    allow_nonfinite: bool = False,
    verify: bool = False,
    on_error: Literal["raise"] = "raise",
    quality: Quality = "high",
    strict: bool = False,
    raw: RawFormat | None = None,
    decoder: DecoderName = "native",
) -> tuple[FloatArray, int]:
    """Decodes ``source``, or a range of it.

    A range equals the same slice of the whole clip, and no more than it needs is decoded. Lost or
    altered bytes are an error (`load_concealed` continues after them); where all bytes are there
    and only a header, a flag or a timestamp is wrong, all samples are decoded, and `info`
    has a remark.

    Args:
        source: A path, bytes in place, or a binary file object, of which no more is read than the
            headers and the range need.
        sample_rate: Rate of the result in Hz; None keeps the native one.
        mono: Take the mean of the channels (before resampling), else keep them all.
        offset: Where to begin, in seconds: sample ``round(offset * rate)`` of the result's rate.
            Past the end there are no samples, which is no error.
        duration: How much to take, in seconds; None takes all. Less is given where the clip ends.
        allow_nonfinite: Let NaN and infinite samples through.
        verify: Decode all of the clip, whatever the range, so that damage anywhere is an error, and
            compare the checksum of the samples where the format carries one (the MD5 of FLAC).
        on_error: ``"raise"``. ``"conceal"``, deprecated, is `load_concealed`.
        quality: How well to resample, as for `resample`.
        strict: Make each remark (`AudioInfo.remarks`) the error that it would be.
        raw: How ``source`` is stored, where it has no header; None recognises it by its content.
        decoder: ``"native"``, or ``"symphonia"`` for a second opinion: the same container, trimming
            and seeking, another codec. ``"both"`` decodes with each and raises where they part.

    Returns:
        ``(waveform, sample_rate)``: float32 in [-1, 1], ``(samples,)`` if mono, else
        ``(channels, samples)`` in the order of WAV (FL FR FC LFE BL BR ...).

    Raises:
        DecodersDisagreeError: With ``decoder="both"``: the first sample at which they part.
        AudioError: The child that fits, with the file, the byte and the reason. A clip of more than
            2**32 samples a channel, or more than memory can hold, is an `AudioLimitError`.
    """
    check_on_error(on_error, "raise", "conceal")
    conceal = on_error != "raise"
    rate = None if sample_rate is None else check_rate(sample_rate, "sample_rate")
    arguments = (rate, mono, offset, duration, allow_nonfinite, verify, conceal)
    how = (check_quality(quality), strict, raw_arguments(raw), check_decoder(decoder))
    waveform, rate, gaps = _native.load(source, *arguments, *how)
    if conceal:
        text = 'load(on_error="conceal") is deprecated: call load_concealed'
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return ConcealedClip(waveform, rate, [Gap(*gap) for gap in gaps])  # type: ignore[return-value]
    return waveform, rate


def load_concealed(
    source: AudioSource,
    sample_rate: int | None = None,
    *,
    mono: bool = True,
    offset: float = 0.0,
    duration: float | None = None,
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
    arguments = (rate, mono, offset, duration, allow_nonfinite, verify, True)
    how = (check_quality(quality), strict, raw_arguments(raw), check_decoder(decoder))
    waveform, rate, gaps = _native.load(source, *arguments, *how)
    return ConcealedClip(waveform, rate, [Gap(*gap) for gap in gaps])


def load_batch(
    sources: Sequence[AudioSource],
    sample_rate: int = 16_000,
    *,
    offsets: Sequence[float] | None = None,
    duration: float | None = None,
    threads: int | None = None,
    verify: bool = False,
    on_error: Literal["raise", "collect", "conceal"] = "raise",
    quality: Quality = "high",
    out: FloatArray | None = None,
    strict: bool = False,
    raw: RawFormat | None = None,
    decoder: DecoderName = "native",
) -> AudioBatch:
    """Decodes many clips to mono at one rate, in one call that releases the GIL.

    Args:
        sources: Paths, bytes or file objects, as for `load`.
        sample_rate: Rate of the result in Hz.
        offsets: Where to begin in each clip, in seconds; None begins at 0.
        duration: How much to take of each, in seconds; None takes all.
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

    Raises:
        AudioError: With ``on_error="raise"``, when a clip cannot be decoded. Where memory cannot
            hold the rows, it is an `AudioLimitError` of the longest clip.
        InvalidArgumentError: An argument is invalid; nothing was decoded.
    """
    check_on_error(on_error, "raise", "collect", "conceal")
    conceal = on_error == "conceal"
    sources = list(sources)
    starts = clip_starts(offsets, len(sources))
    count = thread_count(threads)
    rate = check_rate(sample_rate, "sample_rate")
    if out is not None:
        _check_rows(out, len(sources))
    grade, codecs = check_quality(quality), check_decoder(decoder)
    waveforms, lengths, rates, errors, clips = _native.load_batch(
        sources,
        rate,
        starts,
        duration,
        count,
        verify,
        conceal,
        grade,
        out,
        strict,
        raw_arguments(raw),
        codecs,
    )
    gaps = [[Gap(*gap) for gap in clip] for clip in clips]
    batch = AudioBatch(waveforms, lengths, rates, errors, gaps)
    if on_error == "raise":
        raise_first(batch.errors)
    return batch


def _check_rows(out: FloatArray, count: int) -> None:
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.ndim != 2:
        raise InvalidArgumentError("out must be a two-dimensional float32 array")
    if len(out) != count:
        raise InvalidArgumentError(f"out has {len(out)} rows for {count} sources")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise InvalidArgumentError("out must be contiguous (C order) and writable")
