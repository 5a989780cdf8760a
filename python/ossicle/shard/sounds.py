"""The sound of a row as a member of a shard: as it is, cut out, or as 16-bit FLAC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ossicle.audio import AudioInfo, ShardMember, encode, info, load
from ossicle.data.opening import unreadable
from ossicle.data.recordings import Recording
from ossicle.data.segments import Segment
from ossicle.errors import AudioError, AudioIOError, InvalidArgumentError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["EncodedSound", "as_flac", "as_it_is", "cut_out"]

_STEP: Final = 32_768.0
_FLAC_CHANNELS: Final = 8
# Containers whose files have another suffix.
_SUFFIXES: Final = {"mp4": "m4a", "matroska": "mka", "adts": "aac", "mpeg": "mp3", "aiff": "aif"}


class EncodedSound(NamedTuple):
    """A recording, or a part of one, as a file.

    Attributes:
        extension: Of the member.
        data: The file.
        frames: Samples a channel.
        sample_rate: In Hz.
        clipped: Samples beyond full scale, which were clipped.
    """

    extension: str
    data: bytes
    frames: int
    sample_rate: int
    clipped: int = 0


def as_it_is(recording: Recording) -> EncodedSound:
    """The file unchanged, once its headers have been read.

    Raises:
        AudioError: It cannot be read.
        InvalidArgumentError: Its extension cannot be that of a member.
    """
    name = recording.source.name if isinstance(recording.source, ShardMember) else recording.name
    extension = Path(name).suffix[1:].lower()
    is_file = not isinstance(recording.source, bytes)
    if extension == "json" or (is_file and not extension):
        why = (
            f"a recording with the extension {extension!r} cannot be a member of a sample: "
            "transcode it"
        )
        raise InvalidArgumentError(why, source=recording.name)
    data = _bytes_of(recording.source)
    try:
        facts = info(data)
    except AudioError as error:
        error.source = recording.name
        raise
    return EncodedSound(extension or _suffix(facts), data, facts.frames, facts.sample_rate)


def _suffix(facts: AudioInfo) -> str:
    return _SUFFIXES.get(facts.container, facts.container)


def _bytes_of(source: Any) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, ShardMember):
        return _read(Path(source.shard), source.offset, source.size)
    return _read(Path(source))


def _read(path: Path, start: int = 0, size: int = -1) -> bytes:
    try:
        # Not of a pipe, whose opening would wait for a writer.
        if path.exists() and not path.is_file():
            raise AudioIOError("not a regular file", source=str(path))
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)
    except AudioIOError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error


def cut_out(recording: Recording, segment: Segment) -> EncodedSound:
    """A segment at the recording's rate, losslessly of what is lossless.

    FLAC of 16 bits where samples have 16 or fewer, and of lossy codecs, whose samples are rounded;
    of 24 bits where they have more; WAV of float32 where they are floats, of 32 bits, or of more
    than 8 channels.

    Raises:
        AudioError: It cannot be decoded.
    """
    facts = info(recording.source)
    planes, rate = _load(recording, segment, None, mono=False)
    depth = _depth(facts)
    is_flac = depth < 32 and np.atleast_2d(planes).shape[0] <= _FLAC_CHANNELS
    extension = "flac" if is_flac else "wav"
    data = encode(planes, rate, extension, bits_per_sample=depth)  # type: ignore[arg-type]
    clipped = _count_clipped(planes) if depth == 16 else 0
    return EncodedSound(extension, data, planes.shape[-1], rate, clipped)


def _depth(facts: AudioInfo) -> int:
    bits = facts.bits_per_sample
    if "_f32" in facts.codec or "_f64" in facts.codec or (bits or 0) > 24:
        return 32
    return 16 if bits is None or bits <= 16 else 24


def as_flac(
    recording: Recording, segment: Segment | None, rate: int, *, mono: bool = True
) -> EncodedSound:
    """FLAC of 16 bits at a rate; the checksum of a whole recording is compared on the way.

    Args:
        recording: What is decoded.
        segment: The part of it; None takes all.
        rate: In Hz.
        mono: Mix the channels, else keep them.

    Raises:
        AudioError: It cannot be decoded.
    """
    if segment is None:
        waveform, _ = load(recording.source, rate, verify=True, mono=mono)
    else:
        waveform, _ = _load(recording, segment, rate, mono=mono)
    data = encode(waveform, rate, "flac")
    return EncodedSound("flac", data, waveform.shape[-1], rate, _count_clipped(waveform))


def _load(
    recording: Recording, segment: Segment, rate: int | None, *, mono: bool
) -> tuple[npt.NDArray[np.float32], int]:
    return load(
        recording.source,
        rate,
        mono=mono or segment.channel is not None,
        offset=segment.offset,
        duration=segment.duration,
        channel=segment.channel,
    )


def _count_clipped(waveform: npt.NDArray[np.float32]) -> int:
    """Samples that 16 bits have no step for."""
    if not waveform.size or (waveform.max() < 1.0 - 1.0 / _STEP and waveform.min() >= -1.0):
        return 0
    steps = np.rint(waveform.astype(np.float64) * _STEP)
    return int(np.count_nonzero((steps > _STEP - 1) | (steps < -_STEP)))
