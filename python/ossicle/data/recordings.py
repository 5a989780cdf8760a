"""The recordings that a row of a data set names, in each of the forms that data sets have."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ossicle.audio import ShardMember, info, load
from ossicle.audio.raw import RawFormat
from ossicle.audio.resampling import check_rate
from ossicle.audio.waveforms import check_shape, with_channels_first
from ossicle.data.columns import COLUMNS, CUT_FROM, column_of, is_cut, value_of
from ossicle.data.samples import is_array
from ossicle.data.segments import Segment, segment_of
from ossicle.data.uris import data_of, file_of, refused
from ossicle.errors import AudioError, InvalidArgumentError

__all__ = [
    "Header",
    "Recording",
    "Samples",
    "header_of",
    "is_recording",
    "part_of",
    "recording_of",
    "recordings_of",
    "samples_at",
    "segments",
    "settled",
    "sources_of",
]

_BYTES = (bytes, bytearray, memoryview)
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")
# Columns that hold paths and nothing else.
_PATHS = ("audio_path", "path", "audio_filepath")
# What an audio dict of `datasets` may hold, and what makes a mapping a row beyond doubt.
_AUDIO_KEYS = ("array", "bytes", "path")
_ROW_KEYS = ({*COLUMNS["audio"]} - {"path"}) | {*COLUMNS["messages"]}


@dataclass(frozen=True)
class Samples:
    """Decoded already: ``(samples,)`` or ``(channels, samples)``, and the rate in Hz."""

    array: npt.NDArray[Any]
    sample_rate: int


@dataclass(frozen=True)
class Recording:
    """One recording of a row, or the segment of one.

    Attributes:
        source: What `ossicle.load_batch` takes, or `Samples`.
        name: The file, for messages; ``<bytes>`` or ``<array>`` where there is none.
        blob_sha: SHA-256 of the whole file in hex, where the row tells it.
        segment: The part of the file that is meant.
        wanted_rate: The rate in Hz that was asked for with it, as by ``Audio(sampling_rate=...)``
            of `datasets`: a reason to resample.
    """

    source: Any
    name: str
    blob_sha: Any = None
    segment: Segment = Segment()  # noqa: RUF009  (it never changes)
    wanted_rate: int | None = None

    @property
    def file(self) -> str:
        """The file, without the member of a shard."""
        return self.source.shard if isinstance(self.source, ShardMember) else self.name

    @property
    def member(self) -> str | None:
        """The member, where the file is a shard."""
        return self.source.name if isinstance(self.source, ShardMember) else None

    @property
    def title(self) -> str:
        """For messages: its name and, unless it is the whole recording, its segment."""
        part = str(self.segment)
        return self.name if self.segment.is_whole or not part else f"{self.name}, {part}"


def segments(recordings: Sequence[Recording]) -> dict[str, Any]:
    """Of recordings, the arguments ``offsets``, ``duration`` and ``channel`` of `load_batch`."""
    parts = [one.segment for one in recordings]
    return {
        "offsets": [part.offset for part in parts],
        "duration": [part.duration for part in parts],
        "channel": [part.channel for part in parts],
    }


def settled(recording: Recording) -> Recording:
    """The same, where its row said a duration alone: all of it, or the part that this selects.

    Its header is read then. Of what cannot be read nothing changes: decoding it tells why.
    """
    part = recording.segment
    if not part.may_be_whole:
        return recording
    begin = recording.source.tell() if hasattr(recording.source, "tell") else None
    try:
        header = header_of(recording)
    except AudioError:
        return recording
    finally:
        if begin is not None:
            recording.source.seek(begin)
    return replace(recording, segment=part.of(header.frames, header.sample_rate))


def recordings_of(row: Mapping[str, Any]) -> list[Recording]:
    """The recordings of a row, each with the segment that the row says.

    Of a row with several recordings ``offset``, ``duration`` and ``channel`` are lists as long as
    theirs, or each recording is a dict with its own; one number beside several recordings is no
    segment of any: a ``duration`` is a fact about the row then, the others are refused.

    Raises:
        InvalidArgumentError: A recording or a segment is none.
    """
    # A row of `Rows` knows them: its facts may have the names of segments.
    known = getattr(row, "recordings", None)
    if known is not None:
        return list(known)
    sources = sources_of(row)
    cut = is_cut(row, (source for _, source in sources))
    parts = segment_of(row, len(sources), CUT_FROM if cut else ())
    found = []
    for (column, source), part in zip(sources, parts, strict=True):
        recording = recording_of(source, column)
        found.append(replace(recording, segment=part.within(recording.segment)))
    return found


def sources_of(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The recordings of a row, each with the column that it came under.

    Those that the parts of ``messages`` hold count where no column has any, if all do.
    """
    column = column_of("audio", row)
    if column is not None and row[column] is not None:
        return [(column, one) for one in _listed(row[column], value_of("sample_rate", row))]
    parts = [part for message in row.get("messages") or () for part in _audio_parts(message)]
    named = [part["path"] if part.get("audio") is None else part["audio"] for part in parts]
    return [("audio", one) for one in named] if all(one is not None for one in named) else []


def _listed(found: Any, rate: Any) -> list[Any]:
    """One recording or several; samples by themselves with the rate that their row says."""
    if is_array(found) and rate is not None:
        return [{"array": found, "sampling_rate": rate}]
    if not isinstance(found, list | tuple):
        return [found]
    if len(found) == 2 and is_array(found[0]) and isinstance(found[1], int):
        return [{"array": found[0], "sampling_rate": found[1]}]
    if found and isinstance(found[0], float) and rate is not None:
        return [{"array": found, "sampling_rate": rate}]
    return [one for each in found for one in (_listed(each, rate) if is_array(each) else [each])]


def _audio_parts(message: Any) -> list[dict[str, Any]]:
    content = message.get("content") if isinstance(message, Mapping) else None
    if content is None or isinstance(content, str):
        return []
    audio = [part for part in content if isinstance(part, Mapping) and part.get("type") == "audio"]
    return [{"audio": None, "path": None, **part} for part in audio]


def is_recording(row: Mapping[str, Any]) -> bool:
    """Whether a mapping is one recording, an audio dict of `datasets`, and no row."""
    return row.keys().isdisjoint(_ROW_KEYS) and not row.keys().isdisjoint(_AUDIO_KEYS)


def recording_of(found: Any, column: str = "audio") -> Recording:
    """One recording.

    Args:
        found: A path; unless the column is one of paths also bytes, a binary file object, a shard's
            member, an audio dict of Hugging Face `datasets` (``{"path", "bytes"}`` or ``{"array",
            "sampling_rate"}``) or its decoder.
        column: Under which it stood.

    Raises:
        InvalidArgumentError: It is none of these; the message says what it is.
    """
    if isinstance(found, str):
        return _of_text(found)
    if isinstance(found, os.PathLike):
        return Recording(found, os.fspath(found))
    recording = None if column in _PATHS else _without_path(found)
    if recording is None:
        raise InvalidArgumentError(f"{column} cannot be a {type(found).__name__}")
    return recording


def _of_text(found: str) -> Recording:
    """A path, or the URI of one, or of the bytes themselves."""
    try:
        if found.startswith("data:"):
            return Recording(data_of(found), "<bytes>")
        path = file_of(found) if found.startswith("file:") else found
    except ValueError as error:
        raise InvalidArgumentError(str(error)) from None
    if _URL.match(path):
        raise InvalidArgumentError(refused(path))
    return Recording(path, path)


def _without_path(found: Any) -> Recording | None:
    """What is no path of its own."""
    # A column of `datasets` that was not decoded, or its decoder, which knows the file too.
    encoded = getattr(found, "_hf_encoded", None) or found
    if isinstance(encoded, Mapping):
        return _with_asked(_of_dict(encoded), found)
    if isinstance(found, ShardMember):
        return Recording(found, f"{found.shard} [{found.name}]")
    if isinstance(found, _BYTES) or (isinstance(found, np.ndarray) and found.dtype == np.uint8):
        return Recording(found, "<bytes>")
    if is_array(found):
        raise InvalidArgumentError(
            "audio is an array of samples: give its rate beside it, under sampling_rate"
        )
    if hasattr(found, "get_all_samples"):
        samples = found.get_all_samples()
        return Recording(_samples(samples.data, samples.sample_rate), "<array>")
    if hasattr(found, "fs") and hasattr(found, "open"):  # an fsspec.OpenFile
        return Recording(found, str(getattr(found, "path", "<file object>")))
    if hasattr(found, "read") and hasattr(found, "seek"):
        return Recording(found, str(getattr(found, "name", "<file object>")))
    return None


def _with_asked(recording: Recording, decoder: Any) -> Recording:
    """With the rate that a decoder of `datasets` was asked for, where it is not the file's own.

    Ours keeps its feature; torchcodec's the rate, the file's own where none was asked for.
    """
    rate = getattr(getattr(decoder, "_feature", None), "sampling_rate", None)
    if rate is None:
        rate = getattr(decoder, "_desired_sample_rate", None)
        own = getattr(getattr(decoder, "metadata", None), "sample_rate", None) if rate else None
        rate = None if rate == own else rate
    return recording if rate is None else replace(recording, wanted_rate=_rate(rate))


def _of_dict(found: Mapping[str, Any]) -> Recording:
    return replace(_whole_of_dict(found), segment=segment_of(found, 1)[0])


def _whole_of_dict(found: Mapping[str, Any]) -> Recording:
    path, data, array = (found.get(key) for key in ("path", "bytes", "array"))
    # Beside bytes or a path it is the rate that was asked for: the file tells its own.
    asked = found.get("sampling_rate")
    if data is not None:
        return Recording(data, str(path) if path else "<bytes>", wanted_rate=_rate(asked))
    rate = value_of("sample_rate", found)
    if array is not None and rate is not None:
        return Recording(_samples(array, rate), str(path) if path else "<array>")
    path = value_of("audio", found) if path is None else path
    if path is not None:
        return replace(recording_of(path, "path"), wanted_rate=_rate(asked))
    if found.get("data") is not None:  # OpenAI's input_audio
        return _of_text(f"data:;base64,{found['data']}")
    if found.get("url") is not None:
        return recording_of(found["url"], "url")
    raise InvalidArgumentError(
        "audio has no bytes, no path, and no array with sampling_rate "
        f"(its keys: {', '.join(map(str, found)) or 'none'})"
    )


def _rate(found: Any) -> int | None:
    return None if found is None else check_rate(found, "sampling_rate")


def _samples(array: Any, rate: Any) -> Samples:
    """Decoded samples, of any library, with their channels first."""
    if str(getattr(array, "dtype", "")) == "torch.bfloat16":
        array = array.float()
    return Samples(with_channels_first(np.asarray(array)), check_rate(rate, "sampling_rate"))


class Header(NamedTuple):
    """What is known of a recording without decoding it.

    Attributes:
        sample_rate: Its own, in Hz.
        frames: Its samples a channel.
        remarks: The remarks on it, as `ossicle.AudioInfo` has them.
        channels: How many it has.
    """

    sample_rate: int
    frames: int
    remarks: tuple[str, ...] = ()
    channels: int = 1


def header_of(recording: Recording, raw: RawFormat | None = None) -> Header:
    """Rate, length and channels of the whole recording and the remarks on it, without decoding.

    Args:
        recording: What a row names.
        raw: How it is stored, where it has no header.

    Raises:
        AudioError: It cannot be read.
        InvalidArgumentError: It is an array that is no waveform, or lacks the segment's channel or
            the segment.
    """
    header = _header(recording.source, raw)
    channel = recording.segment.channel
    if channel is not None and channel >= header.channels:
        why = f"channel {channel} of a recording of {header.channels} channels"
        raise InvalidArgumentError(why, source=recording.name)
    try:
        recording.segment.check(header.frames / header.sample_rate)
    except InvalidArgumentError as error:
        error.source, error.member = recording.file, recording.member
        raise
    return header


def _header(source: Any, raw: RawFormat | None) -> Header:
    if not isinstance(source, Samples):
        facts = info(source, raw=raw)
        return Header(facts.sample_rate, facts.frames, facts.remarks, facts.channels)
    shape = source.array.shape
    check_shape(shape)
    channels = shape[0] if len(shape) == 2 else 1
    return Header(check_rate(source.sample_rate, "sampling_rate"), shape[-1], (), channels)


def part_of(recording: Recording) -> Segment | None:
    """The segment of a recording that is less than all of it, by its headers; else None.

    Raises:
        AudioError: The recording cannot be read.
        InvalidArgumentError: The segment is not inside of the recording, or its channel is none of
            the recording's.
    """
    segment = recording.segment
    if segment.is_whole:
        return None
    header = header_of(recording)
    is_mono = segment.channel is None or header.channels == 1
    frames = segment.frames(header.frames, header.sample_rate)
    return None if is_mono and frames == header.frames else segment._replace(may_be_whole=False)


def samples_at(recording: Recording, header: Header, sample_rate: int | None = None) -> int:
    """Samples a channel that `ossicle.load` gives of a recording's segment.

    Args:
        recording: A file object in it is read from where it stood when its header was.
        header: What `header_of` gave.
        sample_rate: In Hz; None is the recording's own.

    Raises:
        AudioError: It cannot be decoded, which is tried where the headers may not tell.
    """
    if sample_rate is None:
        return recording.segment.frames(header.frames, header.sample_rate)
    # A stream that changes its rate has a remark, and each of its parts is resampled by itself.
    if header.remarks:
        part = recording.segment.to_read()
        chosen: dict[str, Any] = {} if part.channel is None else {"channel": part.channel}
        waveform, _ = load(
            recording.source, sample_rate, offset=part.offset, duration=part.duration, **chosen
        )
        return len(recording.segment.kept(waveform, sample_rate))
    whole = -(-header.frames * sample_rate // header.sample_rate)
    return recording.segment.frames(whole, sample_rate)
