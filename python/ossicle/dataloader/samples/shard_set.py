"""Samples of many shards, by their places: what is streamed and what is looked up is read here."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ossicle.audio import info, load
from ossicle.audio.resampling import check_rate
from ossicle.data.columns import value_of
from ossicle.data.errors import ManifestError, MetadataError, SampleError
from ossicle.data.npz import read_npy, read_npz
from ossicle.data.recordings import Recording, header_of, part_of, samples_at
from ossicle.data.segments import Segment
from ossicle.errors import AudioError, InvalidArgumentError
from ossicle.shard import Shard
from ossicle.shard.index import Shards, list_paths

if TYPE_CHECKING:
    from ossicle.dataloader.types import MetadataDict, SampleRate, Waveform

__all__ = ["Length", "ShardSet", "decode", "only_channel", "sample_error"]

# Of members beside the audio, what is read, by the last part of their extensions.
_READ = frozenset({"json", "npz", "npy", "txt", "cls"})


class ShardSet:
    """Shards, opened when they are read, the last ones kept open.

    A shard that is opened anew, after others or in another process, has to be the one that it was:
    numbers of samples mean nothing in another.

    Args:
        shards: Their paths, in order.
        sample_rate: In Hz, of the waveforms; None keeps each clip's own.
        mono: The mean of the channels in place of all of them.
        max_open: How many shards stay open.

    Attributes:
        paths: Of the shards.
        starts: ``(shards + 1,)`` int64: the number of each one's first sample, and of all.

    Raises:
        AudioError: A shard cannot be opened.
        ManifestError: There is no shard.
    """

    def __init__(
        self, shards: Shards, sample_rate: int | None, mono: bool, max_open: int = 16
    ) -> None:
        self.paths = list_paths(shards)
        if not self.paths:
            raise ManifestError("no shards were given")
        if max_open < 1:
            raise InvalidArgumentError(f"max_open must be at least 1, not {max_open}")
        self.sample_rate = None if sample_rate is None else check_rate(sample_rate, "sample_rate")
        self.mono, self._max_open = mono, max_open
        self._open: OrderedDict[int, Shard] = OrderedDict()
        self._identities: list[str | None] = [None] * len(self.paths)
        self.starts = np.cumsum([0] + [len(self.shard(n)) for n in range(len(self.paths))])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def keys(self) -> Iterable[str]:
        """Of all samples, in order."""
        for number in range(len(self.paths)):
            yield from self.shard(number).keys()

    def shard(self, number: int) -> Shard:
        """An open shard. No lock: one that is held across a fork is never released.

        Raises:
            AudioIOError: It is not there any more, or another one than at first.
        """
        shard = self._open.get(number)
        if shard is None:
            shard = Shard(self.paths[number], identity=self._identities[number])
            self._open[number], self._identities[number] = shard, shard.identity
            while len(self._open) > self._max_open:
                self._open.popitem(last=False)
        with suppress(KeyError):  # another thread has let go of it
            self._open.move_to_end(number)
        return shard

    def place(self, sample: int) -> tuple[Shard, int]:
        """The shard of a sample, and its number there."""
        number = int(np.searchsorted(self.starts, sample, side="right")) - 1
        return self.shard(number), sample - int(self.starts[number])

    def waveform(
        self,
        sample: int,
        key: str,
        offset: float = 0.0,
        duration: float | None = None,
        channel: int | None = None,
    ) -> tuple[Waveform, SampleRate]:
        """Decodes a sample's audio in place, or a range of it.

        Raises:
            SampleError: It has no audio, or several, or cannot be decoded.
        """
        recording = only_channel(self.recording(sample, key), channel, key)
        return decode(recording, key, self.sample_rate, self.mono, offset, duration)

    def recording(self, sample: int, key: str) -> Recording:
        """A sample's recording, with the segment that is meant of it.

        Raises:
            SampleError: It has no audio, or several.
        """
        shard, number = self.place(sample)
        try:
            return shard.recording(number)
        except AudioError as error:
            raise sample_error(error, key) from error

    def length(self, sample: int, key: str) -> Length:
        """How long a sample is, by the headers of its audio.

        Raises:
            SampleError: It has no audio, or several, or cannot be read.
        """
        recording = self.recording(sample, key)
        try:
            header = header_of(recording)
            samples = samples_at(recording, header, self.sample_rate)
            seconds = samples_at(recording, header) / header.sample_rate
        except AudioError as error:
            raise sample_error(error, key) from error
        is_one = self.mono or recording.segment.channel is not None
        rate = self.sample_rate or header.sample_rate
        return Length(samples, rate, 1 if is_one else header.channels, seconds)

    def metadata(self, sample: int) -> MetadataDict:
        """What the members of a sample say beside its audio, with its ``wav_id``.

        Raises:
            MetadataError: One cannot be read, or two give one name different values.
        """
        shard, number = self.place(sample)
        key = shard.key(number)
        metadata: MetadataDict = {}
        for extension in shard.extensions(number):
            if extension.rpartition(".")[2] not in _READ:
                continue
            fields = _fields(shard.path, key, extension, shard.read(number, extension))
            twice = metadata.keys() & fields.keys()
            if twice:
                raise _broken(
                    shard.path, key, extension, "another member has the same field", min(twice)
                )
            metadata |= fields
        return with_ids(metadata, key)


def with_ids(metadata: MetadataDict, key: str) -> MetadataDict:
    """Adds ``wav_id``, and ``clip_id`` where a sample is a clip of another recording."""
    own = value_of("wav_id", metadata)
    own = key if own is None else own
    wav_id = {"wav_id": str(own)}
    return metadata | (wav_id if str(own) == key else wav_id | {"clip_id": key})


class Length(NamedTuple):
    """How long a sample is.

    Attributes:
        samples: A channel, at ``sample_rate``.
        sample_rate: In Hz, of what is decoded.
        channels: How many there are then.
        seconds: By the recording's own rate.
    """

    samples: int
    sample_rate: int
    channels: int
    seconds: float


def only_channel(recording: Recording, channel: int | None, wav_id: str) -> Recording:
    """One channel of a recording; None leaves it as it is.

    Raises:
        SampleError: It is one channel already, another one.
    """
    if channel is None:
        return recording
    try:
        part = Segment(channel=channel).within(recording.segment)
    except InvalidArgumentError as error:
        raise sample_error(error, wav_id) from error
    return replace(recording, segment=part)


def decode(
    recording: Recording,
    wav_id: str,
    sample_rate: int | None,
    mono: bool,
    offset: float = 0.0,
    duration: float | None = None,
) -> tuple[Waveform, SampleRate]:
    """A float32 tensor (channels, samples) and its rate; errors name the recording.

    The range is of the recording's segment.

    Raises:
        SampleError: It cannot be decoded.
    """
    import torch

    source = recording.source
    try:
        part = part_of(recording)
        if part is None:
            waveform, rate = load(source, sample_rate, mono=mono, offset=offset, duration=duration)
        else:
            rate = info(source).sample_rate if sample_rate is None else sample_rate
            inside = part.inside(offset, duration, rate)
            waveform, rate = load(
                source,
                sample_rate,
                mono=mono or part.channel is not None,
                offset=inside.offset,
                duration=inside.duration,
                channel=inside.channel,
            )
    except AudioError as error:
        raise sample_error(error, wav_id) from error
    return torch.from_numpy(np.atleast_2d(waveform)), rate


def sample_error(error: AudioError, wav_id: str) -> SampleError:
    """An error of decoding as one of a sample; what it came from tells the class."""
    place = error.source if error.member is None else f"{error.source} [{error.member}]"
    at = f" (byte {error.byte_offset})" if error.byte_offset is not None else ""
    return SampleError(f"{error.reason}{at}", source=place, wav_id=wav_id)


def _fields(shard: str, key: str, extension: str, payload: bytes) -> Mapping[str, Any]:
    """What a member says: fields of their own under ``json``, else under the extension's rest.

    Only JSON, arrays, texts and numbers are read; pickles never are.
    """
    name, _, kind = extension.rpartition(".")
    try:
        match kind:
            case "json":
                value = json.loads(payload)
                if name or isinstance(value, dict):
                    return {name: value} if name else value
                raise ValueError(f"a JSON object was expected, not {type(value).__name__}")
            case "npz":
                arrays = read_npz(payload)
                return {name: arrays} if name else arrays
            case "npy":
                return {name or kind: read_npy(payload)}
            case "txt":
                return {name or kind: payload.decode()}
            case "cls":
                return {name or kind: int(payload)}
    except (ValueError, EOFError, RecursionError) as error:
        raise _broken(shard, key, extension, getattr(error, "reason", str(error))) from error
    return {}


def _broken(
    shard: str, key: str, extension: str, why: str, column: str | None = None
) -> MetadataError:
    return MetadataError(why, source=f"{shard} [{key}.{extension}]", wav_id=key, column=column)
